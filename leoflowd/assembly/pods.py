"""The parts of an edition whose tries run in pods: executor, watcher, and the door for their agents (ADR 59).

Assemblies with a cluster call these: that of roles, and Lite on a cluster.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Collection
from datetime import timedelta
from functools import partial

from leoflowd.agents.incoming import outcome_of
from leoflowd.agents.service import AgentService, Door
from leoflowd.assembly.foundation import Foundation, connections_of, tell_end, variables_of
from leoflowd.cheap_tasks.trigger_host_pod import PodHosts
from leoflowd.config import LOOPBACK, AgentsConfig, ConfigRefused
from leoflowd.contract.agent_messages import Outcome
from leoflowd.core.staging import RunEnd
from leoflowd.executors.launches import Launches
from leoflowd.executors.pod_launcher import PodLauncher
from leoflowd.executors.pod_tracing import PodTracing
from leoflowd.executors.pod_watcher import PodLife, PodWatcher
from leoflowd.executors.pods import Pods
from leoflowd.executors.staging import StagingCollector
from leoflowd.kube.api import KubeApi
from leoflowd.kube.claims import claim_selector
from leoflowd.kube.identity import PodIdentities
from leoflowd.kube.pod_spec import selector
from leoflowd.kube.policy import PodPolicy, limits_of
from leoflowd.kube.watch import PodWatch
from leoflowd.store.callbacks import list_callback_tries
from leoflowd.store.database import Database
from leoflowd.store.replicas import list_others
from leoflowd.store.staging import list_run_ends
from leoflowd.store.tries import list_tries
from leoflowd.store.try_pods import fetch_pod_uid

LAUNCHER = "pods"
"""The `launcher` of every replica: pods belong to the installation, not to the daemon that created them."""


def build_pods(base: Foundation, api: KubeApi, policy: PodPolicy) -> Pods:
    """For one term of the daemon that leads."""
    config = base.config.kubernetes
    watcher = PodWatcher(
        api=api,
        follow=lambda **started: watch.run(**started),
        tell=lambda try_id, outcome: _tell(base, try_id, outcome),
        live=lambda try_ids: live_tries(base.db, try_ids),
        limits=limits_of(config),
        now=base.now,
        over=_tracer(base),
    )
    watch = PodWatch(api, selector=selector(policy.installation), watch_s=config.watch_s, tell=watcher.see)
    launcher = PodLauncher(
        api=api,
        policy=policy,
        dispatches=base.dispatches_out.clone(),
        refuse=base.refusals.refuse,
        pending=watcher.pending,
        has_pod=watcher.has_pod,
        has_begun=partial(_has_begun, base.db),
        now=base.now,
        at_once=config.creates_at_once,
    )
    collector = StagingCollector(
        api=api,
        selector=claim_selector(policy.installation),
        runs=partial(_runs, base.db),
        ttl=timedelta(seconds=config.staging_ttl_s),
        now=base.now,
    )
    return Pods(launcher=launcher, watcher=watcher, watch=watch, collector=collector)


def _tracer(base: Foundation) -> Callable[[PodLife], None]:
    if base.traces is None or base.trace_ids is None:
        return lambda _: None
    return PodTracing(base.trace_ids, base.traces.offer).over


async def _has_begun(db: Database, try_id: str) -> bool:
    async with db.agents.connection() as conn:
        return await fetch_pod_uid(conn, try_id) is not None


async def _runs(db: Database, ids: Collection[int]) -> dict[int, RunEnd]:
    async with db.agents.connection() as conn:
        return await list_run_ends(conn, ids)


def build_trigger_hosts(base: Foundation, api: KubeApi, policy: PodPolicy) -> PodHosts:
    """Of a daemon that watches waits."""
    return PodHosts(
        api=api,
        policy=policy,
        limits=limits_of(base.config.kubernetes),
        daemon=base.replica,
        daemons=partial(_daemons, base),
        config=base.config.triggers,
        now=base.now,
    )


async def _daemons(base: Foundation) -> dict[str, int]:
    async with base.db.pool.connection() as conn:
        return {row.id: row.beat for row in await list_others(conn, base.replica)}


def build_agents(base: Foundation, door: Door) -> AgentService:
    """For agents of pods alone."""
    return AgentService(
        db=base.db,
        logs=base.logs,
        reports=base.inbox,
        launches=Launches(),
        refuse=base.refusals.refuse,
        hints=base.hints.subscribe(),
        socket=None,
        try_secret=base.try_secret,
        host_token="",  # no host agent comes: there is no socket
        launcher=base.launcher,
        now=base.now,
        connections=connections_of(base, base.db.agents),
        variables=variables_of(base, base.db.agents),
        silence_max_s=base.config.scheduler.agent_silence_s,
        callback_timeout_s=base.config.callbacks.timeout_s,
        door=door,
        traceparent=base.traceparent,
    )


def door_of(config: AgentsConfig, api: KubeApi, namespace: str, hosts: PodHosts | None) -> Door:
    """`hosts`: of a daemon that watches waits. Raises `ConfigRefused`: off loopback there is no plain text but on
    purpose."""
    host, colon, port = config.listen.rpartition(":")
    if not colon or not port.isdecimal():
        raise ConfigRefused(
            f"LEOFLOW_AGENTS_LISTEN is {config.listen!r}: give the host:port where pods reach this daemon, such as "
            "0.0.0.0:9090"
        )
    if config.tls_cert is None and host not in LOOPBACK and not config.plain_text:
        raise ConfigRefused(
            f"LEOFLOW_AGENTS_LISTEN is {config.listen}, and LEOFLOW_AGENTS_TLS_CERT is not set: agents would send "
            "tokens and results in the clear. Name a certificate, or set LEOFLOW_AGENTS_PLAIN_TEXT if a mesh encrypts"
        )
    identities = PodIdentities(api, namespace=namespace)
    return Door(host.strip("[]"), int(port), tls_of(config), identities, trigger_hosts=hosts)


def tls_of(config: AgentsConfig) -> ssl.SSLContext | None:
    """Raises `ConfigRefused`."""
    if config.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigRefused(f"LEOFLOW_AGENTS_TLS_CERT, LEOFLOW_AGENTS_TLS_KEY: {error}") from error
    return context


async def live_tries(db: Database, try_ids: Collection[str]) -> frozenset[str]:
    """Those of them that are current, of tasks and of callbacks."""
    async with db.agents.connection() as conn:
        rows = (*await list_tries(conn, list(try_ids)), *await list_callback_tries(conn, list(try_ids)))
    return frozenset(str(row.id) for row in rows if row.live)


async def _tell(base: Foundation, try_id: str, outcome: Outcome) -> None:
    """What its pod left may be of user code: it is opened and checked as if an agent had told it."""
    await tell_end(base.db, base.inbox, try_id, outcome_of(outcome, None, base.now()))
