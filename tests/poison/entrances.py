"""Where a task may send it. One line more here is one entrance more for every value.

The body of a task, in which VALUE is a poison; `ends` says how the task ends for it. Each becomes a DAG with a task per
value, so that a canary after each DAG shows that the engine goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .poisons import NESTED, POISONS, Poison


class Entrance(NamedTuple):
    name: str
    body: str
    ends: Callable[[Poison], str]


def _kept(poison: Poison) -> str:
    return "success" if poison.kept else "failed"


def _always(state: str) -> Callable[[Poison], str]:
    return lambda _: state


def _key(poison: Poison) -> str:
    return "success" if poison.is_key else "failed"


def _asked(poison: Poison) -> str:
    """A question about a text names nothing, or is refused; what is no text cannot be asked about."""
    return "success"


ASK = "try:\n    print(repr({})[:200])\nexcept Exception as error:\n    print('refused:', type(error).__name__)"

ENTRANCES = (
    Entrance("result", "return VALUE", _kept),
    Entrance("push_value", "ti.xcom_push('k', VALUE)\nassert ti.xcom_pull(ti.task_id, key='k') == VALUE", _kept),
    Entrance("push_key", "ti.xcom_push(VALUE, 1)", _key),
    Entrance("output_key", "OUTPUTS\nreturn {VALUE if isinstance(VALUE, str) else str(VALUE): 1}", _always("any")),
    Entrance("log", "print(VALUE)\nlogging.getLogger('x').warning('%s', VALUE)", _always("success")),
    Entrance("exception", "raise ValueError(VALUE)", _always("failed")),
    Entrance("skip", "raise AirflowSkipException(VALUE)", _always("skipped")),
    Entrance("exit", "sys.exit(repr(VALUE))", _always("failed")),
    Entrance("trigger_conf", "trigger(conf={'value': VALUE})", _kept),
    Entrance("trigger_run_id", ASK.format("trigger(trigger_run_id=str(VALUE))"), _asked),
    Entrance("trigger_note", ASK.format("trigger(note=str(VALUE))"), _asked),
    Entrance("pull_key", ASK.format("ti.xcom_pull('nobody', key=VALUE)"), _asked),
    Entrance("pull_run_id", ASK.format("ti.xcom_pull('nobody', run_id=VALUE)"), _asked),
    Entrance("connection_id", ASK.format("Connection.get(VALUE)"), _asked),
    Entrance("variable_key", ASK.format("Variable.get(VALUE)"), _asked),
    Entrance("variable_value", ASK.format("Variable.set('poisoned', VALUE)"), _asked),
    Entrance("control_socket", "os.write(3, json.dumps({'pull': {'request_id': 1, 'key': VALUE}}).encode() + b'\\n')",
             _always("any")),
    Entrance("poke", "POKE\nreturn PokeReturnValue(is_done=True, xcom_value=VALUE)", _kept),
    Entrance("deferral", "DEFER\nVALUE", _kept),
    Entrance("trigger_event", "EVENT\nVALUE", _always("any")),
    Entrance("question", "ASK\nVALUE", _kept),
    Entrance("bash_output", "BASH\nVALUE", _always("any")),
)  # fmt: skip

HEADER = f"""
import json, logging, os, shlex, sys
from datetime import datetime, timedelta, timezone
from airflow.sdk import DAG, BaseOperator, Connection, ParamsDict, PokeReturnValue, Variable, get_current_context, task
from airflow.exceptions import AirflowSkipException
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent

{NESTED}

def trigger(**kwargs):
    TriggerDagRunOperator(task_id="inner", trigger_dag_id="canary", **kwargs).execute(get_current_context())


class Clock(BaseTrigger):
    def __init__(self, moment):
        self.moment = moment
    def serialize(self):
        return "airflow.providers.standard.triggers.temporal.DateTimeTrigger", {{"moment": self.moment}}


class Bell(BaseTrigger):
    def __init__(self, name):
        super().__init__()
        self.name = name
    def serialize(self):
        return "dag.Bell", {{"name": self.name}}
    async def run(self):
        yield TriggerEvent(VALUES[self.name])


class Deferring(BaseOperator):
    def __init__(self, name, rings=False, **kwargs):
        super().__init__(**kwargs)
        self.name, self.rings = name, rings
    def execute(self, context):
        if self.rings:
            self.defer(trigger=Bell(self.name), method_name="go_on", timeout=timedelta.max)
        past, value = datetime(2020, 1, 1, tzinfo=timezone.utc), VALUES[self.name]
        self.defer(trigger=Clock(past), method_name="go_on", kwargs={{"value": value}}, timeout=timedelta.max)
    def go_on(self, context, event=None, value=None):
        assert self.rings or (value == VALUES[self.name] and type(value) is type(VALUES[self.name]))


class Asking(HITLOperator):
    def execute(self, context):
        value = VALUES[self.task_id]
        self.subject, self.body, self.params = str(value), repr(value)[:200], ParamsDict({{"value": value}})
        super().execute(context)
    def execute_complete(self, context, event):
        assert event["params_input"] == {{"value": VALUES[self.task_id]}}
"""


def project() -> str:
    """The text of dag.py: a DAG per entrance, a task per value."""
    values = ", ".join(f"{poison.name!r}: {poison.expression}" for poison in POISONS)
    return f"{HEADER}\nVALUES = {{{values}}}\n" + "\n".join(_dag(entrance) for entrance in ENTRANCES)


def _dag(entrance: Entrance) -> str:
    tasks = "".join(_task(entrance, poison) for poison in POISONS)
    return f"\nwith DAG({dag_id(entrance)!r}, max_active_tasks=8):\n{_indented(tasks)}"


def dag_id(entrance: Entrance) -> str:
    return f"poison_{entrance.name}"


def _task(entrance: Entrance, poison: Poison) -> str:
    first, _, rest = entrance.body.partition("\n")
    name, value = poison.name, f"VALUES[{poison.name!r}]"
    match first:
        case "DEFER" | "EVENT":
            return f"Deferring(task_id={name!r}, name={name!r}, rings={first == 'EVENT'})\n"
        case "ASK":
            soon = "response_timeout=timedelta(milliseconds=1)"
            return f"Asking(task_id={name!r}, subject='s', options=['a'], defaults='a', {soon})\n"
        case "BASH":
            code = f"import sys; sys.stdout.buffer.write(str({poison.expression}).encode('utf-8', 'surrogatepass'))"
            code = NESTED + code if "nested" in code else code
            command = f"shlex.quote(sys.executable) + ' -c ' + shlex.quote({code!r})"
            return f"BashOperator(task_id={name!r}, bash_command={command})\n"
    decorator = {"OUTPUTS": "@task(multiple_outputs=True)", "POKE": "@task.sensor(poke_interval=1)"}.get(first, "@task")
    body = (rest if first in ("OUTPUTS", "POKE") else entrance.body).replace("VALUE", value)
    return f"{decorator}\ndef {name}(ti=None):\n{_indented(body)}\n{name}()\n"


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())
