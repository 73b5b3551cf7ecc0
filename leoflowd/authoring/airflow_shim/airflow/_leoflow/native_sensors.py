"""Native sensors: what they wait for is data, so the daemon waits, and no process exists meanwhile (ADR 13).

`leoflow_wait()` says it as a `WaitSpec` (`leoflowd/contract/wait_spec.py`; ADR 13 has each kind's arguments).
The compiler calls it on the unrendered arguments; where those need code to be rendered, the task's process calls it
on the rendered ones (`prepare="process"`). A subclass of yours that overrides `poke` or `execute` is user code and
runs like any other sensor.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, time, timedelta, timezone
from glob import glob
from typing import Any

from airflow._leoflow import context as contexts
from airflow._leoflow import services
from airflow._leoflow import timezone as zones
from airflow._leoflow.base_operator import is_user_code
from airflow._leoflow.connectors import needs_airflow
from airflow._leoflow.enums import DagRunState, TaskInstanceState, WeekDay
from airflow._leoflow.errors import AirflowNotFoundException, AuthoringError, ShimUnsupported, describe
from airflow._leoflow.operators import select_kwargs
from airflow._leoflow.params import NOTSET
from airflow._leoflow.sensors import DEFAULT_TIMEOUT_S, BaseSensorOperator
from airflow._leoflow.templating import needs_jinja, texts

LOADING_SINCE = datetime.now(timezone.utc).replace(microsecond=0)
"""A DAG file imports this module before it can take a `target_time` from its clock."""
USER_HOOKS = ("poke", "execute", "pre_execute", "post_execute")
HOOK_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
RUN_DATE = "{{ dag_run.logical_date or dag_run.run_after }}"


class NativeSensor(BaseSensorOperator):
    """Base; a kind says its probe, its predicate, and its connection."""

    kind = "wait"
    sensor_kind = ""
    deferral_arguments: Sequence[str] = ()
    """Which of Airflow's arguments about deferring this class has."""
    is_deferrable = False
    """Without the argument: what the class itself says, as the `...Async` ones do."""
    waits_for_ever = False
    """Airflow defers these without a timeout: only one that the author gave counts."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if is_user_code(cls, USER_HOOKS):
            cls.kind = "sensor"

    def __init__(self, **kwargs: Any) -> None:
        given = {name: kwargs.pop(name, self._defaults.get(name)) for name in self.deferral_arguments}
        super().__init__(**kwargs)
        self.deferrable = bool(given.get("deferrable", self.is_deferrable))
        # a native wait has no process to start or to end in: start_from_trigger and end_from_trigger hold already
        if given.get("trigger_kwargs"):
            raise self.refuse("trigger_kwargs", "it belongs to dynamic task mapping, which is not supported yet")
        if self._pre_execute_hook is not None or self._post_execute_hook is not None:
            self.kind = "sensor"

    def refuse(self, name: str, why: str, remedy: str = "remove it") -> ShimUnsupported:
        return ShimUnsupported(f"task {self.task_id!r}: {type(self).__name__} has {name}", why, remedy, self._location)

    # -- what it waits for

    def probe_arguments(self) -> dict[str, Any]:
        raise NotImplementedError

    def predicate(self) -> dict[str, Any]:
        return {}

    def connection(self) -> str | None:
        return None

    def leoflow_wait(self) -> dict[str, Any]:
        """The `WaitSpec`, as plain data."""
        return {
            "probe": {
                "kind": self.sensor_kind,
                "arguments": self.probe_arguments(),
                "connection_id": self.connection(),
            },
            "terms": {
                "predicate": self.predicate(),
                "mode": "deferrable" if self.deferrable else self.mode,
                "poke_interval_s": self.poke_interval,
                "exponential_backoff": bool(self.exponential_backoff),
                "max_wait_s": None if self.max_wait is None else self.max_wait.total_seconds(),
                "timeout_s": self.timeout_s(),
                "soft_fail": bool(self.soft_fail),
                "silent_fail": bool(self.silent_fail),
                "never_fail": bool(self.never_fail),
            },
        }

    def timeout_s(self) -> float | None:
        is_given = "timeout" in self._given or "timeout" in self._defaults or self.timeout != DEFAULT_TIMEOUT_S
        return self.timeout if is_given or not self.waits_for_ever else None

    # -- who prepares it

    def needs_process(self) -> bool:
        """Whether only the task's process knows the arguments; the compiler adds the templates that are not simple."""
        return needs_jinja(self) or any("{{" in text for text in texts(self.fixed_values()))

    def fixed_values(self) -> Sequence[Any]:
        """Arguments that go into the wait and are no template fields: Airflow would not render them."""
        return ()


def fact(template: str, of: Callable[[Any], Any]) -> Any:
    """What the daemon fills in: its template while the file is compiled, the value itself in the task's process."""
    current = contexts.running_context()
    if current is None:
        return template
    value = of(current)
    return value.isoformat() if isinstance(value, datetime) else value


def run_date(context: Any) -> datetime:
    """The logical date, or the moment of a run that has none."""
    found: datetime | None = context.get("logical_date") or context["dag_run"].run_after
    if found is None:
        raise ValueError("the dag run has neither a logical_date nor a run_after")
    return found


def base_time(context: Any) -> datetime:
    """What a TimeDeltaSensor counts from."""
    found: datetime = context.get("data_interval_end") or context["dag_run"].run_after
    return found


def registered_at(context: Any) -> datetime:
    """When the try began, before it was deferred or rescheduled."""
    ti = context["ti"]
    found: datetime = getattr(ti, "first_started_at", None) or ti.start_date
    return found


def _is_from_the_clock(value: datetime | time) -> bool:
    """Two loads side by side may read the same moment, when the file cuts the microseconds."""
    now = datetime.now(timezone.utc)
    if isinstance(value, datetime):
        meanings = [value] if value.tzinfo else [value.astimezone(), value.replace(tzinfo=timezone.utc)]
        return any(LOADING_SINCE <= meaning <= now for meaning in meanings)
    spans = ((LOADING_SINCE, now), (LOADING_SINCE.astimezone(), now.astimezone()))
    return any(since.time() <= value.replace(tzinfo=None) <= until.time() for since, until in spans)


# --- time --------------------------------------------------------------------------------------------------------


class DateTimeSensor(NativeSensor):
    """Waits until a moment; texts are ISO, and without a zone UTC."""

    sensor_kind = "time"
    template_fields: Sequence[str] = ("target_time",)

    def __init__(self, *, target_time: str | datetime, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target_time = target_time

    def needs_process(self) -> bool:
        return super().needs_process() or (
            isinstance(self.target_time, datetime) and _is_from_the_clock(self.target_time)
        )

    def probe_arguments(self) -> dict[str, Any]:
        target = self.target_time
        if not isinstance(target, (str, datetime)):
            raise TypeError(f"Expected str or datetime.datetime type for target_time. Got {type(target)}")
        return {"moment": target.isoformat() if isinstance(target, datetime) else target, "plus_s": 0.0}

    def poke(self, context: Any) -> bool:
        return zones.utcnow() > zones.parse(self.probe_arguments()["moment"])


class DateTimeSensorAsync(DateTimeSensor):
    deferral_arguments = ("start_from_trigger", "end_from_trigger", "trigger_kwargs")
    is_deferrable = True
    waits_for_ever = True


class TimeSensor(NativeSensor):
    """Waits until a time of the day, in the DAG's time zone."""

    sensor_kind = "time_of_day"
    deferral_arguments = ("deferrable", "start_from_trigger", "end_from_trigger", "trigger_kwargs")

    def __init__(self, *, target_time: time, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(target_time, time):
            raise AuthoringError(
                f"task {self.task_id!r} has target_time={describe(target_time)}",
                "a TimeSensor waits for a time of the day",
                "write for example datetime.time(9, 30), or use DateTimeSensor",
                self._location,
            )
        self.target_time = target_time
        self.waits_for_ever = self.deferrable

    @property
    def target_datetime(self) -> datetime:
        zone = zones.parse_timezone(self.dag.timezone)
        return datetime.combine(datetime.now(zone), self.target_time, zone).astimezone(timezone.utc)

    def needs_process(self) -> bool:
        return super().needs_process() or _is_from_the_clock(self.target_time)

    def probe_arguments(self) -> dict[str, Any]:
        return {"time": self.target_time.strftime("%H:%M:%S.%f"), "timezone": self.dag.timezone}

    def poke(self, context: Any) -> bool:
        return zones.utcnow() > self.target_datetime


class TimeSensorAsync(TimeSensor):
    deferral_arguments = ("start_from_trigger", "end_from_trigger", "trigger_kwargs")
    is_deferrable = True


class TimeDeltaSensor(NativeSensor):
    """Waits until so long after the end of the data interval; a number means minutes, as in Airflow."""

    sensor_kind = "time"
    deferral_arguments = ("deferrable", "end_from_trigger")
    template_fields: Sequence[str] = ("delta",)

    def __init__(self, *, delta: timedelta | int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.delta = delta

    def needs_process(self) -> bool:
        return super().needs_process() or _is_template(self.delta)

    def probe_arguments(self) -> dict[str, Any]:
        return {"moment": fact("{{ leoflow_base_time }}", base_time), "plus_s": _minutes_or_delta(self.delta)}

    def poke(self, context: Any) -> bool:
        return zones.utcnow() > base_time(context) + timedelta(seconds=_minutes_or_delta(self.delta))


class TimeDeltaSensorAsync(TimeDeltaSensor):
    deferral_arguments = ("end_from_trigger",)
    is_deferrable = True


class WaitSensor(NativeSensor):
    """Waits so long after the task began; a number means minutes, as in Airflow."""

    sensor_kind = "time"
    deferral_arguments = ("deferrable",)
    template_fields: Sequence[str] = ("time_to_wait",)
    waits_for_ever = True

    def __init__(self, *, time_to_wait: timedelta | int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.time_to_wait = time_to_wait

    def needs_process(self) -> bool:
        return super().needs_process() or _is_template(self.time_to_wait)

    def probe_arguments(self) -> dict[str, Any]:
        return {
            "moment": fact("{{ leoflow_registered_at }}", registered_at),
            "plus_s": _minutes_or_delta(self.time_to_wait),
        }

    def poke(self, context: Any) -> bool:
        return zones.utcnow() > registered_at(context) + timedelta(seconds=_minutes_or_delta(self.time_to_wait))


def _is_template(value: Any) -> bool:
    return isinstance(value, str) and "{" in value


def _minutes_or_delta(value: Any) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else int(value) * 60.0


class DayOfWeekSensor(NativeSensor):
    """Waits until it is one of these days (UTC), or checks the logical date's."""

    sensor_kind = "day_of_week"

    def __init__(self, *, week_day: Any, use_task_logical_date: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.week_day = week_day
        self.use_task_logical_date = use_task_logical_date
        self._week_day_num = WeekDay.validate_week_day(week_day)

    def probe_arguments(self) -> dict[str, Any]:
        return {
            "days": sorted(self._week_day_num),
            "moment": fact(RUN_DATE, run_date) if self.use_task_logical_date else None,
            "timezone": "UTC",
        }

    def poke(self, context: Any) -> bool:
        today = run_date(context) if self.use_task_logical_date else zones.utcnow()
        return today.isoweekday() in self._week_day_num


# --- other runs --------------------------------------------------------------------------------------------------


class ExternalTaskSensor(NativeSensor):
    """Waits for tasks, a task group or a whole run of another DAG at the same logical date."""

    sensor_kind = "external_task"
    deferral_arguments = ("deferrable",)
    template_fields: Sequence[str] = (
        "external_dag_id",
        "external_task_id",
        "external_task_ids",
        "external_task_group_id",
    )
    ui_color = "#4db7db"

    def __init__(
        self,
        *,
        external_dag_id: str,
        external_task_id: str | None = None,
        external_task_ids: Collection[str] | None = None,
        external_task_group_id: str | None = None,
        allowed_states: Iterable[str] | None = None,
        skipped_states: Iterable[str] | None = None,
        failed_states: Iterable[str] | None = None,
        execution_delta: timedelta | None = None,
        execution_date_fn: Callable[..., Any] | None = None,
        check_existence: bool = False,
        poll_interval: float | None = None,
        **kwargs: Any,
    ) -> None:
        if poll_interval is not None:
            kwargs.setdefault("poke_interval", poll_interval)
        super().__init__(**kwargs)
        self.external_dag_id = external_dag_id
        self.external_task_id = external_task_id
        self.external_task_ids = external_task_ids or ([external_task_id] if external_task_id is not None else None)
        self.external_task_group_id = external_task_group_id
        self.allowed_states = _states(allowed_states) or ["success"]
        self.skipped_states = _states(skipped_states)
        self.failed_states = _states(failed_states)
        self.execution_delta = execution_delta
        self.execution_date_fn = execution_date_fn
        self.check_existence = check_existence
        self._check_arguments(external_task_ids)

    def _check_arguments(self, given_task_ids: Collection[str] | None) -> None:
        targets = (self.external_task_id, given_task_ids or None, self.external_task_group_id)
        if sum(target is not None for target in targets) > 1:
            raise self._contradiction(
                "more than one of external_task_id, external_task_ids and external_task_group_id",
                "it waits for tasks, for a group, or for the whole run",
            )
        if self.execution_delta is not None and self.execution_date_fn is not None:
            raise self._contradiction("execution_delta and execution_date_fn", "both say which run it waits for")
        states = [*self.allowed_states, *self.skipped_states, *self.failed_states]
        if len(states) != len(set(states)):
            raise self._contradiction("one state in several of its lists of states", "it could not be decided")
        is_dag = self.external_task_ids is None and self.external_task_group_id is None
        known = [state.value for state in (DagRunState if is_dag else TaskInstanceState)]
        if not set(states) <= set(known):
            raise AuthoringError(
                f"task {self.task_id!r} waits for the states {sorted(set(states))}",
                f"a {'dag run' if is_dag else 'task'} has only {', '.join(known)}",
                "correct the states",
                self._location,
            )

    def _contradiction(self, what: str, why: str) -> AuthoringError:
        return AuthoringError(f"task {self.task_id!r} has {what}", why, "keep one of them", self._location)

    def needs_process(self) -> bool:
        is_one_text = isinstance(self.external_task_ids, str)
        return super().needs_process() or self.execution_date_fn is not None or is_one_text

    def fixed_values(self) -> Sequence[Any]:
        return (self.allowed_states, self.skipped_states, self.failed_states)

    def probe_arguments(self) -> dict[str, Any]:
        delta = self.execution_delta
        return {
            "dag_id": self.external_dag_id,
            "task_ids": list(self.external_task_ids or ()),
            "task_group_id": self.external_task_group_id,
            "logical_dates": self._dates(),
            "run_ids": [],
            "minus_s": 0.0 if delta is None else delta.total_seconds(),
        }

    def _dates(self) -> list[str]:
        if self.execution_date_fn is None:
            return [fact(RUN_DATE, run_date)]
        context = contexts.get_current_context()
        moment = run_date(context)
        available = {key: value for key, value in context.items() if key != "logical_date"} | {"context": context}
        found = self.execution_date_fn(moment, **select_kwargs(self.execution_date_fn, [moment], available))
        return [date.isoformat() for date in (found if isinstance(found, list) else [found])]

    def predicate(self) -> dict[str, Any]:
        return {
            "allowed_states": self.allowed_states,
            "failed_states": self.failed_states,
            "skipped_states": self.skipped_states,
            "check_existence": bool(self.check_existence),
        }


def _states(states: Iterable[Any] | None) -> list[str]:
    return [str(getattr(state, "value", state)) for state in states or ()]


# --- files, databases, stores ------------------------------------------------------------------------------------


class FileSensor(NativeSensor):
    """Waits for a file, or for a folder with a file in it; the path may be a glob."""

    sensor_kind = "file"
    deferral_arguments = ("deferrable", "start_from_trigger", "trigger_kwargs")
    template_fields: Sequence[str] = ("filepath", "fs_conn_id")
    ui_color = "#91818a"

    def __init__(
        self, *, filepath: Any, fs_conn_id: str = "fs_default", recursive: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.filepath = os.fspath(filepath) if isinstance(filepath, os.PathLike) else filepath
        self.fs_conn_id = fs_conn_id
        self.recursive = recursive

    def probe_arguments(self) -> dict[str, Any]:
        return {"path": self.filepath, "recursive": bool(self.recursive)}

    def connection(self) -> str | None:
        return self.fs_conn_id

    @property
    def path(self) -> str:
        """Relative to the connection's `path`; without such a connection to the root, as the daemon takes it."""
        try:
            base = services.Connection.get(self.fs_conn_id).extra_dejson.get("path", "")
        except AirflowNotFoundException:
            base = ""
        return os.path.join(base or "/", self.filepath)

    def poke(self, context: Any) -> bool:
        found = glob(self.path, recursive=self.recursive)
        return any(os.path.isfile(path) or any(files for _, _, files in os.walk(path)) for path in found)


class SqlSensor(NativeSensor):
    """Waits until the first cell of a query's answer is true."""

    sensor_kind = "sql"
    template_fields: Sequence[str] = ("sql", "hook_params", "parameters")
    template_ext: Sequence[str] = (".hql", ".sql")
    template_fields_renderers = {"sql": "sql"}
    ui_color = "#7c7287"

    def __init__(
        self,
        *,
        conn_id: str,
        sql: str,
        parameters: Any = None,
        success: Callable[[Any], bool] | None = None,
        failure: Callable[[Any], bool] | None = None,
        selector: Callable[[Any], Any] | None = None,
        fail_on_empty: bool = False,
        hook_params: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id
        self.sql = sql
        self.parameters = parameters
        self.fail_on_empty = fail_on_empty
        self.hook_params = dict(hook_params or {})
        functions = {"success": success, "failure": failure, "selector": selector}
        for name, function in functions.items():
            if function is not None:
                needs_airflow(self, name, "common.sql")
        for name in self.hook_params:
            if name not in {"database", "schema"}:
                needs_airflow(self, f"hook_params[{name!r}]", "common.sql")

    def fixed_values(self) -> Sequence[Any]:
        return (self.conn_id,)

    def probe_arguments(self) -> dict[str, Any]:
        database = self.hook_params.get("database") or self.hook_params.get("schema")
        return {"sql": self.sql, "parameters": self.parameters, "database": database}

    def predicate(self) -> dict[str, Any]:
        return {"fail_on_empty": bool(self.fail_on_empty)}

    def connection(self) -> str | None:
        return self.conn_id


class RedisKeySensor(NativeSensor):
    """Waits until a key exists."""

    sensor_kind = "redis_key"
    template_fields: Sequence[str] = ("key",)
    ui_color = "#f0eee4"

    def __init__(self, *, key: str, redis_conn_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.key = key
        self.redis_conn_id = redis_conn_id

    def fixed_values(self) -> Sequence[Any]:
        return (self.redis_conn_id,)

    def probe_arguments(self) -> dict[str, Any]:
        return {"key": self.key}

    def connection(self) -> str | None:
        return self.redis_conn_id


class ObjectSensor(NativeSensor):
    """Base of the sensors for objects in a store; `objects()` says which."""

    sensor_kind = "object_key"
    store = ""
    provider = ""
    airflow_only: Sequence[str] = ()
    """Arguments that only Airflow's own class honours."""
    is_prefix = False

    def __init__(self, **kwargs: Any) -> None:
        unsupported = {name: kwargs.pop(name, None) for name in self.airflow_only}
        super().__init__(**kwargs)
        for name, value in unsupported.items():
            if value is not None and value is not False:
                needs_airflow(self, name, self.provider)

    def objects(self) -> tuple[str, list[str]]:
        """(bucket, keys or prefixes)."""
        raise NotImplementedError

    def is_wildcard(self) -> bool:
        return False

    def probe_arguments(self) -> dict[str, Any]:
        bucket, keys = self.objects()
        return {
            "store": self.store,
            "bucket": bucket,
            "keys": keys,
            "wildcard": self.is_wildcard(),
            "prefix": self.is_prefix,
        }


class _S3Sensor(ObjectSensor):
    store = "s3"
    provider = "amazon"

    def __init__(self, *, aws_conn_id: str | None = "aws_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.aws_conn_id = aws_conn_id

    def fixed_values(self) -> Sequence[Any]:
        return (self.aws_conn_id,)

    def connection(self) -> str | None:
        return self.aws_conn_id


class S3KeySensor(_S3Sensor):
    """Waits until all keys exist; a key may be a whole `s3://bucket/key`."""

    deferral_arguments = ("deferrable",)
    template_fields: Sequence[str] = ("bucket_key", "bucket_name")
    airflow_only = ("check_fn", "use_regex", "metadata_keys", "verify", "region_name", "botocore_config")

    def __init__(
        self,
        *,
        bucket_key: str | list[str],
        bucket_name: str | None = None,
        wildcard_match: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bucket_key = bucket_key
        self.bucket_name = bucket_name
        self.wildcard_match = wildcard_match

    def needs_process(self) -> bool:
        if super().needs_process():
            return True
        # which bucket a template means is only known when it is rendered
        return self.bucket_name is None and any(key.startswith("{{") for key in texts(self.bucket_key))

    def is_wildcard(self) -> bool:
        return bool(self.wildcard_match)

    def objects(self) -> tuple[str, list[str]]:
        keys = [self.bucket_key] if isinstance(self.bucket_key, str) else list(self.bucket_key)
        if self.bucket_name is not None:
            return self.bucket_name, keys
        split = [_split_s3(key) for key in keys]
        if any(bucket is None for bucket, _ in split) or len({bucket for bucket, _ in split}) != 1:
            raise AuthoringError(
                f"task {self.task_id!r} waits for {', '.join(map(repr, keys))}",
                "one sensor waits in one bucket, and there is no bucket_name",
                "write s3://bucket/key with one bucket for all keys, or pass bucket_name; else use one task per bucket",
                self._location,
            )
        return str(split[0][0]), [key for _, key in split]


def _split_s3(url: str) -> tuple[str | None, str]:
    scheme, _, rest = url.partition("://")
    if not rest or scheme not in {"s3", "s3a", "s3n"}:
        return None, url
    bucket, _, key = rest.partition("/")
    return bucket, key


class S3PrefixSensor(_S3Sensor):
    """Waits until each prefix has an object."""

    is_prefix = True
    template_fields: Sequence[str] = ("prefix", "bucket_name")
    airflow_only = ("verify",)

    def __init__(self, *, bucket_name: str, prefix: str | list[str], delimiter: str = "/", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bucket_name = bucket_name
        self.prefix = prefix
        if delimiter != "/":
            raise self.refuse(f"delimiter={delimiter!r}", "any object below the prefix ends the wait")

    def objects(self) -> tuple[str, list[str]]:
        return self.bucket_name, [self.prefix] if isinstance(self.prefix, str) else list(self.prefix)


class _GcsSensor(ObjectSensor):
    store = "gcs"
    provider = "google"
    airflow_only = ("impersonation_chain", "retry")

    def __init__(self, *, bucket: str, google_cloud_conn_id: str = "google_cloud_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bucket = bucket
        self.google_cloud_conn_id = google_cloud_conn_id

    def fixed_values(self) -> Sequence[Any]:
        return (self.google_cloud_conn_id,)

    def connection(self) -> str | None:
        return self.google_cloud_conn_id


class GCSObjectExistenceSensor(_GcsSensor):
    deferral_arguments = ("deferrable",)
    template_fields: Sequence[str] = ("bucket", "object")
    ui_color = "#f0eee4"

    def __init__(self, *, object: str, use_glob: bool = False, **kwargs: Any) -> None:  # noqa: A002 - Airflow's name
        super().__init__(**kwargs)
        self.object = object
        self.use_glob = use_glob

    def is_wildcard(self) -> bool:
        return bool(self.use_glob)

    def objects(self) -> tuple[str, list[str]]:
        return self.bucket, [self.object]


class GCSObjectExistenceAsyncSensor(GCSObjectExistenceSensor):
    deferral_arguments = ()
    is_deferrable = True


class GCSObjectsWithPrefixExistenceSensor(_GcsSensor):
    """Waits until an object with this prefix exists."""

    is_prefix = True
    deferral_arguments = ("deferrable",)
    template_fields: Sequence[str] = ("bucket", "prefix")
    ui_color = "#f0eee4"

    def __init__(self, *, prefix: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.prefix = prefix

    def objects(self) -> tuple[str, list[str]]:
        return self.bucket, [self.prefix]


# --- ours --------------------------------------------------------------------------------------------------------


class _MatchingSensor(NativeSensor):
    """Base of those that look into a document: at `json_path` must be `equals`, or anything true without one."""

    def __init__(self, *, json_path: str | None = None, equals: Any = NOTSET, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.json_path = json_path
        self.has_equals = equals is not NOTSET
        self.equals = equals if self.has_equals else None
        if self.has_equals and json_path is None:
            raise self.refuse("equals", "nothing says what has to equal it", "add json_path")

    def matching(self) -> dict[str, Any]:
        found = {} if self.json_path is None else {"json_path": self.json_path}
        return found | ({"equals": self.equals} if self.has_equals else {})


class WebhookSensor(_MatchingSensor):
    """`leoflow.sensors.WebhookSensor`: waits for a signed POST to `leoflow/hooks/<name>`."""

    sensor_kind = "webhook"
    template_fields: Sequence[str] = ("name", "json_path", "equals")

    def __init__(self, *, name: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.name = name
        if isinstance(name, str) and "{" not in name and not HOOK_NAME.fullmatch(name):
            raise self.refuse(
                f"name={name!r}", "it is part of a URL: letters, digits, _ and -, at most 100", "rename it"
            )

    def probe_arguments(self) -> dict[str, Any]:
        return {"name": self.name}

    def predicate(self) -> dict[str, Any]:
        return {"since": fact("{{ leoflow_registered_at }}", registered_at), **self.matching()}


class KubernetesObjectSensor(_MatchingSensor):
    """`leoflow.sensors.KubernetesObjectSensor`: waits for a condition, or a value, of one object."""

    sensor_kind = "kubernetes_object"
    template_fields: Sequence[str] = ("namespace", "name", "json_path", "equals", "kubernetes_conn_id")

    def __init__(
        self,
        *,
        api_version: str,
        resource: str,
        name: str,
        namespace: str | None = None,
        condition: str | None = None,
        status: str = "True",
        kubernetes_conn_id: str = "kubernetes_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.api_version = api_version
        self.resource = resource
        self.name = name
        self.namespace = namespace
        self.condition = condition
        self.status = status
        self.kubernetes_conn_id = kubernetes_conn_id
        if condition is not None and self.json_path is not None:
            raise self.refuse("condition and json_path", "one of them says when it is met", "keep one")

    def fixed_values(self) -> Sequence[Any]:
        return (self.api_version, self.resource, self.condition, self.status)

    def probe_arguments(self) -> dict[str, Any]:
        return {
            "api_version": self.api_version,
            "resource": self.resource,
            "namespace": self.namespace,
            "name": self.name,
        }

    def predicate(self) -> dict[str, Any]:
        if self.condition is not None:
            return {"condition": self.condition, "status": self.status}
        return self.matching()

    def connection(self) -> str | None:
        return self.kubernetes_conn_id
