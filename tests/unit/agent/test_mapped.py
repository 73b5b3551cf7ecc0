"""What a try takes of other tasks' outputs: the item of a list that came along, pages of a mapped task's outputs."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from leoflow_agent.runner import mapped, xcom
from leoflow_agent.runner.context import XComs


class Daemon:
    """Answers pulls from what tasks pushed, by map index; without `knows_pages` as the release before."""

    def __init__(self, pushed: dict[str, Any], *, knows_pages: bool = True) -> None:
        self.pushed = pushed
        self.asked: list[dict[str, Any]] = []
        self._knows_pages = knows_pages

    def ask(self, kind: str, question: dict[str, Any]) -> dict[str, Any]:
        assert kind == "pull"
        self.asked.append(question)
        (task_id,) = question["task_ids"]
        pushed = self.pushed.get(task_id, [])
        values = pushed if isinstance(pushed, dict) else dict(enumerate(pushed))
        wanted = question.get("map_indexes") or sorted(values)
        items = [
            {"task_id": task_id, "key": question["key"], "map_index": index, "value": json.dumps(values[index])}
            for index in wanted
            if index in values
        ]
        if not self._knows_pages or question.get("limit") is None:
            return {"values": items}
        first = question["offset"]
        return {"values": items[first : first + question["limit"]], "total": len(items)}


def pages(pushed: list[Any], **options: Any) -> tuple[mapped.Outputs, Daemon]:
    daemon = Daemon({"m": pushed}, **options)
    xcoms = XComs({"xcoms": []}, daemon)  # type: ignore[arg-type]
    return mapped.Outputs(mapped.Pages(xcoms, "m", "return_value")), daemon


def item(task_id: str, value: Any, **fields: Any) -> dict[str, Any]:
    return {"task_id": task_id, "key": "return_value", "value": json.dumps(value), **fields}


# --- outputs of a mapped task -------------------------------------------------------------------------------------


def test_outputs_are_a_sequence() -> None:
    outputs, _ = pages(list(range(100)))
    assert len(outputs) == 100
    assert (outputs[0], outputs[99], outputs[-1]) == (0, 99, 99)
    assert outputs[10:13] == [10, 11, 12]
    assert list(outputs) == list(range(100))
    assert outputs == list(range(100))
    assert 50 in outputs
    for index in (100, -101):
        with pytest.raises(IndexError):
            outputs[index]


def test_one_item_is_asked_for_alone_and_all_of_them_in_pages() -> None:
    outputs, daemon = pages(list(range(100)))
    assert outputs[70] == 70
    assert [(q["offset"], q["limit"]) for q in daemon.asked] == [(0, 1), (70, 1)]
    daemon.asked.clear()
    assert sum(outputs) == sum(range(100))
    assert len(daemon.asked) == 4, "99 in pages of 32"


def test_a_daemon_that_knows_no_pages_is_asked_once() -> None:
    outputs, daemon = pages(list(range(100)), knows_pages=False)
    assert list(outputs) == list(range(100))
    assert len(daemon.asked) == 1


def test_outputs_that_came_along_are_not_asked_for() -> None:
    daemon = Daemon({})
    xcoms = XComs({"xcoms": [item("m", 5, map_index=1), item("m", 4, map_index=0)]}, daemon)  # type: ignore[arg-type]
    assert list(mapped.Outputs(mapped.Pages(xcoms, "m", "return_value"))) == [4, 5]
    assert daemon.asked == []


def test_outputs_can_be_returned_as_the_list_that_they_are() -> None:
    outputs, _ = pages([{"a": 1}, 2])
    assert xcom.encode(outputs, key="return_value") == '[{"a": 1}, 2]'


# --- an item of a list --------------------------------------------------------------------------------------------


def xcoms_of_part(**fields: Any) -> tuple[XComs, Daemon]:
    daemon = Daemon({"a": {-1: ["x", "y", "z"]}})
    spec = {"map_index": 1, "xcoms": [item("a", {"1": "y"}, length=3, **fields)]}
    return XComs(spec, daemon), daemon  # type: ignore[arg-type]


def test_the_item_that_came_along_is_there_and_the_others_are_fetched() -> None:
    xcoms, daemon = xcoms_of_part()
    part = xcoms.of_reference("a", "return_value", None)
    assert (len(part), part[1], part[-2]) == (3, "y", "y")
    assert daemon.asked == []
    assert list(part) == ["x", "y", "z"]
    assert len(daemon.asked) == 1
    with pytest.raises(IndexError):
        part[3]


def test_an_item_of_a_dict_is_a_pair() -> None:
    spec = {"map_index": 1, "xcoms": [item("a", {"1": ["k", {"v": 1}]}, length=2, is_dict=True)]}
    xcoms = XComs(spec, Daemon({}))  # type: ignore[arg-type]
    assert xcoms.of_reference("a", "return_value", None)[1] == ("k", {"v": 1})


def test_whoever_pulls_the_list_gets_all_of_it() -> None:
    xcoms, _ = xcoms_of_part()
    assert xcoms.of_task("a", "return_value") == {-1: ["x", "y", "z"]}


# --- inside of a group --------------------------------------------------------------------------------------------


class Runtime:
    MISSING = object()

    def __init__(self, relation: str) -> None:
        self._relation = relation

    def relation(self, task: Any, source: Any) -> str:
        return self._relation


def pull(relation: str, xcoms: XComs) -> Any:
    return mapped.puller(Runtime(relation), xcoms, SimpleNamespace(task_dict={}), None)("m", "return_value")


def test_inside_of_a_group_the_same_map_index_is_meant() -> None:
    daemon = Daemon({"m": ["zero", "one"]})
    along = {"map_index": 1, "xcoms": [item("m", "one", map_index=1)]}
    assert pull("alike", XComs(along, daemon)) == "one"  # type: ignore[arg-type]
    assert daemon.asked == []
    assert pull("alike", XComs({"map_index": 1, "xcoms": []}, daemon)) is Runtime.MISSING  # type: ignore[arg-type]
    left_out = {"map_index": 1, "xcoms": [], "xcoms_complete": False}
    assert pull("alike", XComs(left_out, daemon)) == "one"  # type: ignore[arg-type]


def test_a_value_of_its_own_index_is_not_taken_for_all_of_them() -> None:
    daemon = Daemon({"m": ["zero", "one"]})
    along = XComs({"map_index": 1, "xcoms": [item("m", "one", map_index=1)]}, daemon)  # type: ignore[arg-type]
    assert along.of_task("m", "return_value") == {0: "zero", 1: "one"}


@pytest.mark.parametrize(("pushed", "value"), [(["a", "b"], ["a", "b"]), (["a"], "a"), ([], Runtime.MISSING)])
def test_from_outside_of_a_group_all_are_meant(pushed: list[str], value: Any) -> None:
    assert pull("inside", XComs({"xcoms": []}, Daemon({"m": pushed}))) == value  # type: ignore[arg-type]


# --- names --------------------------------------------------------------------------------------------------------


def test_a_map_index_is_named_by_its_template() -> None:
    dag = SimpleNamespace(
        render_template_as_native_obj=True,
        jinja_environment_kwargs=None,
        template_searchpath=(),
        template_undefined=None,
        user_defined_filters=None,
        user_defined_macros=None,
    )
    task = SimpleNamespace(map_index_template="{{ n }}.sql", template_ext=(".sql",))
    assert mapped.named(task, dag, {"n": 3}, ("/nowhere", "dag.py")) == "3.sql", "a text, though it ends like a file"
    assert mapped.named(SimpleNamespace(map_index_template=None), dag, {}, ("/nowhere", "dag.py")) is None
