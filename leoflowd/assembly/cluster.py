"""A cluster's parts, by role: tasks run in pods, and any number of daemons share one Postgres (ADR 63).

Every daemon serves API and agents. `scheduler` stands for leader, and who leads launches pods; `pool` watches a share
of the waits; `all` does both.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from leoflowd import telemetry
from leoflowd.assembly.foundation import (
    Led,
    build_api,
    build_heart,
    build_hosts,
    build_leadership,
    build_waits,
    following,
    keep_reports,
    lay_foundation,
)
from leoflowd.assembly.parts import Parts, Term
from leoflowd.assembly.places import Kept
from leoflowd.assembly.pods import LAUNCHER, build_agents, build_pods, build_trigger_hosts, door_of
from leoflowd.config import Config, ConfigRefused, Role
from leoflowd.kube.api import make_api
from leoflowd.kube.credentials import load_credentials
from leoflowd.kube.policy import policy_of
from leoflowd.store import api_users
from leoflowd.store.database import Database
from leoflowd.supervision import Node

ADMIN = "admin"


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
    policy = policy_of(config.kubernetes)
    await _need_admin(db, config.admin_password)
    kube = config.kubernetes
    api = make_api(await load_credentials(kube), namespace=kube.namespace, request_s=kube.request_s)
    base = await lay_foundation(config, db, kept, root, stop, replica=uuid.uuid4().hex[:16], launcher=LAUNCHER)
    hosts = None if config.role is Role.API else build_trigger_hosts(base, api, policy)
    led, agents = Led(), build_agents(base, door_of(config.agents, api, kube.namespace, hosts))
    waits = build_waits(base, hosts) if hosts is not None and config.role.watches else None
    triggers = None if hosts is None else build_hosts(base, hosts) if waits is None else waits.triggers
    leadership = None
    if triggers is not None and config.role.may_lead:
        leadership = build_leadership(
            base, led, agents, waits, triggers, lead=lead, executor=partial(build_pods, base, api, policy)
        )
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
        triggers=triggers,
        leadership=leadership,
        keep_reports=keep_reports(base),
        api=build_api(base, waits, config.api),
        close=api.close,
    )


async def _need_admin(db: Database, password: str | None) -> None:
    """A password in the log of a pod would be read by many: the first one is given. Whom administrators deleted later
    does not come back with the next start."""
    async with db.api.transaction() as conn:
        if await api_users.fetch_has_users(conn):
            return
        if password is not None:
            await api_users.ensure_admin(conn, ADMIN, password, telemetry.utc_now())
        else:
            raise ConfigRefused(
                "there is no user yet: set LEOFLOW_ADMIN_PASSWORD, or LEOFLOW_ADMIN_PASSWORD_FILE, for the first start"
            )
