"""Many pods at once: a wave of ends, or of launches, is not worked off one by one."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from leoflowd.contract.agent_messages import Outcome
from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.contract.dispatch import Dispatch, Placement
from leoflowd.contract.errors import KubeUnavailable
from leoflowd.contract.termination import Termination
from leoflowd.core.pod_outcome import PodEnd, PodFacts, PodLimits, Terminated
from leoflowd.executors.pod_launcher import PodLauncher
from leoflowd.executors.pod_watcher import WORKERS, PodLife, PodWatcher
from leoflowd.kube.api import PodList, Seen
from leoflowd.kube.objects import Pod, Unreadable
from tests.kube.tries import IMAGE, POLICY, new_try

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AT_ONCE = 8


class SlowCluster:
    """Answers when the test says so; `open` calls are what it was asked meanwhile."""

    def __init__(self) -> None:
        self.open = 0
        self.calls = 0
        self.is_away = False
        self.answers = trio.Event()

    async def _answer(self) -> None:
        self.open += 1
        self.calls += 1
        await self.answers.wait()
        self.open -= 1
        if self.is_away:
            raise KubeUnavailable("away")

    async def create_pod(self, pod: bytes) -> None:
        await self._answer()

    async def keep_claim(self, name: str, claim: bytes) -> bool:
        await trio.lowlevel.checkpoint()
        return True

    async def fetch_pod(self, name: str) -> Pod | Unreadable | None:
        await trio.lowlevel.checkpoint()
        return None

    async def delete_pod(self, name: str, *, uid: str, grace_s: int | None = None) -> bool:
        await self._answer()
        return True


def ended(number: int) -> Seen:
    try_id = new_try().try_id
    facts = PodFacts(
        phase="Succeeded",
        created_at=NOW,
        terminated=Terminated(exit_code=0, left=Termination(try_id=try_id, is_stored=True)),
    )
    return Seen("MODIFIED", Pod(name=f"p{number}", uid=f"u{number}", resource_version="1", try_id=try_id, facts=facts))


async def _tell(try_id: str, outcome: Outcome) -> None:
    raise AssertionError("their outcomes are stored")


async def _live(try_ids: Collection[str]) -> frozenset[str]:
    await trio.lowlevel.checkpoint()
    return frozenset(try_ids)


async def _follow(*, task_status: trio.TaskStatus[None]) -> None:
    task_status.started()
    await trio.sleep_forever()


async def _has_begun(_try_id: str) -> bool:
    await trio.lowlevel.checkpoint()
    return False


def launcher_on(cluster: SlowCluster, now: datetime = NOW) -> PodLauncher:
    _, dispatches = trio.open_memory_channel[Dispatch](0)
    return PodLauncher(
        api=cluster,
        policy=POLICY,
        dispatches=dispatches,
        refuse=lambda *_: None,
        has_begun=_has_begun,
        now=lambda: now,
        at_once=AT_ONCE,
    )


def launch(launcher: PodLauncher, count: int) -> None:
    for number in range(count):
        spec = new_try(f"t{number}")
        launcher.launch(Dispatch(spec, EnvironmentSpec(), placement=Placement(image=IMAGE), queued_at=NOW))


async def test_a_wave_of_ended_pods_is_deleted_by_all_workers() -> None:
    cluster = SlowCluster()
    watcher = PodWatcher(api=cluster, follow=_follow, tell=_tell, live=_live, limits=PodLimits(), now=lambda: NOW)
    async with trio.open_nursery() as nursery:
        await nursery.start(watcher.run)
        await wait_all_tasks_blocked()
        for number in range(WORKERS + 4):
            watcher.see(ended(number))
        await wait_all_tasks_blocked()
        assert cluster.open == WORKERS
        cluster.answers.set()
        await wait_all_tasks_blocked()
        assert watcher.statistics().deleted == WORKERS + 4
        nursery.cancel_scope.cancel()


async def test_a_wave_of_launches_is_created_by_all_workers() -> None:
    cluster = SlowCluster()
    launcher = launcher_on(cluster)
    async with trio.open_nursery() as nursery:
        await nursery.start(launcher.run)
        await wait_all_tasks_blocked()
        launch(launcher, AT_ONCE + 4)
        await wait_all_tasks_blocked()
        assert cluster.open == AT_ONCE
        cluster.answers.set()
        await wait_all_tasks_blocked()
        assert launcher.statistics().created == AT_ONCE + 4
        nursery.cancel_scope.cancel()


async def test_calls_that_fail_together_pause_the_launcher_as_one(autojump_clock: MockClock) -> None:
    """An API server that is restarted would cost eight doublings of the pause."""
    cluster = SlowCluster()
    launcher = launcher_on(cluster)
    async with trio.open_nursery() as nursery:
        await nursery.start(launcher.run)
        launch(launcher, AT_ONCE)
        await wait_all_tasks_blocked()
        cluster.is_away = True
        cluster.answers.set()
        await wait_all_tasks_blocked()
        cluster.is_away = False
        await trio.sleep(1.0)
        assert launcher.statistics().created == AT_ONCE
        nursery.cancel_scope.cancel()


async def test_the_time_from_a_decision_to_the_request_for_its_pod_is_counted_once_for_each_pod() -> None:
    cluster = SlowCluster()
    cluster.answers.set()
    launcher = launcher_on(cluster, NOW + timedelta(milliseconds=30))
    async with trio.open_nursery() as nursery:
        await nursery.start(launcher.run)
        launch(launcher, 2)
        launcher.launch(Dispatch(new_try(), EnvironmentSpec(), placement=Placement(image=IMAGE)))  # of a callback
        await wait_all_tasks_blocked()
        found = launcher.statistics()
        nursery.cancel_scope.cancel()
    assert found.created == 3
    assert [found.delays.up_to[bound] for bound in ("0.025", "0.05", "+Inf")] == [0, 2, 2]
    assert found.delays.sum_s == pytest.approx(0.06)


async def test_pods_are_counted_by_how_they_ended_each_once_and_those_that_were_there_are_adopted() -> None:
    cluster, lives = SlowCluster(), list[PodLife]()
    watcher = PodWatcher(
        api=cluster, follow=_follow, tell=_tell, live=_live, limits=PodLimits(), now=lambda: NOW, over=lives.append
    )
    began = NOW - timedelta(hours=1)
    there = ended(0).pod
    assert isinstance(there, Pod)
    there = msgspec.structs.replace(there, facts=msgspec.structs.replace(there.facts, created_at=began))
    async with trio.open_nursery() as nursery:
        await nursery.start(watcher.run)
        watcher.see(PodList((there,), (), "1"))
        watcher.see(ended(1))
        await wait_all_tasks_blocked()
        watcher.see(Seen("MODIFIED", there))
        cluster.answers.set()
        await wait_all_tasks_blocked()
        watcher.see(PodList((), (), "2"))
        await wait_all_tasks_blocked()
        found = watcher.statistics()
        nursery.cancel_scope.cancel()
    assert found.adopted == 1
    assert {end: count for end, count in found.ended.items() if count} == {PodEnd.REPORTED: 2}
    assert set(found.ended) == set(PodEnd)
    assert [(life.pod.name, life.began_at, life.ended_at) for life in lives] == [("p0", began, NOW), ("p1", NOW, NOW)]
