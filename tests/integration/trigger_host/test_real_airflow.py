"""Triggers of the real provider packages, in an environment that has them: the shim is not there."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import msgspec
import pytest
import trio

from leoflowd.config import TriggerHostsConfig
from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.contract.wait_spec import Resume, TriggerSpec, WaitTerms
from leoflowd.contract.waits import TriggerCall
from leoflowd.core.known_triggers import native_wait
from tests.integration.trigger_host.conftest import Running, World

HTTP = "airflow.providers.http.triggers.http"
STANDARD = "airflow.providers.standard.triggers"
_ZONE = {"__classname__": "builtins.tuple", "__version__": 1, "__data__": ["UTC", "zoneinfo.ZoneInfo", 1, True]}
MOMENT = {
    "__classname__": "datetime.datetime",
    "__version__": 2,
    "__data__": {"timestamp": 1_700_000_000.5, "tz": _ZONE},
}
WORKFLOW = {"external_dag_id": "other", "run_ids": ["r1"], "allowed_states": ["success"]}
DAG_STATE = {
    "dag_id": "other",
    "states": ["success"],
    "poll_interval": 5.0,
    "run_ids": ["r1"],
    "execution_dates": None,
}


@pytest.fixture(autouse=True)
def real_packages(world: World, airflow_python: Path) -> None:
    world.python = airflow_python
    world.environment = EnvironmentSpec(connectors=("http",))
    world.config = TriggerHostsConfig()
    world.write("")


@pytest.fixture
async def server() -> AsyncIterator[int]:
    """A loopback HTTP server that says hello; its port."""

    class Hello(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_: object) -> None:
            """Its requests are no output of the tests."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Hello) as listening:
        thread = Thread(target=listening.serve_forever)
        thread.start()
        yield listening.server_address[1]
        listening.shutdown()
        await trio.to_thread.run_sync(thread.join)


def call_of(world: World, classpath: str, **kwargs: object) -> TriggerCall:
    return msgspec.structs.replace(world.call("X"), classpath=classpath, kwargs=kwargs)


async def test_the_http_trigger_makes_its_call_with_a_connection_of_the_daemon(
    world: World, running: Running, server: int
) -> None:
    facts = {"connection_id": "api", "conn_type": "http", "host": "127.0.0.1", "port": server, "schema": "http"}
    world.answer = {"connection": facts}
    async with running() as hosts:
        hosts.start("w1", call_of(world, f"{HTTP}.HttpTrigger", http_conn_id="api", method="GET", endpoint="/x"))
        end = await world.end_of("w1")
    assert end.error == ""
    assert end.event["status"] == "success"
    assert base64.b64decode(end.event["response"]["content"]) == b"hello"
    assert [about for _, about, _ in world.questions] == ["connection"]


async def test_a_connection_that_is_not_there_is_airflows_own_error(world: World, running: Running) -> None:
    world.answer = {"connection": None}
    async with running() as hosts:
        hosts.start("w1", call_of(world, f"{HTTP}.HttpTrigger", http_conn_id="nowhere"))
        end = await world.end_of("w1")
    assert end.event == {"status": "error", "message": "The conn_id `nowhere` isn't defined"}


@pytest.mark.parametrize(
    ("classpath", "kwargs"),
    [
        (f"{STANDARD}.temporal.DateTimeTrigger", {"moment": MOMENT, "end_from_trigger": False}),
        (f"{STANDARD}.file.FileTrigger", {"filepath": __file__, "recursive": False, "poke_interval": 1.0}),
        (f"{STANDARD}.external_task.WorkflowTrigger", WORKFLOW),
        (f"{STANDARD}.external_task.DagStateTrigger", DAG_STATE),
    ],
)
async def test_a_native_wait_answers_with_the_event_of_the_real_trigger(
    world: World, running: Running, monkeypatch: pytest.MonkeyPatch, classpath: str, kwargs: dict[str, object]
) -> None:
    async def only_successes(_: TriggerCall, __: str, question: dict[str, list[str]]) -> dict[str, object]:
        await trio.lowlevel.checkpoint()
        return {"count": int("success" in question["states"])}

    monkeypatch.setattr(world, "_ask", only_successes)
    native = native_wait(TriggerSpec(classpath=classpath, kwargs=kwargs), WaitTerms(resume=Resume(next_method="m")))
    assert native is not None
    async with running() as hosts:
        hosts.start("w1", call_of(world, classpath, **kwargs))
        assert (await world.end_of("w1")).event == native.terms.event


async def test_a_real_trigger_may_end_its_task(world: World, running: Running) -> None:
    moment = {"__classname__": "datetime.datetime", "__version__": 2, "__data__": {"timestamp": 1.0, "tz": "UTC"}}
    kwargs = {"moment": moment, "end_from_trigger": True}
    async with running() as hosts:
        hosts.start("w1", call_of(world, f"{STANDARD}.temporal.DateTimeTrigger", **kwargs))
        end = await world.end_of("w1")
    assert (end.end, end.event) == ("success", {})


async def test_a_workflow_trigger_counts_by_asking_the_daemon(world: World, running: Running) -> None:
    world.answer = {"count": 1}
    kwargs = {"external_dag_id": "other", "run_ids": ["r1"], "failed_states": ["failed"], "allowed_states": ["success"]}
    async with running() as hosts:
        hosts.start("w1", call_of(world, f"{STANDARD}.external_task.WorkflowTrigger", **kwargs))
        assert (await world.end_of("w1")).event == {"status": "failed"}
    assert world.questions == [
        ("task_of_X", "counts", {"dag_id": "other", "run_ids": ["r1"], "states": ["failed"]}),
    ]


async def test_a_dag_state_trigger_reads_the_state_of_the_run(world: World, running: Running) -> None:
    world.answer = {"count": 1}
    kwargs = {"dag_id": "other", "states": ["success", "failed"], "run_ids": ["r1"], "execution_dates": None}
    async with running() as hosts:
        hosts.start("w1", call_of(world, f"{STANDARD}.external_task.DagStateTrigger", **kwargs))
        classpath, data = (await world.end_of("w1")).event["__data__"]
    assert classpath == f"{STANDARD}.external_task.DagStateTrigger"
    assert data["r1"] == "running"  # the state asked for first


async def test_a_trigger_of_the_project_runs_on_the_real_packages(world: World, running: Running) -> None:
    (world.project / "mine.py").write_text(
        "import airflow\n"
        "from airflow.triggers.base import BaseTrigger, TriggerEvent\n"
        "class Fires(BaseTrigger):\n"
        "    def serialize(self):\n"
        "        return 'mine.Fires', {}\n"
        "    async def run(self):\n"
        "        self.log.info('about to fire')\n"
        "        yield TriggerEvent(airflow.__file__)\n"
    )
    async with running() as hosts:
        hosts.start("w1", call_of(world, "mine.Fires"))
        assert "site-packages" in (await world.end_of("w1")).event
    assert "about to fire" in world.events_in_log("w1")


async def test_a_shared_stream_of_a_real_provider_deletes_each_file_once(world: World, running: Running) -> None:
    flags = world.folder / "flags"
    flags.mkdir()
    names = [f"flag{index}" for index in range(5)]
    path = f"{STANDARD}.file.DirectoryFileDeleteTrigger"
    async with running() as hosts:
        for name in names:
            kwargs = {"directory": str(flags), "filename": name, "poke_interval": 0.05}
            hosts.start(name, call_of(world, path, **kwargs))
        for name in names:
            (flags / name).touch()
        for name in names:
            assert (await world.end_of(name)).error == ""
    assert list(flags.iterdir()) == []


async def test_a_watcher_of_a_real_provider_goes_on_when_its_event_is_taken(world: World, running: Running) -> None:
    flag = world.folder / "flag"
    flag.touch()
    call = call_of(world, f"{STANDARD}.file.FileDeleteTrigger", filepath=str(flag), poke_interval=0.05)
    async with running() as hosts:
        hosts.start("w1", msgspec.structs.replace(call, repeats=True))
        end = await world.end_of("w1")
        assert (end.event, end.error, flag.exists()) == (True, "", False)
        hosts.go_on("w1")
        await world.until(lambda: len(world.ends) == 2)
    assert [one.end for one in world.ends] == [None, "ended"]


async def test_a_variable_is_asked_of_the_daemon_and_only_a_secret_one_hidden(world: World, running: Running) -> None:
    (world.project / "mine.py").write_text(
        "from airflow.sdk import Variable\n"
        "from airflow.triggers.base import BaseTrigger, TriggerEvent\n"
        "class Asks(BaseTrigger):\n"
        "    def serialize(self):\n"
        "        return 'mine.Asks', {}\n"
        "    async def run(self):\n"
        "        self.log.info('region is %s', Variable.get('region'))\n"
        "        self.log.info('token is %s', 'now ' + Variable.get('api_token'))\n"
        "        yield TriggerEvent(Variable.get('region'))\n"
    )
    world.answer = {"value": "from-the-daemon"}
    async with running() as hosts:
        hosts.start("w1", call_of(world, "mine.Asks"))
        assert (await world.end_of("w1")).event == "from-the-daemon"
    assert world.questions[0][1:] == ("variable", {"key": "region"})
    lines = " ".join(world.events_in_log("w1"))
    assert "region is from-the-daemon" in lines
    assert "token is now ***" in lines


async def test_what_a_trigger_cannot_ask_is_refused_with_a_sentence(world: World, running: Running) -> None:
    (world.project / "mine.py").write_text(
        "from airflow.sdk import Variable\n"
        "from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance\n"
        "from airflow.triggers.base import BaseTrigger, TriggerEvent\n"
        "class Asks(BaseTrigger):\n"
        "    def serialize(self):\n"
        "        return 'mine.Asks', {}\n"
        "    async def run(self):\n"
        "        RuntimeTaskInstance.get_task_states('d')\n"
        "        yield TriggerEvent(1)\n"
    )
    async with running() as hosts:
        hosts.start("w1", call_of(world, "mine.Asks"))
        assert "GetTaskStates is not possible in a trigger" in (await world.end_of("w1")).error


async def test_the_shim_is_airflow_even_where_the_real_one_is_installed(world: World, running: Running) -> None:
    world.environment = EnvironmentSpec()
    world.write("""
        import airflow

        class Fires(Base):
            async def run(self):
                yield TriggerEvent(airflow.__file__)
    """)
    async with running() as hosts:
        hosts.start("w1", world.call("Fires"))
        assert "airflow_shim" in (await world.end_of("w1")).event
