"""What artifacts and tasks may say of assets."""

from __future__ import annotations

import pytest

from leoflowd.agents.incoming import check_question
from leoflowd.contract.agent_messages import AssetEventsAsk
from leoflowd.contract.asset_spec import (
    AliasSpec,
    AllOf,
    AssetAt,
    AssetCondition,
    AssetRecord,
    AssetSpec,
    WatcherSpec,
    check_condition,
    check_record,
)
from leoflowd.contract.dag_spec import DagSpec, TaskSpec, checked
from leoflowd.contract.errors import Invalid

A = AssetSpec(name="a", uri="u://a")
WATCHED = AssetSpec(name="a", uri="u://a", watchers=(WatcherSpec(name="w", trigger="x.Y"),))
LARGE = WatcherSpec(name="w", trigger="x.Y", arguments={"a": "x" * 64 * 1024})
UNNAMED = AssetSpec(name="a", uri="u://a", watchers=(WatcherSpec(name="", trigger="x.Y"),))


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        (AssetSpec(name="", uri="u"), "the name of an asset"),
        (AssetSpec(name="a" * 1_501, uri="u"), "the name of an asset"),
        (AssetSpec(name="a\0", uri="u"), "the name of an asset"),
        (AssetSpec(name="ä" * 1_000, uri="u" * 700), "more than 2,600 bytes together"),
        (AliasSpec(name=""), "asset alias"),
        (AllOf(of=(A, AssetAt(uri=""))), "a reference to an asset"),
        (AllOf(of=(A, UNNAMED)), "the name of a watcher of asset 'a'"),
        (AssetSpec(name="a", uri="a", watchers=WATCHED.watchers * 101), "at most 100 are possible"),
        (AssetSpec(name="a", uri="a", watchers=(WatcherSpec(name="w", trigger=""),)), "the trigger of watcher 'w'"),
        (AssetSpec(name="a", uri="a", watchers=(LARGE,)), "the arguments of watcher 'w'"),
    ],
)
def test_what_cannot_be_stored_or_run_is_refused(condition: AssetCondition, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        check_condition(condition, "a test")


def test_watchers_are_taken() -> None:
    check_condition(AllOf(of=(A, WATCHED)), "a test")


def test_an_artifact_is_refused_at_its_task_or_its_schedule() -> None:
    task = TaskSpec(task_id="t", operator="EmptyOperator", outlets=(UNNAMED,))
    with pytest.raises(Invalid) as refused:
        checked(DagSpec(dag_id="d", tasks=(task,)))
    assert refused.value.location == ("tasks", "t")
    with pytest.raises(Invalid) as refused:
        checked(DagSpec(dag_id="d", tasks=(), asset_condition=UNNAMED))
    assert refused.value.location == ("dag",)


@pytest.mark.parametrize(
    "fields",
    [
        {"extra": "[]"},
        {"extra": "{"},
        {"asset_extra": "null"},
        {"extra": '{"a": "%s"}' % ("x" * 64 * 1024)},
        {"alias": ""},
        {"partition_key": "p" * 251},
        {"uri": ""},
    ],
)
def test_an_odd_record_is_refused(fields: dict[str, str]) -> None:
    check_record(AssetRecord(name="a", uri="u"), "a test")
    with pytest.raises(Invalid):
        check_record(AssetRecord(**{"name": "a", "uri": "u", **fields}), "a test")


@pytest.mark.parametrize("fields", [{}, {"name": "a", "alias": "b"}, {"name": "a\0"}, {"alias": "x", "limit": -1}])
def test_an_odd_question_is_refused(fields: dict[str, object]) -> None:
    for good in ({"name": "a"}, {"uri": "u"}, {"alias": "x", "limit": 5}, {"triggering": True}):
        check_question(AssetEventsAsk(request_id=1, **good))  # type: ignore[arg-type]
    with pytest.raises(Invalid):
        check_question(AssetEventsAsk(request_id=1, **fields))  # type: ignore[arg-type]
