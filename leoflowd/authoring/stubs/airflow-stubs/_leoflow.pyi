# Made by `make docs` from the shim's signatures; do not edit.

from collections.abc import AsyncIterator
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Container
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import MutableMapping
from collections.abc import Sequence
from datetime import datetime
from datetime import time
from datetime import timedelta
from enum import Enum
from enum import IntEnum
from logging import Logger
from os import PathLike
from typing import Any
from typing import ClassVar
from typing import NamedTuple
from typing import NoReturn
from typing import overload

class AirflowBadRequest(AirflowException):
    """The application or server cannot handle the request."""

class AirflowConfigException(Exception):
    """Something is configured wrongly."""

class AirflowDagCycleException(AirflowException):
    """The dependencies form a circle."""

class AirflowException(Exception):
    """Base of Airflow's errors; the task fails and may be retried."""

class AirflowFailException(AirflowException):
    """The task fails for good: no retry."""

class AirflowNotFoundException(AirflowException):
    """The requested object does not exist."""

class AirflowOptionalProviderFeatureException(AirflowException):
    """A provider lacks a package that one of its features needs."""

class AirflowProviderDeprecationWarning(DeprecationWarning):
    """A feature that a provider will remove."""

class AirflowRescheduleException(AirflowException):
    """The task wants to run again at `reschedule_date`, as the same try."""
    reschedule_date: datetime
    def __init__(self, reschedule_date: datetime) -> None: ...

class AirflowSensorTimeout(AirflowException):
    """A sensor waited longer than its `timeout`."""

class AirflowSkipException(AirflowException):
    """The task is skipped."""

class AirflowTaskTerminated(BaseException):
    """The task was asked to end."""

class AirflowTaskTimeout(BaseException):
    """`execution_timeout` has passed."""

class AirflowTimetableInvalid(AirflowException):
    """The schedule cannot be right."""

class AllowedKeyMapper(PartitionMapper):
    allowed_keys: list[str]
    def __init__(self, allowed_keys: list[str]) -> None: ...

class ApprovalOperator(HITLOperator, SkipMixin):
    """Approve, or Reject, which skips what is downstream; with `fail_on_reject` the task fails instead."""
    FIXED_ARGS: ClassVar[list[str]]
    APPROVE: str
    REJECT: str
    ignore_downstream_trigger_rules: bool
    fail_on_reject: bool
    def __init__(
        self, *, ignore_downstream_trigger_rules: bool = False, fail_on_reject: bool = False,
        subject: str | XComArg, options: list[str], body: str | None | XComArg = None,
        defaults: str | list[str] | None = None, multiple: bool = False,
        params: Mapping[str, Any] | None = None, notifiers: Any = None,
        assigned_users: HITLUser | list[HITLUser] | None = None, response_timeout: timedelta | None = None,
        task_id: str, owner: str | None = 'airflow', email: Any = None, email_on_retry: bool = True,
        email_on_failure: bool = True, retries: int | str | None = 0, retry_delay: timedelta | float = ...,
        retry_exponential_backoff: float = 0, max_retry_delay: timedelta | float | None = None,
        retry_policy: Any = None, start_date: Any = None, end_date: Any = None, depends_on_past: bool = False,
        ignore_first_depends_on_past: bool = False, wait_for_past_depends_before_skipping: bool = False,
        wait_for_downstream: bool = False, dag: DAG | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...
    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any: ...

class Asset(PathLike[str], BaseAsset):
    """Something that tasks read and write, known by its name and its uri; either is made of the other."""
    asset_type: str
    name: Any
    uri: Any
    group: Any
    extra: Any
    watchers: list[Any]
    def __init__(
        self, name: str | None = None, uri: Any = None, *, group: str | None = None,
        extra: Mapping[str, Any] | None = None, watchers: Collection[Any] | None = None,
    ) -> None: ...
    @staticmethod
    def ref(*, name: str = '', uri: str = '') -> AssetRef:
        """Whichever asset has this name, or this uri."""
    def __fspath__(self) -> str: ...
    def serialize(self) -> dict[str, Any]:
        """Of an asset in an XCom."""
    @classmethod
    def deserialize(cls, data: dict[str, Any], version: int) -> Asset: ...

class AssetAlias(BaseAsset):
    """Stands for the assets that tasks add to it when they run."""
    name: Any
    group: Any
    def __init__(self, name: str, *, group: str = 'asset') -> None: ...

class AssetAliasUniqueKey(NamedTuple):
    """AssetAliasUniqueKey(name,)"""
    name: Any
    @classmethod
    def from_asset_alias(cls, alias: AssetAlias) -> AssetAliasUniqueKey: ...
    def to_asset_alias(self) -> AssetAlias: ...

class AssetAll(AssetBooleanCondition):
    def __and__(self, other: Any) -> Any: ...

class AssetAny(AssetBooleanCondition):
    def __or__(self, other: Any) -> Any: ...

class AssetBooleanCondition(BaseAsset):
    """`AssetAny` and `AssetAll`."""
    objects: Collection[BaseAsset]
    def __init__(self, *objects: BaseAsset) -> None: ...

class AssetDefinition(Asset):
    """What `@asset` leaves in place of the function."""
    def __init__(
        self, function: Any, source: asset, *, name: str | None = None, uri: Any = None,
        group: str | None = None, extra: Mapping[str, Any] | None = None,
        watchers: Collection[Any] | None = None,
    ) -> None: ...
    def iter_outlets(self) -> Iterator[BaseAsset]: ...

class AssetNameRef(AssetRef):
    name: str
    def __init__(self, name: str) -> None: ...

class AssetOrTimeSchedule(AssetTriggeredTimetable):
    """Both events of assets and the timetable start runs."""
    timetable: BaseTimetable
    def __init__(self, *, timetable: BaseTimetable, assets: Any = None, datasets: Any = None) -> None: ...
    def to_spec(self) -> dict[str, Any]: ...
    @property
    def summary(self) -> str | None: ...

class AssetRef(BaseAsset):
    """`Asset.ref(...)` makes one of the two."""

class AssetTriggeredTimetable(NullTimetable):
    """Events of assets start runs, and nothing else."""
    def __init__(self, assets: Any) -> None: ...
    @property
    def summary(self) -> str | None: ...

class AssetUniqueKey(NamedTuple):
    """AssetUniqueKey(name, uri)"""
    name: Any
    uri: Any
    @classmethod
    def from_asset(cls, asset: Asset) -> AssetUniqueKey: ...
    def to_asset(self) -> Asset: ...

class AssetUriRef(AssetRef):
    uri: str
    def __init__(self, uri: str) -> None: ...

class AssetWatcher:
    """An event trigger that makes events of an asset: what it yields becomes one (ADR 56)."""
    name: str
    trigger: Any
    def __init__(self, name: str, trigger: Any) -> None: ...

class AsyncCallback(Callback):
    """It is awaited."""

class AuthoringError(Exception):
    """A DAG that we cannot accept. `location` defaults to the author's line that led here."""
    connector: str
    holds_for_both: bool
    what: str
    why: str
    remedy: str
    location: Any
    def __init__(self, what: str, why: str, remedy: str) -> None: ...

class BaseAsset:
    """Whatever may stand in a condition."""
    def __or__(self, other: Any) -> Any: ...
    def __and__(self, other: Any) -> Any: ...

class BaseBranchOperator(BaseOperator, BranchMixIn):
    """Derive from it and write `choose_branch`."""
    def choose_branch(self, context: Any) -> str | Iterable[str] | None:
        """The id of a task or group directly downstream, several, or None to skip all."""
    def execute(self, context: Any) -> Any: ...

class BaseDeadlineReference:
    """What a deadline is reckoned from."""

class BaseEventTrigger(BaseTrigger):
    """A trigger that may also watch for an asset: each of its events becomes one of the asset."""

class BaseHook:
    """Base of hooks that authors write."""
    def __init__(self, logger_name: str | None = None) -> None: ...
    @property
    def log(self) -> Logger: ...
    @classmethod
    def get_connection(cls, conn_id: str) -> Connection: ...
    def get_conn(self) -> Any: ...

class BaseNotifier:
    """Called with the context, it tells someone: `notify(context)` says how."""
    template_fields: Sequence[str]
    template_ext: Sequence[str]
    context: Any
    def __init__(self, context: Any = None, **_: Any) -> None: ...
    @property
    def log(self) -> Logger: ...
    def notify(self, context: Any) -> None: ...
    def async_notify(self, context: Any) -> None: ...
    def render_template_fields(self, context: Any, jinja_env: Any = None) -> None:
        """Changes its attributes: each is rendered once."""
    def __call__(self, *args: Any) -> None:
        """With the context, its template fields rendered and in there too."""

class BaseOperator(Task):
    """One task. A subclass of yours runs as it is: its `execute(context)` is called in the task's process."""
    template_fields: Sequence[str]
    template_ext: Sequence[str]
    template_fields_renderers: dict[str, str]
    operator_extra_links: Sequence[Any]
    start_trigger_args: Any
    leoflow_arguments: frozenset[str] | None
    leoflow_rules: tuple[Rules, ...]
    kind: str
    is_mapped: bool
    ui_color: str
    ui_fgcolor: str
    custom_operator_name: str
    inherits_from_skipmixin: bool
    start_from_trigger: bool
    params: Any
    email: Any
    email_on_retry: bool
    email_on_failure: bool
    retries: Any
    retry_delay: timedelta | float
    retry_exponential_backoff: float
    max_retry_delay: timedelta | float | None
    retry_policy: Any
    start_date: Any
    end_date: Any
    wait_for_downstream: bool
    depends_on_past: Any
    ignore_first_depends_on_past: bool
    wait_for_past_depends_before_skipping: bool
    priority_weight: int
    weight_rule: Any
    queue: str
    pool: Any
    pool_slots: int
    execution_timeout: timedelta | None
    on_execute_callback: Any
    on_failure_callback: Any
    on_success_callback: Any
    on_retry_callback: Any
    on_skipped_callback: Any
    resources: Any
    run_as_user: str | None
    map_index_template: str | None
    max_active_tis_per_dag: int | None
    max_active_tis_per_dagrun: int | None
    executor: str | None
    executor_config: Any
    do_xcom_push: bool
    inlets: Any
    outlets: Any
    doc: str | None
    doc_md: str | None
    doc_json: str | None
    doc_yaml: str | None
    doc_rst: str | None
    task_display_name: str | None
    logger_name: str | None
    allow_nested_operators: bool
    render_template_as_native_obj: bool | None
    def __init__(
        self, *, task_id: str, owner: str | None = 'airflow', email: Any = None, email_on_retry: bool = True,
        email_on_failure: bool = True, retries: int | str | None = 0, retry_delay: timedelta | float = ...,
        retry_exponential_backoff: float = 0, max_retry_delay: timedelta | float | None = None,
        retry_policy: Any = None, start_date: Any = None, end_date: Any = None, depends_on_past: bool = False,
        ignore_first_depends_on_past: bool = False, wait_for_past_depends_before_skipping: bool = False,
        wait_for_downstream: bool = False, dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...
    def add_inlets(self, inlets: Iterable[Any]) -> None: ...
    def add_outlets(self, outlets: Iterable[Any]) -> None: ...
    def depend_on_outputs(self) -> None:
        """The outputs in template fields become dependencies: after the last `__init__`, and once more when the DAG is complete, for fields that were set later. Watching every assignment would double the cost of a task."""
    @property
    def task_type(self) -> str: ...
    @property
    def operator_class(self) -> type:
        """The author's class, also of a task that is mapped."""
    @property
    def inherits_from_empty_operator(self) -> bool: ...
    @property
    def operator_name(self) -> str: ...
    @property
    def output(self) -> XComArg: ...
    @property
    def log(self) -> Logger: ...
    def pre_execute(self, context: Any) -> None: ...
    def execute(self, context: Any) -> Any: ...
    def post_execute(self, context: Any, result: Any = None) -> None: ...
    def defer(
        self, *, trigger: Any, method_name: str, kwargs: dict[str, Any] | None = None,
        timeout: timedelta | float | None = None,
    ) -> NoReturn:
        """Give the process back until the trigger fires; `method_name` then goes on, in another process."""
    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Called instead of `execute` when the trigger has fired, failed or come too late."""
    def render_template(self, content: Any, context: Any, jinja_env: Any = None, seen_oids: Any = None) -> Any:
        """Texts in `content` rendered, however deep, and outputs of tasks in it as their values."""
    def render_template_fields(self, context: Any, jinja_env: Any = None) -> None: ...
    def get_template_env(self, dag: Any = None) -> Any:
        """The Jinja environment of its DAG, with the DAG's macros and filters."""
    def on_kill(self) -> None:
        """Called before the process is ended; subclasses stop what they started elsewhere."""
    def xcom_pull(self, context: Any, *args: Any, **kwargs: Any) -> Any: ...
    def xcom_push(self, context: Any, key: str, value: Any) -> None: ...
    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """The arguments that all instances share; `expand` and `expand_kwargs` of what it gives make the task."""
    @classmethod
    def unnamed_arguments(cls) -> Iterable[str]:
        """What its constructor takes beside the parameters that it names."""
    @classmethod
    def note_mapped(cls, mapped: BaseOperator) -> None:
        """A task that is mapped was made of this class: what of its arguments does not hold for it as a whole."""

class BaseOperatorLink:
    """A link that an operator shows beside its tasks, under a `name`: pushed as an XCom once the task has run."""
    operators: Sequence[Any]
    name: str
    @property
    def xcom_key(self) -> str: ...
    def get_link(self, operator: Any, *, ti_key: Any) -> str: ...

class BaseSensorOperator(BaseOperator):
    """Calls `poke(context)` until it is true."""
    valid_modes: Iterable[str]
    poke_interval: Any
    timeout: Any
    soft_fail: bool
    mode: str
    exponential_backoff: bool
    max_wait: Any
    silent_fail: bool
    never_fail: bool
    def __init__(
        self, *, poke_interval: timedelta | float = 60, timeout: timedelta | float | None = None,
        soft_fail: bool = False, mode: str = 'poke', exponential_backoff: bool = False,
        max_wait: timedelta | float | None = None, silent_fail: bool = False, never_fail: bool = False,
        task_id: str, owner: str | None = 'airflow', email: Any = None, email_on_retry: bool = True,
        email_on_failure: bool = True, retries: int | str | None = 0, retry_delay: timedelta | float = ...,
        retry_exponential_backoff: float = 0, max_retry_delay: timedelta | float | None = None,
        retry_policy: Any = None, start_date: Any = None, end_date: Any = None, depends_on_past: bool = False,
        ignore_first_depends_on_past: bool = False, wait_for_past_depends_before_skipping: bool = False,
        wait_for_downstream: bool = False, dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...
    @property
    def reschedule(self) -> bool: ...
    def poke(self, context: Any) -> bool | PokeReturnValue: ...
    def execute(self, context: Any) -> Any: ...
    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any: ...

class BaseTaskEndEvent(TriggerEvent):
    """Ends the task without another process."""
    task_instance_state: str
    xcoms: dict[str, Any] | None
    def __init__(self, *, xcoms: dict[str, Any] | None = None) -> None: ...

class BaseTimetable:
    """Base of the timetables, of the author's own too, which `custom_timetable` asks when the DAG is compiled."""
    active_runs_limit: int | None
    asset_condition: Any
    description: str
    periodic: bool
    can_be_scheduled: bool
    run_ordering: Any
    def to_spec(self) -> dict[str, Any]: ...
    def validate(self) -> None:
        """Of the author's own: raise what is wrong with it."""
    def serialize(self) -> dict[str, Any]: ...
    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> BaseTimetable: ...
    @property
    def summary(self) -> str | None: ...

class BaseTrigger(LoggingMixin):
    """Waits in a trigger host; `serialize` says how to make it there."""
    task_instance: Any
    trigger_id: Any
    def __init__(self, **_: Any) -> None: ...
    def serialize(self) -> tuple[str, dict[str, Any]]:
        """(class path, keyword arguments)."""
    def run(self) -> AsyncIterator[TriggerEvent]:
        """Yields an event when it fires."""
    def cleanup(self) -> None:
        """Called when the trigger is no longer needed."""

class BashOperator(BaseOperator):
    """Runs a bash command; its last line of output is the task's output, exit code 99 skips the task."""
    bash_command: Any
    env: dict[str, str] | None
    append_env: bool
    output_encoding: str
    cwd: str | None
    output_processor: Callable[[str], Any]
    skip_on_exit_code: Any
    def __init__(
        self, *, bash_command: Any, env: dict[str, str] | None | XComArg = None, append_env: bool = False,
        output_encoding: str = 'utf-8', skip_on_exit_code: int | Container[int] | None = 99,
        cwd: str | None | XComArg = None, output_processor: Callable[[str], Any] = ..., task_id: str,
        owner: str | None = 'airflow', email: Any = None, email_on_retry: bool = True,
        email_on_failure: bool = True, retries: int | str | None = 0, retry_delay: timedelta | float = ...,
        retry_exponential_backoff: float = 0, max_retry_delay: timedelta | float | None = None,
        retry_policy: Any = None, start_date: Any = None, end_date: Any = None, depends_on_past: bool = False,
        ignore_first_depends_on_past: bool = False, wait_for_past_depends_before_skipping: bool = False,
        wait_for_downstream: bool = False, dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...
    def execute(self, context: Any) -> Any: ...
    def child_env(self, context: Any) -> dict[str, str]:
        """The process's own environment, or only `env`, with the AIRFLOW_CTX_* names that Airflow adds."""
    def on_kill(self) -> None:
        """End the command; what it started is in the try's process group, which the agent ends."""

class BashSensor(BaseSensorOperator):
    """Waits until a bash command exits with 0; with `retry_exit_code` all codes but these two are failures."""
    bash_command: Any
    env: dict[str, str] | None
    output_encoding: str
    retry_exit_code: int | None
    def __init__(
        self, *, bash_command: Any, env: dict[str, str] | None | XComArg = None, output_encoding: str = 'utf-8',
        retry_exit_code: int | None = None, poke_interval: timedelta | float = 60,
        timeout: timedelta | float | None = None, soft_fail: bool = False, mode: str = 'poke',
        exponential_backoff: bool = False, max_wait: timedelta | float | None = None, silent_fail: bool = False,
        never_fail: bool = False, task_id: str, owner: str | None = 'airflow', email: Any = None,
        email_on_retry: bool = True, email_on_failure: bool = True, retries: int | str | None = 0,
        retry_delay: timedelta | float = ..., retry_exponential_backoff: float = 0,
        max_retry_delay: timedelta | float | None = None, retry_policy: Any = None, start_date: Any = None,
        end_date: Any = None, depends_on_past: bool = False, ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False, wait_for_downstream: bool = False,
        dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...
    def poke(self, context: Any) -> bool: ...
    def on_kill(self) -> None: ...

class BranchDateTimeOperator(_TwoWays):
    """Is it between two moments, or two times of the day? Those without a zone are of the DAG's."""
    target_lower: Any
    target_upper: Any
    def __init__(
        self, *, target_lower: Any, target_upper: Any, follow_task_ids_if_true: Any,
        follow_task_ids_if_false: Any, use_task_logical_date: bool = False, task_id: str,
        owner: str | None = 'airflow', email: Any = None, email_on_retry: bool = True,
        email_on_failure: bool = True, retries: int | str | None = 0, retry_delay: timedelta | float = ...,
        retry_exponential_backoff: float = 0, max_retry_delay: timedelta | float | None = None,
        retry_policy: Any = None, start_date: Any = None, end_date: Any = None, depends_on_past: bool = False,
        ignore_first_depends_on_past: bool = False, wait_for_past_depends_before_skipping: bool = False,
        wait_for_downstream: bool = False, dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...

class BranchDayOfWeekOperator(_TwoWays):
    """Is it one of these days? Today's day is that of the DAG's time zone, a logical date's that of its own."""
    week_day: Any
    def __init__(
        self, *, week_day: Any, follow_task_ids_if_true: Any, follow_task_ids_if_false: Any,
        use_task_logical_date: bool = False, task_id: str, owner: str | None = 'airflow', email: Any = None,
        email_on_retry: bool = True, email_on_failure: bool = True, retries: int | str | None = 0,
        retry_delay: timedelta | float = ..., retry_exponential_backoff: float = 0,
        max_retry_delay: timedelta | float | None = None, retry_policy: Any = None, start_date: Any = None,
        end_date: Any = None, depends_on_past: bool = False, ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False, wait_for_downstream: bool = False,
        dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...

class BranchExternalPythonOperator(BaseBranchOperator, ExternalPythonOperator):
    """A branch whose function runs in another interpreter."""
    def choose_branch(self, context: Any) -> Any: ...

class BranchMixIn(SkipMixin):
    """`do_branch` for operators that work out an answer of their own."""
    def do_branch(self, context: Any, branches_to_execute: Any) -> Any:
        """Follow these tasks and groups; None follows nothing. Gives them back when nothing is skipped."""

class BranchPythonOperator(BaseBranchOperator, PythonOperator):
    """A function answers."""
    def choose_branch(self, context: Any) -> Any: ...

class BranchPythonVirtualenvOperator(BaseBranchOperator, PythonVirtualenvOperator):
    """A branch whose function runs in a virtual environment of its own."""
    def choose_branch(self, context: Any) -> Any: ...

class Callback:
    """A function, or a notifier's class, that is called with `kwargs`, and with the context where it takes one."""
    kwargs: Any
    function: Any
    path: Any
    def __init__(self, callback_callable: Any, kwargs: Mapping[str, Any] | None = None) -> None: ...

class ChainMapper(PartitionMapper):
    """One after the other."""
    mappers: Any
    def __init__(self, mapper0: Any, mapper1: Any, *mappers: Any) -> None: ...

class ConcatXComArg(_Derived):
    """`output.concat(others)`."""
    def length(self) -> dict[str, Any]: ...
    def resolve(self, pull: Any) -> Any: ...

class Configuration:
    """Reads one option at a time."""
    def get(self, section: str, key: str, fallback: Any = ..., **_: Any) -> Any: ...
    def getboolean(self, section: str, key: str, **options: Any) -> bool: ...
    def getint(self, section: str, key: str, **options: Any) -> int: ...
    def getfloat(self, section: str, key: str, **options: Any) -> float: ...
    def getlist(self, section: str, key: str, delimiter: str = ',', **options: Any) -> list[str]: ...
    def has_option(self, section: str, option: str, **_: Any) -> bool: ...

class Connection:
    """One connection; `Connection.get(conn_id)` reads it, given as URI or as JSON."""
    conn_id: str
    conn_type: str
    description: str | None
    host: str | None
    login: str | None
    password: str | None
    schema: str | None
    port: Any
    extra: Any
    def __init__(
        self, conn_id: str = '', conn_type: str = '', description: str | None = None, host: str | None = None,
        login: str | None = None, password: str | None = None, schema: str | None = None,
        port: int | str | None = None, extra: str | dict[str, Any] | None = None, uri: str | None = None,
    ) -> None: ...
    @classmethod
    def get(cls, conn_id: str) -> Connection:
        """Environment, then daemon. Its secrets are `***` in the task's log from then on."""
    @classmethod
    def from_json(cls, text: str, conn_id: str = '') -> Connection: ...
    @property
    def extra_dejson(self) -> dict[str, Any]: ...
    def get_extra_dejson(self) -> dict[str, Any]: ...
    def to_dict(self, *, prune_empty: bool = False, validate: bool = True) -> dict[str, Any]:
        """Its fields, all of which JSON has, so that `validate` has nothing to find."""
    def as_json(self) -> str:
        """Without its id and empty fields, as `AIRFLOW_CONN_*` takes it."""
    @classmethod
    def from_uri(cls, uri: str, conn_id: str) -> Connection: ...
    def get_uri(self) -> str:
        """As Airflow writes it: a protocol in the host goes in front, flat texts of `extra` are the query."""
    def get_password(self) -> str | None: ...

class Context(dict[str, Any]):
    """The type that authors write in annotations."""

class ContinuousTimetable(BaseTimetable):
    def to_spec(self) -> dict[str, Any]: ...
    @property
    def summary(self) -> str | None: ...

class CronDataIntervalTimetable(_Cron):
    """The data interval lasts from slot to slot; the run starts at its end."""
    def __init__(self, cron: str, timezone: Any) -> None: ...
    def to_spec(self) -> dict[str, Any]: ...

class CronPartitionTimetable(CronTriggerTimetable):
    """A run at each slot, for a partition that the slot names."""
    offset: Any
    key_format: str
    def __init__(
        self, cron: str, *, timezone: Any, run_offset: Any = None, run_immediately: bool | timedelta = False,
        key_format: str = '%Y-%m-%dT%H:%M:%S',
    ) -> None: ...
    def to_spec(self) -> dict[str, Any]: ...

class CronTriggerTimetable(_Cron):
    """A run at each slot; the data interval is `interval` wide and ends at the slot."""
    width: Any
    run_immediately: bool | timedelta | None
    def __init__(
        self, cron: str, *, timezone: Any, interval: Any = ...,
        run_immediately: bool | timedelta | None = False,
    ) -> None: ...
    def to_spec(self) -> dict[str, Any]: ...

class DAG:
    """A workflow: its tasks, its schedule, and how its runs behave."""
    dag_id: Any
    description: str | None
    default_args: dict[str, Any]
    start_date: Any
    end_date: Any
    timezone: Any
    schedule: Any
    timetable: Any
    template_searchpath: tuple[str, ...]
    template_undefined: Any
    user_defined_macros: dict[str, Any] | None
    user_defined_filters: dict[str, Any] | None
    jinja_environment_kwargs: dict[str, Any] | None
    render_template_as_native_obj: Any
    max_active_tasks: int
    max_active_runs: int
    max_consecutive_failed_dag_runs: int
    dagrun_timeout: timedelta | None
    deadline: Any
    catchup: Any
    on_success_callback: Any
    on_failure_callback: Any
    doc_md: str | None
    params: Any
    access_control: Any
    is_paused_upon_creation: bool | None
    tags: set[str]
    owner_links: dict[str, str]
    auto_register: bool
    fail_fast: bool
    allowed_run_types: Any
    dag_display_name: Any
    disable_bundle_versioning: bool
    rerun_with_latest_version: bool | None
    task_dict: dict[str, BaseOperator]
    used_ids: set[str]
    suffixes: dict[str, int]
    edge_labels: dict[tuple[str, str], str]
    task_group: Any
    fileloc: Any
    def __init__(
        self, dag_id: str, *, description: str | None = None, default_args: Mapping[str, Any] | None = None,
        start_date: Any = None, end_date: Any = None, schedule: Any = None,
        template_searchpath: str | Iterable[str] | None = None, template_undefined: Any = None,
        user_defined_macros: dict[str, Any] | None = None, user_defined_filters: dict[str, Any] | None = None,
        max_active_tasks: int = 16, max_active_runs: int = 16, max_consecutive_failed_dag_runs: int = 0,
        dagrun_timeout: timedelta | None = None, deadline: Any = None, catchup: bool = False,
        on_success_callback: Any = None, on_failure_callback: Any = None, doc_md: str | None = None,
        params: Mapping[str, Any] | None = None, access_control: Any = None,
        is_paused_upon_creation: bool | None = None, jinja_environment_kwargs: dict[str, Any] | None = None,
        render_template_as_native_obj: bool = False, tags: Iterable[str] | None = None,
        owner_links: dict[str, str] | None = None, auto_register: bool = True, fail_fast: bool = False,
        allowed_run_types: Any = None, dag_display_name: str | None = None,
        disable_bundle_versioning: bool = False, rerun_with_latest_version: bool | None = None,
    ) -> None: ...
    @property
    def task(self) -> Any:
        """`@dag.task`: `@task` for this DAG, which need not be open."""
    def add_task(self, task: Task) -> None:
        """Take a task in; called by the operator itself, and for tasks that were made before their DAG."""
    def __rshift__(self, other: Any) -> Any:
        """`dag >> first >> second`, as Airflow 1 had it: the tasks beside it are the DAG's."""
    def __lshift__(self, other: Any) -> Any:
        """`dag >> first >> second`, as Airflow 1 had it: the tasks beside it are the DAG's."""
    def add_tasks(self, tasks: Iterable[Task]) -> None: ...
    @property
    def tasks(self) -> list[BaseOperator]: ...
    @property
    def task_ids(self) -> list[str]: ...
    @property
    def task_count(self) -> int: ...
    @property
    def owner(self) -> str:
        """Of all its tasks, as the UI shows it."""
    @property
    def folder(self) -> str:
        """Where its file lies."""
    @property
    def roots(self) -> list[BaseOperator]: ...
    @property
    def leaves(self) -> list[BaseOperator]: ...
    def has_task(self, task_id: str) -> bool: ...
    def get_task(self, task_id: str) -> BaseOperator: ...
    def param(self, name: str, default: Any = ...) -> DagParam: ...
    def set_edge_info(self, upstream_task_id: str, downstream_task_id: str, info: Mapping[str, Any]) -> None: ...
    def __enter__(self) -> DAG: ...
    def __exit__(self, *_: object) -> None: ...
    def test(self, *_: Any, **__: Any) -> None:
        """Left out in tries as well: each would run the whole DAG."""
    def cli(self) -> None: ...

class DagNotFound(AirflowNotFoundException):
    """No DAG of this id."""

class DagParam:
    """`dag.param("name", default)`: stands for the value that the run has for that param."""
    current_dag: Any
    def __init__(self, current_dag: Any, name: str, default: Any = ...) -> None: ...
    def resolve(self, context: Mapping[str, Any]) -> Any: ...

class DagRunAlreadyExists(AirflowBadRequest):
    """There is a dag run of this id."""

class DagRunInfo(NamedTuple):
    """DagRunInfo(run_after, data_interval, partition_date, partition_key)"""
    run_after: Any
    data_interval: Any
    partition_date: Any = ...
    partition_key: Any = ...
    @property
    def logical_date(self) -> datetime | None: ...
    @classmethod
    def exact(cls, at: datetime) -> DagRunInfo: ...
    @classmethod
    def interval(cls, start: datetime, end: datetime) -> DagRunInfo: ...

class DagRunNotFound(AirflowNotFoundException):
    """No dag run of this id."""

class DagRunState(str, Enum):
    QUEUED = 'queued'
    RUNNING = 'running'
    SUCCESS = 'success'
    FAILED = 'failed'

class DagRunType(str, Enum):
    MANUAL = 'manual'
    SCHEDULED = 'scheduled'
    BACKFILL_JOB = 'backfill'
    ASSET_TRIGGERED = 'asset_triggered'

class DagStateTrigger(BaseTrigger):
    """Fires when runs of a DAG are in one of the states."""
    dag_id: str
    states: Any
    run_ids: list[str] | None
    execution_dates: list[datetime] | None
    poll_interval: float
    def __init__(
        self, dag_id: str, states: list[Any], run_ids: list[str] | None = None,
        execution_dates: list[datetime] | None = None, poll_interval: float = 5.0,
    ) -> None: ...
    def serialize(self) -> tuple[str, dict[str, Any]]: ...

class DataInterval(NamedTuple):
    """DataInterval(start, end)"""
    start: Any
    end: Any
    @classmethod
    def exact(cls, at: datetime) -> DataInterval: ...

class Dataset(Asset):
    """Airflow 2's name."""

class DateTimeSensor(NativeSensor):
    """Waits until a moment; texts are ISO, and without a zone UTC."""
    target_time: str | datetime
    def __init__(
        self, *, target_time: str | datetime | XComArg, poke_interval: timedelta | float = 60,
        timeout: timedelta | float | None = None, soft_fail: bool = False, mode: str = 'poke',
        exponential_backoff: bool = False, max_wait: timedelta | float | None = None, silent_fail: bool = False,
        never_fail: bool = False, task_id: str, owner: str | None = 'airflow', email: Any = None,
        email_on_retry: bool = True, email_on_failure: bool = True, retries: int | str | None = 0,
        retry_delay: timedelta | float = ..., retry_exponential_backoff: float = 0,
        max_retry_delay: timedelta | float | None = None, retry_policy: Any = None, start_date: Any = None,
        end_date: Any = None, depends_on_past: bool = False, ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False, wait_for_downstream: bool = False,
        dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...
    def needs_process(self) -> bool: ...
    def probe_arguments(self) -> dict[str, Any]: ...
    def poke(self, context: Any) -> bool: ...

class DateTimeSensorAsync(DateTimeSensor): ...

class DateTimeTrigger(BaseTrigger):
    """Fires at a moment."""
    moment: Any
    end_from_trigger: bool
    def __init__(
        self, moment: datetime | None = None, *, target_time: datetime | str | None = None,
        end_from_trigger: bool = False,
    ) -> None: ...
    def serialize(self) -> tuple[str, dict[str, Any]]: ...

class DayOfWeekSensor(NativeSensor):
    """Waits until it is one of these days (UTC), or checks the logical date's."""
    week_day: Any
    use_task_logical_date: bool
    def __init__(
        self, *, week_day: Any, use_task_logical_date: bool = False, poke_interval: timedelta | float = 60,
        timeout: timedelta | float | None = None, soft_fail: bool = False, mode: str = 'poke',
        exponential_backoff: bool = False, max_wait: timedelta | float | None = None, silent_fail: bool = False,
        never_fail: bool = False, task_id: str, owner: str | None = 'airflow', email: Any = None,
        email_on_retry: bool = True, email_on_failure: bool = True, retries: int | str | None = 0,
        retry_delay: timedelta | float = ..., retry_exponential_backoff: float = 0,
        max_retry_delay: timedelta | float | None = None, retry_policy: Any = None, start_date: Any = None,
        end_date: Any = None, depends_on_past: bool = False, ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False, wait_for_downstream: bool = False,
        dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...
    def probe_arguments(self) -> dict[str, Any]: ...
    def poke(self, context: Any) -> bool: ...

class DeadlineAlert:
    reference: Any
    interval: timedelta
    callback: Any
    def __init__(self, reference: Any, interval: timedelta, callback: Any) -> None: ...

class DeadlineReference:
    """The references by Airflow's public names."""
    @classmethod
    def FIXED_DATETIME(cls, dt: datetime) -> BaseDeadlineReference: ...
    @classmethod
    def AVERAGE_RUNTIME(cls, max_runs: int = 0, min_runs: int | None = None) -> Any: ...
    @classmethod
    def register_custom_reference(cls, reference_class: type, deadline_reference_type: Any = None) -> type: ...

class DeltaDataIntervalTimetable(DeltaTriggerTimetable):
    """The data interval is `delta` wide; the run starts at its end."""
    def __init__(self, delta: Any) -> None: ...

class DeltaTriggerTimetable(BaseTimetable):
    """A run every `delta`, counted from the DAG's start."""
    data_interval: bool
    delta: Any
    width: Any
    def __init__(self, delta: Any, *, interval: Any = ...) -> None: ...
    def to_spec(self) -> dict[str, Any]: ...
    @property
    def summary(self) -> str | None: ...

class Dependable:
    """Whatever may stand beside `>>` and `<<`: an operator, a group, an output, a label."""
    @property
    def roots(self) -> list[Task]:
        """The tasks that an edge into this leads to."""
    @property
    def leaves(self) -> list[Task]:
        """The tasks that an edge out of this comes from."""
    def set_upstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None: ...
    def set_downstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None: ...
    def update_relative(self, other: Any, upstream: bool, edge_modifier: EdgeModifier | None) -> None:
        """Called on the other side of an edge, which groups and labels need to know of."""
    def __rshift__(self, other: Any) -> Any: ...
    def __lshift__(self, other: Any) -> Any: ...
    def __rrshift__(self, other: Any) -> Any: ...
    def __rlshift__(self, other: Any) -> Any: ...

class DirectoryFileDeleteTrigger(BaseEventTrigger):
    """The same for a file of a folder; those of one folder share one look at it."""
    directory: str
    filename: str
    poke_interval: float
    def __init__(self, *, directory: str, filename: str, poke_interval: float = 5.0) -> None: ...
    def serialize(self) -> tuple[str, dict[str, Any]]: ...
    def shared_stream_key(self) -> Hashable: ...
    @classmethod
    def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[frozenset[str]]:
        """The names in the folder, again and again."""
    def filter_shared_stream(self, shared_stream: AsyncIterator[frozenset[str]]) -> AsyncIterator[TriggerEvent]: ...

class DownstreamTasksSkipped(AirflowException):
    """The task succeeds, and these tasks are skipped: ids, or (id, map index); what runs or ran is left alone."""
    tasks: Any
    def __init__(self, *, tasks: Any) -> None: ...

class DuplicateTaskIdFound(AirflowException):
    """Two tasks or groups of one DAG have the same id."""

class EdgeModifier(Dependable):
    """`Label("...")`: waits until both of its sides are known, then labels the edges between them."""
    label: str | None
    def __init__(self, label: str | None = None) -> None: ...
    def set_upstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None: ...
    def set_downstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None: ...
    def update_relative(self, other: Any, upstream: bool, edge_modifier: EdgeModifier | None) -> None: ...
    @property
    def roots(self) -> list[Task]: ...
    @property
    def leaves(self) -> list[Task]: ...
    def add_edge_info(self, dag: DAG, upstream_id: str, downstream_id: str) -> None: ...

class EmailOperator(BaseOperator):
    """A mail by the SMTP connection `conn_id`; a subject or text that is missing is a template that its extra names."""
    to: str | Iterable[str]
    subject: str | None
    html_content: str | None
    from_email: str | None
    files: Any
    cc: str | Iterable[str] | None
    bcc: str | Iterable[str] | None
    mime_subtype: str
    mime_charset: str
    conn_id: str
    custom_headers: Mapping[str, Any] | None
    def __init__(
        self, *, to: str | Iterable[str] | XComArg, subject: str | None | XComArg = None,
        html_content: str | None | XComArg = None, from_email: str | None | XComArg = None,
        files: list[str] | None | XComArg = None, cc: str | Iterable[str] | None | XComArg = None,
        bcc: str | Iterable[str] | None | XComArg = None, mime_subtype: str | XComArg = 'mixed',
        mime_charset: str | XComArg = 'utf-8', conn_id: str | XComArg = 'smtp_default',
        custom_headers: Mapping[str, Any] | None | XComArg = None, task_id: str, owner: str | None = 'airflow',
        email: Any = None, email_on_retry: bool = True, email_on_failure: bool = True,
        retries: int | str | None = 0, retry_delay: timedelta | float = ...,
        retry_exponential_backoff: float = 0, max_retry_delay: timedelta | float | None = None,
        retry_policy: Any = None, start_date: Any = None, end_date: Any = None, depends_on_past: bool = False,
        ignore_first_depends_on_past: bool = False, wait_for_past_depends_before_skipping: bool = False,
        wait_for_downstream: bool = False, dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...
    def execute(self, context: Any) -> None:
        """Raises for what the server does not take."""

class EmptyOperator(BaseOperator):
    """Does nothing; the scheduler finishes it without a process."""
    def execute(self, context: Any) -> None:
        """Nothing to do."""

class EventsTimetable(BaseTimetable):
    """Runs exactly at the listed moments."""
    dates: Any
    name: str | None
    restrict_to_events: Any
    def __init__(
        self, event_dates: Iterable[datetime], restrict_to_events: bool = False, presorted: bool = False,
        description: str | None = None,
    ) -> None: ...
    def to_spec(self) -> dict[str, Any]: ...
    @property
    def summary(self) -> str | None: ...

class ExpandInput:
    """`expand(**value)`: instances are the product of all lists, the last one varying first."""
    kind: str
    value: Any
    def __init__(self, value: Mapping[str, Any]) -> None: ...
    def outputs(self) -> Iterator[XComArg]:
        """The outputs that it maps over, as they were given."""
    def references(self) -> Iterator[XComArg]: ...
    def spec(self) -> dict[str, Any]:
        """As `MappedSpec` of the artifact says it."""
    def literals(self) -> list[Any]:
        """What it maps over that is no output, but may hold some."""
    def resolve(self, map_index: int, pull: Any) -> tuple[dict[str, Any], set[int]]:
        """The arguments of one instance, and the ids of those that are no templates, since they come from outputs."""

class ExternalPythonOperator(_ElsewhereOperator):
    """In the environment of the interpreter `python`, which must be an absolute path."""
    python: Any
    expect_pendulum: bool
    def __init__(
        self, *, python: Any, expect_pendulum: bool = False, python_callable: Callable[..., Any],
        serializer: str | None = None, string_args: Iterable[str] | None = None, expect_airflow: bool = True,
        skip_on_exit_code: Any = None, env_vars: dict[str, str] | None = None, inherit_env: bool = True,
        op_args: Collection[Any] | None | XComArg = None, op_kwargs: Mapping[str, Any] | None | XComArg = None,
        templates_dict: dict[str, Any] | None | XComArg = None, templates_exts: Sequence[str] | None = None,
        show_return_value_in_logs: bool = True, task_id: str, owner: str | None = 'airflow', email: Any = None,
        email_on_retry: bool = True, email_on_failure: bool = True, retries: int | str | None = 0,
        retry_delay: timedelta | float = ..., retry_exponential_backoff: float = 0,
        max_retry_delay: timedelta | float | None = None, retry_policy: Any = None, start_date: Any = None,
        end_date: Any = None, depends_on_past: bool = False, ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False, wait_for_downstream: bool = False,
        dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...

class ExternalTaskMarker(EmptyOperator):
    """Says which task of another DAG depends on this one; does nothing, and clearing it clears nothing elsewhere."""
    external_dag_id: str
    external_task_id: str
    logical_date: Any
    recursion_depth: int
    def __init__(
        self, *, external_dag_id: str | XComArg, external_task_id: str | XComArg,
        logical_date: Any = '{{ logical_date.isoformat() }}', recursion_depth: int = 10, task_id: str,
        owner: str | None = 'airflow', email: Any = None, email_on_retry: bool = True,
        email_on_failure: bool = True, retries: int | str | None = 0, retry_delay: timedelta | float = ...,
        retry_exponential_backoff: float = 0, max_retry_delay: timedelta | float | None = None,
        retry_policy: Any = None, start_date: Any = None, end_date: Any = None, depends_on_past: bool = False,
        ignore_first_depends_on_past: bool = False, wait_for_past_depends_before_skipping: bool = False,
        wait_for_downstream: bool = False, dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...

class ExternalTaskSensor(NativeSensor):
    """Waits for tasks, a task group or a whole run of another DAG at the same logical date."""
    external_dag_id: str
    external_task_id: str | None
    external_task_ids: Any
    external_task_group_id: str | None
    allowed_states: Any
    skipped_states: Any
    failed_states: Any
    execution_delta: timedelta | None
    execution_date_fn: Callable[..., Any] | None
    check_existence: bool
    def __init__(
        self, *, external_dag_id: str | XComArg, external_task_id: str | None | XComArg = None,
        external_task_ids: Collection[str] | None | XComArg = None,
        external_task_group_id: str | None | XComArg = None, allowed_states: Iterable[str] | None = None,
        skipped_states: Iterable[str] | None = None, failed_states: Iterable[str] | None = None,
        execution_delta: timedelta | None = None, execution_date_fn: Callable[..., Any] | None = None,
        check_existence: bool = False, poll_interval: float | None = None,
        poke_interval: timedelta | float = 60, timeout: timedelta | float | None = None,
        soft_fail: bool = False, mode: str = 'poke', exponential_backoff: bool = False,
        max_wait: timedelta | float | None = None, silent_fail: bool = False, never_fail: bool = False,
        task_id: str, owner: str | None = 'airflow', email: Any = None, email_on_retry: bool = True,
        email_on_failure: bool = True, retries: int | str | None = 0, retry_delay: timedelta | float = ...,
        retry_exponential_backoff: float = 0, max_retry_delay: timedelta | float | None = None,
        retry_policy: Any = None, start_date: Any = None, end_date: Any = None, depends_on_past: bool = False,
        ignore_first_depends_on_past: bool = False, wait_for_past_depends_before_skipping: bool = False,
        wait_for_downstream: bool = False, dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
        deferrable: Any = ...,
    ) -> None: ...
    def needs_process(self) -> bool: ...
    def fixed_values(self) -> Sequence[Any]: ...
    def probe_arguments(self) -> dict[str, Any]: ...
    def predicate(self) -> dict[str, Any]: ...

class FailFastDagInvalidTriggerRule(AirflowException):
    """`fail_fast` allows only the trigger rule `all_success`."""

class FileDeleteTrigger(BaseEventTrigger):
    """Fires when the file is there, and deletes it."""
    filepath: str
    poke_interval: float
    def __init__(self, filepath: str, poke_interval: float = 5.0, **_: Any) -> None: ...
    def serialize(self) -> tuple[str, dict[str, Any]]: ...
    def run(self) -> AsyncIterator[TriggerEvent]: ...

class FileSensor(NativeSensor):
    """Waits for a file, or for a folder with a file in it; the path may be a glob."""
    filepath: Any
    fs_conn_id: str
    recursive: bool
    def __init__(
        self, *, filepath: Any, fs_conn_id: str | XComArg = 'fs_default', recursive: bool = False,
        poke_interval: timedelta | float = 60, timeout: timedelta | float | None = None,
        soft_fail: bool = False, mode: str = 'poke', exponential_backoff: bool = False,
        max_wait: timedelta | float | None = None, silent_fail: bool = False, never_fail: bool = False,
        task_id: str, owner: str | None = 'airflow', email: Any = None, email_on_retry: bool = True,
        email_on_failure: bool = True, retries: int | str | None = 0, retry_delay: timedelta | float = ...,
        retry_exponential_backoff: float = 0, max_retry_delay: timedelta | float | None = None,
        retry_policy: Any = None, start_date: Any = None, end_date: Any = None, depends_on_past: bool = False,
        ignore_first_depends_on_past: bool = False, wait_for_past_depends_before_skipping: bool = False,
        wait_for_downstream: bool = False, dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
        deferrable: Any = ..., start_from_trigger: Any = ..., trigger_kwargs: Any = ...,
    ) -> None: ...
    def probe_arguments(self) -> dict[str, Any]: ...
    def connection(self) -> str | None: ...
    @property
    def path(self) -> str:
        """Relative to the connection's `path`; without such a connection to the root, as the daemon takes it."""
    def poke(self, context: Any) -> bool: ...

class FileTrigger(BaseTrigger):
    """Fires when a file, or a folder with a file in it, exists; the path may be a glob."""
    filepath: str
    recursive: bool
    poke_interval: float
    def __init__(self, filepath: str, recursive: bool = False, poke_interval: float = 5.0, **_: Any) -> None: ...
    def serialize(self) -> tuple[str, dict[str, Any]]: ...

class GCSObjectExistenceAsyncSensor(GCSObjectExistenceSensor): ...

class GCSObjectExistenceSensor(_GcsSensor):
    object: str
    use_glob: bool
    def __init__(
        self, *, object: str | XComArg, use_glob: bool = False, bucket: str | XComArg,
        google_cloud_conn_id: str | XComArg = 'google_cloud_default', poke_interval: timedelta | float = 60,
        timeout: timedelta | float | None = None, soft_fail: bool = False, mode: str = 'poke',
        exponential_backoff: bool = False, max_wait: timedelta | float | None = None, silent_fail: bool = False,
        never_fail: bool = False, task_id: str, owner: str | None = 'airflow', email: Any = None,
        email_on_retry: bool = True, email_on_failure: bool = True, retries: int | str | None = 0,
        retry_delay: timedelta | float = ..., retry_exponential_backoff: float = 0,
        max_retry_delay: timedelta | float | None = None, retry_policy: Any = None, start_date: Any = None,
        end_date: Any = None, depends_on_past: bool = False, ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False, wait_for_downstream: bool = False,
        dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
        deferrable: Any = ..., impersonation_chain: Any = ..., retry: Any = ...,
    ) -> None: ...
    def is_wildcard(self) -> bool: ...
    def objects(self) -> tuple[str, list[str]]: ...

class GCSObjectsWithPrefixExistenceSensor(_GcsSensor):
    """Waits until an object with this prefix exists."""
    prefix: str
    def __init__(
        self, *, prefix: str | XComArg, bucket: str | XComArg,
        google_cloud_conn_id: str | XComArg = 'google_cloud_default', poke_interval: timedelta | float = 60,
        timeout: timedelta | float | None = None, soft_fail: bool = False, mode: str = 'poke',
        exponential_backoff: bool = False, max_wait: timedelta | float | None = None, silent_fail: bool = False,
        never_fail: bool = False, task_id: str, owner: str | None = 'airflow', email: Any = None,
        email_on_retry: bool = True, email_on_failure: bool = True, retries: int | str | None = 0,
        retry_delay: timedelta | float = ..., retry_exponential_backoff: float = 0,
        max_retry_delay: timedelta | float | None = None, retry_policy: Any = None, start_date: Any = None,
        end_date: Any = None, depends_on_past: bool = False, ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False, wait_for_downstream: bool = False,
        dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
        deferrable: Any = ..., impersonation_chain: Any = ...,
    ) -> None: ...
    def objects(self) -> tuple[str, list[str]]: ...

class HITLBranchOperator(HITLOperator, BranchMixIn):
    """Follows the tasks that the chosen options name, or that `options_mapping` names for them."""
    options_mapping: Any
    def __init__(
        self, *, options_mapping: dict[str, str] | None = None, subject: str | XComArg, options: list[str],
        body: str | None | XComArg = None, defaults: str | list[str] | None = None, multiple: bool = False,
        params: Mapping[str, Any] | None = None, notifiers: Any = None,
        assigned_users: HITLUser | list[HITLUser] | None = None, response_timeout: timedelta | None = None,
        task_id: str, owner: str | None = 'airflow', email: Any = None, email_on_retry: bool = True,
        email_on_failure: bool = True, retries: int | str | None = 0, retry_delay: timedelta | float = ...,
        retry_exponential_backoff: float = 0, max_retry_delay: timedelta | float | None = None,
        retry_policy: Any = None, start_date: Any = None, end_date: Any = None, depends_on_past: bool = False,
        ignore_first_depends_on_past: bool = False, wait_for_past_depends_before_skipping: bool = False,
        wait_for_downstream: bool = False, dag: DAG | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...
    def validate_options_mapping(self) -> None: ...
    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any: ...

class HITLEntryOperator(HITLOperator):
    """A form to be filled in: without options there is only OK."""
    OK: str
    def __init__(
        self, *, subject: str | XComArg, options: list[str], body: str | None | XComArg = None,
        defaults: str | list[str] | None = None, multiple: bool = False,
        params: Mapping[str, Any] | None = None, notifiers: Any = None,
        assigned_users: HITLUser | list[HITLUser] | None = None, response_timeout: timedelta | None = None,
        task_id: str, owner: str | None = 'airflow', email: Any = None, email_on_retry: bool = True,
        email_on_failure: bool = True, retries: int | str | None = 0, retry_delay: timedelta | float = ...,
        retry_exponential_backoff: float = 0, max_retry_delay: timedelta | float | None = None,
        retry_policy: Any = None, start_date: Any = None, end_date: Any = None, depends_on_past: bool = False,
        ignore_first_depends_on_past: bool = False, wait_for_past_depends_before_skipping: bool = False,
        wait_for_downstream: bool = False, dag: DAG | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...

class HITLOperator(BaseOperator):
    """Asks, and returns what was answered: `chosen_options`, `params_input`, `responded_at`, `responded_by_user`."""
    response_timeout: timedelta | None
    subject: str
    body: str | None
    options: list[str]
    defaults: Any
    multiple: bool
    notifiers: Any
    assigned_users: Any
    def __init__(
        self, *, subject: str | XComArg, options: list[str], body: str | None | XComArg = None,
        defaults: str | list[str] | None = None, multiple: bool = False,
        params: Mapping[str, Any] | None = None, notifiers: Any = None,
        assigned_users: HITLUser | list[HITLUser] | None = None, response_timeout: timedelta | None = None,
        task_id: str, owner: str | None = 'airflow', email: Any = None, email_on_retry: bool = True,
        email_on_failure: bool = True, retries: int | str | None = 0, retry_delay: timedelta | float = ...,
        retry_exponential_backoff: float = 0, max_retry_delay: timedelta | float | None = None,
        retry_policy: Any = None, start_date: Any = None, end_date: Any = None, depends_on_past: bool = False,
        ignore_first_depends_on_past: bool = False, wait_for_past_depends_before_skipping: bool = False,
        wait_for_downstream: bool = False, dag: DAG | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...
    @classmethod
    def note_mapped(cls, mapped: BaseOperator) -> None:
        """`execution_timeout` is each instance's time to answer in."""
    def validate_options(self) -> None: ...
    def validate_params(self) -> None: ...
    def validate_defaults(self) -> None: ...
    def execute(self, context: Any) -> Any: ...
    @property
    def serialized_params(self) -> dict[str, dict[str, Any]]: ...
    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any: ...
    def process_trigger_event_error(self, event: dict[str, Any]) -> None: ...
    def validate_chosen_options(self, chosen_options: list[str]) -> None: ...
    def validate_params_input(self, params_input: Mapping[str, Any]) -> None: ...
    def generate_link_to_ui(
        self, *, task_instance: Any, base_url: str | None = None, options: str | list[str] | None = None,
        params_input: dict[str, Any] | None = None,
    ) -> str:
        """The address of the page where this is answered, with an answer filled in if one is given."""
    @staticmethod
    def generate_link_to_ui_from_context(
        *, context: Any, base_url: str | None = None, options: list[str] | None = None,
        params_input: dict[str, Any] | None = None,
    ) -> str: ...

class HITLRejectException(AirflowException):
    """`fail_on_reject`: it was rejected."""

class HITLTimeoutError(HITLTriggerEventError):
    """Nobody answered in time, and there are no defaults."""

class HITLTrigger(BaseTrigger):
    """The question on its way to the daemon, which needs all of it; nothing runs."""
    question: Any
    def __init__(self, **_: Any) -> None: ...
    def serialize(self) -> tuple[str, dict[str, Any]]: ...
    def run(self) -> NoReturn: ...

class HITLTriggerEventError(Exception):
    """The question ended without an answer."""

class HITLUser(dict[str, Any]):
    """Somebody who may answer, or who has answered."""
    id: Any
    name: Any

class HttpOperator(BaseOperator):
    """Calls an endpoint; its output is the answer's text, or what `response_filter` makes of the answer."""
    object_fields: Any
    endpoint: str | None
    method: str
    data: Any
    headers: Any
    response_check: Callable[..., bool] | None
    response_filter: Callable[..., Any] | None
    extra_options: Any
    request_kwargs: Any
    http_conn_id: str
    log_response: bool
    deferrable: bool
    warn_on_non_idempotent: bool
    def __init__(
        self, *, endpoint: str | None | XComArg = None, method: str = 'POST',
        data: dict[str, Any] | str | None | XComArg = None, headers: dict[str, str] | None | XComArg = None,
        pagination_function: Callable[..., Any] | None = None,
        response_check: Callable[..., bool] | None = None, response_filter: Callable[..., Any] | None = None,
        extra_options: dict[str, Any] | None = None, request_kwargs: dict[str, Any] | None = None,
        http_conn_id: str | XComArg = 'http_default', log_response: bool = False, auth_type: Any = None,
        deferrable: bool = False, warn_on_non_idempotent: bool = True, retry_args: dict[str, Any] | None = None,
        task_id: str, owner: str | None = 'airflow', email: Any = None, email_on_retry: bool = True,
        email_on_failure: bool = True, retries: int | str | None = 0, retry_delay: timedelta | float = ...,
        retry_exponential_backoff: float = 0, max_retry_delay: timedelta | float | None = None,
        retry_policy: Any = None, start_date: Any = None, end_date: Any = None, depends_on_past: bool = False,
        ignore_first_depends_on_past: bool = False, wait_for_past_depends_before_skipping: bool = False,
        wait_for_downstream: bool = False, dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
        tcp_keep_alive: Any = ..., tcp_keep_alive_idle: Any = ..., tcp_keep_alive_count: Any = ...,
        tcp_keep_alive_interval: Any = ...,
    ) -> None: ...
    @classmethod
    def unnamed_arguments(cls) -> Iterable[str]: ...
    def leoflow_http(self) -> dict[str, Any] | None:
        """The `HttpCall` as plain data, templates unrendered; None when only a process can put it together."""
    def execute(self, context: Any) -> Any: ...

class HttpSensor(NativeSensor):
    """Waits until a request succeeds; 404 means not yet. With `response_check` each poke is a call in a process."""
    endpoint: str
    http_conn_id: str
    method: str
    request_params: Any
    request_kwargs: Any
    headers: Any
    response_error_codes_allowlist: Any
    response_check: Callable[..., Any] | None
    extra_options: Any
    def __init__(
        self, *, endpoint: str | XComArg, http_conn_id: str | XComArg = 'http_default', method: str = 'GET',
        request_params: dict[str, Any] | None | XComArg = None, request_kwargs: dict[str, Any] | None = None,
        headers: dict[str, Any] | None | XComArg = None,
        response_error_codes_allowlist: list[str] | None = None,
        response_check: Callable[..., Any] | None = None, extra_options: dict[str, Any] | None = None,
        poke_interval: timedelta | float = 60, timeout: timedelta | float | None = None,
        soft_fail: bool = False, mode: str = 'poke', exponential_backoff: bool = False,
        max_wait: timedelta | float | None = None, silent_fail: bool = False, never_fail: bool = False,
        task_id: str, owner: str | None = 'airflow', email: Any = None, email_on_retry: bool = True,
        email_on_failure: bool = True, retries: int | str | None = 0, retry_delay: timedelta | float = ...,
        retry_exponential_backoff: float = 0, max_retry_delay: timedelta | float | None = None,
        retry_policy: Any = None, start_date: Any = None, end_date: Any = None, depends_on_past: bool = False,
        ignore_first_depends_on_past: bool = False, wait_for_past_depends_before_skipping: bool = False,
        wait_for_downstream: bool = False, dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
        deferrable: Any = ..., tcp_keep_alive: Any = ..., tcp_keep_alive_idle: Any = ...,
        tcp_keep_alive_count: Any = ..., tcp_keep_alive_interval: Any = ...,
    ) -> None: ...
    @classmethod
    def unnamed_arguments(cls) -> Iterable[str]: ...
    def fixed_values(self) -> Sequence[Any]: ...
    def probe_arguments(self) -> dict[str, Any]: ...
    def predicate(self) -> dict[str, Any]: ...
    def connection(self) -> str | None: ...
    def poke(self, context: Any) -> bool | PokeReturnValue: ...

class HttpSensorTrigger(_HttpTrigger):
    """Calls until the answer is no longer 404."""
    poke_interval: float
    def __init__(
        self, endpoint: str | None = None, *, poke_interval: float = 5.0, http_conn_id: str = 'http_default',
        method: str | None = None, headers: dict[str, str] | None = None,
        data: dict[str, Any] | str | None = None, extra_options: dict[str, Any] | None = None,
    ) -> None: ...

class HttpTrigger(_HttpTrigger):
    """Makes one call, and fires with the answer."""
    auth_type: Any
    def __init__(
        self, http_conn_id: str = 'http_default', auth_type: Any = None, *, method: str | None = None,
        endpoint: str | None = None, headers: dict[str, str] | None = None,
        data: dict[str, Any] | str | None = None, extra_options: dict[str, Any] | None = None,
    ) -> None: ...

class IdentityMapper(PartitionMapper):
    """The key of the event is that of the run."""

class KubernetesObjectSensor(_MatchingSensor):
    """`leoflow.sensors.KubernetesObjectSensor`: waits for a condition, or a value, of one object."""
    api_version: str
    resource: str
    name: str
    namespace: str | None
    condition: str | None
    status: str
    kubernetes_conn_id: str
    def __init__(
        self, *, api_version: str, resource: str, name: str | XComArg, namespace: str | None | XComArg = None,
        condition: str | None = None, status: str = 'True',
        kubernetes_conn_id: str | XComArg = 'kubernetes_default', json_path: str | None | XComArg = None,
        equals: Any = ..., poke_interval: timedelta | float = 60, timeout: timedelta | float | None = None,
        soft_fail: bool = False, mode: str = 'poke', exponential_backoff: bool = False,
        max_wait: timedelta | float | None = None, silent_fail: bool = False, never_fail: bool = False,
        task_id: str, owner: str | None = 'airflow', email: Any = None, email_on_retry: bool = True,
        email_on_failure: bool = True, retries: int | str | None = 0, retry_delay: timedelta | float = ...,
        retry_exponential_backoff: float = 0, max_retry_delay: timedelta | float | None = None,
        retry_policy: Any = None, start_date: Any = None, end_date: Any = None, depends_on_past: bool = False,
        ignore_first_depends_on_past: bool = False, wait_for_past_depends_before_skipping: bool = False,
        wait_for_downstream: bool = False, dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...
    def fixed_values(self) -> Sequence[Any]: ...
    def probe_arguments(self) -> dict[str, Any]: ...
    def predicate(self) -> dict[str, Any]: ...
    def connection(self) -> str | None: ...

def Label(label: str) -> EdgeModifier:
    """A text on the edges that it stands on: `a >> Label("yes") >> b`."""

class LatestOnlyOperator(BaseBranchOperator):
    """Follows all in the newest run of the timetable, and in runs that people started; nothing in others."""
    def choose_branch(self, context: Any) -> Any: ...

class Literal:
    """`literal(value)`: an argument that is not rendered as a template."""
    value: Any
    def __init__(self, value: Any) -> None: ...

class LoggingMixin:
    """Gives a class a `log`."""
    @property
    def log(self) -> Logger: ...

class MapXComArg(_Derived):
    """`output.map(f)`."""
    callables: Any
    def __init__(self, arg: XComArg, callables: Sequence[Callable[[Any], Any]]) -> None: ...
    def length(self) -> dict[str, Any]: ...
    def resolve(self, pull: Any) -> Any: ...

class MappedOperator(BaseOperator):
    """A task that is mapped: `arguments` are those that its instances share, as they were given to `partial`."""
    arguments: Any
    expand_input: ExpandInput
    function_arguments: bool
    strict: bool
    def __init__(
        self, *, operator_class: type[BaseOperator], arguments: Mapping[str, Any], expand_input: ExpandInput,
        function_arguments: bool, strict: bool, task_id: str, owner: str | None = 'airflow', email: Any = None,
        email_on_retry: bool = True, email_on_failure: bool = True, retries: int | str | None = 0,
        retry_delay: timedelta | float = ..., retry_exponential_backoff: float = 0,
        max_retry_delay: timedelta | float | None = None, retry_policy: Any = None, start_date: Any = None,
        end_date: Any = None, depends_on_past: bool = False, ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False, wait_for_downstream: bool = False,
        dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...
    @property
    def operator_class(self) -> type[BaseOperator]: ...
    @property
    def task_type(self) -> str: ...
    @property
    def operator_name(self) -> str: ...
    def depend_on_outputs(self) -> None: ...
    def execute(self, context: Any) -> Any: ...
    def unmap(self, map_index: int, pull: Any) -> tuple[BaseOperator, set[int]]:
        """The operator of one instance, in its place in the DAG; and the ids of arguments that are no templates."""
    def instance_with(self, mapped: dict[str, Any]) -> BaseOperator:
        """The operator of an instance that is mapped over these arguments."""

class Metadata:
    """What a task yields to say something of one of its outlets."""
    asset: Any
    extra: Any
    alias: AssetAlias | None
    def __init__(
        self, asset: Any, extra: Mapping[str, Any] | None = None, alias: AssetAlias | None = None,
    ) -> None: ...

class Model(Asset): ...

class MultiAssetDefinition(AssetAll):
    """What `@asset.multi` leaves: all its assets."""
    name: Any
    def __init__(self, function: Any, source: Any) -> None: ...
    def iter_outlets(self) -> Iterator[BaseAsset]: ...

class MultipleCronTriggerTimetable(BaseTimetable):
    """A run whenever one of the expressions wants one."""
    timetables: Any
    def __init__(
        self, *crons: str, timezone: Any, interval: Any = ..., run_immediately: bool | timedelta | None = False,
    ) -> None: ...
    def to_spec(self) -> dict[str, Any]: ...
    @property
    def summary(self) -> str | None: ...

class NativeSensor(BaseSensorOperator):
    """Base; a kind says its probe, its predicate, and its connection."""
    object_fields: Sequence[str]
    deferral_arguments: Sequence[str]
    sensor_kind: str
    is_deferrable: bool
    waits_for_ever: bool
    deferrable: Any
    def __init__(
        self, *, poke_interval: timedelta | float = 60, timeout: timedelta | float | None = None,
        soft_fail: bool = False, mode: str = 'poke', exponential_backoff: bool = False,
        max_wait: timedelta | float | None = None, silent_fail: bool = False, never_fail: bool = False,
        task_id: str, owner: str | None = 'airflow', email: Any = None, email_on_retry: bool = True,
        email_on_failure: bool = True, retries: int | str | None = 0, retry_delay: timedelta | float = ...,
        retry_exponential_backoff: float = 0, max_retry_delay: timedelta | float | None = None,
        retry_policy: Any = None, start_date: Any = None, end_date: Any = None, depends_on_past: bool = False,
        ignore_first_depends_on_past: bool = False, wait_for_past_depends_before_skipping: bool = False,
        wait_for_downstream: bool = False, dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...
    @classmethod
    def unnamed_arguments(cls) -> Iterable[str]: ...
    def refuse(self, name: str, why: str, remedy: str = 'remove it') -> ShimUnsupported: ...
    def probe_arguments(self) -> dict[str, Any]:
        """What the probe of this sensor looks at; every subclass has its own."""
    def predicate(self) -> dict[str, Any]: ...
    def connection(self) -> str | None: ...
    def leoflow_wait(self) -> dict[str, Any]:
        """The `WaitSpec`, as plain data."""
    def timeout_s(self) -> float | None: ...
    def needs_process(self) -> bool:
        """Whether only the task's process knows the arguments; the compiler adds the templates that are not simple."""
    def fixed_values(self) -> Sequence[Any]:
        """Arguments that go into the wait and are no template fields: Airflow would not render them."""

class NodeNotFound(TaskNotFound, KeyError):
    """No task or group of this id."""

class NullTimetable(BaseTimetable):
    def to_spec(self) -> dict[str, Any]: ...
    @property
    def summary(self) -> str | None: ...

class ObjectSensor(NativeSensor):
    """Base of the sensors for objects in a store; `objects()` says which."""
    airflow_only: Mapping[str, Any]
    store: str
    provider: str
    is_prefix: bool
    def __init__(
        self, *, poke_interval: timedelta | float = 60, timeout: timedelta | float | None = None,
        soft_fail: bool = False, mode: str = 'poke', exponential_backoff: bool = False,
        max_wait: timedelta | float | None = None, silent_fail: bool = False, never_fail: bool = False,
        task_id: str, owner: str | None = 'airflow', email: Any = None, email_on_retry: bool = True,
        email_on_failure: bool = True, retries: int | str | None = 0, retry_delay: timedelta | float = ...,
        retry_exponential_backoff: float = 0, max_retry_delay: timedelta | float | None = None,
        retry_policy: Any = None, start_date: Any = None, end_date: Any = None, depends_on_past: bool = False,
        ignore_first_depends_on_past: bool = False, wait_for_past_depends_before_skipping: bool = False,
        wait_for_downstream: bool = False, dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...
    @classmethod
    def unnamed_arguments(cls) -> Iterable[str]: ...
    def objects(self) -> tuple[str, list[str]]:
        """(bucket, keys or prefixes); every subclass has its own."""
    def is_wildcard(self) -> bool: ...
    def probe_arguments(self) -> dict[str, Any]: ...

class ObjectStoragePath:
    """An address, and the parts that `/` and `joinpath` add."""
    def __init__(self, *parts: Any, **options: Any) -> None: ...
    def joinpath(self, *parts: Any) -> ObjectStoragePath: ...
    def __truediv__(self, part: Any) -> ObjectStoragePath: ...

class OnceTimetable(BaseTimetable):
    def to_spec(self) -> dict[str, Any]: ...
    @property
    def summary(self) -> str | None: ...

class Param:
    """A default value with a JSON schema; keyword arguments other than the named ones are the schema."""
    value: Any
    description: str | None
    source: str | None
    schema: dict[str, Any]
    def __init__(
        self, default: Any = ..., description: str | None = None, source: str | None = None, **kwargs: Any,
    ) -> None: ...
    @property
    def has_value(self) -> bool: ...
    def resolve(self, value: Any = ..., suppress_exception: bool = False) -> Any:
        """The value after checking it; `value`, if given, replaces the default."""
    def serialize(self) -> dict[str, Any]: ...

class ParamValidationError(AirflowException, ValueError):
    """A param has a value that its schema does not allow."""

class ParamsDict(MutableMapping[str, Any]):
    """name -> Param; reading a name gives the checked value."""
    suppress_exception: bool
    def __init__(self, dict_obj: Mapping[str, Any] | None = None, suppress_exception: bool = False) -> None: ...
    def __getitem__(self, key: str) -> Any: ...
    def __setitem__(self, key: str, value: Any) -> None: ...
    def __delitem__(self, key: str) -> None: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...
    def __contains__(self, key: object) -> bool: ...
    def get_param(self, key: str) -> Param: ...
    def update(self, *args: Any, **kwargs: Any) -> None: ...
    def dump(self) -> dict[str, Any]: ...
    def validate(self) -> dict[str, Any]: ...
    def serialize(self, source: str) -> dict[str, Any]:
        """All params in the artifact's form; `source` ("dag" or "task") fills in a missing one."""

class PartitionMapper:
    """Base; of the author's own nothing can be run in the daemon, which maps the keys."""

class PartitionedAssetTimetable(AssetTriggeredTimetable):
    """A run for each partition of which events have come for all assets."""
    by_name: dict[str, Any]
    by_uri: dict[str, Any]
    default: Any
    def __init__(
        self, assets: Any, partition_mapper_config: Mapping[Any, Any] | None = None,
        default_partition_mapper: Any = None,
    ) -> None: ...
    @property
    def summary(self) -> str | None: ...
    def partitions_spec(self) -> dict[str, Any]: ...

class PokeReturnValue:
    """What a poke may return instead of a bool: also the sensor's output."""
    is_done: bool
    xcom_value: Any
    def __init__(self, is_done: bool, xcom_value: Any = None) -> None: ...
    def __bool__(self) -> bool: ...

class PoolNotFound(AirflowNotFoundException):
    """No pool of this name."""

class PriorityWeightStrategy:
    """`weight_rule` as code: `get_weight(ti)`."""
    def get_weight(self, ti: Any) -> int: ...

class ProductMapper(PartitionMapper):
    """Each its own part of the key."""
    mappers: Any
    delimiter: str
    def __init__(self, mapper0: Any, mapper1: Any, *mappers: Any, delimiter: str = '|') -> None: ...

class PythonOperator(BaseOperator):
    """Calls a function; parameters named like context keys are filled in, `**kwargs` gets all of them."""
    python_callable: Callable[..., Any]
    op_args: Any
    op_kwargs: Any
    templates_dict: dict[str, Any] | None
    show_return_value_in_logs: bool
    def __init__(
        self, *, python_callable: Callable[..., Any], op_args: Collection[Any] | None | XComArg = None,
        op_kwargs: Mapping[str, Any] | None | XComArg = None,
        templates_dict: dict[str, Any] | None | XComArg = None, templates_exts: Sequence[str] | None = None,
        show_return_value_in_logs: bool = True, task_id: str, owner: str | None = 'airflow', email: Any = None,
        email_on_retry: bool = True, email_on_failure: bool = True, retries: int | str | None = 0,
        retry_delay: timedelta | float = ..., retry_exponential_backoff: float = 0,
        max_retry_delay: timedelta | float | None = None, retry_policy: Any = None, start_date: Any = None,
        end_date: Any = None, depends_on_past: bool = False, ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False, wait_for_downstream: bool = False,
        dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...
    def execute(self, context: Any) -> Any: ...
    def call(self, context: Any) -> Any: ...
    def call_with(self, arguments: Mapping[str, Any], context: Any) -> Any: ...

class PythonSensor(BaseSensorOperator):
    """Waits until a function returns something true."""
    python_callable: Callable[..., Any]
    op_args: Any
    op_kwargs: Any
    templates_dict: dict[str, Any] | None
    def __init__(
        self, *, python_callable: Callable[..., Any], op_args: Collection[Any] | None | XComArg = None,
        op_kwargs: Mapping[str, Any] | None | XComArg = None,
        templates_dict: dict[str, Any] | None | XComArg = None, poke_interval: timedelta | float = 60,
        timeout: timedelta | float | None = None, soft_fail: bool = False, mode: str = 'poke',
        exponential_backoff: bool = False, max_wait: timedelta | float | None = None, silent_fail: bool = False,
        never_fail: bool = False, task_id: str, owner: str | None = 'airflow', email: Any = None,
        email_on_retry: bool = True, email_on_failure: bool = True, retries: int | str | None = 0,
        retry_delay: timedelta | float = ..., retry_exponential_backoff: float = 0,
        max_retry_delay: timedelta | float | None = None, retry_policy: Any = None, start_date: Any = None,
        end_date: Any = None, depends_on_past: bool = False, ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False, wait_for_downstream: bool = False,
        dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...
    def poke(self, context: Any) -> PokeReturnValue: ...

class PythonVirtualenvOperator(_ElsewhereOperator):
    """In a virtual environment with `requirements`: gone with the task, or kept below `venv_cache_path`."""
    requirements: Any
    python_version: str | None
    system_site_packages: bool
    pip_install_options: list[str] | None
    index_urls: Any
    index_urls_from_connection_ids: Collection[str] | str | None
    venv_cache_path: Any
    def __init__(
        self, *, requirements: Iterable[str] | str | None | XComArg = None, python_version: str | None = None,
        system_site_packages: bool = True, pip_install_options: list[str] | None = None,
        index_urls: Collection[str] | str | None | XComArg = None,
        index_urls_from_connection_ids: Collection[str] | str | None = None, venv_cache_path: Any = None,
        python_callable: Callable[..., Any], serializer: str | None = None,
        string_args: Iterable[str] | None = None, expect_airflow: bool = True, skip_on_exit_code: Any = None,
        env_vars: dict[str, str] | None = None, inherit_env: bool = True,
        op_args: Collection[Any] | None | XComArg = None, op_kwargs: Mapping[str, Any] | None | XComArg = None,
        templates_dict: dict[str, Any] | None | XComArg = None, templates_exts: Sequence[str] | None = None,
        show_return_value_in_logs: bool = True, task_id: str, owner: str | None = 'airflow', email: Any = None,
        email_on_retry: bool = True, email_on_failure: bool = True, retries: int | str | None = 0,
        retry_delay: timedelta | float = ..., retry_exponential_backoff: float = 0,
        max_retry_delay: timedelta | float | None = None, retry_policy: Any = None, start_date: Any = None,
        end_date: Any = None, depends_on_past: bool = False, ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False, wait_for_downstream: bool = False,
        dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...

class RedisKeySensor(NativeSensor):
    """Waits until a key exists."""
    key: str
    redis_conn_id: str
    def __init__(
        self, *, key: str | XComArg, redis_conn_id: str, poke_interval: timedelta | float = 60,
        timeout: timedelta | float | None = None, soft_fail: bool = False, mode: str = 'poke',
        exponential_backoff: bool = False, max_wait: timedelta | float | None = None, silent_fail: bool = False,
        never_fail: bool = False, task_id: str, owner: str | None = 'airflow', email: Any = None,
        email_on_retry: bool = True, email_on_failure: bool = True, retries: int | str | None = 0,
        retry_delay: timedelta | float = ..., retry_exponential_backoff: float = 0,
        max_retry_delay: timedelta | float | None = None, retry_policy: Any = None, start_date: Any = None,
        end_date: Any = None, depends_on_past: bool = False, ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False, wait_for_downstream: bool = False,
        dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...
    def fixed_values(self) -> Sequence[Any]: ...
    def probe_arguments(self) -> dict[str, Any]: ...
    def connection(self) -> str | None: ...

class RemovedInAirflow4Warning(DeprecationWarning):
    """A feature that Airflow 4 removes."""

class Rules(NamedTuple):
    """What became of arguments of one class, or of all classes of a package."""
    rename: Any = ...
    counts: Any = ...
    into: Any = ...
    values: Any = ...
    drop: Any = ...
    refuse: Any = ...
    default: Any = ...
    make: Any = ...
    keep: Any = ...

class S3KeySensor(_S3Sensor):
    """Waits until all keys exist; a key may be a whole `s3://bucket/key`."""
    bucket_key: str | list[str]
    bucket_name: str | None
    wildcard_match: bool
    def __init__(
        self, *, bucket_key: str | list[str] | XComArg, bucket_name: str | None | XComArg = None,
        wildcard_match: bool = False, aws_conn_id: str | None | XComArg = 'aws_default',
        poke_interval: timedelta | float = 60, timeout: timedelta | float | None = None,
        soft_fail: bool = False, mode: str = 'poke', exponential_backoff: bool = False,
        max_wait: timedelta | float | None = None, silent_fail: bool = False, never_fail: bool = False,
        task_id: str, owner: str | None = 'airflow', email: Any = None, email_on_retry: bool = True,
        email_on_failure: bool = True, retries: int | str | None = 0, retry_delay: timedelta | float = ...,
        retry_exponential_backoff: float = 0, max_retry_delay: timedelta | float | None = None,
        retry_policy: Any = None, start_date: Any = None, end_date: Any = None, depends_on_past: bool = False,
        ignore_first_depends_on_past: bool = False, wait_for_past_depends_before_skipping: bool = False,
        wait_for_downstream: bool = False, dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
        deferrable: Any = ..., check_fn: Any = ..., use_regex: Any = ..., metadata_keys: Any = ...,
        verify: Any = ..., region_name: Any = ..., botocore_config: Any = ...,
    ) -> None: ...
    def needs_process(self) -> bool:
        """Which bucket a template means is only known when it is rendered."""
    def is_wildcard(self) -> bool: ...
    def objects(self) -> tuple[str, list[str]]: ...

class S3PrefixSensor(_S3Sensor):
    """Waits until each prefix has an object."""
    bucket_name: str
    prefix: str | list[str]
    def __init__(
        self, *, bucket_name: str | XComArg, prefix: str | list[str] | XComArg, delimiter: str = '/',
        aws_conn_id: str | None | XComArg = 'aws_default', poke_interval: timedelta | float = 60,
        timeout: timedelta | float | None = None, soft_fail: bool = False, mode: str = 'poke',
        exponential_backoff: bool = False, max_wait: timedelta | float | None = None, silent_fail: bool = False,
        never_fail: bool = False, task_id: str, owner: str | None = 'airflow', email: Any = None,
        email_on_retry: bool = True, email_on_failure: bool = True, retries: int | str | None = 0,
        retry_delay: timedelta | float = ..., retry_exponential_backoff: float = 0,
        max_retry_delay: timedelta | float | None = None, retry_policy: Any = None, start_date: Any = None,
        end_date: Any = None, depends_on_past: bool = False, ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False, wait_for_downstream: bool = False,
        dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
        verify: Any = ...,
    ) -> None: ...
    def objects(self) -> tuple[str, list[str]]: ...

class Scope:
    """What `with` gives: `add_task` takes in a task that was made before."""
    setups: Any
    teardowns: Any
    def __init__(self, task: Task) -> None: ...
    def add_task(self, task: Dependable) -> None:
        """Also the output of a task."""
    def close(self, outer: Scope | None) -> None:
        """Draw the edges."""

class ShimUnsupported(AuthoringError):
    """A construct of Airflow that Leoflow does not run (yet)."""

class ShortCircuitOperator(PythonOperator, SkipMixin):
    """Goes on only when its function answers something true."""
    ignore_downstream_trigger_rules: bool
    def __init__(
        self, *, ignore_downstream_trigger_rules: bool = True, python_callable: Callable[..., Any],
        op_args: Collection[Any] | None | XComArg = None, op_kwargs: Mapping[str, Any] | None | XComArg = None,
        templates_dict: dict[str, Any] | None | XComArg = None, templates_exts: Sequence[str] | None = None,
        show_return_value_in_logs: bool = True, task_id: str, owner: str | None = 'airflow', email: Any = None,
        email_on_retry: bool = True, email_on_failure: bool = True, retries: int | str | None = 0,
        retry_delay: timedelta | float = ..., retry_exponential_backoff: float = 0,
        max_retry_delay: timedelta | float | None = None, retry_policy: Any = None, start_date: Any = None,
        end_date: Any = None, depends_on_past: bool = False, ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False, wait_for_downstream: bool = False,
        dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...
    def execute(self, context: Any) -> Any: ...

class SkipMixin(LoggingMixin):
    """For operators that skip tasks downstream. `inherits_from_skipmixin` says that what they chose is remembered."""
    def skip(self, ti: Any, tasks: Iterable[Task]) -> None:
        """Skip these, whatever their trigger rules say."""
    def skip_all_except(self, ti: Any, branch_task_ids: str | Iterable[str] | None) -> None:
        """Skip what is directly downstream, but for these tasks and what comes after them, which is where they join."""

class SqlSensor(NativeSensor):
    """Waits until the first cell of a query's answer is true."""
    conn_id: str
    sql: str
    parameters: Any
    fail_on_empty: bool
    hook_params: Any
    def __init__(
        self, *, conn_id: str, sql: str | XComArg, parameters: Any = None,
        success: Callable[[Any], bool] | None = None, failure: Callable[[Any], bool] | None = None,
        selector: Callable[[Any], Any] | None = None, fail_on_empty: bool = False,
        hook_params: Mapping[str, Any] | None | XComArg = None, poke_interval: timedelta | float = 60,
        timeout: timedelta | float | None = None, soft_fail: bool = False, mode: str = 'poke',
        exponential_backoff: bool = False, max_wait: timedelta | float | None = None, silent_fail: bool = False,
        never_fail: bool = False, task_id: str, owner: str | None = 'airflow', email: Any = None,
        email_on_retry: bool = True, email_on_failure: bool = True, retries: int | str | None = 0,
        retry_delay: timedelta | float = ..., retry_exponential_backoff: float = 0,
        max_retry_delay: timedelta | float | None = None, retry_policy: Any = None, start_date: Any = None,
        end_date: Any = None, depends_on_past: bool = False, ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False, wait_for_downstream: bool = False,
        dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...
    def fixed_values(self) -> Sequence[Any]: ...
    def probe_arguments(self) -> dict[str, Any]: ...
    def predicate(self) -> dict[str, Any]: ...
    def connection(self) -> str | None: ...

class StartOfDayMapper(_StartOf): ...

class StartOfHourMapper(_StartOf): ...

class StartOfMonthMapper(_StartOf): ...

class StartOfQuarterMapper(_StartOf): ...

class StartOfWeekMapper(_StartOf): ...

class StartOfYearMapper(_StartOf): ...

class StartTriggerArgs:
    """Which trigger a task begins with when its class has `start_from_trigger`."""
    trigger_cls: str
    next_method: str
    trigger_kwargs: dict[str, Any] | None
    next_kwargs: dict[str, Any] | None
    timeout: timedelta | None
    def __init__(
        self, trigger_cls: str, next_method: str, trigger_kwargs: dict[str, Any] | None = None,
        next_kwargs: dict[str, Any] | None = None, timeout: timedelta | None = None,
    ) -> None: ...

class State:
    """Airflow 2's class of constants."""
    SUCCESS: TaskInstanceState
    RUNNING: TaskInstanceState
    FAILED: TaskInstanceState
    SKIPPED: TaskInstanceState
    QUEUED: TaskInstanceState
    UPSTREAM_FAILED: TaskInstanceState
    UP_FOR_RETRY: TaskInstanceState

class SyncCallback(Callback):
    def __init__(
        self, callback_callable: Any, kwargs: Mapping[str, Any] | None = None, executor: Any = None,
    ) -> None: ...

class Task(Dependable):
    """The base of `BaseOperator`, which has the arguments and runs."""
    owner: str
    trigger_rule: Any
    multiple_outputs: bool
    upstream_task_ids: set[str]
    downstream_task_ids: set[str]
    is_setup: Any
    is_teardown: Any
    on_failure_fail_dagrun: Any
    task_group: Any
    label: str
    task_id: Any
    @property
    def dag(self) -> DAG: ...
    @dag.setter
    def dag(self, value: Any) -> None: ...
    @property
    def dag_id(self) -> str: ...
    def has_dag(self) -> bool: ...
    @property
    def node_id(self) -> str: ...
    @property
    def upstream_list(self) -> list[Task]: ...
    @property
    def downstream_list(self) -> list[Task]: ...
    def get_direct_relative_ids(self, upstream: bool = False) -> set[str]: ...
    def get_direct_relatives(self, upstream: bool = False) -> list[Task]: ...
    def get_flat_relative_ids(self, *, upstream: bool = False, depth: int | None = None) -> set[str]:
        """All that come before or after, as many levels away as `depth` says."""
    def get_flat_relatives(self, upstream: bool = False, depth: int | None = None) -> list[Task]: ...
    @property
    def roots(self) -> list[Task]: ...
    @property
    def leaves(self) -> list[Task]: ...
    def set_upstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None: ...
    def set_downstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None: ...
    def as_setup(self) -> Task: ...
    def as_teardown(self, *, setups: Any = None, on_failure_fail_dagrun: bool | None = None) -> Task: ...
    def __enter__(self) -> Scope: ...
    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None: ...

class TaskAlreadyInTaskGroup(AirflowException):
    """A task cannot be in two groups."""

class TaskDecorator:
    """A decorated function; calling it inside a DAG makes a task and gives its output."""
    function: Callable[..., Any]
    operator_class: type
    kwargs: Any
    is_setup: Any
    is_teardown: Any
    on_failure_fail_dagrun: Any
    def __init__(self, function: Callable[..., Any], operator_class: type, kwargs: Mapping[str, Any]) -> None: ...
    def __call__(self, *args: Any, **kwargs: Any) -> XComArg: ...
    def operator_arguments(self) -> dict[str, Any]:
        """Those of the task, `on_failure_fail_dagrun` among them."""
    def mark(self, operator: Any, fail_dagrun: bool) -> None:
        """What the decorators said of the task, and the docstring of its function."""
    def partial(self, **kwargs: Any) -> TaskDecorator:
        """The same function with some of its arguments, which all instances share."""
    def expand(self, **kwargs: Any) -> XComArg: ...
    def expand_kwargs(self, kwargs: Any, *, strict: bool = True) -> XComArg: ...
    def override(self, **kwargs: Any) -> TaskDecorator:
        """The same function with other task arguments."""
    def __rshift__(self, other: Any) -> Any: ...
    def __lshift__(self, other: Any) -> Any: ...
    def __rrshift__(self, other: Any) -> Any: ...
    def __rlshift__(self, other: Any) -> Any: ...
    def not_called(self) -> AuthoringError: ...

class TaskDeferralError(AirflowException):
    """What a deferred task waited for failed."""

class TaskDeferralTimeout(AirflowException):
    """What a deferred task waited for did not come in time."""

class TaskDeferred(BaseException):
    """The task gives its process back until `trigger` fires; then `method_name` is called in another one."""
    trigger: Any
    method_name: str
    kwargs: dict[str, Any] | None
    timeout: Any
    def __init__(
        self, *, trigger: Any, method_name: str, kwargs: dict[str, Any] | None = None, timeout: Any = None,
    ) -> None: ...

class TaskFailedEvent(BaseTaskEndEvent): ...

class TaskGroup(Dependable):
    """Tasks drawn and connected together. `group_id` carries the prefixes of the groups around it."""
    group_id: str | None
    label: str
    is_mapped: bool
    is_root: Any
    prefix_group_id: bool
    tooltip: str
    ui_color: str
    ui_fgcolor: str
    group_display_name: str
    doc_md: str | None
    children: dict[str, Task | TaskGroup]
    upstream_group_ids: set[str]
    downstream_group_ids: set[str]
    upstream_task_ids: set[str]
    downstream_task_ids: set[str]
    dag: DAG
    parent_group: Any
    default_args: dict[str, Any]
    def __init__(
        self, group_id: str | None = None, prefix_group_id: bool = True, parent_group: TaskGroup | None = None,
        dag: DAG | None = None, default_args: Mapping[str, Any] | None = None, tooltip: str = '',
        ui_color: str = 'CornflowerBlue', ui_fgcolor: str = '#000', add_suffix_on_collision: bool = False,
        group_display_name: str = '', doc_md: str | None = None,
    ) -> None: ...
    @property
    def node_id(self) -> str: ...
    @property
    def task_group(self) -> TaskGroup | None: ...
    @property
    def upstream_join_id(self) -> str: ...
    @property
    def downstream_join_id(self) -> str: ...
    def child_id(self, label: str) -> str: ...
    def add(self, node: Task | TaskGroup) -> None: ...
    def __iter__(self) -> Iterator[Task]:
        """All tasks of this group and the groups inside it."""
    def has_task(self, task: Task) -> bool: ...
    def get_child_by_label(self, label: str) -> Task | TaskGroup: ...
    def __getitem__(self, label: str) -> Task | TaskGroup: ...
    def __enter__(self) -> TaskGroup: ...
    def __exit__(self, *_: object) -> None: ...
    @property
    def roots(self) -> list[Task]: ...
    @property
    def leaves(self) -> list[Task]: ...
    def get_roots(self) -> Iterator[Task]:
        """Tasks that wait for no task of this group."""
    def get_leaves(self) -> Iterator[Task]:
        """Tasks that no task of this group waits for; a teardown gives way to the work before it."""
    def set_upstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None: ...
    def set_downstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None: ...
    def update_relative(self, other: Any, upstream: bool, edge_modifier: EdgeModifier | None) -> None: ...

class TaskGroupDecorator:
    """A decorated function; calling it makes a group of the tasks that it creates."""
    function: Callable[..., Any]
    kwargs: Any
    given: Any
    def __init__(
        self, function: Callable[..., Any], kwargs: Mapping[str, Any], given: Mapping[str, Any] | None = None,
    ) -> None: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
    def make_group(self, make: Callable[..., TaskGroup], args: Any, kwargs: Mapping[str, Any]) -> Any: ...
    def override(self, **kwargs: Any) -> TaskGroupDecorator: ...
    def partial(self, **kwargs: Any) -> TaskGroupDecorator: ...
    def expand(self, **kwargs: Any) -> Any: ...
    def expand_kwargs(self, kwargs: Any) -> Any: ...

class TaskInstance:
    """For annotations: the object that a task gets as `ti` is the runner's."""

class TaskInstanceNotFound(AirflowNotFoundException):
    """No such task instance."""

class TaskInstanceState(str, Enum):
    SCHEDULED = 'scheduled'
    QUEUED = 'queued'
    RUNNING = 'running'
    SUCCESS = 'success'
    FAILED = 'failed'
    SKIPPED = 'skipped'
    UPSTREAM_FAILED = 'upstream_failed'
    UP_FOR_RETRY = 'up_for_retry'
    UP_FOR_RESCHEDULE = 'up_for_reschedule'
    DEFERRED = 'deferred'
    RESTARTING = 'restarting'
    REMOVED = 'removed'

class TaskNotFound(AirflowException):
    """No task of this id."""

class TaskSkippedEvent(BaseTaskEndEvent): ...

class TaskSuccessEvent(BaseTaskEndEvent): ...

class TerminalTIState(str, Enum):
    SUCCESS = 'success'
    FAILED = 'failed'
    SKIPPED = 'skipped'
    UPSTREAM_FAILED = 'upstream_failed'
    REMOVED = 'removed'

class TimeDeltaSensor(NativeSensor):
    """Waits until so long after the end of the data interval; a number means minutes, as in Airflow."""
    delta: timedelta | int
    def __init__(
        self, *, delta: timedelta | int | XComArg, poke_interval: timedelta | float = 60,
        timeout: timedelta | float | None = None, soft_fail: bool = False, mode: str = 'poke',
        exponential_backoff: bool = False, max_wait: timedelta | float | None = None, silent_fail: bool = False,
        never_fail: bool = False, task_id: str, owner: str | None = 'airflow', email: Any = None,
        email_on_retry: bool = True, email_on_failure: bool = True, retries: int | str | None = 0,
        retry_delay: timedelta | float = ..., retry_exponential_backoff: float = 0,
        max_retry_delay: timedelta | float | None = None, retry_policy: Any = None, start_date: Any = None,
        end_date: Any = None, depends_on_past: bool = False, ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False, wait_for_downstream: bool = False,
        dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
        deferrable: Any = ..., end_from_trigger: Any = ...,
    ) -> None: ...
    def needs_process(self) -> bool: ...
    def probe_arguments(self) -> dict[str, Any]: ...
    def poke(self, context: Any) -> bool: ...

class TimeDeltaSensorAsync(TimeDeltaSensor): ...

class TimeDeltaTrigger(DateTimeTrigger):
    """Fires so long after it was made."""
    def __init__(self, delta: timedelta, *, end_from_trigger: bool = False) -> None: ...

class TimeRestriction(NamedTuple):
    """TimeRestriction(earliest, latest, catchup)"""
    earliest: Any
    latest: Any
    catchup: Any

class TimeSensor(NativeSensor):
    """Waits until a time of the day, in the DAG's time zone."""
    target_time: time
    def __init__(
        self, *, target_time: time, poke_interval: timedelta | float = 60,
        timeout: timedelta | float | None = None, soft_fail: bool = False, mode: str = 'poke',
        exponential_backoff: bool = False, max_wait: timedelta | float | None = None, silent_fail: bool = False,
        never_fail: bool = False, task_id: str, owner: str | None = 'airflow', email: Any = None,
        email_on_retry: bool = True, email_on_failure: bool = True, retries: int | str | None = 0,
        retry_delay: timedelta | float = ..., retry_exponential_backoff: float = 0,
        max_retry_delay: timedelta | float | None = None, retry_policy: Any = None, start_date: Any = None,
        end_date: Any = None, depends_on_past: bool = False, ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False, wait_for_downstream: bool = False,
        dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
        deferrable: Any = ..., start_from_trigger: Any = ..., end_from_trigger: Any = ...,
        trigger_kwargs: Any = ...,
    ) -> None: ...
    @property
    def target_datetime(self) -> datetime: ...
    def needs_process(self) -> bool: ...
    def probe_arguments(self) -> dict[str, Any]: ...
    def poke(self, context: Any) -> bool: ...

class TimeSensorAsync(TimeSensor): ...

class TriggerDagRunOperator(BaseOperator):
    """Starts a run of `trigger_dag_id`."""
    trigger_dag_id: str
    trigger_run_id: str | None
    conf: dict[str, Any] | None
    logical_date: Any
    has_logical_date: Any
    run_after: Any
    has_run_after: Any
    reset_dag_run: bool
    wait_for_completion: bool
    poke_interval: float
    allowed_states: Any
    failed_states: Any
    skip_when_already_exists: bool
    fail_when_dag_is_paused: bool
    note: str | None
    deferrable: bool
    openlineage_inject_parent_info: bool
    def __init__(
        self, *, trigger_dag_id: str | XComArg, trigger_run_id: str | None | XComArg = None,
        conf: dict[str, Any] | None | XComArg = None, logical_date: Any = ..., run_after: Any = ...,
        reset_dag_run: bool = False, wait_for_completion: bool | XComArg = False, poke_interval: float = 60,
        allowed_states: Iterable[Any] | None = None, failed_states: Iterable[Any] | None = None,
        skip_when_already_exists: bool | XComArg = False, fail_when_dag_is_paused: bool = False,
        note: str | None = None, deferrable: bool = False, openlineage_inject_parent_info: bool = True,
        task_id: str, owner: str | None = 'airflow', email: Any = None, email_on_retry: bool = True,
        email_on_failure: bool = True, retries: int | str | None = 0, retry_delay: timedelta | float = ...,
        retry_exponential_backoff: float = 0, max_retry_delay: timedelta | float | None = None,
        retry_policy: Any = None, start_date: Any = None, end_date: Any = None, depends_on_past: bool = False,
        ignore_first_depends_on_past: bool = False, wait_for_past_depends_before_skipping: bool = False,
        wait_for_downstream: bool = False, dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...
    def execute(self, context: Any) -> None: ...

class TriggerEvent:
    """What a trigger yields when it fires."""
    payload: Any
    def __init__(self, payload: Any = None) -> None: ...

class TriggerRule(str, Enum):
    ALL_SUCCESS = 'all_success'
    ALL_FAILED = 'all_failed'
    ALL_DONE = 'all_done'
    ALL_DONE_MIN_ONE_SUCCESS = 'all_done_min_one_success'
    ALL_DONE_SETUP_SUCCESS = 'all_done_setup_success'
    ALL_SKIPPED = 'all_skipped'
    ONE_SUCCESS = 'one_success'
    ONE_FAILED = 'one_failed'
    ONE_DONE = 'one_done'
    NONE_FAILED = 'none_failed'
    NONE_FAILED_MIN_ONE_SUCCESS = 'none_failed_min_one_success'
    NONE_SKIPPED = 'none_skipped'
    ALWAYS = 'always'

class Variable:
    """`Variable.get(key)`, `set`, `delete`, `setdefault`."""
    @staticmethod
    def get(key: str, default: Any = ..., deserialize_json: bool = False, default_var: Any = ...) -> Any:
        """The value; `default` (Airflow 2: `default_var`) if there is none, `VariableNotFound` without one."""
    @staticmethod
    def set(key: str, value: Any, description: str | None = None, serialize_json: bool = False) -> None:
        """Stored when this returns. Whoever reads it in a process that has `AIRFLOW_VAR_<KEY>` sees that one."""
    @staticmethod
    def delete(key: str) -> None:
        """One that is not there is gone already."""
    @classmethod
    def setdefault(
        cls, key: str, default: Any, description: str | None = None, deserialize_json: bool = False,
    ) -> Any:
        """The value; if there is none, `default`, which is stored then."""

class WaitSensor(NativeSensor):
    """Waits so long after the task began; a number means minutes, as in Airflow."""
    time_to_wait: timedelta | int
    def __init__(
        self, *, time_to_wait: timedelta | int | XComArg, poke_interval: timedelta | float = 60,
        timeout: timedelta | float | None = None, soft_fail: bool = False, mode: str = 'poke',
        exponential_backoff: bool = False, max_wait: timedelta | float | None = None, silent_fail: bool = False,
        never_fail: bool = False, task_id: str, owner: str | None = 'airflow', email: Any = None,
        email_on_retry: bool = True, email_on_failure: bool = True, retries: int | str | None = 0,
        retry_delay: timedelta | float = ..., retry_exponential_backoff: float = 0,
        max_retry_delay: timedelta | float | None = None, retry_policy: Any = None, start_date: Any = None,
        end_date: Any = None, depends_on_past: bool = False, ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False, wait_for_downstream: bool = False,
        dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
        deferrable: Any = ...,
    ) -> None: ...
    def needs_process(self) -> bool: ...
    def probe_arguments(self) -> dict[str, Any]: ...
    def poke(self, context: Any) -> bool: ...

class WebhookSensor(_MatchingSensor):
    """`leoflow.sensors.WebhookSensor`: waits for a signed POST to `leoflow/hooks/<name>`."""
    name: str
    def __init__(
        self, *, name: str | XComArg, json_path: str | None | XComArg = None, equals: Any = ...,
        poke_interval: timedelta | float = 60, timeout: timedelta | float | None = None,
        soft_fail: bool = False, mode: str = 'poke', exponential_backoff: bool = False,
        max_wait: timedelta | float | None = None, silent_fail: bool = False, never_fail: bool = False,
        task_id: str, owner: str | None = 'airflow', email: Any = None, email_on_retry: bool = True,
        email_on_failure: bool = True, retries: int | str | None = 0, retry_delay: timedelta | float = ...,
        retry_exponential_backoff: float = 0, max_retry_delay: timedelta | float | None = None,
        retry_policy: Any = None, start_date: Any = None, end_date: Any = None, depends_on_past: bool = False,
        ignore_first_depends_on_past: bool = False, wait_for_past_depends_before_skipping: bool = False,
        wait_for_downstream: bool = False, dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...
    def connection(self) -> str | None: ...
    def probe_arguments(self) -> dict[str, Any]: ...
    def predicate(self) -> dict[str, Any]: ...

class WeekDay(IntEnum):
    """Days of the week, by their ISO number."""
    MONDAY = 1
    TUESDAY = 2
    WEDNESDAY = 3
    THURSDAY = 4
    FRIDAY = 5
    SATURDAY = 6
    SUNDAY = 7
    @classmethod
    def convert(cls, day: str | WeekDay) -> int: ...
    @classmethod
    def validate_week_day(cls, week_day: Any) -> set[int]:
        """The numbers of one day or of several."""

class WeightRule(str, Enum):
    DOWNSTREAM = 'downstream'
    UPSTREAM = 'upstream'
    ABSOLUTE = 'absolute'

class WorkflowTrigger(BaseTrigger):
    """Fires when tasks, a group or runs of another DAG are in one of the states."""
    external_dag_id: str
    run_ids: list[str] | None
    logical_dates: Any
    external_task_ids: Collection[str] | None
    external_task_group_id: str | None
    failed_states: Collection[str] | None
    skipped_states: Collection[str] | None
    allowed_states: Collection[str] | None
    poke_interval: float
    soft_fail: bool
    def __init__(
        self, external_dag_id: str, run_ids: list[str] | None = None,
        execution_dates: list[datetime] | None = None, logical_dates: list[datetime] | None = None,
        external_task_ids: Collection[str] | None = None, external_task_group_id: str | None = None,
        failed_states: Collection[str] | None = None, skipped_states: Collection[str] | None = None,
        allowed_states: Collection[str] | None = None, poke_interval: float = 2.0, soft_fail: bool = False,
        **_: Any,
    ) -> None: ...
    def serialize(self) -> tuple[str, dict[str, Any]]: ...

class XComArg(Dependable):
    """Stands for the output of a task: as an argument of another task, or on one side of an edge."""
    operator: Any
    key: str
    def __init__(self, operator: Any, key: str = 'return_value') -> None: ...
    def __getitem__(self, item: str) -> XComArg: ...
    def __iter__(self) -> Iterator[Any]: ...
    def references(self) -> Iterator[XComArg]:
        """The outputs as they are pushed that this one is made of: for a plain one, itself."""
    def resolve(self, pull: Any) -> Any:
        """The value. Raises `XComNotFound` as Airflow does: not for return values and parts of several outputs."""
    def length(self) -> dict[str, Any]:
        """How long it is, as `MapInput` of the artifact says that."""
    def map(self, f: Callable[[Any], Any]) -> XComArg:
        """Each item through `f`, which is called in the process of the task that takes the item."""
    def zip(self, *others: XComArg, fillvalue: Any = ...) -> XComArg:
        """Tuples of one item of each; as long as the shortest, or with `fillvalue` as the longest."""
    def concat(self, *others: XComArg) -> XComArg:
        """The items of all, one after the other."""
    @property
    def roots(self) -> list[Task]: ...
    @property
    def leaves(self) -> list[Task]: ...
    def set_upstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None: ...
    def set_downstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None: ...
    def as_setup(self) -> XComArg: ...
    def as_teardown(self, *, setups: Any = None, on_failure_fail_dagrun: bool | None = None) -> XComArg: ...
    @property
    def is_setup(self) -> bool: ...
    @is_setup.setter
    def is_setup(self, value: Any) -> None: ...
    @property
    def is_teardown(self) -> bool: ...
    @is_teardown.setter
    def is_teardown(self, value: Any) -> None: ...
    @property
    def on_failure_fail_dagrun(self) -> bool: ...
    @on_failure_fail_dagrun.setter
    def on_failure_fail_dagrun(self, value: Any) -> None: ...
    def __enter__(self) -> Any: ...
    def __exit__(self, *_: object) -> None: ...

class XComNotFound(AirflowException):
    """The output that a task asks for was never pushed."""
    dag_id: str
    task_id: str
    key: str
    def __init__(self, dag_id: str, task_id: str, key: str) -> None: ...

class ZipXComArg(_Derived):
    """`output.zip(others)`."""
    fillvalue: Any
    def __init__(self, args: Sequence[XComArg], fillvalue: Any = ...) -> None: ...
    def length(self) -> dict[str, Any]: ...
    def resolve(self, pull: Any) -> Any: ...

class _Cron(BaseTimetable):
    data_interval: bool
    written: str
    expression: Any
    timezone: Any
    def __init__(self, cron: str, timezone: Any) -> None: ...
    @property
    def summary(self) -> str | None: ...

class _DagArguments:
    """What both take for their DAG."""
    dag_id: str | None
    dag_display_name: str | None
    arguments: Any
    def __init__(
        self, *, schedule: Any, is_paused_upon_creation: bool | None = None, dag_id: str | None = None,
        dag_display_name: str | None = None, description: str | None = None,
        params: Mapping[str, Any] | None = None, on_success_callback: Any = None,
        on_failure_callback: Any = None, access_control: Any = None,
        owner_links: Mapping[str, str] | None = None, tags: Collection[str] = ...,
    ) -> None: ...

class _Derived(XComArg):
    """What is made of other outputs, item by item."""
    args: Any
    def __init__(self, args: Sequence[XComArg]) -> None: ...
    def __getitem__(self, item: Any) -> XComArg: ...
    def references(self) -> Iterator[XComArg]: ...
    def values(self, pull: Any) -> list[Any]: ...

class _ElsewhereOperator(PythonOperator):
    """What they share. A subclass says which interpreter."""
    serializer: Any
    string_args: Any
    expect_airflow: bool
    skip_on_exit_code: Any
    env_vars: dict[str, str] | None
    inherit_env: bool
    def __init__(
        self, *, python_callable: Callable[..., Any], serializer: str | None = None,
        string_args: Iterable[str] | None = None, expect_airflow: bool = True, skip_on_exit_code: Any = None,
        env_vars: dict[str, str] | None = None, inherit_env: bool = True,
        op_args: Collection[Any] | None | XComArg = None, op_kwargs: Mapping[str, Any] | None | XComArg = None,
        templates_dict: dict[str, Any] | None | XComArg = None, templates_exts: Sequence[str] | None = None,
        show_return_value_in_logs: bool = True, task_id: str, owner: str | None = 'airflow', email: Any = None,
        email_on_retry: bool = True, email_on_failure: bool = True, retries: int | str | None = 0,
        retry_delay: timedelta | float = ..., retry_exponential_backoff: float = 0,
        max_retry_delay: timedelta | float | None = None, retry_policy: Any = None, start_date: Any = None,
        end_date: Any = None, depends_on_past: bool = False, ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False, wait_for_downstream: bool = False,
        dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...
    def call(self, context: Any) -> Any: ...
    def on_kill(self) -> None: ...

class _GcsSensor(ObjectSensor):
    bucket: str
    google_cloud_conn_id: str
    def __init__(
        self, *, bucket: str, google_cloud_conn_id: str = 'google_cloud_default',
        poke_interval: timedelta | float = 60, timeout: timedelta | float | None = None,
        soft_fail: bool = False, mode: str = 'poke', exponential_backoff: bool = False,
        max_wait: timedelta | float | None = None, silent_fail: bool = False, never_fail: bool = False,
        task_id: str, owner: str | None = 'airflow', email: Any = None, email_on_retry: bool = True,
        email_on_failure: bool = True, retries: int | str | None = 0, retry_delay: timedelta | float = ...,
        retry_exponential_backoff: float = 0, max_retry_delay: timedelta | float | None = None,
        retry_policy: Any = None, start_date: Any = None, end_date: Any = None, depends_on_past: bool = False,
        ignore_first_depends_on_past: bool = False, wait_for_past_depends_before_skipping: bool = False,
        wait_for_downstream: bool = False, dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
        impersonation_chain: Any = ...,
    ) -> None: ...
    def connection(self) -> str | None: ...

class _HttpTrigger(BaseTrigger):
    """What the two HTTP triggers share."""
    names: tuple[str, ...]
    method: str
    http_conn_id: str
    endpoint: str | None
    headers: dict[str, str] | None
    data: dict[str, Any] | str | None
    extra_options: Any
    def __init__(
        self, *, http_conn_id: str = 'http_default', method: str | None = None, endpoint: str | None = None,
        headers: dict[str, str] | None = None, data: dict[str, Any] | str | None = None,
        extra_options: dict[str, Any] | None = None,
    ) -> None: ...
    def serialize(self) -> tuple[str, dict[str, Any]]: ...

class _MatchingSensor(NativeSensor):
    """Base of those that look into a document: at `json_path` must be `equals`, or anything true without one."""
    json_path: str | None
    has_equals: Any
    equals: Any
    def __init__(
        self, *, json_path: str | None = None, equals: Any = ..., poke_interval: timedelta | float = 60,
        timeout: timedelta | float | None = None, soft_fail: bool = False, mode: str = 'poke',
        exponential_backoff: bool = False, max_wait: timedelta | float | None = None, silent_fail: bool = False,
        never_fail: bool = False, task_id: str, owner: str | None = 'airflow', email: Any = None,
        email_on_retry: bool = True, email_on_failure: bool = True, retries: int | str | None = 0,
        retry_delay: timedelta | float = ..., retry_exponential_backoff: float = 0,
        max_retry_delay: timedelta | float | None = None, retry_policy: Any = None, start_date: Any = None,
        end_date: Any = None, depends_on_past: bool = False, ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False, wait_for_downstream: bool = False,
        dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...
    def matching(self) -> dict[str, Any]: ...

class _S3Sensor(ObjectSensor):
    aws_conn_id: str | None
    def __init__(
        self, *, aws_conn_id: str | None = 'aws_default', poke_interval: timedelta | float = 60,
        timeout: timedelta | float | None = None, soft_fail: bool = False, mode: str = 'poke',
        exponential_backoff: bool = False, max_wait: timedelta | float | None = None, silent_fail: bool = False,
        never_fail: bool = False, task_id: str, owner: str | None = 'airflow', email: Any = None,
        email_on_retry: bool = True, email_on_failure: bool = True, retries: int | str | None = 0,
        retry_delay: timedelta | float = ..., retry_exponential_backoff: float = 0,
        max_retry_delay: timedelta | float | None = None, retry_policy: Any = None, start_date: Any = None,
        end_date: Any = None, depends_on_past: bool = False, ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False, wait_for_downstream: bool = False,
        dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...
    def connection(self) -> str | None: ...

class _StartOf(PartitionMapper):
    default_output_format: str
    input_format: str
    output_format: Any
    def __init__(
        self, input_format: str = '%Y-%m-%dT%H:%M:%S', output_format: str | None = None, *,
        timezone: Any = 'UTC',
    ) -> None: ...

class _TaskFactory:
    """The name `task`: bare, with arguments, and as `task.python`, `task.bash`, `task.branch` and others."""
    def run_if(self, condition: Any, skip_message: str | None = None) -> Any:
        """Above `@task`: the task is skipped unless `condition(context)` is true."""
    def skip_if(self, condition: Any, skip_message: str | None = None) -> Any:
        """Above `@task`: the task is skipped if `condition(context)` is true."""
    @overload
    def __call__(self, function: Callable[..., Any], /) -> TaskDecorator: ...
    @overload
    def __call__(
        self, *, task_id: str = ..., templates_dict: dict[str, Any] | None | XComArg = None,
        templates_exts: Sequence[str] | None = None, show_return_value_in_logs: bool = True,
        owner: str | None = 'airflow', email: Any = None, email_on_retry: bool = True,
        email_on_failure: bool = True, retries: int | str | None = 0, retry_delay: timedelta | float = ...,
        retry_exponential_backoff: float = 0, max_retry_delay: timedelta | float | None = None,
        retry_policy: Any = None, start_date: Any = None, end_date: Any = None, depends_on_past: bool = False,
        ignore_first_depends_on_past: bool = False, wait_for_past_depends_before_skipping: bool = False,
        wait_for_downstream: bool = False, dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> Callable[[Callable[..., Any]], TaskDecorator]: ...
    @overload
    def python(self, function: Callable[..., Any], /) -> TaskDecorator: ...
    @overload
    def python(
        self, *, task_id: str = ..., templates_dict: dict[str, Any] | None | XComArg = None,
        templates_exts: Sequence[str] | None = None, show_return_value_in_logs: bool = True,
        owner: str | None = 'airflow', email: Any = None, email_on_retry: bool = True,
        email_on_failure: bool = True, retries: int | str | None = 0, retry_delay: timedelta | float = ...,
        retry_exponential_backoff: float = 0, max_retry_delay: timedelta | float | None = None,
        retry_policy: Any = None, start_date: Any = None, end_date: Any = None, depends_on_past: bool = False,
        ignore_first_depends_on_past: bool = False, wait_for_past_depends_before_skipping: bool = False,
        wait_for_downstream: bool = False, dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> Callable[[Callable[..., Any]], TaskDecorator]: ...
    @overload
    def bash(self, function: Callable[..., Any], /) -> TaskDecorator: ...
    @overload
    def bash(
        self, *, task_id: str = ..., bash_command: Any, env: dict[str, str] | None | XComArg = None,
        append_env: bool = False, output_encoding: str = 'utf-8',
        skip_on_exit_code: int | Container[int] | None = 99, cwd: str | None | XComArg = None,
        output_processor: Callable[[str], Any] = ..., owner: str | None = 'airflow', email: Any = None,
        email_on_retry: bool = True, email_on_failure: bool = True, retries: int | str | None = 0,
        retry_delay: timedelta | float = ..., retry_exponential_backoff: float = 0,
        max_retry_delay: timedelta | float | None = None, retry_policy: Any = None, start_date: Any = None,
        end_date: Any = None, depends_on_past: bool = False, ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False, wait_for_downstream: bool = False,
        dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> Callable[[Callable[..., Any]], TaskDecorator]: ...
    @overload
    def sensor(self, function: Callable[..., Any], /) -> TaskDecorator: ...
    @overload
    def sensor(
        self, *, task_id: str = ..., templates_dict: dict[str, Any] | None | XComArg = None,
        poke_interval: timedelta | float = 60, timeout: timedelta | float | None = None,
        soft_fail: bool = False, mode: str = 'poke', exponential_backoff: bool = False,
        max_wait: timedelta | float | None = None, silent_fail: bool = False, never_fail: bool = False,
        owner: str | None = 'airflow', email: Any = None, email_on_retry: bool = True,
        email_on_failure: bool = True, retries: int | str | None = 0, retry_delay: timedelta | float = ...,
        retry_exponential_backoff: float = 0, max_retry_delay: timedelta | float | None = None,
        retry_policy: Any = None, start_date: Any = None, end_date: Any = None, depends_on_past: bool = False,
        ignore_first_depends_on_past: bool = False, wait_for_past_depends_before_skipping: bool = False,
        wait_for_downstream: bool = False, dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> Callable[[Callable[..., Any]], TaskDecorator]: ...
    @overload
    def branch(self, function: Callable[..., Any], /) -> TaskDecorator: ...
    @overload
    def branch(
        self, *, task_id: str = ..., templates_dict: dict[str, Any] | None | XComArg = None,
        templates_exts: Sequence[str] | None = None, show_return_value_in_logs: bool = True,
        owner: str | None = 'airflow', email: Any = None, email_on_retry: bool = True,
        email_on_failure: bool = True, retries: int | str | None = 0, retry_delay: timedelta | float = ...,
        retry_exponential_backoff: float = 0, max_retry_delay: timedelta | float | None = None,
        retry_policy: Any = None, start_date: Any = None, end_date: Any = None, depends_on_past: bool = False,
        ignore_first_depends_on_past: bool = False, wait_for_past_depends_before_skipping: bool = False,
        wait_for_downstream: bool = False, dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> Callable[[Callable[..., Any]], TaskDecorator]: ...
    @overload
    def short_circuit(self, function: Callable[..., Any], /) -> TaskDecorator: ...
    @overload
    def short_circuit(
        self, *, task_id: str = ..., ignore_downstream_trigger_rules: bool = True,
        templates_dict: dict[str, Any] | None | XComArg = None, templates_exts: Sequence[str] | None = None,
        show_return_value_in_logs: bool = True, owner: str | None = 'airflow', email: Any = None,
        email_on_retry: bool = True, email_on_failure: bool = True, retries: int | str | None = 0,
        retry_delay: timedelta | float = ..., retry_exponential_backoff: float = 0,
        max_retry_delay: timedelta | float | None = None, retry_policy: Any = None, start_date: Any = None,
        end_date: Any = None, depends_on_past: bool = False, ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False, wait_for_downstream: bool = False,
        dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> Callable[[Callable[..., Any]], TaskDecorator]: ...
    @overload
    def virtualenv(self, function: Callable[..., Any], /) -> TaskDecorator: ...
    @overload
    def virtualenv(
        self, *, task_id: str = ..., requirements: Iterable[str] | str | None | XComArg = None,
        python_version: str | None = None, system_site_packages: bool = True,
        pip_install_options: list[str] | None = None, index_urls: Collection[str] | str | None | XComArg = None,
        index_urls_from_connection_ids: Collection[str] | str | None = None, venv_cache_path: Any = None,
        serializer: str | None = None, string_args: Iterable[str] | None = None, expect_airflow: bool = True,
        skip_on_exit_code: Any = None, env_vars: dict[str, str] | None = None, inherit_env: bool = True,
        templates_dict: dict[str, Any] | None | XComArg = None, templates_exts: Sequence[str] | None = None,
        show_return_value_in_logs: bool = True, owner: str | None = 'airflow', email: Any = None,
        email_on_retry: bool = True, email_on_failure: bool = True, retries: int | str | None = 0,
        retry_delay: timedelta | float = ..., retry_exponential_backoff: float = 0,
        max_retry_delay: timedelta | float | None = None, retry_policy: Any = None, start_date: Any = None,
        end_date: Any = None, depends_on_past: bool = False, ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False, wait_for_downstream: bool = False,
        dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> Callable[[Callable[..., Any]], TaskDecorator]: ...
    @overload
    def external_python(self, function: Callable[..., Any], /) -> TaskDecorator: ...
    @overload
    def external_python(
        self, python: Any, *, task_id: str = ..., expect_pendulum: bool = False, serializer: str | None = None,
        string_args: Iterable[str] | None = None, expect_airflow: bool = True, skip_on_exit_code: Any = None,
        env_vars: dict[str, str] | None = None, inherit_env: bool = True,
        templates_dict: dict[str, Any] | None | XComArg = None, templates_exts: Sequence[str] | None = None,
        show_return_value_in_logs: bool = True, owner: str | None = 'airflow', email: Any = None,
        email_on_retry: bool = True, email_on_failure: bool = True, retries: int | str | None = 0,
        retry_delay: timedelta | float = ..., retry_exponential_backoff: float = 0,
        max_retry_delay: timedelta | float | None = None, retry_policy: Any = None, start_date: Any = None,
        end_date: Any = None, depends_on_past: bool = False, ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False, wait_for_downstream: bool = False,
        dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> Callable[[Callable[..., Any]], TaskDecorator]: ...
    @overload
    def branch_virtualenv(self, function: Callable[..., Any], /) -> TaskDecorator: ...
    @overload
    def branch_virtualenv(
        self, *, task_id: str = ..., requirements: Iterable[str] | str | None | XComArg = None,
        python_version: str | None = None, system_site_packages: bool = True,
        pip_install_options: list[str] | None = None, index_urls: Collection[str] | str | None | XComArg = None,
        index_urls_from_connection_ids: Collection[str] | str | None = None, venv_cache_path: Any = None,
        serializer: str | None = None, string_args: Iterable[str] | None = None, expect_airflow: bool = True,
        skip_on_exit_code: Any = None, env_vars: dict[str, str] | None = None, inherit_env: bool = True,
        templates_dict: dict[str, Any] | None | XComArg = None, templates_exts: Sequence[str] | None = None,
        show_return_value_in_logs: bool = True, owner: str | None = 'airflow', email: Any = None,
        email_on_retry: bool = True, email_on_failure: bool = True, retries: int | str | None = 0,
        retry_delay: timedelta | float = ..., retry_exponential_backoff: float = 0,
        max_retry_delay: timedelta | float | None = None, retry_policy: Any = None, start_date: Any = None,
        end_date: Any = None, depends_on_past: bool = False, ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False, wait_for_downstream: bool = False,
        dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> Callable[[Callable[..., Any]], TaskDecorator]: ...
    @overload
    def branch_external_python(self, function: Callable[..., Any], /) -> TaskDecorator: ...
    @overload
    def branch_external_python(
        self, python: Any, *, task_id: str = ..., expect_pendulum: bool = False, serializer: str | None = None,
        string_args: Iterable[str] | None = None, expect_airflow: bool = True, skip_on_exit_code: Any = None,
        env_vars: dict[str, str] | None = None, inherit_env: bool = True,
        templates_dict: dict[str, Any] | None | XComArg = None, templates_exts: Sequence[str] | None = None,
        show_return_value_in_logs: bool = True, owner: str | None = 'airflow', email: Any = None,
        email_on_retry: bool = True, email_on_failure: bool = True, retries: int | str | None = 0,
        retry_delay: timedelta | float = ..., retry_exponential_backoff: float = 0,
        max_retry_delay: timedelta | float | None = None, retry_policy: Any = None, start_date: Any = None,
        end_date: Any = None, depends_on_past: bool = False, ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False, wait_for_downstream: bool = False,
        dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> Callable[[Callable[..., Any]], TaskDecorator]: ...
    kubernetes: Any
    kubernetes_cmd: Any
    docker: Any
    pyspark: Any
    snowpark: Any
    sql: Any
    analytics: Any
    sftp_sensor: Any
    llm: Any
    llm_batch: Any
    llm_branch: Any
    llm_sql: Any
    llm_file_analysis: Any
    llm_schema_compare: Any
    agent: Any

class _TwoWays(BaseBranchOperator):
    """What two of them share: two answers, and which moment is looked at."""
    follow_task_ids_if_true: Any
    follow_task_ids_if_false: Any
    use_task_logical_date: bool
    def __init__(
        self, *, follow_task_ids_if_true: Any, follow_task_ids_if_false: Any,
        use_task_logical_date: bool = False, task_id: str, owner: str | None = 'airflow', email: Any = None,
        email_on_retry: bool = True, email_on_failure: bool = True, retries: int | str | None = 0,
        retry_delay: timedelta | float = ..., retry_exponential_backoff: float = 0,
        max_retry_delay: timedelta | float | None = None, retry_policy: Any = None, start_date: Any = None,
        end_date: Any = None, depends_on_past: bool = False, ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False, wait_for_downstream: bool = False,
        dag: DAG | None = None, params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None, priority_weight: int = 1,
        weight_rule: Any = 'downstream', queue: str = 'default', pool: str | None = None, pool_slots: int = 1,
        execution_timeout: timedelta | None = None, on_execute_callback: Any = None,
        on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
        on_skipped_callback: Any = None, pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None, trigger_rule: Any = 'all_success',
        resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None, max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
        multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None,
        task_group: TaskGroup | None = None, doc: str | None = None, doc_md: str | None = None,
        doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
        task_display_name: str | None = None, logger_name: str | None = None,
        allow_nested_operators: bool = True, render_template_as_native_obj: bool | None = None,
    ) -> None: ...
    def choose_branch(self, context: Any) -> Any: ...

def _datetime(*args: Any, **kwargs: Any) -> datetime:
    """Like `datetime.datetime`, in UTC when no zone is given."""

def as_flattened_list(iterable: Iterable[Iterable[Any]]) -> list[Any]:
    """Of one level."""

class asset(_DagArguments):
    """The function below makes this asset; each run of the DAG of its name calls it."""
    name: str | None
    uri: Any
    group: str
    extra: Mapping[str, Any] | None
    def __init__(
        self, *, name: str | None = None, uri: Any = None, group: str = 'asset',
        extra: Mapping[str, Any] | None = None, watchers: Collection[Any] = ..., schedule: Any,
        is_paused_upon_creation: bool | None = None, dag_id: str | None = None,
        dag_display_name: str | None = None, description: str | None = None,
        params: Mapping[str, Any] | None = None, on_success_callback: Any = None,
        on_failure_callback: Any = None, access_control: Any = None,
        owner_links: Mapping[str, str] | None = None, tags: Collection[str] = ...,
    ) -> None: ...
    def __call__(self, function: Callable[..., Any]) -> AssetDefinition: ...
    class multi(_DagArguments):
        """The function below makes several assets."""
        outlets: Collection[BaseAsset]
        def __init__(
            self, *, outlets: Collection[BaseAsset], schedule: Any, is_paused_upon_creation: bool | None = None,
            dag_id: str | None = None, dag_display_name: str | None = None, description: str | None = None,
            params: Mapping[str, Any] | None = None, on_success_callback: Any = None,
            on_failure_callback: Any = None, access_control: Any = None,
            owner_links: Mapping[str, str] | None = None, tags: Collection[str] = ...,
        ) -> None: ...
        def __call__(self, function: Callable[..., Any]) -> MultiAssetDefinition: ...


def at_most_one(*args: Any) -> bool: ...

def chain(*tasks: Any) -> None:
    """`a >> b >> c`; two neighbouring lists of the same length are joined pair by pair."""

def chain_linear(*elements: Any) -> None:
    """Like `chain`, but neighbouring lists are joined each with each."""

def chunks(items: list[Any], chunk_size: int) -> Iterator[list[Any]]: ...

def coerce_datetime(value: datetime | None, tz: Any = None) -> datetime | None: ...

def convert_camel_to_snake(camel_str: str) -> str: ...

def convert_to_utc(value: datetime | None) -> datetime | None: ...

def cross_downstream(from_tasks: Sequence[Any], to_tasks: Any) -> None:
    """Each of `from_tasks` runs before each of `to_tasks`."""

@overload
def dag(function: Callable[..., Any], /) -> Callable[..., DAG]: ...
@overload
def dag(
    dag_id: str = ..., *, description: str | None = None, default_args: Mapping[str, Any] | None = None,
    start_date: Any = None, end_date: Any = None, schedule: Any = None,
    template_searchpath: str | Iterable[str] | None = None, template_undefined: Any = None,
    user_defined_macros: dict[str, Any] | None = None, user_defined_filters: dict[str, Any] | None = None,
    max_active_tasks: int = 16, max_active_runs: int = 16, max_consecutive_failed_dag_runs: int = 0,
    dagrun_timeout: timedelta | None = None, deadline: Any = None, catchup: bool = False,
    on_success_callback: Any = None, on_failure_callback: Any = None, doc_md: str | None = None,
    params: Mapping[str, Any] | None = None, access_control: Any = None,
    is_paused_upon_creation: bool | None = None, jinja_environment_kwargs: dict[str, Any] | None = None,
    render_template_as_native_obj: bool = False, tags: Iterable[str] | None = None,
    owner_links: dict[str, str] | None = None, auto_register: bool = True, fail_fast: bool = False,
    allowed_run_types: Any = None, dag_display_name: str | None = None,
    disable_bundle_versioning: bool = False, rerun_with_latest_version: bool | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., DAG]]: ...

def datetime_diff_for_humans(dt: Any, since: Any = None) -> str:
    """The distance between two moments in words, e.g. "5 minutes before"; needs pendulum."""

def dbt_group(
    group_id: str, *, project_dir: str, connection: str | None = None, adapter: str | None = None,
    target: str | None = None, select: Sequence[str] = ..., exclude: Sequence[str] = ...,
    granularity: str = 'node', tests: str = 'after', vars: Mapping[str, Any] | None = None,
    threads: int | None = None, **group: Any,
) -> TaskGroup:
    """A task group of a dbt project's models, seeds, snapshots and tests, each a task, in the DAG that is open."""

def deadline_reference(deadline_reference_type: Any = None) -> Callable[[type], type]: ...

def ds_add(ds: str, days: int) -> str:
    """A `YYYY-MM-DD` date moved by so many days."""

def ds_format(ds: str, input_format: str, output_format: str) -> str:
    """A date text in another format."""

def ds_format_locale(ds: str, input_format: str, output_format: str, locale: Any = None) -> str:
    """A date text in another format, with the names of a language; needs Babel."""

def exactly_one(*args: Any) -> bool:
    """Is one of them true? A list in place of them is an error."""

def from_timestamp(timestamp: float, tz: Any = ...) -> datetime: ...

def get_current_context() -> Any:
    """The context of the task that runs now; only usable inside a task."""

def get_email_address_list(addresses: str | Iterable[str]) -> list[str]:
    """A text with `,` or `;` between, or several texts."""

def get_parsing_context() -> Any:
    """Airflow's hook for loading only one DAG of a file; we always load the whole file."""

def hookimpl(function: Any = None, **_: Any) -> Any:
    """The decorator of a listener's functions, which Airflow's processes call, and nobody here."""

def is_container(obj: Any) -> bool: ...

def is_localized(value: datetime) -> bool: ...

def is_naive(value: datetime) -> bool: ...

def make_aware(value: datetime, timezone: Any = None) -> datetime: ...

def make_naive(value: datetime, timezone: Any = None) -> datetime: ...

def merge_dicts(dict1: dict[Any, Any], dict2: dict[Any, Any]) -> dict[Any, Any]:
    """Both, with dicts inside merged as well; elsewhere the second one counts."""

def parse(string: str, timezone: Any = None, *, strict: bool = False) -> datetime:
    """An ISO text as an aware datetime; UTC when the text names no zone."""

def parse_timezone(name: str | int) -> Any: ...

def partition(pred: Callable[[Any], bool], iterable: Iterable[Any]) -> tuple[Iterable[Any], Iterable[Any]]:
    """(those for which it is false, those for which it is true)."""

def poke_mode_only(cls: Any) -> Any:
    """A class decorator: only `mode="poke"` is allowed."""

def prune_dict(val: Any, mode: str = 'strict') -> Any:
    """Without what is None ("strict") or false ("truthy"), at every level of dicts and lists."""

def send_email(
    to: str | Iterable[str], subject: str, html_content: str, files: list[str] | None = None,
    dryrun: bool = False, cc: str | Iterable[str] | None = None, bcc: str | Iterable[str] | None = None,
    mime_subtype: str = 'mixed', mime_charset: str = 'utf-8', conn_id: str | None = None,
    custom_headers: Mapping[str, Any] | None = None, **options: Any,
) -> None:
    """By the SMTP connection `conn_id`, else `smtp_default`. Raises for what the server does not take."""

def setup(function: Any) -> TaskDecorator:
    """Marks a task as setup; also makes a task of a plain function."""

@overload
def task_group(function: Callable[..., Any], /) -> TaskGroupDecorator: ...
@overload
def task_group(
    group_id: str = ..., *, prefix_group_id: bool = True, parent_group: TaskGroup | None = None,
    dag: DAG | None = None, default_args: Mapping[str, Any] | None = None, tooltip: str = '',
    ui_color: str = 'CornflowerBlue', ui_fgcolor: str = '#000', add_suffix_on_collision: bool = False,
    group_display_name: str = '', doc_md: str | None = None,
) -> Callable[[Callable[..., Any]], TaskGroupDecorator]: ...

def teardown(function: Any = None, *, on_failure_fail_dagrun: bool = False) -> Any:
    """Marks a task as teardown, optionally one whose failure fails the dag run."""

def utc_epoch() -> datetime: ...

def utcnow() -> datetime: ...
