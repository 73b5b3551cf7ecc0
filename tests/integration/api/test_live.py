"""Answers that are followed: what is sent, with whose rights, how many, and when they end. And the schedule's lag."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import trio
from quart_trio import QuartTrio

from leoflowd.api import auth, live
from leoflowd.api.app import create_app
from leoflowd.api.context import ApiContext
from leoflowd.contract.dag_spec import DagSpec, TaskSpec
from leoflowd.store.dags import register_dag
from tests.conftest import PATIENCE_S
from tests.fakes.fake_pool import FakePool
from tests.integration.api.api_client import START, Client
from tests.integration.api.api_seed import DAG, OPEN
from tests.integration.api.people import somebody_with

LAG = "/leoflow/api/lag"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks follow each other, and so do looks at the session."""
    monkeypatch.setattr(live, "EVERY_S", 0)
    monkeypatch.setattr(auth, "LOOK_AGAIN_S", 0)


class Stream:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def event(self) -> tuple[str, Any]:
        """The next one's name and data; raises when the stream has ended."""
        while True:
            lines = (await self._connection.receive()).decode().strip().splitlines()
            fields = dict(line.split(": ", 1) for line in lines if not line.startswith(":"))
            if "data" in fields:
                return fields.get("event", "message"), msgspec.json.decode(fields["data"])

    async def until_it_ends(self) -> None:
        with pytest.raises(trio.EndOfChannel):
            while True:
                await self._connection.receive()


@asynccontextmanager
async def followed(client: Client, path: str) -> AsyncIterator[Stream]:
    headers = {"Host": "localhost", "Authorization": f"Bearer {client.token}", "Accept": "text/event-stream"}
    with trio.fail_after(PATIENCE_S), trio.CancelScope() as visit:
        async with client.app.test_client().request(path, headers=headers) as connection:
            await connection.send_complete()
            yield Stream(connection)
            visit.cancel()


def open_streams(app: QuartTrio) -> int:
    return sum(app.config["LEOFLOW_STREAMS"].values())


async def put_late_dags(context: ApiContext, *dag_ids: str) -> None:
    """Their next runs were due a minute before now."""
    async with context.db.api.transaction() as conn:
        for dag_id in dag_ids:
            spec = DagSpec(dag_id=dag_id, tasks=(TaskSpec(task_id="a", operator="EmptyOperator"),))
            await register_dag(conn, spec, now=START, fileloc="/f", relative_fileloc="f")
            due = {"at": context.now() - timedelta(minutes=1), "dag_id": dag_id}
            await conn.execute("UPDATE dag SET next_run_after = %(at)s WHERE dag_id = %(dag_id)s", due)


async def test_an_answer_is_sent_again_when_it_has_changed(seeded: Client, api_context: ApiContext) -> None:
    async with followed(seeded, LAG) as stream:
        _, first = await stream.event()
        await put_late_dags(api_context, "late")
        name, second = await stream.event()
    assert name == "message"
    assert first["behind"] == []
    assert second == {**first, "behind": second["behind"]}
    assert [(row["dag_id"], row["because"]) for row in second["behind"]] == [("late", "the scheduler is late")]


async def test_the_first_event_is_the_answer_that_a_get_has(seeded: Client) -> None:
    for path in (
        LAG,
        "/api/v2/leoflow/tree",
        "/leoflow/api/workspace",
        f"/api/v2/leoflow/explain/{DAG}",
        f"/api/v2/leoflow/explain/{DAG}/{OPEN}",
        f"/api/v2/leoflow/explain/{DAG}/{OPEN}/load",
    ):
        async with followed(seeded, path) as stream:
            assert (await stream.event())[1] == await seeded.get(path), path


async def test_a_refusal_is_an_answer_like_any_other(seeded: Client, anonymous: Client) -> None:
    events = {"Accept": "text/event-stream"}
    assert (await seeded.call("GET", "/api/v2/leoflow/explain/nobody", headers=events)).status_code == 404
    assert (await anonymous.call("GET", LAG, headers=events)).status_code == 401


async def test_what_is_gone_meanwhile_is_a_problem_and_the_stream_goes_on(
    seeded: Client, api_context: ApiContext
) -> None:
    await put_late_dags(api_context, "late")
    async with followed(seeded, "/api/v2/leoflow/explain/late") as stream:
        await stream.event()
        async with api_context.db.api.transaction() as conn:
            await conn.execute("DELETE FROM dag WHERE dag_id = 'late'")
        name, problem = await stream.event()
        assert name == "problem"
        assert "late" in problem["detail"]
        await put_late_dags(api_context, "late")
        assert (await stream.event())[0] == "message"


async def test_a_stream_ends_with_its_session(seeded: Client) -> None:
    async with followed(seeded, LAG) as stream:
        await stream.event()
        await seeded.send("DELETE", "/leoflow/api/session", status=204)
        await stream.until_it_ends()


async def test_what_a_reader_may_not_see_any_more_is_not_sent(
    seeded: Client, api_context: ApiContext, app: QuartTrio
) -> None:
    await put_late_dags(api_context, "mine", "theirs")
    reader = await somebody_with(app, api_context.db, {"read": "dag:mine"})
    async with followed(reader, LAG) as stream:
        _, before = await stream.event()
        grants = {"grants": [{"rights": "read", "dags": "dag:theirs"}]}
        await seeded.send("PUT", "/leoflow/api/roles/role of ana", grants)
        _, after = await stream.event()
    assert [row["dag_id"] for row in before["behind"]] == ["mine"]
    assert [row["dag_id"] for row in after["behind"]] == ["theirs"]


@pytest.mark.parametrize("limit", ["STREAMS_MAX", "STREAMS_OF_A_SESSION_MAX"])
async def test_streams_are_bounded_and_one_that_is_left_makes_room(
    seeded: Client, app: QuartTrio, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(live, limit, 1)
    async with followed(seeded, LAG) as stream:
        await stream.event()
        refused = await seeded.call("GET", LAG, headers={"Accept": "text/event-stream"})
        assert refused.status_code == 429
        assert refused.headers["Retry-After"] == "5"
        assert (await seeded.call("GET", LAG)).status_code == 200
    assert open_streams(app) == 0
    async with followed(seeded, LAG) as stream:
        await stream.event()


async def test_the_page_of_waits_has_all_its_parts_in_one_answer(seeded: Client, api_context: ApiContext) -> None:
    overview = "/leoflow/api/overview"
    bare = await seeded.get(f"{overview}?dag_id=nobody")
    assert bare["waits"] == {"waits": [], "total_entries": 0}
    assert "detail" in bare["pool"]  # this daemon has none
    with_pool = Client(create_app(dataclasses.replace(api_context, pool=FakePool())), token=seeded.token)
    full = await with_pool.get(f"{overview}?limit=2&wait_id=00000000-0000-0000-0000-000000000000")
    assert full["pool"].keys() > {"at", "waits", "lateness_p50_s"}
    assert full["watchers"] == await with_pool.get("/leoflow/api/watchers")
    assert full["wait"]["detail"].startswith("There is no wait")


async def test_the_lag_of_runs_and_tries_is_measured_from_their_rows(seeded: Client, api_context: ApiContext) -> None:
    async with api_context.db.api.transaction() as conn:
        await conn.execute("UPDATE dag_run SET run_type = 'scheduled', queued_at = run_after + interval '3 s'")
        await conn.execute("UPDATE dag SET created_at = created_at - interval '36 h'")  # after the oldest run was due
        await conn.execute(
            "UPDATE task_instance SET queued_at = start_date - interval '2 s' WHERE start_date IS NOT NULL"
        )
    lag = await seeded.get(LAG)
    assert lag["runs"] == 2
    assert (lag["runs_p50_s"], lag["runs_p95_s"]) == (3.0, 3.0)
    assert lag["starts"] > 0
    assert (lag["starts_p50_s"], lag["starts_p95_s"]) == (2.0, 2.0)
    assert lag["waits"] is None


async def test_a_dag_whose_runs_are_as_many_as_it_may_have_is_behind_for_that(
    seeded: Client, api_context: ApiContext
) -> None:
    async with api_context.db.api.transaction() as conn:
        due = {"at": api_context.now() - timedelta(minutes=1), "dag_id": DAG}
        await conn.execute("UPDATE dag SET next_run_after = %(at)s, max_active_runs = 1 WHERE dag_id = %(dag_id)s", due)
    (row,) = (await seeded.get(LAG))["behind"]
    assert row["because"] == "1 run is active, as many as it may have"
    async with api_context.db.api.transaction() as conn:
        await conn.execute("UPDATE dag SET is_paused = true")
    assert (await seeded.get(LAG))["behind"] == []
