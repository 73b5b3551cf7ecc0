"""`leoflow top`: one look at a server made of a function, as a table, as JSON, and on a screen that is typed at."""

from __future__ import annotations

import asyncio
import builtins
import threading
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from leoflowd.cli import top
from leoflowd.cli.client import Client
from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.login import Login
from leoflowd.cli.top_screen import Top
from leoflowd.cli.top_view import Delays, Look, facts, look, pool_rows, run_rows, title, wait_rows
from tests.conftest import PATIENCE_S

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
RUN = {
    "dag_id": "etl", "dag_run_id": "one", "state": "running", "run_type": "scheduled",
    "run_after": "2026-11-21T02:58:00Z", "queued_at": "2026-11-21T02:58:00Z", "start_date": "2026-11-21T02:58:01Z",
}  # fmt: skip
WAIT = {
    "dag_id": "etl", "task_id": "w", "map_index": 2, "waits_for": "http GET /ready",
    "registered_at": "2026-11-21T02:00:00Z", "next_probe_at": "2026-11-21T03:00:30Z", "due_at": None,
    "blocked_by": None,
}  # fmt: skip
POOL = {
    "name": "default_pool", "slots": 4, "running_slots": 1, "queued_slots": 2, "scheduled_slots": 0,
    "deferred_slots": 3, "open_slots": 1,
}  # fmt: skip
HEALTH: dict[str, Any] = {
    "metadatabase": {"status": "healthy"},
    "scheduler": {"status": "unhealthy", "latest_scheduler_heartbeat": "2026-11-21T02:59:57Z"},
    "triggerer": {"status": None, "latest_triggerer_heartbeat": None},
    "faults": [{"component": "store", "because": "no answer"}],
}
TRIES = [
    {"queued_when": "2026-11-21T02:58:01Z", "start_date": "2026-11-21T02:58:01.100000Z"},
    {"queued_when": "2026-11-21T02:58:01Z", "start_date": "2026-11-21T02:58:01.300000Z"},
    {"queued_when": None, "start_date": "2026-11-21T02:58:01Z"},
]
PROBES = {"probes_made": 9, "probes_failed": 1, "probes_in_flight": 2, "lateness_p99_s": 0.031}


def answer(request: httpx.Request) -> httpx.Response:
    """A server with one run, one wait and one pool."""
    bodies: dict[str, Any] = {
        "/api/v2/monitor/health": HEALTH,
        "/api/v2/dags/~/dagRuns": {"dag_runs": [RUN], "total_entries": 1},
        "/api/v2/dags/~/dagRuns/~/taskInstances": {"task_instances": TRIES, "total_entries": 3},
        "/leoflow/api/waits": {"waits": [WAIT], "total_entries": 70},
        "/api/v2/pools": {"pools": [POOL], "total_entries": 1},
        "/leoflow/api/pool": PROBES,
        "/api/v2/leoflow/explain/etl/one": {"because": ["dag run 'one' is running", "it waits"]},
    }
    return httpx.Response(200, json=bodies[request.url.path])


def client_of(handler: Callable[[httpx.Request], httpx.Response]) -> Client:
    return Client(Login("http://127.0.0.1:8088", "t"), transport=httpx.MockTransport(handler))


@pytest.fixture
def seen() -> Iterator[Look]:
    client = client_of(answer)
    yield look(client, NOW)
    client.close()


def test_a_look_has_the_facts_of_the_head(seen: Look) -> None:
    assert facts(seen) == [
        ("server", "http://127.0.0.1:8088, 03:00:00 UTC"),
        ("health", "metadatabase healthy, scheduler unhealthy"),
        ("heartbeat", "3.0 s ago"),
        ("runs late", "median 1.00 s, at most 1.00 s, of the last 1 scheduled runs"),
        ("queued to started", "median 0.20 s, at most 0.30 s, of the last 2 task instances"),
        ("probes", "9, 1 failed, 2 in flight, p99 0.031 s late"),
        ("fault", "store: no answer"),
    ]


def test_a_look_has_rows_of_runs_waits_and_pools(seen: Look) -> None:
    assert run_rows(seen) == [("etl", "one", "running", "scheduled", "1 min 59 s")]
    assert wait_rows(seen) == [("etl", "w[2]", "http GET /ready", "1 h 00 min", "in 30.0 s", "")]
    assert pool_rows(seen) == [("default_pool", "4", "1", "2", "0", "3", "1")]
    assert (title("Runs", 1, seen.runs), title("Waits", 70, seen.waits)) == ("Runs: 1", "Waits: 70, 1 shown")


def test_what_began_is_asked_for_of_the_last_hour_only() -> None:
    asked: list[httpx.URL] = []
    client = client_of(lambda request: asked.append(request.url) or answer(request))
    look(client, NOW)
    client.close()
    since = {url.path: url.params.get("start_date_gte") for url in asked if "start_date_gte" in url.params}
    assert set(since.values()) == {"2026-11-21T02:00:00+00:00"}
    assert len(since) == 2


def test_a_server_where_nothing_happens_is_told_of_too() -> None:
    empty = {"dag_runs": [], "task_instances": [], "waits": [], "pools": [], "total_entries": 0}
    silent = HEALTH | {"scheduler": {"status": "unhealthy", "latest_scheduler_heartbeat": None}, "faults": []}

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/leoflow/api/pool":
            return httpx.Response(409, json={"detail": "no share of the pool"})
        return httpx.Response(200, json=silent if "health" in request.url.path else empty)

    client = client_of(handler)
    found = look(client, NOW)
    client.close()
    assert found.late == Delays(count=0, median_s=None, max_s=None)
    assert [what for what, _ in facts(found)] == ["server", "health", "heartbeat", "runs late", "queued to started"]
    assert facts(found)[2:4] == [("heartbeat", "none"), ("runs late", "nothing began in the last hour")]


def test_once_is_printed_and_as_json_it_is_one_document(leoflow, server) -> None:
    server(answer)
    printed = leoflow("top", "--once")
    assert printed.code == 0
    told = [" ".join(line.split()) for line in printed.out.splitlines()]
    assert {"default_pool 4 1 2 0 3 1", "Waits: 70, 1 shown", "Pools: 1"} <= set(told)
    assert leoflow("top", "-o", "json").document["runs"] == [RUN]


def test_without_a_terminal_it_says_how_to_print(leoflow, server) -> None:
    server(answer)
    result = leoflow("top")
    assert (result.code, "--once" in result.err) == (ExitCode.USAGE, True)


def test_without_textual_it_says_what_to_install(leoflow, server, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name == "leoflowd.cli.top_screen":
            raise ModuleNotFoundError("No module named 'textual'", name="textual")
        return real(name, *arguments)

    server(answer)
    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    result = leoflow("top")
    assert (result.code, "pip install 'leoflow[top]'" in result.err) == (ExitCode.NOT_READY, True)


# --- the screen --------------------------------------------------------------------------------------------------


def on_screen(app: Top, scenario: Callable[[Pilot[None]], Awaitable[None]], *, is_answered: bool = True) -> None:
    """`is_answered`: the first look is over before the scenario begins."""

    async def run() -> None:
        async with asyncio.timeout(PATIENCE_S), app.run_test(size=(120, 50)) as pilot:
            if is_answered:
                await settled(pilot)
            await scenario(pilot)

    asyncio.run(run())


def text(app: Top, which: str) -> str:
    return str(app.query_one(f"#{which}", Static).render())


async def settled(pilot: Pilot[None]) -> None:
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


def test_the_screen_shows_a_look_and_explains_the_run_that_is_chosen(seen: Look) -> None:
    asked: list[tuple[str, str]] = []

    def explain(dag_id: str, run_id: str) -> list[str]:
        asked.append((dag_id, run_id))
        return ["it is running", "it waits"]

    app = Top(lambda: seen, explain, every_s=3600)

    async def scenario(pilot: Pilot[None]) -> None:
        runs = app.query_one("#runs", DataTable)
        assert [str(cell) for cell in runs.get_row_at(0)] == list(run_rows(seen)[0])
        assert "Waits: 70, 1 shown" in text(app, "waits-title")
        assert "3.0 s ago" in text(app, "facts")
        await pilot.press("enter")
        await settled(pilot)
        assert asked == [("etl", "one")]
        assert "- it waits" in text(app, "because")
        assert app.query_one("#because").display
        await pilot.press("escape")
        assert not app.query_one("#because").display
        await pilot.press("q")

    on_screen(app, scenario)
    assert not app.is_running


def test_a_look_that_fails_is_told_and_the_last_one_stays(seen: Look) -> None:
    looks = iter([seen])

    def next_look() -> Look:
        if (found := next(looks, None)) is None:
            raise CommandFailed(ExitCode.UNREACHABLE, "cannot reach the server")
        return found

    app = Top(next_look, lambda *_: [], every_s=3600)

    async def scenario(pilot: Pilot[None]) -> None:
        await pilot.press("r")
        await settled(pilot)
        assert "cannot reach the server" in text(app, "problem")
        assert app.query_one("#runs", DataTable).row_count == 1

    on_screen(app, scenario)


def test_it_looks_again_by_itself_until_it_is_paused(seen: Look) -> None:
    looks: list[None] = []

    def counting() -> Look:
        looks.append(None)
        return seen

    app = Top(counting, lambda *_: [], every_s=0.02)

    async def scenario(pilot: Pilot[None]) -> None:
        while len(looks) < 3:
            await pilot.pause()
        await pilot.press("space")
        await settled(pilot)
        before = len(looks)
        assert "paused" in text(app, "problem")
        await pilot.press("r")
        await settled(pilot)
        assert len(looks) == before + 1, "but for what is asked for"

    on_screen(app, scenario)


def test_a_slow_server_is_looked_at_once_at_a_time(seen: Look) -> None:
    looks, may_answer = [], threading.Event()

    def slow() -> Look:
        looks.append(None)
        assert may_answer.wait(PATIENCE_S)
        return seen

    app = Top(slow, lambda *_: [], every_s=3600)

    async def scenario(pilot: Pilot[None]) -> None:
        await pilot.press("r", "r", "r")
        assert len(looks) == 1
        may_answer.set()
        await settled(pilot)
        assert app.query_one("#runs", DataTable).row_count == 1
        await pilot.press("r")
        await settled(pilot)
        assert len(looks) == 2

    on_screen(app, scenario, is_answered=False)


def test_what_a_server_says_cannot_style_the_screen(seen: Look) -> None:
    """Square brackets are markup to Textual, escapes are orders to a terminal."""
    odd = Look(
        **{
            **{name: getattr(seen, name) for name in seen.__struct_fields__},
            "runs": ({**RUN, "dag_id": "[red]x\x1b[2J"},),
        }
    )
    app = Top(lambda: odd, lambda *_: ["[bold]why[/bold]"], every_s=3600)

    async def scenario(pilot: Pilot[None]) -> None:
        assert str(app.query_one("#runs", DataTable).get_row_at(0)[0]) == "[red]x"
        await pilot.press("enter")
        await settled(pilot)
        assert "[bold]why[/bold]" in text(app, "because")

    on_screen(app, scenario)


def test_the_command_hands_the_screen_what_asks_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of(answer)
    assert top._look(client).runs == (RUN,)
    assert top._explain(client, "etl", "one") == ["dag run 'one' is running", "it waits"]
    client.close()
    odd = client_of(lambda request: httpx.Response(200, json={}))
    with pytest.raises(CommandFailed, match="a form that this release does not know"):
        top._look(odd)
    odd.close()
