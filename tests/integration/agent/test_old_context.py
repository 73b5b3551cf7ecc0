"""Old names of the context, through an agent and a process of the shim."""

from __future__ import annotations

from datetime import UTC, datetime

from .harness import run_one

SCHEDULED = {
    "dag_run": {"run_type": "scheduled"},
    "prev_logical_date": datetime(2026, 2, 27, tzinfo=UTC),
    "next_logical_date": datetime(2026, 3, 4, tzinfo=UTC),
}


def test_a_function_and_its_arguments_get_the_names_of_that_age() -> None:
    facts = run_one(
        """
        @task
        def run(text, execution_date, ti=None, **context):
            return [text, execution_date.isoformat(), ti.execution_date == execution_date, context["next_ds"],
                    context["dag_run"].execution_date == execution_date, context["yesterday_ds_nodash"]]
        run("{{ prev_ds }} {{ next_execution_date.day }} {{ tomorrow_ds }}")
        """,
        **SCHEDULED,
    )
    assert facts.xcoms["return_value"] == [
        "2026-02-27 4 2026-03-02",
        "2026-03-01T12:30:00+00:00",
        True,
        "2026-03-04",
        True,
        "20260228",
    ], facts.events
