"""The parts of an edition whose tries run in pods: executor, watcher, and the door for their agents (ADR 59).

An assembly of roles calls these; nothing of Lite does.
"""

from __future__ import annotations

import ssl
from collections.abc import Collection

from leoflowd.agents.incoming import outcome_of
from leoflowd.agents.service import Door
from leoflowd.assembly.foundation import Foundation, tell_end
from leoflowd.config import LOOPBACK, AgentsConfig, ConfigRefused
from leoflowd.contract.agent_messages import Outcome
from leoflowd.executors.pod_launcher import PodLauncher
from leoflowd.executors.pod_watcher import PodWatcher
from leoflowd.executors.pods import Pods
from leoflowd.kube.api import KubeApi
from leoflowd.kube.identity import PodIdentities
from leoflowd.kube.pod_spec import selector
from leoflowd.kube.policy import PodPolicy, limits_of
from leoflowd.kube.watch import PodWatch
from leoflowd.store.callbacks import list_callback_tries
from leoflowd.store.database import Database
from leoflowd.store.tries import list_tries

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
    )
    watch = PodWatch(api, selector=selector(policy.installation), watch_s=config.watch_s, tell=watcher.see)
    launcher = PodLauncher(
        api=api,
        policy=policy,
        dispatches=base.dispatches_out.clone(),
        refuse=base.refusals.refuse,
        pending=watcher.pending,
        has_pod=watcher.has_pod,
        at_once=config.creates_at_once,
    )
    return Pods(launcher=launcher, watcher=watcher, watch=watch)


def door_of(config: AgentsConfig, api: KubeApi, namespace: str) -> Door:
    """Raises `ConfigRefused`: off loopback there is no plain text but on purpose."""
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
    return Door(host.strip("[]"), int(port), tls_of(config), PodIdentities(api, namespace=namespace))


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
