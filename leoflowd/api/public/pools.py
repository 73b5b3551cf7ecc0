"""Pools: slot limits that task instances share. Blueprint `public_pools`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any

import msgspec
from quart import Blueprint, Response

from leoflowd.api import bulk
from leoflowd.api.answers import collection, json_answer, no_content
from leoflowd.api.audit import record
from leoflowd.api.bodies import read_body
from leoflowd.api.bulk import BulkBody, StrictBody, Things, refuse_team
from leoflowd.api.context import lane
from leoflowd.api.paging import Query
from leoflowd.api.problems import BadRequest
from leoflowd.store import api_pools
from leoflowd.store.database import Connection as Conn

blueprint = Blueprint("public_pools", __name__)

DEFAULT_POOL = "default_pool"
FIELDS = ("slots", "description", "include_deferred")
Slots = Annotated[int, msgspec.Meta(ge=-1, le=2**31 - 1)]


class PoolBody(StrictBody, frozen=True, kw_only=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    slots: Slots
    description: str | None = None
    include_deferred: bool = False
    team_name: str | None = None


class PoolPatchBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """airflowctl sends every key, most of them null; null leaves a field as it is."""

    pool: str | None = None
    name: str | None = None
    slots: Slots | None = None
    description: str | msgspec.UnsetType | None = msgspec.UNSET
    include_deferred: bool | None = None
    team_name: str | None = None


@blueprint.get("/api/v2/pools")
async def list_pools() -> Response:
    query = Query()
    filters = query.patterns("pool_name")
    limit, offset = query.page()
    async with lane().connection() as conn:
        rows, total = await api_pools.list_pools(
            conn, filters, order_by=query.order_by() or ["name"], limit=limit, offset=offset
        )
    return collection("pools", rows, total)


@blueprint.get("/api/v2/pools/<path:pool_name>")
async def get_pool(pool_name: str) -> Response:
    async with lane().connection() as conn:
        return json_answer(await api_pools.fetch_pool(conn, pool_name))


@blueprint.post("/api/v2/pools")
async def create_pool() -> Response:
    body = await read_body(PoolBody)
    async with lane().transaction() as conn:
        await _insert(conn, body)
        await record(conn, "post_pool", extra=body)
        return json_answer(await api_pools.fetch_pool(conn, body.name), 201)


@blueprint.patch("/api/v2/pools/<path:pool_name>")
async def update_pool(pool_name: str) -> Response:
    mask = Query().mask("update_mask", PoolPatchBody)
    body = await read_body(PoolPatchBody)
    refuse_team(body.team_name)
    new_name = body.pool or body.name
    if new_name not in (None, pool_name):
        raise BadRequest("Invalid body, pool name from request body doesn't match uri parameter")
    async with lane().transaction() as conn:
        before, after = await _change(conn, pool_name, msgspec.structs.asdict(body), mask)
        await record(conn, "patch_pool", extra={"name": pool_name, "before": before, "after": after})
        return json_answer(await api_pools.fetch_pool(conn, pool_name))


async def _change(
    conn: Conn, pool_name: str, given: dict[str, Any], mask: Collection[str] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Writes what is given and masked in; what was there, and that. Raises `NotFound`, `BadRequest`."""
    old = await api_pools.fetch_pool(conn, pool_name)
    changes = {
        name: value
        for name, value in given.items()
        if name in FIELDS
        and value is not msgspec.UNSET
        and (value is not None or name == "description")
        and (mask is None or name in mask)
    }
    if pool_name == DEFAULT_POOL and changes.get("description", old["description"]) != old["description"]:
        raise BadRequest("Only slots and include_deferred can be modified on Default Pool")
    await api_pools.update_pool(conn, name=pool_name, **{name: old[name] for name in FIELDS} | changes)
    return {name: old[name] for name in changes}, changes


@blueprint.delete("/api/v2/pools/<path:pool_name>")
async def delete_pool(pool_name: str) -> Response:
    async with lane().transaction() as conn:
        old = await api_pools.fetch_pool(conn, pool_name)
        await _delete(conn, pool_name)
        extra = {"name": pool_name, "before": {name: old[name] for name in FIELDS}}
        await record(conn, "delete_pool", extra=extra)
    return no_content()


@blueprint.patch("/api/v2/pools")
async def bulk_pools() -> Response:
    body = await read_body(BulkBody[PoolBody], bulk.BODY_MAX_BYTES)
    return await bulk.carry_out(
        body,
        Things(plural="pools", key="name", lock=api_pools.lock_pool, insert=_insert, update=_update, delete=_delete),
    )


async def _insert(conn: Conn, body: PoolBody) -> None:
    refuse_team(body.team_name)
    await api_pools.insert_pool(
        conn, name=body.name, slots=body.slots, description=body.description, include_deferred=body.include_deferred
    )


async def _update(conn: Conn, body: PoolBody, mask: Collection[str] | None) -> None:
    refuse_team(body.team_name)
    await _change(conn, body.name, msgspec.structs.asdict(body), mask)


async def _delete(conn: Conn, pool_name: str) -> None:
    if pool_name == DEFAULT_POOL:
        raise BadRequest("Default Pool can't be deleted")
    await api_pools.delete_pool(conn, pool_name)
