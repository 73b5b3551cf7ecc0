"""Servers that fork a loader for each load, having imported what every load needs (ADR 102).

An import of the shim is nine tenths of what loading a small file costs, one of Airflow's SDK far more. For each
interpreter there are two servers, since the hashes of texts differ between interpreters only: one load of a file gets
the order of sets of one, the second that of the other. They end when nobody asks for a while, and with this process.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import selectors
import signal
import socket
import subprocess
import tempfile
import threading
from collections import OrderedDict
from pathlib import Path

LOADER = Path(__file__).parent / "loader.py"
ENVIRONMENTS = 4
"""Whose servers are kept at the same time."""
LAST_WORDS_BYTES = 4096
END_WAIT_S = 1.0


class ServerGone(Exception):
    """It does not take a load any more."""


class Server:
    """One interpreter that has imported what every load needs. Raises OSError when it cannot be started."""

    def __init__(self, python: str, shim: str, environment: dict[str, str], *, by_sdk: bool) -> None:
        self.python = python
        self._asking, theirs = socket.socketpair()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the server
        try:
            self._process = subprocess.Popen(  # noqa: S603 - running the author's interpreter is the point
                [python, "-I", str(LOADER), str(theirs.fileno()), shim, "sdk" if by_sdk else "shim"],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                pass_fds=(theirs.fileno(),),
                env=environment,
                start_new_session=True,
            )
        except OSError:
            self._asking.close()
            self._output.close()
            raise
        finally:
            theirs.close()

    def load(self, request: bytes, answer_fd: int, output_fd: int) -> Forked:
        """Fork a loader for `request`, which writes to the descriptors. Raises `ServerGone`."""
        told, theirs = os.pipe()
        try:
            with tempfile.TemporaryFile() as file:
                file.write(request)
                file.seek(0)
                socket.send_fds(self._asking, [b"l"], [file.fileno(), answer_fd, output_fd, theirs])
        except OSError as error:
            os.close(told)
            raise ServerGone from error
        finally:
            os.close(theirs)
        return Forked(self, told)

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def last_words(self) -> bytes:
        """The end of what it printed itself: why it could not begin."""
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), LAST_WORDS_BYTES, max(0, size - LAST_WORDS_BYTES))

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        """With whatever it still loads."""
        self._asking.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_WAIT_S)
        self._process.kill()
        self._process.wait()
        self._output.close()


class Forked:
    """A loader below its guard, which tells its process id first and last how the loader ended."""

    def __init__(self, server: Server, told_fd: int) -> None:
        self.server = server
        self._told_fd = told_fd
        self._told = b""
        self._is_told = False

    @property
    def pid(self) -> int | None:
        """Of the guard, who leads a session; None: it has not begun."""
        self._hear(0)
        lines = self._told.splitlines(keepends=True)
        return int(lines[0]) if lines and lines[0].endswith(b"\n") else None

    def wait(self, timeout_s: float) -> int | None:
        """The loader's exit code, negative for a signal; None: it still runs.

        A guard that was killed tells nothing; whoever never began shares the fate of the server.
        """
        self._hear(timeout_s)
        if not self._is_told:
            return None
        lines = self._told.splitlines()
        if len(lines) > 1:
            return int(lines[1])
        return -signal.SIGKILL if lines else self.server.exit_code or -signal.SIGKILL

    def terminate(self) -> None:
        """Ask the guard to end everything."""
        if self.wait(0) is None:
            if self.pid is None:
                self.server.kill()  # it is stuck in its imports
            else:
                self._send(signal.SIGTERM)

    def trace(self) -> None:
        """Ask for the place where the file is."""
        self._send(signal.SIGUSR1)

    def kill(self) -> None:
        """What is left of the session, which may be the guard."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        os.close(self._told_fd)

    def _send(self, number: int) -> None:
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _hear(self, timeout_s: float) -> None:
        """Until it has told all, for that long."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._told_fd, selectors.EVENT_READ)
            while not self._is_told and selector.select(timeout_s):
                heard = os.read(self._told_fd, 64)
                self._told += heard
                self._is_told = not heard


Key = tuple[str, str, bool, tuple[tuple[str, str], ...]]
_servers: OrderedDict[Key, tuple[Server, Server]] = OrderedDict()
"""Those of the environments asked for last, the last one at the end."""
_left: list[Server] = []
"""Those that nobody asks any more: they end by themselves."""
_lock = threading.Lock()


def servers_of(python: str, shim: str, *, by_sdk: bool) -> tuple[Server, Server]:
    """Two of an interpreter, in the environment of this moment. Raises OSError when they cannot be started."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LEOFLOW_")}
    key = (python, shim, by_sdk, tuple(sorted(environment.items())))
    with _lock:
        _reap()
        pair = _servers.pop(key, None)
        if pair is None or any(server.exit_code is not None for server in pair):
            _left.extend(pair or ())
            pair = _started(python, shim, environment, by_sdk=by_sdk)
        _servers[key] = pair
        if len(_servers) > ENVIRONMENTS:
            _left.extend(_servers.popitem(last=False)[1])
        return pair


def _started(python: str, shim: str, environment: dict[str, str], *, by_sdk: bool) -> tuple[Server, Server]:
    one = Server(python, shim, environment, by_sdk=by_sdk)
    try:
        return one, Server(python, shim, environment, by_sdk=by_sdk)
    except OSError:
        one.end()
        raise


def _reap() -> None:
    for server in [server for server in _left if server.exit_code is not None]:
        server.end()
        _left.remove(server)


@atexit.register
def end_servers() -> None:
    """All of them, at the end of this process."""
    with _lock:
        for server in (*_left, *(server for pair in _servers.values() for server in pair)):
            server.end()
        _servers.clear()
        _left.clear()
