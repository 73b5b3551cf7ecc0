"""A cluster's parts, by role: tasks run in pods, and any number of daemons share one Postgres (ADR 63).

Every daemon serves API and agents. `scheduler` stands for leader, and who leads launches pods; `pool` watches a share
of the waits; `all` does both.
"""

from __future__ import annotations

import ssl
import uuid
from collections.abc import Awaitable, Callable, Collection
from functools import partial

import trio

from leoflowd import telemetry
from leoflowd.agents.service import AgentService, Door
from leoflowd.assembly.foundation import (
    Foundation,
    Led,
    build_api,
    build_heart,
    build_leadership,
    build_waits,
    connections_of,
    following,
    keep_reports,
    lay_foundation,
    tell_outcome,
    variables_of,
)
from leoflowd.assembly.parts import Parts, Term
from leoflowd.config import LOOPBACK, AgentsConfig, Config, ConfigRefused
from leoflowd.contract.agent_messages import Outcome
from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.contract.errors import Invalid
from leoflowd.executors.launches import Launches
from leoflowd.executors.pods import LAUNCHER, Pods
from leoflowd.kube.api import KubeApi, make_api
from leoflowd.kube.credentials import load_credentials
from leoflowd.kube.identity import PodIdentities
from leoflowd.kube.policy import PodPolicy, policy_of
from leoflowd.store import api_users, tries
from leoflowd.store.callbacks import list_callback_tries
from leoflowd.store.database import Database
from leoflowd.supervision import Node

ADMIN = "admin"


async def build(
    config: Config,
    db: Database,
    root: Node,
    stop: trio.Event,
    *,
    lead: Callable[[Term], Awaitable[None]],
    say: Callable[[str], None],
) -> Parts:
    """As `lite.build`. Raises `ConfigRefused`, `KubeUnavailable` and `StoreUnavailable`."""
    policy = policy_of(config.kubernetes)
    door = parse_door(config.agents)
    await _need_admin(db, config.admin_password)
    kube = config.kubernetes
    api = make_api(await load_credentials(kube), namespace=kube.namespace, request_s=kube.request_s)
    base = await lay_foundation(config, db, root, stop, replica=uuid.uuid4().hex[:16], launcher=LAUNCHER)
    led, agents = Led(), _agents(base, door, api)
    waits = build_waits(base, _no_trigger_hosts) if config.role.watches else None
    leadership = None
    if config.role.may_lead:
        leadership = build_leadership(base, led, agents, waits, lead=lead, executor=partial(_pods, base, api, policy))
    return Parts(
        hints=base.hints,
        follow_hints=following(base, led),
        pulses=base.pulses,
        refusals=base.refusals,
        agents=agents,
        heart=build_heart(base, agents),
        waits=waits,
        leadership=leadership,
        keep_reports=keep_reports(base),
        api=build_api(base, waits, config.api),
        close=api.close,
    )


def _pods(base: Foundation, api: KubeApi, policy: PodPolicy) -> Pods:
    return Pods(
        api=api,
        config=base.config.kubernetes,
        policy=policy,
        dispatches=base.dispatches_out.clone(),
        refuse=base.refusals.refuse,
        tell=partial(_tell, base),
        live=partial(_live, base.db),
        now=base.now,
    )


async def _tell(base: Foundation, try_id: str, outcome: Outcome) -> None:
    """What a pod that ended says of its try; returns when it is committed, or nobody wants to know."""
    await tell_outcome(base.db, base.inbox, try_id, outcome)


async def _live(db: Database, try_ids: Collection[str]) -> frozenset[str]:
    async with db.agents.connection() as conn:
        rows = [*await tries.list_tries(conn, list(try_ids)), *await list_callback_tries(conn, list(try_ids))]
    return frozenset(str(row.id) for row in rows if row.live)


def _agents(base: Foundation, door: Door, api: KubeApi) -> AgentService:
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
        door=Door(door.host, door.port, door.tls, PodIdentities(api, namespace=base.config.kubernetes.namespace)),
    )


def parse_door(config: AgentsConfig) -> Door:
    """Where pods come in. Raises `ConfigRefused` for what would send tokens in the clear."""
    host, colon, port = config.listen.rpartition(":")
    if not colon or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigRefused(
            f"LEOFLOW_AGENTS_LISTEN is {config.listen!r}: set the host:port where pods reach this daemon, such as "
            "0.0.0.0:9090"
        )
    if config.tls_cert is None or config.tls_key is None:
        if config.plain_text or host in LOOPBACK:
            return Door(host, int(port), None)
        raise ConfigRefused(
            "LEOFLOW_AGENTS_TLS_CERT and LEOFLOW_AGENTS_TLS_KEY are not set: agents send the tokens of their tries; "
            "where a mesh encrypts, say so with LEOFLOW_AGENTS_PLAIN_TEXT=true"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigRefused(f"certificate and key of LEOFLOW_AGENTS_TLS_* cannot be used: {error}") from error
    context.set_alpn_protocols(["h2"])
    return Door(host, int(port), context)


async def _need_admin(db: Database, password: str | None) -> None:
    """A password in the log of a pod would be read by many: the first one is given."""
    async with db.api.transaction() as conn:
        if password is not None:
            await api_users.ensure_admin(conn, ADMIN, password, telemetry.utc_now())
        elif await api_users.fetch_user(conn, ADMIN) is None:
            raise ConfigRefused(
                "there is no user yet: set LEOFLOW_ADMIN_PASSWORD, or LEOFLOW_ADMIN_PASSWORD_FILE, for the first start"
            )


async def _no_trigger_hosts(_environment: EnvironmentSpec) -> str:
    await trio.lowlevel.checkpoint()
    raise Invalid(
        "a trigger class that Leoflow does not know cannot run in a cluster yet: set deferrable=False, or use a sensor "
        "that is a native wait"
    )
