"""A real `leoflow lite` process and an HTTP client for it, for load tests and end-to-end tests.

Used by `loadtests/*.py`, `tests/e2e` and `tests/compat`. Talks to Lite the way a user does: the command line, the line
`ready: http://...`, HTTP. It imports nothing of the product, and ends only processes that it can prove to be its own.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
import psutil

T = TypeVar("T")

PATIENCE = 4.0
"""Deadlines are there for what hangs, never for what is slow: each is this many times what an idle machine may need."""

USERNAME = "admin"
PASSWORD = "e2e-Only-Password-7"  # noqa: S105 - of throw-away installations on loopback
READY_WITHIN_S = 180.0
"""A first start may download the UI and the default task environment."""
STOP_WITHIN_S = 30.0 * PATIENCE
CALL_WITHIN_S = 30.0 * PATIENCE
POLL_S = 0.05
PORTS = range(10_000, 30_000)
READY_LINE = re.compile(r"^ready: (http://127\.0\.0\.1:\d+)/?\s*$", re.MULTILINE)
MARK = "LEOFLOW_E2E_MARK"
"""Environment variable by which descendants are found again; its value is the data folder of their Lite."""
FINISHED_RUN = ("success", "failed")


class LiteError(Exception):
    """Lite did not do what was asked; the message carries the end of its output."""


def wait_until(look: Callable[[], T | None], *, within_s: float, what: str) -> T:
    """Poll until `look` answers something true: foreign processes offer nothing to wait on."""
    within_s *= PATIENCE
    deadline = time.monotonic() + within_s
    while True:
        if found := look():
            return found
        if time.monotonic() > deadline:
            raise LiteError(f"waited {within_s:.0f} s in vain for {what}")
        time.sleep(POLL_S)


class Lite:
    """One `leoflow lite`: started, killed, started again on the same folders. Use as a context manager."""

    def __init__(
        self, *, workspace: Path, data_dir: Path, env: dict[str, str] | None = None, code: Path | None = None
    ) -> None:
        """`code`: a checkout of another release, which runs with the packages that are installed here."""
        self.workspace = workspace
        self.data_dir = data_dir
        self.code = code
        self.url = ""
        self._env = env or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0
        self._port = 0
        self._seen: dict[int, float] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    @property
    def pid(self) -> int:
        assert self._process is not None, "Lite was not started"
        return self._process.pid

    @property
    def output_path(self) -> Path:
        return self.data_dir.parent / f"{self.data_dir.name}.output-{self._starts}.txt"

    def start(self, **env: str) -> None:
        """Start and wait for the ready line; a second start uses the first one's port. `env`: for this start only."""
        self._starts += 1
        self._port = self._port or free_port()
        self.data_dir.mkdir(parents=True, exist_ok=True)
        command = [str(Path(sys.executable).parent / "leoflow"), "lite", "--workspace", str(self.workspace)]
        command += ["--port", str(self._port), "--data-dir", str(self.data_dir)]
        # npm is not asked for what only the editor and the pages of the API need; `env` may name a folder that has it
        own = {"LEOFLOW_ADMIN_PASSWORD": PASSWORD, "LEOFLOW_NPM_TARBALLS": str(self.data_dir), MARK: str(self.data_dir)}
        env = {**os.environ, **own, **self._env, **env}
        if self.code is not None:
            env["PYTHONPATH"] = os.pathsep.join(str(self.code / folder) for folder in ("", "agent", "sensors"))
        with self.output_path.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
            )
        self.url = wait_until(self._ready_url, within_s=READY_WITHIN_S, what=f"the ready line of {self.output_path}")

    def _ready_url(self) -> str | None:
        assert self._process is not None
        if match := READY_LINE.search(self.output()):
            return match.group(1)
        if (code := self._process.poll()) is not None:
            raise LiteError(f"leoflow lite ended with exit code {code} before it was ready:\n{self.output()[-4000:]}")
        return None

    def output(self) -> str:
        return self.output_path.read_text(errors="replace")

    def api(self) -> Api:
        """A logged-in client."""
        return Api(self.url)

    def interrupt(self) -> int:
        """Ctrl-C as a terminal sends it, to the whole process group; answers the exit code."""
        assert self._process is not None
        self.processes()
        os.killpg(self._process.pid, signal.SIGINT)
        try:
            return self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            told = self.output()[-4000:]
            raise LiteError(f"leoflow lite did not stop within {STOP_WITHIN_S:.0f} s of SIGINT:\n{told}") from None

    def kill_daemon(self) -> None:
        """`kill -9` of the process that the user started, and of nothing else."""
        assert self._process is not None
        self.processes()
        self._process.kill()
        self._process.wait(STOP_WITHIN_S)

    def terminate(self) -> int:
        """As a service manager does; answers the exit code."""
        assert self._process is not None
        self.processes()
        self._process.terminate()
        return self._process.wait(STOP_WITHIN_S)

    @property
    def is_up(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def send(self, number: int) -> None:
        """A signal to the process that the user started, and to nothing else."""
        assert self._process is not None
        self._process.send_signal(number)

    def ensure_running(self) -> None:
        """After something under it was killed: Lite mends itself, or it ended with an error and is started again."""
        assert self._process is not None

        def settled() -> bool:
            assert self._process is not None
            return self._process.poll() is not None or self._answers()

        wait_until(settled, within_s=STOP_WITHIN_S, what="Lite to answer again or to end")
        if self._process.poll() is not None:
            self.start()

    def _answers(self) -> bool:
        try:
            with self.api() as api:
                api.call("GET", "/dags")
        except (LiteError, httpx.HTTPError):
            return False
        return True

    def postmaster(self) -> psutil.Process:
        """The embedded Postgres' first process."""
        candidates = [p for p in self.processes() if p.name() == "postgres"]
        roots = [p for p in candidates if p.ppid() not in {c.pid for c in candidates}]
        if len(roots) != 1:
            raise LiteError(f"expected one postmaster of {self.data_dir}, found {roots}")
        return roots[0]

    def processes(self) -> list[psutil.Process]:
        """Every live process of this installation, wherever it hangs in the process tree."""
        if self._process is not None and self._process.poll() is None:
            for child in psutil.Process(self._process.pid).children(recursive=True):
                self._remember(child)
        for process in psutil.process_iter():
            if _belongs(process, str(self.data_dir)):
                self._remember(process)
        return [p for p in map(_alive, self._seen.items()) if p is not None and p.pid != os.getpid()]

    def _remember(self, process: psutil.Process) -> None:
        try:
            self._seen[process.pid] = process.create_time()
        except psutil.NoSuchProcess:
            return

    def leftovers(self) -> list[str]:
        """Command lines of what still lives; empty after a clean stop."""
        return [f"{p.pid} {p.name()} {' '.join(p.cmdline())}" for p in self.processes()]

    def end(self) -> None:
        """Leave nothing behind, in whatever state it is; for `finally` blocks, so it raises nothing."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(STOP_WITHIN_S)
        for process in self.processes():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue


def free_port() -> int:
    """A TCP port of loopback that nobody listens on now; below those that the kernel gives to whoever connects."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _belongs(process: psutil.Process, data_dir: str) -> bool:
    try:
        if process.environ().get(MARK) == data_dir or any(data_dir in part for part in process.cmdline()):
            return process.status() != psutil.STATUS_ZOMBIE
        return process.cwd().startswith(data_dir)
    except (psutil.Error, OSError):
        return False


def _alive(seen: tuple[int, float]) -> psutil.Process | None:
    pid, created = seen
    try:
        process = psutil.Process(pid)
        is_same = process.create_time() == created and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if is_same else None


class Api:
    """Airflow's REST API, as far as the tests need it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=CALL_WITHIN_S, trust_env=False)
        try:
            self._log_in()
        except BaseException:
            self.http.close()
            raise

    def _log_in(self) -> None:
        answer = self.http.post("/auth/token", json={"username": USERNAME, "password": PASSWORD})
        if answer.status_code != httpx.codes.CREATED:
            raise LiteError(f"POST /auth/token answered {answer.status_code}: {answer.text[:500]}")
        self.http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        """One call under /api/v2; an error answer raises with its text."""
        answer = self.http.request(method, f"/api/v2{path}", **arguments)
        if answer.is_error:
            raise LiteError(f"{method} {path} answered {answer.status_code}: {answer.text[:1000]}")
        return answer.json() if answer.content else None

    def wait_for_dags(self, *dag_ids: str, within_s: float = 120.0) -> None:
        """Until the workspace watcher registered them all; an import error of one of their folders ends the wait.

        Another folder may be broken meanwhile: its text is told only when the wait was in vain.
        """
        told: dict[str, str] = {}

        def all_there() -> bool:
            missing = set(dag_ids) - {dag["dag_id"] for dag in self.call("GET", "/dags", params={"limit": 100})["dags"]}
            errors = self.call("GET", "/importErrors", params={"limit": 100})["import_errors"]
            told.clear()
            told.update((error["filename"], error["stack_trace"]) for error in errors)
            for filename, trace in told.items():
                if filename.partition("/")[0] in missing:
                    raise LiteError(f"DAGs {sorted(missing)} are missing; {filename}: {trace}")
            return not missing

        try:
            wait_until(all_there, within_s=within_s, what=f"DAGs {', '.join(dag_ids)}")
        except LiteError as error:
            for filename, trace in told.items():
                error.add_note(f"import error of {filename}: {trace}")
            raise

    def unpause(self, *dag_ids: str) -> None:
        for dag_id in dag_ids:
            self.call("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def trigger(self, dag_id: str, *, conf: dict[str, Any] | None = None, logical_date: str | None = None) -> str:
        """Create a manual run and return its run id."""
        body = {"logical_date": logical_date, "conf": conf or {}}
        return str(self.call("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.call("GET", f"/dags/{dag_id}/dagRuns/{_segment(run_id)}")
        return answer

    def wait_for_run(self, dag_id: str, run_id: str, *, within_s: float = 120.0) -> dict[str, Any]:
        """Until the run ended, well or badly."""

        def ended() -> dict[str, Any] | None:
            run = self.run(dag_id, run_id)
            return run if run["state"] in FINISHED_RUN else None

        return wait_until(ended, within_s=within_s, what=f"run {run_id} of {dag_id}")

    def task_instances(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        """All task instances of a run by task id; those of a mapped task as `task_id[map_index]`."""
        found: dict[str, dict[str, Any]] = {}
        while True:
            page = self.call(
                "GET",
                f"/dags/{dag_id}/dagRuns/{_segment(run_id)}/taskInstances",
                params={"limit": 100, "offset": len(found)},
            )
            found |= {_named(instance): instance for instance in page["task_instances"]}
            if len(found) >= page["total_entries"] or not page["task_instances"]:
                return found

    def states(self, dag_id: str, run_id: str) -> dict[str, str | None]:
        return {task_id: instance["state"] for task_id, instance in self.task_instances(dag_id, run_id).items()}

    def xcoms(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        """Every XCom of a run: task id -> key -> value; those of a mapped task as in `task_instances`."""
        found: dict[str, dict[str, Any]] = {}
        for name, instance in self.task_instances(dag_id, run_id).items():
            task_id, map_index = instance["task_id"], instance["map_index"]
            base = f"/dags/{dag_id}/dagRuns/{_segment(run_id)}/taskInstances/{_segment(task_id)}/xcomEntries"
            for entry in self.call("GET", base, params={"limit": 100, "map_index": map_index})["xcom_entries"]:
                params = {"stringify": "false", "map_index": map_index}
                one = self.call("GET", f"{base}/{_segment(entry['key'])}", params=params)
                found.setdefault(name, {})[entry["key"]] = one["value"]
        return found

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1) -> str:
        """The log's events, one a line."""
        path = f"/dags/{dag_id}/dagRuns/{_segment(run_id)}/taskInstances/{_segment(task_id)}/logs/{try_number}"
        answer = self.call("GET", path, params={"map_index": -1}, headers={"Accept": "application/json"})
        return "\n".join(
            str(message["event"] if isinstance(message, dict) else message) for message in answer["content"]
        )


def _named(instance: dict[str, Any]) -> str:
    task_id, map_index = instance["task_id"], instance["map_index"]
    return str(task_id) if map_index < 0 else f"{task_id}[{map_index}]"


def _segment(text: str) -> str:
    return quote(text, safe="")


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A folder for one installation. Open to others for reading: under root, Lite's Postgres runs as another user."""
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
