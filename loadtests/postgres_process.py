"""A Postgres that daemons share and none of them owns: a load test stops or kills it, and starts it again."""

from __future__ import annotations

import signal
import threading
from contextlib import suppress
from pathlib import Path

import psutil
import trio

from leoflowd.contract.errors import StoreUnavailable
from leoflowd.lite import postgres


class PostgresServer:
    """Lite's embedded server in a thread of ours. `start` after `stop` goes on with the same data."""

    def __init__(self, folder: Path) -> None:
        postgres.SETTINGS["max_connections"] = "120"
        self.paths = postgres.paths_for(folder)
        self._folder = folder
        self._thread: threading.Thread | None = None
        self._scope = trio.CancelScope()
        self._token: trio.lowlevel.TrioToken | None = None
        self._ready = threading.Event()
        self._pid = 0

    def start(self) -> None:
        self._scope, self._ready = trio.CancelScope(), threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._serve,), daemon=True)
        self._thread.start()
        if not self._ready.wait(postgres.START_TIMEOUT_S):
            raise RuntimeError(f"Postgres does not start; see {self.paths.log}")

    def stop(self) -> None:
        """Asked to end: connections are cut, what is committed is on disk."""
        assert self._token is not None
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._scope.cancel)
        self._join()

    def kill(self) -> None:
        """All of its processes at once, as with the machine: it recovers at the next start."""
        postmaster = psutil.Process(self._pid)
        for process in (postmaster, *postmaster.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        self._join()

    def cpu_s(self) -> float:
        """What all of its processes have used so far, those that ended since included."""
        postmaster = psutil.Process(self._pid)
        total = 0.0
        for process in (postmaster, *postmaster.children()):
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        ended = postmaster.cpu_times()
        return total + ended.children_user + ended.children_system

    def _join(self) -> None:
        assert self._thread is not None
        self._thread.join()
        self._thread = None

    async def _serve(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        server = postgres.EmbeddedPostgres(self._folder)
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    await nursery.start(server.run)
                    self._pid = int(str(server.statistics()["pid"]))
                    self._ready.set()
        except* StoreUnavailable:
            pass  # it was killed
