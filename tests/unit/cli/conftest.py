"""`leoflow` called in this process, with its own home, no environment of ours, and a server made of a function."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from leoflowd.cli.client import Client
from leoflowd.cli.login import resolve
from leoflowd.cli.main import main

Handler = Callable[[httpx.Request], httpx.Response]


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        return json.loads(self.err)["error"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("LEOFLOW_SERVER", "LEOFLOW_TOKEN", "LEOFLOW_PASSWORD", "LEOFLOW_USERNAME", "LEOFLOW_ADMIN_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LEOFLOW_CONFIG", str(tmp_path / "home" / "config.yaml"))
    return tmp_path / "home"


@pytest.fixture
def leoflow(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    def call(*arguments: str) -> Result:
        capsys.readouterr()
        code = main(arguments)
        printed = capsys.readouterr()
        return Result(int(code), printed.out, printed.err)

    return call


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Callable[[Handler], list[httpx.Request]]:
    """`requests = server(handler)`: every call goes to the handler; the requests are kept."""

    def install(handler: Handler) -> list[httpx.Request]:
        requests: list[httpx.Request] = []

        def keep(request: httpx.Request) -> httpx.Response:
            requests.append(request)
            return handler(request)

        @contextmanager
        def open_client(url: str | None, token: str | None) -> Iterator[Client]:
            client = Client(resolve(url, token), transport=httpx.MockTransport(keep))
            yield client
            client.close()

        monkeypatch.setattr("leoflowd.cli.client.open_client", open_client)
        return requests

    return install
