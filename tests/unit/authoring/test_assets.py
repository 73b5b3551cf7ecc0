"""Assets as authors write them: names and uris, conditions, schedules, inlets and outlets, `@asset`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec
import pytest

from leoflow_agent.runner import xcom
from leoflowd.contract.asset_spec import (
    AliasSpec,
    AllOf,
    AnyOf,
    AssetAt,
    AssetCondition,
    AssetNamed,
    AssetSpec,
)
from leoflowd.contract.dag_spec import CronTimetable, DagSpec, NoTimetable
from leoflowd.contract.partition_spec import (
    AllowedKey,
    AssetPartitions,
    Chained,
    CronPartition,
    Product,
    SameKey,
    StartOf,
)

from .conftest import Compile, Refuse, StartProcess

HEADER = """
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Asset, AssetAlias, AssetAll, AssetAny, AssetOrTimeSchedule, AssetWatcher
from airflow.sdk import CronTriggerTimetable, Metadata, asset, task
from airflow.sdk.definitions.asset import Dataset, Model
a, b, c = Asset("a"), Asset("b"), Asset("c")
"""
A, B, C = (AssetSpec(name=name, uri=name) for name in "abc")
TASK = "\n    BashOperator(task_id='t', bash_command='e')\n"


@pytest.fixture
def assets(runtime: ModuleType) -> Any:
    import airflow.sdk.definitions.asset

    return airflow.sdk.definitions.asset


def scheduled(compiled: Compile, schedule: str) -> DagSpec:
    return compiled(f"{HEADER}with DAG('d', schedule={schedule}):{TASK}")


@pytest.mark.parametrize(
    ("given", "name", "uri"),
    [
        (("s3://b/k",), "s3://b/k", "s3://b/k"),
        (("n", "s3://b/k"), "n", "s3://b/k"),
        ((None, "S3://b/k/?z=1&a=2#part"), "S3://b/k/?z=1&a=2#part", "s3://b/k?a=2&z=1"),
        (("n", "ftp://host"), "n", "ftp://host/"),
        (("n", "ftp://host///"), "n", "ftp://host/"),
        (("n", "x-own://H/p/?b&a#f"), "n", "x-own://H/p/?b&a#f"),
        (("n", "//host/path/"), "n", "//host/path/"),
        (("n", "db://me:secret@host/t"), "n", "db://host/t"),
        (("n", "db://me@host/t"), "n", "db://me@host/t"),
        (("no uri at all/",), "no uri at all/", "no uri at all/"),
    ],
)
def test_an_asset_has_a_name_and_a_regular_uri(assets: Any, given: tuple[Any, ...], name: str, uri: str) -> None:
    made = assets.Asset(*given)
    assert (made.name, made.uri) == (name, uri)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({}, TypeError, "requires either 'name' or 'uri'"),
        ({"name": ""}, ValueError, "name cannot be empty"),
        ({"name": " "}, ValueError, "name cannot be just whitespace"),
        ({"name": "n" * 1501}, ValueError, "name cannot exceed 1500"),
        ({"name": 1}, ValueError, "name must be a string"),
        ({"name": "self"}, ValueError, "prohibited name"),
        ({"name": "context"}, ValueError, "prohibited name"),
        ({"name": "n", "uri": "airflow://x"}, ValueError, "'airflow' is reserved"),
        ({"name": "n", "uri": ""}, ValueError, "uri cannot be empty"),
        ({"name": "n", "group": "g" * 1501}, ValueError, "group cannot exceed"),
    ],
)
def test_what_is_no_asset(assets: Any, given: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        assets.Asset(**given)


def test_a_reference_is_made_to_one_of_name_and_uri(assets: Any) -> None:
    assert assets.Asset.ref(name="a") == assets.AssetNameRef("a") != assets.Asset.ref(uri="a")
    for given in ({}, {"name": "a", "uri": "a"}):
        with pytest.raises(TypeError):
            assets.Asset.ref(**given)


def test_an_asset_in_an_xcom_is_one_again(assets: Any) -> None:
    from leoflow_agent.runner import xcom

    made = assets.Asset("a", "s3://b/k", group="g", extra={"n": 1})
    form = xcom.plain(made, "it")
    assert (form["__classname__"], form["__version__"]) == ("airflow.sdk.definitions.asset.Asset", 1)
    assert form["__data__"] == {"name": "a", "uri": "s3://b/k", "group": "g", "extra": {"n": 1}, "watchers": []}
    assert xcom.decode(form) == made


@pytest.mark.parametrize(
    ("schedule", "condition"),
    [
        ("[a, b]", AllOf(of=(A, B))),
        ("(b, a)", AllOf(of=(B, A))),
        ("{c, b, a}", AllOf(of=(A, B, C))),
        ("a", A),
        ("a | b | c", AnyOf(of=(A, B, C))),
        ("a & b & c", AllOf(of=(A, B, C))),
        ("a | (b & c)", AnyOf(of=(A, AllOf(of=(B, C))))),
        ("(a | b) & c", AllOf(of=(AnyOf(of=(A, B)), C))),
        ("[AssetAlias('x'), Asset.ref(name='y')]", AllOf(of=(AliasSpec(name="x"), AssetNamed(name="y")))),
        ("AssetAny(Asset.ref(uri='u'), a)", AnyOf(of=(AssetAt(uri="u"), A))),
        (
            "[Asset('x', group='g', extra={'k': [1]})]",
            AllOf(of=(AssetSpec(name="x", uri="x", group="g", extra={"k": [1]}),)),
        ),
        ("Dataset('x')", AssetSpec(name="x", uri="x", group="dataset")),
        ("Model('x')", AssetSpec(name="x", uri="x", group="model")),
        ("[]", AllOf(of=())),
    ],
)
def test_a_schedule_of_assets_is_a_condition(compiled: Compile, schedule: str, condition: AssetCondition) -> None:
    spec = scheduled(compiled, schedule)
    assert spec.asset_condition == condition
    assert (spec.timetable, spec.timetable_summary) == (NoTimetable(), "Asset")


def test_a_schedule_of_both(compiled: Compile) -> None:
    five = "CronTriggerTimetable('0 5 * * *', timezone='UTC')"
    spec = scheduled(compiled, f"AssetOrTimeSchedule(timetable={five}, assets=[a, b])")
    assert spec.asset_condition == AllOf(of=(A, B))
    assert isinstance(spec.timetable, CronTimetable)
    assert (spec.timetable.expression, spec.timetable_summary) == ("0 5 * * *", "Asset or 0 5 * * *")


def test_tasks_name_what_they_read_and_write(compiled: Compile) -> None:
    spec = compiled(
        HEADER
        + """
with DAG("d", default_args={"outlets": [c]}):
    BashOperator(task_id="classic", bash_command="e", inlets=(a, AssetAlias("x"), a), outlets=b)
    BashOperator.partial(task_id="mapped", outlets=[a]).expand(bash_command=["1", "2"])

    @task(outlets=[b], inlets=[Asset.ref(name="q")])
    def decorated(n): ...

    decorated.expand(n=[1])
    decorated.override(task_id="more")(1).operator.add_outlets([a])
"""
    )
    found = {task.task_id: (task.inlets, task.outlets) for task in spec.tasks}
    assert found == {
        "classic": ((A, AliasSpec(name="x")), (B,)),
        "mapped": ((), (A,)),
        "decorated": ((AssetNamed(name="q"),), (B,)),
        "more": ((AssetNamed(name="q"),), (B, A)),
    }


def test_old_names_lead_to_todays(compiled: Compile) -> None:
    spec = compiled(
        """
        from airflow import DAG, Dataset
        from airflow.datasets import Dataset as Older, DatasetAlias
        from airflow.timetables.datasets import DatasetOrTimeSchedule
        from airflow.timetables.trigger import CronTriggerTimetable
        from airflow.operators.empty import EmptyOperator
        both = DatasetOrTimeSchedule(timetable=CronTriggerTimetable("@daily", timezone="UTC"), datasets=[Dataset("a")])
        with DAG("d", schedule=both):
            EmptyOperator(task_id="t", inlets=[Older("b"), DatasetAlias("c")])
        """
    )
    assert spec.asset_condition == AllOf(of=(A,))
    assert "datasets=" in " ".join(warning.what for warning in spec.warnings)
    assert spec.tasks[0].inlets == (AssetSpec(name="b", uri="b", group="dataset"), AliasSpec(name="c"))


WATCHING = """
from datetime import datetime, timedelta, timezone
UTC = timezone.utc
from airflow.providers.standard.triggers.file import DirectoryFileDeleteTrigger, FileDeleteTrigger
from airflow.triggers.base import BaseEventTrigger
class Own(BaseEventTrigger):
    def __init__(self, **kwargs):
        super().__init__()
        self.kwargs = kwargs
    def serialize(self):
        return "dag.Own", self.kwargs
"""


def test_watchers_go_with_their_asset_and_what_their_triggers_are_made_of(compiled: Compile) -> None:
    spec = compiled(f"""{HEADER}{WATCHING}
watched = Asset("w", watchers=[
    AssetWatcher("one", FileDeleteTrigger("/tmp/f")),
    AssetWatcher(name="two", trigger=DirectoryFileDeleteTrigger(directory="/in", filename="g", poke_interval=1)),
    AssetWatcher("three", Own(a=(1, "x"), b=timedelta(seconds=3), c=datetime(2026, 1, 1, tzinfo=UTC), d={{"e"}})),
])
with DAG('d', schedule=[watched]):{TASK}""")
    assert isinstance(spec.asset_condition, AllOf)
    [found] = spec.asset_condition.of
    assert isinstance(found, AssetSpec)
    standard = "airflow.providers.standard.triggers.file."
    assert [(one.name, one.trigger) for one in found.watchers] == [
        ("one", f"{standard}FileDeleteTrigger"),
        ("two", f"{standard}DirectoryFileDeleteTrigger"),
        ("three", "dag.Own"),
    ]
    assert [one.arguments for one in found.watchers[:2]] == [
        {"filepath": "/tmp/f", "poke_interval": 5.0},
        {"directory": "/in", "filename": "g", "poke_interval": 1},
    ]
    assert xcom.decode(found.watchers[2].arguments) == {
        "a": (1, "x"),
        "b": timedelta(seconds=3),
        "c": datetime(2026, 1, 1, tzinfo=UTC),
        "d": {"e"},
    }


@pytest.mark.parametrize(
    ("watcher", "words"),
    [
        ("Own()", ["Own", "AssetWatcher(name=..., trigger=...)"]),
        (
            "AssetWatcher('w', Own(a=print))",
            ["watcher 'w' of asset 'x'", "print", "what the trigger is made of is stored"],
        ),
    ],
)
def test_a_watcher_that_cannot_be_stored_is_refused(refused: Refuse, watcher: str, words: list[str]) -> None:
    error = refused(f"{HEADER}{WATCHING}with DAG('d', schedule=[Asset('x', watchers=[{watcher}])]):{TASK}")
    assert error.line == 17
    for word in words:
        assert word in str(error)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("DAG('d', schedule=[a, 'b'])", ["must be assets"]),
        ("a | 1", ["unsupported operand"]),
        ("AssetAll(a, 1)", ["expect asset expressions"]),
        ("AssetOrTimeSchedule(timetable='@daily', assets=[a])", ["timetable='@daily'", "CronTriggerTimetable"]),
        ("AssetWatcher('w', None)", ["must inherit BaseEventTrigger"]),
        ("asset(schedule=None, watchers=[1])(print)", ["@asset has watchers", "AssetWatcher(...)"]),
        ("asset(schedule=None)(lambda: 1)", ["lambda"]),
        ("asset.multi(schedule=None, outlets=[])(len)", ["no outlets"]),
        ("def f(*x): ...\nasset(schedule=None)(f)", ["wildcard '*x'"]),
        ("asset(schedule=None)(task(outlets=[a])(print))", ["'outlets' argument is not supported"]),
    ],
)
def test_what_is_refused_has_its_line(refused: Refuse, line: str, words: list[str]) -> None:
    error = refused(HEADER + line + "\n")
    assert error.line == 6 + line.count("\n")
    for word in words:
        assert word in str(error)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("outlets=['a']", ["outlets of task 't'", "Asset(...)"]),
        ("inlets='auto'", ["inlets of task 't'", "'auto'"]),
        ("outlets=[a | b]", ["outlets of task 't'"]),
        ("outlets=[Asset('x', extra={'f': len})]", ["asset 'x'", "JSON"]),
        ("outlets=[Asset('x', extra=[1])]", ["asset 'x'", "no dict"]),
    ],
)
def test_outlets_that_cannot_be_written_down(refused: Refuse, arguments: str, words: list[str]) -> None:
    error = refused(f"{HEADER}with DAG('d'):\n    BashOperator(task_id='t', bash_command='e', {arguments})\n")
    assert error.line == 7
    for word in words:
        assert word in str(error)


DECORATED = """
@asset(name="own", uri="s3://b/own/", schedule=a, tags=["t"])
def made(self, context, other, limit=3):
    return [self.name, self.uri, context["ds"], other.uri, limit]
"""


def test_an_asset_function_is_a_dag_of_one_task(compiled: Compile) -> None:
    spec = compiled(HEADER + DECORATED)
    (task,) = spec.tasks
    assert (spec.dag_id, spec.asset_condition, spec.tags, spec.catchup) == ("own", A, ("t",), False)
    assert (task.task_id, task.operator) == ("made", "_AssetMainOperator")
    assert task.module == "airflow.sdk.definitions.asset.decorators"
    assert task.inlets == (AssetNamed(name="other"),)
    assert task.outlets == (AssetSpec(name="own", uri="s3://b/own"),)


def test_an_asset_function_may_make_several(compiled: Compile) -> None:
    spec = compiled(
        HEADER
        + "@asset.multi(schedule=None, outlets=[a, AssetAlias('x')], dag_id='many')\n"
        + "@task.bash(retries=2)\ndef several(): return 'e'\n"
    )
    (task,) = spec.tasks
    assert (spec.dag_id, task.task_id, task.kind, task.retries) == ("many", "several", "bash", 2)
    assert task.outlets == (A, AliasSpec(name="x"))


class Said(dict):  # type: ignore[type-arg]
    """`outlet_events` that keep what was said, and know each asset by its name."""

    def __missing__(self, asset: Any) -> Any:
        self[asset] = SimpleNamespace(extra={}, added=[])
        self[asset].add = lambda other, extra: self[asset].added.append((other, extra))
        return self[asset]

    def asset_named(self, name: str) -> Any:
        import airflow.sdk

        return airflow.sdk.Asset(name, f"s3://known/{name}")


def test_an_asset_function_gets_its_arguments_by_name(process: StartProcess) -> None:
    started = process(HEADER + DECORATED)
    started.context["outlet_events"] = Said()
    assert started.run("made") == ["own", "s3://known/own", "2024-03-01", "s3://known/other", 3]


GENERATORS = """
alias = AssetAlias("x")
def hook(context): yield Metadata(a, {"before": 1})
def other(context, value): yield Metadata(a, {"after": value})
class Own(BashOperator):
    def execute(self, context): return 3
    def pre_execute(self, context): yield Metadata(b, {"own": 1})
with DAG("d"):
    @task(pre_execute=hook, post_execute=other)
    def one():
        yield Metadata(b, {"n": 1}, alias=alias)
        yield "what"
        return 7
    one()
    @task
    async def many():
        yield Metadata(a, {"n": 2})
        yield 8
    many()
    Own(task_id="own", bash_command="e")
"""


def test_what_a_task_yields_is_said_of_its_outlets(process: StartProcess, caplog: pytest.LogCaptureFixture) -> None:
    started = process(HEADER + GENERATORS)
    said = started.context["outlet_events"] = Said()
    assert started.run("one") == 7
    of = {asset.name: (one.extra, one.added) for asset, one in said.items()}
    (added,) = of["x"][1]
    assert (of["a"][0], of["b"][0]) == ({"before": 1, "after": 7}, {"n": 1})
    assert (added[0].name, added[1]) == ("b", {"n": 1})
    assert "The task yielded a str" in caplog.text


def test_asynchronous_generators_give_all_that_they_yield(process: StartProcess) -> None:
    started = process(HEADER + GENERATORS)
    said = started.context["outlet_events"] = Said()
    metadata, eight = started.run("many")
    assert (metadata.extra, eight) == ({"n": 2}, 8)
    assert [one.extra for one in said.values()] == [{"n": 2}]


def test_a_method_of_ones_own_may_yield_as_well(process: StartProcess) -> None:
    started = process(HEADER + GENERATORS)
    said = started.context["outlet_events"] = Said()
    assert started.run("own") == 3
    assert [(asset.name, one.extra) for asset, one in said.items()] == [("b", {"own": 1})]


def test_arguments_show_assets_by_their_fields(compiled: Compile) -> None:
    spec = compiled(HEADER + "with DAG('d'):\n    @task\n    def f(x): ...\n    f(a)\n")
    shown = msgspec.to_builtins(spec.tasks[0].template_values)["op_args"]
    assert shown == ["Asset(name='a', uri='a', group='asset', extra={}, watchers=[])"]


# --- what providers complete --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "completed"),
    [
        ("postgresql://h/db/s/t", True),
        ("postgres://h/db/s/t", True),
        ("postgres://h:5432/db//t", True),
        ("postgres://h:5432/db/s/t", False),
        ("redshift://h:5439/db/s/t", False),
        ("mysql://h/db/t", False),  # of no provider that is named
        ("s3://b/k", False),
    ],
)
def test_a_uri_that_its_provider_completes_is_airflows_to_read(assets: Any, uri: str, completed: bool) -> None:
    from airflow._leoflow import connectors, errors

    connectors.allow({"postgres", "amazon"})
    try:
        if completed:
            with pytest.raises(errors.ShimUnsupported, match="completes"):
                assets.Asset("n", uri)
        else:
            assert assets.Asset("n", uri).uri == uri
        connectors.allow(())
        assert assets.Asset("n", uri).uri == uri
    finally:
        connectors.allow(())


# --- partitions --------------------------------------------------------------------------------------------------

PARTITIONS = """
from airflow.sdk import AllowedKeyMapper, ChainMapper, CronPartitionTimetable, IdentityMapper, PartitionMapper
from airflow.sdk import PartitionedAssetTimetable, ProductMapper, StartOfDayMapper, StartOfQuarterMapper
class Own(PartitionMapper):
    pass
"""


def partitioned(compiled: Compile, schedule: str) -> DagSpec:
    return compiled(f"{HEADER}{PARTITIONS}with DAG('d', schedule={schedule}):{TASK}")


def test_a_schedule_of_partitions_has_a_mapper_for_each_asset(compiled: Compile) -> None:
    spec = partitioned(
        compiled,
        "PartitionedAssetTimetable(assets=a & Asset.ref(name='n') & Asset.ref(uri='u'), partition_mapper_config={"
        "a | b: AllowedKeyMapper(['x', 'y']), Asset.ref(name='n'): ProductMapper(IdentityMapper(), StartOfDayMapper(), "
        "delimiter='/'), Asset.ref(uri='u'): ChainMapper(StartOfDayMapper(output_format='%d'), IdentityMapper())}, "
        "default_partition_mapper=StartOfQuarterMapper(input_format='%Y'))",
    )
    day = {"input_format": "%Y-%m-%dT%H:%M:%S", "output_format": "%Y-%m-%d"}
    chosen = AllowedKey(keys=("x", "y"))
    assert spec.partitions == AssetPartitions(
        by_name={
            "a": chosen,
            "b": chosen,
            "n": Product(of=(SameKey(), StartOf(unit="day", **day)), delimiter="/"),
        },
        by_uri={
            "a": chosen,
            "b": chosen,
            "u": Chained(of=(StartOf(unit="day", **day | {"output_format": "%d"}), SameKey())),
        },
        default=StartOf(unit="quarter", input_format="%Y", output_format="%Y-Q{quarter}"),
    )
    assert (spec.timetable, spec.timetable_summary) == (NoTimetable(), "Partitioned Asset")
    assert spec.asset_condition == AllOf(of=(A, AssetNamed(name="n"), AssetAt(uri="u")))


def test_without_a_mapper_the_key_stays(compiled: Compile) -> None:
    assert partitioned(compiled, "PartitionedAssetTimetable(assets=a)").partitions == AssetPartitions()


def test_a_cron_of_partitions_says_which(compiled: Compile) -> None:
    spec = partitioned(compiled, "CronPartitionTimetable('0 * * * *', timezone='UTC', run_offset=-1, key_format='%Y')")
    assert spec.timetable == CronTimetable(expression="0 * * * *", partition=CronPartition(key_format="%Y", offset=-1))
    assert (spec.timetable_summary, spec.partitions) == ("0 * * * *", None)


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ("PartitionedAssetTimetable(assets=a, default_partition_mapper=Own())", ["Own", "without the code of authors"]),
        ("PartitionedAssetTimetable(assets=a, partition_mapper_config={a: 1})", ["a partition mapper is 1"]),
        ("PartitionedAssetTimetable(assets=a, partition_mapper_config={AssetAlias('x'): IdentityMapper()})", ["alias"]),
        ("PartitionedAssetTimetable(assets=[a, 1])", ["must be assets"]),
        ("CronPartitionTimetable('0 * * * *', timezone='UTC', run_offset=1.5)", ["other than integer"]),
        ("CronPartitionTimetable('0 * * * *', timezone='UTC', run_offset=5000)", ["offset"]),
        ("CronPartitionTimetable('0 * * * *', timezone='UTC', key_format='')", ["key_format"]),
        (
            "AssetOrTimeSchedule(assets=a, timetable=CronPartitionTimetable('0 * * * *', timezone='UTC'))",
            ["its runs would have partitions"],
        ),
        (
            "PartitionedAssetTimetable(assets=a, default_partition_mapper=StartOfQuarterMapper(output_format='{x}'))",
            ["no other braces"],
        ),
    ],
)
def test_partitions_that_cannot_be_run_are_refused(refused: Refuse, schedule: str, words: list[str]) -> None:
    error = refused(f"{HEADER}{PARTITIONS}with DAG('d', schedule={schedule}):{TASK}")
    assert error.line == 11
    for word in words:
        assert word in str(error)
