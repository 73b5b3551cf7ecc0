"""The span of each pod in the trace of its dag run, whoever leads when it ends. ADR 97."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio

from leoflowd.config import Role
from leoflowd.contract.otel_settings import OtelSettings
from leoflowd.store.database import Database
from tests.conftest import PATIENCE_S
from tests.fakes.otlp_receiver import received, receiving
from tests.integration.cluster.test_daemons import World
from tests.kube.clusters import fake_cluster


async def spans_of_pods(file: Path, count: int) -> list[dict[str, Any]]:
    with trio.fail_after(PATIENCE_S):
        while len(found := [one for one in received(file) if one["name"] == "pod"]) < count:  # noqa: ASYNC110
            await trio.sleep(0.05)
    return found


async def test_each_pod_is_a_span_below_its_try_also_when_another_daemon_leads_at_its_end(
    database: Database, tmp_path: Path
) -> None:
    file = tmp_path / "spans"
    with receiving(file) as url:
        async with fake_cluster(tmp_path) as cluster:
            world = World(database, cluster, tmp_path)
            world.changes = {"traces": OtelSettings(url=f"{url}/v1/traces", delay_s=0.05)}
            await world.register()
            async with world.daemon(Role.ALL) as api:
                run_id = await api.trigger()
                first = await world.next_pod("first")
            async with world.daemon(Role.ALL) as api:  # which adopts it
                await world.succeed(first)
                second = await world.next_pod("second")
                await world.kubelet.remove(second)
                again = await world.next_pod("second")
                await world.succeed(again)
                assert await api.wait_for_run(run_id) == "success"
                pods = await spans_of_pods(file, 3)
        found = received(file)
    assert {one["attributes"]["k8s.pod.name"]: one["attributes"]["leoflow.pod.end"] for one in pods} == {
        first: "reported",
        second: "deleted",
        again: "reported",
    }
    assert {one["trace"] for one in pods} == {one["trace"] for one in found}, "one trace has all of it"
    tries = {one["id"]: one["name"] for one in found if one["name"] in ("first", "second")}
    assert sorted(tries[one["parent"]] for one in pods) == ["first", "second", "second"]
    assert {one["error"] for one in pods} == {None, "the pod ended: deleted"}
