"""The spec of a try: which upstream outputs go along with it, in which order, and when they are too large."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from leoflowd.contract.agent_messages import DagRunFacts, ResumeCall, XComInput
from leoflowd.contract.dag_spec import CronTimetable, DagSpec, TaskSpec, XComRef
from leoflowd.core.dag_shape import shape_of
from leoflowd.core.run_view import InstanceFacts
from leoflowd.core.try_spec import XCOM_BYTES_ALONG, Artifact, TryFacts, build_try_spec

AT = datetime(2026, 11, 28, tzinfo=UTC)


def a_try(*refs: XComRef, map_index: int = -1, **facts: Any) -> TryFacts:
    down = TaskSpec(task_id="down", operator="X", upstream_task_ids=("a", "b"), xcom_refs=refs, env={"A": "b"})
    down = msgspec.structs.replace(down, do_xcom_push=False)
    tasks = (TaskSpec(task_id="a", operator="X"), TaskSpec(task_id="b", operator="X"), down)
    spec = DagSpec(dag_id="d", tasks=tasks, source_path="etl/dag.py")
    shape = shape_of(spec)
    return TryFacts(
        dag_run_id=7,
        facts=InstanceFacts(id="t", node=shape.index_of["down"], map_index=map_index, **facts),
        run=DagRunFacts(dag_id="d", run_id="r", run_type="manual", run_after=AT),
        artifact=Artifact(spec=spec, shape=shape, bundle_digest="digest", version_number=3),
    )


def pushed(task_id: str, value: str = "1", *, key: str = "return_value", map_index: int = -1) -> XComInput:
    return XComInput(task_id=task_id, key=key, map_index=map_index, value=value)


def test_outputs_go_along_in_the_order_of_the_references() -> None:
    one = a_try(XComRef(task_id="b"), XComRef(task_id="a", key="k"), XComRef(task_id="a"))
    a, k, b0, b1 = pushed("a"), pushed("a", key="k"), pushed("b", map_index=0), pushed("b", map_index=1)
    assert build_try_spec(one, [a, k, b0, b1]).xcoms == (b0, b1, k, a)


def test_a_run_with_a_staging_volume_names_it_to_its_tasks() -> None:
    one = a_try()
    assert build_try_spec(one).env == {"A": "b"}
    spec = msgspec.structs.replace(one.artifact.spec, staging={"enabled": True})
    staged = msgspec.structs.replace(one, artifact=msgspec.structs.replace(one.artifact, spec=spec))
    assert build_try_spec(staged).env == {"A": "b", "LEOFLOW_STAGING_DIR": "/staging"}


def test_what_is_not_referred_to_stays_behind() -> None:
    one = a_try(XComRef(task_id="a"))
    assert build_try_spec(one, [pushed("a", key="other"), pushed("b")]).xcoms == ()


@pytest.mark.parametrize(("more", "complete"), [(0, True), (1, False)])
def test_outputs_that_are_too_large_together_are_left_to_be_pulled(more: int, complete: bool) -> None:
    one = a_try(XComRef(task_id="a"), XComRef(task_id="b"))
    spec = build_try_spec(one, [pushed("a"), pushed("b", "x" * (XCOM_BYTES_ALONG - 1 + more))])
    assert (spec.xcoms_complete, len(spec.xcoms)) == (complete, 2 if complete else 0)


def test_each_source_is_asked_for_once() -> None:
    one = a_try(XComRef(task_id="b"), XComRef(task_id="a"), XComRef(task_id="b", key="k"))
    assert one.wanted_xcoms == [(7, "b"), (7, "a")]


def test_only_a_try_that_deferred_is_asked_about() -> None:
    assert [a_try(wait=wait).goes_on for wait in ("", "waiting", "fired")] == [False, False, True]


def test_a_spec_says_which_try_of_which_instance_it_is() -> None:
    one = a_try(map_index=2, try_number=3, max_tries=4, start_date=AT)
    resume = ResumeCall(next_method="done")
    spec = build_try_spec(one, resume=resume)
    assert one.key == (7, "down", 2)
    assert (spec.try_id, spec.task_id, spec.map_index, spec.try_number, spec.max_tries) == ("t", "down", 2, 3, 4)
    assert (spec.bundle_digest, spec.dag_version_number, spec.env) == ("digest", 3, {"A": "b"})
    assert (spec.dag_run, spec.first_started_at, spec.resume) == (one.run, AT, resume)
    assert (spec.source_path, spec.do_xcom_push) == ("etl/dag.py", False)
    assert (spec.python, spec.bundle_path) == ("", ""), "only the place where it runs knows these"


@pytest.mark.parametrize(
    ("decides", "run_type", "has_window"),
    [(True, "scheduled", True), (True, "backfill", True), (True, "manual", False), (False, "scheduled", False)],
)
def test_a_decider_is_told_until_when_its_run_is_the_newest(decides: bool, run_type: str, has_window: bool) -> None:
    spec = DagSpec(
        dag_id="d",
        tasks=(TaskSpec(task_id="latest", operator="X", decides=decides),),
        timetable=CronTimetable(expression="0 0 * * *"),
    )
    one = TryFacts(
        dag_run_id=7,
        facts=InstanceFacts(id="t", node=0),
        run=DagRunFacts(dag_id="d", run_id="r", run_type=run_type, run_after=AT, logical_date=AT),
        artifact=Artifact(spec=spec, shape=shape_of(spec), bundle_digest="digest", version_number=3),
    )
    assert build_try_spec(one).latest_window == ((AT, AT + timedelta(days=1)) if has_window else None)


@pytest.mark.parametrize(("run_type", "day"), [("scheduled", 27), ("backfill", 27), ("manual", None)])
def test_a_scheduled_try_knows_the_runs_beside_its_own(run_type: str, day: int | None) -> None:
    one = a_try()
    daily = msgspec.structs.replace(one.artifact.spec, timetable=CronTimetable(expression="0 0 * * *"))
    one = msgspec.structs.replace(
        one,
        run=msgspec.structs.replace(one.run, run_type=run_type, logical_date=AT),
        artifact=msgspec.structs.replace(one.artifact, spec=daily),
    )
    spec = build_try_spec(one)
    assert spec.prev_logical_date == (day and AT.replace(day=day))
    assert spec.next_logical_date == (day and AT.replace(day=29))
