"""Lite on a cluster: its database, UI and workspace on this machine, its tasks in pods (ADR 66).

Pods come to a door of this machine, over TLS with a certificate that is made here.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import msgspec
import trio

from leoflowd.assembly.foundation import (
    Led,
    build_api,
    build_heart,
    build_leadership,
    build_waits,
    following,
    keep_reports,
    lay_foundation,
)
from leoflowd.assembly.lite import build_workspace, introduce_admin, with_ui
from leoflowd.assembly.parts import Parts, Term
from leoflowd.assembly.places import Kept
from leoflowd.assembly.pods import LAUNCHER, build_agents, build_pods, build_trigger_hosts, door_of
from leoflowd.config import LOOPBACK, AgentsConfig, Config, ConfigRefused, LiteClusterConfig
from leoflowd.contract.errors import KubeUnavailable
from leoflowd.kube.api import KubeApi, KubeRefused, make_api
from leoflowd.kube.credentials import load_credentials
from leoflowd.kube.pod_spec import selector
from leoflowd.kube.policy import policy_of
from leoflowd.lite.certificate import keep_certificate
from leoflowd.lite.editor import Editor
from leoflowd.lite.environments import Environments
from leoflowd.lite.route import address_towards
from leoflowd.store.database import Database
from leoflowd.supervision import Node


async def build(
    config: Config,
    db: Database,
    kept: Kept,
    root: Node,
    stop: trio.Event,
    *,
    lead: Callable[[Term], Awaitable[None]],
    say: Callable[[str], None],
) -> Parts:
    """As `lite.build`. Raises `ConfigRefused`, `KubeUnavailable` and `StoreUnavailable`."""
    lite = config.lite
    assert lite is not None
    assert lite.cluster is not None
    credentials = await load_credentials(config.kubernetes)
    config = await _with_door(config, lite.data_dir, lite.cluster, credentials.host)
    policy = policy_of(config.kubernetes)
    api = make_api(credentials, namespace=policy.namespace, request_s=config.kubernetes.request_s)
    await _look(api, policy.installation, credentials.host)
    await introduce_admin(db, lite, say)
    base = await lay_foundation(config, db, kept, root, stop, replica=uuid.uuid4().hex[:16], launcher=LAUNCHER)
    hosts = build_trigger_hosts(base, api, policy)
    led, agents = Led(), build_agents(base, door_of(config.agents, api, policy.namespace, hosts))
    waits = build_waits(base, hosts)
    environments = Environments(lite.data_dir)
    workspace = build_workspace(base, lite, environments)
    say(f"tasks run in pods of namespace {policy.namespace}, which reach this machine at {policy.agent_address}")
    return Parts(
        hints=base.hints,
        follow_hints=following(base, led),
        pulses=base.pulses,
        refusals=base.refusals,
        logs=base.logs,
        traces=base.traces,
        agents=agents,
        heart=build_heart(base, agents),
        waits=waits,
        triggers=waits.triggers,
        keep_reports=keep_reports(base),
        leadership=build_leadership(
            base, led, agents, waits, waits.triggers, lead=lead, executor=partial(build_pods, base, api, policy)
        ),
        api=build_api(
            base,
            waits,
            await with_ui(config.api, lite.ui_version, say),
            reparse=workspace.reparse,
            editor=Editor(lite.workspace, workspace),
        ),
        environments=environments,
        workspace=workspace,
        close=api.close,
    )


async def _with_door(config: Config, data_dir: Path, cluster: LiteClusterConfig, server: str) -> Config:
    """Where pods come in, and what they trust."""
    host, port = cluster.agent_host, cluster.agent_port
    if not host:
        host = await trio.to_thread.run_sync(address_towards, server)
        if host in LOOPBACK:
            raise ConfigRefused(
                f"the API server {server} is on this machine, and pods cannot come back that way: give "
                "--agent-address, the name or address of this machine as pods see it (k3d: host.k3d.internal; kind: "
                "the gateway of its Docker network)"
            )
    certificate = await trio.to_thread.run_sync(keep_certificate, data_dir / "agent", host)
    listen = f"127.0.0.1:{port}" if host in LOOPBACK else f"0.0.0.0:{port}"
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return msgspec.structs.replace(
        config,
        agents=AgentsConfig(
            listen=listen, log_dir=config.agents.log_dir, tls_cert=certificate.file, tls_key=certificate.file
        ),
        kubernetes=msgspec.structs.replace(config.kubernetes, agent_address=address, agent_ca=certificate.pem),
    )


async def _look(api: KubeApi, installation: str, server: str) -> None:
    """Whoever starts Lite at a terminal hears at once that a cluster is away, or refuses."""
    try:
        await api.list_pods(selector(installation))
    except KubeRefused as refused:
        raise ConfigRefused(
            f"the cluster at {server} refuses to list pods: {refused}; what the user of the kubeconfig has to be "
            "allowed is in helm/rbac.yaml"
        ) from refused
    except KubeUnavailable as away:
        raise ConfigRefused(f"the cluster at {server} cannot be used: {away}; is it started?") from away
