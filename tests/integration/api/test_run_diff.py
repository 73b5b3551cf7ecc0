"""Two runs of a DAG side by side, from rows, versions and logs."""

from __future__ import annotations

from typing import Any

import msgspec

from leoflowd.api.context import ApiContext
from leoflowd.api.own.run_diff import LOG_READ_BYTES
from leoflowd.contract.logs import TryLog
from leoflowd.store.dag_runs import fetch_dag_run
from leoflowd.store.dags import register_dag
from tests.integration.api.api_client import START, Client
from tests.integration.api.api_seed import BROKEN, DAG, DONE, OPEN, SPEC

DIFF = f"/api/v2/leoflow/runDiff/{DAG}"


async def write_log(context: ApiContext, run_id: str, task_id: str, *lines: dict[str, Any]) -> int:
    """Bytes."""
    async with context.db.api.connection() as conn:
        run = await fetch_dag_run(conn, DAG, run_id)
    log = TryLog(dag_id=DAG, run_id=run_id, dag_run_id=run.id, task_id=task_id, map_index=-1, try_number=1)
    return await context.logs.append(log, 0, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


async def test_a_failed_run_is_compared_with_the_successful_one_before_it(
    seeded: Client, api_context: ApiContext
) -> None:
    size = await write_log(
        api_context,
        BROKEN,
        "g.transform",
        {"event": "begun", "level": "info"},
        {"event": "an error is near", "level": "info"},
        {"event": "broken", "level": "error"},
    )
    found = await seeded.get(f"{DIFF}/{BROKEN}")
    assert (found["before"]["dag_run_id"], found["after"]["dag_run_id"]) == (DONE, BROKEN)
    assert (found["before"]["state"], found["after"]["state"]) == ("success", "failed")
    assert (found["version"], found["params"], found["conf"], found["tasks_left_out"]) == (None, {}, {}, 0)
    assert [(task["task_id"], task["change"]) for task in found["tasks"]] == [
        ("g.transform", "state"),
        ("load", "state"),
        ("extract", "other"),
    ]
    transform = found["tasks"][0]
    assert (transform["before"]["states"], transform["after"]["states"]) == ({"success": 1}, {"failed": 1})
    assert transform["duration_delta_s"] == 0
    assert transform["logs"]["after"] == {"bytes": size, "lines": 3, "error_lines": 1, "is_whole": True}
    assert transform["logs"]["before"] == {"bytes": 0, "lines": 0, "error_lines": 0, "is_whole": True}
    assert found["tasks"][1]["logs"]["after"] is None, "it was never tried"


async def test_any_other_run_of_the_dag_may_be_named(seeded: Client) -> None:
    found = await seeded.get(f"{DIFF}/{DONE}?other={OPEN}")
    assert (found["before"]["dag_run_id"], found["after"]["dag_run_id"]) == (OPEN, DONE)


async def test_without_a_successful_run_before_it_one_has_to_be_named(seeded: Client) -> None:
    refused = await seeded.send("GET", f"{DIFF}/{DONE}", status=409)
    assert "name another run" in refused["detail"]
    await seeded.send("GET", f"{DIFF}/{DONE}?other=nope", status=404)
    await seeded.send("GET", f"{DIFF}/nope", status=404)


async def test_another_version_another_image_and_another_default_are_told(
    seeded: Client, api_context: ApiContext
) -> None:
    params = {"n": {**SPEC.params["n"], "value": 7}}
    newer = msgspec.structs.replace(SPEC, params=params, image="registry/etl@sha256:1", source="dag = 2\n")
    async with api_context.db.api.transaction() as conn:
        await register_dag(conn, newer, now=START, fileloc="/w/dag.py", relative_fileloc="dag.py")
    run = await seeded.send("POST", f"/api/v2/dags/{DAG}/dagRuns", {"logical_date": None, "conf": {"more": [1]}})
    found = await seeded.get(f"{DIFF}/{run['dag_run_id']}")
    assert (found["before"]["version_number"], found["after"]["version_number"]) == (1, 2)
    assert (found["before"]["image"], found["after"]["image"]) == (None, "registry/etl@sha256:1")
    assert found["params"] == {"n": [4, 7]}
    assert found["conf"] == {"more": [None, [1]]}
    assert found["version"]["source"][-2:] == ["-dag = ...", "+dag = 2"]


async def test_of_a_long_log_the_beginning_is_counted(seeded: Client, api_context: ApiContext) -> None:
    line = {"event": "x" * 1000, "level": "error"}
    size = await write_log(api_context, BROKEN, "extract", *[line] * 2000)
    tasks = (await seeded.get(f"{DIFF}/{BROKEN}"))["tasks"]
    (log,) = [task["logs"]["after"] for task in tasks if task["task_id"] == "extract"]
    assert (log["bytes"], log["is_whole"]) == (size, False)
    assert log["lines"] == LOG_READ_BYTES // (size // 2000) + 1
    assert log["error_lines"] == log["lines"] - 1, "the last one is cut"
