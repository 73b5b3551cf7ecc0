"""One try for `leoflow test`: the real runner in the author's interpreter, with this process in the agent's place.

Over a socket the runner gets its spec, sends log records, what it pushed and its outcome, and asks for XComs. Blocking:
`cli.test` gives each try a thread. The thread that starts the process stays until it has ended, because the kernel ties
the process's life to that thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

import leoflowd
from leoflow_agent.masking import Secrets
from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.contract.agent_messages import Outcome, OutcomeKind, TrySpec
from leoflowd.contract.errors import Invalid
from leoflowd.contract.values import parsed_json, shown

LOOK_S = 0.01
"""Between two looks at whether the process has ended."""
GRACE_S = 5.0
"""Between TERM and KILL of a try that is to end."""
NOT_FOR_TASKS = (
    "VIRTUAL_ENV",
    "PYTHONPATH",
    "PYTHONHOME",
    "LEOFLOW_TOKEN",
    "LEOFLOW_PASSWORD",
    "LEOFLOW_ADMIN_PASSWORD",
)

Log = Callable[[dict[str, Any]], None]
Pull = Callable[[dict[str, Any]], list[dict[str, Any]]]


def runner_start() -> Path:
    """The runner's entry file; found, not imported: it belongs into the author's interpreter."""
    spec = find_spec("leoflow_agent")
    if spec is None or not spec.submodule_search_locations:
        raise CommandFailed(ExitCode.NOT_READY, "the package leoflow_agent is not installed; install leoflow again")
    return Path(spec.submodule_search_locations[0]) / "runner" / "start.py"


def shim_folder() -> Path:
    return Path(leoflowd.__file__).parent / "authoring" / "airflow_shim"


class LocalTry:
    """One try, from spec to outcome. `kill` may be called from another thread."""

    def __init__(
        self,
        spec: TrySpec,
        *,
        log: Log,
        pull: Pull,
        push: Callable[[str, str], None],
        variables: dict[str, str],
    ) -> None:
        self.spec = spec
        self._log = log
        self._pull = pull
        self._push = push
        self._variables = variables
        self._pid: int | None = None
        self._killed = False
        self._secrets = Secrets()
        self._sending = threading.Lock()
        self._outcome: dict[str, Any] = {}
        """What the runner says became of the try."""
        self._stop: dict[str, Any] = {}
        """Why we ended it."""

    def run(self) -> Outcome:
        """Start the process, serve it until it ends; what became of it."""
        work = Path(tempfile.mkdtemp(prefix="leoflow-try-"))
        started_at = datetime.now(UTC)
        try:
            code = self._run_process(work)
            try:
                return _checked(self._outcome_of(code, started_at))
            except (ValueError, TypeError, LookupError, RecursionError, msgspec.MsgspecError, Invalid) as error:
                because = shown(f"What the task answered cannot be read: {error}")
                return Outcome(
                    kind=OutcomeKind.FAILED, because=because, start_date=started_at, end_date=datetime.now(UTC)
                )
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def kill(self) -> None:
        """End the try's whole process group at once."""
        self._killed = True
        if self._pid is not None:
            _signal_group(self._pid, signal.SIGKILL)

    def _run_process(self, work: Path) -> int:
        """Start it, serve it, wait for it; its exit code, or minus the signal that ended it."""
        ours, theirs = socket.socketpair()
        read_end, write_end = os.pipe()
        with ours:
            with theirs:
                pid = self._spawn(write_end, theirs.fileno())
            os.close(write_end)
            self._pid = pid
            if self._killed:
                self.kill()
            helpers = [
                threading.Thread(target=self._forward_output, args=(read_end,), daemon=True),
                threading.Thread(target=self._serve, args=(ours, work), daemon=True),
            ]
            for helper in helpers:
                helper.start()
            code = self._wait(pid, ours)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)  # what the task left in the background; its leader is gone already
            for helper in helpers:
                helper.join(GRACE_S)
        return code

    def _spawn(self, output: int, control: int) -> int:
        """The runner wants nothing to read on 0, its output on 1 and 2, its control socket on 3."""
        command = [self.spec.python, "-I", "-B", str(runner_start()), "once"]
        command += ["--runtime", self.spec.runtime]
        command += ["--shim", str(shim_folder()), "--parent", str(os.getpid())]
        # Numbers from 10 on: no descriptor is replaced before it was used.
        output = fcntl.fcntl(output, fcntl.F_DUPFD_CLOEXEC, 10)
        control = fcntl.fcntl(control, fcntl.F_DUPFD_CLOEXEC, 10)
        try:
            return os.posix_spawn(
                command[0],
                command,
                _environment(self.spec.python),
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, output, 1),
                    (os.POSIX_SPAWN_DUP2, output, 2),
                    (os.POSIX_SPAWN_DUP2, control, 3),
                ],
            )
        finally:
            os.close(output)
            os.close(control)

    def _wait(self, pid: int, control: socket.socket) -> int:
        """Exit code; TERM, then KILL when `execution_timeout` passes."""
        limit = self.spec.execution_timeout_s
        code = _wait_exit(pid, limit)
        if code is None:
            because = f"execution_timeout of {limit:g} s passed"
            self._stop = {"kind": OutcomeKind.TIMED_OUT, "because": because}
            self._say(control, {"stop": self._stop})
            _signal_group(pid, signal.SIGTERM)
            code = _wait_exit(pid, GRACE_S)
        if code is None:
            _signal_group(pid, signal.SIGKILL)
            code = _wait_exit(pid, None)
        assert code is not None
        return code

    def _forward_output(self, read_end: int) -> None:
        with os.fdopen(read_end, "rb") as output:
            for line in output:
                text = self._secrets.in_output(line).decode("utf-8", "replace").rstrip("\r\n")
                self._log({"event": text, "level": "info", "timestamp": datetime.now(UTC).isoformat()})

    def _serve(self, control: socket.socket, work: Path) -> None:
        """Give the runner its try, and answer its questions until it closes its end."""
        self._say(control, {"spec": msgspec.to_builtins(self.spec), "work": str(work)})
        with control.makefile("rb") as lines:
            for line in lines:
                ((kind, body),) = json.loads(line).items()
                if kind == "log":
                    self._log(self._secrets.in_record(body))
                elif kind == "outcome":
                    self._outcome = body["outcome"]
                elif kind != "show":  # rendered fields: there is no page to look at them
                    self._say(control, {"request_id": body["request_id"], **self._answer(kind, body)})

    def _say(self, control: socket.socket, message: dict[str, Any]) -> None:
        with self._sending, contextlib.suppress(OSError):  # it ended meanwhile
            control.sendall(json.dumps(message).encode() + b"\n")

    def _answer(self, kind: str, question: dict[str, Any]) -> dict[str, Any]:
        match kind:
            case "pull":
                return {"values": self._pull(question)}
            case "event":
                if "push" in question["event"]:
                    self._push(question["event"]["push"]["key"], question["event"]["push"]["value"])
                return {}
            case "mask":
                self._secrets.hide(question["values"])
                return {}
            case "connection":  # those of the environment were looked at before
                return {"connection": None}
            case "variable":
                return {"value": self._variables.get(question["key"])}
            case "write_variable":
                self._variables.pop(question["key"], None)
                if question["value"] is not None:
                    self._variables[question["key"]] = question["value"]
                return {"value": question["value"]}
            case "dag_run" | "dag":
                return {"refused": "`leoflow test` runs one DAG only; run both in `leoflow lite`"}
            case "counts":
                self._log({"event": "`leoflow test` knows no other dag runs: it counts 0", "level": "warning"})
                return {"count": 0}
            case "asset_events":
                self._log({"event": "`leoflow test` knows no events of other dag runs", "level": "warning"})
                return {"events": []}
            case "previous":  # there is no run before this one
                return {"run": None}
            case _:
                raise AssertionError(f"the runner asks {kind!r}, which nobody knows")

    def _outcome_of(self, code: int, started_at: datetime) -> Outcome:
        """What the runner said; else what the way it ended says."""
        facts = dict(self._outcome)
        if self._stop and facts.get("kind") != OutcomeKind.SUCCESS:
            facts |= self._stop
        elif not facts:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            facts = {"kind": OutcomeKind.FAILED, "because": f"The task process {how} without a result."}
        facts.setdefault("start_date", started_at.isoformat())
        facts.setdefault("end_date", datetime.now(UTC).isoformat())
        if facts.get("deferral") is not None:
            facts["deferral"] = json.loads(facts["deferral"])
        return msgspec.convert(facts | {"type": "Outcome"}, Outcome)


def _checked(outcome: Outcome) -> Outcome:
    """Raises `Invalid`: the server would refuse the same values."""
    for item in outcome.xcoms:
        parsed_json(item.value, f"XCom {item.key!r}")
    return outcome


def _environment(python: str, source: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The author's own, less our secrets; the DAG's environment comes first on PATH."""
    kept = {name: value for name, value in source.items() if name not in NOT_FOR_TASKS}
    kept["PATH"] = f"{Path(python).parent}{os.pathsep}{source.get('PATH', os.defpath)}"
    return kept


def _signal_group(pid: int, number: int) -> None:
    """The runner leads a group of its own as soon as it runs; until then only the process itself is there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.getpgid(pid) == pid:
            os.killpg(pid, number)
            return
        os.kill(pid, number)


def _wait_exit(pid: int, timeout_s: float | None) -> int | None:
    """Exit code of our child, minus the signal that ended it; None when it still runs after `timeout_s`."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while deadline is None or time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(LOOK_S)
    return None
