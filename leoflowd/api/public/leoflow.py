"""What Airflow's API has no word for: push an artifact, explain an instance, the tree. Blueprint `public_leoflow`."""

from __future__ import annotations

from datetime import datetime
from functools import partial

import msgspec
import trio
from quart import Blueprint, Response, request

from leoflowd.api import auth
from leoflowd.api.answers import json_answer
from leoflowd.api.audit import record
from leoflowd.api.bodies import ARTIFACT_MAX_BYTES, ARTIFACT_WITHIN_S, raw_body, read_body
from leoflowd.api.context import context, lane
from leoflowd.api.live import followed
from leoflowd.api.own.versions import check_code_is_here, is_code_here
from leoflowd.api.paging import Query
from leoflowd.api.public import task_instances
from leoflowd.contract.dag_spec import SCHEMA_VERSION, DagSpec
from leoflowd.contract.errors import Conflict, Invalid, NotFound
from leoflowd.contract.named_connections import connections_in
from leoflowd.contract.signatures import HEADER
from leoflowd.core.canary import CanaryTerms
from leoflowd.core.explain import explain_try
from leoflowd.core.explain_dag import explain_dag
from leoflowd.core.schedule import what_if
from leoflowd.store import api_task_instances, canaries, dag_runs, ui_dags
from leoflowd.store.api_callbacks import explain_callbacks
from leoflowd.store.api_records import list_missing_pools
from leoflowd.store.canary_versions import register_canary
from leoflowd.store.connections import list_missing_connections
from leoflowd.store.dag_facts import fetch_dag_facts
from leoflowd.store.dags import Registered, fetch_version, off_loop, register_dag, size_of
from leoflowd.store.database import Connection

blueprint = Blueprint("public_leoflow", __name__)

PUSHED = "pushed"
"""bundle_name of DAGs that came over this route, not from a workspace."""


@blueprint.post("/api/v2/leoflow/dags")
async def register() -> Response:
    """Register a compiled `dag.json`: 201 for a new version, 200 for one that is known (it becomes the current one).

    With `canary`, percent, it gets that share of the new runs instead, until more than `rollback_above` percent of
    them failed when `after` of them ended. A DAG that is new has nothing to compare it with: it becomes current.
    `missing_connections` are those that this artifact names and nobody added; its tasks could ask for each of them, so
    its author learns nothing here that they would not tell.
    `warnings` says which of its pools do not exist, `signed_by` whose signature was checked (`Leoflow-Signature`).
    """
    terms = _canary_terms(Query())
    spec = await _read_artifact()
    signed_by = await _signer_of(spec)
    check_code_is_here(spec)
    by, now = auth.caller().username, context().now()
    async with lane().transaction() as conn:
        registered = (
            None if terms is None else await register_canary(conn, spec, terms, by=by, now=now, signed_by=signed_by)
        )
        is_canary = registered is not None
        if registered is None:
            registered = await _registered(conn, spec, now, signed_by)
            because = f"{by} deployed version {registered.version_number}"
            await canaries.end(conn, spec.dag_id, because=because, now=now)
        warnings = await list_missing_pools(conn, dag_id=spec.dag_id, version_id=registered.version_id)
        facts = {
            "version_number": registered.version_number,
            "canary": terms if is_canary else None,
            "signed_by": signed_by,
        }
        await record(conn, "register_dag", spec.dag_id, extra=facts)
        named = await off_loop(lambda: connections_in(spec), size=size_of(spec))
        missing = await list_missing_connections(conn, named)
    return json_answer(
        {
            "canary": terms if is_canary else None,
            "dag_id": spec.dag_id,
            "version_id": registered.version_id,
            "version_number": registered.version_number,
            "created": registered.created,
            "missing_connections": missing,
            "signed_by": signed_by,
            "warnings": warnings,
        },
        201 if registered.created else 200,
    )


@blueprint.post("/api/v2/leoflow/dags/check")
async def check() -> Response:
    """What registering this `dag.json` would answer, `created` and `warnings`, or why it would be refused; the code
    need not be here yet, and `code_is_here` says whether it is. `signatures` are `required`, `checked` or `ignored`
    here; this one is not asked for, since the image is not pinned yet. Nothing is kept."""
    spec = await _read_artifact()
    async with lane().connection() as conn, conn.transaction(force_rollback=True):
        registered = await _registered(conn, spec, context().now())
        warnings = await list_missing_pools(conn, dag_id=spec.dag_id, version_id=registered.version_id)
    return json_answer(
        {
            "dag_id": spec.dag_id,
            "created": registered.created,
            "code_is_here": is_code_here(spec),
            "signatures": context().admission.word,
            "warnings": warnings,
        }
    )


async def _read_artifact() -> DagSpec:
    """Raises `NotAllowed`, `NotFound`, `Invalid`, `Conflict`."""
    spec = await read_body(DagSpec, ARTIFACT_MAX_BYTES, within_s=ARTIFACT_WITHIN_S, check=False)
    auth.check_dag(spec.dag_id)
    _check_spec(spec)
    return spec


async def _signer_of(spec: DagSpec) -> str | None:
    """Of the artifact that was just read. Raises `NotAllowed`."""
    artifact = await raw_body(ARTIFACT_MAX_BYTES)
    return context().admission.signer_of(spec.dag_id, artifact, request.headers.get(HEADER))


async def _registered(conn: Connection, spec: DagSpec, now: datetime, signed_by: str | None = None) -> Registered:
    """Raises `Invalid`."""
    return await register_dag(
        conn,
        spec,
        now=now,
        fileloc=spec.source_path,
        relative_fileloc=spec.source_path,
        bundle_name=PUSHED,
        paused_at_creation=context().paused_at_creation,
        signed_by=signed_by,
    )


@blueprint.get("/api/v2/leoflow/explain/<dag_id>/<run_id>/<task_id>")
@followed
async def explain(dag_id: str, run_id: str, task_id: str) -> Response:
    """Why is this task instance in its state, and what does it wait for: sentences, the state first."""
    query = Query()
    map_index = query.integer("map_index", -1)
    query.check()
    assert map_index is not None
    async with lane().connection() as conn:
        run = await dag_runs.fetch_dag_run(conn, dag_id, run_id)
        explained = await task_instances.explain(conn, run, task_id, map_index)
        earlier = await api_task_instances.list_earlier_tries(conn, run.id, task_id, map_index)
        called = await explain_callbacks(conn, dag_run_id=run.id, task_id=task_id, map_index=map_index)
    if not explained.because:
        raise NotFound(
            f"The Task Instance with dag_id: `{dag_id}`, run_id: `{run_id}`, task_id: `{task_id}` and "
            f"map_index: `{map_index}` was not found"
        )
    before = (explain_try(row["try_number"], row["state"], row["because"]) for row in earlier)
    return json_answer(
        {
            "dag_id": dag_id,
            "dag_run_id": run_id,
            "task_id": task_id,
            "map_index": map_index,
            "because": (*explained.because, *called, *before),
            "wait_id": explained.wait_id,
        }
    )


@blueprint.get("/api/v2/leoflow/explain/<dag_id>/<run_id>")
@followed
async def explain_dag_run(dag_id: str, run_id: str) -> Response:
    """What does this run wait for, or why did it fail? Sentences, the state first."""
    async with lane().connection() as conn:
        because = await task_instances.explain_whole(conn, await dag_runs.fetch_dag_run(conn, dag_id, run_id))
    return json_answer({"dag_id": dag_id, "dag_run_id": run_id, "because": because})


@blueprint.get("/api/v2/leoflow/explain/<dag_id>")
@followed
async def explain_runs(dag_id: str) -> Response:
    """Why does this DAG not run? Sentences about its schedule, its assets and their watchers."""
    async with lane().connection() as conn:
        spec = (await fetch_version(conn, dag_id)).spec
        facts = await fetch_dag_facts(conn, dag_id, dags=auth.dags())
    return json_answer({"dag_id": dag_id, "because": explain_dag(spec, facts, context().now())})


@blueprint.get("/api/v2/leoflow/schedule/<dag_id>")
async def schedule(dag_id: str) -> Response:
    """When would this DAG run? `next` runs (10) after its last one, or `from` a moment on; local times of `zone`."""
    query = Query()
    count, since, zone = query.integer("next", 10, minimum=1), query.moment("from"), query.text("zone")
    query.check()
    assert count is not None
    async with lane().connection() as conn:
        spec = (await fetch_version(conn, dag_id)).spec
        last = await ui_dags.fetch_last_interval(conn, dag_id=dag_id)
    # up to 100,000 steps, of 50 us each
    plan = partial(what_if, spec, count=count, now=context().now(), last=last, since=since, zone=zone)
    return json_answer(msgspec.to_builtins(await trio.to_thread.run_sync(plan)))


@blueprint.get("/api/v2/leoflow/tree")
@followed
async def tree() -> Response:
    return json_answer(msgspec.to_builtins(context().tree()))


def _canary_terms(query: Query) -> CanaryTerms | None:
    """Raises `Unprocessable`, `Invalid`."""
    given = {
        "share": query.integer("canary"),
        "rollback_above": query.integer("rollback_above"),
        "after": query.integer("after"),
    }
    query.check()
    given = {field: value for field, value in given.items() if value is not None}
    if not given:
        return None
    if "share" not in given:
        raise Invalid(
            "rollback_above and after are a canary's: name its share with canary", location=("query", "canary")
        )
    try:
        return msgspec.convert(given, CanaryTerms)
    except msgspec.ValidationError as error:
        raise Invalid(f"no canary can be like this: {error}", location=("query", "canary")) from error


def _check_spec(spec: DagSpec) -> None:
    """Raises `Conflict` for an artifact of another release; all else is checked where it is stored."""
    if spec.schema_version != SCHEMA_VERSION:
        raise Conflict(
            f"the artifact has schema_version {spec.schema_version}, this server reads {SCHEMA_VERSION}; compile it "
            "with the `leoflow` of the server's version"
        )
