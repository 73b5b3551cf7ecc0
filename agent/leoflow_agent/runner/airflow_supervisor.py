"""Stands where Airflow's supervisor stands: answers what the task SDK asks while a task runs on the real packages.

`real_airflow` installs one `Supervisor` as `airflow.sdk.execution_time.task_runner.SUPERVISOR_COMMS`. What the daemon
knows is asked of it over the control socket, what it has no word for is refused with an error that says so. The last
message of a task (how it ended) is kept in `final`.

Messages: https://github.com/apache/airflow, `task-sdk/src/airflow/sdk/execution_time/comms.py`, version 1.2.2.
"""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import airflow_assets, limits, secret_forms, templates, xcom
from .assets import Events
from .context import RUN_STATES, XComs, moment
from .control import Control
from .mapped import Pages

_log = logging.getLogger("task")


class Refused(Exception):
    """The daemon has no word for this, or said no. Not Airflow's own error: the SDK logs some of those and goes on."""


class Supervisor:
    """`send` and `asend`, as `airflow.sdk.execution_time.comms.CommsDecoder` has them."""

    def __init__(self, spec: dict[str, Any], control: Control, xcoms: XComs) -> None:
        self.final: Any = None
        """`SucceedTask`, `TaskState`, `RetryTask`, `RescheduleTask` or `DeferTask`; None = the task said nothing."""
        self.refusal = ""
        """What was last refused; Airflow's own code may hide the error behind another one."""
        self.skips: list[Any] = []
        """What the task wants skipped, as `DownstreamTasksSkipped` has it."""
        self._spec = spec
        self._control = control
        self._xcoms = xcoms
        self.events = Events(control.ask, moment, spec["dag_run"].get("run_type"))
        self._comms: Any = importlib.import_module("airflow.sdk.execution_time.comms")
        self._pages: dict[tuple[str, str], Pages] = {}
        self.returned: str | None = None
        """The output, if others are mapped over it: it belongs to the outcome, where the daemon counts its items."""
        self.question: dict[str, Any] = {}
        """What a person is to be asked; it travels with the trigger that waits for the answer."""

    def send(self, msg: Any) -> Any:
        """The answer; None where Airflow's supervisor gives none. Raises `Refused`."""
        name = type(msg).__name__
        if name in _FINAL:
            self.final = msg
            return None
        answer = self._ANSWERS.get(name)
        if answer is None:
            raise self._refused(f"{name} is not possible here: {_WHY_NOT.get(name, 'Leoflow has no answer to it')}")
        return answer(self, msg)

    async def asend(self, msg: Any) -> Any:
        import asyncio

        return await asyncio.to_thread(self.send, msg)

    def _refused(self, message: str) -> Refused:
        self.refusal = message
        return Refused(message)

    def _error(self, error: str, **detail: Any) -> Any:
        kinds = importlib.import_module("airflow.sdk.exceptions").ErrorType
        return self._comms.ErrorResponse(error=kinds[error], detail=detail)

    # --- connections and variables -------------------------------------------------------------------------------

    def _connection(self, msg: Any) -> Any:
        answer = self._control.ask("connection", {"connection_id": msg.conn_id})
        if answer.get("refused"):
            _log.error("The connection %r cannot be read: %s", msg.conn_id, answer["refused"])
            return self._error("PERMISSION_DENIED", conn_id=msg.conn_id, message=answer["refused"])
        facts = answer.get("connection")
        if facts is None and msg.conn_id == "fs_default":
            # the root, as it is for the FileSensor of the cheap-task pool
            facts = {"conn_type": "fs", "extra": '{"path": "/"}'}
        if facts is None:
            return self._error("CONNECTION_NOT_FOUND", conn_id=msg.conn_id)
        self._control.hide(_secrets_of(facts))
        names = ("conn_type", "host", "schema", "login", "password", "port", "extra")
        fields = {name: facts[name] for name in names if facts.get(name) is not None}
        return self._comms.ConnectionResult(conn_id=msg.conn_id, **{"conn_type": "", **fields})

    def _variable(self, msg: Any) -> Any:
        """A secrets backend and the environment were asked before."""
        answer = self._control.ask("variable", {"key": msg.key})
        if answer.get("refused"):
            _log.error("The variable %r cannot be read: %s", msg.key, answer["refused"])
            return self._error("PERMISSION_DENIED", key=msg.key, message=answer["refused"])
        value = answer.get("value")
        if value is None:
            return self._error("VARIABLE_NOT_FOUND", key=msg.key)
        self._control.hide(secret_forms.of_variable(msg.key, value))
        return self._comms.VariableResult(key=msg.key, value=value)

    def _put_variable(self, msg: Any) -> Any:
        # The SDK would send null for a value of None, which is no text.
        text = "None" if msg.value is None else msg.value
        return self._write_variable(msg.key, value=text, description=msg.description)

    def _delete_variable(self, msg: Any) -> Any:
        return self._write_variable(msg.key, value=None, description=None)

    def _write_variable(self, key: str, **fields: str | None) -> Any:
        answer = self._control.ask("write_variable", {"key": key, **fields})
        if answer.get("refused"):
            raise self._refused(f"the variable {key!r} cannot be written: {answer['refused']}")
        return self._comms.OKResponse(ok=True)

    def _mask(self, msg: Any) -> None:
        self._control.hide(secret_forms.of_value(msg.value, msg.name))

    # --- XComs ---------------------------------------------------------------------------------------------------

    def _xcom(self, msg: Any) -> Any:
        index = -1 if msg.map_index is None else msg.map_index
        if index >= 0 and self._is_own_run(msg) and not msg.include_prior_dates:
            found = self._xcoms.of_index(msg.task_id, msg.key, index)
            return self._comms.XComResult(key=msg.key, value=found[0] if found else None)
        value = self._values(msg, include_prior_dates=msg.include_prior_dates).get(index)
        return self._comms.XComResult(key=msg.key, value=value)

    def _xcom_count(self, msg: Any) -> Any:
        pages = self._pages_of(msg)
        return self._comms.XComCountResponse(len=len(self._values(msg)) if pages is None else pages.total())

    def _xcom_item(self, msg: Any) -> Any:
        pages = self._pages_of(msg)
        if pages is not None:
            return self._item(pages, msg)
        values = self._in_order(msg)
        if not -len(values) <= msg.offset < len(values):
            return self._error("XCOM_NOT_FOUND", dag_id=msg.dag_id, task_id=msg.task_id, offset=msg.offset)
        return self._comms.XComSequenceIndexResult(root=values[msg.offset])

    def _xcom_slice(self, msg: Any) -> Any:
        values = self._in_order(msg, include_prior_dates=msg.include_prior_dates)
        return self._comms.XComSequenceSliceResult(root=values[slice(msg.start, msg.stop, msg.step)])

    def _item(self, pages: Pages, msg: Any) -> Any:
        at = msg.offset + pages.total() if msg.offset < 0 else msg.offset
        if not 0 <= at < pages.total():
            return self._error("XCOM_NOT_FOUND", dag_id=msg.dag_id, task_id=msg.task_id, offset=msg.offset)
        return self._comms.XComSequenceIndexResult(root=pages.value(at))

    def _pages_of(self, msg: Any) -> Pages | None:
        """Of a task in the own run: what a reducer reads item by item is asked for in pages."""
        if not self._is_own_run(msg):
            return None
        name = (msg.task_id, msg.key)
        if name not in self._pages:
            self._pages[name] = Pages(self._xcoms, *name)
        return self._pages[name]

    def _in_order(self, msg: Any, *, include_prior_dates: bool = False) -> list[Any]:
        values = self._values(msg, include_prior_dates=include_prior_dates)
        return [values[index] for index in sorted(values)]

    def _values(self, msg: Any, *, include_prior_dates: bool = False) -> dict[int, Any]:
        """map_index -> value in the XCom form, which is Airflow's own."""
        if self._is_own_run(msg) and not include_prior_dates:
            return self._xcoms.of_task(msg.task_id, msg.key)
        filters = {"dag_id": msg.dag_id, "run_id": msg.run_id, "include_prior_dates": include_prior_dates}
        return self._xcoms.ask(task_ids=[msg.task_id], key=msg.key, **filters).get(msg.task_id, {})

    def _push(self, msg: Any) -> None:
        if not self._is_own_run(msg) or msg.task_id != self._spec["task_id"]:
            raise self._refused(f"cannot write XCom {msg.key!r} of task {msg.task_id!r}: a task writes only its own")
        text = limits.xcom_text(msg.value, f"XCom {msg.key!r}")
        self._xcoms.push_text(msg.key, text)
        if msg.key == xcom.RETURN_KEY and (msg.mapped_length is not None or self._spec.get("map_index", -1) >= 0):
            self.returned = text

    # --- dag runs and task instances -----------------------------------------------------------------------------

    def _own_run(self, msg: Any) -> Any:
        if not self._is_own_run(msg):
            raise self._refused(f"only the task's own dag run can be read, not run {msg.run_id!r} of {msg.dag_id!r}")
        return self._comms.DagRunResult.from_api_response(dag_run(self._spec["dag_run"]))

    def _run_state(self, msg: Any) -> Any:
        for state in RUN_STATES:
            question = {"dag_id": msg.dag_id, "run_ids": [msg.run_id], "states": [state]}
            if self._control.ask("counts", question)["count"]:
                return self._comms.DagRunStateResult(state=state)
        raise self._refused(f"dag {msg.dag_id!r} has no run {msg.run_id!r}")

    def _previous_run(self, msg: Any) -> Any:
        own = self._spec["dag_run"]
        if msg.dag_id != own["dag_id"] or msg.logical_date != dag_run(own).logical_date:
            raise self._refused("only the run before the task's own dag run can be asked for")
        if msg.state not in (None, "success"):
            raise self._refused(f"the previous dag run can be of any state or 'success', not {msg.state!r}")
        facts = self._control.ask("previous", {"only_success": msg.state == "success"})["run"]
        return self._comms.PreviousDagRunResult(dag_run=None if facts is None else dag_run(facts))

    def _previous_success(self, msg: Any) -> Any:
        facts = self._control.ask("previous", {"only_success": True})["run"] or {}
        names = ("data_interval_start", "data_interval_end", "start_date", "end_date")
        return self._comms.PrevSuccessfulDagRunResult(**{name: facts.get(name) for name in names})

    def _first_reschedule(self, msg: Any) -> Any:
        return self._comms.TaskRescheduleStartDate(start_date=self._spec.get("first_started_at"))

    def _count_instances(self, msg: Any) -> Any:
        if msg.map_index is not None and msg.map_index >= 0:
            raise self._refused("task instances are counted over all their map indexes only")
        question = _filters(msg, "task_group_id", "logical_dates", "run_ids", "states")
        question["task_ids"] = msg.task_ids if msg.task_ids is not None or msg.task_group_id else []
        return self._comms.TICount(count=self._control.ask("counts", question)["count"])

    def _count_runs(self, msg: Any) -> Any:
        question = _filters(msg, "logical_dates", "run_ids", "states")
        return self._comms.DRCount(count=self._control.ask("counts", question)["count"])

    def _states(self, msg: Any) -> Any:
        question = _filters(msg, "map_index", "task_ids", "task_group_id", "logical_dates", "run_ids")
        return self._comms.TaskStatesResult(task_states=self._control.ask("states", question)["states"])

    def _previous_instance(self, msg: Any) -> Any:
        question = _filters(msg, "task_id", "logical_date", "map_index", "state")
        found = self._control.ask("previous_instance", question)["instance"]
        return self._comms.PreviousTIResult(task_instance=found)

    def _create_run(self, msg: Any) -> Any:
        question = {
            "dag_id": msg.dag_id,
            "run_id": msg.run_id,
            "logical_date": msg.logical_date,
            "conf": limits.json_text(msg.conf or {}, "conf", max_bytes=limits.CONF_MAX_BYTES),
            "reset": bool(msg.reset_dag_run),
            "note": getattr(msg, "note", None),
        }
        answer = self._control.ask("dag_run", question)
        if answer.get("refused"):
            raise self._refused(f"dag run {msg.run_id!r} of {msg.dag_id!r} was not created: {answer['refused']}")
        if answer.get("exists"):
            return self._error("DAGRUN_ALREADY_EXISTS", dag_id=msg.dag_id, run_id=msg.run_id)
        return self._comms.OKResponse(ok=True)

    def _dag(self, msg: Any) -> Any:
        answer = self._control.ask("dag", {"dag_id": msg.dag_id})
        owners = ", ".join(answer["owners"])
        tags = list(answer["tags"])
        return self._comms.DagResult(dag_id=msg.dag_id, is_paused=answer["is_paused"], owners=owners, tags=tags)

    def _skip_downstream(self, msg: Any) -> None:
        """Goes with the outcome, which is the next message: here both are committed together."""
        self.skips = list(msg.tasks)

    def _ask(self, msg: Any) -> None:
        names = ("subject", "body", "options", "defaults", "multiple", "params")
        users = [{"id": user.id, "name": user.name} for user in msg.assigned_users or ()]
        given = {name: getattr(msg, name) for name in names}
        self.question = {**{name: one for name, one in given.items() if one is not None}, "assigned_users": users}

    # --- what the task shows -------------------------------------------------------------------------------------

    def _rendered(self, msg: Any) -> None:
        fields = limits.shown_value(templates.redacted(msg.rendered_fields, self._control.redact))
        self._control.show({"rendered": json.dumps(fields)})

    def _map_index_label(self, msg: Any) -> None:
        self._control.show({"map_index": self._control.redact(msg.rendered_map_index)})

    # --- assets --------------------------------------------------------------------------------------------------

    def _are_active(self, msg: Any) -> Any:
        """Which asset of a name is active the daemon judges, when it makes the events."""
        return self._comms.InactiveAssetsResult(inactive_assets=[])

    def _asset(self, msg: Any) -> Any:
        wanted = {name: getattr(msg, name) for name in ("name", "uri") if hasattr(msg, name)}
        try:
            found = self.events.find(wanted)
        except LookupError as error:
            _log.error("%s", error)
            return self._error("ASSET_NOT_FOUND", **wanted)
        return self._comms.AssetResult(name=found.name, uri=found.uri, group=found.group, extra=dict(found.extra))

    def _asset_events(self, msg: Any) -> Any:
        names = {"name": "name", "uri": "uri", "alias_name": "alias"}
        question = {ours: getattr(msg, theirs) for theirs, ours in names.items() if getattr(msg, theirs, None)}
        more = {name: getattr(msg, name) for name in ("after", "before", "limit") if getattr(msg, name) is not None}
        facts = self._control.ask("asset_events", {**question, **more, "ascending": msg.ascending})["events"]
        return self._comms.AssetEventsResult(asset_events=list(map(airflow_assets.event, facts)))

    def _is_own_run(self, msg: Any) -> bool:
        own = self._spec["dag_run"]
        return bool(msg.dag_id == own["dag_id"] and msg.run_id == own["run_id"])

    _ANSWERS: Mapping[str, Callable[[Supervisor, Any], Any]] = {
        "GetConnection": _connection,
        "GetVariable": _variable,
        "PutVariable": _put_variable,
        "DeleteVariable": _delete_variable,
        "MaskSecret": _mask,
        "GetXCom": _xcom,
        "GetXComCount": _xcom_count,
        "GetXComSequenceItem": _xcom_item,
        "GetXComSequenceSlice": _xcom_slice,
        "SetXCom": _push,
        "GetDagRun": _own_run,
        "GetDagRunState": _run_state,
        "GetPreviousDagRun": _previous_run,
        "GetPrevSuccessfulDagRun": _previous_success,
        "GetTaskRescheduleStartDate": _first_reschedule,
        "GetTICount": _count_instances,
        "GetDRCount": _count_runs,
        "GetTaskStates": _states,
        "GetPreviousTI": _previous_instance,
        "TriggerDagRun": _create_run,
        "SkipDownstreamTasks": _skip_downstream,
        "GetDag": _dag,
        "CreateHITLDetailPayload": _ask,
        "SetRenderedFields": _rendered,
        "SetRenderedMapIndex": _map_index_label,
        "ValidateInletsAndOutlets": _are_active,
        "GetAssetByName": _asset,
        "GetAssetByUri": _asset,
        "GetAssetEventByAsset": _asset_events,
        "GetAssetEventByAssetAlias": _asset_events,
    }


_FINAL = frozenset({"SucceedTask", "TaskState", "RetryTask", "RescheduleTask", "DeferTask"})
_WHY_NOT = {
    "DeleteXCom": "a task cannot delete XComs",
}


def dag_run(facts: dict[str, Any], events: Sequence[dict[str, Any]] = ()) -> Any:
    """`DagRunFacts` as the SDK's `DagRun`; `events`: those that started it."""
    model = importlib.import_module("airflow.sdk.api.datamodels._generated").DagRun
    names = {name: facts[name] for name in model.model_fields if facts.get(name) is not None}
    names["conf"] = json.loads(facts.get("conf") or "{}")
    return model.model_validate({**names, "consumed_asset_events": list(map(airflow_assets.triggering, events))})


def _filters(msg: Any, *names: str) -> dict[str, Any]:
    found = {name: getattr(msg, name) for name in names}
    return {"dag_id": msg.dag_id, **{name: value for name, value in found.items() if value is not None}}


def _secrets_of(facts: dict[str, Any]) -> list[str]:
    """The password, and what the extra fields name as a secret; an extra that is no JSON is one as a whole."""
    return secret_forms.of_connection(json.dumps({name: facts.get(name) or "" for name in ("password", "extra")}))
