"""`leoflow schedule`: of a file, and of the server's DAGs."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx

FILE = """
from datetime import datetime, timezone
from airflow.sdk import DAG
from airflow.operators.empty import EmptyOperator

with DAG("d", schedule="0 6 * * *", start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
    EmptyOperator(task_id="a")
"""


def test_a_file_is_compiled_and_its_runs_are_shown(leoflow, tmp_path: Path) -> None:
    (tmp_path / "dag.py").write_text(FILE)
    asked = ("schedule", str(tmp_path), "--python", sys.executable, "--from", "2026-03-01T07:00", "--next", "2")
    document = leoflow("-o", "json", *asked).document
    assert [run["run_after"] for run in document["runs"]] == ["2026-03-02T06:00:00Z", "2026-03-03T06:00:00Z"]
    shown = leoflow(*asked, "--zone", "Asia/Tokyo").out
    assert "d: 0 6 * * * (At 06:00)" in shown
    assert "2026-03-02 15:00:00+09:00" in shown
    refused = leoflow(*asked, "--zone", "Nowhere")
    assert (refused.code, "'Nowhere'" in refused.err) == (3, True)


def test_what_is_no_path_is_asked_of_the_server(leoflow, server) -> None:
    answer = {"dag_id": "x y", "summary": None, "description": "", "zone": "UTC", "runs": [], "notes": ["never"]}
    requests = server(lambda request: httpx.Response(200, json=answer))
    assert leoflow("schedule", "x y", "--next", "3", "--from", "2026-03-01").out == "x y: no schedule\nnever\n"
    assert requests[0].url.path == "/api/v2/leoflow/schedule/x y"
    assert dict(requests[0].url.params) == {"next": "3", "from": "2026-03-01T00:00:00+00:00"}


def test_a_moment_that_is_none_is_refused(leoflow) -> None:
    refused = leoflow("schedule", "x", "--from", "tomorrow")
    assert (refused.code, "no ISO date" in refused.err) == (3, True)
