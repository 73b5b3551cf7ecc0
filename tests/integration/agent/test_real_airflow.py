"""Tasks on Airflow's real packages: the runner plays the task SDK's supervisor, the packages are those of the index.

One agent runs all tries of this module, each a fork of one warm interpreter: importing Airflow takes seconds.
"""

from __future__ import annotations

import base64
import json
import textwrap
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typing_extensions import override

from leoflow_agent.runner import xcom
from leoflowd.contract.agent_messages import OutcomeKind, ResumeCall, TrySpec, XComInput
from leoflowd.contract.asset_spec import AssetEventFacts, AssetRecord
from leoflowd.contract.connection import ConnectionFacts
from leoflowd.contract.human import Answer, Person, Question
from leoflowd.contract.wait_spec import Deferral, TriggerSpec, WaitTerms
from leoflowd.core.human import event_of
from leoflowd.core.known_triggers import native_wait
from tests.fakes.fake_control_plane import Facts, TryFacts

from .harness import KEEPS_A_SECRET, World, agent_and_plane, appears, in_world, run_one, run_tries

WITHIN_S = 300
"""The first try imports all of Airflow."""
HEADER = """
import os, sys, time
from datetime import datetime, timedelta, timezone
from airflow import settings
from airflow.sdk import DAG, Asset, AssetAlias, BaseOperator, Metadata, Param, Variable, task, get_current_context
from airflow.exceptions import AirflowFailException, AirflowRescheduleException, AirflowSkipException
from airflow.providers.http.hooks.http import HttpHook
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
from airflow.providers.standard.operators.latest_only import LatestOnlyOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.providers.standard.sensors.filesystem import FileSensor
from airflow.triggers.base import BaseTrigger, TriggerEvent
from airflow.operators.bash_operator import BashOperator
from airflow.operators.python_operator import PythonOperator
from airflow.operators.http_operator import SimpleHttpOperator as OldHttp
from airflow.operators.mysql_operator import MySqlOperator as OldSql
from airflow.utils.dates import days_ago
from airflow.utils.decorators import apply_defaults

def old_names(conf, execution_date, ti, prev_ds=None, **kwargs):
    return [conf, execution_date.isoformat(), ti.execution_date == execution_date, prev_ds,
            kwargs["dag_run"].execution_date == execution_date, kwargs["tomorrow_ds"], sorted(kwargs["dag_run"].conf)]

class Odd(BaseTrigger):
    def __init__(self, moment, pair):
        super().__init__()
        self.moment, self.pair = moment, pair
    def serialize(self):
        return "somewhere.else.Odd", {"moment": self.moment, "pair": self.pair}
    async def run(self):
        yield TriggerEvent("never")

class Waiting(BaseOperator):
    def execute(self, context):
        moment = datetime(2026, 1, 2, tzinfo=timezone.utc)
        self.defer(trigger=Odd(moment, (1, 2)), method_name="go_on", kwargs={"since": moment},
                   timeout=timedelta(minutes=2))
    def go_on(self, context, since, event):
        return {"since": since.isoformat(), "event": event}

class Endless(BaseOperator):
    def execute(self, context):
        open(os.environ["OUT"] + "/begun", "w").write("yes")
        time.sleep(600)
    def on_kill(self):
        print("told to stop")

with DAG("d", "old style", None, datetime(2026, 1, 1), params={"p": 1}, concurrency=3, default_view="graph",
         default_args={"provide_context": True, "sla": timedelta(hours=1)}) as dag:
"""
TASKS = """
@task
def hook():
    answer = HttpHook(method="GET", http_conn_id="api").run("hello").json()
    print("password is", HttpHook().get_connection("api").password)
    return {"path": answer["path"], "is_basic": answer["authorization"].startswith("Basic ")}
hook()
HttpOperator(task_id="call", http_conn_id="api", method="GET", endpoint="x/{{ ds }}", deferrable=True)
Waiting(task_id="odd")
Endless(task_id="endless")

@task
def skip(): raise AirflowSkipException("no need")
skip()
@task
def fail_for_good(): raise AirflowFailException("no use")
fail_for_good()
@task
def fail(): raise ValueError("again")
fail()
@task
def variables():
    Variable.set("written", {"n": 1}, serialize_json=True)
    Variable.set("gone", "x")
    Variable.delete("gone")
    print("token is", Variable.get("api_token"))
    return [Variable.get("stored"), Variable.get("written", deserialize_json=True), Variable.get("nope", default=None)]
variables()
@task
def no_variable(): Variable.get("nope")
no_variable()
BashOperator(task_id="template", bash_command="echo {{ var.value.stored }} {{ var.json.limits.rows }} "
             "{{ var.value.get('nope', 'none') }} {{ conn.api.login }}")
@task
def unknown_connection(): HttpHook(http_conn_id="nobody").get_conn()
unknown_connection()
FileSensor(task_id="file", filepath="proc/version")

@task
def later(ti=None):
    print("began", ti.get_first_reschedule_date(get_current_context()))
    raise AirflowRescheduleException(datetime(2030, 1, 1, tzinfo=timezone.utc))
later()
@task
def xcoms(ti=None):
    ti.xcom_push("when", datetime(2026, 1, 1, tzinfo=timezone.utc))
    return [ti.xcom_pull("one"), ti.xcom_pull("none")]
xcoms()
@task
def objects(ti=None):
    import attr, decimal, pendulum, pydantic, uuid, zoneinfo
    from dataclasses import make_dataclass
    from airflow.sdk import serde
    from leoflow_runner import xcom
    made = [make_dataclass("Point", ["x"])(x=(1, 2)), attr.make_class("Pair", ["a"])(a={1: None}),
            pydantic.create_model("Model", n=(int, ...))(n=1)]
    tokyo = pendulum.timezone("Asia/Tokyo")
    standard = [uuid.UUID(int=7), zoneinfo.ZoneInfo("Asia/Tokyo"), tokyo, pendulum.FixedTimezone(3600), pendulum.UTC,
                pendulum.datetime(2026, 1, 2, tz="Asia/Tokyo"), pendulum.date(2026, 1, 2), datetime(2026, 1, 2),
                datetime(2026, 1, 2, tzinfo=tokyo), timedelta(days=1.5), {1, 2}, frozenset([1]), (1, (2, 3)), b"x"]
    forms = [(xcom.plain(one, "it"), serde.serialize(one)) for one in [*standard, *made]]
    read = [(xcom.decode(ours), serde.deserialize(ours)) for ours, _ in forms[:len(standard)]]
    ti.xcom_push("differ", [str(pair) for pair in forms if pair[0] != pair[1]]
                 + [str(pair) for pair in read if pair[0] != pair[1] or type(pair[0]) is not type(pair[1])])
    return [serde.deserialize(xcom.plain(decimal.Decimal("1.10"), "it")) == decimal.Decimal("1.10"),
            ti.xcom_pull("raw"), b"own"]
objects()
x, y = EmptyOperator(task_id="x"), EmptyOperator(task_id="y")
@task.branch
def branch(): return "x"
branch() >> [x, y]
@task.short_circuit
def short(): return 0
short() >> x >> EmptyOperator(task_id="behind")
@task.branch
def all_ways(): return ["x", "y"]
all_ways() >> [x, y]
LatestOnlyOperator(task_id="latest") >> x
@task.external_python(python=sys.executable)
def elsewhere():
    from airflow.sdk import Connection
    return [1, Connection.get("api").host]
elsewhere()
TriggerDagRunOperator(task_id="wake", trigger_dag_id="asleep", trigger_run_id="w", fail_when_dag_is_paused=True)
TriggerDagRunOperator(task_id="start", trigger_dag_id="other", trigger_run_id="r", conf={"a": 1})
def order(context, dag_run_obj):
    if context["ti"].task_id == "no_order": return None
    dag_run_obj.payload = {"ds": context["ds"]}
    return dag_run_obj
for name in ("order", "no_order"):
    TriggerDagRunOperator(task_id=name, trigger_dag_id="ordered", python_callable=order)
HITLOperator(task_id="ask", subject="Who on {{ ds }}?", options=["a", "b"], defaults="b", multiple=True,
             params={"zone": Param("eu", type="string"), "age": Param(3, type="integer")},
             assigned_users=[{"id": "anna", "name": "Anna"}], response_timeout=timedelta(hours=1))
ApprovalOperator(task_id="approve", subject="Go?") >> EmptyOperator(task_id="approved")
@task
def surroundings():
    try:
        settings.Session()
    except Exception as error:
        refused = type(error).__name__
    home = os.environ["AIRFLOW_HOME"]
    return [os.path.relpath(home, sys.prefix), refused, os.path.exists(home + "/airflow.db"),
            get_current_context()["ds"], get_current_context()["params"]["p"]]
surroundings()
BashOperator(task_id="old_bash", bash_command="echo {{ execution_date.year }} {{ prev_ds }} {{ next_ds_nodash }}",
             provide_context=True, trigger_rule="dummy", sla=timedelta(hours=1))
PythonOperator(task_id="old_names", python_callable=old_names, op_args=[{"x": 1}], task_concurrency=2)
OldHttp(task_id="old_call", http_conn_id="api", method="GET", endpoint="x",
        response_filter=lambda answer: answer.json()["path"])
one_asset, an_alias = Asset("one", "s3://b/one"), AssetAlias("al")
@task(outlets=[one_asset, an_alias], inlets=[one_asset, Asset.ref(name="one"), an_alias])
def assets(inlet_events, outlet_events, triggering_asset_events, dag_run):
    yield Metadata(one_asset, {"n": 1})
    outlet_events[an_alias].add(Asset("new", "s3://b/new", extra={"of": "it"}), extra={"k": 2})
    seen = [inlet_events[one_asset].limit(5)[-1], inlet_events[an_alias][0], triggering_asset_events[one_asset][0]]
    return [[event.extra, event.asset.uri, event.source_task_id] for event in [*seen, *dag_run.consumed_asset_events]]
assets()
@task
def partition(dag_run, logical_date=None):
    return [dag_run.partition_key, dag_run.logical_date, logical_date]
partition()
@task(outlets=[Asset("x")])
def grown(): return Asset("y")
grown()
@task
def old_functions():
    return [days_ago(1).hour, settings.TIMEZONE.name, OldHttp.__module__, issubclass(OldSql, BaseOperator)]
old_functions()
"""
MAPPED = """
@task
def make(): return [1, 2, 3]
@task
def text(): return "text"
@task(map_index_template="{{ task.op_kwargs['x'] }}")
def mapped(x, y=0): return x * 10 + y
@task
def reducer(ones): return [sum(ones), len(ones), ones[-1], list(ones[1:3])]
@task_group
def g(v):
    inner.override(task_id="second")(inner.override(task_id="first")(v))
@task
def inner(v): return [v]
reducer(mapped.expand(x=make()))
BashOperator.partial(task_id="old", task_concurrency=2, sla=timedelta(hours=1)).expand(bash_command=["echo first"])
mapped.override(task_id="unused").expand(x=text())
g.expand(v=make.override(task_id="items")())
"""
ANSWER = {"status_code": 200, "headers": {}, "content": base64.b64encode(b"answered").decode(), "url": "http://x/"}
"""As the real `HttpTrigger` serializes a response."""
MOMENT = datetime(2026, 1, 2, tzinfo=UTC)
ODD = {
    "__classname__": "datetime.datetime",
    "__version__": 2,
    "__data__": {
        "timestamp": MOMENT.timestamp(),
        "tz": {
            "__classname__": "builtins.tuple",
            "__version__": 1,
            "__data__": ["UTC", "pendulum.tz.timezone.FixedTimezone", 1, True],
        },
    },
}
SCHEDULED: dict[str, Any] = {
    "dag_run": {"run_type": "scheduled"},
    "prev_logical_date": datetime(2026, 2, 27, tzinfo=UTC),
    "next_logical_date": datetime(2026, 3, 4, tzinfo=UTC),
}
ANSWERED = Answer(
    chosen_options=("a",),
    params_input={"zone": "us", "age": 4},
    responded_at=MOMENT,
    responded_by=Person(id="anna", name="Anna"),
)
EVENT = AssetEventFacts(
    id=3,
    timestamp=MOMENT,
    name="one",
    uri="s3://b/one",
    extra='{"e": 1}',
    source_dag_id="d",
    source_run_id="r",
    source_task_id="maker",
    source_map_index=-1,
)
REJECTED = Answer(chosen_options=("Reject",), responded_at=MOMENT, responded_by=Person(id="anna", name="Anna"))
SPECS: dict[str, dict[str, Any]] = {
    "hook": {"kind": "python"},
    "call": {},
    "call resumed": {
        "resume": ResumeCall(
            next_method="execute_complete", event=json.dumps({"status": "success", "response": ANSWER})
        )
    },
    "odd": {},
    "odd resumed": {
        "resume": ResumeCall(next_method="go_on", next_kwargs=json.dumps({"since": ODD}), event='{"n": 1}')
    },
    "odd failed": {"resume": ResumeCall(next_method="go_on", error="Trigger failure", traceback=("boom at line 3",))},
    "ask": {},
    "ask resumed": {"resume": ResumeCall(next_method="execute_complete", event=json.dumps(event_of(ANSWERED)))},
    "approve resumed": {"resume": ResumeCall(next_method="execute_complete", event=json.dumps(event_of(REJECTED)))},
    "skip": {"kind": "python"},
    "fail_for_good": {"kind": "python"},
    "fail": {"kind": "python"},
    "variables": {"kind": "python"},
    "no_variable": {"kind": "python"},
    "template": {"kind": "bash"},
    "unknown_connection": {"kind": "python"},
    "file": {"kind": "sensor"},
    "later": {"kind": "python", "first_started_at": datetime(2026, 1, 1, tzinfo=UTC)},
    "xcoms": {"kind": "python"},
    "objects": {"kind": "python"},
    "start": {},
    "order": {},
    "no_order": {},
    "surroundings": {"kind": "python"},
    "branch": {"kind": "python"},
    "short": {"kind": "python"},
    "all_ways": {"kind": "python"},
    "latest": {"kind": "python"},
    "elsewhere": {"kind": "python"},
    "wake": {},
    "old_bash": SCHEDULED,
    "old_names": SCHEDULED,
    "old_call": {},
    "old_functions": {"kind": "python"},
    "assets": {"kind": "python", "dag_run": {"run_type": "asset_triggered"}},
    "grown": {"kind": "python"},
    "partition": {
        "kind": "python",
        "dag_run": {
            "run_type": "scheduled",
            "partition_key": "2026-01-02T05",
            **dict.fromkeys(("logical_date", "data_interval_start", "data_interval_end")),
        },
    },
}
"""Name of a try -> what is special about it; its first word is the task."""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"path": self.path, "authorization": self.headers.get("Authorization")}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    @override
    def log_message(self, *_: object) -> None:
        """Silence."""


@pytest.fixture(scope="module")
def facts() -> Iterator[Facts]:
    """What the daemon knows: a connection to a server on loopback that says what it was asked, and an XCom."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        api = ConnectionFacts(
            connection_id="api",
            conn_type="http",
            host="127.0.0.1",
            port=server.server_address[1],
            login="me",
            password="open-sesame",
        )
        yield Facts(
            connections={"api": api},
            xcoms=[
                XComInput(task_id="one", key="return_value", value="7"),
                XComInput(task_id="raw", key="return_value", value=json.dumps(xcom.plain(b"\x00", "raw"))),
            ],
            variables={"stored": "from the daemon", "limits": '{"rows": 3}', "api_token": "t0ken-value"},
            paused={"asleep"},
            asset_events=(EVENT,),
        )
        server.shutdown()


@pytest.fixture(scope="module")
def tries(airflow_python: Path, facts: Facts) -> dict[str, TryFacts]:
    """All tries of `SPECS`, run."""
    ran: dict[str, TryFacts] = {}

    async def body(world: World) -> None:
        world.facts = facts
        world.project(TASKS, header=HEADER)
        fixed = {"python": str(airflow_python), "runtime": "airflow", "kind": "operator", "max_tries": 1}
        specs: list[TrySpec] = [world.spec(name.split()[0], **{**fixed, **own}) for name, own in SPECS.items()]
        async with agent_and_plane(world) as plane:
            ran.update(zip(SPECS, await run_tries(world, plane, *specs), strict=True))
            endless = world.spec("endless", **fixed, env={"OUT": str(world.folder)})
            ran["endless"] = await plane.launch(endless)
            await appears(world.path("begun"))
            await plane.terminate(endless.try_id, reason="cleared while it ran", grace_s=0.5)
            await plane.finished(endless.try_id)

    in_world(body, within_s=WITHIN_S)
    return ran


def deferral_of(facts: TryFacts) -> tuple[Deferral, TriggerSpec]:
    deferral = facts.outcome.deferral
    assert deferral is not None, facts.events
    assert deferral.trigger is not None
    return deferral, deferral.trigger


def test_a_task_calls_a_service_through_a_hook_and_a_stored_connection(tries: dict[str, TryFacts]) -> None:
    assert tries["hook"].xcoms == {"return_value": {"path": "/hello", "is_basic": True}}, tries["hook"].events


def test_the_password_of_a_connection_is_not_in_the_log(tries: dict[str, TryFacts]) -> None:
    assert "password is ***" in tries["hook"].events
    assert b"open-sesame" not in tries["hook"].log


def test_a_task_sees_events_of_assets_and_says_something_of_its_outlets(
    tries: dict[str, TryFacts], facts: Facts
) -> None:
    ended = tries["assets"]
    assert ended.xcoms["return_value"] == [[{"e": 1}, "s3://b/one", "maker"]] * 4, ended.events
    assert ended.outcome.assets == (
        AssetRecord(name="one", uri="s3://b/one", extra='{"n": 1}'),
        AssetRecord(name="new", uri="s3://b/new", asset_extra='{"of": "it"}', alias="al", extra='{"k": 2}'),
    )
    asked = [(ask.triggering, ask.name, ask.uri, ask.alias, ask.limit) for ask in facts.asset_asks]
    assert asked == [
        (True, None, None, None, None),
        (False, "one", "s3://b/one", None, 5),
        (False, None, None, "al", None),
    ]


def test_a_task_knows_the_partition_of_its_run(tries: dict[str, TryFacts]) -> None:
    assert tries["partition"].xcoms["return_value"] == ["2026-01-02T05", None, None], tries["partition"].events


def test_an_outlet_that_came_while_the_task_ran_is_told_of(tries: dict[str, TryFacts]) -> None:
    assert any("Asset 'y' became an outlet while the task ran" in event for event in tries["grown"].events)
    assert tries["grown"].outcome.kind is OutcomeKind.SUCCESS


def test_variables_are_read_written_and_deleted(tries: dict[str, TryFacts], facts: Facts) -> None:
    assert tries["variables"].xcoms["return_value"] == ["from the daemon", {"n": 1}, None], tries["variables"].events
    assert json.loads(facts.variables["written"]) == {"n": 1}
    assert "gone" not in facts.variables


def test_the_secret_of_a_variable_is_not_in_the_log(tries: dict[str, TryFacts]) -> None:
    assert "token is ***" in tries["variables"].events
    assert b"t0ken-value" not in tries["variables"].log


def test_templates_read_variables_and_connections(tries: dict[str, TryFacts]) -> None:
    assert tries["template"].xcoms["return_value"] == "from the daemon 3 none me", tries["template"].events


def test_a_secrets_backend_is_asked_first_as_in_airflow_then_environment_and_store(
    airflow_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "variables.json").write_text(json.dumps({"a": "backend"}))
    (tmp_path / "connections.json").write_text(json.dumps({"api": "http://backend.example"}))
    kwargs = {f"{kind}_file_path": str(tmp_path / f"{kind}.json") for kind in ("variables", "connections")}
    monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND", "airflow.secrets.local_filesystem.LocalFilesystemBackend")
    monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND_KWARGS", json.dumps(kwargs))
    stored = Facts(variables=dict.fromkeys("abc", "store"))
    ended = run_one(
        """
        @task
        def run():
            return [Variable.get(key) for key in "abc"] + [HttpHook().get_connection("api").host]
        run()
        """,
        header=HEADER,
        facts=stored,
        within_s=WITHIN_S,
        python=str(airflow_python),
        runtime="airflow",
        env={"AIRFLOW_VAR_A": "environment", "AIRFLOW_VAR_B": "environment"},
    )
    assert ended.xcoms["return_value"] == ["backend", "environment", "store", "backend.example"], ended.events


def test_a_file_reads_what_is_stored_now_while_it_is_loaded(airflow_python: Path) -> None:
    stored = Facts(variables={"region": "eu"})
    ended = run_one(
        "@task\ndef run():\n    return REGION\nrun()",
        header=HEADER.replace("\nwith DAG", "\nREGION = Variable.get('region')\n\nwith DAG"),
        facts=stored,
        within_s=WITHIN_S,
        python=str(airflow_python),
        runtime="airflow",
    )
    assert ended.xcoms["return_value"] == "eu", ended.events


def test_what_a_file_reads_of_secrets_reaches_fields_that_are_no_templates(airflow_python: Path) -> None:
    ended = run_one(
        KEEPS_A_SECRET,
        header=HEADER.replace("\nwith DAG", "\nTOKEN = Variable.get('api_token')\n\nwith DAG"),
        facts=Facts(variables={"api_token": "t0ken-value"}),
        kind="operator",
        within_s=WITHIN_S,
        python=str(airflow_python),
        runtime="airflow",
    )
    assert ended.xcoms["return_value"] == ["eulav-nek0t", "Bearer t0ken-value"], ended.events
    assert "t0ken-value" not in ended.log.decode()


def test_a_connection_that_nobody_stored_fails_the_task(tries: dict[str, TryFacts]) -> None:
    assert "The conn_id `nobody` isn't defined" in tries["unknown_connection"].outcome.because


def test_a_file_sensor_without_a_connection_looks_from_the_root(tries: dict[str, TryFacts]) -> None:
    """As the pool does, to which it goes where Airflow's own packages need not load its file."""
    assert tries["file"].outcome.because == "The task returned."


def test_a_deferrable_operator_becomes_a_wait_for_its_trigger(tries: dict[str, TryFacts]) -> None:
    deferral, trigger = deferral_of(tries["call"])
    assert trigger.classpath == "airflow.providers.http.triggers.http.HttpTrigger"
    assert trigger.kwargs["endpoint"] == "x/2026-03-01"
    assert deferral.next_method == "execute_complete"


def test_rendered_fields_are_reported(tries: dict[str, TryFacts]) -> None:
    rendered = tries["call"].rendered
    assert rendered is not None
    assert rendered["endpoint"] == "x/2026-03-01"


def test_a_deferred_operator_goes_on_with_the_event_of_its_trigger(tries: dict[str, TryFacts]) -> None:
    assert tries["call resumed"].xcoms == {"return_value": "answered"}, tries["call resumed"].events


def test_any_trigger_class_is_data_with_its_arguments_in_the_xcom_form(tries: dict[str, TryFacts]) -> None:
    deferral, trigger = deferral_of(tries["odd"])
    pair = {"__classname__": "builtins.tuple", "__version__": 1, "__data__": [1, 2]}
    assert (trigger.classpath, trigger.kwargs) == ("somewhere.else.Odd", {"moment": ODD, "pair": pair})
    assert (deferral.next_kwargs, deferral.timeout_s) == ({"since": ODD}, 120.0)


def test_the_arguments_come_back_to_the_method(tries: dict[str, TryFacts]) -> None:
    assert tries["odd resumed"].xcoms == {"return_value": {"since": MOMENT.isoformat(), "event": {"n": 1}}}


def test_a_question_goes_along_with_its_trigger(tries: dict[str, TryFacts]) -> None:
    deferral, trigger = deferral_of(tries["ask"])
    wait = native_wait(trigger, WaitTerms(timeout_s=deferral.timeout_s))
    assert wait is not None, trigger
    found = msgspec.convert(wait.probe.arguments, Question)
    assert found.respond_by is not None
    assert (found.subject, found.options, found.defaults, found.multiple) == (
        "Who on 2026-03-01?",
        ("a", "b"),
        ("b",),
        True,
    )
    assert list(found.params) == ["zone", "age"]
    assert found.params["age"]["value"] == 3
    assert found.assigned_users == (Person(id="anna", name="Anna"),)


def test_an_answer_is_the_output(tries: dict[str, TryFacts]) -> None:
    ended = tries["ask resumed"]
    assert ended.outcome.kind is OutcomeKind.SUCCESS, ended.events
    value = ended.xcoms["return_value"]
    assert (value["chosen_options"], value["params_input"]) == (["a"], {"zone": "us", "age": 4})
    assert value["responded_by_user"] == {"id": "anna", "name": "Anna"}


def test_a_rejection_skips_what_follows(tries: dict[str, TryFacts]) -> None:
    ended = tries["approve resumed"].outcome
    assert (ended.kind, set(ended.skips)) == (OutcomeKind.SUCCESS, {"approved"}), tries["approve resumed"].events


def test_a_failed_trigger_fails_the_task_with_its_traceback(tries: dict[str, TryFacts]) -> None:
    ended = tries["odd failed"].outcome
    assert (ended.kind, ended.because) == (OutcomeKind.FAILED, "TaskDeferralError: Trigger failure")
    assert any("boom at line 3" in event for event in tries["odd failed"].events)


@pytest.mark.parametrize(
    ("task_id", "kind", "because"),
    [
        ("skip", OutcomeKind.SKIPPED, "skipped"),
        ("fail_for_good", OutcomeKind.FAILED_FOR_GOOD, "AirflowFailException: no use"),
        ("fail", OutcomeKind.FAILED, "ValueError: again"),
        ("no_variable", OutcomeKind.FAILED, "nope"),
        ("later", OutcomeKind.RESCHEDULE, "2030-01-01"),
    ],
)
def test_how_a_task_ends(tries: dict[str, TryFacts], task_id: str, kind: OutcomeKind, because: str) -> None:
    outcome = tries[task_id].outcome
    assert outcome.kind is kind, tries[task_id].events
    assert because in outcome.because


def test_the_log_has_the_traceback_where_the_ui_draws_it(tries: dict[str, TryFacts]) -> None:
    (error,) = [line["error_detail"] for line in tries["fail"].lines if "error_detail" in line]
    assert (error[0]["exc_type"], error[0]["exc_value"]) == ("ValueError", "again")


def test_a_task_that_is_to_end_hears_it_and_is_ended(tries: dict[str, TryFacts]) -> None:
    outcome = tries["endless"].outcome
    assert (outcome.kind, outcome.because) == (OutcomeKind.TERMINATED, "cleared while it ran")
    assert "told to stop" in tries["endless"].events


def test_a_rescheduled_task_hears_when_it_began(tries: dict[str, TryFacts]) -> None:
    assert tries["later"].outcome.reschedule_at == datetime(2030, 1, 1, tzinfo=UTC)
    assert "began 2026-01-01 00:00:00+00:00" in tries["later"].events


def test_xcoms_of_other_tasks_are_pulled_and_own_ones_pushed(tries: dict[str, TryFacts]) -> None:
    pushed = tries["xcoms"].xcoms
    assert pushed["return_value"] == [7, None], tries["xcoms"].events
    assert pushed["when"]["__classname__"] == "datetime.datetime"


def test_objects_have_the_same_form_as_in_the_runtime_of_our_shim(tries: dict[str, TryFacts]) -> None:
    pushed = tries["objects"].xcoms
    assert pushed.get("differ") == [], tries["objects"].events
    raw, own = (xcom.plain(value, "it") for value in (b"\x00", b"own"))
    assert pushed["return_value"] == [True, raw, own]


def test_an_operator_starts_another_dag_run(tries: dict[str, TryFacts], facts: Facts) -> None:
    assert tries["start"].outcome.kind is OutcomeKind.SUCCESS, tries["start"].events
    asked = [(ask.dag_id, ask.run_id, ask.conf) for ask in facts.dag_runs if ask.dag_id == "other"]
    assert asked == [("other", "r", '{"a": 1}')]


def test_a_callable_of_airflow_1_orders_the_run_or_none(tries: dict[str, TryFacts], facts: Facts) -> None:
    assert tries["order"].outcome.kind is OutcomeKind.SUCCESS, tries["order"].events
    assert tries["no_order"].outcome.kind is OutcomeKind.SKIPPED, tries["no_order"].events
    ((run_id, conf),) = [(ask.run_id, ask.conf) for ask in facts.dag_runs if ask.dag_id == "ordered"]
    assert (str(run_id).startswith("trig__20"), conf) == (True, '{"ds": "2026-03-01"}')


def test_airflow_home_is_in_the_environment_and_there_is_no_database(tries: dict[str, TryFacts]) -> None:
    seen = tries["surroundings"].xcoms["return_value"]
    assert seen == ["airflow-home", "RuntimeError", False, "2026-03-01", 1], tries["surroundings"].events


def test_the_spelling_of_airflow_1_and_2_runs_on_airflow_3(tries: dict[str, TryFacts]) -> None:
    assert tries["old_bash"].xcoms == {"return_value": "2026 2026-02-27 20260304"}, tries["old_bash"].events
    seen = tries["old_functions"].xcoms["return_value"]
    assert seen == [0, "UTC", "airflow.providers.http.operators.http", True], tries["old_functions"].events
    assert tries["old_call"].xcoms == {"return_value": "/x"}, tries["old_call"].events


def test_a_function_gets_names_that_airflow_3_dropped_unless_it_fills_them_itself(tries: dict[str, TryFacts]) -> None:
    seen = tries["old_names"].xcoms["return_value"]
    assert seen == [{"x": 1}, "2026-03-01T12:30:00+00:00", True, "2026-02-27", True, "2026-03-02", []]


def test_a_fresh_interpreter_names_the_line_of_a_file_that_does_not_load(airflow_python: Path) -> None:
    facts = run_one(
        "import no_such_module",
        header=HEADER,
        within_s=WITHIN_S,
        python=str(airflow_python),
        runtime="airflow",
        kind="operator",
        warm=False,
    )
    line = len(textwrap.dedent(HEADER).splitlines()) + 1
    assert facts.outcome.because == f"dag.py:{line}: ModuleNotFoundError: No module named 'no_such_module'"
    assert facts.events[0].startswith("Filling up the DagBag"), "importing Airflow says nothing in the task's log"


# --- mapped tasks -------------------------------------------------------------------------------------------------

MAPPED_SPECS: dict[str, dict[str, Any]] = {
    "make": {},
    "text": {},
    "mapped": {"map_index": 2, "xcoms": (XComInput(task_id="make", key="return_value", value="[1, 2, 3]"),)},
    "reducer": {},
    "g.second": {"map_index": 1},
    "old": {"map_index": 0, "kind": "operator"},
}


@pytest.fixture(scope="module")
def mapped_facts() -> Facts:
    outputs = [XComInput(task_id="mapped", key="return_value", map_index=i, value=str(i)) for i in range(40)]
    firsts = [XComInput(task_id="g.first", key="return_value", map_index=i, value=f"[{i}]") for i in range(3)]
    return Facts(xcoms=[*outputs, *firsts], count=3)


@pytest.fixture(scope="module")
def mapped_tries(airflow_python: Path, mapped_facts: Facts) -> dict[str, TryFacts]:
    ran: dict[str, TryFacts] = {}

    async def body(world: World) -> None:
        world.facts = mapped_facts
        world.project(MAPPED, header=HEADER.replace("import DAG,", "import DAG, task_group,"))
        fixed = {"python": str(airflow_python), "runtime": "airflow", "max_tries": 1}
        specs = [world.spec(name, **fixed, **own) for name, own in MAPPED_SPECS.items()]
        async with agent_and_plane(world) as plane:
            ran.update(zip(MAPPED_SPECS, await run_tries(world, plane, *specs), strict=True))

    in_world(body, within_s=WITHIN_S)
    return ran


def test_what_is_mapped_over_is_in_the_outcome_where_it_is_counted(mapped_tries: dict[str, TryFacts]) -> None:
    (item,) = mapped_tries["make"].outcome.xcoms
    assert (item.key, json.loads(item.value)) == ("return_value", [1, 2, 3])


def test_what_cannot_be_mapped_over_fails_its_task(mapped_tries: dict[str, TryFacts]) -> None:
    outcome = mapped_tries["text"].outcome
    assert outcome.kind is OutcomeKind.FAILED
    assert "unmappable return type 'str'" in outcome.because


def test_old_arguments_of_partial_run_as_they_compiled(mapped_tries: dict[str, TryFacts]) -> None:
    assert mapped_tries["old"].xcoms == {"return_value": "first"}, mapped_tries["old"].events


def test_a_mapped_instance_takes_its_item_and_has_a_name(mapped_tries: dict[str, TryFacts]) -> None:
    facts = mapped_tries["mapped"]
    assert facts.xcoms == {"return_value": 30}, facts.events
    assert facts.names == ["3"]
    assert [item.value for item in facts.outcome.xcoms] == ["30"], "whoever maps over it counts it"


def test_a_reducer_reads_in_pages(mapped_tries: dict[str, TryFacts], mapped_facts: Facts) -> None:
    facts = mapped_tries["reducer"]
    assert facts.xcoms == {"return_value": [sum(range(40)), 40, 39, [1, 2]]}, facts.events
    assert len([ask for ask in mapped_facts.pulls if ask.limit is not msgspec.UNSET]) < 10


def test_inside_of_a_group_the_same_index_is_pulled(mapped_tries: dict[str, TryFacts]) -> None:
    facts = mapped_tries["g.second"]
    assert facts.xcoms == {"return_value": [[1]]}, facts.events


@pytest.mark.parametrize(
    ("task_id", "skips", "xcoms"),
    [
        ("branch", {"y"}, {"skipmixin_key": {"followed": ["x"]}}),
        ("short", {"x", "behind"}, None),
        ("all_ways", set(), {"return_value": ["x", "y"], "skipmixin_key": {"followed": ["x", "y"]}}),
    ],
)
def test_what_the_sdk_skips_downstream_goes_with_the_outcome(
    tries: dict[str, TryFacts], task_id: str, skips: set[str], xcoms: dict[str, Any] | None
) -> None:
    ended = tries[task_id].outcome
    assert (ended.kind, set(ended.skips)) == (OutcomeKind.SUCCESS, skips), tries[task_id].events
    assert [item.key for item in ended.xcoms] == ["skipmixin_key"], "committed together with the skips"
    if xcoms is None:
        assert set(tries[task_id].xcoms["skipmixin_key"]["skipped"]) == skips
    else:
        assert {key: sorted(value) if isinstance(value, list) else {"followed": sorted(value["followed"])}
                for key, value in tries[task_id].xcoms.items()} == xcoms  # fmt: skip


def test_latest_only_works_out_the_window_itself(tries: dict[str, TryFacts]) -> None:
    """A run that a person started: everything follows."""
    assert tries["latest"].outcome.kind is OutcomeKind.SUCCESS, tries["latest"].events
    assert tries["latest"].outcome.skips == ()


def test_a_function_is_called_by_another_interpreter(tries: dict[str, TryFacts]) -> None:
    assert tries["elsewhere"].xcoms == {"return_value": [1, "127.0.0.1"]}, tries["elsewhere"].events


def test_a_paused_dag_fails_whoever_wants_it_awake(tries: dict[str, TryFacts], facts: Facts) -> None:
    outcome = tries["wake"].outcome
    assert (outcome.kind, outcome.because) == (OutcomeKind.FAILED, "DagIsPaused: Dag asleep is paused")
    assert all(run.dag_id != "asleep" for run in facts.dag_runs)
