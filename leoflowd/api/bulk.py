"""Many at once, as Airflow's API has it: `{"actions": [{"action": "create", "entities": [...], ...}, ...]}`.

A route decodes `BulkBody[<its body>]` and hands it to `carry_out` with its `Things`. Each action happens whole or not
at all; one that fails does not hinder the others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Generic, Literal, TypeVar

import msgspec
from quart import Response

from leoflowd.api.answers import json_answer
from leoflowd.api.audit import record
from leoflowd.api.context import lane
from leoflowd.api.problems import STATUS, BadRequest
from leoflowd.contract.errors import Conflict, Invalid, LeoflowError, NotFound
from leoflowd.contract.values import shown
from leoflowd.store.database import Connection as Conn

BODY_MAX_BYTES = 8 * 1024 * 1024
"""A file of variables that a person imports comes in one piece."""


class StrictBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of bodies: an unknown key is a 422."""


B = TypeVar("B", bound=StrictBody)


class BulkCreate(StrictBody, Generic[B], frozen=True, kw_only=True, tag_field="action", tag="create"):
    entities: list[B]
    action_on_existence: Literal["fail", "skip", "overwrite"] = "fail"


class BulkUpdate(StrictBody, Generic[B], frozen=True, kw_only=True, tag_field="action", tag="update"):
    entities: list[B]
    update_mask: list[str] | None = None
    action_on_non_existence: Literal["fail", "skip"] = "fail"


class BulkDelete(StrictBody, Generic[B], frozen=True, kw_only=True, tag_field="action", tag="delete"):
    entities: list[str | B]
    action_on_non_existence: Literal["fail", "skip"] = "fail"


class BulkBody(StrictBody, Generic[B], frozen=True, kw_only=True):
    actions: list[BulkCreate[B] | BulkUpdate[B] | BulkDelete[B]]


class BulkActionResponse(msgspec.Struct):
    success: list[str]
    errors: list[dict[str, Any]]


class Things(msgspec.Struct, Generic[B], frozen=True, kw_only=True):
    """What the entities are, and how one of them is written in the caller's transaction."""

    plural: str
    key: str
    """The field of the body that names one."""
    lock: Callable[[Conn, str], Awaitable[object | None]]
    """None: there is none of this name."""
    insert: Callable[[Conn, B], Awaitable[None]]
    update: Callable[[Conn, B, Collection[str] | None], Awaitable[None]]
    delete: Callable[[Conn, str], Awaitable[None]]

    def name_of(self, entity: str | B) -> str:
        return entity if isinstance(entity, str) else str(getattr(entity, self.key))


async def carry_out(body: BulkBody[B], things: Things[B]) -> Response:
    """The BulkResponse, once everything is written and audited."""
    results: dict[str, BulkActionResponse] = {}
    async with lane().transaction() as conn:
        for action in body.actions:
            name = str(action.__struct_config__.tag)
            result = results.setdefault(name, BulkActionResponse(success=[], errors=[]))
            try:
                async with conn.transaction():
                    result.success += await _carry_out(conn, action, things)
            except LeoflowError as error:
                result.errors.append({"error": str(error), "status_code": status_of(error)})
        audited = {name: sorted(result.success) for name, result in results.items()}
        await record(conn, f"bulk_{things.plural}", extra=audited)
    return json_answer({name: results.get(name) for name in ("create", "update", "delete")})


async def carry_out_each(
    body: BulkBody[B], plural: str, do: Callable[[BulkUpdate[B] | BulkDelete[B], str | B], Awaitable[list[str]]]
) -> Response:
    """The BulkResponse of what is changed one by one, each in the transaction of its own `do`: a request over many dag
    runs holds the locks of one at a time. `do` answers the names that were touched; there is nothing to make here."""
    results: dict[str, BulkActionResponse] = {}
    for action in body.actions:
        name = str(action.__struct_config__.tag)
        result = results.setdefault(name, BulkActionResponse(success=[], errors=[]))
        if isinstance(action, BulkCreate):
            result.errors.append({"error": f"{plural} bulk create is not supported", "status_code": 405})
            continue
        try:
            if isinstance(action, BulkUpdate):
                _known_mask(action.update_mask, action.entities)
        except Invalid as error:
            result.errors.append({"error": str(error), "status_code": status_of(error)})
            continue
        for entity in action.entities:
            try:
                result.success += await do(action, entity)
            except LeoflowError as error:
                if not (isinstance(error, NotFound) and action.action_on_non_existence == "skip"):
                    result.errors.append({"error": str(error), "status_code": status_of(error)})
    return json_answer({name: results.get(name) for name in ("create", "update", "delete")})


async def _carry_out(conn: Conn, action: BulkCreate[B] | BulkUpdate[B] | BulkDelete[B], things: Things[B]) -> list[str]:
    """The names that were touched, in the order of the request."""
    names = [things.name_of(entity) for entity in action.entities]
    known = {name for name in names if await things.lock(conn, name) is not None}
    match action:
        case BulkCreate():
            if known and action.action_on_existence == "fail":
                raise Conflict(f"The {things.plural} with these {things.key}s: {_listed(known)} already exist.")
            skipped = known if action.action_on_existence == "skip" else set()

            async def create(entity: B) -> None:
                is_known = things.name_of(entity) in known
                await (things.update(conn, entity, None) if is_known else things.insert(conn, entity))

            return await _for_each(action.entities, skipped, things, create)
        case BulkUpdate():
            skipped = _missing(names, known, action.action_on_non_existence, things)
            mask = _known_mask(action.update_mask, action.entities)
            return await _for_each(action.entities, skipped, things, lambda entity: things.update(conn, entity, mask))
        case BulkDelete():
            skipped = _missing(names, known, action.action_on_non_existence, things)
            doomed = [name for name in dict.fromkeys(names) if name not in skipped]
            for name in doomed:
                await things.delete(conn, name)
            return doomed


def _known_mask(mask: list[str] | None, entities: Sequence[msgspec.Struct]) -> list[str] | None:
    """Raises `Invalid` for names that are no fields of the entities."""
    for entity in entities[:1]:
        if unknown := set(mask or ()) - set(entity.__struct_encode_fields__):
            fields = ", ".join(entity.__struct_encode_fields__)
            raise Invalid(f"{shown(min(unknown))} is no field; there are {fields}", location=("body", "update_mask"))
    return mask


async def _for_each(
    entities: Sequence[B], skipped: Collection[str], things: Things[B], do: Callable[[B], Awaitable[None]]
) -> list[str]:
    chosen = [entity for entity in entities if things.name_of(entity) not in skipped]
    for entity in chosen:
        await do(entity)
    return [things.name_of(entity) for entity in chosen]


def _missing(names: Sequence[str], known: Collection[str], on_non_existence: str, things: Things[B]) -> set[str]:
    missing = set(names) - set(known)
    if missing and on_non_existence == "fail":
        raise NotFound(f"The {things.plural} with these {things.key}s: {_listed(missing)} were not found.")
    return missing


def _listed(names: Collection[str]) -> str:
    return "{" + ", ".join(repr(name) for name in sorted(names)) + "}"


def status_of(error: LeoflowError) -> int:
    """Of an error inside of an answer that is itself a 200."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def refuse_team(team_name: str | None) -> None:
    """The UI sends an empty text. Raises `BadRequest`."""
    if team_name:
        raise BadRequest("team_name is not supported: teams are off here; leave it out or null")
