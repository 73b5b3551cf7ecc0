# ruff: noqa: E501 - DAG texts and tables, one case per line
"""Mapped tasks and groups: what the artifact says of them, what is refused, and what one instance takes."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import msgspec
import pytest

from leoflowd.contract.dag_spec import DagSpec, MappedItem, TaskSpec, of_instance
from leoflowd.contract.wait_spec import WaitSpec

from .conftest import Compile, MakeProject, Refuse

IMPORTS = """from airflow.sdk import *
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.sensors.time import TimeSensor
from airflow.providers.standard.sensors.filesystem import FileSensor
with DAG("d") as dag:
    @task
    def make(): return [1, 2, 3]
    @task
    def add(x, y=0, **context): return x + y
"""
"""Ten lines, so that a case's code begins in line 11."""


def tasks_of(spec: DagSpec) -> dict[str, TaskSpec]:
    return {task.task_id: task for task in spec.tasks}


def inputs_of(task: TaskSpec) -> list[dict[str, Any]]:
    assert task.mapped is not None
    return [msgspec.to_builtins(one) for one in task.mapped.inputs]


@pytest.mark.parametrize(
    ("code", "inputs", "needs"),
    [
        ("add.expand(x=[1, 2])", [{"name": "x", "length": 2}], ()),
        ("add.expand(x={'a': 1}, y=(1, 2, 3))", [{"name": "x", "length": 1}, {"name": "y", "length": 3}], ()),
        ("add.expand(y=[], x=[1])", [{"name": "y", "length": 0}, {"name": "x", "length": 1}], ()),
        ("add.expand(x=make())", [{"name": "x", "task_id": "make"}], ("make",)),
        ("add.expand(x=make().map(str))", [{"name": "x", "task_id": "make"}], ("make",)),
        ("add.expand(x=make().zip(make()))", [{"name": "x", "parts": ({"task_id": "make"}, {"task_id": "make__1"}), "combine": "zip"}], ("make", "make__1")),
        ("add.expand(x=make().zip(make(), fillvalue=0))", [{"name": "x", "parts": ({"task_id": "make"}, {"task_id": "make__1"}), "combine": "zip_longest"}], ("make", "make__1")),
        ("add.expand(x=make().concat(make()))", [{"name": "x", "parts": ({"task_id": "make"}, {"task_id": "make__1"})}], ("make", "make__1")),
        ("add.expand_kwargs([{'x': 1}, {'x': 2}])", [{"length": 2}], ()),
        ("add.expand_kwargs(make())", [{"task_id": "make"}], ("make",)),
        ("add.expand_kwargs([{'x': 1}, make()])", [{"length": 2}], ("make",)),
        ("add.partial(y=make()).expand(x=[1])", [{"name": "x", "length": 1}], ()),
    ],
)  # fmt: skip
def test_what_a_task_is_mapped_over_is_in_the_artifact(
    compiled: Compile, code: str, inputs: list[dict[str, Any]], needs: tuple[str, ...]
) -> None:
    tasks = tasks_of(compiled(f"{IMPORTS}    {code}\n"))
    assert inputs_of(tasks["add"]) == inputs
    assert tasks["add"].mapped is not None
    assert tasks["add"].mapped.needs == needs
    assert set(tasks["add"].upstream_task_ids) == set(tasks) - {"add"}
    assert (tasks["add"].operator, tasks["add"].operator_name) == ("_PythonDecoratedOperator", "@task")


def test_outputs_that_are_used_whole_come_along_and_those_that_are_mapped_over_do_not(compiled: Compile) -> None:
    tasks = tasks_of(compiled(f"{IMPORTS}    add.partial(y=make()).expand(x=make())\n"))
    assert [ref.task_id for ref in tasks["add"].xcom_refs] == ["make"]
    assert tasks["add"].mapped is not None
    assert tasks["add"].mapped.needs == ("make__1",)


def test_an_operator_is_mapped_with_all_that_it_shares(compiled: Compile) -> None:
    code = """
    BashOperator.partial(task_id="b", retries=3, pool="p", trigger_rule="all_done", bash_command="echo $A").expand(env=[{"A": "1"}])
    add.override(task_id="named", queue="q", map_index_template="{{ x }}").expand(x=[1])
    add.expand(x=[1]) >> EmptyOperator.partial(task_id="e").expand(params=[{"p": 1}, {"p": 2}])
"""
    tasks = tasks_of(compiled(IMPORTS + code))
    b = tasks["b"]
    assert (b.operator, b.kind, b.retries, b.pool, b.trigger_rule) == ("BashOperator", "bash", 3, "p", "all_done")
    assert b.template_values["bash_command"] == "echo $A"
    assert (tasks["named"].queue, tasks["named"].mapped is not None) == ("q", True)
    assert (tasks["e"].kind, tasks["e"].upstream_task_ids) == ("empty", ("add",))


def test_defaults_of_the_dag_reach_a_mapped_task(compiled: Compile) -> None:
    spec = compiled("""
        from airflow.sdk import DAG, task
        with DAG("d", default_args={"retries": 4, "owner": "ann"}):
            task(lambda x: x, task_id="m").expand(x=[1])
    """)
    assert (spec.tasks[0].retries, spec.tasks[0].owner) == (4, "ann")


def test_waits_that_are_mapped_over_values_of_the_file_need_no_process(compiled: Compile) -> None:
    code = """
    FileSensor.partial(task_id="one", poke_interval=7).expand(filepath=["a/{{ ds }}", "b"])
    FileSensor.partial(task_id="two").expand(filepath=["a", "b"], timeout=[5, 6])
    FileSensor.partial(task_id="three").expand_kwargs([{"filepath": "a"}, {"filepath": "b", "soft_fail": True}])
    FileSensor.partial(task_id="alike", filepath="x").expand(params=[{"p": 1}, {"p": 2}])
"""
    tasks = tasks_of(compiled(IMPORTS + code))
    assert [(task.kind, task.prepare) for task in tasks.values()] == [("wait", "daemon")] * 4
    paths = {name: [str(own.probe.arguments["path"]) for own in waits_of(task, 2)] for name, task in tasks.items()}
    assert paths == {"one": ["a/{{ ds }}", "b"], "two": ["a", "a"], "three": ["a", "b"], "alike": ["x", "x"]}
    assert [own.terms.poke_interval_s for own in waits_of(tasks["one"], 2)] == [7, 7]
    assert [own.terms.timeout_s for own in waits_of(tasks["two"], 4)] == [5, 6, 5, 6]
    assert [own.terms.soft_fail for own in waits_of(tasks["three"], 2)] == [False, True]
    assert [column.path for column in tasks["one"].mapped_values] == [("probe", "arguments", "path")]


@pytest.mark.parametrize(
    "code",
    [
        "FileSensor.partial(task_id='f').expand(filepath=make().map(str))",
        "FileSensor.partial(task_id='f').expand(filepath=make().zip(make()))",
        "FileSensor.partial(task_id='f').expand(filepath=add.partial(y=1).expand(x=[1]))",
        "FileSensor.partial(task_id='f').expand_kwargs(make())",
        "FileSensor.partial(task_id='f', filepath='x').expand(timeout=make())",
        "FileSensor.partial(task_id='f', fs_conn_id=make()).expand(filepath=make())",
        "FileSensor.partial(task_id='f', filepath='{{ macros.uuid.uuid4() }}').expand(fs_conn_id=make())",
        "class Own(FileSensor): pass\n    Own.partial(task_id='f').expand(filepath=make())",
        "FileSensor.partial(task_id='f').expand(filepath=['a', make()])",
        "FileSensor.partial(task_id='f').expand(filepath=['a', '{{ macros.uuid.uuid4() }}'])",
        "FileSensor.partial(task_id='f').expand(filepath=['a', object()])",
        "FileSensor.partial(task_id='f').expand(filepath=[])",
        "FileSensor.partial(task_id='f', filepath='x').expand(mode=['poke', 'reschedule'])",
        "FileSensor.partial(task_id='f', filepath='x').expand(poke_interval=[1, 'soon'])",
    ],
)
def test_what_only_the_process_of_an_instance_knows_is_left_to_it(compiled: Compile, code: str) -> None:
    found = tasks_of(compiled(f"{IMPORTS}    {code}\n"))["f"]
    assert (found.kind, found.prepare, found.wait, found.mapped_values) == ("wait", "process", None, ())


def test_calls_that_are_mapped_over_values_of_the_file_are_made_by_the_daemon(compiled: Compile) -> None:
    code = """
    from airflow.providers.http.operators.http import HttpOperator
    HttpOperator.partial(task_id="call", method="GET").expand(endpoint=["/a", "/{{ ds }}"])
"""
    found = tasks_of(compiled(IMPORTS + code))["call"]
    calls = [of_instance(found, map_index).http for map_index in range(2)]
    assert [(call.method, call.endpoint) for call in calls if call is not None] == [("GET", "/a"), ("GET", "/{{ ds }}")]
    assert found.kind == "http"


def test_waits_that_are_mapped_over_outputs_say_where_the_items_go(compiled: Compile) -> None:
    code = """
    FileSensor.partial(task_id="one", fs_conn_id="c").expand(filepath=make())
    FileSensor.partial(task_id="two").expand(filepath=make(), fs_conn_id=make())
"""
    tasks = tasks_of(compiled(IMPORTS + code))
    one, two = tasks["one"], tasks["two"]
    assert one.wait is not None
    assert (one.kind, one.prepare, one.wait.probe.arguments["path"], one.wait.probe.connection_id) == (
        "wait",
        "process",
        "",
        "c",
    )
    path, connection = ("probe", "arguments", "path"), ("probe", "connection_id")
    assert [(item.name, item.paths, item.takes_objects) for item in one.mapped_items] == [("filepath", (path,), False)]
    assert {item.name: item.paths for item in two.mapped_items} == {"filepath": (path,), "fs_conn_id": (connection,)}


def test_calls_that_are_mapped_over_outputs_say_where_the_items_go_and_how_a_process_would_make_them(
    compiled: Compile,
) -> None:
    code = """
    from airflow.providers.http.operators.http import HttpOperator
    HttpOperator.partial(task_id="call", endpoint="/{{ ds }}").expand(data=make())
    HttpOperator.partial(task_id="headers").expand(headers=make())
"""
    tasks = tasks_of(compiled(IMPORTS + code))
    call = tasks["call"]
    assert call.http is not None
    assert (call.kind, call.http.endpoint, call.mapped_items) == (
        "python",
        "/{{ ds }}",
        (MappedItem(name="data", paths=(("data",),), takes_objects=True),),
    )
    assert (tasks["headers"].kind, tasks["headers"].http) == ("python", None), "its constructor looks into them"


@pytest.mark.parametrize("items", ["['/a', '/b']", "make()"])
def test_instances_that_have_names_begin_with_a_process_which_renders_them(compiled: Compile, items: str) -> None:
    code = f"""
    from airflow.providers.http.operators.http import HttpOperator
    FileSensor.partial(task_id="f", map_index_template="{{{{ task.filepath }}}}").expand(filepath={items})
    HttpOperator.partial(task_id="h", map_index_template="{{{{ task.endpoint }}}}").expand(endpoint={items})
"""
    tasks = tasks_of(compiled(IMPORTS + code))
    assert (tasks["f"].kind, tasks["f"].prepare, tasks["f"].wait) == ("wait", "process", None)
    assert (tasks["h"].kind, tasks["h"].http) == ("python", None)


def waits_of(task: TaskSpec, count: int) -> list[WaitSpec]:
    found = [of_instance(task, map_index).wait for map_index in range(count)]
    return [own for own in found if own is not None]


def test_a_group_is_mapped_and_its_tasks_are_not(compiled: Compile) -> None:
    code = """
    @task_group
    def g(v, w=1):
        return add.override(task_id="second")(add.override(task_id="first")(v, y=w))
    add(g.partial(w=5).expand(v=make()))
"""
    spec = compiled(IMPORTS + code)
    tasks = tasks_of(spec)
    (group,) = spec.groups
    assert group.mapped is not None
    assert msgspec.to_builtins(group.mapped) == {"inputs": ({"name": "v", "task_id": "make"},), "needs": ("make",)}
    assert tasks["g.first"].upstream_task_ids == ("make",)
    assert tasks["g.second"].upstream_task_ids == ("g.first",)
    assert all(task.mapped is None for task in spec.tasks)
    assert tasks["g.first"].xcom_refs == (), "its item comes along, not the list"
    assert [ref.task_id for ref in tasks["add"].xcom_refs] == ["g.second"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("add.expand()", ["no arguments to expand against"]),
        ("BashOperator.partial(task_id='b').expand()", ["no arguments to expand against"]),
        ("add.expand(x=1)", ["unexpected type 'int'", "x"]),
        ("add.expand(x='ab')", ["unexpected type 'str'"]),
        ("add.expand(x={1, 2})", ["unexpected type 'set'"]),
        ("add.partial(x=1).expand(x=[1])", ["mapping already partial", "x"]),
        ("add.partial(x=1).partial(x=2)", ["duplicate partial", "x"]),
        ("add.expand(ti=[1])", ["cannot call expand() on task context variable 'ti'"]),
        ("task(lambda x: x).expand(z=[1])", ["unexpected keyword argument 'z'"]),
        ("add.expand_kwargs(1)", ["expected XComArg or list[dict], not int"]),
        ("add.expand_kwargs([1])", ["expected XComArg or list[dict]"]),
        ("add.expand(x=make()['k'])", ["cannot map over XCom with custom key 'k'"]),
        ("make()['k'].map(str)", ["cannot map against non-return XCom"]),
        ("make().map(add)", ["must be a plain function, not a @task operator"]),
        ("make().zip([1])", ["outputs of tasks"]),
        ("BashOperator.partial(bash_command='x')", ["task_id"]),
        ("BashOperator.partial(task_id='b', nonsense=1)", ["BashOperator.partial()", "'nonsense'"]),
        ("BashOperator.partial(task_id='b').expand(nonsense=[1])", ["BashOperator.expand()", "'nonsense'"]),
        ("BashOperator.partial(task_id='b', bash_command='x').expand(pool=['a'])", ["unmappable or already specified", "pool"]),
        ("add.override(trigger_rule='always').expand(x=make())", ["'always'", "all_done"]),
        ("task_group(group_id='g')(lambda v: add(v)).expand()", ["no arguments to expand against"]),
        ("task_group(group_id='g')(lambda v: add.expand(x=[v])).expand(v=[1])", ["operator expansion in an expanded task group is not yet supported"]),
        ("task_group(group_id='g')(lambda v: task_group(group_id='h')(lambda w: add(w)).expand(w=[1])).expand(v=[1])", ["Nested Mapped TaskGroups are not yet supported"]),
        ("task_group(group_id='g')(lambda v: add.override(trigger_rule='always')(v)).expand(v=[1])", ["mapped task group", "'always'"]),
        ("task_group(group_id='g')(lambda *v: None).expand_kwargs([{'v': 1}])", ["with * or **"]),
        ("BashOperator.partial(task_id='b', bash_command='x', pool_slots=make()).expand(env=[{}])", ["pool_slots", "'make'"]),
    ],
)  # fmt: skip
def test_what_cannot_be_mapped_is_refused_in_airflows_words(refused: Refuse, code: str, words: list[str]) -> None:
    error = refused(f"{IMPORTS}    {code}\n")
    assert (error.path, error.line) == ("dag.py", 11), str(error)
    for word in words:
        assert word in str(error)


# --- one instance -------------------------------------------------------------------------------------------------

RUN = """
from airflow.sdk import DAG, task, task_group, literal
from airflow.providers.standard.operators.bash import BashOperator
with DAG("d", default_args={"env": {"SHARED": "1"}}) as dag:
    @task
    def make(): ...
    @task
    def other(): ...
    @task
    def add(x, y="y", **context): return [x, y]
    add.override(task_id="product").expand(x=[1, 2, 3], y=make())
    add.override(task_id="pairs").expand(x={"a": 1, "b": 2})
    add.override(task_id="kwargs", retries=1).expand_kwargs([{"x": "{{ t }}"}, make()])
    add.override(task_id="outputs").expand_kwargs(make())
    add.override(task_id="mapped").expand(x=make().map(lambda v: v * 10).map(str))
    add.override(task_id="zipped").expand(x=make().zip(other(), fillvalue="-"))
    add.override(task_id="joined").partial(y="{{ p }}").expand(x=make().concat(other()))
    BashOperator.partial(task_id="bash", cwd="/tmp").expand(bash_command=make())
    @task_group
    def g(v): add.override(task_id="inner")(v, y="{{ t }}")
    g.expand(v=make())
"""


class Instances:
    """Instances of one project, whose outputs are these."""

    def __init__(self, runtime: ModuleType, folder: str, outputs: dict[str, Any]) -> None:
        self.runtime = runtime
        (self.dag,) = runtime.load_project(folder).values()
        self.outputs = outputs

    def pull(self, task_id: str, key: str) -> Any:
        assert key == "return_value"
        return self.outputs.get(task_id, self.runtime.MISSING)

    def operator(self, task_id: str, map_index: int) -> Any:
        """With its template fields rendered: texts in capitals."""
        op, fixed = self.runtime.unmap(self.dag.task_dict[task_id], map_index, self.pull)

        class Ti:
            pass

        Ti.map_index = map_index  # type: ignore[attr-defined]
        for field in op.template_fields:
            value = self.runtime.resolve(
                getattr(op, field), self.pull, text=str.upper, context={"ti": Ti}, as_they_are=fixed
            )
            setattr(op, field, value)
        return op

    def run(self, task_id: str, map_index: int) -> Any:
        op = self.operator(task_id, map_index)
        return op.python_callable(*op.op_args, **op.op_kwargs)


@pytest.fixture
def instances(runtime: ModuleType, project: MakeProject) -> Instances:
    outputs = {f"make{suffix}": ["a", "b"] for suffix in ("", *(f"__{n}" for n in range(1, 9)))}
    outputs |= {f"other{suffix}": ["c", "d", "e"] for suffix in ("", "__1", "__2")}
    return Instances(runtime, str(project(RUN)), outputs)


def test_the_last_argument_varies_first(instances: Instances) -> None:
    found = [instances.run("product", index) for index in range(6)]
    assert found == [[1, "a"], [1, "b"], [2, "a"], [2, "b"], [3, "a"], [3, "b"]]


def test_a_dict_is_mapped_over_as_pairs(instances: Instances) -> None:
    assert instances.run("pairs", 1) == [("B", 2), "y"]  # it stands in the file: its texts are templates


def test_what_comes_from_an_output_is_no_template_and_what_stands_in_the_file_is_one(instances: Instances) -> None:
    assert instances.run("kwargs", 0) == ["{{ T }}", "y"]
    instances.outputs["make__1"] = {"x": "{{ kept }}"}
    assert instances.run("kwargs", 1) == ["{{ kept }}", "y"]
    assert instances.run("joined", 0) == ["a", "{{ P }}"]


def test_derived_outputs_are_made_item_by_item(instances: Instances) -> None:
    calls: list[int] = []

    class Long(list):  # type: ignore[type-arg]
        def __getitem__(self, index: Any) -> Any:
            calls.append(index)
            return super().__getitem__(index)

    for suffix in range(1, 6):
        instances.outputs[f"make__{suffix}"] = Long(["a", "b"])
    assert instances.run("mapped", 1) == ["bbbbbbbbbb", "y"]
    assert calls == [1], "the function is called for the one item that it takes"
    assert [instances.run("zipped", i)[0] for i in range(3)] == [("a", "c"), ("b", "d"), ("-", "e")]
    assert [instances.run("joined", i)[0] for i in range(5)] == ["a", "b", "c", "d", "e"]


def test_dicts_of_arguments_are_checked_when_they_are_known(instances: Instances) -> None:
    for returned, words in [(5, "list.dict., not int"), ([5], r"not list\[int\]"), ([{1: 2}], "keys must all be str")]:
        for suffix in ("", *(f"__{n}" for n in range(1, 9))):
            instances.outputs[f"make{suffix}"] = returned
        with pytest.raises(ValueError, match=words):
            instances.run("outputs", 0)


def test_an_instance_takes_the_place_of_its_task(instances: Instances) -> None:
    op = instances.operator("bash", 1)
    task = instances.dag.task_dict["bash"]
    assert type(op).__name__ == "BashOperator"
    assert (op.bash_command, op.cwd, op.env) == ("b", "/TMP", {"SHARED": "1"})
    assert (op.task_id, op.dag, op.task_group) == ("bash", task.dag, task.task_group)
    assert op.upstream_task_ids == task.upstream_task_ids
    assert instances.dag.task_dict["bash"] is task, "the DAG has the mapped one"


def test_a_task_inside_of_a_mapped_group_finds_its_argument(instances: Instances) -> None:
    assert instances.run("g.inner", 1) == ["b", "{{ T }}"]


def test_a_task_that_was_not_expanded_does_not_run(instances: Instances) -> None:
    with pytest.raises(RuntimeError, match="without expanding"):
        instances.operator("product", -1)


def test_which_outputs_an_argument_means(runtime: ModuleType, project: MakeProject) -> None:
    text = """
from airflow.sdk import DAG, task, task_group
with DAG("d") as dag:
    @task
    def f(x=0): ...
    f.override(task_id="plain")()
    f.override(task_id="mapped").expand(x=[1])
    @task_group
    def g(v): f.override(task_id="b")(f.override(task_id="a")(v))
    g.expand(v=[1])
"""
    (dag,) = runtime.load_project(str(project(text))).values()
    tasks = dag.task_dict
    assert [runtime.relation(tasks[a], tasks.get(b)) for a, b in [
        ("plain", "mapped"), ("g.b", "g.a"), ("plain", "g.a"), ("g.a", "plain"), ("g.a", "gone"),
    ]] == ["all", "alike", "inside", "one", "one"]  # fmt: skip
