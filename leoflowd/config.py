"""Every knob, with unit, default and check. Read once at start; handed down as frozen structs.

`lite_config` builds the laptop edition's; `from_environment` reads `LEOFLOW_<SECTION>_<FIELD>` for a cluster role.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_origin

import msgspec

from leoflowd.contract.errors import LeoflowError
from leoflowd.contract.otel_settings import OtelSettings, otel_settings
from leoflowd.contract.overriding import override
from leoflowd.contract.ui_builds import UI_VERSION

LITE_PORT = 8088
AGENT_PORT = 8089
"""Of Lite's door for pods."""
KEY_FILE = "secret_key"
"""In Lite's data folder, outside the database: a dump of the database alone opens no secret."""
Positive = Annotated[float, msgspec.Meta(gt=0)]
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
OWN_MACHINE = "127.0.0.0/8, [::1]"
"""What Lite on a laptop lets sensors and inline HTTP tasks ask, beyond the internet, unless it is told otherwise."""


class Role(StrEnum):
    """What a daemon of a cluster does; every one serves API and agents."""

    ALL = "all"
    API = "api"
    """Nothing beside that."""
    SCHEDULER = "scheduler"
    """Stands for leader; who leads schedules, launches pods and keeps up with them."""
    POOL = "pool"
    """Watches a share of the waits."""

    @property
    def may_lead(self) -> bool:
        return self in (Role.ALL, Role.SCHEDULER)

    @property
    def watches(self) -> bool:
        return self in (Role.ALL, Role.POOL)


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
    packages_dir: Path | None = None
    """Folder with `scalar/` for `/docs` and, in Lite, `monaco/` for the editor; what is not there is done without."""
    auto_refresh_interval_s: int = 3
    token_ttl_s: int = 86_400
    cli_token_ttl_s: int = 86_400
    allowed_hosts: tuple[str, ...] = ()
    """Host header values accepted beside loopback names and `host`."""
    bundles: Path | None = None
    """Lite: where the code of versions lies. A pushed artifact whose code is not there is refused."""
    drain_s: float = 3.0
    """How long open requests may take when the daemon stops."""
    test_connection: bool = True
    """Whether people who may edit connections may have the server try one. What it may reach is egress policy."""
    metrics_token: str = ""
    """Bearer token that reads `/metrics` from another machine; empty = only this machine may."""

    @override
    def __repr__(self) -> str:
        return f"ApiConfig(host={self.host!r}, port={self.port!r}, base_path={self.base_path!r})"


class Passwords(StrEnum):
    """Who may log in with one, where an identity provider vouches for people."""

    ALL = "all"
    """All users that are of this server."""
    ADMINS = "admins"
    """Administrators of this server: for the day on which the provider is down."""
    NONE = "none"


class OidcConfig(Section, frozen=True, kw_only=True):
    """Logins by OpenID Connect (ADR 91)."""

    issuer: str = ""
    """As the provider writes it in its tokens; empty = there is none."""
    public_url: str = ""
    """Under which browsers reach this server, base path included: `https://leoflow.example.com`. The provider is told
    `<public_url>/auth/oidc/callback`."""
    client_id: str = ""
    client_secret: str = ""
    client_secret_file: Path | None = None
    """Holds the secret, and nothing else; read at every login. Neither: a public client, which PKCE alone protects."""
    scopes: str = "openid profile email"
    username_claims: tuple[str, ...] = ("preferred_username", "email")
    """The first of them that is there is the user's name."""
    groups_claim: str = "groups"
    """`realm_access.roles` is one inside another."""
    group_roles: str = ""
    """`GROUP=ROLE; GROUP=ROLE`: whose roles follow at each login."""
    group_teams: str = ""
    """`GROUP=TEAM; GROUP=TEAM`, likewise."""
    default_role: str = ""
    """Of whom no group gives one; empty = he may not log in. Without `group_roles`: that of a new user."""
    email_domains: tuple[str, ...] = ()
    """Only verified addresses of these may log in; empty = all."""
    name: str = "single sign-on"
    """On the button: "Log in with ..."."""
    passwords: Passwords = Passwords.ALL
    session_ttl_s: Annotated[int, msgspec.Meta(ge=60)] = 3600
    """Then the provider is asked again, who knows the groups of that moment; browsers do so by themselves."""
    end_session: bool = True
    """Logging out ends the session at the provider, too."""
    ca_file: Path | None = None
    """CAs of the provider, where the system does not know them."""
    timeout_s: Positive = 10.0
    """For each answer of the provider."""

    @override
    def __repr__(self) -> str:
        return f"OidcConfig(issuer={self.issuer!r}, client_id={self.client_id!r})"


class AdmissionConfig(Section, frozen=True, kw_only=True):
    """Whose versions a cluster runs (ADR 105)."""

    signers: tuple[str, ...] = ()
    """Public keys as in `~/.ssh/authorized_keys`: `ssh-ed25519 AAAA... name`. Signatures are checked with them."""
    require_signed: bool = False
    """A version that none of them signed is refused, whoever brings it."""


class SchedulerConfig(Section, frozen=True, kw_only=True):
    sweep_interval_s: float = 5.0
    """The guarantee behind every lost hint."""
    batch_max: int = 256
    """Transitions' worth of events taken into one commit."""
    leader_heartbeat_s: float = 2.0
    leader_retry_s: float = 0.5
    agent_silence_s: Annotated[float, msgspec.Meta(ge=15)] = 60.0
    """An agent that says nothing for so long is ended; a try of which nothing was heard for a beat more is lost. Agents
    speak every five seconds, and for each try every ten."""
    views_max_instances: int = 50_000
    """Task instances kept in memory (about 0.6 KB each); beyond it, runs that only wait are dropped and read again."""
    max_map_length: Annotated[int, msgspec.Meta(ge=1)] = 1024
    """Items of one output that tasks may be mapped over; a task that returns more fails."""


class DagsConfig(Section, frozen=True, kw_only=True):
    """What holds for DAGs that say nothing of it."""

    paused_at_creation: bool = False
    """A new DAG does not run before somebody turns it on."""


class StoreConfig(Section, frozen=True, kw_only=True):
    """How long Postgres may take (ADR 22)."""

    connect_s: Positive = 10.0
    statement_s: Positive = 30.0
    """For each answer: longer than the largest DAG takes to register on a busy laptop."""
    long_statement_s: Positive = 600.0
    """For what deletes or reads a table's worth of rows: a DAG with its history, dead waits, a new key."""
    migration_s: Positive = 3600.0
    silence_s: Positive = 5.0
    """Leader and hint listener take Postgres for gone when it does not answer for so long, and it them after twice."""


AUDIT_DAYS_MIN = 30
"""A task that asked for a run finds that run in the audit log when it asks again after a restart."""


class RetentionConfig(Section, frozen=True, kw_only=True):
    """How much history is kept (ADR 93). All limits are off at first: nothing is ever removed."""

    days: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """Dag runs that were due, and ended, longer ago are removed with all that is theirs; 0 = never."""
    runs_per_dag: Annotated[int, msgspec.Meta(ge=0)] = 0
    """So many ended runs of each DAG are kept, the newest; 0 = all."""
    audit_days: float = 0.0
    """Rows of the audit log that are older are removed, in the order in which they were sealed (ADR 101); 0 = never."""
    interval_s: Positive = 300.0
    """How often it is looked for some."""
    pause_s: Positive = 0.5
    """Between two batches of about 2,000 task instances, or 500 rows of the audit log."""

    def __post_init__(self) -> None:
        if self.audit_days and not self.audit_days >= AUDIT_DAYS_MIN:
            raise ValueError(f"audit_days is {self.audit_days:g}; give at least {AUDIT_DAYS_MIN}, or 0 to keep all")


class AgentsConfig(Section, frozen=True, kw_only=True):
    socket: Path | None = None
    """Unix socket of the agent service (Lite)."""
    log_dir: Path = Path("/var/log/leoflow")
    listen: str = ""
    """`host:port` for agents of other machines (pods); empty = the socket alone."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    """Certificate chain and key of that port, for the name under which pods reach it."""
    plain_text: bool = False
    """No TLS on that port although it is not loopback: only where a mesh encrypts."""


class LogsConfig(Section, frozen=True, kw_only=True):
    """Where task logs are kept (ADR 61)."""

    url: str = ""
    """`s3://bucket/prefix`, `gs://...`, `az://...` or `file:///folder`; empty = files in `agents.log_dir`. Credentials,
    region and endpoint come from the environment, under the names that the store's own tools use."""
    interval_s: Positive = 1.0
    """Between two segments of one log."""
    timeout_s: Positive = 10.0
    """For each trip to the store."""


class RedisConfig(Section, frozen=True, kw_only=True):
    """XCom values and the live ends of logs in Redis (ADR 60)."""

    url: str = ""
    """`redis://user:password@host:6379/0`, `rediss://...` for TLS, `unix://...`; empty = no Redis. Behind `?` what the
    client knows, such as `ssl_ca_certs=/path`, `ssl_certfile=/path`, `ssl_keyfile=/path`."""
    cluster: bool = False
    """The URL names one node of a Redis cluster."""
    sentinels: str = ""
    """`host:26379, host:26379`: ask these who the master is; database, user, password and TLS are those of the URL. TLS
    is spoken with the sentinels too; one that wants a password has it before its host: `:password@host:26379`."""
    master: str = "mymaster"
    """Its name, for the sentinels."""
    timeout_s: Positive = 1.0
    """For each trip; after it values go to the database for a while."""
    xcom_ttl_s: Annotated[int, msgspec.Meta(ge=60)] = 604_800
    """A value that nobody reads for so long is gone."""
    xcom_min_bytes: Annotated[int, msgspec.Meta(ge=0)] = 16_384
    """Smaller values stay in the database, where they cost less than a trip."""

    @override
    def __repr__(self) -> str:
        return f"RedisConfig(cluster={self.cluster!r}, master={self.master!r})"


class XComsConfig(Section, frozen=True, kw_only=True):
    """Results beyond 256 KiB, which are refused otherwise (ADR 61)."""

    large_url: str = ""
    """Where they are kept, as `logs.url` has it; empty = nowhere."""
    large_max_bytes: Annotated[int, msgspec.Meta(ge=262_144, le=6_291_456)] = 4_194_304
    """The largest one. A message of an agent carries 16 MiB at most, and all values that a task pulls at once."""
    timeout_s: Positive = 5.0
    """For each trip to the store."""


class SecretsConfig(Section, frozen=True, kw_only=True):
    """The keys that connections are encrypted with (ADR 14)."""

    keys: str = ""
    """`id:base64,id:base64`, each 32 bytes: the first one encrypts, all of them decrypt."""
    key_file: Path | None = None
    """More keys, one per line, after those of `keys`; made at the first start. Lite's is in its data folder."""

    @override
    def __repr__(self) -> str:
        return f"SecretsConfig(key_file={self.key_file!r})"


class EgressConfig(Section, frozen=True, kw_only=True):
    """Where sensors and inline HTTP tasks of the daemon may connect to (ADR 15)."""

    allow: str = ""
    """Beyond the public internet: `10.20.0.0/16, 127.0.0.1:8000, *.svc.cluster.local`; see `egress_policy`."""


class InlineConfig(Section, frozen=True, kw_only=True):
    """Inline HTTP tasks: how many calls at once."""

    workers: Annotated[int, msgspec.Meta(ge=1)] = 64
    per_host: Annotated[int, msgspec.Meta(ge=1)] = 16
    """Of the workers, for one scheme, host and port: a slow server leaves the others some."""
    waiting_max: Annotated[int, msgspec.Meta(ge=1)] = 1000
    """Calls taken from their outbox and not yet ended, 10 KB each; those beyond it stay queued and come again."""


class CallbacksConfig(Section, frozen=True, kw_only=True):
    """Callbacks, mails and alerts (ADR 48)."""

    slots: Annotated[int, msgspec.Meta(ge=1)] = 8
    """Processes at once, beside those of tasks: neither waits for the other."""
    timeout_s: Positive = 60.0
    """For all that one event calls for; `callback_timeout_seconds` in leoflow.yaml is for one project."""


class PoolConfig(Section, frozen=True, kw_only=True):
    """The cheap-task pool: waits and their probes (ADR 13). `target_*` hold for each (target, connection)."""

    workers: Annotated[int, msgspec.Meta(ge=1)] = 64
    """Probes at the same time."""
    probe_timeout_s: Positive = 90.0
    """A probe that takes longer is cut off; longer than what a kind itself allows one request (60 s for HTTP)."""
    poke_interval_min_s: Positive = 0.1
    """The floor of every poke interval; Airflow's 0 means this."""
    sweep_interval_s: Positive = 30.0
    """How often memory and table are compared: the guarantee behind every lost hint."""
    stall_after_s: Positive = 0.5
    """The event loop standing still for so long is an error in the log."""
    quarantine_factor: Annotated[float, msgspec.Meta(ge=1)] = 10.0
    """A probe that broke three times in a row is made so much more rarely."""
    quarantine_min_s: Positive = 300.0
    target_rate: Positive = 2000.0
    """Probes a second."""
    target_burst: Annotated[int, msgspec.Meta(ge=1)] = 2000
    """Probes at once after a pause."""
    target_concurrency: Annotated[int, msgspec.Meta(ge=1)] = 32
    """Of the workers, for one target: a slow one leaves the others some."""
    breaker_after: Annotated[int, msgspec.Meta(ge=1)] = 5
    """Probes in a row that nobody answers; then the target is left alone for a while."""
    breaker_first_s: Positive = 5.0
    breaker_max_s: Positive = 300.0
    """That while at first and at most; it doubles each time."""
    throttle_first_s: Positive = 1.0
    throttle_max_s: Positive = 3600.0
    """The same for a target that asks for patience; the latter also caps its own `Retry-After`."""


class TriggerHostsConfig(Section, frozen=True, kw_only=True):
    """Trigger hosts: the processes that run trigger classes which we do not know (ADR 16)."""

    host_silence_s: float = 10.0
    """A host whose event loop did not run for so long is killed; its triggers start again."""
    start_within_s: float = 60.0
    """Importing Airflow from a cold disk takes a while."""
    rss_limit_bytes: int = 1024 * 1024 * 1024
    """A host that is larger is started anew."""
    idle_s: float = 60.0
    """How long a host without triggers is kept."""
    stop_grace_s: float = 12.0
    """Between asking a host to end and killing it; `cleanup` of a trigger may take ten seconds."""
    log_max_bytes: int = 10 * 1024 * 1024
    """Per host; the full file is kept once, as `<name>.1`."""


class KubernetesConfig(Section, frozen=True, kw_only=True):
    """Pods: where they run, what they may be, how long they may take (ADR 59). Lists are separated by commas."""

    kubeconfig: Path | None = None
    """None: as a pod of the cluster (service account), else `KUBECONFIG` or `~/.kube/config`."""
    context: str = ""
    """Of the kubeconfig; empty = its current one."""
    namespace: str = "leoflow"
    installation: str = "leoflow"
    """Tells our pods from those of another Leoflow in the same namespace; at most 63 letters, digits and dashes."""
    agent_address: str = ""
    """`host:port` under which pods reach the agents' service."""
    agent_ca: str = ""
    """PEM text of what signs that service, where there is no config map with it."""
    host_address: str = ""
    """The same of this very daemon, such as the address of its pod: its trigger hosts come straight to it. Empty =
    through `agent_address`, again and again until they meet it."""
    agent_ca_config_map: str = ""
    """Config map whose `ca.crt` signs the agents' service; empty = plain text, for a mesh that encrypts."""
    image: str = ""
    """For tries whose version has no image of its own and needs nothing installed."""
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: str = ""
    allow_tags: bool = False
    """Images by tag. What a tag means can change between two tries; a digest cannot."""
    service_account: str = "default"
    """Of task pods; its token for the cluster is not mounted."""
    service_accounts: str = ""
    """Others that `execution.service_account` may name."""
    secrets: str = ""
    """Secrets of the namespace that `pod_override` may take variables from; everything else is refused."""
    run_as_user: Annotated[int, msgspec.Meta(ge=1)] = 50000
    cpu_request: str = "100m"
    memory_request: str = "256Mi"
    memory_limit: str = "512Mi"
    """What a pod gets whose task asks for nothing."""
    node_selector: str = ""
    """`label=value` that every pod needs, whatever its author writes."""
    grace_s: Annotated[int, msgspec.Meta(ge=1)] = 30
    """Between TERM and KILL of a pod; its agent reports within it."""
    staging_size: str = "1Gi"
    """Of a dag run's staging volume, where leoflow.yaml names none."""
    staging_storage_class: str = ""
    """Likewise; empty = the cluster's default."""
    staging_access_mode: str = "ReadWriteMany"
    """`ReadWriteOnce` where a class has no other: then all pods of a run need one node."""
    staging_ttl_s: Positive = 86_400.0
    """A staging volume is kept for so long after the end of its run, for those who clear tasks."""
    request_s: Positive = 10.0
    """For one answer of the API server."""
    watch_s: Annotated[int, msgspec.Meta(ge=5)] = 60
    """How long a watch lasts before it is resumed: a connection that died in silence is noticed then."""
    creates_at_once: Annotated[int, msgspec.Meta(ge=1)] = 8
    schedule_within_s: Positive = 3600.0
    start_within_s: Positive = 900.0
    pull_within_s: Positive = 600.0
    configure_within_s: Positive = 120.0
    """As `core.pod_outcome.PodLimits` says."""


class ProcessConfig(Section, frozen=True, kw_only=True):
    """Lite's executor: where its agent lives and what it needs."""

    spool: Path
    lock: Path
    host_token_file: Path
    bundles: Path
    venvs: Path
    agent_log: Path
    work: Path
    """Where the working directories of tries are made."""
    staging: Path
    """Where dag runs that want one have a folder of their own."""
    run_as: str | None = None
    stop_grace_s: float = 5.0


class LiteClusterConfig(Section, frozen=True, kw_only=True):
    """Lite whose tasks run in pods: `--executor kubernetes` (ADR 66)."""

    kubeconfig: Path | None = None
    context: str = ""
    namespace: str = "default"
    image: str = ""
    """For projects whose `leoflow.yaml` names none."""
    agent_host: str = ""
    """Of this machine as pods see it; empty = found by the way to the API server."""
    agent_port: int = AGENT_PORT


class LiteConfig(Section, frozen=True, kw_only=True):
    workspace: Path
    data_dir: Path
    host: str = "127.0.0.1"
    port: int = LITE_PORT
    postgres: str | None = None
    """conninfo or URL of a Postgres of your own; None = embedded."""
    admin_password: str | None = None
    """From `lite.given_password`; None = made at first start and printed once."""
    run_as: str | None = None
    """User that tasks run as, where we are root; None = our own user."""
    ui_version: str = UI_VERSION
    """Of `contract.ui_builds`."""
    cluster: LiteClusterConfig | None = None
    """None: tasks run as processes of this machine."""


class Config(Section, frozen=True, kw_only=True):
    database: str | None = None
    """conninfo; None = Lite's embedded Postgres."""
    role: Role = Role.ALL
    admin_password: str | None = None
    """Of the user `admin`, needed at the first start of a cluster; Lite makes one."""
    api: ApiConfig = ApiConfig()
    oidc: OidcConfig = OidcConfig()
    admission: AdmissionConfig = AdmissionConfig()
    scheduler: SchedulerConfig = SchedulerConfig()
    agents: AgentsConfig = AgentsConfig()
    dags: DagsConfig = DagsConfig()
    retention: RetentionConfig = RetentionConfig()
    store: StoreConfig = StoreConfig()
    logs: LogsConfig = LogsConfig()
    redis: RedisConfig = RedisConfig()
    xcoms: XComsConfig = XComsConfig()
    secrets: SecretsConfig = SecretsConfig()
    egress: EgressConfig = EgressConfig()
    inline: InlineConfig = InlineConfig()
    callbacks: CallbacksConfig = CallbacksConfig()
    triggers: TriggerHostsConfig = TriggerHostsConfig()
    pool: PoolConfig = PoolConfig()
    kubernetes: KubernetesConfig = KubernetesConfig()
    traces: OtelSettings | None = None
    """From OpenTelemetry's own variables; None: nothing is traced."""
    process: ProcessConfig | None = None
    lite: LiteConfig | None = None

    @override
    def __repr__(self) -> str:
        return f"Config(role={self.role.value!r})"


def lite_config(lite: LiteConfig, environment: Mapping[str, str] = os.environ) -> Config:
    """Everything of a Lite installation, from its flags and LITE_SECTIONS. Raises `ConfigRefused`."""
    if not 1 <= lite.port <= 65535:
        raise ConfigRefused(f"--port {lite.port} is no port; choose 1 to 65535")
    if any(name.startswith("LEOFLOW_ADMISSION_") for name in environment):
        raise ConfigRefused(
            "LEOFLOW_ADMISSION_* is set, and Lite runs what lies in its workspace, which nobody signs: unset it, or "
            "run a cluster"
        )
    data = lite.data_dir
    # whoever writes DAGs here runs anything here: what they probe of this very machine is no news to them (ADR 83)
    is_private = lite.host in LOOPBACK and lite.cluster is None
    sections = _read(environment, LITE_SECTIONS, {"egress": {"allow": OWN_MACHINE}} if is_private else {})
    if lite.cluster is not None:
        sections |= _read(environment, ("kubernetes",), {"kubernetes": _of_cluster(lite.cluster, data)})
    return Config(
        database=lite.postgres,
        api=ApiConfig(
            host=lite.host,
            port=lite.port,
            edition="LITE",
            ui_dir=data / "ui",
            packages_dir=data / "packages",
            bundles=data / "bundles",
        ),
        agents=AgentsConfig(socket=data / "agent" / "agents.sock", log_dir=data / "logs"),
        secrets=SecretsConfig(key_file=data / KEY_FILE),
        process=ProcessConfig(
            spool=data / "agent" / "spool",
            lock=data / "agent" / "lock",
            host_token_file=data / "agent" / "host_token",
            bundles=data / "bundles",
            venvs=data / "venvs",
            agent_log=data / "agent" / "agent.log",
            work=data / "work",
            staging=data / "staging",
            run_as=lite.run_as,
        ),
        lite=lite,
        traces=_traces(environment),
        **sections,
    )


def _of_cluster(cluster: LiteClusterConfig, data_dir: Path) -> dict[str, str]:
    """What the environment may set otherwise, but for flags. Tags are a laptop's images; and many laptops may share a
    cluster, whose pods are each one's own."""
    owner = hashlib.sha256(f"{socket.gethostname()} {data_dir}".encode()).hexdigest()[:10]
    found = {"allow_tags": "true", "installation": f"lite-{owner}", "namespace": cluster.namespace}
    if cluster.kubeconfig is not None:
        found["kubeconfig"] = str(cluster.kubeconfig)
    if cluster.context:
        found["context"] = cluster.context
    if cluster.image:
        found["image"] = cluster.image
    return found


SECTIONS: dict[str, type[Section]] = {
    "api": ApiConfig,
    "oidc": OidcConfig,
    "admission": AdmissionConfig,
    "scheduler": SchedulerConfig,
    "agents": AgentsConfig,
    "dags": DagsConfig,
    "retention": RetentionConfig,
    "store": StoreConfig,
    "logs": LogsConfig,
    "redis": RedisConfig,
    "xcoms": XComsConfig,
    "secrets": SecretsConfig,
    "egress": EgressConfig,
    "inline": InlineConfig,
    "callbacks": CallbacksConfig,
    "triggers": TriggerHostsConfig,
    "pool": PoolConfig,
    "kubernetes": KubernetesConfig,
}
"""What the environment may set: `LEOFLOW_<NAME>_<FIELD>`."""

LITE_SECTIONS = (
    "dags",
    "retention",
    "store",
    "logs",
    "redis",
    "xcoms",
    "egress",
    "inline",
    "callbacks",
    "pool",
    "scheduler",
    "triggers",
)
"""What it may set in Lite too; the rest of Lite follows from its flags."""


AIRFLOWS_NAMES = {"LEOFLOW_DAGS_PAUSED_AT_CREATION": "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION"}
"""Airflow's variables that mean the same; ours counts where both are set."""


def from_environment(environment: Mapping[str, str] = os.environ) -> Config:
    """`LEOFLOW_DATABASE`, `LEOFLOW_ROLE`, `LEOFLOW_API_PORT`, ... Raises `ConfigRefused`."""
    return Config(
        database=environment.get("LEOFLOW_DATABASE"),
        role=role_of(environment.get("LEOFLOW_ROLE", Role.ALL)),
        traces=_traces(environment),
        **_read(environment, SECTIONS),
    )


def _traces(environment: Mapping[str, str]) -> OtelSettings | None:
    try:
        return otel_settings(environment)
    except ValueError as error:
        raise ConfigRefused(str(error)) from error


def role_of(name: str) -> Role:
    """Raises `ConfigRefused`."""
    try:
        return Role(name)
    except ValueError:
        raise ConfigRefused(f"there is no role {name!r}; the roles are {', '.join(Role)}") from None


def _read(
    environment: Mapping[str, str], names: Iterable[str], given: Mapping[str, dict[str, str]] = {}
) -> dict[str, Any]:
    """These sections, by name, as the environment sets them, or else as they are `given`; lists are separated by
    commas."""
    found: dict[str, dict[str, str | list[str]]] = {name: {**given.get(name, {})} for name in names}
    for name in found:
        for field in msgspec.structs.fields(SECTIONS[name]):
            variable = f"LEOFLOW_{name}_{field.name}".upper()
            text = environment.get(variable, environment.get(AIRFLOWS_NAMES.get(variable, "")))
            if text is not None:
                found[name][field.name] = _parts(text) if get_origin(field.type) is tuple else text
    try:
        return {
            name: msgspec.convert(fields, SECTIONS[name], strict=False, dec_hook=_from_text)
            for name, fields in found.items()
        }
    except msgspec.ValidationError as error:
        raise ConfigRefused(f"a setting of the environment is wrong: {error}") from error


def _parts(text: str) -> list[str]:
    return [part for part in map(str.strip, text.split(",")) if part]


def _from_text(kind: type, value: str) -> object:
    if kind is Path:
        return Path(value)
    raise NotImplementedError
