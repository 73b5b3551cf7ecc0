"""Trigger hosts as pods of a DAG's image: created here, spoken to through the agents' service, deleted here (ADR 65).

A host is its pod: one that dies, is evicted or loses the way to us is over, and `trigger_hosts` starts another one
under another name. Its pod comes to the door of this daemon, proves its name, and gets the other end of a socket pair,
so the conversation is the one that a process of this machine has. What a daemon that died leaves behind, the others
delete: a pod says in a label who wants it.
"""

from __future__ import annotations

import socket
import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Protocol

import trio
from typing_extensions import override

from leoflowd import telemetry
from leoflowd.cheap_tasks.trigger_host_line import (
    Answer,
    EndKind,
    FromHost,
    Heard,
    Hello,
    HostEnd,
    HostKey,
    HostLine,
    HostPlaces,
)
from leoflowd.config import TriggerHostsConfig
from leoflowd.contract.agent_messages import OutcomeKind, TriggerHostExit
from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.contract.dispatch import Placement
from leoflowd.contract.errors import KubeUnavailable
from leoflowd.contract.waits import TriggerCall
from leoflowd.core.pod_outcome import Coming, Ended, PodLimits, judge
from leoflowd.kube.api import KubeRefused, PodList
from leoflowd.kube.objects import Pod, Unreadable
from leoflowd.kube.pod_spec import HostPod, build_host_pod, host_selector
from leoflowd.kube.policy import PodPolicy
from leoflowd.kube.wishes import image_of
from leoflowd.supervision import backoff_s, contain

log = telemetry.get_logger(__name__)

LOOK_S = 1.0
"""How often a pod that comes, or that has left us, is looked at."""
SETTLE_S = 10.0
"""The API server says why a pod ended some seconds after the pod did."""
REMOVE_WITHIN_S = 2.0
SWEEP_S = 30.0
FRESH = timedelta(seconds=60)
"""A pod so young may be of a daemon that we do not know yet."""
HOPELESS = (400, 413, 422)
"""Answers to a pod that stay the same."""


class Pods(Protocol):
    """`kube.api.KubeApi`."""

    async def create_pod(self, pod: bytes) -> None: ...

    async def fetch_pod(self, name: str) -> Pod | Unreadable | None: ...

    async def delete_pod(self, name: str, *, uid: str = "", grace_s: int | None = None) -> bool: ...

    async def list_pods(self, selector: str) -> PodList: ...


class PodHosts(HostPlaces):
    """`daemon` names ours among the others, whose beats `daemons` gives: one whose beat stands still is gone."""

    def __init__(
        self,
        *,
        api: Pods,
        policy: PodPolicy,
        limits: PodLimits,
        daemon: str,
        daemons: Callable[[], Awaitable[Mapping[str, int]]],
        config: TriggerHostsConfig,
        now: Callable[[], datetime],
    ) -> None:
        self.api = api
        self.policy = policy
        self.limits = limits
        self.daemon = daemon
        self.config = config
        self.now = now
        self._daemons = daemons
        self._beats: Mapping[str, int] = {}
        self._wanted: dict[str, PodHost] = {}

    @override
    async def prepare(self, call: TriggerCall, environment: EnvironmentSpec) -> str:
        await trio.lowlevel.checkpoint()
        return image_of(Placement(image=call.image), self.policy)

    @override
    def bundle_of(self, call: TriggerCall) -> str:
        """None: the image has the code."""
        return ""

    @override
    def make(self, key: HostKey, heard: Heard, answer: Answer) -> HostLine:
        return PodHost(self, key, heard=heard, answer=answer)

    def begin(self, host_id: str, host: PodHost) -> None:
        self._wanted[host_id] = host

    def end(self, host_id: str) -> None:
        del self._wanted[host_id]

    # --- what the agents' service asks ---------------------------------------------------------------------------

    def connect(self, host_id: str) -> trio.SocketStream | None:
        """The other end of its line, once."""
        host = self._wanted.get(host_id)
        return None if host is None else host.take_line()

    def exited(self, host_id: str, end: TriggerHostExit) -> None:
        if host := self._wanted.get(host_id):
            host.exit = end

    # --- what others left ----------------------------------------------------------------------------------------

    @override
    async def run(self) -> None:
        while True:
            async with contain(_note):
                await self._delete_orphans()
            await trio.sleep(SWEEP_S)

    async def _delete_orphans(self) -> None:
        before, self._beats = self._beats, await self._daemons()
        alive = {name for name, beat in self._beats.items() if before.get(name) != beat}
        old = self.now() - FRESH
        for pod in (await self.api.list_pods(host_selector(self.policy.installation))).pods:
            is_wanted = pod.try_id in self._wanted if pod.daemon == self.daemon else pod.daemon in alive
            if not is_wanted and pod.facts.created_at < old:
                log.info("trigger_host_pod_orphaned", pod=pod.name, daemon=pod.daemon)
                await self.api.delete_pod(pod.name, uid=pod.uid)


class PodHost(HostLine):
    def __init__(self, owner: PodHosts, key: HostKey, *, heard: Heard, answer: Answer) -> None:
        limits = owner.limits
        super().__init__(
            config=owner.config,
            start_within_s=limits.schedule_s + limits.start_s,
            heard=self._note_pid,
            answer=answer,
        )
        self.exit: TriggerHostExit | None = None
        self._tell = heard
        self._owner = owner
        self._pod = HostPod(
            id=str(uuid.uuid4()),
            daemon=owner.daemon,
            image=key.python,
            runtime=key.runtime,
            # A host that is too large is stopped in peace before the kernel ends it.
            memory_bytes=owner.config.rss_limit_bytes * 5 // 4,
            log_max_bytes=owner.config.log_max_bytes,
        )
        self._line: trio.SocketStream | None = None
        self._talk = trio.CancelScope()
        self._is_created = False
        self._because = ""

    @property
    @override
    def where(self) -> str:
        return f"in pod {self._pod.name}"

    @override
    def log_tail(self) -> str:
        return "" if self.exit is None else self.exit.log_tail

    def take_line(self) -> trio.SocketStream | None:
        line, self._line = self._line, None
        return line

    @override
    async def run(self) -> HostEnd:
        ours, theirs = (trio.SocketStream(trio.socket.from_stdlib_socket(one)) for one in socket.socketpair())
        self._line = theirs
        self._owner.begin(self._pod.id, self)
        try:
            async with trio.open_nursery() as nursery, ours:
                nursery.start_soon(self._bring_up)
                with self._talk:
                    await self._converse(ours)
                nursery.cancel_scope.cancel()
            return await self._how_it_ended()
        finally:
            self._owner.end(self._pod.id)
            if line := self.take_line():
                line.socket.close()
            with trio.move_on_after(REMOVE_WITHIN_S, shield=True):
                await self._remove()

    @override
    def _kill(self) -> None:
        """It hears that we are gone, and its pod is deleted."""
        self._talk.cancel()

    @override
    def _why_not(self) -> str:
        return f": {self._because}" if self._because else ""

    def _note_pid(self, message: FromHost) -> None:
        if isinstance(message, Hello):
            self.pid = message.pid
        self._tell(message)

    # --- from nothing to a host that speaks ----------------------------------------------------------------------

    async def _bring_up(self) -> None:
        await self._create()
        while not self._ready.is_set():
            with trio.move_on_after(LOOK_S):
                await self._ready.wait()
                return
            self._judge_coming(await self._look())

    async def _create(self) -> None:
        pod = build_host_pod(self._pod, self._owner.policy)
        attempt = 0
        while not self._is_created:
            attempt += 1
            self._is_created = True  # also when no answer comes
            try:
                await self._owner.api.create_pod(pod)
            except KubeUnavailable as error:
                await self._try_again(attempt, str(error))
            except KubeRefused as refused:
                if refused.status in HOPELESS:
                    self._end_with(EndKind.NOT_STARTED, f"its pod is refused: {refused}")
                elif refused.reason != "AlreadyExists":
                    await self._try_again(attempt, str(refused), refused.retry_after_s or 0.0)

    async def _try_again(self, attempt: int, because: str, after_s: float = 0.0) -> None:
        self._because = because
        log.warning("trigger_host_pod_waits", pod=self._pod.name, because=because)
        await trio.sleep(max(after_s, backoff_s(attempt)))
        self._is_created = False

    async def _look(self) -> Pod | None:
        """None: it is gone. Raises nothing: what cannot be seen now is seen later."""
        while True:
            try:
                found = await self._owner.api.fetch_pod(self._pod.name)
            except (KubeUnavailable, KubeRefused) as error:
                self._because = str(error)
                await trio.sleep(LOOK_S)
                continue
            return None if isinstance(found, Unreadable) else found

    def _judge_coming(self, pod: Pod | None) -> None:
        if pod is None or pod.facts.deleted_at is not None or pod.facts.disruption:
            self._end_with(EndKind.LOST, "its pod was taken away before it began")
            return
        verdict = judge(pod.facts, self._owner.limits, self._owner.now())
        if isinstance(verdict, Coming):
            self._because = verdict.because
        elif isinstance(verdict, Ended):
            self._end_with(EndKind.NOT_STARTED, verdict.because)

    # --- how it ended --------------------------------------------------------------------------------------------

    async def _how_it_ended(self) -> HostEnd:
        if self._verdict is not None:
            kind, because = self._verdict
            return HostEnd(kind=kind, culprit="" if self.exit is None else self.exit.culprit, because=because)
        if self.exit is not None:
            kind = EndKind.CRASHED if self._ready.is_set() else EndKind.NOT_STARTED
            return HostEnd(kind=kind, culprit=self.exit.culprit, because=_ended_with(self.exit.exit_code))
        kind, because = EndKind.LOST, "the way to its pod was cut"
        with trio.move_on_after(SETTLE_S):
            kind, because = await self._ask_why()
        return HostEnd(kind=kind, culprit="", because=because)

    async def _ask_why(self) -> tuple[EndKind, str]:
        while True:
            pod = await self._look()
            if pod is None or pod.facts.deleted_at is not None:
                return EndKind.LOST, "its pod was deleted"
            verdict = judge(pod.facts, self._owner.limits, self._owner.now())
            if isinstance(verdict, Ended):
                # More memory than its limit is a trigger's doing, the rest is the cluster's.
                return EndKind.LOST if verdict.kind is OutcomeKind.LOST else EndKind.CRASHED, verdict.because
            await trio.sleep(LOOK_S)

    async def _remove(self) -> None:
        """What fails here, the sweep does."""
        if self._is_created:
            try:
                await self._owner.api.delete_pod(self._pod.name)
            except (KubeUnavailable, KubeRefused) as error:
                log.warning("trigger_host_pod_left", pod=self._pod.name, error=str(error))


def _ended_with(code: int) -> str:
    return f"it ended with exit code {code}" if code >= 0 else f"signal {-code} ended it"


async def _note(failure: Exception) -> None:
    log.warning("trigger_host_pods_not_compared", error=str(failure))
    await trio.lowlevel.checkpoint()
