"""Where the links that tasks make lead to: Lite tells its agent."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
import trio

from leoflowd.cli import lite

NAME = "AIRFLOW__API__BASE_URL"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("::1", "http://[::1]:8080"),
        ("0.0.0.0", "http://localhost:8080"),
        ("::", "http://localhost:8080"),
    ],
)
def test_tasks_get_the_address_that_a_browser_uses(monkeypatch: pytest.MonkeyPatch, host: str, url: str) -> None:
    monkeypatch.delenv(NAME, raising=False)
    assert _as_the_daemon_sees_it(monkeypatch, host) == url


def test_an_address_that_somebody_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "https://flow.example.com")
    assert _as_the_daemon_sees_it(monkeypatch, "127.0.0.1") == "https://flow.example.com"


def _as_the_daemon_sees_it(monkeypatch: pytest.MonkeyPatch, host: str) -> str | None:
    seen: list[str | None] = []
    monkeypatch.setattr(trio, "run", lambda *_: seen.append(os.environ.get(NAME)))
    # What is set in the environment is to be gone after the test.
    monkeypatch.setattr(os, "environ", dict(os.environ))
    lite._run_daemon(SimpleNamespace(host=host, port=8080))  # type: ignore[arg-type]
    return seen[0]
