"""A daemon whose API server does not answer, or refuses: it can be stopped, and says what is wrong."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from leoflowd import daemon
from leoflowd.config import Role
from leoflowd.executors import pod_launcher
from leoflowd.store.database import Database
from tests.conftest import PATIENCE_S
from tests.fakes.kube.server import FakeApiServer, Fault
from tests.integration.cluster.test_daemons import Api, World
from tests.kube.clusters import fake_cluster


@pytest.fixture
async def place(database: Database, tmp_path: Path) -> AsyncIterator[tuple[World, FakeApiServer]]:
    async with fake_cluster(tmp_path) as cluster:
        assert cluster.server is not None
        world = World(database, cluster, tmp_path)
        await world.register()
        yield world, cluster.server


async def test_an_api_server_that_never_answers_holds_up_no_shutdown(place: tuple[World, FakeApiServer]) -> None:
    """Defect 41 of the original."""
    world, server = place
    ready = trio.Event()
    server.is_silent = True

    def hear(text: str) -> None:
        if text.startswith("ready: "):
            ready.set()

    async def stop() -> None:
        await ready.wait()
        while not server.unanswered:  # noqa: ASYNC110  # until somebody waits for it
            await trio.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop)
            await daemon.run(world.config(Role.ALL), hear)


async def test_what_keeps_pods_from_being_created_is_said(
    place: tuple[World, FakeApiServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Defects 42 and 44 of the original: every launch was refused, again and again, and nobody was told."""
    world, server = place
    monkeypatch.setattr(pod_launcher, "WORTH_A_WORD_S", 0.0)
    server.faults.append(Fault(403, times=10**9, reason="Forbidden", message="pods is forbidden: wrong namespace"))
    async with world.daemon(Role.ALL) as api:
        await api.trigger()
        with trio.fail_after(PATIENCE_S):
            # another task says it; while the next attempt is under way, none waits
            while "(1 wait)" not in (said := await fault_of(api, "pods") or ""):  # noqa: ASYNC110
                await trio.sleep(0.05)
    assert said.startswith("no pod could be created for ")
    assert "(1 wait): 403 Forbidden: pods is forbidden: wrong namespace" in said


async def fault_of(api: Api, name: str) -> str | None:
    [leadership] = [one for one in (await api.get("/api/v2/leoflow/tree"))["children"] if one["name"] == "leadership"]
    return next((one["fault"] for one in leadership["children"] if one["name"] == name), None)
