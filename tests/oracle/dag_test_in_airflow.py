"""The other side of `examples`: `dag.test()` of real Airflow. Run by Airflow's interpreter, not by ours.

`dag_test_in_airflow.py FOLDER` reads lines, and answers each with one of JSON: the name of a file in the folder with
the ids of its DAGs, the id of such a DAG with {"state", "task_instances"} or {"error"}. Instances are named
`task_id[map_index]`, and have a state and XComs.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HOME = tempfile.mkdtemp(prefix="oracle-")
FOLDER = Path(sys.argv[1]).resolve()
os.environ.update(
    AIRFLOW_HOME=HOME,
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__DAGS_FOLDER=str(FOLDER),
    AIRFLOW__API_AUTH__JWT_SECRET="nobody asks from outside: this is long enough for one process",
    AIRFLOW__CORE__UNIT_TEST_MODE="False",
    AIRFLOW__LOGGING__LOGGING_LEVEL="CRITICAL",
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{HOME}/oracle.db",
)
sys.path[0] = str(FOLDER)
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever Airflow and the tasks print is no answer

from airflow import settings  # noqa: E402
from airflow.models import import_all_models  # noqa: E402
from airflow.models.base import Base  # noqa: E402
from airflow.models.pool import Pool  # noqa: E402
from airflow.models.taskinstance import TaskInstance  # noqa: E402
from airflow.models.xcom import XComModel  # noqa: E402
from airflow.sdk import DAG  # noqa: E402
from airflow.sdk.bases.xcom import BaseXCom  # noqa: E402
from airflow.sdk.definitions._internal.contextmanager import DagContext  # noqa: E402
from airflow.sdk.execution_time import supervisor  # noqa: E402
from airflow.utils.db import synchronize_log_template  # noqa: E402
from sqlalchemy import select  # noqa: E402


def main() -> None:
    logging.disable(logging.CRITICAL)
    import_all_models()
    Base.metadata.create_all(settings.engine)
    with settings.Session() as session:
        synchronize_log_template(session=session)
        session.add(Pool(pool="default_pool", slots=128, include_deferred=False))
        session.commit()
    share_one_api()
    dags: dict[str, DAG] = {}
    for line in sys.stdin:
        name = line.strip()
        try:
            answer: Any = tested(dags[name]) if name in dags else loaded(FOLDER / name, dags)
        except Exception as error:  # the other side says of which DAG
            answer = {"error": f"{type(error).__name__}: {error}"}
        ANSWERS.write(json.dumps(answer) + "\n")
        ANSWERS.flush()
    os._exit(0)  # threads of Airflow's would hold us


def share_one_api() -> None:
    """Airflow makes one for each task, starts it in a thread, and does not wait until it is there."""
    api = supervisor.in_process_api_server()
    assert api.transport
    while "svcs_registry" not in api.app.state._state:
        time.sleep(0.05)
    supervisor.in_process_api_server = lambda: api


def loaded(file: Path, dags: dict[str, DAG]) -> list[str]:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    DagContext.current_autoregister_module_name = file.stem
    DagContext.autoregistered_dags.clear()
    spec.loader.exec_module(module)
    found = {value.dag_id: value for value in vars(module).values() if isinstance(value, DAG)}
    found |= {dag.dag_id: dag for dag, _ in DagContext.autoregistered_dags}
    dags.update(found)
    return sorted(found)


def tested(dag: DAG) -> dict[str, Any]:
    run = dag.test()
    with settings.Session() as session:
        query = select(TaskInstance).where(TaskInstance.dag_id == dag.dag_id, TaskInstance.run_id == run.run_id)
        instances: dict[str, Any] = {
            f"{ti.task_id}[{ti.map_index}]": {"state": ti.state and str(ti.state), "xcoms": {}}
            for ti in session.scalars(query)
        }
        of_run = (XComModel.dag_id == dag.dag_id, XComModel.run_id == run.run_id)
        for xcom in session.scalars(select(XComModel).where(*of_run)):
            value = BaseXCom.deserialize_value(
                xcom
            )  # as a task reads it; the model's own reads the text "1" as a number
            instances[f"{xcom.task_id}[{xcom.map_index}]"]["xcoms"][xcom.key] = shown(value)
    return {"state": str(run.state), "task_instances": instances}


def shown(value: Any) -> Any:
    """As JSON; what is none, by its class and text."""
    return json.loads(json.dumps(value, default=lambda one: f"{type(one).__name__}: {one}"))


if __name__ == "__main__":
    main()
