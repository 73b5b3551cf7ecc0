"""1 -> 20 -> 1 under a whole daemon while its cluster does what clusters do; `loadtests.pods` is the large one."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import trio

from leoflowd.config import Role
from leoflowd.contract.dag_spec import DagSpec, TaskSpec
from leoflowd.executors import pod_watcher
from leoflowd.kube.pod_spec import selector
from leoflowd.store.database import Database
from loadtests.script_kubelet import INFRASTRUCTURE, OWN, Fate, Hearing, ScriptKubelet, Story
from tests.conftest import PATIENCE_S
from tests.fakes.kube.server import Fault
from tests.integration.cluster.test_daemons import DAG_ID, World
from tests.kube.clusters import fake_cluster
from tests.kube.tries import IMAGE

FATES = tuple(Fate)
WIDTH = 20
MIDDLE = tuple(f"w{number}" for number in range(WIDTH))


def task(task_id: str, *upstream: str) -> TaskSpec:
    return TaskSpec(
        task_id=task_id, operator="PythonOperator", upstream_task_ids=upstream, retries=1, retry_delay_s=0.0
    )


DAG = DagSpec(
    dag_id=DAG_ID,
    image=IMAGE,
    max_active_tasks=0,
    tasks=(task("first"), *(task(one, "first") for one in MIDDLE), task("last", *MIDDLE)),
)


def fate_of(task_id: str, nth: int) -> Fate:
    """Each at the first try of some task; the second one is well."""
    return FATES[MIDDLE.index(task_id) % len(FATES)] if nth == 0 and task_id in MIDDLE else Fate.WELL


async def test_a_storm_costs_nobody_a_retry_and_no_task_runs_twice(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_watcher, "TIDY_S", 0.2)
    async with fake_cluster(tmp_path) as cluster:
        assert cluster.server is not None
        world = World(database, cluster, tmp_path)
        await world.register(DAG)
        hearing = Hearing(database)
        kubelet = ScriptKubelet(
            admin=cluster.admin, api=cluster.api, selector=selector("leoflow"),
            story=lambda task_id, nth: Story(fate_of(task_id, nth), 0.3), hello=hearing.hello,
        )  # fmt: skip
        impatient = msgspec.structs.replace(world.config(Role.ALL).kubernetes, pull_within_s=1.5)
        async with world.daemon(Role.ALL, kubernetes=impatient) as api, trio.open_nursery() as nursery:
            nursery.start_soon(hearing.run)
            await nursery.start(kubelet.run)
            cluster.server.faults += [
                Fault(429, reason="TooManyRequests", retry_after_s=1),
                Fault(500, reason="InternalError"),
                Fault(0, is_done=True),
                Fault(429, method="DELETE", reason="TooManyRequests"),
            ]
            run_id = await api.trigger()
            with trio.fail_after(PATIENCE_S):
                while len(kubelet.started) < WIDTH // 2:  # noqa: ASYNC110  # in the cluster
                    await trio.sleep(0.02)
            cluster.server.restart()
            assert await api.wait_for_run(run_id) == "success"
            at = f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances?limit=100"
            tries = {one["task_id"]: one["try_number"] for one in (await api.get(at))["task_instances"]}
            with trio.fail_after(PATIENCE_S):
                while await world.kubelet.names():  # noqa: ASYNC110  # in the cluster
                    await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
    async with database.api.connection() as conn:
        cursor = await conn.execute(b"SELECT task_id, infra_faults, max_tries FROM task_instance")
        spent = {task_id: (faults, most) for task_id, faults, most in await cursor.fetchall()}
    lived: dict[str, Fate] = {}
    for one in kubelet.lived:
        lived.setdefault(one.task_id, one.fate)
    for task_id in MIDDLE:
        fate = lived[task_id]
        # Where the machine is slow an image that was to come late is given up for good reason, before or as it comes.
        assert fate in (fate_of(task_id, 0), Fate.NO_IMAGE)
        is_given_up = fate is Fate.SLOW_PULL and spent[task_id][0] == 1
        outside = int(fate in INFRASTRUCTURE or is_given_up)
        assert tries[task_id] == 1 + (outside or fate in OWN), fate
        assert spent[task_id] == (outside, 1 + outside), fate
    begun = [one.try_id for one in kubelet.started]
    assert len(begun) == len(set(begun))
