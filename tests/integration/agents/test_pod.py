"""A pod's agent and the real service: the try is asked for with its token, and nothing else brought it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import trio

from leoflowd.contract.dag_spec import XComRef
from leoflowd.core.try_tokens import try_token
from tests.conftest import PATIENCE_S
from tests.integration.agent.harness import REPOSITORY, SHIM
from tests.integration.agents.conftest import SECRET, Service
from tests.integration.scheduler.conftest import dag, task

CODE = """
from airflow.sdk import DAG, task

with DAG("d"):
    @task
    def up(): ...

    @task
    def down(value):
        return value + 1

    down(up())
"""


async def test_a_pod_runs_the_try_that_its_token_opens(service: Service, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.mkdir()
    (image / "dag.py").write_text(CODE)
    world = service.world
    run = await world.create(dag("d", task("up"), task("down", "up", xcom_refs=(XComRef(task_id="up"),))))
    await world.end((await world.launched_ids(1))["up"], return_value="41")
    try_id = (await world.launched_ids(1))["down"]
    with trio.fail_after(PATIENCE_S):
        ended = await trio.run_process(
            [sys.executable, "-m", "leoflow_agent", "pod"],
            cwd=image,
            check=False,
            capture_stderr=True,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'agent'}",
                "LEOFLOW_AGENT_ADDRESS": f"unix:{service.socket}",
                "LEOFLOW_TRY_ID": try_id,
                "LEOFLOW_TRY_TOKEN": try_token(SECRET, try_id),
                "LEOFLOW_SHIM": str(SHIM),
                "LEOFLOW_SPOOL": str(tmp_path / "spool"),
                "LEOFLOW_PYTHON": sys.executable,
            },
        )
    assert ended.returncode == 0, ended.stderr
    assert await world.states(run) == {"up": "success", "down": "success"}
    async with world.db.api.connection() as conn:
        cursor = await conn.execute(b"SELECT value FROM xcom WHERE task_id = 'down'")
        assert await cursor.fetchall() == [(42,)]
