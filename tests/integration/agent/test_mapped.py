"""Instances of mapped tasks in real task processes: what they take, what they return, and what they are called."""

from __future__ import annotations

import json
from typing import Any

from leoflowd.contract.agent_messages import OutcomeKind, XComInput
from tests.fakes.fake_control_plane import Facts

from .harness import run_one


def value(task_id: str, found: Any, **fields: Any) -> XComInput:
    return XComInput(task_id=task_id, key="return_value", value=json.dumps(found), **fields)


ADD = """
@task
def make(): ...
@task
def other(): ...
"""


def test_an_instance_takes_the_item_that_came_along() -> None:
    result = run_one(
        ADD
        + """
@task(map_index_template="{{ name }}!")
def run(x, y, ti=None):
    get_current_context()["name"] = f"{x}-{ti.map_index}"
    return [x, y, ti.map_index, ti.is_mapped]
run.partial(y="{{ ds }}").expand(x=make())
""",
        map_index=1,
        xcoms=(value("make", {"1": "{{ kept }}"}, length=3),),
    )
    assert result.xcoms["return_value"] == ["{{ kept }}", "2026-03-01", 1, True], result.events
    assert result.names == ["{{ kept }}-1!"], "its name is known when it has run"
    assert result.rendered is not None
    assert result.rendered["op_kwargs"] == {"y": "2026-03-01", "x": "{{ kept }}"}
    assert "XComPull" not in result.messages


def test_an_instance_that_fails_has_the_name_that_it_made_before() -> None:
    result = run_one(
        ADD
        + """
@task(map_index_template="{{ name }}!")
def run(x):
    get_current_context()["name"] = x
    raise ValueError(x)
run.expand(x=make())
""",
        map_index=0,
        xcoms=(value("make", {"0": "bad"}, length=1),),
    )
    assert result.outcome.kind is OutcomeKind.FAILED
    assert "ValueError: bad" in result.outcome.because
    assert result.names == ["bad!"]


def test_an_instance_of_an_operator_has_its_own_arguments() -> None:
    result = run_one(
        """
BashOperator.partial(task_id="run", bash_command="echo $A {{ ti.map_index }}").expand(env=[{"A": "a"}, {"A": "b"}])
""",
        map_index=1,
        kind="bash",
        operator="BashOperator",
    )
    assert result.xcoms["return_value"] == "b 1", result.events


def test_a_reducer_reads_a_mapped_tasks_outputs_page_by_page() -> None:
    facts = Facts(xcoms=[value("make", number, map_index=number) for number in range(70)])
    result = run_one(
        """
@task
def make(x): ...
@task
def run(ones):
    return {"sum": sum(ones), "len": len(ones), "slice": ones[2:4], "last": ones[-1], "all": ones}
run(make.expand(x=[1, 2]))
""",
        facts=facts,
        xcoms_complete=False,
    )
    found = result.xcoms["return_value"]
    assert (found["sum"], found["len"]) == (sum(range(70)), 70), result.events
    assert (found["slice"], found["last"]) == ([2, 3], 69)
    assert found["all"] == list(range(70))
    assert len(facts.pulls) == 4, "one, and three pages of 32"


def test_an_instance_that_maps_over_a_mapped_task_asks_for_its_item_alone() -> None:
    facts = Facts(xcoms=[value("make", number * 10, map_index=number) for number in range(70)])
    result = run_one(
        """
@task
def make(x): ...
@task
def run(x): return x
run.expand(x=make.expand(x=[1, 2]).map(lambda v: v + 1))
""",
        facts=facts,
        map_index=50,
    )
    assert result.xcoms["return_value"] == 501, result.events
    assert [(ask.offset, ask.limit) for ask in facts.pulls] == [(0, 1), (50, 1)]


def test_inside_of_a_group_an_instance_takes_its_own_index() -> None:
    result = run_one(
        ADD
        + """
@task
def before(v): ...
@task
def run(v, w): return [v, w]
@task_group
def g(v):
    run(v, before(v))
g(1)
@task_group(prefix_group_id=False)
def h(v):
    run.override(task_id="run_here")(v, before.override(task_id="before_here")(v))
h.expand(v=make())
""",
        header=HEADER_WITH_GROUPS,
        task_id="run_here",
        map_index=2,
        xcoms=(value("make", {"2": "item"}, length=3), value("before_here", "mine", map_index=2)),
    )
    assert result.xcoms["return_value"] == ["item", "mine"], result.events


def test_a_native_sensor_with_a_mapped_argument_hands_its_wait_to_the_pool() -> None:
    result = run_one(
        'FileSensor.partial(task_id="run", poke_interval=5).expand(filepath=["/a", "/b"])',
        header=HEADER_WITH_GROUPS,
        map_index=1,
        kind="wait",
        operator="FileSensor",
    )
    assert result.outcome.kind is OutcomeKind.DEFERRED, result.events
    assert result.outcome.deferral is not None
    assert result.outcome.deferral.wait is not None
    assert "/b" in json.dumps(result.outcome.deferral.wait.probe.arguments)


def test_a_mapped_function_that_fails_fails_its_instance() -> None:
    result = run_one(
        ADD + "@task\ndef run(x): ...\nrun.expand(x=make().map(lambda v: v['no']))",
        map_index=0,
        xcoms=(value("make", {"0": {}}, length=1),),
    )
    assert result.outcome.kind is OutcomeKind.FAILED
    assert "KeyError: no" in result.outcome.because


HEADER_WITH_GROUPS = """
from airflow.sdk import DAG, task, task_group
from airflow.providers.standard.sensors.filesystem import FileSensor

with DAG("d") as dag:
"""
