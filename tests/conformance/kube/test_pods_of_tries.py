"""Launcher and watcher on a cluster, with the test in the place of kubelet and store."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import trio
import trio.lowlevel

from leoflowd.contract.agent_messages import Outcome, OutcomeKind, TrySpec
from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.contract.dispatch import Dispatch, Placement
from leoflowd.contract.errors import KubeUnavailable, StoreUnavailable
from leoflowd.contract.termination import Termination, termination_text
from leoflowd.core.pod_outcome import PodLimits
from leoflowd.executors import pod_watcher
from leoflowd.executors.pod_launcher import PodLauncher
from leoflowd.executors.pod_watcher import PodWatcher
from leoflowd.kube.objects import Pod
from leoflowd.kube.pod_spec import selector
from leoflowd.kube.watch import PodWatch
from tests.conftest import PATIENCE_S
from tests.fakes.kube.server import Fault
from tests.kube.clusters import Cluster
from tests.kube.tries import IMAGE, POLICY, name_of, new_try, pod_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Daemon:
    """One life of it; what it was told outlives it, as Postgres does."""

    def __init__(self, cluster: Cluster, store: Store) -> None:
        self.store = store
        self.refused: list[tuple[str, OutcomeKind, str]] = []
        self.watcher = PodWatcher(
            api=cluster.api,
            follow=lambda **started: watch.run(**started),
            tell=store.tell,
            live=store.ask_live,
            limits=PodLimits(),
            now=lambda: datetime.now(UTC),
        )
        watch = PodWatch(cluster.api, selector=selector(POLICY.installation), watch_s=30, tell=self.watcher.see)
        _, dispatches = trio.open_memory_channel[Dispatch](0)
        self.launcher = PodLauncher(
            api=cluster.api,
            policy=POLICY,
            dispatches=dispatches,
            refuse=lambda *refused: self.refused.append(refused),
            pending=self.watcher.pending,
            has_pod=self.watcher.has_pod,
            has_begun=store.ask_begun,
            now=lambda: datetime.now(UTC),
        )

    def launch(self, task_id: str = "load", **placement: object) -> TrySpec:
        spec = new_try(task_id)
        self.store.live.add(spec.try_id)
        self.launch_again(spec, **placement)
        return spec

    def launch_again(self, spec: TrySpec, *, queued_at: datetime | None = None, **placement: object) -> None:
        wanted = Placement(**{"image": IMAGE, **placement})  # type: ignore[arg-type]
        queued_at = queued_at or datetime.now(UTC)
        self.launcher.launch(Dispatch(spec, EnvironmentSpec(), placement=wanted, queued_at=queued_at))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.watcher.run)
            await nursery.start(self.launcher.run)
            task_status.started()


class Store:
    def __init__(self) -> None:
        self.live: set[str] = set()
        self.begun: set[str] = set()
        """Tries that a pod was told of."""
        self.told: list[tuple[str, Outcome]] = []
        self.failures = 0

    async def tell(self, try_id: str, outcome: Outcome) -> None:
        await trio.lowlevel.checkpoint()
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("away")
        if try_id in self.live:
            self.live.discard(try_id)
            self.told.append((try_id, outcome))

    async def ask_begun(self, try_id: str) -> bool:
        await trio.lowlevel.checkpoint()
        return try_id in self.begun

    async def ask_live(self, try_ids: Collection[str]) -> frozenset[str]:
        await trio.lowlevel.checkpoint()
        return self.live & frozenset(try_ids)

    def kinds(self) -> list[tuple[str, OutcomeKind]]:
        return [(try_id, outcome.kind) for try_id, outcome in self.told]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
async def daemon(
    cluster: Cluster, store: Store, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Daemon]:
    monkeypatch.setattr(pod_watcher, "TIDY_S", 0.1)
    monkeypatch.setattr(pod_watcher, "FRESH_S", 0.3)
    daemon = Daemon(cluster, store)
    await nursery.start(daemon.run)
    yield daemon
    nursery.cancel_scope.cancel()


async def until(met: Callable[[], object]) -> None:
    with trio.fail_after(PATIENCE_S):
        while not met():  # noqa: ASYNC110  # what is waited for is in another process
            await trio.sleep(0.01)


async def exists(cluster: Cluster, spec: TrySpec) -> bool | None:
    """None: the API server does not say."""
    try:
        return await cluster.api.fetch_pod(name_of(spec)) is not None
    except KubeUnavailable:
        return None


async def appears(cluster: Cluster, spec: TrySpec) -> str:
    with trio.fail_after(PATIENCE_S):
        while not await exists(cluster, spec):  # noqa: ASYNC110  # in another process
            await trio.sleep(0.01)
    return name_of(spec)


async def goes(cluster: Cluster, spec: TrySpec) -> None:
    with trio.fail_after(PATIENCE_S):
        while await exists(cluster, spec) is not False:  # noqa: ASYNC110  # likewise
            await trio.sleep(0.01)


async def begin(cluster: Cluster, spec: TrySpec) -> str:
    name = await appears(cluster, spec)
    await cluster.admin.bind(name)
    await cluster.admin.begin(name)
    return name


def left(spec: TrySpec, **fields: object) -> str:
    return termination_text(Termination(try_id=spec.try_id, **fields)).decode()  # type: ignore[arg-type]


def success() -> Outcome:
    return Outcome(kind=OutcomeKind.SUCCESS, because="done", start_date=NOW, end_date=NOW)


async def test_a_pod_whose_outcome_is_stored_goes_and_nothing_is_told(cluster: Cluster, daemon: Daemon) -> None:
    spec = daemon.launch()
    name = await begin(cluster, spec)
    await cluster.admin.end(name, 0, message=left(spec, is_stored=True))
    await goes(cluster, spec)
    assert daemon.store.told == []


async def test_an_outcome_that_no_daemon_heard_is_read_from_the_pod(cluster: Cluster, daemon: Daemon) -> None:
    spec = daemon.launch()
    name = await begin(cluster, spec)
    await cluster.admin.end(name, 137, message=left(spec, outcome=success()))
    await goes(cluster, spec)
    assert daemon.store.told == [(spec.try_id, success())]


async def test_a_pod_that_ends_in_silence_is_lost_once(cluster: Cluster, daemon: Daemon) -> None:
    spec = daemon.launch()
    name = await begin(cluster, spec)
    await cluster.admin.end(name, 137)
    await goes(cluster, spec)
    assert daemon.store.kinds() == [(spec.try_id, OutcomeKind.LOST)]


async def test_too_much_memory_is_the_tasks_own_failure(cluster: Cluster, daemon: Daemon) -> None:
    spec = daemon.launch(resources={"limits": {"memory": "64Mi"}, "requests": {"memory": "32Mi"}})
    name = await begin(cluster, spec)
    await cluster.admin.end(name, 137, reason="OOMKilled")
    await goes(cluster, spec)
    [(try_id, outcome)] = daemon.store.told
    assert (try_id, outcome.kind, outcome.exit_code) == (spec.try_id, OutcomeKind.FAILED, 137)
    assert outcome.because.startswith("137, memory limit 64Mi, asked for 32Mi: ")


async def test_a_pod_that_somebody_deletes_is_lost(cluster: Cluster, daemon: Daemon) -> None:
    spec = daemon.launch()
    name = await begin(cluster, spec)
    await until(lambda: daemon.watcher.statistics().running == 1)
    await cluster.admin.remove(name)
    await until(lambda: daemon.store.told)
    assert daemon.store.kinds() == [(spec.try_id, OutcomeKind.LOST)]


async def test_an_end_that_cannot_be_stored_keeps_its_pod_until_it_is(cluster: Cluster, daemon: Daemon) -> None:
    daemon.store.failures = 10**9
    spec = daemon.launch()
    name = await begin(cluster, spec)
    await cluster.admin.end(name, 137)
    await until(lambda: daemon.watcher.statistics().failures >= 2)
    assert await cluster.api.fetch_pod(name) is not None
    daemon.store.failures = 0
    await goes(cluster, spec)
    assert daemon.store.kinds() == [(spec.try_id, OutcomeKind.LOST)]


async def test_a_cleared_try_takes_its_waiting_pod_with_it(cluster: Cluster, daemon: Daemon) -> None:
    spec = daemon.launch()
    await appears(cluster, spec)
    daemon.store.live.clear()
    await goes(cluster, spec)
    assert daemon.store.told == []


async def test_a_launch_that_is_repeated_makes_one_pod(cluster: Cluster, daemon: Daemon) -> None:
    spec = daemon.launch()
    await begin(cluster, spec)
    daemon.launch_again(spec)
    await until(lambda: daemon.launcher.statistics().found == 1)
    assert daemon.launcher.statistics().created == 1
    assert daemon.launcher.known_tries() == frozenset()


async def test_a_pod_that_waits_for_a_node_is_asked_for_once(cluster: Cluster, daemon: Daemon) -> None:
    """The scheduler's sweep launches again what is still queued: of a thousand such pods a storm of its own."""
    spec = daemon.launch()
    await appears(cluster, spec)
    # seen by the watch, and the answer to its creation has come
    await until(lambda: daemon.watcher.has_pod(spec.try_id) and not daemon.launcher.statistics().creating)
    for _ in range(3):
        daemon.launch_again(spec)
    after = daemon.launch("after")
    await appears(cluster, after)
    assert daemon.launcher.statistics().found == 3
    if cluster.server is not None:
        assert [method for method, _ in cluster.server.requests].count("POST") == 2


async def test_a_pod_whose_end_is_not_stored_yet_is_not_replaced(cluster: Cluster, daemon: Daemon) -> None:
    """Its creation may not have been answered, so it is asked for again; by then somebody deleted it. Its try is lost:
    a second pod would run it again all the same."""
    daemon.store.failures = 10**9
    spec = daemon.launch()
    name = await begin(cluster, spec)
    await until(lambda: daemon.watcher.statistics().running == 1)
    await cluster.admin.remove(name)
    await until(lambda: daemon.watcher.statistics().failures > 0)
    daemon.launch_again(spec)
    await appears(cluster, daemon.launch("after"))
    assert await exists(cluster, spec) is False
    assert daemon.launcher.statistics().found == 1


async def test_a_try_that_a_pod_began_and_left_is_lost_and_gets_no_other(cluster: Cluster, daemon: Daemon) -> None:
    """Of an earlier daemon's: it came and went while nobody watched, and the sweep launches what is still queued."""
    spec = new_try()
    daemon.store.live.add(spec.try_id)
    daemon.store.begun.add(spec.try_id)
    daemon.launch_again(spec, queued_at=NOW)
    await until(lambda: daemon.refused)
    after = daemon.launch("after")
    await appears(cluster, after)
    assert [(try_id, kind) for try_id, kind, _ in daemon.refused] == [(spec.try_id, OutcomeKind.LOST)]
    assert await exists(cluster, spec) is False


async def test_a_try_that_a_pod_began_and_still_has_is_left_to_it(cluster: Cluster, store: Store) -> None:
    """The launcher knows of it before the first list is read."""
    spec = new_try()
    await cluster.api.create_pod(pod_of(spec))
    store.begun.add(spec.try_id)
    daemon = Daemon(cluster, store)
    async with trio.open_nursery() as nursery:
        await nursery.start(daemon.launcher.run)
        daemon.launch_again(spec, queued_at=NOW)
        await until(lambda: daemon.launcher.statistics().found == 1)
        nursery.cancel_scope.cancel()
    assert daemon.refused == []
    assert await exists(cluster, spec)


async def test_only_a_try_that_may_have_had_a_pod_is_asked_about(cluster: Cluster, daemon: Daemon) -> None:
    """Postgres has enough to do."""
    new = daemon.launch("new")
    daemon.store.begun.add(new.try_id)
    old = new_try("old")
    daemon.store.begun.add(old.try_id)
    daemon.launch_again(old, queued_at=NOW)
    await appears(cluster, new)
    await until(lambda: daemon.refused)
    assert [try_id for try_id, _, _ in daemon.refused] == [old.try_id]


async def test_a_try_that_goes_on_gets_a_pod_in_the_place_of_its_old_one(cluster: Cluster, daemon: Daemon) -> None:
    """Rescheduled or deferred: the try is the same, so is the name."""
    spec = daemon.launch()
    name = await begin(cluster, spec)
    first = await cluster.api.fetch_pod(name)
    daemon.launch_again(spec)
    await cluster.admin.end(name, 0, message=left(spec, is_stored=True))
    with trio.fail_after(PATIENCE_S):
        while (second := await cluster.api.fetch_pod(name)) is None or second.uid == first.uid:  # type: ignore[union-attr]
            daemon.launch_again(spec)
            await trio.sleep(0.02)
    assert daemon.store.told == []


async def test_a_pod_that_is_in_the_way_and_tells_an_end_is_not_deleted_unheard(
    cluster: Cluster, daemon: Daemon
) -> None:
    daemon.store.failures = 10**9
    spec = daemon.launch()
    name = await begin(cluster, spec)
    await cluster.admin.end(name, 1)
    daemon.launch_again(spec)
    await until(lambda: daemon.launcher.statistics().found == 1)
    assert await cluster.api.fetch_pod(name) is not None


async def test_the_next_daemon_adopts_what_runs_and_reports_what_ended_meanwhile(
    cluster: Cluster, store: Store, nursery: trio.Nursery
) -> None:
    async with trio.open_nursery() as life:
        first = Daemon(cluster, store)
        await life.start(first.run)
        runs, ends = first.launch("runs"), first.launch("ends")
        await begin(cluster, runs)
        name = await begin(cluster, ends)
        life.cancel_scope.cancel()
    await cluster.admin.end(name, 1)
    second = Daemon(cluster, store)
    await nursery.start(second.run)
    await goes(cluster, ends)
    assert store.kinds() == [(ends.try_id, OutcomeKind.LOST)]
    assert second.watcher.statistics().running == 1
    nursery.cancel_scope.cancel()


async def test_a_pod_that_the_policy_forbids_is_refused_and_holds_up_no_other(cluster: Cluster, daemon: Daemon) -> None:
    bad = daemon.launch("bad", executor_config={"pod_override": {"spec": {"hostNetwork": True}}})
    good = daemon.launch("good")
    await appears(cluster, good)
    [(try_id, kind, because)] = daemon.refused
    assert (try_id, kind) == (bad.try_id, OutcomeKind.FAILED)
    assert because.startswith("pod_override.spec.hostNetwork is refused")


async def test_a_pod_that_the_api_server_finds_invalid_is_refused_for_good(cluster: Cluster, daemon: Daemon) -> None:
    spec = daemon.launch(executor_config={"pod_override": {"metadata": {"labels": {"a": "x" * 64}}}})
    await until(lambda: daemon.refused)
    assert [(one, kind) for one, kind, _ in daemon.refused] == [(spec.try_id, OutcomeKind.FAILED_FOR_GOOD)]


async def test_watcher_and_launcher_go_on_through_a_restart_of_the_api_server(cluster: Cluster, daemon: Daemon) -> None:
    before = daemon.launch("before")
    name = await begin(cluster, before)
    await cluster.restart()
    after = daemon.launch("after")
    await appears(cluster, after)
    while True:
        try:
            await cluster.admin.end(name, 1)
            break
        except httpx.TransportError:  # its connection was cut too
            await trio.sleep(0.01)
    await goes(cluster, before)
    assert daemon.store.kinds() == [(before.try_id, OutcomeKind.LOST)]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(429, reason="TooManyRequests", retry_after_s=1, times=2),
        Fault(403, reason="Forbidden", message="exceeded quota: q", times=1),
        Fault(403, reason="Forbidden", message="pods is forbidden", times=2),
        Fault(500, reason="InternalError", times=2),
        Fault(0, times=2),
        Fault(0, times=1, is_done=True),
    ],
    ids=["429", "quota", "rights", "500", "cut before", "cut after"],
)
async def test_what_slows_the_launcher_costs_no_try(cluster: Cluster, daemon: Daemon, fault: Fault) -> None:
    if cluster.server is None:
        return  # nobody can make a real one fail so
    cluster.server.faults.append(fault)
    specs = [daemon.launch(f"t{number}") for number in range(3)]
    for spec in specs:
        await appears(cluster, spec)
    assert daemon.launcher.statistics().pauses > 0
    assert daemon.refused == []
    assert sorted(cluster.server.pods.created) == sorted(name_of(spec) for spec in specs)


POISON = [
    {"metadata": {"labels": {"leoflow.io/try-id": 3}}},
    {"metadata": {"labels": {"leoflow.io/try-id": "'; DROP TABLE pods"}}},
    {"metadata": {"labels": None}},
    {"status": "fine"},
    {"status": {"containerStatuses": [{"name": 7}]}},
    {"status": {"phase": "Ascended", "message": "x" * 1_000_000}},
    {"metadata": {"creationTimestamp": "yesterday"}},
]


@pytest.mark.parametrize("poison", POISON, ids=range(len(POISON)))
async def test_an_object_that_is_none_holds_up_nothing(
    cluster: Cluster, daemon: Daemon, poison: dict[str, object]
) -> None:
    if cluster.server is None:
        return  # a real one takes none of these
    spec = daemon.launch("poisoned")
    await appears(cluster, spec)
    said: Any = poison.get("metadata", {})
    labels = {"leoflow.io/installation": "test", "leoflow.io/try-id": new_try().try_id, **(said.get("labels") or {})}
    odd = {**cluster.server.pods.get("leoflow", name_of(spec)), **poison}
    odd["metadata"] = {"uid": "u", "namespace": "leoflow", **said, "name": "odd", "labels": labels}
    cluster.server.pods.put_raw("leoflow", odd)
    healthy = daemon.launch("healthy")
    name = await begin(cluster, healthy)
    await cluster.admin.end(name, 0, message=left(healthy, is_stored=True))
    await goes(cluster, healthy)
    cluster.server.restart()
    again = daemon.launch("again")
    await begin(cluster, again)
    await until(lambda: daemon.watcher.statistics().running >= 1)


MANY = 20


async def live_through(cluster: Cluster, daemon: Daemon, spec: TrySpec, chance: random.Random) -> OutcomeKind | None:
    """One pod's life under a kubelet and a cluster that do what clusters do; the end that has to be told, if any."""
    name = name_of(spec)
    await until(lambda: any(known.pod.name == name for known in daemon.watcher._pods.values()))
    admin = cluster.admin
    await patiently(lambda: admin.bind(name))
    how = chance.choice(["stored", "heard by nobody", "killed", "too much memory", "evicted", "deleted", "no image"])
    if how == "no image":
        await patiently(lambda: admin.wait(name, "InvalidImageName", "couldn't parse image reference"))
        await is_deleted(cluster, spec)
        await patiently(lambda: admin.remove(name))
        return OutcomeKind.FAILED_FOR_GOOD
    await patiently(lambda: admin.begin(name))
    match how:
        case "stored":
            await patiently(lambda: admin.end(name, 0, message=left(spec, is_stored=True)))
            return None
        case "heard by nobody":
            await patiently(lambda: admin.end(name, 0, message=left(spec, outcome=success())))
            return OutcomeKind.SUCCESS
        case "killed":
            await patiently(lambda: admin.end(name, 137))
        case "too much memory":
            await patiently(lambda: admin.end(name, 137, reason="OOMKilled"))
            return OutcomeKind.FAILED
        case "evicted":
            await patiently(lambda: admin.patch_status(name, phase="Failed", reason="Evicted", message="low on memory"))
        case _:
            await patiently(lambda: admin.remove(name))
    return OutcomeKind.LOST


async def is_deleted(cluster: Cluster, spec: TrySpec) -> None:
    """Its node is asked to let go of it."""
    with trio.fail_after(PATIENCE_S):
        while True:
            with contextlib.suppress(KubeUnavailable):
                pod = await cluster.api.fetch_pod(name_of(spec))
                if not isinstance(pod, Pod) or pod.facts.deleted_at is not None:
                    return
            await trio.sleep(0.02)


async def patiently(act: Callable[[], Awaitable[None]]) -> None:
    """Through restarts of the API server. What was done and not answered is done: its pod may be gone by then."""
    with trio.fail_after(PATIENCE_S):
        while True:
            try:
                return await act()
            except httpx.TransportError:
                await trio.sleep(0.02)
            except httpx.HTTPStatusError as error:
                if error.response.status_code in (404, 409):
                    return None
                await trio.sleep(0.02)


async def test_whatever_a_cluster_does_every_try_ends_once_and_rightly(cluster: Cluster, daemon: Daemon) -> None:
    chance = random.Random(10)
    wanted: dict[str, OutcomeKind | None] = {}

    async def live(spec: TrySpec, seed: int) -> None:
        wanted[spec.try_id] = await live_through(cluster, daemon, spec, random.Random(seed))

    async with trio.open_nursery() as nursery:
        for number in range(MANY):
            if cluster.server is not None and number % 10 == 5:
                cluster.server.faults.append(Fault(429, reason="TooManyRequests", times=2))
            nursery.start_soon(live, daemon.launch(f"t{number}"), chance.randrange(2**32))
            await trio.lowlevel.checkpoint()
            if number == MANY // 2:
                await cluster.restart()
    told = {try_id: kind for try_id, kind in wanted.items() if kind is not None}
    await until(lambda: len(daemon.store.told) >= len(told) and daemon.watcher.statistics().pods == 0)
    assert dict(daemon.store.kinds()) == told
    assert len(daemon.store.told) == len(told)
    assert await cluster.admin.names() == []
