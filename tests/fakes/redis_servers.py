"""Real servers that a Redis client is led to in other ways than by one plain address: TLS, Sentinel.

Valkey comes with the tests' packages, and is its own sentinel. It is built without TLS, which Debian's `redis-server`
(or a `valkey-server` of the system) speaks.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.fakes.certificates import self_signed
from tests.fakes.valkey import free_port

PASSWORD = "open sesame"
IN_URL = "open%20sesame"
MASTER = "of-tests"
QUICK = (
    "sentinel down-after-milliseconds {} 500",
    "sentinel failover-timeout {} 3000",
    "sentinel resolve-hostnames yes",
)


class Server:
    """One process; `said` are the lines until it was ready."""

    def __init__(self, program: Path | str, folder: Path, lines: list[str], *more: str) -> None:
        folder.mkdir()
        config = folder / "server.conf"
        config.write_text("\n".join(["bind 127.0.0.1", 'save ""', "daemonize no", *lines]) + "\n")
        self._process = subprocess.Popen([program, config, *more], cwd=folder, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:
            said.append(line)
            if "Ready to accept connections" in line or "Sentinel ID is" in line:
                return
        self.kill()
        raise AssertionError("".join(said))

    def kill(self) -> None:
        """Twice is once."""
        if self._process.poll() is not None:
            return
        self._process.kill()
        self._process.communicate()


def with_tls() -> str:
    """A server program of the system, which neither the tests nor CI install: Debian's starts a server with itself."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        pytest.skip("missing on this machine: a Redis that speaks TLS; apt-get install redis-server")
    return found


def tls_lines(folder: Path, port: int) -> list[str]:
    """For a server at this port that speaks TLS alone; `ca.pem` in the folder is what its clients are to trust."""
    if not (folder / "ca.pem").exists():  # of its neighbours'
        _, ca = self_signed(folder)
        (folder / "ca.pem").write_text(ca)
    key = folder / "server.pem"
    return [
        "port 0", f"tls-port {port}", "tls-auth-clients no", "tls-replication yes",
        f"tls-cert-file {key}", f"tls-key-file {key}", f"tls-ca-cert-file {folder}/ca.pem",
    ]  # fmt: skip


@contextmanager
def running(*servers: Server) -> Iterator[None]:
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.kill)
        yield


@contextmanager
def watched(program: Path | str, folder: Path, *, speaks_tls: bool = False) -> Iterator[tuple[int, list[Server]]]:
    """A master, a replica and a sentinel: the sentinel's port; the servers in this order, the master first."""
    ports = [free_port() for _ in range(3)]
    auth = [f'requirepass "{PASSWORD}"', f'masterauth "{PASSWORD}"']

    def at(port: int) -> list[str]:
        return tls_lines(folder, port) if speaks_tls else [f"port {port}"]

    with ExitStack() as stack:
        servers = []

        def start(name: str, lines: list[str], *more: str) -> None:
            servers.append(Server(program, folder / name, lines, *more))
            stack.callback(servers[-1].kill)

        start("master", [*at(ports[0]), *auth])
        start("replica", [*at(ports[1]), *auth, f"replicaof 127.0.0.1 {ports[0]}"])
        start(
            "sentinel",
            [
                *at(ports[2]), f"sentinel monitor {MASTER} 127.0.0.1 {ports[0]} 1",
                f'sentinel auth-pass {MASTER} "{PASSWORD}"', *(line.format(MASTER) for line in QUICK),
            ],
            "--sentinel",
        )  # fmt: skip
        yield ports[2], servers
