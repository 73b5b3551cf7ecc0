"""`deadline=` in DAG files: the artifact says when, the file keeps whom to call (ADR 58)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from leoflowd.contract.deadline_spec import DeadlineSpec

from .conftest import Compile, Refuse

HEADER = """
from datetime import datetime, timedelta, timezone
from airflow.sdk import DAG, AsyncCallback, BaseNotifier, DeadlineAlert, DeadlineReference, SyncCallback
from airflow.providers.standard.operators.empty import EmptyOperator
def tell(text, context): ...
async def later(**kwargs): ...
class Note(BaseNotifier):
    async def async_notify(self, context): ...
def alert(reference=DeadlineReference.DAGRUN_QUEUED_AT, interval=timedelta(hours=1), callback=SyncCallback(tell)):
    return DeadlineAlert(reference=reference, interval=interval, callback=callback)
"""


def of(argument: str) -> str:
    return f"{HEADER}with DAG('d', deadline={argument}):\n    EmptyOperator(task_id='a')\n"


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("None", ()),
        ("alert()", (DeadlineSpec(reference="queued_at", interval_s=3600.0),)),
        (
            "[alert(DeadlineReference.DAGRUN_LOGICAL_DATE, -timedelta(seconds=5)),"
            " alert(callback=AsyncCallback(later))]",
            (
                DeadlineSpec(reference="logical_date", interval_s=-5.0),
                DeadlineSpec(reference="queued_at", interval_s=3600.0),
            ),
        ),
        (
            "alert(DeadlineReference.FIXED_DATETIME(datetime(2030, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))))",
            (DeadlineSpec(reference="fixed", interval_s=3600.0, at=datetime(2030, 1, 1, tzinfo=UTC)),),
        ),
        (
            "[alert(DeadlineReference.AVERAGE_RUNTIME()), alert(DeadlineReference.AVERAGE_RUNTIME(3, min_runs=2))]",
            (
                DeadlineSpec(reference="average_runtime", interval_s=3600.0),
                DeadlineSpec(reference="average_runtime", interval_s=3600.0, max_runs=3, min_runs=2),
            ),
        ),
        ("alert(callback=AsyncCallback(Note))", (DeadlineSpec(reference="queued_at", interval_s=3600.0),)),
        ("alert(callback=AsyncCallback('mine.tell'))", (DeadlineSpec(reference="queued_at", interval_s=3600.0),)),
    ],
)
def test_the_artifact_says_when(compiled: Compile, argument: str, expected: tuple[DeadlineSpec, ...]) -> None:
    assert compiled(of(argument)).deadlines == expected


def test_notifiers_of_providers_are_their_own_matter(compiled: Compile) -> None:
    module = "airflow.providers.slack.notifications.slack_webhook"
    code = of("alert(callback=AsyncCallback(SlackWebhookNotifier, kwargs={'text': 'late'}))")
    spec = compiled(f"from {module} import SlackWebhookNotifier\n{code}", yaml="connectors: [slack]\n")
    assert len(spec.deadlines) == 1


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("[alert(), 1]", ["deadline=1", "DeadlineAlert"]),
        ("alert(interval=5)", ["interval=5", "timedelta"]),
        ("alert(reference='queued_at')", ["reference='queued_at'", "DeadlineReference"]),
        ("alert(callback=tell)", ["callback=", "SyncCallback"]),
        ("alert(callback=AsyncCallback(tell))", ["async def", "SyncCallback"]),
        ("alert(callback=AsyncCallback(BaseNotifier))", ["async_notify", "SyncCallback"]),
        ("alert(callback=SyncCallback('no path'))", ["no path", "dotted path"]),
        ("alert(callback=SyncCallback(tell, {'context': 1}))", ["context"]),
        ("alert(callback=SyncCallback(tell, executor='celery'))", ["executor"]),
        ("alert(DeadlineReference.AVERAGE_RUNTIME(3, min_runs=0))", ["min_runs"]),
        ("alert(interval=timedelta.max)", ["interval_s", "range"]),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_its_line(refused: Refuse, argument: str, words: list[str]) -> None:
    error = refused(of(argument))
    assert error.line is not None
    for word in words:
        assert word in str(error)


def test_a_reference_of_ones_own_is_refused_where_it_is_made(refused: Refuse) -> None:
    code = """
from airflow.sdk.definitions.deadline import BaseDeadlineReference, deadline_reference
@deadline_reference()
class Mine(BaseDeadlineReference):
    def _evaluate_with(self, *, session, **kwargs): ...
"""
    error = refused(code + of("None"))
    assert error.line == 2
    for word in ("Mine", "session", "DAGRUN_QUEUED_AT"):
        assert word in str(error)
