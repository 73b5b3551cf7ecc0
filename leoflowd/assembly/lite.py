"""Lite's parts: one host agent, environments and a workspace of its own, and a Postgres that is embedded or given."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import msgspec
import trio

from leoflowd import telemetry
from leoflowd.agents.service import AgentService
from leoflowd.assembly.foundation import (
    SHIM,
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
    variables_of,
)
from leoflowd.assembly.parts import Parts, Term
from leoflowd.assembly.places import Kept
from leoflowd.cheap_tasks.trigger_host_process import ProcessHosts
from leoflowd.config import OWN_MACHINE, ApiConfig, Config, ConfigRefused, LiteConfig, ProcessConfig
from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.executors.launches import Launches
from leoflowd.executors.process import ProcessExecutor, make_host_token
from leoflowd.lite.editor import Editor
from leoflowd.lite.environments import Environments
from leoflowd.lite.npm_packages import place_of
from leoflowd.lite.passwords import ADMIN, set_up_admin
from leoflowd.lite.ui_assets import prepare_ui
from leoflowd.lite.workspace import Workspace
from leoflowd.store.database import Database
from leoflowd.store.loadable import fetch_loadable
from leoflowd.store.secret_box import box_of
from leoflowd.supervision import Node


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """Where this machine's tasks run, and how its agent reaches us."""

    process: ProcessConfig
    socket: Path
    token: str
    launches: Launches
    environments: Environments


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
    """`lead` runs a term's parts until it is cancelled; `say` gets what is meant for the person who started us.

    Raises `ConfigRefused`, and `StoreUnavailable`.
    """
    if config.lite is None or config.process is None or config.agents.socket is None:
        raise ConfigRefused("Lite needs its folders: start it with `leoflow lite`")
    await introduce_admin(db, config.lite, say)
    if config.egress.allow == OWN_MACHINE:
        say(f"sensors may ask this machine's own servers ({OWN_MACHINE}); LEOFLOW_EGRESS_ALLOW= shuts them out")
    host = Host(
        process=config.process,
        socket=config.agents.socket,
        token=make_host_token(config.process.host_token_file),
        launches=Launches(),
        environments=Environments(config.lite.data_dir),
    )
    # The same for as long as the data folder lives: the agent goes on through restarts of the daemon.
    replica = hashlib.sha256(host.token.encode()).hexdigest()[:16]
    base = await lay_foundation(config, db, kept, root, stop, replica=replica)
    led, agents = Led(), _agents(base, host)
    executor = _executor(base, host, agents)
    waits = build_waits(base, _trigger_hosts(base, host))
    workspace = build_workspace(base, config.lite, host.environments)
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
        executor=executor,
        keep_reports=keep_reports(base),
        leadership=build_leadership(base, led, agents, waits, waits.triggers, waiting=executor.known_tries, lead=lead),
        api=build_api(
            base,
            waits,
            await with_ui(config.api, config.lite.ui_version, say),
            reparse=workspace.reparse,
            is_building=executor.is_building_for,
            editor=Editor(config.lite.workspace, workspace),
        ),
        environments=host.environments,
        workspace=workspace,
    )


async def introduce_admin(db: Database, lite: LiteConfig, say: Callable[[str], None]) -> None:
    password = await set_up_admin(db, lite.admin_password, telemetry.utc_now())
    if password is not None:
        say(f"admin: user {ADMIN}, password {password}  (shown once; `leoflow lite reset-password` makes another)")


async def with_ui(api: ApiConfig, version: str, say: Callable[[str], None]) -> ApiConfig:
    ui_dir = await trio.to_thread.run_sync(lambda: prepare_ui(api.ui_dir or Path(), progress=say, version=version))
    packages_dir = place_of(api.packages_dir or Path())  # as `setup.prepare` left it
    return msgspec.structs.replace(api, ui_dir=ui_dir, packages_dir=packages_dir)


def build_workspace(base: Foundation, lite: LiteConfig, environments: Environments) -> Workspace:
    return Workspace(
        lite,
        base.db,
        base.now,
        environments=environments,
        loadable=partial(fetch_loadable, base.db, box_of(base.config.secrets)),
        hints=base.hints.subscribe(),
        paused_at_creation=base.config.dags.paused_at_creation,
    )


def _agents(base: Foundation, host: Host) -> AgentService:
    return AgentService(
        db=base.db,
        logs=base.logs,
        reports=base.inbox,
        launches=host.launches,
        refuse=base.refusals.refuse,
        hints=base.hints.subscribe(),
        socket=host.socket,
        try_secret=base.try_secret,
        host_token=host.token,
        launcher=base.replica,
        now=base.now,
        connections=connections_of(base, base.db.agents),
        variables=variables_of(base, base.db.agents),
        silence_max_s=base.config.scheduler.agent_silence_s,
        callback_timeout_s=base.config.callbacks.timeout_s,
        traceparent=base.traceparent,
    )


def _executor(base: Foundation, host: Host, agents: AgentService) -> ProcessExecutor:
    return ProcessExecutor(
        config=host.process,
        socket=host.socket,
        shim=SHIM,
        dispatches=base.dispatches_out,
        launches=host.launches,
        try_secret=base.try_secret,
        python_for=partial(_python_for, host.environments),
        refuse=base.refusals.refuse,
        silent_s=agents.silent_s,
        silence_max_s=base.config.scheduler.agent_silence_s,
        stop_agent=lambda: agents.shut_down_hosts(grace_s=host.process.stop_grace_s, reason="Leoflow Lite was stopped"),
    )


def _trigger_hosts(base: Foundation, host: Host) -> ProcessHosts:
    return ProcessHosts(
        python_for=partial(_python_for, host.environments),
        bundle_path=host.process.bundles.joinpath,
        shim=SHIM,
        logs=base.config.agents.log_dir / "trigger-hosts",
        config=base.config.triggers,
    )


async def _python_for(environments: Environments, environment: EnvironmentSpec) -> str:
    return str(await trio.to_thread.run_sync(environments.ensure, environment))
