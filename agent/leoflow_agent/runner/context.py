"""The task's context: what templates and `get_current_context()` see, under Airflow 3.2's names.

https://airflow.apache.org/docs/apache-airflow/stable/templates-ref.html is the list. A run without a logical date has
none of the names that depend on it, as in Airflow 3. Dates are pendulum's where pendulum is importable.
"""

# mypy: disable-error-code="explicit-override"
# `typing.override` may be newer than the author's interpreter.

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from . import limits, xcom
from .assets import Events
from .control import Control

_NOT_SET: Any = object()
CHOICE_KEY = "skipmixin_key"
"""What a branch or short circuit chose, as `leoflowd.core.choices` reads it."""
RUN_STATES = ("running", "success", "failed", "queued")
"""In the order in which somebody who waits for a dag run is likely to find it."""
_RUN_DATES = (
    "run_after",
    "logical_date",
    "data_interval_start",
    "data_interval_end",
    "start_date",
    "end_date",
    "queued_at",
    "partition_date",
)


def moment(text: Any) -> Any:
    """RFC 3339 text -> pendulum's DateTime, or datetime where there is no pendulum; None stays None."""
    if text is None or isinstance(text, datetime):
        return text
    parsed = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    try:
        import pendulum
    except ImportError:
        return parsed
    return pendulum.instance(parsed)


def member(module: str, enum: str, value: Any) -> Any:
    """Of Airflow's enum, which the shim has as well; a value that it does not know stays as it is."""
    try:
        return getattr(importlib.import_module(f"airflow.{module}"), enum)(value)
    except ValueError:
        return value


class DagRun:
    """The dag run's facts, as attributes."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.end_date = None
        self._triggering: Callable[[], list[Any]] = list
        for name, value in facts.items():
            setattr(self, name, moment(value) if name in _RUN_DATES else value)
        self.run_type = member("utils.types", "DagRunType", facts.get("run_type"))
        self.state = member("utils.state", "DagRunState", facts.get("state"))
        for name in _RUN_DATES:
            self.__dict__.setdefault(name, None)
        self.conf: dict[str, Any] = json.loads(facts.get("conf") or "{}")
        self.external_trigger = facts.get("run_type") == "manual"
        self.execution_date = self.logical_date or self.run_after  # type: ignore[attr-defined]  # set from the facts

    @property
    def consumed_asset_events(self) -> list[Any]:
        """The events that started it; of another run than the task's own nobody knows them here."""
        return self._triggering()

    def __repr__(self) -> str:
        return f"<DagRun {self.dag_id} @ {self.run_id}>"  # type: ignore[attr-defined]  # set from the facts


class PreviousTaskInstance:
    """What is known of another task instance, as attributes."""

    def __init__(self, facts: dict[str, Any]) -> None:
        for name, value in facts.items():
            setattr(self, name, moment(value) if name in _RUN_DATES else value)

    def __repr__(self) -> str:
        return f"<PreviousTaskInstance {self.dag_id}.{self.task_id} {self.run_id}>"  # type: ignore[attr-defined]  # set from the facts


class XComs:
    """Reads and writes XComs of this try; a value that came along with the try is not asked for."""

    def __init__(self, spec: dict[str, Any], control: Control) -> None:
        self._control = control
        self._is_complete = bool(spec.get("xcoms_complete", True))
        self._map_index = spec.get("map_index", -1)
        self._known: dict[tuple[str, str], dict[int, Any]] = {}
        self._parts: dict[tuple[str, str], dict[str, Any]] = {}
        """Of a mapped try: values of which only the items that it takes came along."""
        self._alike: dict[tuple[str, str, int], Any] = {}
        """Of a mapped try: values of other mapped instances, which need not be all that there are."""
        self._kept: dict[str, str] = {}
        for item in spec.get("xcoms", ()):
            name, index = (item["task_id"], item["key"]), item.get("map_index", -1)
            if item.get("length") is not None:
                self._parts[name] = item
            elif min(index, self._map_index) >= 0:
                self._alike[(*name, index)] = json.loads(item["value"])
            else:
                self._known.setdefault(name, {})[index] = json.loads(item["value"])

    def of_reference(self, task_id: str, key: str, missing: Any) -> Any:
        """The output that an argument of the task names."""
        part = self._parts.get((task_id, key))
        if part is not None:
            return Part(part, lambda: self._whole(task_id, key))
        known = self._known.get((task_id, key))
        if known is None:
            if self._is_complete:
                return missing
            known = self.ask(task_ids=[task_id], key=key).get(task_id)
            if not known:
                return missing
        return xcom.decode(_single_or_list(known))

    def of_task(self, task_id: str, key: str) -> dict[int, Any]:
        """map_index -> value; empty when nothing was pushed."""
        known = self._known.get((task_id, key))
        return known if known is not None else self.ask(task_ids=[task_id], key=key).get(task_id, {})

    def of_own_index(self, task_id: str, key: str, missing: Any) -> Any:
        """Inside of a mapped group: the output of the instance with the same map index."""
        if (task_id, key, self._map_index) not in self._alike and self._is_complete:
            return missing
        found = self.of_index(task_id, key, self._map_index)
        return xcom.decode(found[0]) if found else missing

    def of_index(self, task_id: str, key: str, map_index: int) -> tuple[Any, ...]:
        """The value of this instance, as it was pushed; empty when nothing was."""
        name = (task_id, key, map_index)
        if name not in self._alike:
            found = self.ask(task_ids=[task_id], key=key, map_indexes=[map_index]).get(task_id, {})
            if map_index not in found:
                return ()
            self._alike[name] = found[map_index]
        return (self._alike[name],)

    def known(self, task_id: str, key: str) -> list[Any] | None:
        """All values of a task that came along, by map index; None when they did not."""
        values = self._known.get((task_id, key))
        return None if values is None else [values[index] for index in sorted(values)]

    def page(self, task_id: str, key: str, *, offset: int, limit: int) -> tuple[list[Any], int | None]:
        """Values by map index, and how many there are in all; None: these are all, whatever was asked for."""
        question = {"key": key, "task_ids": [task_id], "offset": offset, "limit": limit}
        answer = self._control.ask("pull", question)
        return [json.loads(item["value"]) for item in answer["values"]], answer.get("total")

    def _whole(self, task_id: str, key: str) -> Any:
        return xcom.decode(_single_or_list(self.ask(task_ids=[task_id], key=key).get(task_id, {})))

    def ask(self, *, task_ids: list[str], key: str, **filters: Any) -> dict[str, dict[int, Any]]:
        answer = self._control.ask("pull", {"key": key, "task_ids": task_ids, **filters})
        found: dict[str, dict[int, Any]] = {}
        for item in answer["values"]:
            found.setdefault(item["task_id"], {}).setdefault(item.get("map_index", -1), json.loads(item["value"]))
        return found

    def push(self, key: str, value: Any) -> None:
        self.push_text(limits.checked_key(key), xcom.encode(value, key=key))

    def push_text(self, key: str, text: str) -> None:
        """`text` is JSON in the XCom form. Raises before anything is sent, since nobody waits for an answer."""
        limits.checked_key(key)
        if not self._control.is_usable:
            raise RuntimeError("cannot push an XCom in a process that the task forked; do it in the task's own process")
        if key == CHOICE_KEY:
            self._kept[key] = text
            return
        self._control.keep({"push": {"key": key, "value": text}})

    def kept(self) -> list[dict[str, str]]:
        """What goes with the outcome: the daemon decides by it, in the commit of the task's success."""
        return [{"key": key, "value": text} for key, text in self._kept.items()]


class Part(Sequence):  # type: ignore[type-arg]
    """A list of which only some items came along, or a dict as its pairs; the others are fetched if somebody asks."""

    is_lazy = True

    def __init__(self, item: dict[str, Any], fetch: Callable[[], Any]) -> None:
        self._length: int = item["length"]
        make = tuple if item.get("is_dict") else lambda value: value
        self._items = {int(at): make(xcom.decode(value)) for at, value in json.loads(item["value"]).items()}
        self._fetch = fetch

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(self._length))]
        at = index + self._length if index < 0 else index
        if not 0 <= at < self._length:
            raise IndexError(index)
        if at not in self._items:
            whole = self._fetch()
            self._items = dict(enumerate(whole.items() if isinstance(whole, dict) else whole))
        return self._items[at]


def _single_or_list(values: dict[int, Any]) -> Any:
    """A mapped task's outputs are a list in the order of the map; else the one value."""
    if set(values) == {-1}:
        return values[-1]
    return [values[index] for index in sorted(values)]


class TaskInstance:
    """`ti` of the context."""

    def __init__(self, spec: dict[str, Any], task: Any, xcoms: XComs, control: Control, started: datetime) -> None:
        run = spec["dag_run"]
        self.id = spec["try_id"]
        self.task = task
        self.task_id = spec["task_id"]
        self.dag_id = run["dag_id"]
        self.run_id = run["run_id"]
        self._logical_date = run.get("logical_date")
        self.map_index = spec.get("map_index", -1)
        self.try_number = spec["try_number"]
        self.max_tries = spec["max_tries"]
        self.dag_version_number = spec.get("dag_version_number", 1)
        self.operator = spec["operator"]
        self.state = member("utils.state", "TaskInstanceState", "running")
        self.execution_date = moment(run.get("logical_date") or run["run_after"])
        self.start_date = moment(started)
        self.first_started_at = moment(spec.get("first_started_at")) or self.start_date
        """When this try began, before it deferred or was rescheduled."""
        self._was_rescheduled = spec.get("first_started_at") is not None
        self.end_date: Any = None
        self.pid = os.getpid()
        self.hostname = os.uname().nodename
        self.is_mapped = self.map_index >= 0
        self.latest_window = [moment(at) for at in spec.get("latest_window") or ()] or None
        self._xcoms = xcoms
        self._control = control
        self._context: dict[str, Any] = {}

    @property
    def duration(self) -> float | None:
        """Seconds, of one that has ended."""
        if self.start_date is None or self.end_date is None:
            return None
        return float((self.end_date - self.start_date).total_seconds())

    def __repr__(self) -> str:
        return f"<TaskInstance {self.dag_id}.{self.task_id} {self.run_id} try {self.try_number}>"

    def xcom_push(self, key: str, value: Any) -> None:
        """Store a value for other tasks at once, whatever becomes of this task."""
        self._xcoms.push(key, value)

    def xcom_pull(
        self,
        task_ids: str | Iterable[str] | None = None,
        dag_id: str | None = None,
        key: str = xcom.RETURN_KEY,
        include_prior_dates: bool = False,
        *,
        map_indexes: int | Iterable[int] | None = _NOT_SET,
        default: Any = None,
        run_id: str | None = None,
    ) -> Any:
        """Airflow's rules: one task id gives one value (or `default`), several give a list in their order.

        Without `map_indexes` all of a mapped task's values come; None means "of an unmapped task".
        """
        names = [self.task_id] if task_ids is None else [task_ids] if isinstance(task_ids, str) else list(task_ids)
        is_elsewhere = run_id not in (None, self.run_id) or dag_id not in (None, self.dag_id) or include_prior_dates
        if is_elsewhere:
            filters = {"dag_id": dag_id, "run_id": run_id, "include_prior_dates": include_prior_dates}
            found = self._xcoms.ask(task_ids=names, key=key, **filters)
        else:
            found = {name: self._xcoms.of_task(name, key) for name in names}
        is_single = task_ids is None or isinstance(task_ids, str)
        if map_indexes is _NOT_SET:
            values = [value for name in names for value in self._all_of(found.get(name), default)]
            return values[0] if is_single and len(values) == 1 else values
        is_single = is_single and (map_indexes is None or isinstance(map_indexes, int))
        indexes = (
            [-1 if map_indexes is None else map_indexes]
            if isinstance(map_indexes, (int, type(None)))
            else list(map_indexes)
        )
        values = [_one_of(found.get(name), index, default) for name in names for index in indexes]
        return values[0] if is_single else values

    @staticmethod
    def _all_of(values: dict[int, Any] | None, default: Any) -> list[Any]:
        return [xcom.decode(values[index]) for index in sorted(values)] if values else [default]

    def get_template_context(self) -> dict[str, Any]:
        return self._context

    def get_first_reschedule_date(self, context: Any) -> Any:
        """When this try began, if it gave its process back since then; else None."""
        return self.first_started_at if self._was_rescheduled else None

    def get_previous_dagrun(self, state: str | None = None) -> DagRun | None:
        """The dag run before this one; `state="success"` skips those that did not succeed."""
        if state not in (None, "success"):
            raise ValueError(f"get_previous_dagrun can look for any state or 'success', not for {state!r}")
        answer = self._control.ask("previous", {"only_success": state == "success"})
        return None if answer["run"] is None else DagRun(answer["run"])

    # --- what the daemon counts, as Airflow's task instance asks for it ------------------------------------------

    def get_ti_count(
        self,
        dag_id: str,
        map_index: int | None = None,
        task_ids: list[str] | None = None,
        task_group_id: str | None = None,
        logical_dates: list[datetime] | None = None,
        run_ids: list[str] | None = None,
        states: list[str] | None = None,
    ) -> int:
        """How many task instances of the DAG are like this."""
        if map_index is not None and map_index >= 0:
            raise ValueError("task instances are counted over all their map indexes only; leave map_index out")
        tasks = task_ids if task_ids is not None or task_group_id else []
        return self._count(
            dag_id,
            task_ids=tasks,
            task_group_id=task_group_id,
            logical_dates=logical_dates,
            run_ids=run_ids,
            states=states,
        )

    def get_dr_count(
        self,
        dag_id: str,
        logical_dates: list[datetime] | None = None,
        run_ids: list[str] | None = None,
        states: list[str] | None = None,
    ) -> int:
        """How many runs of the DAG are like this."""
        return self._count(dag_id, logical_dates=logical_dates, run_ids=run_ids, states=states)

    def get_dagrun_state(self, dag_id: str, run_id: str) -> Any:
        """The state of that run. Raises `DagRunNotFound`."""
        for state in RUN_STATES:
            if self._count(dag_id, run_ids=[run_id], states=[state]):
                return member("utils.state", "DagRunState", state)
        raise importlib.import_module("airflow.exceptions").DagRunNotFound(f"dag {dag_id!r} has no run {run_id!r}")

    def get_task_states(
        self,
        dag_id: str,
        map_index: int | None = None,
        task_ids: list[str] | None = None,
        task_group_id: str | None = None,
        logical_dates: list[datetime] | None = None,
        run_ids: list[str] | None = None,
    ) -> dict[str, dict[str, str | None]]:
        """States by run id and task id; of a mapped instance by `<task id>_<map index>`."""
        filters = {
            "map_index": map_index,
            "task_ids": task_ids,
            "task_group_id": task_group_id,
            "logical_dates": logical_dates,
            "run_ids": run_ids,
        }
        given = {name: value for name, value in filters.items() if value is not None}
        states: dict[str, dict[str, str | None]] = self._control.ask("states", {"dag_id": dag_id, **given})["states"]
        return states

    def get_previous_ti(
        self, state: Any = None, logical_date: datetime | None = None, map_index: int = -1
    ) -> PreviousTaskInstance | None:
        """This task's instance in the newest run before that moment, or before its own run."""
        question = {"dag_id": self.dag_id, "task_id": self.task_id, "map_index": map_index}
        before = logical_date or self._logical_date
        given = {"logical_date": before, "state": None if state is None else str(getattr(state, "value", state))}
        found = self._control.ask(
            "previous_instance", {**question, **{name: value for name, value in given.items() if value is not None}}
        )["instance"]
        return None if found is None else PreviousTaskInstance(found)

    def _count(self, dag_id: str, **filters: Any) -> int:
        given = {name: value for name, value in filters.items() if value is not None}
        return int(self._control.ask("counts", {"dag_id": dag_id, **given})["count"])

    # --- its page ------------------------------------------------------------------------------------------------

    @property
    def log_url(self) -> str:
        """Its page in the UI, which is at `[api] base_url`."""
        base = importlib.import_module("airflow.configuration").conf.get("api", "base_url").rstrip("/")
        index = f"/mapped/{self.map_index}" if self.map_index >= 0 else ""
        task = f"/dags/{self.dag_id}/runs/{quote(self.run_id)}/tasks/{self.task_id}"
        return f"{base}{task}{index}?try_number={self.try_number}"

    @property
    def mark_success_url(self) -> str:
        return self.log_url


def end_as(ti: Any, call: dict[str, Any]) -> None:
    """The task instance is over, and a callback looks at it: `ti` as the facts of `CallbackCall` have it."""
    of = "task_" if call["of_dag"] else ""
    ti.state = member("utils.state", "TaskInstanceState", call[f"{of}state"])
    ti.start_date, ti.end_date = moment(call.get(f"{of}start_date")), moment(call.get(f"{of}end_date"))


def _one_of(values: dict[int, Any] | None, index: int, default: Any) -> Any:
    value = (values or {}).get(index)
    return default if value is None else xcom.decode(value)


class Lazy:
    """A value that is fetched when it is first used; looks like that value in templates and in most Python code."""

    def __init__(self, fetch: Callable[[], Any]) -> None:
        object.__setattr__(self, "_fetch", fetch)
        object.__setattr__(self, "_fetched", _NOT_SET)

    @property
    def _value(self) -> Any:
        if object.__getattribute__(self, "_fetched") is _NOT_SET:
            object.__setattr__(self, "_fetched", object.__getattribute__(self, "_fetch")())
        return object.__getattribute__(self, "_fetched")

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # isinstance() asks this, and nobody sets it
        return type(self._value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._value, name)

    def __str__(self) -> str:
        return str(self._value)

    def __repr__(self) -> str:
        return repr(self._value)

    def __format__(self, pattern: str) -> str:
        return format(self._value, pattern)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __hash__(self) -> int:
        return hash(self._value)

    def __eq__(self, other: object) -> bool:
        return bool(self._value == other)

    def __lt__(self, other: Any) -> bool:
        return bool(self._value < other)

    def __le__(self, other: Any) -> bool:
        return bool(self._value <= other)

    def __gt__(self, other: Any) -> bool:
        return bool(self._value > other)

    def __ge__(self, other: Any) -> bool:
        return bool(self._value >= other)

    def __add__(self, other: Any) -> Any:
        return self._value + other

    def __sub__(self, other: Any) -> Any:
        return self._value - other

    def __rsub__(self, other: Any) -> Any:
        return other - self._value


class VariableAccessor:
    """`var.value.name`, `var.json.name`, and `.get(name, default)`: environment, then daemon."""

    def __init__(self, *, is_json: bool) -> None:
        self._is_json = is_json

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):  # Python asks for its own names, e.g. to copy the context
            raise AttributeError(key)
        return self[key]

    def __getitem__(self, key: str) -> Any:
        return _variables().get(key, deserialize_json=self._is_json)

    def get(self, key: str, default: Any = None) -> Any:
        return _variables().get(key, default, deserialize_json=self._is_json)


def _variables() -> Any:
    return importlib.import_module("airflow.sdk").Variable


class ConnectionAccessor:
    """`conn.name`; connections come from `AIRFLOW_CONN_<NAME>`, else from the daemon."""

    def __getattr__(self, conn_id: str) -> Any:
        if conn_id.startswith("__"):
            raise AttributeError(conn_id)
        return self[conn_id]

    def __getitem__(self, conn_id: str) -> Any:
        return importlib.import_module("airflow.sdk").Connection.get(conn_id)

    def get(self, conn_id: str, default: Any = None) -> Any:
        exceptions = importlib.import_module("airflow.exceptions")
        try:
            return self[conn_id]
        except exceptions.AirflowNotFoundException:
            return default


def build(
    spec: dict[str, Any], dag: Any, task: Any, ti: TaskInstance, events: Events, dags: Iterable[Any]
) -> dict[str, Any]:
    """The context, as one dict that all of this try shares. `dags`: of the file."""
    run = DagRun(spec["dag_run"])
    run._triggering = events.triggering  # noqa: SLF001  it alone knows its own
    context: dict[str, Any] = {
        "dag": dag,
        "dag_run": run,
        "task": task,
        "ti": ti,
        "task_instance": ti,
        "run_id": ti.run_id,
        "try_number": ti.try_number,
        "task_instance_key_str": f"{ti.dag_id}__{ti.task_id}__{ti.run_id}",
        "task_reschedule_count": int(spec.get("first_started_at") is not None),  # nobody counts them beyond one
        "params": _params(dag, task, run.conf),
        "macros": importlib.import_module("airflow.macros"),
        "var": {"value": VariableAccessor(is_json=False), "json": VariableAccessor(is_json=True)},
        "conn": ConnectionAccessor(),
        **events.context(task, ti.xcom_pull, dags),
        "map_index_template": getattr(task, "map_index_template", None),
        "templates_dict": getattr(task, "templates_dict", None),
        "partition_key": spec["dag_run"].get("partition_key"),
        "partition_date": moment(spec["dag_run"].get("partition_date")),
        "test_mode": False,
        "prev_start_date_success": _of_previous(ti, "start_date"),
        "prev_end_date_success": _of_previous(ti, "end_date"),
    }
    if run.logical_date is not None:  # type: ignore[attr-defined]  # set from the facts
        context.update(_dates(run, ti))
    ti._context = context  # noqa: SLF001  the two name each other
    return context


def _dates(run: Any, ti: TaskInstance) -> dict[str, Any]:
    logical_date = run.logical_date
    ds = logical_date.strftime("%Y-%m-%d")
    ts = logical_date.isoformat()
    return {
        "logical_date": logical_date,
        "ds": ds,
        "ds_nodash": ds.replace("-", ""),
        "ts": ts,
        "ts_nodash": logical_date.strftime("%Y%m%dT%H%M%S"),
        "ts_nodash_with_tz": ts.replace("-", "").replace(":", ""),
        "task_instance_key_str": f"{ti.dag_id}__{ti.task_id}__{ds.replace('-', '')}",
        "data_interval_start": run.data_interval_start,
        "data_interval_end": run.data_interval_end,
        "prev_data_interval_start_success": _of_previous(ti, "data_interval_start"),
        "prev_data_interval_end_success": _of_previous(ti, "data_interval_end"),
    }


def _of_previous(ti: TaskInstance, name: str) -> Lazy:
    return Lazy(lambda: getattr(ti.get_previous_dagrun("success"), name, None))


def _params(dag: Any, task: Any, conf: dict[str, Any]) -> dict[str, Any]:
    """The DAG's, then the task's, then the run's conf: the later one counts. Checked against their schemas."""
    params = type(task.params)()
    params.update(dag.params)
    params.update(task.params)
    params.update(conf)
    return dict(params.validate())


def environment_of(context: dict[str, Any]) -> dict[str, str]:
    """`AIRFLOW_CTX_*`, which Airflow sets for the task and the programs it starts."""
    ti, run = context["ti"], context["dag_run"]
    values = {
        "DAG_OWNER": getattr(context["task"], "owner", None),
        "DAG_ID": ti.dag_id,
        "TASK_ID": ti.task_id,
        "LOGICAL_DATE": run.logical_date.isoformat() if run.logical_date is not None else None,
        "TRY_NUMBER": str(ti.try_number),
        "DAG_RUN_ID": ti.run_id,
    }
    return {f"AIRFLOW_CTX_{name}": str(value) for name, value in values.items() if value}
