"""The shim and Airflow's own SDK load the same file into the same artifact; the SDK what the shim does not model."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from leoflowd.authoring.compiler import Compilation, Loader, compile_opened
from leoflowd.authoring.discovery import open_projects
from leoflowd.authoring.errors import DagCompileError
from leoflowd.cli.main import main
from leoflowd.contract.dag_spec import CustomTimetable, DagSpec
from leoflowd.contract.loading import EMPTY, NOT_TOLD, Loadable
from tests.unit.authoring.conftest import MakeProject
from tests.unit.authoring.test_timetables import DAG as WORKDAY_DAG
from tests.unit.authoring.test_timetables import WORKDAYS

CONNECTORS = "connectors: [http]\n"
EVERYTHING = """
from datetime import datetime, timedelta

from airflow.models import Variable
from airflow.operators.dummy_operator import DummyOperator
from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.python import BranchPythonOperator, PythonOperator
from airflow.providers.standard.sensors.time_delta import TimeDeltaSensor
from airflow.providers.standard.sensors.weekday import DayOfWeekSensor
from airflow.providers.standard.utils.weekday import WeekDay
from airflow.sdk import DAG, BaseOperator, BaseSensorOperator, Label, Param, TaskGroup
from airflow.sdk import AsyncCallback, DeadlineAlert, DeadlineReference, SyncCallback
from airflow.sdk import chain, dag, literal, task, task_group
from airflow.timetables.trigger import CronTriggerTimetable
from airflow.utils.trigger_rule import TriggerRule


class Mine(BaseOperator):
    template_fields = ("name",)
    ui_color = "#123456"

    def __init__(self, name, size=3, **kwargs):
        super().__init__(retries=2, **kwargs)
        self.name = name
        self.size = size

    def execute(self, context):
        return self.name


class Shell(BashOperator):
    def __init__(self, words, **kwargs):
        super().__init__(bash_command="echo " + words, **kwargs)


class Poked(BaseSensorOperator):
    def poke(self, context):
        return True


def choose():
    return "in_old.later"


async def tell(context): ...


def late(reference, callback):
    return DeadlineAlert(reference=reference, interval=timedelta(hours=1), callback=callback)


with DAG(
    "old",
    deadline=[
        late(DeadlineReference.DAGRUN_LOGICAL_DATE, SyncCallback(choose, kwargs={"x": 1})),
        late(DeadlineReference.DAGRUN_QUEUED_AT, AsyncCallback(tell)),
        late(DeadlineReference.FIXED_DATETIME(datetime(2030, 1, 1)), SyncCallback("mine.tell")),
        late(DeadlineReference.AVERAGE_RUNTIME(3, min_runs=2), AsyncCallback("mine.tell")),
    ],
    schedule_interval="@daily",
    start_date=datetime(2026, 1, 1),
    default_args={"owner": "me", "retries": 4, "retry_delay": timedelta(seconds=9)},
    concurrency=3,
    tags=["b", "a"],
    params={"size": Param(3, type="integer", minimum=1), "name": "x"},
    user_defined_macros={"m": len},
) as old:
    begin = DummyOperator(task_id="begin")
    branch = BranchPythonOperator(task_id="branch", python_callable=choose)
    with TaskGroup("in_old", tooltip="inside") as group:
        later = BashOperator(task_id="later", bash_command="echo {{ execution_date }}", env={"A": "b"})
        Mine(task_id="mine", name="{{ ds }}", params={"own": 1})
        with TaskGroup("deep", prefix_group_id=False):
            Shell(task_id="shell", words="hello", trigger_rule=TriggerRule.ALL_DONE)
    begin >> Label("start") >> branch >> [group, Poked(task_id="poked", poke_interval=5, mode="reschedule")]
    later.pool = "own_pool"
    later.doc_md = Variable.get("doc", default_var="none")
    end = PythonOperator(task_id="end", python_callable=choose, op_args=[later.output, literal("{{ x }}")])
    group >> end

five = CronTriggerTimetable("0 5 * * *", timezone="Europe/Berlin")
with DAG("waits", schedule=five, start_date=datetime(2026, 1, 1)):
    chain(
        DayOfWeekSensor(task_id="day", week_day=[WeekDay.MONDAY, WeekDay.FRIDAY]),
        TimeDeltaSensor(task_id="delta", delta=timedelta(minutes=5)),
        HttpSensor(task_id="sensor", endpoint="up", http_conn_id="api"),
        HttpOperator(task_id="call", endpoint="go", http_conn_id="api", method="GET"),
    )


@dag(schedule=timedelta(hours=2), start_date=datetime(2026, 1, 1), catchup=False)
def mapped(name: str = "n"):
    '''What it is for.'''

    @task
    def numbers() -> list:
        '''Some numbers.'''
        return [1, 2]

    @task.branch
    def pick():
        return "after"

    @task(retries=1, pool="p")
    def add(x, y, z=1):
        return x + y

    @task(execution_timeout=timedelta(minutes=1))
    def after(items, which):
        return items

    @task_group
    def both(x, y):
        BashOperator(task_id="one", bash_command="echo") >> add(x=x, y=y)

    many = numbers()
    added = add.partial(y=2).expand(x=many)
    pairs = many.zip(many, fillvalue=0).map(lambda pair: {"x": pair[0], "y": pair[1]})
    add.override(task_id="zipped").partial(z=4).expand_kwargs(pairs)
    BashOperator.partial(task_id="bash", env={"A": "b"}, retries=7).expand(bash_command=["a", "b"])
    Mine.partial(task_id="mine", name="x").expand(size=many.concat(many))
    both.expand(x=[1, 2, 3], y=many)
    made = after(added, name)
    pick() >> made
    up, down = DummyOperator(task_id="up"), BashOperator(task_id="down", bash_command="rm")
    up.as_setup() >> made >> down.as_teardown(setups=up)


mapped()
"""


ASSETS = """
from datetime import datetime
from airflow.datasets import Dataset, DatasetAlias
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.triggers.file import FileDeleteTrigger
from airflow.sdk import AllowedKeyMapper, AssetWatcher, ChainMapper, CronPartitionTimetable, IdentityMapper
from airflow.sdk import DAG, Asset, AssetAlias, AssetOrTimeSchedule, CronTriggerTimetable, Metadata, asset, task
from airflow.sdk import PartitionedAssetTimetable, ProductMapper, StartOfDayMapper
from airflow.sdk.definitions.asset import Model
from airflow.timetables.assets import AssetOrTimeSchedule as Core
from airflow.timetables.trigger import CronTriggerTimetable as CoreFive
from airflow.timetables.datasets import DatasetOrTimeSchedule

class Table(Asset):
    asset_type = "table"

a = Asset("a", "S3://b/c/?z=1&y=2#f", extra={"n": [1, None]}, group="g")
b = Dataset("s3://b/d/")
c = Model("c", uri="x-thing://C")
alias = AssetAlias("al", group="of")
five = CronTriggerTimetable("0 5 * * *", timezone="UTC")

@asset(schedule=None, uri="file:///x", extra={"k": 1}, tags=["t"], description="d")
def lone(self, context, a, limit=3):
    '''Doc.'''
    yield Metadata(self, {"n": 1})

@asset(schedule=lone, name="other")
@task.bash(retries=2)
def shell():
    return "echo"

@asset.multi(schedule=[lone, b], outlets=[a, alias], dag_id="many")
def several(lone):
    return 1

with DAG("set", schedule={a, b, c}):
    BashOperator(task_id="x", bash_command="e", outlets=c, inlets=(a, alias, a))
    part = BashOperator.partial(task_id="m", outlets=[Table("t")], inlets=Asset.ref(uri="s3://b/d"))
    part.expand(bash_command=["1", "2"])

with DAG("nested", schedule=(a | b) & (several | Asset.ref(name="q") | alias)):
    @task(outlets=[a], inlets=[DatasetAlias("z")])
    def one(n): return n
    one.expand(n=[1, 2])
    later = one.override(task_id="later")(3)
    later.operator.add_outlets([b])
with DAG("t1", schedule=AssetOrTimeSchedule(timetable=five, assets=[a, b]), start_date=datetime(2026, 1, 1)):
    BashOperator(task_id="x", bash_command="e")
also = CoreFive("0 5 * * *", timezone="UTC")
with DAG("t2", schedule=Core(timetable=also, assets=a | b), start_date=datetime(2026, 1, 1)):
    BashOperator(task_id="x", bash_command="e")

trigger = FileDeleteTrigger(filepath="/tmp/f")
with DAG("watched", schedule=[Asset("w", watchers=[AssetWatcher(name="file", trigger=trigger)])]):
    BashOperator(task_id="x", bash_command="e")
day = ProductMapper(IdentityMapper(), StartOfDayMapper(), delimiter=":")
parts = {a | b: AllowedKeyMapper(["x"]), Asset.ref(name="q"): ChainMapper(day, IdentityMapper())}
both = [a, Asset.ref(name="q")]
with DAG("parts", schedule=PartitionedAssetTimetable(assets=both, partition_mapper_config=parts)):
    BashOperator(task_id="x", bash_command="e")
with DAG("cron_parts", schedule=CronPartitionTimetable("0 * * * *", timezone="UTC", run_offset=2)):
    BashOperator(task_id="x", bash_command="e")
"""


def load(folder: Path, python: Path, only: Loader | None = None, loadable: Loadable = EMPTY) -> Compilation:
    (project,) = open_projects(folder)
    return compile_opened(project, python=str(python), only=only, loadable=loadable)


def artifacts(done: Compilation) -> list[DagSpec]:
    """But for who has loaded them."""
    return [msgspec.structs.replace(spec, loaded_by="shim") for spec in done.specs]


def test_both_loaders_give_the_same_artifact(project: MakeProject, airflow_python: Path) -> None:
    folder = project(EVERYTHING, yaml=CONNECTORS)
    by_shim = load(folder, airflow_python, Loader.SHIM)
    by_sdk = load(folder, airflow_python, Loader.SDK)
    assert [spec.dag_id for spec in by_shim.specs] == ["mapped", "old", "waits"]
    for one, other in zip(by_shim.specs, by_sdk.specs, strict=True):
        for this, that in zip(one.tasks, other.tasks, strict=True):
            assert this == that
    assert artifacts(by_shim) == artifacts(by_sdk)
    assert len(by_sdk.specs[1].warnings) == 3  # the import, the DAG's arguments, the name in the template


def test_assets_are_the_same_by_either_loader(project: MakeProject, airflow_python: Path) -> None:
    folder = project(ASSETS, yaml=CONNECTORS)
    by_shim = load(folder, airflow_python, Loader.SHIM)
    dag_ids = ["cron_parts", "lone", "many", "nested", "other", "parts", "set", "t1", "t2", "watched"]
    assert [spec.dag_id for spec in by_shim.specs] == dag_ids
    assert artifacts(by_shim) == artifacts(load(folder, airflow_python, Loader.SDK))


SECRETS = """
from airflow.models import Variable
from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, BaseHook, task

TOKEN = Variable.get("api_token")
AWS = Variable.get("aws_secret", deserialize_json=True)

with DAG("d", doc_md=f"with {TOKEN}"):
    one = BashOperator(task_id="one", bash_command=f"echo {TOKEN}", env={"A": TOKEN, "B": AWS["key"]})
    HttpOperator(task_id="two", endpoint="/x", headers={"Authorization": f"Bearer {TOKEN}"})
    HttpSensor(task_id="three", endpoint="/x", request_params={"key": AWS["key"]})
    PythonOperator(task_id="four", python_callable=print, op_kwargs={"p": BaseHook.get_connection("api").password})
    BashOperator.partial(task_id="five", env={"A": TOKEN}).expand(bash_command=["a", "b"])

    @task
    def six(token): ...

    six(TOKEN) >> one
"""


def test_what_stands_for_a_secret_is_the_same_by_either_loader(project: MakeProject, airflow_python: Path) -> None:
    known = {"api": {"conn_type": "http", "host": "h", NOT_TOLD: ["password"]}}
    given = Loadable(secret_variables=("api_token", "aws_secret"), connections=known)
    folder = project(SECRETS, yaml=CONNECTORS)
    by_shim = load(folder, airflow_python, Loader.SHIM, given)
    assert artifacts(by_shim) == artifacts(load(folder, airflow_python, Loader.SDK, given))
    fields = {task.task_id: task.template_values for task in by_shim.specs[0].tasks}
    assert fields["one"]["env"] == {"A": "{{ var.value.api_token }}", "B": "{{ var.json.aws_secret.key }}"}
    assert fields["four"]["op_kwargs"] == {"p": "{{ conn.api.password }}"}


NEEDS_MORE = """
import copy

from airflow.providers.http.hooks.http import HttpHook
from airflow.providers.http.operators.http import HttpOperator
from airflow.sdk import DAG, ObjectStoragePath, Variable, task

METHOD = HttpHook(method="PATCH").method


class Mine(HttpOperator):
    template_fields = (*HttpOperator.template_fields, "shown")

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.shown = f"{self.task_id} by {self.http_conn_id}"


with DAG("more", schedule=None) as dag:
    call = Mine(task_id="call", endpoint=Variable.get("where"), data=METHOD)

    @task
    def after(path):
        return path

    call >> after(str(ObjectStoragePath("file:///tmp")))
    again = copy.copy(call)
    again.task_id, again.upstream_task_ids, again.downstream_task_ids = "again", set(), set()
    dag.add_task(again)
"""


def test_what_the_shim_does_not_model_is_loaded_by_airflow(project: MakeProject, airflow_python: Path) -> None:
    given = Loadable(variables={"where": "there"}, secret_variables=("password",))
    done = load(project(NEEDS_MORE, yaml=CONNECTORS), airflow_python, loadable=given)
    (spec,) = done.specs
    again, call, after = spec.tasks
    assert (again.task_id, again.template_values["endpoint"]) == ("again", "there")
    assert (call.operator, call.module) == ("Mine", "dag")
    assert call.template_values["shown"] == "call by http_default"
    assert (call.template_values["endpoint"], call.template_values["data"]) == ("there", "PATCH")
    assert after.template_values["op_args"] == ["file:///tmp"]
    assert any("loaded by Airflow's own packages, because dag.py:" in note for note in done.notes)
    assert [(read.kind, read.key) for read in done.reads] == [("variable", "where")]


ONLY_BY_SDK = """
from airflow import DAG
from airflow.models.dag import ScheduleInterval
from airflow.operators.bash import BashOperator
from airflow.operators.subdag import SubDagOperator
from airflow.operators.weekday import WeekDay
from airflow.providers.http.hooks.http import HttpHook
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.utils.log.logging_mixin import LoggingMixin


class Retrying(LoggingMixin):
    def __init__(self, tries=1, **kwargs):
        super().__init__(**kwargs)
        self.tries = tries


class Echo(Retrying, BashOperator):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)


class Again(TriggerDagRunOperator):
    def __init__(self, execution_date=None, **kwargs):
        super().__init__(logical_date=execution_date, trigger_dag_id="d", **kwargs)


said: ScheduleInterval = HttpHook.conn_name_attr
with DAG("d", schedule=None):
    Echo(task_id="b", tries=2, bash_command=f"echo {said} {WeekDay.MONDAY.value} {isinstance(said, SubDagOperator)}")
"""


def test_what_only_airflow_loads_it_loads_where_tasks_run(
    project: MakeProject, airflow_python: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also for a task of a kind that needs none of its packages; under names that Airflow 3 has no more."""
    folder = project(ONLY_BY_SDK, yaml=CONNECTORS)
    (spec,) = load(folder, airflow_python).specs
    assert (spec.loaded_by, spec.tasks[0].kind) == ("sdk", "bash")
    assert [warning.line for warning in spec.warnings] == [2, 4, 5]
    assert main(["test", str(folder), "--python", str(airflow_python)]) == 0
    assert "http_conn_id 1 False" in capfd.readouterr().out


def test_an_argument_that_an_authors_class_names_is_its_own(project: MakeProject, airflow_python: Path) -> None:
    """`execution_date` is an old name of the operator's; here it is a name of the class that is made."""
    text = f"{ONLY_BY_SDK}    Again(task_id='again', execution_date='{{{{ ds }}}}')\n"
    (spec,) = load(project(text, yaml=CONNECTORS), airflow_python).specs
    (again,) = (task for task in spec.tasks if task.task_id == "again")
    assert again.template_values["logical_date"] == "{{ ds }}"


def test_a_class_that_is_gone_is_not_made_by_airflow_either(project: MakeProject, airflow_python: Path) -> None:
    with pytest.raises(
        DagCompileError, match=r"SubDagOperator of airflow\.operators\.subdag, and Airflow 3 has removed it"
    ):
        load(project(f"{ONLY_BY_SDK}    SubDagOperator(task_id='s')\n", yaml=CONNECTORS), airflow_python)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("from airflow.providers.http.operators.http import NoSuchOperator", "'NoSuchOperator' is imported"),
        ("TriggerDagRunOperator(task_id='t', trigger_dag_id='d', execution_date='a', logical_date='b')", "task 't'"),
    ],
)
def test_one_reason_of_both_loaders_is_told_once(
    project: MakeProject, airflow_python: Path, line: str, what: str
) -> None:
    """In the words of the shim, which knows the task, and what to do."""
    text = (
        "from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator\n"
        f"from airflow.providers.http.hooks.http import HttpHook\n{line}\n"
    )
    with pytest.raises(DagCompileError) as caught:
        load(project(text, yaml=CONNECTORS), airflow_python)
    assert caught.value.what.startswith(what)
    assert (caught.value.line, caught.value.others) == (3, ())


def test_a_file_of_yaml_is_never_airflows_to_load(project: MakeProject, airflow_python: Path) -> None:
    wrong = "tasks:\n  - id: a\n    operator: NoSuchOperator\n"
    with pytest.raises(DagCompileError) as caught:
        load(project(None, yaml=CONNECTORS + "dag_source: dag.yaml\n", files={"dag.yaml": wrong}), airflow_python)
    assert "not valid Python" not in str(caught.value)
    assert caught.value.path == "dag.yaml"
    assert not caught.value.others


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("Variable.get('password').split()", "a secret is taken apart while the file is loaded"),
        ("settings.Session().execute('select 1')", "database access via the ORM is not allowed"),
        ("DAG('d', schedule_interval='@daily', schedule='@hourly')", "dag 'd' has schedule_interval"),
    ],
)
def test_what_airflow_refuses_as_well_has_its_line(
    project: MakeProject, airflow_python: Path, line: str, what: str
) -> None:
    text = (
        "from airflow import settings\n"
        "from airflow.providers.http.hooks.http import HttpHook\n"
        "from airflow.sdk import DAG, ObjectStoragePath, Variable\n"
        f"{line}\n"
    )
    given = Loadable(variables={"password": "x"}, secret_variables=("password",))
    with pytest.raises(DagCompileError) as caught:
        load(project(text, yaml=CONNECTORS), airflow_python, loadable=given)
    assert caught.value.line == 4
    assert what in caught.value.what


def test_a_timetable_of_the_author_is_asked_the_same_by_both(project: MakeProject, airflow_python: Path) -> None:
    files = {"plugins/__init__.py": "", "plugins/workdays.py": WORKDAYS}
    text = WORKDAY_DAG.format(arguments="start_date=datetime(2024, 11, 1)")
    (one,) = open_projects(project(text, yaml=CONNECTORS, files=files))
    by_shim, by_airflow = (compile_opened(one, python=str(airflow_python), only=only).specs[0] for only in Loader)
    assert isinstance(by_shim.timetable, CustomTimetable)
    assert by_shim.timetable.slots
    assert by_shim.timetable == by_airflow.timetable


def test_a_timetable_on_one_of_airflows_is_asked_by_airflow(project: MakeProject, airflow_python: Path) -> None:
    text = """
        from airflow.sdk import DAG
        from airflow.timetables.trigger import CronTriggerTimetable
        from airflow.providers.standard.operators.empty import EmptyOperator

        class Later(CronTriggerTimetable):
            pass

        with DAG("d", schedule=Later("0 6 * * *", timezone="UTC")):
            EmptyOperator(task_id="a")
    """
    (one,) = open_projects(project(text, yaml=CONNECTORS))
    done = compile_opened(one, python=str(airflow_python))
    assert "derives from CronTriggerTimetable" in done.notes[-1]
    timetable = done.specs[0].timetable
    assert isinstance(timetable, CustomTimetable)
    assert {(start.hour, end == start) for start, end, _ in timetable.slots} == {(6, True)}
    assert (timetable.description, timetable.manual_is_exact) == ("At 06:00", True)
