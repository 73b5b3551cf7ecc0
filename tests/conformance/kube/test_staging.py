"""Staging volumes on a cluster: one claim for each run, mounted in its pods, collected when the run is long over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import trio

from leoflowd.contract.staging import Staging
from leoflowd.core.staging import FRESH, RunEnd
from leoflowd.executors import staging as collecting
from leoflowd.executors.staging import StagingCollector
from leoflowd.kube.claims import build_claim, claim_name, claim_selector
from tests.conformance.kube.test_pods_of_tries import Daemon, Store
from tests.conftest import PATIENCE_S
from tests.kube.clusters import NAMESPACE, Cluster
from tests.kube.tries import POLICY, name_of

CLAIMS = f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims"


@pytest.fixture
async def cluster(cluster: Cluster) -> AsyncIterator[Cluster]:
    """Without claims of the test before."""
    yield cluster
    for claim in await cluster.api.list_claims(claim_selector(POLICY.installation)):
        await free(cluster, claim.name)


async def free(cluster: Cluster, name: str) -> None:
    """Delete it, and let it go as its controller would."""
    await cluster.admin.call("DELETE", f"{CLAIMS}/{name}")
    if cluster.server is not None:
        cluster.server.claims.release(name)
        return
    try:
        await cluster.admin.call("PATCH", f"{CLAIMS}/{name}", {"metadata": {"finalizers": None}})
    except httpx.HTTPStatusError as error:
        if error.response.status_code != 404:
            raise


def staging(number: int, **fields: str) -> Staging:
    return Staging(dag_run_id=number, dag_id="d", run_id=f"r{number}", **fields)


async def wait_for_pods(cluster: Cluster, count: int) -> list[str]:
    with trio.fail_after(PATIENCE_S):
        while len(names := await cluster.admin.names()) < count:  # noqa: ASYNC110  # in the cluster
            await trio.sleep(0.02)
    return names


async def test_all_pods_of_a_run_have_its_claim_which_is_made_once(cluster: Cluster, nursery: trio.Nursery) -> None:
    daemon = Daemon(cluster, Store())
    await nursery.start(daemon.run)
    shared = staging(7, size="5Gi", storage_class="fast")
    specs = [daemon.launch(task_id, staging=shared) for task_id in ("a", "b")]
    daemon.launch("alone")
    await wait_for_pods(cluster, 3)
    [claim] = (await cluster.admin.call("GET", CLAIMS))["items"]
    assert claim["metadata"]["name"] == claim_name(shared, POLICY)
    assert claim["spec"]["resources"]["requests"]["storage"] == "5Gi"
    assert claim["spec"]["storageClassName"] == "fast"
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for spec in specs:
        pod = await cluster.admin.fetch(name_of(spec))
        [volume] = [one for one in pod["spec"]["volumes"] if one["name"] == "staging"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim_name(shared, POLICY)
        assert {"name": "staging", "mountPath": "/staging"} in pod["spec"]["containers"][0]["volumeMounts"]
    [alone] = [name for name in await cluster.admin.names() if name.startswith("alone-")]
    assert "staging" not in str((await cluster.admin.fetch(alone))["spec"]["volumes"])


async def test_a_claim_that_is_leaving_is_not_mounted(cluster: Cluster, nursery: trio.Nursery) -> None:
    """Its pod would pend for ever: the scheduler's sweep brings the try again."""
    mine = staging(8)
    assert await cluster.api.keep_claim(claim_name(mine, POLICY), build_claim(mine, POLICY))
    await cluster.admin.call("DELETE", f"{CLAIMS}/{claim_name(mine, POLICY)}")
    daemon = Daemon(cluster, Store())
    await nursery.start(daemon.run)
    spec = daemon.launch("a", staging=mine)
    with trio.fail_after(PATIENCE_S):
        while not daemon.launcher.statistics().dropped:  # noqa: ASYNC110  # in the cluster
            await trio.sleep(0.02)
    assert await cluster.admin.names() == []
    await free(cluster, claim_name(mine, POLICY))
    daemon.launch_again(spec, staging=mine)
    assert await wait_for_pods(cluster, 1) == [name_of(spec)]


async def test_what_is_long_over_is_collected_whoever_leads(
    cluster: Cluster, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "SWEEP_S", 0.05)
    now = datetime.now(UTC) + 2 * FRESH
    ended = now - timedelta(hours=2)
    runs = {
        1: RunEnd(1, "d", "r1", "success", ended),
        2: RunEnd(2, "d", "r2", "failed", ended),
        3: RunEnd(3, "d", "r3", "running", None),
        4: RunEnd(4, "d", "r4", "success", now - timedelta(minutes=30)),
        5: RunEnd(5, "d", "another run of a newer database", "running", None),
    }
    for number in (*runs, 6):
        mine = staging(number)
        assert await cluster.api.keep_claim(claim_name(mine, POLICY), build_claim(mine, POLICY))

    async def ends(ids: Collection[int]) -> dict[int, RunEnd]:
        await trio.lowlevel.checkpoint()
        return {number: run for number, run in runs.items() if number in ids}

    async def kept() -> set[int]:
        found = await cluster.api.list_claims(claim_selector(POLICY.installation))
        return {claim.dag_run_id for claim in found if not claim.is_leaving}

    collector = StagingCollector(
        api=cluster.api,
        selector=claim_selector(POLICY.installation),
        runs=ends,
        ttl=timedelta(hours=1),
        now=lambda: now,
    )
    nursery.start_soon(collector.run)
    with trio.fail_after(PATIENCE_S):
        while await kept() != {3, 4}:  # noqa: ASYNC110  # in the cluster
            await trio.sleep(0.02)
    assert collector.statistics().fault == ""
