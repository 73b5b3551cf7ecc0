"""Every knob, with unit, default and check. Read once at start; handed down as frozen structs.

`lite_config` builds the laptop edition's; `from_environment` reads `LEOFLOW_<SECTION>_<FIELD>` for a cluster role.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from leoflowd.contract.errors import LeoflowError

LITE_PORT = 8088
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class ConfigRefused(LeoflowError):
    """A setting is missing, unknown or contradicts another; the message names it."""


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections."""


class ApiConfig(Section, frozen=True, kw_only=True):
    host: str = "127.0.0.1"
    port: int = LITE_PORT
    base_path: str = "/"
    """URL path under which everything is served; begins and ends with a slash."""
    instance_name: str = "Leoflow"
    edition: str = ""
    """`LITE` shows the badge."""
    ui_dir: Path | None = None
    """Folder of the extracted Airflow UI; None serves the API alone."""
    auto_refresh_interval_s: int = 3
    token_ttl_s: int = 86_400
    cli_token_ttl_s: int = 86_400
    allowed_hosts: tuple[str, ...] = ()
    """Host header values accepted beside loopback names and `host`."""
    bundles: Path | None = None
    """Lite: where the code of versions lies. A pushed artifact whose code is not there is refused."""
    drain_s: float = 3.0
    """How long open requests may take when the daemon stops."""


class SchedulerConfig(Section, frozen=True, kw_only=True):
    sweep_interval_s: float = 5.0
    """The guarantee behind every lost hint."""
    batch_max: int = 256
    """Transitions' worth of events taken into one commit."""
    leader_heartbeat_s: float = 2.0
    leader_retry_s: float = 0.5
    agent_silence_s: float = 60.0
    """A try whose agent said nothing for so long is lost."""


class AgentsConfig(Section, frozen=True, kw_only=True):
    socket: Path | None = None
    """Unix socket of the agent service (Lite)."""
    log_dir: Path = Path("/var/log/leoflow")


class ProcessConfig(Section, frozen=True, kw_only=True):
    """Lite's executor: where its agent lives and what it needs."""

    spool: Path
    lock: Path
    host_token_file: Path
    bundles: Path
    venvs: Path
    agent_log: Path
    stop_grace_s: float = 5.0


class LiteConfig(Section, frozen=True, kw_only=True):
    workspace: Path
    data_dir: Path
    host: str = "127.0.0.1"
    port: int = LITE_PORT
    postgres: str | None = None
    """conninfo or URL of a Postgres of your own; None = embedded."""
    admin_password: str | None = None
    """From LEOFLOW_ADMIN_PASSWORD; None = made at first start and printed once."""


class Config(Section, frozen=True, kw_only=True):
    database: str | None = None
    """conninfo; None = Lite's embedded Postgres."""
    api: ApiConfig = ApiConfig()
    scheduler: SchedulerConfig = SchedulerConfig()
    agents: AgentsConfig = AgentsConfig()
    process: ProcessConfig | None = None
    lite: LiteConfig | None = None


def lite_config(lite: LiteConfig) -> Config:
    """Everything of a Lite installation, from its flags. Raises `ConfigRefused`."""
    if not 1 <= lite.port <= 65535:
        raise ConfigRefused(f"--port {lite.port} is no port; choose 1 to 65535")
    data = lite.data_dir
    return Config(
        database=lite.postgres,
        api=ApiConfig(host=lite.host, port=lite.port, edition="LITE", ui_dir=data / "ui", bundles=data / "bundles"),
        agents=AgentsConfig(socket=data / "agent" / "agents.sock", log_dir=data / "logs"),
        process=ProcessConfig(
            spool=data / "agent" / "spool",
            lock=data / "agent" / "lock",
            host_token_file=data / "agent" / "host_token",
            bundles=data / "bundles",
            venvs=data / "venvs",
            agent_log=data / "agent" / "agent.log",
        ),
        lite=lite,
    )


def from_environment(environment: Mapping[str, str] = os.environ) -> Config:
    """`LEOFLOW_DATABASE`, `LEOFLOW_API_PORT`, `LEOFLOW_SCHEDULER_SWEEP_INTERVAL_S`, ... Raises `ConfigRefused`."""
    sections: dict[str, type[Section]] = {"api": ApiConfig, "scheduler": SchedulerConfig, "agents": AgentsConfig}
    found: dict[str, dict[str, str]] = {name: {} for name in sections}
    for name, section in sections.items():
        for field in msgspec.structs.fields(section):
            variable = f"LEOFLOW_{name}_{field.name}".upper()
            if variable in environment:
                found[name][field.name] = environment[variable]
    try:
        parts: dict[str, Any] = {
            name: msgspec.convert(found[name], section, strict=False, dec_hook=_from_text)
            for name, section in sections.items()
        }
    except msgspec.ValidationError as error:
        raise ConfigRefused(f"a LEOFLOW_ setting is wrong: {error}") from error
    return Config(database=environment.get("LEOFLOW_DATABASE"), **parts)


def _from_text(kind: type, value: str) -> object:
    if kind is Path:
        return Path(value)
    raise NotImplementedError
