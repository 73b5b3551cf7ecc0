"""Tasks that misbehave in every way we could think of, on a real Lite: each ends in the right state, with a reason that
helps, and with its log complete to the last line.

All bad tasks are one run of one DAG and have nothing to do with each other; each test looks at its own.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from loadtests.lite_process import Api, Lite, wait_until

TASK_WITHIN_S = 90.0
GONE_WITHIN_S = 10.0
LOG_CAP_BYTES = 100 * 1024 * 1024
"""The agent's default: longer logs are cut there."""
SHOWN_BYTES = 8 * 1024 * 1024
"""What the log route shows of a long log, about."""
XCOM_BYTES = 256 * 1024

BAD_TASKS = "bad_tasks"
DAG = """\
import logging
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, task

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
STUBBORN = [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"]


def leave_behind(dag_run, name, pid):
    (Path(dag_run.conf["folder"]) / name).write_text(str(pid))


@task
def leaves_a_child(dag_run=None):
    leave_behind(dag_run, "child", subprocess.Popen(SLEEP).pid)
    leave_behind(dag_run, "stubborn-child", subprocess.Popen(STUBBORN).pid)
    print("the last line")


@task
def leaves_a_fork(dag_run=None):
    pid = os.fork()
    if pid == 0:
        time.sleep(600)
    leave_behind(dag_run, "fork", pid)
    print("the last line")
    return "done"


@task
def leaves_a_daemon(dag_run=None):
    # a session of its own, and our stdout kept open: out of reach of a kill of the group
    leave_behind(dag_run, "daemon", subprocess.Popen(SLEEP, start_new_session=True).pid)
    print("the last line")
    return "done"


@task(execution_timeout=timedelta(seconds=1))
def ignores_sigterm():
    signal.signal(signal.SIGTERM, lambda *_: print("the last line: asked to stop, staying"))
    while True:
        time.sleep(0.1)


@task
def closes_its_output():
    print("the last line that can be printed")
    os.close(1)
    os.close(2)
    sys.stdout.close()
    sys.stderr.close()
    logging.getLogger("mine").warning("the last line")
    return "done"


@task
def fails_without_output():
    sys.stdout.close()
    sys.stderr.close()
    raise RuntimeError("nobody can hear me")


@task
def closes_everything():
    os.closerange(3, 256)
    print("the last line")
    raise RuntimeError("failed without descriptors")


@task
def prints_binary():
    os.write(1, bytes(range(256)) + b"\\n")
    os.write(2, b"\\x00\\xff\\xfe\\xed\\xfa\\xce\\n" * 3)
    print("lone surrogate: \\ud800")
    logging.getLogger("mine").info("%s", b"\\xff\\x00".decode("utf-8", "surrogateescape"))
    os.write(1, "the last line, without its end: \\u20ac".encode()[:-1])


@task
def writes_a_huge_log():
    line = b"x" * 16000 + b"\\n"
    block = line * 64
    os.write(1, b"the first line\\n")
    for _ in range(150 * 2**20 // len(block)):
        rest = block
        while rest:
            rest = rest[os.write(1, rest):]
    print("the last line")
    return "done"


@task
def returns_too_much():
    print("the last line")
    return "x" * (257 * 1024)


@task
def returns_no_json():
    print("the last line")
    return object()


@task
def returns_a_circle():
    circle = []
    circle.append(circle)
    return circle


@task
def returns_not_a_number():
    return {"rate": float("nan")}


@task
def calls_sys_exit():
    print("the last line")
    sys.exit(3)


@task
def calls_os_exit():
    print("the last line")
    os._exit(4)


@task
def kills_itself():
    print("the last line")
    os.kill(os.getpid(), signal.SIGKILL)


@task
def crashes():
    import ctypes

    print("the last line")
    ctypes.string_at(0)


@task
def raises_twice():
    try:
        {}["missing"]
    except KeyError as error:
        raise ValueError("cannot go on") from error


@task
def raises_what_cannot_be_shown():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    raise Mute


@task
def is_well():
    return "well"


with DAG("bad_tasks", schedule=None, max_active_tasks=0):
    leaves_a_child()
    leaves_a_fork()
    leaves_a_daemon()
    ignores_sigterm()
    closes_its_output()
    fails_without_output()
    closes_everything()
    prints_binary()
    writes_a_huge_log()
    returns_too_much()
    returns_no_json()
    returns_a_circle()
    returns_not_a_number()
    calls_sys_exit()
    calls_os_exit()
    kills_itself()
    crashes()
    raises_twice()
    raises_what_cannot_be_shown()
    is_well()
"""


@dataclass(frozen=True)
class Run:
    """One run, seen as a user sees it."""

    api: Api
    lite: Lite
    dag_id: str
    run_id: str
    folder: Path
    """Where its tasks leave notes."""

    def wait_for(self, task_id: str) -> str:
        """The state in which the task ended."""

        def ended() -> str | None:
            state = self.instance(task_id)["state"]
            return state if state in ("success", "failed") else None

        return wait_until(ended, within_s=TASK_WITHIN_S, what=f"task {task_id} to end")

    def instance(self, task_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.call(
            "GET", f"/dags/{self.dag_id}/dagRuns/{self.run_id}/taskInstances/{task_id}"
        )
        return found

    def why(self, task_id: str) -> str:
        """What `leoflow explain` says, first the state."""
        answer = self.api.call("GET", f"/leoflow/explain/{self.dag_id}/{self.run_id}/{task_id}")
        return "\n".join(answer["because"])

    def records(self, task_id: str, try_number: int = 1) -> list[dict[str, Any]]:
        """The log as the UI gets it, without the folded group about its source, and without its end, a fact."""
        path = f"/dags/{self.dag_id}/dagRuns/{self.run_id}/taskInstances/{task_id}/logs/{try_number}"
        answer = self.api.http.get(f"/api/v2{path}", headers={"Accept": "application/x-ndjson"})
        assert answer.status_code == 200, answer.text[:1000]
        records = [json.loads(line) for line in answer.text.splitlines()]
        assert records[1]["event"] == "::endgroup::"
        assert records[-1]["event"].startswith("state ")
        return records[2:-1]

    def printed(self, task_id: str, try_number: int = 1) -> list[str]:
        """The lines of its standard output."""
        return [r["event"] for r in self.records(task_id, try_number) if r["logger"] == "task.stdout"]

    def left_behind(self, name: str) -> int:
        """The pid of a process that a task started and forgot."""
        return int((self.folder / name).read_text())


@pytest.fixture(scope="module")
def folder(lite: Lite) -> Path:
    """For the notes of tasks, next to the data folder."""
    folder = lite.data_dir.parent / "bad-input-notes"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def bad(lite: Lite, api: Api, folder: Path) -> Iterator[Run]:
    """The run of all bad tasks. What they left behind is ended even if Lite did not do it."""
    run_id = start(lite, api, BAD_TASKS, DAG, folder)
    yield Run(api, lite, BAD_TASKS, run_id, folder)
    for note in folder.iterdir():
        if note.read_text().isdigit() and is_alive(int(note.read_text())):
            psutil.Process(int(note.read_text())).kill()


def start(lite: Lite, api: Api, dag_id: str, source: str, folder: Path) -> str:
    project = lite.workspace / dag_id
    project.mkdir()
    (project / "dag.py").write_text(source)
    api.wait_for_dags(dag_id)
    api.unpause(dag_id)
    return api.trigger(dag_id, conf={"folder": str(folder)})


def is_alive(pid: int) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and "time.sleep(600)" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def wait_until_gone(pid: int, what: str) -> None:
    wait_until(lambda: not is_alive(pid), within_s=GONE_WITHIN_S, what=f"the end of {what} (pid {pid})")


# --- children ----------------------------------------------------------------------------------------------------


def test_children_of_a_task_do_not_outlive_it_even_if_they_ignore_sigterm(bad: Run) -> None:
    assert bad.wait_for("leaves_a_child") == "success"
    assert bad.printed("leaves_a_child") == ["the last line"]
    for name in ("child", "stubborn-child"):
        wait_until_gone(bad.left_behind(name), name)


def test_a_fork_of_the_task_itself_does_not_outlive_it(bad: Run) -> None:
    assert bad.wait_for("leaves_a_fork") == "success"
    assert bad.printed("leaves_a_fork") == ["the last line"]
    pid = bad.left_behind("fork")
    wait_until(lambda: not psutil.pid_exists(pid), within_s=GONE_WITHIN_S, what=f"the end of the fork (pid {pid})")


def test_a_child_in_its_own_session_with_our_output_open_does_not_hold_the_try(bad: Run) -> None:
    assert bad.wait_for("leaves_a_daemon") == "success"
    assert bad.printed("leaves_a_daemon") == ["the last line"]


def test_a_child_in_its_own_session_does_not_outlive_its_task(bad: Run) -> None:
    bad.wait_for("leaves_a_daemon")
    wait_until_gone(bad.left_behind("daemon"), "a child in its own session")


# --- ends --------------------------------------------------------------------------------------------------------


def test_a_task_that_ignores_sigterm_is_killed_after_its_timeout(bad: Run) -> None:
    assert bad.wait_for("ignores_sigterm") == "failed"
    assert "longer than its execution_timeout of 1 s" in bad.why("ignores_sigterm")
    assert bad.printed("ignores_sigterm") == ["the last line: asked to stop, staying"]


@pytest.mark.parametrize(
    ("task_id", "reason"),
    [
        ("calls_sys_exit", "The task called sys.exit(3)"),
        ("calls_os_exit", "ended with exit code 4 without a result"),
        ("kills_itself", "was killed by SIGKILL (9)"),
        ("crashes", "was killed by SIGSEGV (11)"),
    ],
)
def test_a_process_that_just_ends_is_a_failure_with_its_log_to_the_last_line(
    bad: Run, task_id: str, reason: str
) -> None:
    assert bad.wait_for(task_id) == "failed"
    assert reason in bad.why(task_id)
    assert bad.printed(task_id) == ["the last line"]


def test_a_chained_error_is_in_the_log_with_the_frames_of_both(bad: Run) -> None:
    assert bad.wait_for("raises_twice") == "failed"
    assert "ValueError: cannot go on" in bad.why("raises_twice")
    failure = bad.records("raises_twice")[-1]
    assert failure["level"] == "error"
    last, cause = failure["error_detail"]
    assert (last["exc_type"], last["exc_value"]) == ("ValueError", "cannot go on")
    assert (cause["exc_type"], cause["is_cause"]) == ("KeyError", True)
    for error, text in ((last, 'raise ValueError("cannot go on")'), (cause, '{}["missing"]')):
        frame = error["frames"][-1]
        assert (frame["name"], Path(frame["filename"]).name) == ("raises_twice", "dag.py")
        assert text in DAG.splitlines()[frame["lineno"] - 1]


def test_an_error_without_text_is_still_an_error_with_its_frames(bad: Run) -> None:
    assert bad.wait_for("raises_what_cannot_be_shown") == "failed"
    assert "Mute" in bad.why("raises_what_cannot_be_shown")
    assert bad.records("raises_what_cannot_be_shown")[-1]["error_detail"][0]["frames"]


def test_the_neighbours_of_bad_tasks_are_well(bad: Run) -> None:
    assert bad.wait_for("is_well") == "success"
    assert bad.api.wait_for_run(BAD_TASKS, bad.run_id)["state"] == "failed"


# --- output ------------------------------------------------------------------------------------------------------


def test_a_task_that_closes_its_output_goes_on_and_can_still_log(bad: Run) -> None:
    assert bad.wait_for("closes_its_output") == "success"
    assert bad.printed("closes_its_output") == ["the last line that can be printed"]
    logged = [record["event"] for record in bad.records("closes_its_output") if record["logger"] == "mine"]
    assert logged == ["the last line"]


def test_the_error_of_a_task_that_closed_its_output_is_in_its_log(bad: Run) -> None:
    assert bad.wait_for("fails_without_output") == "failed"
    assert "nobody can hear me" in bad.why("fails_without_output")
    assert bad.records("fails_without_output")[-1]["error_detail"][0]["exc_value"] == "nobody can hear me"


def test_a_task_that_closes_all_its_descriptors_fails_and_is_told_so(bad: Run) -> None:
    assert bad.wait_for("closes_everything") == "failed"
    assert "closing descriptors that are not the task's own" in bad.why("closes_everything")
    assert bad.printed("closes_everything") == ["the last line"]


def test_binary_output_is_escaped_and_nothing_of_it_lost(bad: Run) -> None:
    assert bad.wait_for("prints_binary") == "success"
    records = bad.records("prints_binary")
    printed = bad.printed("prints_binary")
    ascii_text = "".join(map(chr, range(ord(" "), 127)))
    assert printed[0] + "\n" + printed[1].partition(ascii_text)[0] == "".join(map(chr, range(32)))
    assert printed[1].endswith(ascii_text + "\x7f" + "".join(f"\\x{byte:02x}" for byte in range(128, 256)))
    assert printed[2] == "lone surrogate: \\ud800"
    assert printed[-1] == "the last line, without its end: \\xe2\\x82"
    shouted = [record["event"] for record in records if record["logger"] == "task.stderr"]
    assert shouted == ["\x00\\xff\\xfe\\xed\\xfa\\xce"] * 3
    assert [record["event"] for record in records if record["logger"] == "mine"] == ["\\udcff\\x00"]


def test_a_huge_log_is_cut_with_a_word_and_never_blocks_its_task(bad: Run) -> None:
    assert bad.wait_for("writes_a_huge_log") == "success"
    (stored,) = (bad.lite.data_dir / "logs").rglob("writes_a_huge_log/attempt=1.ndjson")
    assert LOG_CAP_BYTES - 64 * 1024 < stored.stat().st_size < LOG_CAP_BYTES + 1024
    events = [record["event"] for record in bad.records("writes_a_huge_log")]
    assert events[0] == "the first line"
    assert any("bytes left out" in event for event in events)
    assert f"reached its limit of {LOG_CAP_BYTES} bytes" in events[-1]
    assert sum(map(len, events)) < SHOWN_BYTES


def test_the_agent_keeps_no_copy_of_a_huge_log(bad: Run) -> None:
    bad.wait_for("writes_a_huge_log")
    spool = bad.lite.data_dir / "agent" / "spool"

    def is_small() -> bool:
        return not any(log.stat().st_size > LOG_CAP_BYTES // 2 for log in spool.glob("*/log.ndjson"))

    wait_until(is_small, within_s=GONE_WITHIN_S, what="the agent to remove the try's folder")


# --- results -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task_id", "reasons"),
    [
        ("returns_too_much", (f"{257 * 1024 + 2} bytes", f"limit of {XCOM_BYTES} bytes", "return its path")),
        ("returns_no_json", ("type builtins.object", "use JSON types")),
        ("returns_a_circle", ("nested too deeply, or contains itself",)),
        ("returns_not_a_number", ("['rate'] is nan", "use None or text instead")),
    ],
)
def test_a_result_that_cannot_be_kept_fails_the_task_and_says_what_to_do(
    bad: Run, task_id: str, reasons: tuple[str, ...]
) -> None:
    assert bad.wait_for(task_id) == "failed"
    explained = bad.why(task_id)
    failure = bad.records(task_id)[-1]
    for reason in reasons:
        assert reason in explained
        assert reason in failure["error_detail"][0]["exc_value"]
    base = f"/dags/{BAD_TASKS}/dagRuns/{bad.run_id}/taskInstances/{task_id}/xcomEntries"
    assert bad.api.call("GET", base)["total_entries"] == 0


# --- kill -9 of the fork server ----------------------------------------------------------------------------------

ORPHANS = "loses_its_fork_server"
ORPHANS_DAG = """\
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, task

COUNT = 4


def note(folder, line):
    with (folder / "orphans").open("a") as notes:  # O_APPEND: one write of a short line is never torn
        notes.write(line + "\\n")


@task
def wait(number, dag_run=None, ti=None):
    folder = Path(dag_run.conf["folder"])
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    note(folder, f"started {ti.id} {number} {ti.try_number} {os.getpid()} {os.getppid()} {child.pid}")
    until = time.monotonic() + 120
    while not (folder / f"go-{ti.try_number}").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    print(f"the last line of try {ti.try_number}")
    if number == 0 and ti.try_number == 2:
        raise RuntimeError("this failure is the task's own")
    note(folder, f"finished {ti.id} {number} {ti.try_number} {os.getpid()} {os.getppid()} {child.pid}")


with DAG("loses_its_fork_server", schedule=None, default_args={"retry_delay": timedelta(0)}):
    for number in range(COUNT):
        wait.override(task_id=f"wait_{number}", retries=1 if number == 0 else 0)(number)
"""
COUNT = 4


@dataclass(frozen=True)
class Note:
    """One line that a task of `ORPHANS` wrote."""

    word: str
    try_id: str
    number: int
    try_number: int
    pid: int
    parent: int
    child: int


def notes_in(folder: Path) -> list[Note]:
    path = folder / "orphans"
    lines = path.read_text().splitlines() if path.exists() else []
    split = [line.split() for line in lines]
    return [Note(word, try_id, *map(int, numbers)) for word, try_id, *numbers in split]


@pytest.fixture(scope="module")
def orphans(lite: Lite, api: Api, folder: Path) -> Run:
    """A run whose tasks all ran when their fork server was killed; it has ended."""
    run = Run(api, lite, ORPHANS, start(lite, api, ORPHANS, ORPHANS_DAG, folder), folder)
    wait_until(lambda: len(notes_in(folder)) == COUNT, within_s=TASK_WITHIN_S, what="all tasks to start")
    parents = {note.parent for note in notes_in(folder)}  # the fork server, and its child that has loaded the file
    servers = [process for process in lite.processes() if process.pid in parents]
    for server in servers:
        assert "serve" in server.cmdline(), f"the parent of the tries is no fork server: {server.cmdline()}"
    assert len(servers) == len(parents)
    for server in servers:
        with contextlib.suppress(psutil.NoSuchProcess):  # the child ends with its parent
            server.kill()
    (folder / "go-2").touch()
    (folder / "go-3").touch()
    ended = api.wait_for_run(ORPHANS, run.run_id)
    assert ended["state"] == "success", [run.why(f"wait_{number}") for number in range(COUNT)]
    return run


def test_kill_9_of_the_fork_server_gives_each_of_its_tries_one_successor(orphans: Run) -> None:
    notes = notes_in(orphans.folder)
    started = [note for note in notes if note.word == "started"]
    assert set(Counter(note.try_id for note in started).values()) == {1}
    tries = Counter((note.number, note.try_number) for note in started)
    assert tries == Counter([(number, n) for number in range(COUNT) for n in ((1, 2, 3) if number == 0 else (1, 2))])
    finished = Counter((note.number, note.try_number) for note in notes if note.word == "finished")
    assert finished == Counter([(0, 3), *((number, 2) for number in range(1, COUNT))])


def test_kill_9_of_the_fork_server_uses_up_no_retry(orphans: Run) -> None:
    one, other = orphans.instance("wait_0"), orphans.instance("wait_1")
    assert (one["try_number"], one["max_tries"]) == (3, 2)
    assert (other["try_number"], other["max_tries"]) == (2, 1)


def test_kill_9_of_the_fork_server_is_told_as_the_reason_of_the_new_try(orphans: Run) -> None:
    for number in range(COUNT):
        explained = orphans.why(f"wait_{number}")
        assert "no retry used up" in explained
        assert "the warm interpreter of this try ended" in explained


def test_kill_9_of_the_fork_server_leaves_no_process_of_its_tries(orphans: Run) -> None:
    for note in notes_in(orphans.folder):
        wait_until_gone(note.child, f"a child of try {note.try_number} of wait_{note.number}")
        assert not psutil.pid_exists(note.pid)


def test_the_log_of_each_try_after_kill_9_of_the_fork_server_is_its_own(orphans: Run) -> None:
    assert orphans.printed("wait_1", 2) == ["the last line of try 2"]
    assert orphans.printed("wait_0", 2) == ["the last line of try 2"]
    assert orphans.printed("wait_0", 3) == ["the last line of try 3"]
