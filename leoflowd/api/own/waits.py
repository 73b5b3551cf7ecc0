"""Waits and the cheap-task pool: the list, one wait explained, what a person may do with it, the pool's numbers.

Blueprint `own_waits`, below `/leoflow/api`. A wait's row comes from the store; why it still waits, from the pool, when
one runs in this process and watches it. Actions end in 202: the pool has begun, here or in the daemon that
watches the wait, and the scheduler commits what follows.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from quart import Blueprint, Response

from leoflowd.api import auth
from leoflowd.api.answers import collection, json_answer
from leoflowd.api.audit import record
from leoflowd.api.bodies import read_body
from leoflowd.api.context import context, lane
from leoflowd.api.live import followed, part
from leoflowd.api.own.watchers import list_asset_watchers
from leoflowd.api.paging import Query, cursor_collection, decode_cursor
from leoflowd.contract.errors import Conflict
from leoflowd.contract.human import HUMAN_KIND
from leoflowd.contract.pool_view import Pool
from leoflowd.contract.wait_spec import ProbeSpec, WaitTerms
from leoflowd.contract.waits import TRIGGER_KIND, WaitAction
from leoflowd.core.explain import KnownWait, WaitFacts, explain_wait, what_is_awaited
from leoflowd.core.rights import ALL_DAGS
from leoflowd.core.secret_names import masked
from leoflowd.store import api_waits
from leoflowd.store.database import Connection
from leoflowd.store.hints import send_hint
from leoflowd.store.waits import set_poke_interval

blueprint = Blueprint("own_waits", __name__)

WAITS = "/leoflow/api/waits"
SHORTEST_S, LONGEST_S = 0.1, 86_400.0
"""What a person may set as poke interval: a slip of the finger shall neither flood a target nor silence a wait."""


class WaitPatchBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    poke_interval_s: Annotated[float, msgspec.Meta(ge=SHORTEST_S, le=LONGEST_S)]


@blueprint.get("/leoflow/api/pool")
async def get_pool() -> Response:
    """`PoolStatistics` and the moment they were taken. What is probed is named only to those who may see every DAG."""
    statistics = _pool().statistics()
    if auth.dags() != ALL_DAGS:
        statistics = msgspec.structs.replace(statistics, targets=(), quarantined=())
    return json_answer({"at": context().now(), **msgspec.structs.asdict(statistics)})


@blueprint.get("/leoflow/api/overview")
@followed
async def get_overview() -> Response:
    """What the page of waits shows, in one answer that it follows: the pool, waits (filtered as their list), watchers
    of assets, and the wait `wait_id`. A part that is refused is its `{"detail": ...}`."""
    query = Query()
    wait_id = query.text("wait_id")
    parts = {
        "pool": await part(get_pool()),
        "waits": await part(list_waits()),
        "watchers": await part(list_asset_watchers()),
    }
    if wait_id is not None:
        parts["wait"] = await part(get_wait(wait_id))
    return json_answer(parts)


@blueprint.get(WAITS)
async def list_waits() -> Response:
    """What waits now. With `cursor` a page costs the same however many wait, and no total is counted."""
    query = Query()
    filters = {
        **{name: query.text(name) for name in ("dag_id", "run_id", "task_id")},
        "kind": query.texts("kind"),
        "state": query.choices("state", ("deferred", "up_for_reschedule")),
        **query.patterns("dag_id"),
        **query.patterns("task_id"),
    }
    limit, offset = query.page()
    order_by, token = query.order_by() or ["-registered_at"], query.text("cursor")
    query.check()
    async with lane().connection() as conn:
        if token is not None:
            page = await api_waits.list_waits_from(
                conn, filters, dags=auth.dags(), order_by=order_by, limit=limit, cursor=decode_cursor(token)
            )
            return cursor_collection("waits", msgspec.structs.replace(page, rows=[_summary(row) for row in page.rows]))
        rows, total = await api_waits.list_waits(
            conn, filters, dags=auth.dags(), order_by=order_by, limit=limit, offset=offset
        )
    return collection("waits", [_summary(row) for row in rows], total)


@blueprint.get(f"{WAITS}/<wait_id>")
async def get_wait(wait_id: str) -> Response:
    async with lane().connection() as conn:
        row = await api_waits.fetch_wait(conn, wait_id, dags=auth.dags())
    wait = _known(row)
    return json_answer(
        {
            **_summary(row),
            "probe": masked(row["probe"]),
            "terms": masked(row["terms"]),
            "because": explain_wait(wait, context().now()) if _is_waiting(row) else (_what_became_of(row),),
            "explanation": wait.seen,
        }
    )


@blueprint.post(f"{WAITS}/<wait_id>/<any(probe, fire, fail):action>")
async def act_on_wait(wait_id: str, action: str) -> Response:
    """Probe now; or end the wait as if its condition were met, or as failed."""
    async with lane().transaction() as conn:
        row = await api_waits.fetch_wait(conn, wait_id, dags=auth.dags())
        pool = _watched_here(row)
        if action == WaitAction.PROBE:
            _check_probed(row, pool)
        if action == WaitAction.FIRE and row["kind"] == HUMAN_KIND:
            raise Conflict(f"Wait `{row['id']}` is for a person's answer: give one under Required Actions")
        await _record(conn, f"{action}_wait", row)
        if pool is None:
            await send_hint(conn, action, row["id"])
    if pool is not None and not pool.act(row["id"], WaitAction(action)):
        raise Conflict(_just_over(row))
    return json_answer({"id": row["id"], "action": action}, 202)


@blueprint.patch(f"{WAITS}/<wait_id>")
async def patch_wait(wait_id: str) -> Response:
    """A new poke interval, for this wait and no other."""
    body = await read_body(WaitPatchBody)
    async with lane().transaction() as conn:
        row = await api_waits.fetch_wait(conn, wait_id, dags=auth.dags())
        pool = _watched_here(row)
        _check_probed(row, pool)
        await _record(conn, "patch_wait", row, poke_interval_s=body.poke_interval_s)
        is_done = pool is None and await set_poke_interval(conn, row["id"], body.poke_interval_s)
        if is_done:
            await send_hint(conn, "terms", f"{row['id']} {body.poke_interval_s}")
    if pool is not None:
        is_done = await pool.set_poke_interval(row["id"], body.poke_interval_s)
    if not is_done:
        raise Conflict(_just_over(row))
    return json_answer({"id": row["id"], "poke_interval_s": body.poke_interval_s})


async def fetch_known_wait(conn: Connection, *, dag_run_id: int, task_id: str, map_index: int) -> KnownWait | None:
    """What a task instance waits for, as store and pool know it; None = nothing. For explain and logs."""
    facts = await api_waits.fetch_wait_of_instance(conn, dag_run_id=dag_run_id, task_id=task_id, map_index=map_index)
    return None if facts is None else _with_pool(facts)


# --- rows --------------------------------------------------------------------------------------------------------


def _summary(row: dict[str, Any]) -> dict[str, Any]:
    """A line of the list: the row without its JSON parts, and what the pool says of it."""
    wait = _known(row)
    seen = wait.seen
    return {
        **{name: value for name, value in row.items() if name not in ("probe", "terms")},
        "mode": wait.facts.terms.mode,
        "is_deferral": wait.facts.terms.resume is not None,
        "waits_for": what_is_awaited(wait),
        "poke_interval_s": wait.facts.terms.poke_interval_s if seen is None else seen.poke_interval_s,
        "is_watched": seen is not None or (wait.is_elsewhere and not wait.facts.is_paused),
        "is_elsewhere": wait.is_elsewhere,
        "last_observation": None if seen is None else seen.last_observation,
        "next_probe_at": None if seen is None else seen.next_probe_at,
        "due_at": None if seen is None else seen.due_at,
        "blocked_by": None if seen is None else seen.blocked_by,
    }


def _known(row: dict[str, Any]) -> KnownWait:
    facts = WaitFacts(
        id=row["id"],
        probe=msgspec.convert(row["probe"], ProbeSpec),
        terms=msgspec.convert(row["terms"], WaitTerms),
        registered_at=row["registered_at"],
        deadline_at=row["deadline_at"],
        is_paused=row["is_paused"],
    )
    return _with_pool(facts) if _is_waiting(row) else KnownWait(facts, None)


def _is_waiting(row: dict[str, Any]) -> bool:
    return bool(row["status"] == "waiting")


def _what_became_of(row: dict[str, Any]) -> str:
    if row["status"] == "fired":
        fired_at = row["ended_at"].isoformat(sep=" ", timespec="seconds")
        return f"it fired at {fired_at}, and its task goes on (state {row['state']})"
    return "it is over: its task instance was cleared, marked or ended in another way"


# --- the pool ----------------------------------------------------------------------------------------------------


def _pool() -> Pool:
    """Raises `Conflict` in a daemon without one."""
    pool = context().pool
    if pool is None:
        raise Conflict("This daemon has no share of the cheap-task pool: ask one of role `all` or `scheduler`")
    return pool


def _with_pool(facts: WaitFacts) -> KnownWait:
    pool = context().pool
    if pool is None or not pool.holds(facts.id):
        return KnownWait(facts, None, is_elsewhere=True)
    return KnownWait(facts, pool.explain(facts.id))


def _watched_here(row: dict[str, Any]) -> Pool | None:
    """None: another daemon watches it. Raises `Conflict` when nobody does."""
    if not _is_waiting(row):
        raise Conflict(f"Nothing to do for wait `{row['id']}`: {_what_became_of(row)}")
    if row["is_paused"]:
        raise Conflict(
            f"Dag `{row['dag_id']}` is paused, so the cheap-task pool leaves its waits alone; unpause it first"
        )
    pool = context().pool
    if pool is None or not pool.holds(row["id"]):
        return None
    if pool.explain(row["id"]) is None:
        raise Conflict(f"The cheap-task pool does not watch wait `{row['id']}` yet; try again in a moment")
    return pool


def _check_probed(row: dict[str, Any], pool: Pool | None) -> None:
    if row["kind"] == HUMAN_KIND:
        raise Conflict("It waits for a person's answer, which is seen at once: there is nothing to probe")
    if row["kind"] == TRIGGER_KIND:
        raise Conflict("A trigger looks by itself, in its trigger host: it can be fired or failed, not probed")
    seen = None if pool is None else pool.explain(row["id"])
    if seen is not None and seen.due_at is not None:
        raise Conflict(f"It waits for a moment ({seen.due_at.isoformat()}), which is not probed")


def _just_over(row: dict[str, Any]) -> str:
    return f"Wait `{row['id']}` ended this very moment; nothing was changed"


async def _record(conn: Connection, event: str, row: dict[str, Any], **extra: Any) -> None:
    await record(
        conn,
        event,
        row["dag_id"],
        run_id=row["dag_run_id"],
        task_id=row["task_id"],
        map_index=row["map_index"],
        try_number=row["try_number"],
        extra={"wait_id": row["id"], "kind": row["kind"], **extra},
    )
