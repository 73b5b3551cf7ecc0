"""What the daemon and its agents say to each other, over gRPC (grpclib) with MessagePack bodies (ADR 0004).

Bidirectional methods of the service `leoflow.agent.v1.Agent`:

* `Attach`: one stream per *host agent* (Lite). The agent says `HostHello`, then `HostBeat` and `LaunchRefused`; the
  daemon says `Launch` and `ShutDown`. A pod's agent does not attach: its try is in its environment.
* `Try`: one stream per try. The agent says `TryHello` first; the daemon answers `Welcome` or `Terminate`. Then log
  chunks, rendered fields, XComs and at last one `Outcome`, which the agent keeps on disk until `OutcomeStored` arrives.
* `TriggerHost`: one stream per trigger host that is a pod. After `TriggerHostHello` and `TriggerHostWelcome` it carries
  what a trigger host and the daemon of one machine say over their socket (ADR 65), and at last `TriggerHostExit`.

Messages of one stream are handled in order: log chunks and XComs sent before an outcome are stored before it.

Daemon and agent may be of neighbouring releases (ADR 29). A hello says which `PROTOCOL` the agent speaks, the welcome
which one both do. Fields that one side does not know are ignored, and so are messages (`agent_wire.Unknown`).

JSON that people and tasks wrote is text here, in fields that say so: MessagePack has no integer beyond 64 bits, and
what nobody opens on the way comes out as it went in (ADR 18).
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from leoflowd.contract.asset_spec import AssetEventFacts, AssetFacts, AssetRecord
from leoflowd.contract.callback_spec import CallbackCall
from leoflowd.contract.connection import ConnectionFacts
from leoflowd.contract.overriding import override
from leoflowd.contract.wait_spec import Deferral

SERVICE = "leoflow.agent.v1.Agent"
ATTACH = f"/{SERVICE}/Attach"
TRY = f"/{SERVICE}/Try"
TRIGGER_HOST = f"/{SERVICE}/TriggerHost"

PROTOCOL = 3
"""Grows with each change that a neighbour has to know of. 1: releases that did not say; they refuse unknown fields."""

CALLBACKS_SINCE = 3
"""The protocol of agents that know `TrySpec.callback`; an older one would run the task again."""
XCOM_MAX_BYTES = 256 * 1024
"""Largest XCom value as JSON text; the original's cap, kept."""
LOG_CHUNK_BYTES = 64 * 1024
"""Largest log chunk in one message; whole NDJSON lines only."""


class Message(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Base; the tag is the class name. What a newer neighbour says beyond these fields is ignored."""


def distance_fault(*, agent: int, daemon: int) -> str | None:
    """Why these two protocols are too far from each other, as a sentence for people; None for neighbours."""
    if abs(agent - daemon) <= 1:
        return None
    return (
        f"the agent speaks protocol {agent} and the daemon protocol {daemon}, but only neighbouring releases "
        "understand each other: run both from one release"
    )


# --- what a try is -----------------------------------------------------------------------------------------------


class DagRunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The dag run, as templates and `get_current_context()` show it."""

    dag_id: str
    run_id: str
    run_type: str
    state: str = "running"
    run_after: datetime
    logical_date: datetime | None = None
    data_interval_start: datetime | None = None
    data_interval_end: datetime | None = None
    start_date: datetime | None = None
    queued_at: datetime | None = None
    triggered_by: str | None = None
    triggering_user_name: str | None = None
    conf: str = "{}"
    """JSON text of an object."""
    note: str | None = None
    partition_key: str | None = None
    partition_date: datetime | None = None


class XComInput(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream output, sent along with the try."""

    task_id: str
    key: str
    map_index: int = -1
    value: str
    """JSON text."""
    length: int | msgspec.UnsetType = msgspec.UNSET
    """Set when a mapped try gets only what it takes of a longer value: `value` is an object, item number -> item."""
    is_dict: bool | msgspec.UnsetType = msgspec.UNSET
    """Then: the longer value is a dict, and its items are pairs."""


class ResumeCall(msgspec.Struct, frozen=True, kw_only=True):
    """A deferred task goes on: call `next_method` with `next_kwargs` and the event, or raise the error."""

    next_method: str
    next_kwargs: str | None = None
    """JSON text, in the runner's XCom form. None = no arguments but the event."""
    event: str | None = None
    """JSON text: in the runner's XCom form, or plain."""
    error: str | None = None
    """Airflow's `__fail__`: `Trigger timeout` raises TaskDeferralTimeout, anything else TaskDeferralError."""
    traceback: tuple[str, ...] = ()


class TrySpec(msgspec.Struct, frozen=True, kw_only=True):
    """All that an agent needs to run one try; the runner in the author's interpreter gets it as JSON.

    `try_id` is the task instance's id, new for every try: it is the fencing token. A write that names an old
    one matches no row and is refused.
    """

    try_id: str
    dag_run: DagRunFacts
    task_id: str
    map_index: int = -1
    try_number: int
    max_tries: int
    kind: str
    operator: str
    bundle_digest: str
    bundle_path: str = ""
    """Folder of the version's code on the agent's host; in a pod, the image's work folder."""
    source_path: str = "dag.py"
    import_paths: tuple[str, ...] = ()
    """As in the artifact."""
    python: str = ""
    """Interpreter of the DAG's environment; empty = the agent's default."""
    warm: bool = True
    preload: tuple[str, ...] = ()
    env: dict[str, str] = {}
    execution_timeout_s: float | None = None
    do_xcom_push: bool = True
    xcoms: tuple[XComInput, ...] = ()
    """Values of the task's `xcom_refs` that exist; a ref that is not here was never pushed."""
    xcoms_complete: bool = True
    """False: the values were too large to send along; the runner pulls what it needs."""
    dag_version_number: int = 1
    resume: ResumeCall | None = None
    """Set when a deferral ended: do not `execute`, go on."""
    first_started_at: datetime | None = None
    """When this try first began, before it deferred or was rescheduled: cumulative timeouts count from it."""
    prev_logical_date: datetime | None = None
    """Of the scheduled run before this one, for names of Airflow 2 such as `prev_ds`; None = there is none."""
    next_logical_date: datetime | None = None
    runtime: str = "shim"
    """`shim`; or `airflow`: the environment has the real packages, and the runner is the SDK's supervisor."""
    latest_window: tuple[datetime, datetime] | None = None
    """After and until when the dag run is the newest of its timetable (`LatestOnlyOperator`); None: it stays that."""
    xcom_max_bytes: int | None = None
    """The largest value that it may push, where that is more than `XCOM_MAX_BYTES` (ADR 61)."""
    callback: CallbackCall | None = None
    """Set: the task does not run, but what its end, or its dag run's, calls for. An agent that does not know the field
    must not get it (`CALLBACKS_SINCE`)."""
    traceparent: str = ""
    """`TRACEPARENT` of the task's process (W3C); empty: its dag run is not traced, and the variable is not set."""
    skips_sleep: bool = False
    """Of `leoflow test`: a sensor that pokes in its own process does not sleep in between; time seems to pass."""


# --- host stream -------------------------------------------------------------------------------------------------


class HostHello(Message, frozen=True, kw_only=True):
    """First message of `Attach`. `known_try_ids`: live here, or finished and not yet acknowledged."""

    host_token: str
    boot_id: str
    """New each time the agent process starts."""
    hostname: str
    pid: int
    known_try_ids: tuple[str, ...] = ()
    protocol: int = 1


class HostBeat(Message, frozen=True, kw_only=True):
    """Every few seconds: the host is alive and runs these tries."""

    running: int


class LaunchRefused(Message, frozen=True, kw_only=True):
    """The host could not take this try (no room for its folder, unreadable spec): no user code of it has run."""

    try_id: str
    because: str
    """One sentence for people."""


class HostWelcome(Message, frozen=True, kw_only=True, omit_defaults=True):
    """The agent may work."""

    heartbeat_s: float = 5.0
    protocol: int = 1
    """What both speak. 1 is left out: such an agent does not know the field."""


class Launch(Message, frozen=True, kw_only=True):
    """Start this try. A second Launch of a known try is ignored: the name of the effect is the try."""

    spec: TrySpec
    token: str


class ShutDown(Message, frozen=True, kw_only=True):
    """Stop all tries (TERM, grace, KILL), report them as lost with this reason, and exit."""

    grace_s: float
    reason: str


# --- try stream, agent to daemon ---------------------------------------------------------------------------------


class TryHello(Message, frozen=True, kw_only=True):
    try_id: str
    token: str
    hostname: str
    pid: int | None = None
    """Process id of the try, None before it started."""
    started_at: datetime | None = None
    wants_spec: bool = False
    """True in a pod, where no `Launch` brought the spec."""
    protocol: int = 1


class LogChunk(Message, frozen=True, kw_only=True):
    """Whole NDJSON lines of the try's log, at this byte offset of the file; the daemon ignores what it has already."""

    offset: int
    content: bytes


class RenderedFields(Message, frozen=True, kw_only=True):
    """Template fields after rendering: JSON text of an object, long values cut by the runner. Only to be looked at."""

    fields: str = ""
    """Empty: nothing is said of them."""
    rendered_map_index: str | msgspec.UnsetType = msgspec.UNSET
    """What people are to see in place of the number of the map index (`map_index_template`)."""


class XComPush(Message, frozen=True, kw_only=True):
    """Store an XCom now. `value` is JSON text, at most `XCOM_MAX_BYTES`, checked by the runner and again here."""

    key: str
    value: str


class XComPull(Message, frozen=True, kw_only=True):
    """Ask for XComs; answered by `XComValues` with the same `request_id`. None in a filter = any."""

    request_id: int
    key: str = "return_value"
    task_ids: tuple[str, ...] | None = None
    map_indexes: tuple[int, ...] | None = None
    run_id: str | None = None
    dag_id: str | None = None
    include_prior_dates: bool = False
    offset: int | msgspec.UnsetType = msgspec.UNSET
    limit: int | msgspec.UnsetType = msgspec.UNSET
    """A page of so many, after the first `offset`; unset = all. A daemon that does not know it answers with all."""


class PreviousRunAsk(Message, frozen=True, kw_only=True):
    """Ask for the dag run before this one (`prev_data_interval_start_success` and friends)."""

    request_id: int
    only_success: bool


class ConnectionAsk(Message, frozen=True, kw_only=True):
    """Ask for a stored connection; the runner looks into `AIRFLOW_CONN_*` first. Answer: ConnectionAnswer."""

    request_id: int
    connection_id: str


class DagRunAsk(Message, frozen=True, kw_only=True):
    """Start a dag run (TriggerDagRunOperator). Doing it twice starts it once: same run id. Answer: DagRunAnswer."""

    request_id: int
    dag_id: str
    run_id: str | None = None
    logical_date: datetime | None = None
    conf: str = "{}"
    """JSON text of an object."""
    reset: bool = False
    """Clear a run that exists already instead of refusing."""
    note: str | None = None
    run_after: datetime | None = None
    """Not before this moment. None: at once."""


class DagAsk(Message, frozen=True, kw_only=True):
    """What is known of a DAG (TriggerDagRunOperator, `ti.get_dag`). Answer: DagAnswer."""

    request_id: int
    dag_id: str


class CountsAsk(Message, frozen=True, kw_only=True):
    """How many task instances or dag runs are in these states (sensors of user code). Answer: CountsAnswer."""

    request_id: int
    dag_id: str
    task_ids: tuple[str, ...] | None = None
    """None counts dag runs."""
    task_group_id: str | None = None
    logical_dates: tuple[datetime, ...] = ()
    run_ids: tuple[str, ...] = ()
    states: tuple[str, ...] = ()


class StatesAsk(Message, frozen=True, kw_only=True):
    """The states of these task instances one by one; an empty filter is no filter. Answer: StatesAnswer."""

    request_id: int
    dag_id: str
    task_ids: tuple[str, ...] = ()
    task_group_id: str | None = None
    logical_dates: tuple[datetime, ...] = ()
    run_ids: tuple[str, ...] = ()
    map_index: int | None = None


class PreviousInstanceAsk(Message, frozen=True, kw_only=True):
    """The task's instance in the newest dag run of before a moment. Answer: PreviousInstance."""

    request_id: int
    dag_id: str
    task_id: str
    map_index: int = -1
    logical_date: datetime | None = None
    """None: in the newest run that has one."""
    state: str | None = None
    """None: whatever its state."""


class AssetEventsAsk(Message, frozen=True, kw_only=True):
    """Events of the asset of this name, uri or both, or of those of an alias. Answer: AssetEventsAnswer."""

    request_id: int
    triggering: bool = False
    """Instead: those that started this dag run, of all assets."""
    name: str | None = None
    uri: str | None = None
    alias: str | None = None
    after: datetime | None = None
    before: datetime | None = None
    ascending: bool = True
    limit: int | None = None


class VariableAsk(Message, frozen=True, kw_only=True):
    """The value of this variable. Answer: VariableAnswer."""

    request_id: int
    key: str


class VariableWrite(Message, frozen=True, kw_only=True):
    """Store this variable, or delete it. Answer, once that is committed: VariableAnswer."""

    request_id: int
    key: str
    value: str | None = None
    """None deletes; one that is not there is gone already."""
    description: str | None = None
    """None keeps the one that is stored."""

    @override
    def __repr__(self) -> str:
        return f"VariableWrite({self.request_id}, {self.key!r})"


class Beat(Message, frozen=True, kw_only=True):
    """The try is alive."""


class OutcomeKind(StrEnum):
    SUCCESS = "success"
    FAILED = "failed"
    """User code failed; a retry is used up if there is one."""
    FAILED_FOR_GOOD = "failed_for_good"
    """AirflowFailException, or something no retry can mend: no further try."""
    SKIPPED = "skipped"
    TIMED_OUT = "timed_out"
    """`execution_timeout` passed; counts as FAILED."""
    RESCHEDULE = "reschedule"
    """Run again at `reschedule_at` as the same try (sensor in reschedule mode)."""
    DEFERRED = "deferred"
    """The try only waits now: `Outcome.deferral` says for what. It goes on as the same try."""
    LOST = "lost"
    """Nobody knows how it ended (agent or fork server killed, host stopped): costs no retry of the user's."""
    TERMINATED = "terminated"
    """The daemon asked for the end (cleared, marked); the state was decided elsewhere."""


class XComItem(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    value: str
    """JSON text."""


class Outcome(Message, frozen=True, kw_only=True):
    """How the try ended; the last message of the agent. Stored durably before it is acknowledged."""

    kind: OutcomeKind
    because: str
    """One sentence for people: what happened and why."""
    start_date: datetime
    end_date: datetime
    exit_code: int | None = None
    signal: int | None = None
    xcoms: tuple[XComItem, ...] = ()
    """`return_value` and, with `multiple_outputs`, one per key; committed together with the outcome."""
    skips: tuple[str, ...] = ()
    """SUCCESS: task ids that the try skips, whatever their rules say (Airflow's `DownstreamTasksSkipped`)."""
    assets: tuple[AssetRecord, ...] = ()
    """SUCCESS: what it said of its outlets; their events are committed together with the outcome."""
    reschedule_at: datetime | None = None
    deferral_json: str | None = None
    """DEFERRED, as the agent sends it: JSON text of `deferral`."""
    deferral: Deferral | None = None
    """The same, once `agents/` has opened and checked it."""


# --- try stream, daemon to agent ---------------------------------------------------------------------------------


class Welcome(Message, frozen=True, kw_only=True, omit_defaults=True):
    """The try is current. `log_offset`: bytes of its log that the daemon has."""

    log_offset: int
    spec: TrySpec | None = None
    """If the agent wants it; without what only its own place knows (interpreter, folder of the code)."""
    protocol: int = 1
    """What both speak. 1 is left out: such an agent does not know the field."""


class Terminate(Message, frozen=True, kw_only=True):
    """Stop the try now; with `stale=True` its every write would be refused and nothing of it needs to be kept."""

    reason: str
    stale: bool = False
    grace_s: float = 5.0


class XComValues(Message, frozen=True, kw_only=True):
    request_id: int
    values: tuple[XComInput, ...] = ()
    total: int | msgspec.UnsetType = msgspec.UNSET
    """Set when a page was asked for: how many there are on all pages."""
    refused: str | None = None
    """Why there is no answer: the task that asked raises this sentence."""


class PreviousRun(Message, frozen=True, kw_only=True):
    request_id: int
    run: DagRunFacts | None = None
    refused: str | None = None


class ConnectionAnswer(Message, frozen=True, kw_only=True):
    request_id: int
    connection: ConnectionFacts | None = None
    """None: there is no such connection."""
    refused: str | None = None
    """Why it cannot be given (wrong key, store away for good)."""


class VariableAnswer(Message, frozen=True, kw_only=True):
    """To both: the value as it is now, in the clear."""

    request_id: int
    value: str | None = None
    """None: there is no such variable."""
    refused: str | None = None

    @override
    def __repr__(self) -> str:
        return f"VariableAnswer({self.request_id}, refused={self.refused!r})"


class DagRunAnswer(Message, frozen=True, kw_only=True):
    request_id: int
    run_id: str | None = None
    refused: str | None = None
    exists: bool = False
    """The run existed already and `reset` was not asked for."""


class DagAnswer(Message, frozen=True, kw_only=True):
    request_id: int
    is_paused: bool = False
    owners: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    refused: str | None = None
    """Also where there is no such DAG."""


class CountsAnswer(Message, frozen=True, kw_only=True):
    request_id: int
    count: int = 0
    refused: str | None = None


class StatesAnswer(Message, frozen=True, kw_only=True):
    request_id: int
    states: dict[str, dict[str, str | None]] = {}
    """By run id, then by task id; of a mapped instance `<task id>_<map index>`, as Airflow names it."""
    refused: str | None = None


class InstanceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a task may know of another task instance."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    logical_date: datetime | None
    state: str | None
    try_number: int
    start_date: datetime | None
    end_date: datetime | None
    duration: float | None
    """In seconds."""


class PreviousInstance(Message, frozen=True, kw_only=True):
    request_id: int
    instance: InstanceFacts | None = None
    """None: there is none."""
    refused: str | None = None


class AssetEventsAnswer(Message, frozen=True, kw_only=True):
    request_id: int
    events: tuple[AssetEventFacts, ...] = ()
    asset: AssetFacts | None = None
    """To a question by name alone or by uri alone: the active asset that has it, with or without events."""
    refused: str | None = None


class Refused(Message, frozen=True, kw_only=True):
    """To a question that this daemon does not know: its agent is of a newer release."""

    request_id: int
    refused: str


class OutcomeStored(Message, frozen=True, kw_only=True):
    """The outcome is committed (or was refused as stale); forget the try."""


# --- a trigger host's pod and the daemon that wants it ------------------------------------------------------------


class TriggerHostHello(Message, frozen=True, kw_only=True):
    """First message of `TriggerHost`."""

    host_id: str
    token: str
    hostname: str
    protocol: int = 1

    @override
    def __repr__(self) -> str:
        return f"TriggerHostHello({self.host_id!r}, {self.hostname!r})"


class TriggerHostWelcome(Message, frozen=True, kw_only=True):
    """The host may begin."""

    protocol: int = 1


class TriggerHostOutput(Message, frozen=True, kw_only=True):
    """Some bytes of what the host's process says."""

    content: bytes


class TriggerHostInput(Message, frozen=True, kw_only=True):
    """Some bytes of what its process is told."""

    content: bytes


class TriggerHostExit(Message, frozen=True, kw_only=True):
    """Its process has ended; the last message."""

    exit_code: int
    """Below zero: the signal that ended it."""
    culprit: str = ""
    """Id of the wait whose code was running."""
    log_tail: str = ""


FromHost = HostHello | HostBeat | LaunchRefused
ToHost = HostWelcome | Launch | ShutDown
FromTry = (
    TryHello
    | LogChunk
    | RenderedFields
    | XComPush
    | XComPull
    | PreviousRunAsk
    | ConnectionAsk
    | DagRunAsk
    | CountsAsk
    | DagAsk
    | VariableAsk
    | VariableWrite
    | AssetEventsAsk
    | StatesAsk
    | PreviousInstanceAsk
    | Beat
    | Outcome
)
ToTry = (
    Welcome
    | Terminate
    | XComValues
    | PreviousRun
    | ConnectionAnswer
    | DagRunAnswer
    | CountsAnswer
    | DagAnswer
    | VariableAnswer
    | AssetEventsAnswer
    | StatesAnswer
    | PreviousInstance
    | Refused
    | OutcomeStored
)

FromTriggerHost = TriggerHostHello | TriggerHostOutput | TriggerHostExit
ToTriggerHost = TriggerHostWelcome | TriggerHostInput

SINCE: dict[type[Message], int] = {
    Refused: 2,
    DagAsk: 3,
    DagAnswer: 3,
    VariableAsk: 3,
    VariableWrite: 3,
    VariableAnswer: 3,
    AssetEventsAsk: 3,
    AssetEventsAnswer: 3,
    StatesAsk: 3,
    StatesAnswer: 3,
    PreviousInstanceAsk: 3,
    PreviousInstance: 3,
    TriggerHostHello: 3,
    TriggerHostWelcome: 3,
    TriggerHostOutput: 3,
    TriggerHostInput: 3,
    TriggerHostExit: 3,
}
"""Messages that not every neighbour knows, and the protocol that brought them; all others are as old as 1."""


def is_known_to(message: Message, protocol: int) -> bool:
    return SINCE.get(type(message), 1) <= protocol
