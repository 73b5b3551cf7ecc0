"""A try whose files cannot be written or whose result cannot be read ends with an outcome that says so."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from leoflow_agent.ends import close_theirs, open_ends
from leoflow_agent.fork_server import Process
from leoflow_agent.outcomes import Exit
from leoflow_agent.running_try import LogFile, RunningTry
from leoflow_agent.spool import Spool, TryFolder
from leoflowd.contract.agent_messages import DagRunFacts, OutcomeKind, TrySpec
from tests.conftest import PATIENCE_S

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPEC = TrySpec(
    try_id="t1",
    dag_run=DagRunFacts(dag_id="d", run_id="r", run_type="manual", run_after=NOW),
    task_id="t",
    try_number=1,
    max_tries=0,
    kind="python",
    operator="o",
    bundle_digest="",
)


class _OneProcess:
    """Stands for `Interpreters`: a real process that only waits, and our copy of its end of the control line."""

    command: tuple[str, ...] = ("sleep", "1000")
    leads = True
    """Its group, from the beginning."""

    def __init__(self) -> None:
        self.control: socket.socket | None = None

    async def start_try(self, **_: object) -> Process:
        ends, theirs = open_ends()
        self.control = socket.socket(fileno=os.dup(theirs.control))
        close_theirs(theirs)
        process = await asyncio.create_subprocess_exec(
            *self.command, start_new_session=self.leads, stdin=subprocess.PIPE
        )
        self.stdin = process.stdin
        ended = asyncio.get_running_loop().create_future()

        async def reap() -> None:
            ended.set_result(Exit(signal=-await process.wait()))

        self.reaping = asyncio.create_task(reap())
        return Process(process.pid, ended, ends)


class _LeadsLater(_OneProcess):
    """As a fork that the kernel has not let run yet: it leads a group once it is told to."""

    command = (sys.executable, "-c", "import os, time; os.read(0, 1); os.setsid(); time.sleep(1000)")
    leads = False


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _run(tmp_path: Path) -> tuple[RunningTry, bytes]:
    async def run() -> tuple[RunningTry, bytes]:
        interpreters = _OneProcess()
        folder = Spool(tmp_path / "spool", tmp_path / "work").create("t1", "token")
        running = RunningTry(folder, SPEC, interpreters=interpreters, python="python")
        await running.run()
        assert interpreters.control is not None
        with interpreters.control as control:
            return running, control.recv(100_000)

    return asyncio.run(run())


def test_without_room_for_its_process_file_a_try_is_not_given_to_its_process(tmp_path, monkeypatch):
    monkeypatch.setattr(TryFolder, "write_process", _full)
    running, said = _run(tmp_path)
    assert running.outcome is not None
    assert running.outcome.kind is OutcomeKind.FAILED
    assert "the agent cannot write to its spool (No space left on device)" in running.outcome.because
    assert b'"spec"' not in said
    assert running.outcome.signal == signal.SIGTERM


@pytest.mark.parametrize("also", ["write_stop", "write_outcome"])
def test_a_second_file_that_cannot_be_written_changes_nothing(tmp_path, monkeypatch, also):
    monkeypatch.setattr(TryFolder, "write_process", _full)
    monkeypatch.setattr(TryFolder, also, _full)
    running, _ = _run(tmp_path)
    assert running.outcome is not None
    assert running.outcome.kind is OutcomeKind.FAILED
    assert running.is_kept is (also != "write_outcome")
    assert running.urgent.is_set()
    assert not (tmp_path / "work" / "t1").exists()


@pytest.mark.parametrize(
    "result",
    [
        '{"kind": "success"}',
        '{"kind": "unknown", "because": "", "start_date": "2026-01-01T00:00:00Z", "end_date": "2026-01-01T00:00:00Z"}',
        '{"kind": "success", "because": "\\ud800", "start_date": "2026-01-01T00:00:00Z", "end_date": "never"}',
        "[" * 5000 + "]" * 5000,
        "1e999",
    ],
)
def test_a_result_that_cannot_be_read_is_a_failure_with_the_reason(tmp_path, result):
    folder = Spool(tmp_path / "spool", tmp_path / "work").create("t1", "token")
    running = RunningTry(folder, SPEC, interpreters=_OneProcess(), python="python")
    log_file = LogFile(folder.log_path, 1000)
    running.heard(b'{"outcome": {"outcome": %s, "has_children": true}}' % result.encode(), log_file)
    log_file.close()
    outcome = folder.read_outcome()
    assert outcome is not None
    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.because.startswith("The task ended, but its result cannot be read: ")


@pytest.mark.parametrize("end", [lambda running: running.stop(OutcomeKind.LOST, "told to"), RunningTry.kill])
def test_a_try_that_is_ended_before_it_leads_its_group_ends_all_the_same(tmp_path, end):
    async def run() -> RunningTry:
        interpreters = _LeadsLater()
        folder = Spool(tmp_path / "spool", tmp_path / "work").create("t1", "token")
        running = RunningTry(folder, SPEC, interpreters=interpreters, python="python")
        life = asyncio.create_task(running.run())
        while running.pid is None:  # noqa: ASYNC110  set in the middle of its run
            await asyncio.sleep(0.01)
        end(running)
        await asyncio.sleep(0)  # the signal is on its way, if it does not wait
        interpreters.stdin.write(b".")
        async with asyncio.timeout(PATIENCE_S):
            await life
        interpreters.control.close()
        return running

    running = asyncio.run(run())
    assert running.outcome is not None
    assert running.outcome.signal in (signal.SIGTERM, signal.SIGKILL)


def test_a_try_that_is_ended_before_its_turn_gets_no_process(tmp_path):
    folder = Spool(tmp_path / "spool", tmp_path / "work").create("t1", "token")
    running = RunningTry(folder, SPEC, interpreters=_OneProcess(), python="python")
    running.stop(OutcomeKind.TERMINATED, "cleared")
    asyncio.run(running.run())
    assert running.pid is None
    assert running.outcome is not None
    assert running.outcome.kind is OutcomeKind.TERMINATED


class _KilledAtOnce(_OneProcess):
    """The process is killed when it has its try in its socket, or, if it `reads`, when it has taken it out."""

    def __init__(self, *, reads: bool) -> None:
        super().__init__()
        self._reads = reads

    async def start_try(self, **_: object) -> Process:
        ends, theirs = open_ends()
        control = socket.socket(fileno=os.dup(theirs.control))
        close_theirs(theirs)
        ended = asyncio.get_running_loop().create_future()

        async def die() -> None:
            control.setblocking(False)
            said = b""
            while not said.endswith(b"\n"):
                await asyncio.sleep(0)
                with contextlib.suppress(BlockingIOError):
                    said = control.recv(100_000, 0 if self._reads else socket.MSG_PEEK)
            control.close()
            ended.set_result(Exit(signal=signal.SIGKILL))

        self.dying = asyncio.create_task(die())
        gone = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True)  # noqa: ASYNC221
        return Process(int(gone.stdout), ended, ends)


@pytest.mark.parametrize(("reads", "kind"), [(False, OutcomeKind.LOST), (True, OutcomeKind.FAILED)])
def test_a_process_that_never_read_its_try_has_run_nothing_and_is_no_failure(tmp_path, reads, kind):
    folder = Spool(tmp_path / "spool", tmp_path / "work").create("t1", "token")
    running = RunningTry(folder, SPEC, interpreters=_KilledAtOnce(reads=reads), python="python")
    asyncio.run(running.run())
    assert running.outcome is not None
    assert running.outcome.kind is kind
