"""`leoflow test`: real tasks in real processes, without a server, in this interpreter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from leoflowd.cli.failures import ExitCode

RETRIES = """
from datetime import timedelta
from airflow.sdk import dag, task

@dag(dag_id="retries", params={"n": 3, "m": 1})
def retries():
    @task(retries=2, retry_delay=timedelta(hours=5))
    def flaky(ti=None, params=None):
        print("this is try", ti.try_number, params["n"], params["m"])
        if ti.try_number < 3:
            raise ValueError("not yet")
        ti.xcom_push(key="extra", value={"a": [1]})
        return [1, 2]

    @task
    def use(numbers, ti=None):
        return sum(numbers) + ti.xcom_pull(task_ids="flaky", key="extra")["a"][0]

    use(flaky())

retries()
"""


@pytest.fixture
def run(leoflow, tmp_path: Path):
    def call(source: str, *words: str):
        (tmp_path / "dag.py").write_text(source)
        return leoflow("test", str(tmp_path), "--python", sys.executable, "-o", "json", *words)

    return call


def by_task(document) -> dict:
    return {task["task_id"]: task for task in document["task_instances"]}


def test_a_dag_runs_to_the_end_with_retries_and_xcoms(run) -> None:
    result = run(RETRIES, "--conf", '{"m": 7}')
    assert result.code == 0
    tasks = by_task(result.document)
    assert (tasks["flaky"]["state"], tasks["flaky"]["try_number"]) == ("success", 3)
    assert tasks["use"]["xcoms"] == {"return_value": 4}


STAGED = """
import os, pathlib
from airflow.sdk import dag, task

@dag
def staged():
    @task
    def write():
        folder = pathlib.Path(os.environ["LEOFLOW_STAGING_DIR"])
        (folder / "made").write_text("7")
        return str(folder)

    @task.bash
    def read():
        return 'cat "$LEOFLOW_STAGING_DIR/made"'

    write() >> read()

staged()
"""


def test_tasks_share_a_staging_folder_that_goes_with_the_run(run, tmp_path: Path) -> None:
    (tmp_path / "leoflow.yaml").write_text("staging: {enabled: true, size: 1Gi}\n")
    result = run(STAGED)
    assert result.code == 0
    tasks = by_task(result.document)
    assert tasks["read"]["xcoms"] == {"return_value": "7"}
    assert not Path(tasks["write"]["xcoms"]["return_value"]).exists()


def test_lines_for_people_name_task_and_state(leoflow, run, tmp_path: Path) -> None:
    run(RETRIES)
    result = leoflow("test", str(tmp_path), "--python", sys.executable, "--conf", '{"m": 7}')
    assert "flaky | this is try 3 3 7" in result.out
    assert "flaky |   ValueError: not yet" in result.out
    assert "flaky -> success" in result.out
    assert "\x1b" not in result.out


def test_a_failed_run_exits_1_and_says_why(run) -> None:
    source = """
from airflow.sdk import dag, task
@dag
def f():
    @task.bash
    def sh(): return 'exit 3'
    sh()
f()
"""
    result = run(source)
    assert result.code == ExitCode.RUN_FAILED
    assert result.document["state"] == "failed"
    assert "exit code 3" in by_task(result.document)["sh"]["because"]


def test_execution_timeout_ends_the_whole_process_group(run, tmp_path: Path) -> None:
    source = f"""
from datetime import timedelta
from airflow.sdk import dag, task
@dag
def slow():
    @task(execution_timeout=timedelta(seconds=5))
    def sleeps():
        import os, subprocess, time
        child = subprocess.Popen(["sleep", "600"])
        open({str(tmp_path / "child")!r}, "w").write(str(child.pid))
        time.sleep(600)
    sleeps()
slow()
"""
    result = run(source)
    assert "execution_timeout of 5 s" in by_task(result.document)["sleeps"]["because"]
    assert is_gone(int((tmp_path / "child").read_text()))


def test_a_task_that_dies_without_a_word_is_a_failure_with_a_reason(run) -> None:
    source = """
from airflow.sdk import dag, task
@dag
def dies():
    @task
    def killed():
        import os
        os.kill(os.getpid(), 9)
    killed()
dies()
"""
    assert "SIGKILL" in by_task(run(source).document)["killed"]["because"]


POISON = """
import os
from airflow.sdk import dag, get_current_context, task

@dag(dag_id="poison")
def poison():
    @task
    def nul(): return "a\\0b"

    @task
    def use(value): return value

    @task
    def surrogate(): return "\\ud800"

    @task
    def deep():
        value = 1
        for _ in range(300):
            value = [value]
        return value

    @task
    def error(): raise Exception("a\\0b\\ud800\\x1b[2J")

    @task
    def pushes(): get_current_context()["ti"].xcom_push(key="k", value="\\ud800")

    @task
    def writes(): os.write(1, bytes(range(256)))

    use(nul()); surrogate(); deep(); error(); pushes(); writes()
poison()
"""


def test_what_a_task_answers_fails_that_task_alone(run) -> None:
    """A lone surrogate ended the command with a traceback."""
    result = run(POISON)
    assert (result.code, result.err) == (ExitCode.RUN_FAILED, "")
    tasks = by_task(result.document)
    assert {name for name, task in tasks.items() if task["state"] == "failed"} == {
        "surrogate",
        "deep",
        "error",
        "pushes",
    }
    assert tasks["use"]["xcoms"] == {"return_value": "a\0b"}


def test_one_task_alone(run) -> None:
    result = run(RETRIES, "--task", "flaky")
    assert list(by_task(result.document)) == ["flaky"]
    assert run(RETRIES, "--task", "other").code == ExitCode.NOT_FOUND


def test_a_fault_exits_2_with_its_line(run, tmp_path: Path) -> None:
    assert run("1/0\n").error["compile_errors"][0]["path"] == str(tmp_path / "dag.py")


def test_a_dag_id_is_found_below_this_folder(leoflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("broken", "good"):
        (tmp_path / name).mkdir()
    (tmp_path / "broken" / "dag.py").write_text("1/0\n")
    (tmp_path / "good" / "dag.py").write_text(RETRIES)
    monkeypatch.chdir(tmp_path)
    assert leoflow("test", "retries", "--task", "flaky", "--python", sys.executable, "-o", "json").code == 0
    assert leoflow("test", "nowhere", "--python", sys.executable).code == ExitCode.NOT_FOUND


def test_ctrl_c_ends_every_process_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "dag.py").write_text("""
from airflow.sdk import dag, task
@dag
def waits():
    @task
    def sleeps():
        import os, time
        print("pid", os.getpid(), "end")
        time.sleep(600)
    sleeps()
waits()
""")
    command = [sys.executable, "-m", "leoflowd.cli.main", "test", str(tmp_path), "--python", sys.executable]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    with process.stdout as lines:
        line = next((line for line in lines if "pid" in line), "it ended without starting the task")
        process.send_signal(signal.SIGINT)
        lines.read()
    assert process.wait() == ExitCode.INTERRUPTED
    assert is_gone(int(line.split()[3]))


def is_gone(pid: int) -> bool:
    """Gone, or killed and not yet reaped by whoever inherited it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state in "ZX"


MAPPED = """
from airflow.sdk import dag, task, task_group
@dag
def f():
    @task
    def make(): return [1, 2, 3]
    @task(map_index_template="n{{ ti.map_index }}")
    def double(x, y=0): return x * 2 + y
    @task
    def total(ones): return [len(ones), sum(ones), ones[-1]]
    @task_group
    def g(v):
        return double.override(task_id="again")(double.override(task_id="once")(v))
    doubled = double.partial(y=1).expand(x=make())
    total.override(task_id="plain")(doubled)
    total.override(task_id="mapped")(double.override(task_id="over").expand(x=doubled.map(lambda v: v + 1)))
    total.override(task_id="group")(g.expand(v=make.override(task_id="items")()))
    double.override(task_id="none").expand(x=[])
f()
"""


def test_mapped_tasks_and_groups_run_to_the_end(run) -> None:
    result = run(MAPPED)
    assert result.code == 0, result.document["because"]
    values = {
        (task["task_id"], task.get("map_index")): task["xcoms"].get("return_value")
        for task in result.document["task_instances"]
    }
    assert [values["double", index] for index in range(3)] == [3, 5, 7]
    assert values["plain", None] == [3, 15, 7]
    assert values["mapped", None] == [3, (4 + 6 + 8) * 2, 16]
    assert [values["g.again", index] for index in range(3)] == [4, 8, 12]
    assert values["group", None] == [3, 24, 12]
    assert by_task(result.document)["none"]["state"] == "skipped"


def test_a_task_that_returns_what_cannot_be_mapped_over_fails(run) -> None:
    result = run(MAPPED.replace("return [1, 2, 3]", "return 7"))
    assert result.code == 1
    assert "unmappable return type" in by_task(result.document)["make"]["because"]
    assert by_task(result.document)["double"]["state"] == "upstream_failed"


def test_a_task_that_is_mapped_over_another_does_not_run_alone(run) -> None:
    result = run(MAPPED, "--task", "double")
    assert result.code == 2
    assert "mapped over the output of 'make'" in result.err


def test_a_branch_skips_what_it_leaves_out(run) -> None:
    source = """
from airflow.sdk import dag, task
from airflow.providers.standard.operators.empty import EmptyOperator
@dag
def b():
    @task.branch
    def choose(): return 'left'
    right = EmptyOperator(task_id='right', trigger_rule='all_done')
    choose() >> [EmptyOperator(task_id='left'), right]
    right >> EmptyOperator(task_id='behind')
b()
"""
    result = run(source)
    assert result.code == 0
    tasks = by_task(result.document)
    assert {task_id: task["state"] for task_id, task in tasks.items()} == {
        "choose": "success", "left": "success", "right": "skipped", "behind": "skipped"
    }  # fmt: skip
    assert tasks["choose"]["xcoms"] == {"skipmixin_key": {"followed": ["left"]}}


EVENTS = """
from airflow.sdk import DAG, Asset, AssetAlias, Metadata, task
one, alias = Asset("one", "s3://b/one"), AssetAlias("al")
with DAG("events"):
    @task(outlets=[one, alias, Asset("silent")], inlets=[one])
    def make(outlet_events, inlet_events):
        yield Metadata(one, {"n": len(inlet_events[one])})
        outlet_events[alias].add(Asset("new", "s3://b/new"))
    make()
"""


def test_the_events_of_assets_that_a_task_would_make_are_shown(run, leoflow, tmp_path: Path) -> None:
    (task,) = run(EVENTS).document["task_instances"]
    assert task["asset_events"] == [
        {"name": "one", "uri": "s3://b/one", "extra": {"n": 0}, "aliases": []},
        {"name": "silent", "uri": "silent", "extra": {}, "aliases": []},
        {"name": "new", "uri": "s3://b/new", "extra": {}, "aliases": ["al"]},
    ]
    lines = leoflow("test", str(tmp_path), "--python", sys.executable).out
    assert 'make | Would make an event of asset one with extra {"n": 0}' in lines
    assert "make | Would make an event of asset silent\n" in lines


def test_a_conf_that_does_not_fit_the_params_is_refused_as_by_a_server(run) -> None:
    source = RETRIES.replace('"n": 3', '"n": Param(type="integer")').replace("import dag,", "import Param, dag,")
    assert "param n" in str(run(source).error)
    assert run(source, "--conf", '{"n": 1}').code == 0


WEEKS = """
from datetime import timedelta
from airflow.sdk import dag, task

def told(name):
    def tell(context):
        print("TOLD", name, context["ti"].task_id, context["ti"].try_number)
    return tell

def over(context):
    print("TOLD dag", context["reason"])

EVENTS = {f"on_{event}_callback": told(event) for event in ("execute", "success", "failure", "retry", "skipped")}

@dag(on_failure_callback=over, on_success_callback=over)
def weeks():
    @task(retries=1, retry_delay=timedelta(days=2), retry_exponential_backoff=False, **EVENTS)
    def fails(): raise ValueError("no")
    @task.sensor(poke_interval=3600, mode="MODE", timeout=86400 * 2, **EVENTS)
    def never(): return False
    @task(**EVENTS)
    def skips():
        from airflow.exceptions import AirflowSkipException
        raise AirflowSkipException("no")
    fails(), never(), skips()

weeks()
"""


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_weeks_pass_at_once_and_everybody_is_told(leoflow, tmp_path: Path, mode: str) -> None:
    (tmp_path / "dag.py").write_text(WEEKS.replace("MODE", mode))
    result = leoflow("test", str(tmp_path), "--python", sys.executable)
    told = {line.partition("TOLD ")[2] for line in result.out.splitlines() if "TOLD " in line}
    assert told == {
        *("execute fails 1", "retry fails 1", "execute fails 2", "failure fails 2"),
        *("execute never 1", "failure never 1"),
        *("execute skips 1", "skipped skips 1"),
        "dag task_failure",
    }
    assert "AirflowSensorTimeout" in result.out
    assert result.out.count("Poking callable") < 25
    assert "that were not waited for" in result.out.splitlines()[-1]
    assert 2 <= int(result.out.splitlines()[-1].rpartition("+")[2].split(" d")[0]) < 20


def test_the_runs_own_timeout_comes_before_a_later_retry(run) -> None:
    source = RETRIES.replace("@dag(", "@dag(dagrun_timeout=timedelta(hours=1), ")
    document = run(source).document
    assert document["state"] == "failed"
    assert by_task(document)["flaky"]["try_number"] == 1
    assert 3600 <= document["clock_ahead_s"] + 60 < 5 * 3600


DATED = """
from datetime import datetime
from airflow.sdk import dag, task
from airflow.timetables.interval import CronDataIntervalTimetable

@dag(schedule=CronDataIntervalTimetable("@daily", timezone="UTC"), start_date=datetime(2026, 1, 1))
def dated():
    @task
    def dates(ds=None, data_interval_start=None, data_interval_end=None):
        return [ds, str(data_interval_start), str(data_interval_end)]

    dates()

dated()
"""


def test_a_run_is_of_the_logical_date_that_was_named(run) -> None:
    """As in `airflow dags test DAG DATE`: templates of a past day can be tried."""
    tasks = by_task(run(DATED, "--logical-date", "2026-01-31").document)
    expected = ["2026-01-31", "2026-01-30 00:00:00+00:00", "2026-01-31 00:00:00+00:00"]
    assert tasks["dates"]["xcoms"] == {"return_value": expected}
    assert by_task(run(DATED, "--logical-date", "2025-12-31").document)["dates"]["state"] == "removed"
    assert run(DATED, "--logical-date", "yesterday").code == ExitCode.USAGE


NO_CONNECTION = """
from airflow.sdk import BaseHook, Variable, dag, task

@dag()
def asks():
    @task
    def connection():
        BaseHook.get_connection("api")

    @task
    def variable():
        Variable.get("region")

    connection()
    variable()

asks()
"""


def test_what_is_missing_is_told_with_the_way_that_helps_here(run) -> None:
    """It named the page Connections alone, of a server that `leoflow test` never asks."""
    tasks = by_task(run(NO_CONNECTION).document)
    assert tasks["connection"]["because"].endswith("or as AIRFLOW_CONN_API; `leoflow test` knows the last alone")
    assert tasks["variable"]["because"].endswith("or as AIRFLOW_VAR_REGION; for `leoflow test` by --variables FILE")


FOREIGN = """
import asyncio
from datetime import timedelta
from airflow.sdk import BaseOperator, Variable, dag
from airflow.triggers.base import BaseTrigger, TriggerEvent

class Word(BaseTrigger):
    def __init__(self, word, seconds=0):
        super().__init__()
        self.word, self.seconds = word, seconds

    def serialize(self):
        return ("dag.Word", {"word": self.word, "seconds": self.seconds})

    async def run(self):
        self.log.info("looking for %s", self.word)
        await asyncio.sleep(self.seconds)
        if self.word == "bad":
            raise ValueError("no such word")
        yield TriggerEvent(Variable.get("greeting", default="no greeting") + " " + self.word)

class Waits(BaseOperator):
    def __init__(self, word, seconds=0, longest=None, **rest):
        super().__init__(**rest)
        self.word, self.seconds, self.longest = word, seconds, longest

    def execute(self, context):
        self.defer(trigger=Word(self.word, self.seconds), method_name="go_on", timeout=self.longest)

    def go_on(self, context, event=None):
        if event.endswith("first"):
            self.defer(trigger=Word("second"), method_name="go_on")
        return event

@dag
def foreign():
    Waits(task_id="twice", word="first")
    Waits(task_id="bad", word="bad", retries=1, retry_delay=timedelta(days=1))
    Waits(task_id="late", word="late", seconds=60, longest=timedelta(seconds=1))
    Waits.partial(task_id="each").expand(word=["a", "b"])

foreign()
"""


def test_foreign_triggers_run_in_a_host_of_their_own(run, leoflow, tmp_path: Path) -> None:
    """In real time, beside a retry a day later that is leapt over; one that never fires ends at its timeout."""
    (tmp_path / "values.json").write_text('{"greeting": "good day"}')
    result = run(FOREIGN, "--variables", str(tmp_path / "values.json"))
    tasks = result.document["task_instances"]
    ends = {(t["task_id"], t.get("map_index", -1)): (t["state"], t["xcoms"].get("return_value")) for t in tasks}
    assert ends == {
        ("twice", -1): ("success", "good day second"),
        ("bad", -1): ("failed", None),
        ("late", -1): ("failed", None),
        ("each", 0): ("success", "good day a"),
        ("each", 1): ("success", "good day b"),
    }
    by_id = by_task(result.document)
    assert by_id["bad"]["try_number"] == 2
    assert "Trigger failure" in by_id["bad"]["because"]
    assert "Trigger timeout" in by_id["late"]["because"]
    assert result.document["clock_ahead_s"] > 80_000


def test_lines_of_triggers_stand_beside_those_of_their_task(leoflow, tmp_path: Path) -> None:
    (tmp_path / "dag.py").write_text(FOREIGN)
    result = leoflow("test", str(tmp_path), "--python", sys.executable, "--task", "each")
    assert "each[1] | looking for b" in result.out.splitlines()


def test_a_task_fails_where_no_trigger_host_can_run(run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says why, instead of waiting for a thread that is gone."""

    def broken(**_: object) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr("leoflowd.cli.local_triggers.ProcessHosts", broken)
    task = by_task(run(FOREIGN, "--task", "twice").document)["twice"]
    assert (task["state"], "Trigger failure" in task["because"]) == ("failed", True)
