"""A dag run as one trace, in a real receiver, whose daemon is killed in the middle of it. ADR 82."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtests.lite_process import Lite, temporary_folder, wait_until
from tests.conftest import PATIENCE_S
from tests.fakes.otlp_receiver import received, receiving

DAG = """\
import os
import time
from pathlib import Path

from airflow.sdk import DAG, task

with DAG("traced", schedule=None):
    @task
    def hold(dag_run=None):
        go, until = Path(dag_run.conf["go"]), time.monotonic() + 120
        while not go.exists():
            assert time.monotonic() < until
            time.sleep(0.1)
        return os.environ["TRACEPARENT"]

    @task.bash
    def last(held):
        return "echo $TRACEPARENT"

    last(hold())
"""


@pytest.fixture
def root() -> Iterator[Path]:
    with temporary_folder("leoflow-traces-") as folder:
        yield folder


@pytest.fixture
def receiver(root: Path) -> Iterator[tuple[str, Path]]:
    file = root / "spans"
    with receiving(file) as address:
        yield address, file


def test_one_trace_joins_all_of_a_run_over_a_kill_of_the_daemon(
    root: Path, receiver: tuple[str, Path], lite_environment: dict[str, str]
) -> None:
    url, file = receiver
    folder = root / "workspace" / "traced"
    folder.mkdir(parents=True)
    (folder / "dag.py").write_text(DAG)
    env = {**lite_environment, "OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    with Lite(workspace=root / "workspace", data_dir=root / "data", env=env) as lite:
        with lite.api() as api:
            api.wait_for_dags("traced")
            api.unpause("traced")
            run_id = api.trigger("traced", conf={"go": str(root / "go")})
            wait_until(
                lambda: {"decision", "dispatch"} <= {span["name"] for span in received(file)},
                within_s=PATIENCE_S,
                what="the spans of a task that runs",
            )
        lite.kill_daemon()
        (root / "go").touch()
        lite.start()
        with lite.api() as api:
            assert api.wait_for_run("traced", run_id)["state"] == "success"
            xcoms = api.xcoms("traced", run_id)
            names = ["agent"] * 2 + ["dag run traced"] + ["decision"] * 2 + ["dispatch"] * 2 + ["hold", "last"]
            expected = [*names, "task", "task"]
            wait_until(
                lambda: sorted(span["name"] for span in received(file)) == expected,
                within_s=PATIENCE_S,
                what="all spans of the run",
            )
    found = received(file)
    assert len({span["trace"] for span in found}) == 1
    by_id = {span["id"]: span for span in found}
    assert len(by_id) == len(found)
    for span in found:
        above = by_id[span["parent"]]["name"] if span["parent"] else None
        expected_above = {"dag run traced": {None}, "hold": {"dag run traced"}, "last": {"dag run traced"}}
        expected_above |= {"decision": {"hold", "last"}, "dispatch": {"hold", "last"}, "agent": {"hold", "last"}}
        assert above in expected_above.get(span["name"], {"agent"})
        assert span["error"] is None
    for task_id in ("hold", "last"):
        _, trace, parent, flags = xcoms[task_id]["return_value"].split("-")
        assert (trace, flags) == (found[0]["trace"], "01")
        assert by_id[parent]["name"] == "task"
        assert by_id[parent]["attributes"]["airflow.task_id"] == task_id
