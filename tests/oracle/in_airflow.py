"""The other side: real Airflow's scheduling code runs the same plans. Run by Airflow's interpreter, not by ours.

Reads one request a line, {"plan", "orders", "samples"}, and answers with {"ends": [...], "ups": {...}}: the end state
under each of these orders, then under `samples` random ones. An order is kept as far as Airflow lets: at each step the
next of it that is scheduled ends. `DagRun.update_state` and `schedule_tis` decide, on a SQLite file of its own.
"""

from __future__ import annotations

import json
import logging
import os
import random
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

HOME = tempfile.mkdtemp(prefix="oracle-")
os.environ.update(
    AIRFLOW_HOME=HOME,
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__UNIT_TEST_MODE="False",
    AIRFLOW__LOGGING__LOGGING_LEVEL="CRITICAL",
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{HOME}/oracle.db",
)
sys.path[0] = str(Path(__file__).parent)
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever Airflow prints is no answer

from airflow import settings  # noqa: E402
from airflow.models import import_all_models  # noqa: E402
from airflow.models.base import Base  # noqa: E402
from airflow.models.dagbundle import DagBundleModel  # noqa: E402
from airflow.models.serialized_dag import SerializedDagModel  # noqa: E402
from airflow.models.taskinstance import TaskInstance  # noqa: E402
from airflow.models.taskmap import TaskMap  # noqa: E402
from airflow.models.xcom import XComModel  # noqa: E402
from airflow.providers.standard.operators.empty import EmptyOperator  # noqa: E402
from airflow.sdk import DAG, BaseOperator, task_group  # noqa: E402
from airflow.sdk.bases.skipmixin import SkipMixin  # noqa: E402
from airflow.sdk.definitions._internal.contextmanager import DagContext, TaskGroupContext  # noqa: E402
from airflow.serialization.definitions.dag import SerializedDAG  # noqa: E402
from airflow.serialization.serialized_objects import LazyDeserializedDAG  # noqa: E402
from airflow.utils.db import synchronize_log_template  # noqa: E402
from airflow.utils.state import DagRunState, TaskInstanceState  # noqa: E402
from airflow.utils.types import DagRunTriggeredByType, DagRunType  # noqa: E402
from plans import choice_of, outcome_of, pause_of, returned_by, sources_of  # noqa: E402
from sqlalchemy import event, update  # noqa: E402

STEPS_MAX = 500
MAY_GO_ON = (TaskInstanceState.SCHEDULED, TaskInstanceState.DEFERRED)
NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


class Work(BaseOperator):
    def __init__(self, *, x=None, **kwargs):
        super().__init__(**kwargs)
        self.x = x


class Decide(Work, SkipMixin):
    inherits_from_skipmixin = True


# --- the DAG -----------------------------------------------------------------------------------------------------


def dag_of(plan, dag_id):
    made = {}
    with DAG(dag_id, schedule=None, start_date=NOW - timedelta(days=9)) as dag:
        groups = set()
        for task in plan["tasks"]:
            if task["group"] is None:
                made[task["id"]] = operator(task, made)
            elif task["group"] not in groups:
                groups.add(task["group"])
                make_group(plan, task["group"], made)
        for task in plan["tasks"]:
            for up in task["ups"]:
                made[up] >> made[task["id"]]
        for task in plan["tasks"]:
            if task["kind"] in ("setup", "teardown"):
                setattr(made[task["id"]], f"is_{task['kind']}", True)
    return dag


def make_group(plan, group_id, made):
    inside = [task for task in plan["tasks"] if task["group"] == group_id]

    @task_group(group_id=group_id, prefix_group_id=False)
    def group(x):
        for task in inside:
            made[task["id"]] = operator(task, made)
            for up in task["ups"]:
                if up in {one["id"] for one in inside}:
                    made[up] >> made[task["id"]]

    group.expand(x=items(plan["groups"][group_id], made))


def operator(task, made):
    cls = {"empty": EmptyOperator, "branch": Decide, "short": Decide}.get(task["kind"], Work)
    settings = {
        "task_id": task["id"],
        "trigger_rule": task["rule"],
        "retries": task["retries"],
        "retry_delay": timedelta(0),
    }
    if task["mapping"] is None:
        return cls(**settings)
    return cls.partial(**settings).expand(x=items(task["mapping"], made))


def items(mapping, made):
    if "zip" in mapping:
        first, second = (items(part, made) for part in mapping["zip"])
        return first.zip(second)
    return made[mapping["task"]].output if "task" in mapping else list(range(mapping["length"]))


# --- its runs ----------------------------------------------------------------------------------------------------


def run(plan, dag, run_id, order, chance, session):
    """With an order, passes of the scheduler go on until nothing changes; else their number is random, at least one."""
    dag_run = dag.create_dagrun(
        run_id=run_id,
        run_after=NOW,
        run_type=DagRunType.MANUAL,
        triggered_by=DagRunTriggeredByType.TEST,
        state=DagRunState.RUNNING,
        start_date=NOW,
        session=session,
    )
    tasks = {task["id"]: task for task in plan["tasks"]}
    waiting = list(map(tuple, order))
    paused = set()
    for _ in range(STEPS_MAX):
        passes(dag_run, session, None if order is not None and chance is None else chance)
        if dag_run.state != DagRunState.RUNNING:
            break
        ready = sorted(
            (ti for ti in dag_run.get_task_instances(session=session) if ti.state in MAY_GO_ON),
            key=lambda ti: (ti.task_id, ti.map_index),
        )
        if not ready:
            break
        ti = the_next(ready, waiting) if chance is None else chance.choice(ready)
        if ti.state == TaskInstanceState.DEFERRED:
            write(ti, TaskInstanceState.SCHEDULED, session)  # its event came
        elif not pause(plan, tasks[ti.task_id], ti, paused, session):
            end_a_try(plan, tasks[ti.task_id], ti, session)
        session.commit()
    found = {"": DagRunState(dag_run.state).value}
    for ti in dag_run.get_task_instances(session=session):
        found[f"{ti.task_id}[{ti.map_index}]"] = TaskInstanceState(ti.state).value if ti.state else "none"
    return found


def passes(dag_run, session, chance):
    before = None
    for _ in range(50):
        session.expire_all()
        schedulable, _callback = dag_run.update_state(session=session, execute_callbacks=False)
        dag_run.schedule_tis(schedulable, session=session)
        session.commit()
        if dag_run.state != DagRunState.RUNNING:
            return
        session.expire_all()
        now = sorted((ti.task_id, ti.map_index, str(ti.state)) for ti in dag_run.get_task_instances(session=session))
        is_live = any(state.lower().endswith("scheduled") for _, _, state in now)
        if now == before or (chance is not None and is_live and chance.random() < 0.5):
            return
        before = now


def the_next(ready, waiting):
    by_key = {(ti.task_id, ti.map_index): ti for ti in ready}
    for at, key in enumerate(waiting):
        if key in by_key:
            del waiting[at]
            return by_key[key]
    return ready[0]


def pause(plan, task, ti, paused, session):
    """Does the try give its process back, once, before it ends?"""
    key = ti.task_id, ti.map_index, ti.try_number
    kind = pause_of(plan, task, ti.map_index, ti.try_number)
    if kind is None or key in paused:
        return False
    paused.add(key)
    write(ti, {"deferred": "deferred", "reschedule": "up_for_reschedule"}[kind], session)
    return True


def end_a_try(plan, task, ti, session):
    """What the API server writes for a try that ended so."""
    outcome = outcome_of(plan, task, ti.map_index, ti.try_number)
    if outcome == "success":
        push(plan, task, ti, session)
    elif outcome == "failed" and task["retries"] and ti.try_number <= ti.max_tries:
        outcome = "up_for_retry"
    write(ti, "failed" if outcome == "failed_for_good" else outcome, session)


def write(ti, state, session):
    end = datetime.now(UTC) - timedelta(seconds=1)
    session.execute(
        update(TaskInstance)
        .where(TaskInstance.id == ti.id)
        .values(state=TaskInstanceState(state), start_date=end, end_date=end)
        .execution_options(synchronize_session=False)
    )


def push(plan, task, ti, session):
    key = {name: getattr(ti, name) for name in ("run_id", "task_id", "dag_id", "map_index")}
    returned = returned_by(plan, task, ti.map_index) if task["id"] in sources_of(plan) else None
    if returned is not None:
        if ti.map_index < 0:
            session.merge(TaskMap(**key, length=len(returned), keys=None))
        XComModel.set(key="return_value", value=returned, session=session, **key)
    choice = choice_of(plan, task, ti.map_index)
    if choice is None:
        return
    XComModel.set(key="skipmixin_key", value=choice[0], session=session, **key)
    map_index = ti.map_index if task["kind"] == "branch" else -1
    session.execute(
        update(TaskInstance)
        .where(
            TaskInstance.dag_id == ti.dag_id,
            TaskInstance.run_id == ti.run_id,
            TaskInstance.task_id.in_(choice[1]),
            TaskInstance.map_index == map_index,
            TaskInstance.state.is_(None) | TaskInstance.state.not_in(["running", "success", "failed"]),
        )
        .values(state=TaskInstanceState.SKIPPED, start_date=NOW, end_date=NOW)
        .execution_options(synchronize_session=False)
    )


# --- requests ----------------------------------------------------------------------------------------------------


def answer(request, number, session):
    plan = request["plan"]
    dag = dag_of(plan, f"oracle{number}")
    dag.validate()
    lazy = LazyDeserializedDAG.from_dag(dag)
    SerializedDAG.bulk_write_to_db("oracle", None, [lazy], session=session)
    SerializedDagModel.write_dag(lazy, bundle_name="oracle", session=session)
    session.commit()
    stored = SerializedDagModel.get_dag(dag.dag_id, session=session)
    ends = [run(plan, stored, f"o{i}", order, None, session) for i, order in enumerate(request["orders"])]
    ends += [run(plan, stored, f"s{i}", [], random.Random(i), session) for i in range(request["samples"])]
    return {"ends": ends, "ups": {one: sorted(stored.get_task(one).upstream_task_ids) for one in stored.task_ids}}


def main():
    logging.disable(logging.CRITICAL)

    @event.listens_for(settings.engine, "connect")
    def _fast(connection, _record):
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA journal_mode=MEMORY")

    import_all_models()
    Base.metadata.create_all(settings.engine)
    session = settings.Session()
    synchronize_log_template(session=session)
    session.add(DagBundleModel(name="oracle"))
    session.commit()
    for number, line in enumerate(sys.stdin):
        try:
            found = answer(json.loads(line), number, session)
        except Exception as error:  # the other side says of which plan
            session.rollback()
            for stack in (DagContext, TaskGroupContext):  # where building the DAG was left
                stack._context.clear()
            found = {"error": f"{type(error).__name__}: {error}"}
        ANSWERS.write(json.dumps(found) + "\n")
        ANSWERS.flush()


if __name__ == "__main__":
    main()
