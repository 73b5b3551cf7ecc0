"""Nothing that anyone sends stops the engine: every poison (`poisons.py`) through every entrance, then a canary runs.

What tasks send is one run of a DAG per entrance (`entrances.py`); what comes over HTTP, the command line, files and the
agent's socket is one test per entrance here. At the end all of it has to survive a kill and a restart.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from grpclib.client import Channel, StreamStreamMethod
from grpclib.exceptions import GRPCError, StreamTerminatedError

from leoflowd.contract import agent_messages as m
from leoflowd.contract.agent_wire import MsgpackCodec
from loadtests.lite_process import Api, Lite, wait_until

from .entrances import ENTRANCES, Entrance, dag_id
from .poisons import POISONS, Poison

RUN_WITHIN_S = 60.0
SINGS_WITHIN_S = 20.0


def sings(api: Api) -> None:
    """The engine goes on: a trivial DAG runs."""
    assert api.wait_for_run("canary", api.trigger("canary"), within_s=SINGS_WITHIN_S)["state"] == "success"


def is_same(found: Any, sent: Any) -> bool:
    return bool(found == sent) and type(found) is type(sent)


# --- tasks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entrance", ENTRANCES, ids=lambda entrance: entrance.name)
def test_a_task_ends_whatever_it_sends(api: Api, entrance: Entrance) -> None:
    run_id = api.trigger(dag_id(entrance))
    api.wait_for_run(dag_id(entrance), run_id, within_s=RUN_WITHIN_S)
    found = api.task_instances(dag_id(entrance), run_id)
    expected = {poison.name: entrance.ends(poison) for poison in POISONS}
    ends = {name: (found[name]["state"] if end != "any" else "any", end) for name, end in expected.items()}
    wrong = {name: (*pair, because(api, entrance, run_id, name)) for name, pair in ends.items() if pair[0] != pair[1]}
    assert wrong == {}
    sings(api)


def because(api: Api, entrance: Entrance, run_id: str, task_id: str) -> Any:
    return api.call("GET", f"/leoflow/explain/{dag_id(entrance)}/{run_id}/{task_id}")["because"]


def test_a_result_comes_back_as_it_was(api: Api) -> None:
    run_id = api.trigger("poison_result")
    api.wait_for_run("poison_result", run_id, within_s=RUN_WITHIN_S)
    xcoms = api.xcoms("poison_result", run_id)
    changed = [
        poison.name
        for poison in POISONS
        if poison.kept and not is_same(xcoms[poison.name]["return_value"], poison.value)
    ]
    assert changed == []


def test_a_question_is_shown_whatever_it_asks(api: Api) -> None:
    run_id = api.trigger("poison_question")
    api.wait_for_run("poison_question", run_id, within_s=RUN_WITHIN_S)
    page = api.call("GET", f"/dags/poison_question/dagRuns/{run_id}/hitlDetails", params={"limit": 100})
    shown = {one["task_instance"]["task_id"]: one["params_input"]["value"] for one in page["hitl_details"]}
    changed = [poison.name for poison in POISONS if poison.kept and not is_same(shown[poison.name], poison.value)]
    assert changed == []


# --- HTTP --------------------------------------------------------------------------------------------------------


def sent(api: Api, method: str, path: str, body: Any, **headers: str) -> int:
    """The status of one call. Python's own JSON: it writes NaN and lone surrogates, as clients do."""
    answer = api.http.request(
        method, path, content=json.dumps(body).encode(), headers={"Content-Type": "application/json", **headers}
    )
    assert answer.status_code < 500, f"{method} {path} answered {answer.status_code}: {answer.text[:300]}"
    return answer.status_code


RUNS = "/api/v2/dags/canary/dagRuns"
HTTP: dict[str, Callable[[Any, str], tuple[str, str, Any]]] = {
    "run_id": lambda value, name: ("POST", RUNS, {"logical_date": None, "dag_run_id": value}),
    "note": lambda value, name: ("POST", RUNS, {"logical_date": None, "note": value}),
    "logical_date": lambda value, name: ("POST", RUNS, {"logical_date": value}),
    "connection_password": lambda value, name: (
        "POST", "/api/v2/connections", {"connection_id": f"a_{name}", "conn_type": "http", "password": value}),
    "connection_extra": lambda value, name: (
        "POST", "/api/v2/connections", {"connection_id": f"b_{name}", "conn_type": "http", "extra": value}),
    "connection_id": lambda value, name: ("POST", "/api/v2/connections", {"connection_id": value, "conn_type": "http"}),
    "variable_key": lambda value, name: ("POST", "/api/v2/variables", {"key": value, "value": "x"}),
    "variable_value": lambda value, name: ("POST", "/api/v2/variables", {"key": f"v_{name}", "value": value}),
    "answer": lambda value, name: (
        "PATCH", f"{RUNS}/none/taskInstances/sing/-1/hitlDetails",
        {"chosen_options": [value], "params_input": {"v": value}}),
    "pool": lambda value, name: ("POST", "/api/v2/pools", {"name": f"p_{name}", "slots": 1, "description": value}),
}  # fmt: skip


@pytest.mark.parametrize("entrance", HTTP)
def test_a_request_is_answered_whatever_is_in_it(api: Api, entrance: str) -> None:
    for poison in POISONS:
        method, path, body = HTTP[entrance](poison.value, poison.name)
        sent(api, method, path, body)
    sings(api)


def test_a_conf_is_refused_or_reaches_the_task_as_it_was(api: Api) -> None:
    runs: dict[str, Poison] = {}
    for poison in POISONS:
        name = f"conf_{poison.name}"
        status = sent(api, "POST", RUNS, {"logical_date": None, "dag_run_id": name, "conf": {"value": poison.value}})
        assert (status == 200) == poison.kept, (poison.name, status)
        if poison.kept:
            runs[name] = poison
    for name, poison in runs.items():
        assert api.wait_for_run("canary", name, within_s=SINGS_WITHIN_S)["state"] == "success"
        assert is_same(api.xcoms("canary", name)["sing"]["return_value"], poison.value), poison.name
    sings(api)


def test_an_artifact_is_refused_or_runs(lite: Lite, api: Api, tmp_path: Path) -> None:
    leoflow = str(Path(sys.executable).parent / "leoflow")
    compiled = tmp_path / "dag.json"
    command = [leoflow, "compile", str(lite.workspace / "canary"), "-o", str(compiled)]
    subprocess.run(command, capture_output=True, check=True, timeout=60)
    right = json.loads(compiled.read_text())
    for poison in POISONS:
        for name in ("params", "description", "tags", "source"):
            value = {"params": {"x": {"value": poison.value}}, "tags": [poison.value]}.get(name, poison.value)
            sent(api, "POST", "/api/v2/leoflow/dags", right | {name: value})
    sings(api)
    assert sent(api, "POST", "/api/v2/leoflow/dags", right) in (200, 201)
    sings(api)


def test_a_webhook_is_answered_whatever_is_in_it(api: Api) -> None:
    bell = {"connection_id": "webhook_bell", "conn_type": "webhook", "password": "secret"}
    api.call("POST", "/connections", json=bell)
    for poison in POISONS:
        body, at = json.dumps(poison.value).encode(), int(time.time())
        signature = hmac.new(b"secret", f"{at}.".encode() + body, hashlib.sha256).hexdigest()
        answer = api.http.post(
            "/leoflow/hooks/bell",
            content=body,
            headers={"X-Leoflow-Signature": f"t={at},v1={signature}", "X-Leoflow-Delivery": poison.name},
        )
        assert answer.status_code == (204 if poison.kept else 413 if poison.name == "large" else 422), poison.name
    sings(api)


# --- command line ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nul", "lone_surrogate", "not_a_number", "large"])
def test_the_command_line_says_what_it_cannot_send(lite: Lite, api: Api, name: str, tmp_path: Path) -> None:
    poison = next(one for one in POISONS if one.name == name)
    conf = tmp_path / "conf.json"
    conf.write_text(json.dumps({"value": poison.value}))
    command = [str(Path(sys.executable).parent / "leoflow"), "runs", "trigger", "canary", "--conf-file", str(conf)]
    token = api.http.headers["Authorization"].removeprefix("Bearer ")
    env = {**os.environ, "LEOFLOW_SERVER": lite.url, "LEOFLOW_TOKEN": token, "HOME": str(tmp_path)}
    answer = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (answer.returncode == 0) == poison.kept, answer.stderr
    assert "Traceback" not in answer.stderr
    sings(api)


# --- the agent's socket ------------------------------------------------------------------------------------------

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def said(poison: Poison) -> tuple[Any, ...]:
    """What a task that has taken its own token could say, with this value in every place that it fits."""
    value = poison.value
    text = json.dumps(value)
    words = value if isinstance(value, str) and poison.kept else repr(value)[:100_000]
    end = {"start_date": NOW, "end_date": NOW}
    item = m.XComItem(key=words, value=text)
    return (
        m.XComPush(key=words, value=text),
        m.RenderedFields(fields=text),
        m.RenderedFields(fields=json.dumps({"a": value})),
        m.XComPull(request_id=1, key=words, task_ids=(words,), run_id=words, map_indexes=(2**40, -(2**40))),
        m.ConnectionAsk(request_id=2, connection_id=words),
        m.DagRunAsk(request_id=2**60, dag_id=words, run_id=words, conf=text, note=words),
        m.CountsAsk(request_id=4, dag_id=words, task_ids=(words,), states=(words,), task_group_id=words),
        m.DagAsk(request_id=5, dag_id=words),
        m.VariableAsk(request_id=6, key=words),
        m.VariableWrite(request_id=7, key=words, value=words, description=words),
        m.LogChunk(offset=0, content=json.dumps({"event": value}).encode() + b"\n"),
        m.Outcome(kind=m.OutcomeKind.DEFERRED, because=words, deferral_json=text, **end),
        m.Outcome(kind=m.OutcomeKind.SUCCESS, because=words, xcoms=(item,), reschedule_at=NOW, **end),
        m.Outcome(kind=m.OutcomeKind.SUCCESS, because=words, skips=(words,), **end),
    )


def test_a_task_that_speaks_for_its_agent_harms_itself_only(lite: Lite, api: Api, tmp_path: Path) -> None:
    until = tmp_path / "until"
    run_id = api.trigger("holder", conf={"until": str(until)})
    names = {poison.name for poison in POISONS}
    try:
        wait_until(lambda: states(api, run_id) == dict.fromkeys(names, "running"), within_s=30, what="all tasks to run")
        [socket] = [path for path in lite.data_dir.rglob("*.sock") if "agent" in path.name]
        for poison in POISONS:
            try_id = api.call("GET", f"/dags/holder/dagRuns/{run_id}/taskInstances/{poison.name}")["id"]
            [token] = list(lite.data_dir.rglob(f"{try_id}/token"))
            asyncio.run(say_all(str(socket), try_id, token.read_text(), poison))
        wait_until(lambda: states(api, run_id) == dict.fromkeys(names, "failed"), within_s=20, what="all tasks to fail")
    finally:
        until.touch()
    sings(api)


def states(api: Api, run_id: str) -> dict[str, str | None]:
    return api.states("holder", run_id)


async def say_all(socket: str, try_id: str, token: str, poison: Poison) -> None:
    for message in said(poison):
        await say(socket, try_id, token, message, poison)


async def say(socket: str, try_id: str, token: str, message: Any, poison: Poison) -> None:
    channel = Channel(path=socket, codec=MsgpackCodec())
    try:
        async with asyncio.timeout(10):
            stream = StreamStreamMethod(channel, m.TRY, m.FromTry, m.ToTry).open()
            await stream.__aenter__()  # never left: the agent's own stream is not ended politely either
            hello = m.TryHello(
                try_id=try_id,
                token=token,
                hostname=repr(poison.value)[:300],
                pid=2**50,
                started_at=NOW,
                protocol=m.PROTOCOL,
            )
            await stream.send_message(hello)
            if isinstance(await stream.recv_message(), m.Terminate):
                return  # it has failed already
            await stream.send_message(message)
            await stream.send_message(m.PreviousRunAsk(request_id=9, only_success=False))
            while (answer := await stream.recv_message()) is not None:
                if isinstance(answer, m.PreviousRun | m.OutcomeStored):
                    return
    except (GRPCError, StreamTerminatedError, UnicodeEncodeError):
        return
    finally:
        channel.close()


# --- files -------------------------------------------------------------------------------------------------------

FILE_NAMES = (b"caf\xe9.py", b"\xff\xfe", b"a\x01\x1b[31m.sql", "\u202eabc.py".encode(), b"n" * 255)


@pytest.mark.parametrize("name", FILE_NAMES, ids=lambda name: repr(name[:12]))
def test_a_file_name_stops_nothing(lite: Lite, api: Api, name: bytes) -> None:
    path = os.fsencode(lite.workspace / "canary") + b"/" + name
    before = seen(api)
    Path(os.fsdecode(path)).write_text(repr(name))
    try:
        wait_until(lambda: seen(api) != before, within_s=20, what="the workspace to take the file, or to refuse it")
        sings(api)
    finally:
        Path(os.fsdecode(path)).unlink()
    wait_until(lambda: not seen(api)[1], within_s=20, what="the project to be right again")
    sings(api)


def seen(api: Api) -> tuple[int, list[str]]:
    """How many versions the canary has, and what is wrong with the workspace."""
    versions = api.call("GET", "/dags/canary/dagVersions")["total_entries"]
    errors = api.call("GET", "/importErrors")["import_errors"]
    return versions, [error["stack_trace"] for error in errors]


# --- afterwards --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["kill", "interrupt"])
def test_all_of_it_survives_a_restart(lite: Lite, how: str) -> None:
    if how == "kill":
        lite.kill_daemon()
    else:
        assert lite.interrupt() == 0
    lite.start()
    with lite.api() as api:
        sings(api)
        health = api.call("GET", "/monitor/health")
        assert health["faults"] == []
        assert {part["status"] for part in health.values() if isinstance(part, dict)} == {"healthy"}
        for entrance in ENTRANCES:
            running = api.call("GET", f"/dags/{dag_id(entrance)}/dagRuns", params={"state": "running"})
            assert running["total_entries"] == 0, entrance.name
