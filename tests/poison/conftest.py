"""One Lite for this folder, with a project that sends poison and a canary that must run after each of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtests.lite_process import Api, Lite, temporary_folder

from .entrances import ENTRANCES, dag_id, project
from .poisons import POISONS

CANARY = """
from airflow.sdk import DAG, task

with DAG("canary", params={}):
    @task
    def sing(dag_run=None):
        return dag_run.conf.get("value")
    sing()
"""
HOLDER = """
import time
from pathlib import Path
from airflow.sdk import DAG, task

with DAG("holder"):
    for name in NAMES:
        @task(task_id=name)
        def hold(dag_run=None):
            while not Path(dag_run.conf["until"]).exists():
                time.sleep(0.05)
        hold()
""".replace("NAMES", repr([poison.name for poison in POISONS]))


@pytest.fixture(scope="module")
def lite(lite_environment: dict[str, str], artifacts: Path) -> Iterator[Lite]:
    with temporary_folder("leoflow-poison-") as root:
        workspace = root / "workspace"
        for name, text in {"poison": project(), "canary": CANARY, "holder": HOLDER}.items():
            (workspace / name).mkdir(parents=True)
            (workspace / name / "dag.py").write_text(text)
        lite = Lite(workspace=workspace, data_dir=root / "data", env=lite_environment)
        try:
            with lite:
                with lite.api() as api:
                    dag_ids = ["canary", "holder", *(dag_id(entrance) for entrance in ENTRANCES)]
                    api.wait_for_dags(*dag_ids)
                    api.unpause(*dag_ids)
                yield lite
        finally:
            (artifacts / "poison-output.txt").write_text(lite.output())


@pytest.fixture
def api(lite: Lite) -> Iterator[Api]:
    """Lite is started again if the test before ended it: that one has failed, the next ones look for themselves."""
    lite.ensure_running()
    with lite.api() as client:
        yield client
