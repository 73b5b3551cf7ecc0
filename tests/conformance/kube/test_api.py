"""What `KubeApi` relies on of an API server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trio

from leoflowd.contract.agent_messages import TrySpec
from leoflowd.contract.errors import KubeUnavailable
from leoflowd.kube import api as api_module
from leoflowd.kube.api import Expired, KubeRefused, PodList, Seen
from leoflowd.kube.objects import Pod
from leoflowd.kube.pod_spec import selector
from leoflowd.kube.watch import PodWatch
from tests.conftest import PATIENCE_S
from tests.kube.clusters import Cluster
from tests.kube.tries import POLICY, name_of, new_try, pod_of

OURS = selector(POLICY.installation)


async def create(cluster: Cluster, *, is_bound: bool = False) -> TrySpec:
    spec = new_try()
    await cluster.api.create_pod(pod_of(spec))
    if is_bound:
        await cluster.admin.bind(name_of(spec))
    return spec


async def patiently_create(cluster: Cluster, spec: TrySpec) -> None:
    """Connections that a restart has cut are noticed by using them."""
    with trio.fail_after(PATIENCE_S):
        while True:
            try:
                return await cluster.api.create_pod(pod_of(spec))
            except KubeUnavailable:
                await trio.sleep(0.05)


async def fetch(cluster: Cluster, spec: TrySpec) -> Pod:
    pod = await cluster.api.fetch_pod(name_of(spec))
    assert isinstance(pod, Pod)
    return pod


@asynccontextmanager
async def watching(cluster: Cluster, version: str, watch_s: int = 30) -> AsyncIterator[AsyncIterator[object]]:
    with trio.fail_after(PATIENCE_S):
        async with cluster.api.watch_pods(OURS, version, watch_s=watch_s) as lines:
            yield lines


async def take(lines: AsyncIterator[object], count: int) -> list[Seen]:
    found: list[Seen] = []
    async for line in lines:
        found += [line] if isinstance(line, Seen) else []
        if len(found) == count:
            break
    return found


def seen(lines: list[Seen]) -> list[tuple[str, str]]:
    return [(line.type, line.pod.name) for line in lines if isinstance(line.pod, Pod)]


async def test_a_pod_of_ours_is_taken_and_can_be_read_again(cluster: Cluster) -> None:
    spec = await create(cluster)
    pod = await fetch(cluster, spec)
    assert (pod.name, pod.try_id, pod.facts.phase) == (name_of(spec), spec.try_id, "Pending")
    assert (pod.facts.memory_limit, pod.facts.memory_request) == ("512Mi", "256Mi")
    listed = await cluster.api.list_pods(OURS)
    assert [(one.name, one.uid) for one in listed.pods] == [(pod.name, pod.uid)]


async def test_the_same_pod_twice_is_refused_as_existing(cluster: Cluster) -> None:
    spec = await create(cluster)
    with pytest.raises(KubeRefused) as refused:
        await cluster.api.create_pod(pod_of(spec))
    assert (refused.value.status, refused.value.reason) == (409, "AlreadyExists")


async def test_a_pod_that_is_none_is_refused_as_invalid(cluster: Cluster) -> None:
    with pytest.raises(KubeRefused) as refused:
        await cluster.api.create_pod(pod_of(new_try()).replace(b'"image":', b'"image2":'))
    assert (refused.value.status, refused.value.reason) == (422, "Invalid")


async def test_what_is_not_there_is_none(cluster: Cluster) -> None:
    assert await cluster.api.fetch_pod("nobody") is None
    assert not await cluster.api.delete_pod("nobody", uid="x")


async def test_a_list_is_whole_whatever_its_pages(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_module, "PAGE", 2)
    specs = [await create(cluster) for _ in range(5)]
    listed = await cluster.api.list_pods(OURS)
    assert {pod.try_id for pod in listed.pods} == {spec.try_id for spec in specs}


async def test_a_list_holds_only_what_the_selector_wants(cluster: Cluster) -> None:
    await create(cluster)
    assert (await cluster.api.list_pods(selector("another"))).pods == ()


async def test_a_watch_tells_what_came_after_the_list_in_its_order(cluster: Cluster) -> None:
    await create(cluster)
    version = (await cluster.api.list_pods(OURS)).resource_version
    async with watching(cluster, version) as lines:
        one = await create(cluster, is_bound=True)
        await cluster.admin.begin(name_of(one))
        two = await create(cluster)
        found = await take(lines, 4)
    a, b = name_of(one), name_of(two)
    assert seen(found) == [("ADDED", a), ("MODIFIED", a), ("MODIFIED", a), ("ADDED", b)]
    assert [one.pod.facts.is_running for one in found if isinstance(one.pod, Pod)] == [False, False, True, False]


async def test_a_watch_goes_on_from_any_version_that_it_has_told(cluster: Cluster) -> None:
    version = (await cluster.api.list_pods(OURS)).resource_version
    specs = [await create(cluster) for _ in range(3)]
    async with watching(cluster, version) as lines:
        first = await take(lines, 1)
    assert isinstance(first[0].pod, Pod)
    async with watching(cluster, first[0].pod.resource_version) as lines:
        found = await take(lines, 2)
    assert seen(found) == [("ADDED", name_of(spec)) for spec in specs[1:]]


async def test_a_watch_ends_when_its_time_is_over(cluster: Cluster) -> None:
    version = (await cluster.api.list_pods(OURS)).resource_version
    async with watching(cluster, version, watch_s=1) as lines:
        assert await take(lines, 1) == []


async def test_a_container_ends_before_its_pod_does(cluster: Cluster) -> None:
    spec = await create(cluster, is_bound=True)
    await cluster.admin.begin(name_of(spec))
    version = (await cluster.api.list_pods(OURS)).resource_version
    async with watching(cluster, version) as lines:
        await cluster.admin.end(name_of(spec), 7, message="said")
        found = [one.pod.facts for one in await take(lines, 2) if isinstance(one.pod, Pod)]
    assert [(one.phase, one.terminated and one.terminated.exit_code) for one in found] == [
        ("Running", 7),
        ("Failed", 7),
    ]


async def test_a_pod_without_a_node_is_deleted_at_once(cluster: Cluster) -> None:
    spec = await create(cluster)
    version = (await cluster.api.list_pods(OURS)).resource_version
    async with watching(cluster, version) as lines:
        assert await cluster.api.delete_pod(name_of(spec), uid=(await fetch(cluster, spec)).uid)
        found = await take(lines, 2)
    assert seen(found) == [("MODIFIED", name_of(spec)), ("DELETED", name_of(spec))]
    assert await cluster.api.fetch_pod(name_of(spec)) is None


async def test_a_pod_with_a_node_stays_until_the_node_lets_go_of_it(cluster: Cluster) -> None:
    spec = await create(cluster, is_bound=True)
    await cluster.admin.begin(name_of(spec))
    pod = await fetch(cluster, spec)
    assert await cluster.api.delete_pod(pod.name, uid=pod.uid)
    dying = await fetch(cluster, spec)
    assert dying.facts.deleted_at is not None
    assert dying.facts.is_running
    await cluster.admin.end(pod.name, 3)
    version = (await cluster.api.list_pods(OURS)).resource_version
    async with watching(cluster, version) as lines:
        await cluster.admin.remove(pod.name)
        found = await take(lines, 2)
    assert seen(found) == [("MODIFIED", pod.name), ("DELETED", pod.name)]
    last = found[-1].pod
    assert isinstance(last, Pod)
    assert last.facts.terminated is not None
    assert last.resource_version != pod.resource_version


async def test_an_ended_pod_goes_at_once_without_grace(cluster: Cluster) -> None:
    spec = await create(cluster, is_bound=True)
    await cluster.admin.end(name_of(spec), 0)
    pod = await fetch(cluster, spec)
    assert await cluster.api.delete_pod(pod.name, uid=pod.uid, grace_s=0)
    assert await cluster.api.fetch_pod(pod.name) is None


async def test_a_pod_of_the_same_name_and_another_id_is_left_alone(cluster: Cluster) -> None:
    spec = await create(cluster)
    assert not await cluster.api.delete_pod(name_of(spec), uid="00000000-0000-0000-0000-000000000000")
    assert await cluster.api.fetch_pod(name_of(spec)) is not None


async def test_a_finalizer_keeps_a_pod_that_is_deleted(cluster: Cluster) -> None:
    spec = await create(cluster)
    await cluster.admin.patch(name_of(spec), {"metadata": {"finalizers": ["example.com/keep"]}})
    pod = await fetch(cluster, spec)
    assert await cluster.api.delete_pod(pod.name, uid=pod.uid)
    assert (await fetch(cluster, spec)).facts.deleted_at is not None
    await cluster.admin.patch(pod.name, {"metadata": {"finalizers": None}})
    assert await cluster.api.fetch_pod(pod.name) is None


async def test_a_label_that_is_taken_away_looks_like_a_deletion(cluster: Cluster) -> None:
    spec = await create(cluster)
    version = (await cluster.api.list_pods(OURS)).resource_version
    async with watching(cluster, version) as lines:
        await cluster.admin.patch(name_of(spec), {"metadata": {"labels": {"leoflow.io/installation": "other"}}})
        [line] = await take(lines, 1)
    assert line.type == "DELETED"


async def test_what_a_restarted_api_server_has_forgotten_is_expired(cluster: Cluster) -> None:
    await create(cluster)
    version = (await cluster.api.list_pods(OURS)).resource_version
    await create(cluster)
    await cluster.restart()
    with pytest.raises(Expired):
        async with watching(cluster, version) as lines:
            await take(lines, 1)


async def test_a_follower_misses_no_pod_through_a_restart(cluster: Cluster, nursery: trio.Nursery) -> None:
    known: set[str] = set()
    changed = trio.Event()

    def tell(news: PodList | Seen) -> None:
        nonlocal changed
        pods = news.pods if isinstance(news, PodList) else (news.pod,)
        known.update(pod.try_id for pod in pods if isinstance(pod, Pod))
        changed.set()
        changed = trio.Event()

    before = await create(cluster)
    watch = PodWatch(cluster.api, selector=OURS, watch_s=30, tell=tell)
    await nursery.start(watch.run)
    during = await create(cluster)
    await cluster.restart()
    after = new_try()
    await patiently_create(cluster, after)
    with trio.fail_after(PATIENCE_S):
        while not {before.try_id, during.try_id, after.try_id} <= known:
            await changed.wait()
    if cluster.server is not None:
        assert watch.statistics().lists >= 2  # a real one remembers from its last write on
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/namespaces/leoflow/secrets",
        "/api/v1/namespaces/leoflow/configmaps",
        "/api/v1/namespaces/kube-system/pods",
        "/api/v1/nodes",
        "/api/v1/namespaces/leoflow/pods/x/log",
    ],
)
async def test_the_role_of_the_daemon_opens_nothing_but_its_pods(cluster: Cluster, path: str) -> None:
    if cluster.server is not None:
        return  # a fake has no roles
    credentials = cluster.api._credentials
    assert credentials.tls is not None
    async with httpx.AsyncClient(verify=credentials.tls, trust_env=False) as client:
        answer = await client.get(credentials.host + path)
    assert answer.status_code == 403
