"""Callbacks and mails in DAG files: the artifact names events and addresses, and what has functions gets a process."""

from __future__ import annotations

import pytest

from .conftest import Compile

HEADER = """
from datetime import timedelta
from airflow.sdk import DAG, BaseNotifier, task
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.sensors.time_delta import TimeDeltaSensor
def tell(context): ...
class Note(BaseNotifier):
    def notify(self, context): ...
"""


def test_the_artifact_names_the_events_that_have_functions(compiled: Compile) -> None:
    spec = compiled(
        HEADER
        + """
with DAG("d", on_success_callback=tell, on_failure_callback=[tell, Note()],
         default_args={"on_failure_callback": tell}) as dag:
    @task(on_retry_callback=[tell], on_execute_callback=Note())
    def a(): ...
    @task(on_skipped_callback=tell, on_failure_callback=[])
    def b(x): ...
    a() >> b.expand(x=[1])
"""
    )
    a, b = spec.tasks
    assert spec.callbacks == ("failure", "success")
    assert (a.callbacks, b.callbacks) == (("execute", "failure", "retry"), ("skipped",))


@pytest.mark.parametrize(
    ("email", "addresses"),
    [
        ("'a@b'", ("a@b",)),
        ("'a@b, c@d;e@f'", ("a@b", "c@d", "e@f")),
        ("['a@b', 'c@d,e@f']", ("a@b", "c@d", "e@f")),
        ("None", ()),
    ],
)
def test_addresses_are_a_text_or_a_list(compiled: Compile, email: str, addresses: tuple[str, ...]) -> None:
    code = f"\nwith DAG('d'):\n    EmptyOperator(task_id='a', email={email}, email_on_retry=False)\n"
    (a,) = compiled(HEADER + code).tasks
    assert (a.email, a.email_on_failure, a.email_on_retry) == (addresses, True, False)


@pytest.mark.parametrize(
    ("argument", "kind"),
    [
        ("on_success_callback=tell", "python"),
        ("on_execute_callback=tell", "python"),
        ("on_failure_callback=tell", "empty"),
        ("on_success_callback=None", "empty"),
    ],
)
def test_an_empty_task_that_is_to_be_called_has_a_try(compiled: Compile, argument: str, kind: str) -> None:
    """As in Airflow, which runs such a one, and no other, in a worker."""
    (a,) = compiled(f"{HEADER}\nwith DAG('d'):\n    EmptyOperator(task_id='a', {argument})\n").tasks
    assert a.kind == kind


def test_a_wait_is_called_when_it_ends_and_needs_a_process_to_be_called_before(compiled: Compile) -> None:
    line = "\nwith DAG('d'):\n    TimeDeltaSensor(task_id='a', delta=timedelta(1), {}=tell)\n"
    (ends,) = compiled(HEADER + line.format("on_success_callback")).tasks
    (begins,) = compiled(HEADER + line.format("on_execute_callback")).tasks
    assert (ends.kind, ends.callbacks, ends.prepare) == ("wait", ("success",), "daemon")
    assert (begins.kind, begins.callbacks, begins.prepare, begins.wait) == ("wait", ("execute",), "process", None)


def test_a_wait_without_code_of_its_own_is_called_before_by_a_process_as_well(compiled: Compile) -> None:
    code = """
from airflow.providers.standard.sensors.external_task import ExternalTaskSensor
with DAG('d'):
    ExternalTaskSensor(task_id='a', external_dag_id='x', on_execute_callback=tell)
    ExternalTaskSensor.partial(task_id='b', on_execute_callback=tell).expand(external_dag_id=['x', 'y'])
"""
    for task in compiled(HEADER + code).tasks:
        assert (task.kind, task.prepare, task.wait) == ("wait", "process", None)
