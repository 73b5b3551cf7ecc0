"""The specs of tries: reads what they need beside the facts, and lets `core.try_spec` build them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from leoflowd.contract.agent_messages import XCOM_MAX_BYTES, TrySpec, XComInput
from leoflowd.contract.xcoms import XCom
from leoflowd.core.try_spec import TryFacts, build_try_spec
from leoflowd.store.database import Connection
from leoflowd.store.run_views import load_try
from leoflowd.store.tries import TryRow
from leoflowd.store.waits import InstanceKey, list_resumes
from leoflowd.store.xcoms import xcoms_of


async def list_try_specs(conn: Connection, tries: Sequence[TryFacts]) -> tuple[TrySpec, ...]:
    """One for each, in this order, with two queries at most; their XComs are in memory together.

    Raises `ValuesUnavailable` and `ValueGone`.
    """
    pushed: dict[tuple[int, str], list[XComInput]] = defaultdict(list)
    wanted = {source for one in tries for source in one.wanted_xcoms}
    for xcom in await xcoms_of(conn).outputs(sorted(wanted)) if wanted else ():
        pushed[xcom.dag_run_id, xcom.task_id].append(_input(xcom))
    beside: dict[InstanceKey, list[XComInput]] = defaultdict(list)
    instances = sorted({source for one in tries for source in one.wanted_instances})
    for xcom in await xcoms_of(conn).outputs_of(instances) if instances else ():
        beside[xcom.dag_run_id, xcom.task_id, xcom.map_index].append(_input(xcom))
    going_on = [one.key for one in tries if one.goes_on]
    resumes = await list_resumes(conn, going_on) if going_on else {}
    max_bytes = conn.values.max_bytes
    return tuple(
        msgspec.structs.replace(spec, xcom_max_bytes=max_bytes if max_bytes > XCOM_MAX_BYTES else None)
        for one in tries
        for spec in [
            build_try_spec(
                one,
                [
                    *(xcom for source in one.wanted_xcoms for xcom in pushed[source]),
                    *(xcom for source in one.wanted_instances for xcom in beside[source]),
                ],
                resumes.get(one.key),
            )
        ]
    )


def _input(xcom: XCom) -> XComInput:
    return XComInput(task_id=xcom.task_id, key=xcom.key, map_index=xcom.map_index, value=xcom.value)


async def fetch_try_spec(conn: Connection, row: TryRow) -> TrySpec | None:
    """The spec of a try from its rows; None when it was replaced meanwhile. Raises `run_views.BrokenRun`."""
    one = await load_try(conn, row.dag_run_id, str(row.id))
    return None if one is None else (await list_try_specs(conn, [one]))[0]
