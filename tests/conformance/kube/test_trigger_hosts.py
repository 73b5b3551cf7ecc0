"""Pods of trigger hosts on a cluster, with the test in the place of kubelet and host."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import trio

from leoflowd.cheap_tasks import trigger_host_pod
from leoflowd.cheap_tasks.trigger_host_line import EndKind, FromHost, Hello, HostEnd, HostKey
from leoflowd.cheap_tasks.trigger_host_pod import PodHosts
from leoflowd.config import TriggerHostsConfig
from leoflowd.contract.agent_messages import TriggerHostExit
from leoflowd.core.pod_outcome import PodLimits
from leoflowd.kube.pod_spec import HostPod, build_host_pod
from tests.conftest import PATIENCE_S
from tests.fakes.kube.server import Fault
from tests.kube.clusters import Cluster
from tests.kube.tries import IMAGE, POLICY, new_try, pod_of

KEY = HostKey(IMAGE, "shim", "")


class World:
    """One daemon's hosts, one of them run."""

    def __init__(self, cluster: Cluster) -> None:
        self.admin = cluster.admin
        self.beats: dict[str, int] = {}
        self.heard: list[FromHost] = []
        self.hosts = PodHosts(
            api=cluster.api,
            policy=POLICY,
            limits=PodLimits(),
            daemon="d1",
            daemons=self._daemons,
            config=TriggerHostsConfig(),
            now=lambda: datetime.now(UTC),
        )
        self.ends: list[HostEnd] = []

    async def _daemons(self) -> dict[str, int]:
        await trio.lowlevel.checkpoint()
        self.beats = {name: beat + (name == "alive") for name, beat in self.beats.items()}
        return self.beats

    async def answer(self, ask: Any) -> dict[str, Any]:
        raise AssertionError("nobody asks")

    @contextlib.asynccontextmanager
    async def host(self) -> AsyncIterator[Any]:
        host = self.hosts.make(KEY, self.heard.append, self.answer)

        async def run() -> None:
            self.ends.append(await host.run())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            yield host

    async def pod(self) -> str:
        """The one that there is."""
        with trio.fail_after(PATIENCE_S):
            while not (names := await self.admin.names()):  # noqa: ASYNC110  # in the cluster
                await trio.sleep(0.02)
        [name] = names
        return name

    async def begin(self) -> tuple[str, trio.SocketStream]:
        """The pod runs, and its host has said hello."""
        name = await self.pod()
        await self.admin.bind(name)
        await self.admin.begin(name)
        line = self.hosts.connect(_id_of(name))
        assert line is not None
        await line.send_all(b'{"type": "hello", "pid": 7}\n')
        with trio.fail_after(PATIENCE_S):
            while not self.heard:  # noqa: ASYNC110
                await trio.sleep(0.02)
        return name, line

    def exited(self, name: str, line: trio.SocketStream, code: int, culprit: str = "") -> None:
        self.hosts.exited(_id_of(name), TriggerHostExit(exit_code=code, culprit=culprit, log_tail="its last words"))
        line.socket.close()

    async def is_leaving(self, name: str) -> bool:
        """Deleted, or being deleted: there is no kubelet that would let it go."""
        return name not in await self.admin.names() or bool(
            (await self.admin.fetch(name))["metadata"].get("deletionTimestamp")
        )


def _id_of(name: str) -> str:
    return name.removeprefix("trigger-host-")


@pytest.fixture
def world(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(trigger_host_pod, "LOOK_S", 0.1)
    return World(cluster)


async def test_a_host_speaks_is_stopped_and_its_pod_goes(world: World) -> None:
    async with world.host() as host:
        name, line = await world.begin()
        assert world.heard == [Hello(pid=7)]
        assert world.hosts.connect(_id_of(name)) is None  # who comes second is somebody else
        host.stop(EndKind.IDLE, "it has no trigger")
        assert msgspec.json.decode(await line.receive_some()) == {"type": "stop"}
        world.exited(name, line, 0)
    assert [end.kind for end in world.ends] == [EndKind.IDLE]
    assert await world.is_leaving(name)
    assert world.hosts.connect(_id_of(name)) is None


async def test_a_process_that_dies_names_who_it_was_busy_with(world: World) -> None:
    async with world.host() as host:
        name, line = await world.begin()
        world.exited(name, line, -9, culprit="w1")
    assert world.ends == [HostEnd(kind=EndKind.CRASHED, culprit="w1", because="signal 9 ended it")]
    assert host.log_tail() == "its last words"


async def test_a_pod_that_never_begins_says_why(world: World) -> None:
    async with world.host():
        name = await world.pod()
        await world.admin.bind(name)
        await world.admin.wait(name, "InvalidImageName", "that is none")
    [end] = world.ends
    assert (end.kind, end.culprit) == (EndKind.NOT_STARTED, "")
    assert "that is none" in end.because
    assert await world.is_leaving(name)


async def test_a_pod_that_is_taken_away_is_nobodys_fault(world: World) -> None:
    async with world.host():
        name, line = await world.begin()
        await world.admin.remove(name)
        line.socket.close()
    assert [end.kind for end in world.ends] == [EndKind.LOST]


async def test_a_pod_that_needs_more_than_its_limit_says_so(world: World) -> None:
    async with world.host():
        name, line = await world.begin()
        await world.admin.end(name, 137, reason="OOMKilled")
        line.socket.close()
    [end] = world.ends
    assert end.kind is EndKind.CRASHED
    assert end.because.startswith("137, memory limit 1342177280")


@pytest.mark.parametrize("cluster", ["fake"], indirect=True)
async def test_an_api_server_that_has_no_room_is_asked_again(cluster: Cluster, world: World) -> None:
    assert cluster.server is not None
    cluster.server.faults.append(Fault(429, times=2, reason="TooManyRequests"))
    async with world.host():
        name, line = await world.begin()
        world.exited(name, line, 1)
    assert [end.kind for end in world.ends] == [EndKind.CRASHED]


async def test_what_a_daemon_left_that_is_gone_is_deleted(
    cluster: Cluster, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trigger_host_pod, "SWEEP_S", 0.1)
    monkeypatch.setattr(trigger_host_pod, "FRESH", timedelta(seconds=-60))
    left = {daemon: _foreign(daemon) for daemon in ("d1", "alive", "gone", "never heard")}
    for pod in left.values():
        await cluster.api.create_pod(build_host_pod(pod, POLICY))
    await cluster.api.create_pod(pod_of(new_try("load")))
    world.beats = {"alive": 1, "gone": 1}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.hosts.run)
        with trio.fail_after(PATIENCE_S):
            while len(names := await world.admin.names()) > 2:  # noqa: ASYNC110  # in the cluster
                await trio.sleep(0.02)
        nursery.cancel_scope.cancel()
    assert left["alive"].name in names
    assert any(name.startswith("load-") for name in names)


def _foreign(daemon: str) -> HostPod:
    return HostPod(
        id=new_try().try_id, daemon=daemon, image=IMAGE, runtime="shim", memory_bytes=2**30, log_max_bytes=2**20
    )
