"""Processes of callbacks under a real agent, by one rule on both runtimes; mails go to a real SMTP server process."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from leoflowd.contract.agent_messages import OutcomeKind, XComInput
from leoflowd.contract.callback_spec import AlertSpec, CallbackCall
from leoflowd.contract.connection import ConnectionFacts
from leoflowd.contract.deadline_spec import MissedDeadline
from tests.conftest import REPOSITORY
from tests.fakes.fake_control_plane import Facts, TryFacts

from .harness import LOGICAL_DATE, World, agent_and_plane, appears, in_world, run_tries

WITHIN_S = 300
"""The first try imports all of Airflow."""
PASSWORD = "open-sesame"
HEADER = """
import json, os, signal, sys, time
from datetime import datetime
from datetime import timedelta
from airflow.sdk import DAG, BaseNotifier, Connection, task
from airflow.sdk import AsyncCallback, DeadlineAlert, DeadlineReference, SyncCallback
from airflow.exceptions import AirflowSkipException

def tell(context):
    ti, run = context["ti"], context["dag_run"]
    print("told " + json.dumps([ti.task_id, str(ti.state), ti.try_number, ti.end_date is not None,
        repr(context.get("exception")), context.get("reason"), getattr(run.state, "value", run.state),
        ti.xcom_pull(task_ids="one"), ti.log_url.partition("/dags/")[2]]))
def break_(context): raise ValueError("broken")
def leave(context): sys.exit(3)
def hang(context): time.sleep(600)
def die(context): os.kill(os.getpid(), signal.SIGKILL)
def leak(context): print("password is", Connection.get("team").password)
def push(context): context["ti"].xcom_push("k", 1)
def harm(context):
    run = context["dag_run"]
    conf = run["conf"] if isinstance(run, dict) else run.conf
    {"raises": break_, "hangs": hang, "leaks": leak, "leaves": leave, "dies": die}[conf["how"]](context)
class Note(BaseNotifier):
    template_fields = ("text",)
    def __init__(self, text):
        super().__init__()
        self.text = text
    def notify(self, context):
        print("noted " + self.text + " " + context["task"].task_id)

def late(text, context):
    run, missed = context["dag_run"], context["deadline"]
    print("late " + json.dumps([text, run["dag_id"], run["dag_run_id"], run["state"], run["conf"], missed["id"],
        missed["deadline_time"].isoformat()]))
async def later(text):
    import asyncio
    await asyncio.sleep(0)
    print("late " + json.dumps([text]))
class LateNote(Note):
    def __init__(self, text, context=None):
        super().__init__(text)
        self.context = context
    def notify(self, context):
        print("late " + json.dumps([self.text, context["dag_run"]["dag_id"]]))
    async def async_notify(self, context):
        self.notify(context)
TEXT = {"text": "of {{ dag_run.dag_id }}"}
DEADLINES = [DeadlineAlert(DeadlineReference.DAGRUN_QUEUED_AT, timedelta(hours=1), callback) for callback in (
    SyncCallback(late, kwargs=TEXT), AsyncCallback(later, kwargs={"text": "awaited"}),
    SyncCallback(LateNote, kwargs=TEXT), AsyncCallback(LateNote, kwargs=TEXT),
    SyncCallback(break_, kwargs={}), SyncCallback("nowhere.at_all"))]
HARMED = [DeadlineAlert(DeadlineReference.DAGRUN_QUEUED_AT, timedelta(hours=1), SyncCallback(harm, kwargs={}))]
with DAG("harmed", on_failure_callback=harm, on_success_callback=harm, deadline=HARMED):
    @task(on_failure_callback=harm, on_retry_callback=harm, on_success_callback=harm, on_skipped_callback=harm)
    def harmed(): ...
    harmed()
with DAG("d", on_failure_callback=tell, on_success_callback=[break_, tell], deadline=DEADLINES) as dag:
"""
TASKS = """
@task(on_failure_callback=[break_, leave, tell, Note("of {{ run_id }}")],
      on_retry_callback=tell, on_success_callback=tell)
def told(): raise AssertionError("a callback runs no task")
told()
for function in (hang, push):
    @task(task_id=function.__name__, on_skipped_callback=function)
    def one(): ...
    one()
@task(on_execute_callback=[break_, leave, leak, hang, lambda context: print("before", context["ti"].task_id)],
      on_success_callback=tell)
def begins(): print("executed")
begins()
@task(on_failure_callback=tell, on_retry_callback=tell, email="a@b")
def fails(): raise ValueError("the task's own")
fails()
"""


class Post(BaseHTTPRequestHandler):
    """Keeps what was posted; `/broken` answers 500."""

    @override
    def log_message(self, format: str, *arguments: Any) -> None:
        """Quiet."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((self.path, self.headers.get("Authorization"), json.loads(body)))  # type: ignore[attr-defined]
        self.send_response(500 if self.path == "/broken" else 200)
        self.end_headers()


@pytest.fixture(scope="module")
def posts() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Post) as server:
        server.posts = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


class Mails:
    """A process with an SMTP server, and what it was given."""

    def __init__(self, folder: Path) -> None:
        self._port_file, self._mails = folder / "port", folder / "mails"
        script = REPOSITORY / "tests" / "fakes" / "smtp_server.py"
        self.process = subprocess.Popen([sys.executable, str(script), str(self._port_file), str(self._mails)])

    async def port(self) -> int:
        return int(await appears(self._port_file))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(json.loads, self._mails.read_text().splitlines() if self._mails.exists() else ())


@pytest.fixture(scope="module")
def mails(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mails]:
    found = Mails(tmp_path_factory.mktemp("smtp"))
    yield found
    found.process.kill()
    found.process.wait()


def call(event: Any, **fields: Any) -> CallbackCall:
    state = {"failure": "failed", "retry": "up_for_retry"}.get(event, event)
    dates = {"start_date": LOGICAL_DATE, "end_date": LOGICAL_DATE, "task_start_date": LOGICAL_DATE}
    given = {"state": state, "calls_functions": True, "because": "ValueError: <boom>", **dates, **fields}
    return CallbackCall(event=event, **given)


ALERTS = tuple(
    AlertSpec(on=("task_failure",), kind=kind, connection=connection, to=to)  # type: ignore[arg-type]
    for kind, connection, to in (
        ("slack", "team", ()),
        ("webhook", "hook", ()),
        ("webhook", "broken", ()),
        ("webhook", "nowhere", ()),
        ("email", "smtp_default", ("team@x",)),
    )
)


def deadline(position: int) -> dict[str, Any]:
    missed = MissedDeadline(id="id", deadline_time=LOGICAL_DATE, position=position)
    return {"task_id": "", "callback": call("deadline", of_dag=True, state="running", deadline=missed)}


LATE = ("a function", "a coroutine function", "a notifier", "an awaited notifier", "one that breaks", "no module")
KINDS: dict[str, dict[str, Any]] = {
    **{f"task {event}": {"callback": call(event)} for event in ("success", "failure", "retry", "skipped")},
    "dag success": {"callback": call("success", of_dag=True, reason="success", task_state="success")},
    "dag failure": {"callback": call("failure", of_dag=True, reason="task_failure", task_state="failed")},
    "deadline": deadline(0),
}
HARMS = {
    "raises": (OutcomeKind.FAILED, ": ValueError: broken"),
    "hangs": (OutcomeKind.TIMED_OUT, "longer than 1 s"),
    "leaks": (OutcomeKind.SUCCESS, "is done."),
    "leaves": (OutcomeKind.FAILED, "SystemExit"),
    "dies": (OutcomeKind.FAILED, "SIGKILL"),
}
"""What a function may do -> how its callback ends, and a word of why."""


def harmed(kind: dict[str, Any], how: str) -> dict[str, Any]:
    run = {"dag_id": "harmed", "state": "running", "conf": json.dumps({"how": how})}
    limit = {"execution_timeout_s": 1.0} if how == "hangs" else {}
    return {"task_id": "harmed", "dag_run": run, **kind, **limit}


CALLS: dict[str, dict[str, Any]] = {
    **{f"{kind} {how}": harmed(own, how) for kind, own in KINDS.items() for how in HARMS},
    **{f"late: {what}": deadline(position) for position, what in enumerate(LATE)},
    "late: no deadline": deadline(99),
    "failure": {"task_id": "told", "callback": call("failure")},
    "retry": {"task_id": "told", "callback": call("retry", because="Own: text"), "max_tries": 1},
    "success": {"task_id": "told", "callback": call("success", because="")},
    "of the run": {
        "task_id": "told",
        "callback": call("failure", of_dag=True, reason="task_failure", task_state="failed"),
    },
    "a run that succeeded": {
        "task_id": "told",
        "callback": call("success", of_dag=True, reason="success", task_state="success"),
    },
    "push": {"callback": call("skipped")},
    "no function": {"task_id": "told", "callback": call("skipped")},
    "no task": {"task_id": "gone", "callback": call("failure")},
    "mail": {"task_id": "told", "callback": call("failure", calls_functions=False, email=("a@x", "b@x"))},
    "mail and hang": {
        "task_id": "hang",
        "callback": call("skipped", email=("c@x",)),
        "execution_timeout_s": 3.0,
    },
    "alerts": {"task_id": "told", "callback": call("failure", calls_functions=False, alerts=ALERTS), "map_index": 2},
    "begins": {"kind": "python", "env": {"LEOFLOW_BEFORE_EXECUTE_S": "3"}},
    "fails": {"kind": "python", "max_tries": 1},
}


@pytest.fixture(scope="module", params=["shim", "airflow"])
def tries(request: pytest.FixtureRequest, posts: ThreadingHTTPServer, mails: Mails) -> dict[str, TryFacts]:
    runtime: dict[str, Any] = {"runtime": "shim"}
    if request.param == "airflow":
        runtime = {"runtime": "airflow", "python": str(request.getfixturevalue("airflow_python"))}
    ran: dict[str, TryFacts] = {}
    at = f"http://127.0.0.1:{posts.server_address[1]}"

    async def body(world: World) -> None:
        extra = json.dumps({"disable_ssl": True, "disable_tls": True, "from_email": "leo@x"})
        server = {"host": "127.0.0.1", "port": await mails.port(), "login": "me", "password": PASSWORD, "extra": extra}
        found = (
            ConnectionFacts(connection_id="smtp_default", conn_type="smtp", **server),
            ConnectionFacts(connection_id="team", conn_type="slackwebhook", host=f"{at}/services", password=PASSWORD),
            ConnectionFacts(connection_id="hook", conn_type="http", host=f"{at}/hook", login="u", password=PASSWORD),
            ConnectionFacts(connection_id="broken", conn_type="http", host=f"{at}/broken"),
        )
        world.facts = Facts(
            connections={one.connection_id: one for one in found},
            xcoms=[XComInput(task_id="one", key="return_value", value="7")],
        )
        world.project(TASKS, header=HEADER)
        fixed = {"kind": "callback", "xcoms_complete": False, "dag_run": {"state": "running"}, **runtime}
        specs = [world.spec(**{"task_id": name, **fixed, **own}) for name, own in CALLS.items()]
        async with agent_and_plane(world) as plane:
            ran.update(zip(CALLS, await run_tries(world, plane, *specs), strict=True))

    in_world(body, within_s=WITHIN_S)
    return ran


Told = Callable[[str], list[Any]]


@pytest.fixture
def told(tries: dict[str, TryFacts]) -> Told:
    def of(name: str) -> list[Any]:
        (line,) = [event for event in tries[name].events if event.startswith("told ")]
        found: list[Any] = json.loads(line.removeprefix("told "))
        return found

    return of


def because(tries: dict[str, TryFacts], name: str) -> tuple[OutcomeKind, str]:
    return tries[name].outcome.kind, tries[name].outcome.because


def test_functions_see_the_end_that_they_are_called_for(told: Told) -> None:
    page = "d/runs/manual__1/tasks/told?try_number=1"
    assert told("failure") == ["told", "failed", 1, True, "ValueError('<boom>')", None, "running", 7, page]
    assert told("retry")[:5] == ["told", "up_for_retry", 1, True, "AirflowException('Own: text')"]
    assert told("success")[:6] == ["told", "success", 1, True, "None", None]


def test_functions_of_a_dag_see_how_the_run_ended_and_why(told: Told) -> None:
    assert told("of the run")[:7] == ["told", "failed", 1, False, "None", "task_failure", "failed"]
    assert told("a run that succeeded")[5:7] == ["success", "success"]


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (
            "a function",
            ["of {{ dag_run.dag_id }}", "d", "manual__1", "running", {}, "id", LOGICAL_DATE.isoformat()],
        ),
        ("a coroutine function", ["awaited"]),
        ("a notifier", ["of d", "d"]),
        ("an awaited notifier", ["of d", "d"]),
    ],
)
def test_a_missed_deadline_calls_its_own_function(tries: dict[str, TryFacts], what: str, expected: list[Any]) -> None:
    kind, why = because(tries, f"late: {what}")
    assert (kind, why) == (OutcomeKind.SUCCESS, "Callback of the dag run (deadline) is done.")
    events = tries[f"late: {what}"].events
    (line,) = [event for event in events if event.startswith("late ")]
    assert json.loads(line.removeprefix("late ")) == expected
    assert not [event for event in events if event.startswith("told ")]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("one that breaks", "deadline callback break_: ValueError: broken"),
        ("no module", "nowhere.at_all cannot be imported"),
        ("no deadline", "no deadline number 100 any more"),
    ],
)
def test_a_deadline_that_cannot_be_told_says_so(tries: dict[str, TryFacts], what: str, words: str) -> None:
    kind, why = because(tries, f"late: {what}")
    assert kind is OutcomeKind.FAILED
    assert words in why


def test_what_fails_is_logged_and_the_others_still_run(tries: dict[str, TryFacts]) -> None:
    kind, why = because(tries, "failure")
    told = "on_failure_callback break_: ValueError: broken; on_failure_callback leave: SystemExit: 3"
    assert (kind, why) == (OutcomeKind.FAILED, told)
    assert "noted of manual__1 told" in tries["failure"].events
    errors = [line for line in tries["failure"].lines if line.get("level") == "error"]
    assert [error["error_detail"][0]["exc_value"] for error in errors] == ["broken", "3"]
    assert because(tries, "success")[0] is OutcomeKind.SUCCESS


def test_the_log_is_a_group_of_its_own(tries: dict[str, TryFacts]) -> None:
    groups = [event for event in tries["success"].events if event.startswith(("::group::Callback", "::endgroup"))]
    assert groups == ["::group::Callback of task 'told' (success)", "::endgroup::"]


@pytest.mark.parametrize("how", HARMS)
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_a_function_does_its_callback_ends_and_says_how(
    tries: dict[str, TryFacts], kind: str, how: str
) -> None:
    expected, word = HARMS[how]
    found, why = because(tries, f"{kind} {how}")
    assert (found, word in why) == (expected, True), why
    assert tries[f"{kind} {how}"].events[0].startswith("::group::Callback of "), "its log is readable"


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("push", OutcomeKind.FAILED, "its task has ended"),
        ("no function", OutcomeKind.FAILED, "no function for it any more"),
        ("no task", OutcomeKind.FAILED, "'gone'"),
    ],
)
def test_what_cannot_be_called_or_done_is_said(
    tries: dict[str, TryFacts], name: str, kind: OutcomeKind, words: str
) -> None:
    found, why = because(tries, name)
    assert (found, words in why) == (kind, True), why


@pytest.mark.parametrize("name", ["begins", *(f"{kind} leaks" for kind in KINDS)])
def test_secrets_are_masked_in_its_log(tries: dict[str, TryFacts], name: str) -> None:
    assert "password is ***" in tries[name].events
    assert not any(PASSWORD.encode() in one.log for one in tries.values())


def test_a_mail_tells_what_airflows_tells(tries: dict[str, TryFacts], mails: Mails) -> None:
    assert because(tries, "mail") == (OutcomeKind.SUCCESS, "Callback of task 'told' (failure) is done.")
    mail = [one for one in mails if one["to"] == ["a@x", "b@x"]][-1]
    assert (mail["from"], mail["login"]) == ("leo@x", f"me:{PASSWORD}")
    content = mail["content"].replace("=\r\n", "").replace("\r\n ", " ")
    for words in (
        "Subject: Airflow alert: <TaskInstance: d.told manual__1 [failed]>",
        "To: a@x, b@x",
        "text/html",
        "Try 1 out of 1<br>",
        "ValueError: &lt;boom&gt;",
        "/dags/d/runs/manual__1/tasks/told?try_number",
    ):
        assert words in content


def test_functions_that_hang_hold_up_no_mail(tries: dict[str, TryFacts], mails: Mails) -> None:
    assert because(tries, "mail and hang")[0] is OutcomeKind.TIMED_OUT
    assert ["c@x"] in [one["to"] for one in mails]


def test_alerts_need_nothing_of_the_author(
    tries: dict[str, TryFacts], posts: ThreadingHTTPServer, mails: Mails
) -> None:
    kind, why = because(tries, "alerts")
    assert kind is OutcomeKind.FAILED
    assert "'broken' answered 500" in why
    assert "no connection 'nowhere'" in why
    found = {path: (login, content) for path, login, content in posts.posts}  # type: ignore[attr-defined]
    sentence = "Task d.told[2] failed (run manual__1, try 1 of 1): ValueError: <boom>"
    assert found[f"/services/{PASSWORD}"][1]["text"].startswith(sentence)
    login, facts = found["/hook"]
    assert login.startswith("Basic ")
    assert (facts["event"], facts["dag_id"], facts["map_index"], facts["state"]) == ("task_failure", "d", 2, "failed")
    mail = [one for one in mails if one["to"] == ["team@x"]][-1]
    assert "Subject: Leoflow: d.told failed" in mail["content"]


def test_what_is_called_before_a_task_neither_fails_nor_hangs_it(tries: dict[str, TryFacts]) -> None:
    begins = tries["begins"]
    assert begins.outcome.kind is OutcomeKind.SUCCESS, begins.outcome.because
    logged = [event for event in begins.events if event.startswith("on_execute")]
    assert logged[:2] == ["on_execute_callback break_ failed", "on_execute_callback leave failed"]
    assert logged[2:] == ["on_execute_callback hang took longer than 3 s and was left; the task goes on"]
    printed = [event for event in begins.events if event.startswith(("before", "executed", "told"))]
    assert printed == ["before begins", "executed"], "and no success is told in the process of the task"


def test_the_process_of_a_task_calls_nothing_when_it_ends(tries: dict[str, TryFacts], mails: Mails) -> None:
    assert tries["fails"].outcome.kind is OutcomeKind.FAILED
    assert not [event for event in tries["fails"].events if event.startswith("told")]
    assert ["a@b"] not in [one["to"] for one in mails]
