"""Versions of a DAG: listed, compared, an older one or a canary made current. Blueprint `own_versions`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from quart import Blueprint, Response

from leoflowd.api.answers import collection, json_answer
from leoflowd.api.audit import record
from leoflowd.api.auth import caller
from leoflowd.api.bodies import read_body
from leoflowd.api.context import context, lane
from leoflowd.api.paging import Query
from leoflowd.contract.dag_spec import DagSpec
from leoflowd.contract.errors import Conflict, NotFound
from leoflowd.core.version_diff import diff_versions
from leoflowd.store import canaries, dags
from leoflowd.store.canary_versions import promote
from leoflowd.store.dags import VersionRow
from leoflowd.store.database import Connection
from leoflowd.store.rollback import roll_back

blueprint = Blueprint("own_versions", __name__)


class RollbackBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version_number: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


@blueprint.get("/api/v2/leoflow/dags/<dag_id>/diff")
async def diff(dag_id: str) -> Response:
    """`from` and `to` are version numbers; the current one, and the one before it, if they are left out."""
    query = Query()
    before, after = query.integer("from", minimum=1), query.integer("to", minimum=1)
    query.check()
    async with lane().connection() as conn:
        new = await dags.fetch_version(conn, dag_id, after)
        if before is None and new.version_number == 1:
            raise Conflict(f"Dag `{dag_id}` has nothing before version 1: name another version to compare it with")
        old = await dags.fetch_version(conn, dag_id, before or new.version_number - 1)
    labels = (f"version {old.version_number}", f"version {new.version_number}")
    sources = _with_source(old), _with_source(new)
    found = await dags.off_loop(lambda: diff_versions(*sources, labels=labels), size=max(map(dags.size_of, sources)))
    numbers = {"from_version": old.version_number, "to_version": new.version_number}
    return json_answer({"dag_id": dag_id, **numbers, "is_empty": found.is_empty, **msgspec.structs.asdict(found)})


@blueprint.post("/api/v2/leoflow/dags/<dag_id>/rollback")
async def rollback(dag_id: str) -> Response:
    """Makes that version current, until the DAG's file gives something else; also forward again."""
    body = await read_body(RollbackBody)
    async with lane().transaction() as conn:
        version, was = await roll_back(conn, dag_id, body.version_number, context().now(), by=caller().username)
        await _check_may_run(conn, version)
        numbers = {"version_number": version.version_number, "rolled_back_from": was}
        await record(conn, "rollback_dag", dag_id, extra=numbers)
    return json_answer({"dag_id": dag_id, **numbers})


@blueprint.get("/api/v2/leoflow/dags/<dag_id>/versions")
async def list_versions(dag_id: str) -> Response:
    """Newest first: which is current, and of each the last canary that it was, with how its runs ended."""
    async with lane().connection() as conn:
        rows = await canaries.list_versions(conn, dag_id)
    if not rows:
        raise NotFound(f"The Dag with ID: `{dag_id}` was not found")
    return collection("versions", rows, len(rows))


@blueprint.post("/api/v2/leoflow/dags/<dag_id>/promote")
async def promote_canary(dag_id: str) -> Response:
    """All new runs are of the canary from now on. Without a body."""
    async with lane().transaction() as conn:
        version, was = await promote(conn, dag_id, context().now(), by=caller().username)
        await _check_may_run(conn, version)
        numbers = {"version_number": version.version_number, "promoted_over": was}
        await record(conn, "promote_dag", dag_id, extra=numbers)
    return json_answer({"dag_id": dag_id, **numbers})


def is_code_here(spec: DagSpec) -> bool:
    """Whether runs of this version could be started: from its image, or in Lite from its bundle."""
    bundles = context().config.bundles
    return bundles is None or (bundles / spec.bundle_digest).is_dir()


def check_code_is_here(spec: DagSpec) -> None:
    """Raises `Conflict` when no run of this version could be started here."""
    if not is_code_here(spec):
        raise Conflict(
            f"the code of this version of Dag `{spec.dag_id}` (bundle {spec.bundle_digest[:12]}) is not here: "
            "Lite runs the projects of its workspace, so put the project's folder there; an artifact alone can be "
            "pushed to bring back a version that was there before"
        )


async def _check_may_run(conn: Connection, version: VersionRow) -> None:
    """Raises `Conflict`, `NotAllowed`."""
    check_code_is_here(version.spec)
    context().admission.check(version.dag_id, await dags.fetch_signer(conn, version.id))


def _with_source(version: VersionRow) -> DagSpec:
    return msgspec.structs.replace(version.spec, source=version.source)
