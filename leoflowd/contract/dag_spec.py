"""The artifact `dag.json`: everything the daemon knows of a DAG, and the only thing it ever reads of one.

`authoring.compiler` writes it, `store.dags` keeps it per version, scheduler, API and agents read it. It is plain data:
no class named in it is ever imported by the daemon. Unknown fields are refused, so that a field is either honoured
or an error. Canonical form: `encode_canonical` (sorted keys, UTC datetimes, defaults left out), whose SHA-256 is the
version's digest.

`checked` holds what types cannot say: sizes, moments and texts that every column, codec and clock behind can take. Only
new artifacts go through it; one that an older release has stored stays readable.
"""

from __future__ import annotations

import functools
import hashlib
import operator
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec

from leoflowd.contract.asset_spec import AssetCondition, AssetLike, check_condition
from leoflowd.contract.callback_spec import CALLBACK_TIMEOUT_MAX_S, AlertSpec, DagEvent, TaskEvent
from leoflowd.contract.deadline_spec import DEADLINES_MAX, DeadlineSpec
from leoflowd.contract.errors import Invalid
from leoflowd.contract.loading import Read
from leoflowd.contract.partition_spec import AssetPartitions, CronPartition, check_cron_partition, check_partitions
from leoflowd.contract.ready import ready
from leoflowd.contract.states import TriggerRule, WeightRule
from leoflowd.contract.values import EARLIEST, LATEST, SECONDS_MAX, checked_jsonb, checked_moment, checked_text, shown
from leoflowd.contract.wait_spec import Deferral, HttpCall, WaitSpec

SCHEMA_VERSION = "2.0"
ID_PATTERN = r"^[\w.-]{1,250}\Z"
"""Airflow's key rule: letters, digits, dash, dot, underscore; at most 250 characters."""

Seconds = Annotated[float, msgspec.Meta(ge=0)]
_SEGMENT = r"(?!\.{1,2}(?:/|\Z))[^/\\\x00]+"
BundleDigest = Annotated[str, msgspec.Meta(pattern=r"^(?:[0-9a-f]{64})?\Z")]
"""Names a folder, so that it is a digest or nothing: an artifact is data from outside."""
SourcePath = Annotated[str, msgspec.Meta(pattern=rf"^(?:{_SEGMENT}/)*{_SEGMENT}\Z", max_length=1024)]
"""A file inside the bundle: relative, without `.` and `..`, without backslash and NUL."""
ImportPath = Annotated[str, msgspec.Meta(pattern=rf"^(?:\.|(?:{_SEGMENT}/)*{_SEGMENT})\Z", max_length=1024)]
"""A folder inside the bundle, or `.` for the bundle itself."""
LINK_SCHEMES = ("http", "https", "mailto")
"""Of owner links, as in Airflow: the UI makes them clickable, and `javascript:` would run in the reader's session."""
Identifier = Annotated[str, msgspec.Meta(pattern=ID_PATTERN)]


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all artifact structs."""


# --- timetables --------------------------------------------------------------------------------------------------


class NoTimetable(Spec, frozen=True, kw_only=True, tag="none"):
    """`schedule=None`: runs start only when someone asks."""


class OnceTimetable(Spec, frozen=True, kw_only=True, tag="once"):
    """`@once`: one run ever, at `start_date` or at once."""


class ContinuousTimetable(Spec, frozen=True, kw_only=True, tag="continuous"):
    """`@continuous`: the next run starts when the last one ended; `max_active_runs` must be 1."""


class CronTimetable(Spec, frozen=True, kw_only=True, tag="cron"):
    """A cron expression of five fields, or six with the seconds last, in a time zone.

    `data_interval=False` is Airflow 3's default for a string (CronTriggerTimetable): the interval is `interval_months`
    and `interval_s` wide, zero by default, and ends at the slot. `True` is CronDataIntervalTimetable: the interval
    lasts from slot to slot and the run starts at its end. `logical_date` is the start of the interval.
    """

    expression: str
    timezone: str = "UTC"
    data_interval: bool = False
    interval_s: Seconds = 0.0
    interval_months: int = 0
    run_immediately: bool = False
    partition: CronPartition | None = None
    run_within_s: Seconds | None = None
    """`run_immediately` as a timedelta: a DAG without start date gets the slot that passed at most so long ago."""


class MultipleCronTimetable(Spec, frozen=True, kw_only=True, tag="crons"):
    """`MultipleCronTriggerTimetable`: a run whenever one of them wants one; of one moment only one run."""

    timetables: Annotated[tuple[CronTimetable, ...], msgspec.Meta(min_length=1)]


class DeltaTimetable(Spec, frozen=True, kw_only=True, tag="delta"):
    """A fixed distance between runs, counted from `start_date`; `data_interval` and the widths as for cron.

    `months` (and years as 12 months) comes from `dateutil.relativedelta`; both parts add up.
    """

    seconds: Seconds = 0.0
    months: int = 0
    data_interval: bool = False
    interval_s: Seconds = 0.0
    interval_months: int = 0


class DatesTimetable(Spec, frozen=True, kw_only=True, tag="dates"):
    """`EventsTimetable`: runs exactly at these moments (UTC, ascending)."""

    dates: tuple[datetime, ...]
    description: str | None = None
    restrict_to_events: bool = False
    """A run that someone asks for takes the newest of these moments, or the first while all are to come."""


class CustomTimetable(Spec, frozen=True, kw_only=True, tag="custom"):
    """A class of the author's, as far ahead as the compile has asked it (ADR 50). The daemon never runs it.

    What it is, is `name`; the rest is what it said at one moment, and no part of the digest.
    """

    name: str
    """Module and class, for people."""
    description: str = ""
    slots: tuple[tuple[datetime, datetime, datetime], ...] = ()
    """Start and end of the data interval, and `run_after`; UTC, ascending by start."""
    manual: tuple[datetime, datetime] | None = None
    """Data interval that the class gave to a run asked for when it was compiled."""
    manual_is_exact: bool = False
    """It gave the moment of asking itself."""
    valid_until: datetime | None = None
    """After this moment nobody knows; None: the class has no run after the last slot."""


Timetable = (
    NoTimetable
    | OnceTimetable
    | ContinuousTimetable
    | CronTimetable
    | MultipleCronTimetable
    | DeltaTimetable
    | DatesTimetable
    | CustomTimetable
)

# --- tasks -------------------------------------------------------------------------------------------------------


class XComRef(Spec, frozen=True, kw_only=True):
    """One upstream output that a task's arguments use. `key` None reads the whole output list of `task_id`."""

    task_id: str
    key: str = "return_value"


class MapInput(Spec, frozen=True, kw_only=True):
    """What one argument of a mapping takes its items from, as far as their number is concerned: one of the three."""

    name: str = ""
    """The argument; empty inside of `parts`, and for the one of `expand_kwargs`."""
    length: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Items that the file itself names."""
    task_id: Identifier | None = None
    """The items that this task returns or, if it is mapped itself, its instances that returned something."""
    parts: tuple[MapInput, ...] = ()
    """Put together as `combine` says."""
    combine: Literal["concat", "zip", "zip_longest"] = "concat"


class MappedValues(Spec, frozen=True, kw_only=True):
    """Where the waits, or calls, of a mapped task's instances differ: the value of each map index at this path."""

    path: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    """Keys from the top of the `wait`, or the `http`, which has the first one's value there."""
    values: tuple[Any, ...]


class MappedItem(Spec, frozen=True, kw_only=True):
    """An argument that is mapped over the output of a task: where in the `wait`, or the `http`, its item goes.

    The item is taken as it is, and is no template. What is no item of these kinds is left to the instance's process.
    """

    name: str
    paths: tuple[Annotated[tuple[str, ...], msgspec.Meta(min_length=1)], ...] = ()
    """Keys from the top; empty where the wait does not have it."""
    takes_objects: bool = False
    """A JSON object may stand there as well as a text."""


class MappedSpec(Spec, frozen=True, kw_only=True):
    """`expand(...)` or `expand_kwargs(...)`: instances are the product of the inputs, the last one varying first."""

    kind: Literal["expand", "expand_kwargs"] = "expand"
    inputs: tuple[MapInput, ...]
    needs: tuple[Identifier, ...] = ()
    """All tasks whose outputs it maps over: without their success there is nothing to expand."""


class TaskSpec(Spec, frozen=True, kw_only=True):
    """One task. Durations in seconds; a None retry setting means "Airflow's default", filled in by the compiler."""

    task_id: Identifier
    operator: str
    """Class name as Airflow's UI shows it: `BashOperator`, `_PythonDecoratedOperator`, `EmptyOperator`, ..."""
    operator_name: str | None = None
    """What people know it by, e.g. `@task`; None = the class name."""
    module: str = ""
    """Module the class is documented in, e.g. `airflow.providers.standard.operators.bash`."""
    kind: str = "python"
    """How it is run. In a process of its own: `python`, `bash`, `sensor` (a poke of user code, again at each interval),
    `operator` (a captured provider class, run by the real packages). In place: `empty`. In the cheap-task pool: `wait`
    (native sensor, `wait` says for what) and `http` (inline call, `http` says which)."""
    wait: WaitSpec | None = None
    """Template of a native wait: texts in it may hold simple templates (`core.simple_templates`)."""
    http: HttpCall | None = None
    deferral: Deferral | None = None
    """`start_from_trigger`: a try begins with this, without a process, and goes on in one as `kind` says."""
    prepare: Literal["daemon", "process"] = "daemon"
    """Who renders a `wait` or `http`: the daemon, or, when its templates or arguments need code, one short process that
    answers with the rendered form."""
    task_display_name: str | None = None
    upstream_task_ids: tuple[str, ...] = ()
    group_id: str | None = None
    trigger_rule: TriggerRule = TriggerRule.ALL_SUCCESS
    is_setup: bool = False
    is_teardown: bool = False
    on_failure_fail_dagrun: bool = False
    decides: bool = False
    """A try of it may skip tasks downstream (branch, short circuit): its choice counts for whoever is cleared later."""
    depends_on_past: bool = False
    wait_for_downstream: bool = False
    ignore_first_depends_on_past: bool = False
    retries: Annotated[int, msgspec.Meta(ge=0)] = 0
    retry_delay_s: Seconds = 300.0
    retry_exponential_backoff: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """0 = constant delay; else the base of the growth, as in Airflow 3.2 (True arrives as 2.0)."""
    max_retry_delay_s: Seconds | None = None
    execution_timeout_s: Seconds | None = None
    pool: str = "default_pool"
    pool_slots: Annotated[int, msgspec.Meta(ge=1)] = 1
    priority_weight: int = 1
    weight_rule: WeightRule = WeightRule.DOWNSTREAM
    queue: str = "default"
    max_active_tis_per_dag: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_active_tis_per_dagrun: Annotated[int, msgspec.Meta(ge=1)] | None = None
    start_date: datetime | None = None
    end_date: datetime | None = None
    owner: str = "airflow"
    do_xcom_push: bool = True
    multiple_outputs: bool = False
    template_fields: tuple[str, ...] = ()
    template_values: dict[str, Any] = {}
    """Unrendered template fields, for the UI until the task process reports the rendered ones. JSON only."""
    xcom_refs: tuple[XComRef, ...] = ()
    """Upstream outputs that the arguments use as they are, so that the launch can bring their values along."""
    mapped: MappedSpec | None = None
    """Its instances come from a mapping of its own; those of a task inside a mapped group from the group's."""
    mapped_values: tuple[MappedValues, ...] = ()
    """With `mapped` over what the file names: what of `wait` or `http` each instance has for itself."""
    mapped_items: tuple[MappedItem, ...] = ()
    """With `mapped` over outputs: how the daemon makes an instance's `wait` or `http` of its items (ADR 70). Where
    these are not plain, `kind` and `prepare` say how a process does."""
    env: dict[str, str] = {}
    """Extra environment from `leoflow.yaml` `tasks.<id>.env`."""
    resources: dict[str, Any] = {}
    execution: dict[str, Any] = {}
    """Kubernetes placement from `leoflow.yaml`; Lite has no use for `resources` and `execution` and says so."""
    executor_config: dict[str, Any] = {}
    """The argument of this name, as JSON, with objects of the Kubernetes client in the form of its API. Nobody reads it
    yet: Lite has no cluster, and a warning says so."""
    params: dict[str, Any] = {}
    inlets: tuple[AssetLike, ...] = ()
    outlets: tuple[AssetLike, ...] = ()
    """Of assets; what else Airflow takes there only has a meaning for lineage back ends, and is refused."""
    callbacks: tuple[TaskEvent, ...] = ()
    """Events for which the file has functions (ADR 48)."""
    email: tuple[str, ...] = ()
    email_on_failure: bool = True
    email_on_retry: bool = True
    doc_md: str | None = None
    ui_color: str = "#fff"
    ui_fgcolor: str = "#000"
    extra_links: tuple[str, ...] = ()
    """Names of its operator's links, as far as they are known when it is compiled."""
    extra_link_keys: tuple[str, ...] = ()
    """The XComs that hold them, in the same order."""


class TaskGroupSpec(Spec, frozen=True, kw_only=True):
    """A task group; `group_id` carries the prefixes of its parents, as Airflow shows it."""

    group_id: str
    label: str
    parent_group_id: str | None = None
    tooltip: str = ""
    prefix_group_id: bool = True
    ui_color: str = "CornflowerBlue"
    ui_fgcolor: str = "#000"
    upstream_ids: tuple[str, ...] = ()
    """Tasks and groups drawn before this group."""
    downstream_ids: tuple[str, ...] = ()
    """Tasks drawn after this group (`group >> task`); groups after it say so in their own `upstream_ids`."""
    mapped: MappedSpec | None = None


class EdgeLabel(Spec, frozen=True, kw_only=True):
    """`Label("...")` on an edge."""

    upstream_id: str
    downstream_id: str
    label: str


class DagWarning(Spec, frozen=True, kw_only=True):
    """Something in the DAG's code that works and should be written otherwise."""

    path: str
    """Relative to the project folder."""
    line: int
    what: str
    remedy: str
    varies: bool = False
    """Each compile may give another value, as with a start date taken from the clock."""


class EnvironmentSpec(Spec, frozen=True, kw_only=True):
    """What a try needs around it. Lite builds a venv of it, Kubernetes an image."""

    python_version: str | None = None
    dependencies: tuple[str, ...] = ()
    yielding: tuple[str, ...] = ()
    """Those of the dependencies whose versions give way if they must: they were written for another Airflow."""
    connectors: tuple[str, ...] = ()
    """Airflow providers by short name (`http`, `cncf.kubernetes`): `apache-airflow-providers-<name>`, with Airflow."""
    system_packages: tuple[str, ...] = ()
    warm: bool = True
    """False: the code cannot be forked safely; each try gets a fresh interpreter."""
    preload: tuple[str, ...] = ()
    """Third-party modules that loading the DAG imported; the warm interpreter imports them once."""


_AIRFLOW = re.compile(
    r"\s*apache[-_.]airflow([-_.](core|task[-_.]sdk|providers[-_.][\w.-]+))?\s*($|[^\w.-])", re.IGNORECASE
)


def has_airflow(environment: EnvironmentSpec) -> bool:
    """Does the environment hold the real Airflow packages? Clients and tools of the same family are none."""
    return bool(environment.connectors) or any(map(_AIRFLOW.match, environment.dependencies))


LoadedBy = Literal["shim", "sdk"]


def runtime_of(kind: str, environment: EnvironmentSpec, loaded_by: LoadedBy) -> str:
    """`TrySpec.runtime` of a task: user code beside real packages runs with them; our own kinds do not need them, where
    anything else can load their file."""
    is_real = has_airflow(environment) and (loaded_by == "sdk" or kind in ("python", "sensor", "operator"))
    return "airflow" if is_real else "shim"


class DagSpec(Spec, frozen=True, kw_only=True):
    """One compiled DAG."""

    schema_version: str = SCHEMA_VERSION
    dag_id: Identifier
    dag_display_name: str | None = None
    description: str | None = None
    doc_md: str | None = None
    tags: tuple[str, ...] = ()
    owner_links: dict[str, str] = {}
    timetable: Timetable = NoTimetable()
    asset_condition: AssetCondition | None = None
    """Runs start when it is true, beside those of the timetable if there is one (`AssetOrTimeSchedule`)."""
    partitions: AssetPartitions | None = None
    """`PartitionedAssetTimetable`: the condition has to be true of events of one partition, which the run is for."""
    timetable_summary: str | None = None
    """What the UI shows as schedule: the cron text, the preset, a duration; None for no schedule."""
    timezone: str = "UTC"
    start_date: datetime | None = None
    end_date: datetime | None = None
    catchup: bool = False
    max_active_runs: Annotated[int, msgspec.Meta(ge=0)] = 16
    """0 = no limit, as in Airflow."""
    max_active_tasks: Annotated[int, msgspec.Meta(ge=0)] = 16
    """Live task instances per dag run; 0 = no limit."""
    max_consecutive_failed_dag_runs: Annotated[int, msgspec.Meta(ge=0)] = 0
    dagrun_timeout_s: Seconds | None = None
    fail_fast: bool = False
    is_paused_upon_creation: bool | None = None
    render_template_as_native_obj: bool = False
    template_searchpath: tuple[str, ...] = ()
    default_args: dict[str, Any] = {}
    """For display only; their effect is already in the tasks."""
    params: dict[str, Any] = {}
    """name -> {value, schema, description, source}, the shape of the UI's trigger form."""
    param_order: tuple[str, ...] = ()
    """The names as the author has them, for that form: the canonical form sorts keys. Empty: sorted is right."""
    tasks: tuple[TaskSpec, ...]
    groups: tuple[TaskGroupSpec, ...] = ()
    edge_labels: tuple[EdgeLabel, ...] = ()
    callbacks: tuple[DagEvent, ...] = ()
    """Events of a dag run for which the file has functions."""
    alerts: tuple[AlertSpec, ...] = ()
    deadlines: Annotated[tuple[DeadlineSpec, ...], msgspec.Meta(max_length=DEADLINES_MAX)] = ()
    callback_timeout_s: Annotated[float, msgspec.Meta(gt=0, le=CALLBACK_TIMEOUT_MAX_S)] | None = None
    """How long the process of a callback may take; None: as the daemon is set."""
    environment: EnvironmentSpec = EnvironmentSpec()
    loaded_by: LoadedBy = "shim"
    """What could load its file, and so can again where a task runs (ADR 40)."""
    staging: dict[str, Any] = {}
    source_path: SourcePath = "dag.py"
    """File the DAG was read from, relative to the project folder."""
    import_paths: tuple[ImportPath, ...] = ()
    """Folders of the bundle that go on the path of modules, behind what is installed, as in Airflow; empty: the bundle
    itself, before what is installed."""
    source: str = ""
    """Its text, for the UI's Code tab."""
    bundle_digest: BundleDigest = ""
    """SHA-256 over the project's files; the code that every run of this version executes."""
    reads: tuple[Read, ...] = ()
    """What the file asked for while it was loaded; a change of it calls for another compile. No part of the digest."""
    image: str = ""
    """`repository@sha256:...` on Kubernetes; empty in Lite."""
    warnings: tuple[DagWarning, ...] = ()
    """For people only: no part of the digest."""
    dag_version: str = ""
    """The author's label of this version (git describe), for people only."""


# --- what an artifact may hold -----------------------------------------------------------------------------------

COUNT_MAX = 1_000_000_000
"""For `integer` columns, with room for the sums that are made of two of them."""
WEIGHT_MAX = 2**31 - 1
MONTHS_MAX = 100 * 12
STEP_MIN_S = 0.001
"""Shortest distance between runs: below a microsecond the next moment would be the same one."""
MOMENT_MIN, MOMENT_MAX = EARLIEST + timedelta(seconds=SECONDS_MAX), LATEST - timedelta(seconds=SECONDS_MAX)
"""Moments that are calculated with: the longest duration before and after them is still a moment."""
NAME_MAX = 256
LABEL_MAX = 2_000
TAG_MAX = 100
"""As in Airflow's tables."""
DESCRIPTION_MAX = 100_000
DOC_MAX = SOURCE_MAX = 8 * 1024 * 1024
ARTIFACT_MAX_BYTES = 64 * 1024 * 1024
"""Ten thousand tasks, each after a hundred others, are 12 MiB."""

_LARGEST: dict[str, float] = {
    "max_active_runs": COUNT_MAX,
    "max_active_tasks": COUNT_MAX,
    "max_consecutive_failed_dag_runs": COUNT_MAX,
    "retries": COUNT_MAX,
    "pool_slots": COUNT_MAX,
    "max_active_tis_per_dag": COUNT_MAX,
    "max_active_tis_per_dagrun": COUNT_MAX,
    "dagrun_timeout_s": SECONDS_MAX,
    "retry_delay_s": SECONDS_MAX,
    "max_retry_delay_s": SECONDS_MAX,
    "execution_timeout_s": SECONDS_MAX,
    "poke_interval_s": SECONDS_MAX,
    "max_wait_s": SECONDS_MAX,
    "timeout_s": SECONDS_MAX,
    "interval_s": SECONDS_MAX,
    "interval_months": MONTHS_MAX,
    "run_within_s": SECONDS_MAX,
    "seconds": SECONDS_MAX,
    "months": MONTHS_MAX,
    "retry_exponential_backoff": 1_000.0,
    "priority_weight": WEIGHT_MAX,
}
_LONGEST: dict[str, int] = {
    "dag_display_name": LABEL_MAX,
    "task_display_name": LABEL_MAX,
    "description": DESCRIPTION_MAX,
    "doc_md": DOC_MAX,
    "source": SOURCE_MAX,
    "owner": LABEL_MAX,
    "operator": LABEL_MAX,
    "operator_name": LABEL_MAX,
    "pool": NAME_MAX,
    "queue": NAME_MAX,
    "group_id": LABEL_MAX,
    "label": LABEL_MAX,
    "tooltip": DESCRIPTION_MAX,
    "expression": 1_000,
    "timezone": NAME_MAX,
    "timetable_summary": LABEL_MAX,
    "dag_version": LABEL_MAX,
}


def checked(spec: DagSpec) -> DagSpec:
    """The artifact itself. Raises `Invalid`, located at ("dag",), ("tasks", task id) or ("groups", group id)."""
    with _located("dag"):  # first: its dates are its tasks', who may have none of their own
        _check_part(msgspec.structs.replace(spec, tasks=(), groups=()), f"dag {spec.dag_id!r}")
        _check_links(spec)
        _check_timetable(spec.timetable, f"the schedule of dag {spec.dag_id!r}")
        if spec.asset_condition is not None:
            check_condition(spec.asset_condition, f"the schedule of dag {spec.dag_id!r}")
        if spec.partitions is not None:
            check_partitions(spec.partitions, f"the schedule of dag {spec.dag_id!r}")
        for deadline in spec.deadlines:
            _check_fields(deadline, f"a deadline of dag {spec.dag_id!r}")
        for tag in spec.tags:
            checked_text(tag, f"a tag of dag {spec.dag_id!r}", max_length=TAG_MAX, allow_empty=True)
    for task in spec.tasks:
        with _located("tasks", task.task_id):
            _check_part(task, f"task {task.task_id!r}")
            for asset in (*task.inlets, *task.outlets):
                check_condition(asset, f"task {task.task_id!r}")
            if task.wait is not None:
                _check_fields(task.wait.terms, f"task {task.task_id!r}")
            _check_instances(task)
            if task.deferral is not None:
                _check_fields(task.deferral, f"task {task.task_id!r}")
    for group in spec.groups:
        with _located("groups", group.group_id):
            _check_part(group, f"task group {group.group_id!r}")
    with _located("dag"):
        if len(msgspec.json.encode(spec)) > ARTIFACT_MAX_BYTES:
            raise Invalid(
                f"dag {spec.dag_id!r} is an artifact of more than {ARTIFACT_MAX_BYTES // 2**20} MiB; "
                "split it into several DAGs"
            )
    return spec


def _check_instances(task: TaskSpec) -> None:
    """Of a task with `mapped_values`: that each instance is one."""
    for column in task.mapped_values:
        if len(column.values) != len(task.mapped_values[0].values):
            raise Invalid(f"the mapped values of task {task.task_id!r} are not of one length")
    for map_index in range(len(task.mapped_values[0].values) if task.mapped_values else 0):
        own = of_instance(task, map_index)
        if own.wait is not None:
            _check_fields(own.wait.terms, f"task {task.task_id!r}, map index {map_index}")


def of_instance(task: TaskSpec, map_index: int) -> TaskSpec:
    """The task with the wait or the call of this instance. Raises `Invalid` when what it has for itself is none."""
    if not task.mapped_values:
        return task
    name = "wait" if task.wait is not None else "http"
    document = msgspec.to_builtins(getattr(task, name))
    try:
        for column in task.mapped_values:
            *above, last = column.path
            functools.reduce(operator.getitem, above, document)[last] = column.values[map_index]
        own = msgspec.convert(document, WaitSpec if name == "wait" else HttpCall)
    except (LookupError, TypeError, msgspec.ValidationError) as error:
        raise Invalid(f"the {name} of task {task.task_id!r} at map index {map_index} is none: {error}") from error
    return msgspec.structs.replace(task, **{name: own})


@contextmanager
def _located(*location: str) -> Iterator[None]:
    try:
        yield
    except Invalid as error:
        error.location = location
        raise


def _check_part(part: Spec, who: str) -> None:
    _check_fields(part, who)
    checked_jsonb(msgspec.to_builtins(part), who)


def _check_fields(part: msgspec.Struct, who: str) -> None:
    for name in part.__struct_fields__:
        value = getattr(part, name)
        if not value:
            continue
        if isinstance(value, str):
            if name in _LONGEST:
                checked_text(value, f"{name} of {who}", max_length=_LONGEST[name], allow_empty=True)
        elif isinstance(value, int | float):
            if name in _LARGEST and not -WEIGHT_MAX <= value <= _LARGEST[name]:
                raise Invalid(f"{name} of {who} is out of range; at most {_LARGEST[name]:,.0f} is possible")
        elif isinstance(value, datetime):
            checked_date(value, f"{name} of {who}", is_end=name == "end_date")


def _check_links(spec: DagSpec) -> None:
    for owner, link in spec.owner_links.items():
        if not is_link(link):
            raise Invalid(
                f"the link of owner {shown(owner, 100)!r} is {shown(link, 100)!r}; it must begin with "
                + " or ".join(f"{scheme}:" for scheme in LINK_SCHEMES)
            )


def is_link(text: str) -> bool:
    """May this be a link of a page? Browsers drop control characters and leading blanks before they read the scheme."""
    scheme, colon, _ = text.partition(":")
    return bool(colon) and text.isprintable() and scheme.lower() in LINK_SCHEMES


def checked_date(moment: datetime, what: str, *, is_end: bool = False) -> datetime:
    """The moment in UTC. Raises `Invalid`. An end date may be any: nothing is calculated from it."""
    moment = checked_moment(moment, what)
    if not is_end and not MOMENT_MIN <= moment <= MOMENT_MAX:
        raise Invalid(f"{what} is not between {MOMENT_MIN:%Y-%m-%d} and {MOMENT_MAX:%Y-%m-%d}")
    return moment


def _check_timetable(timetable: Timetable, what: str) -> None:
    _check_fields(timetable, what)
    if isinstance(timetable, CronTimetable) and timetable.partition is not None:
        check_cron_partition(timetable.partition, what)
    if isinstance(timetable, DeltaTimetable) and not timetable.months and timetable.seconds < STEP_MIN_S:
        raise Invalid(f"{what} has {timetable.seconds:g} s between its runs; at least {STEP_MIN_S:g} s are possible")
    for part in timetable.timetables if isinstance(timetable, MultipleCronTimetable) else ():
        _check_fields(part, what)
    for moment in _dates_of(timetable):
        checked_date(moment, f"a date of {what}")


def _dates_of(timetable: Timetable) -> tuple[datetime, ...]:
    if isinstance(timetable, CustomTimetable):
        return tuple(moment for slot in (*timetable.slots, timetable.manual or ()) for moment in slot)
    return timetable.dates if isinstance(timetable, DatesTimetable) else ()


ready(DagSpec)  # projects are compiled, and large artifacts read, in threads

# --- bytes -------------------------------------------------------------------------------------------------------


def encode_canonical(spec: DagSpec) -> bytes:
    """The one byte form of an artifact: sorted keys, no defaults, UTF-8, newline at the end."""
    return msgspec.json.encode(msgspec.to_builtins(spec, builtin_types=(datetime,)), order="sorted") + b"\n"


def decode(document: bytes | str) -> DagSpec:
    """Read an artifact from outside. Raises `msgspec.ValidationError` naming the path, or `Invalid`."""
    return checked(msgspec.json.decode(document, type=DagSpec))


def digest(spec: DagSpec) -> str:
    """SHA-256 (hex) of the canonical bytes without `dag_version` and `warnings`, which are for people only, and without
    `reads`, which say what the DAG was made of and not what it is, as the look-ahead of a custom timetable does."""
    timetable = spec.timetable
    if isinstance(timetable, CustomTimetable):
        timetable = CustomTimetable(name=timetable.name, description=timetable.description)
    bare = msgspec.structs.replace(spec, dag_version="", warnings=(), reads=(), timetable=timetable)
    return hashlib.sha256(encode_canonical(bare)).hexdigest()


def definition_digest(spec: DagSpec) -> str:
    """SHA-256 (hex) of what the DAG is, without what it shares with its project: the file's text, code, environment."""
    own = msgspec.structs.replace(
        spec,
        source="",
        source_path="",
        import_paths=(),
        bundle_digest="",
        environment=EnvironmentSpec(),
        staging={},
        image="",
    )
    return digest(own)
