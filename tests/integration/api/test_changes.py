"""Trigger, pause, clear, mark, note, delete, XCom, logs, artifacts: what a write does and what it answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import pytest
from quart_trio import QuartTrio

from leoflowd.api.context import ApiContext
from leoflowd.contract import dag_spec
from leoflowd.contract.dag_spec import DagSpec, TaskSpec
from leoflowd.store.dags import set_paused
from tests.integration.api.api_client import Client
from tests.integration.api.api_seed import BROKEN, DAG, DONE, OPEN, SPEC

D = f"/api/v2/dags/{DAG}"
RUNS = f"{D}/dagRuns"
CLEAR = f"{D}/clearTaskInstances"


def _tasks(answer: dict[str, Any]) -> set[tuple[str, str]]:
    return {(row["dag_run_id"], row["task_id"]) for row in answer["task_instances"]}


async def _states(client: Client, run_id: str) -> dict[str, str | None]:
    rows = (await client.get(f"{RUNS}/{run_id}/taskInstances"))["task_instances"]
    return {row["task_id"]: row["state"] for row in rows}


async def test_a_trigger_without_logical_date_may_be_repeated(seeded: Client) -> None:
    body = {"logical_date": None, "conf": {"n": 2, "free": True}, "note": "hi", "partition_key": None}
    first = await seeded.send("POST", RUNS, body)
    second = await seeded.send("POST", RUNS, body)
    assert first["dag_run_id"] != second["dag_run_id"]
    assert (first["state"], first["conf"], first["note"]) == ("queued", {"n": 2, "free": True}, "hi")
    assert (first["triggered_by"], first["triggering_user_name"]) == ("rest_api", "admin")


async def test_the_ui_is_known_by_its_referer(seeded: Client) -> None:
    answer = await seeded.call("POST", RUNS, json={"logical_date": None}, headers={"Referer": "http://localhost/"})
    assert msgspec.json.decode(await answer.get_data(as_text=False))["triggered_by"] == "ui"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"logical_date": None, "more": 1}, 422),
        ({"logical_date": "2026-01-01T00:00:00"}, 422),
        ({"logical_date": None, "conf": {"n": 0}}, 400),
        ({"logical_date": None, "conf": {"n": "x"}}, 400),
        ({"logical_date": None, "conf": []}, 422),
        ({"logical_date": None, "dag_run_id": "a/b"}, 400),
        ({"logical_date": None, "dag_run_id": DONE}, 409),
        ({"logical_date": "2026-11-19T03:00:00Z"}, 409),
        ({"logical_date": None, "partition_key": "p" * 251}, 422),
        ({"logical_date": None, "data_interval_start": "2026-11-19T03:00:00Z"}, 422),
    ],
)
async def test_a_wrong_trigger_is_refused(seeded: Client, body: dict[str, Any], status: int) -> None:
    await seeded.send("POST", RUNS, body, status=status)


async def test_pausing_is_seen_and_logged(seeded: Client) -> None:
    assert (await seeded.send("PATCH", D, {"is_paused": True}))["is_paused"] is True
    events = (await seeded.get(f"/api/v2/eventLogs?dag_id={DAG}&order_by=-event_log_id"))["event_logs"]
    assert (events[0]["event"], events[0]["owner"], events[0]["extra"]) == ("patch_dag", "admin", '{"is_paused": true}')


async def test_a_clear_is_a_dry_run_of_failed_ones_by_default(seeded: Client) -> None:
    before = await _states(seeded, BROKEN)
    answer = await seeded.send("POST", CLEAR, {"dag_run_id": BROKEN})
    assert _tasks(answer) == {(BROKEN, "g.transform"), (BROKEN, "load")}
    assert await _states(seeded, BROKEN) == before


async def test_a_clear_resets_tries_and_run(seeded: Client) -> None:
    await seeded.send("POST", CLEAR, {"dag_run_id": BROKEN, "dry_run": False})
    assert await _states(seeded, BROKEN) == {"extract": "success", "g.transform": None, "load": None}
    assert (await seeded.get(f"{RUNS}/{BROKEN}"))["state"] == "queued"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"task_ids": [["g.transform", -1]]}, {"g.transform"}),
        ({"task_ids": ["g.transform"], "include_downstream": True}, {"g.transform", "load"}),
        ({"task_ids": [["g.transform", -1]], "include_upstream": True}, {"extract", "g.transform"}),
        ({"task_ids": [["g.transform", 5]]}, set()),
        ({"only_running": True}, set()),
    ],
)
async def test_a_clear_takes_the_named_tasks_and_their_relatives(
    seeded: Client, body: dict[str, Any], expected: set[str]
) -> None:
    answer = await seeded.send("POST", CLEAR, {"dag_run_id": DONE, "only_failed": False, **body})
    assert {task for _, task in _tasks(answer)} == expected


async def test_a_clear_reaches_into_past_and_future(seeded: Client) -> None:
    body = {"task_ids": ["extract"], "only_failed": False, "dag_run_id": BROKEN}
    assert _tasks(await seeded.send("POST", CLEAR, body | {"include_past": True})) == {
        (DONE, "extract"),
        (BROKEN, "extract"),
    }
    assert (BROKEN, "extract") in _tasks(await seeded.send("POST", CLEAR, body | {"include_future": True}))
    await seeded.send("POST", CLEAR, body | {"dag_run_id": OPEN, "include_past": True}, status=400)


async def test_a_clear_can_refuse_to_stop_a_running_task(seeded: Client) -> None:
    body = {"dag_run_id": OPEN, "only_failed": False, "dry_run": False, "prevent_running_task": True}
    await seeded.send("POST", CLEAR, body, status=409)
    await seeded.send("POST", CLEAR, body | {"prevent_running_task": False})
    assert (await _states(seeded, OPEN))["extract"] == "restarting"


async def test_a_mark_touches_others_only_when_asked_and_lets_the_rest_go_on(seeded: Client) -> None:
    task = f"{RUNS}/{BROKEN}/taskInstances/g.transform"
    dry = await seeded.send("PATCH", f"{task}/dry_run", {"new_state": "success"})
    assert _tasks(dry) == {(BROKEN, "g.transform")}
    marked = await seeded.send("PATCH", task, {"new_state": "success", "note": "by hand"})
    assert marked["task_instances"][0]["state"] == "success"
    assert marked["task_instances"][0]["note"] == "by hand"
    assert await _states(seeded, BROKEN) == {"extract": "success", "g.transform": "success", "load": None}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"{RUNS}/{DONE}", {"note": "mine"}),
        (f"{RUNS}/{DONE}/taskInstances/extract", {"note": "mine"}),
        ("/api/v2/pools/default_pool", {"slots": 3}),
    ],
)
async def test_an_update_mask_of_no_field_is_refused(seeded: Client, path: str, body: dict[str, Any]) -> None:
    refused = await seeded.send("PATCH", f"{path}?update_mask=notes", body, status=422)
    assert refused["detail"][0]["loc"] == ["query", "update_mask"]


async def test_a_bulk_update_mask_of_no_field_is_refused(seeded: Client) -> None:
    update = {"action": "update", "entities": [{"name": "default_pool", "slots": 3}], "update_mask": ["slot"]}
    told = await seeded.send("PATCH", "/api/v2/pools", {"actions": [update]})
    assert told["update"]["success"] == []
    assert told["update"]["errors"][0]["error"].startswith("slot is no field; there are name, slots")


async def test_update_mask_limits_a_patch(seeded: Client) -> None:
    answer = await seeded.send("PATCH", f"{RUNS}/{DONE}?update_mask=note", {"state": "failed", "note": "only me"})
    assert (answer["state"], answer["note"]) == ("success", "only me")


async def test_a_run_is_cleared_marked_and_deleted(seeded: Client) -> None:
    run = f"{RUNS}/{DONE}"
    assert (await seeded.send("POST", f"{run}/clear", {}))["total_entries"] == 3
    assert (await seeded.send("POST", f"{run}/clear", {"only_new": True}))["task_instances"] == []
    assert (await seeded.send("PATCH", run, {"state": "failed"}))["state"] == "failed"
    assert (await seeded.send("POST", f"{run}/clear", {"dry_run": False}))["state"] == "queued"
    assert await seeded.send("DELETE", run, status=204) is None
    await seeded.send("GET", run, status=404)


async def test_deleting_a_dag_answers_null(seeded: Client) -> None:
    answer = await seeded.call("DELETE", D)
    assert (answer.status_code, await answer.get_data(as_text=False)) == (200, b"null")
    await seeded.send("GET", D, status=404)


async def test_favorites_are_per_user(seeded: Client) -> None:
    await seeded.send("POST", f"{D}/favorite", status=204)
    assert (await seeded.get(f"{D}/details"))["is_favorite"] is True
    await seeded.send("POST", f"{D}/unfavorite", status=204)
    await seeded.send("POST", f"{D}/unfavorite", status=409)


async def test_an_xcom_value_comes_native_or_as_text(seeded: Client) -> None:
    entries = f"{RUNS}/{DONE}/taskInstances/extract/xcomEntries"
    assert (await seeded.get(f"{entries}/return_value"))["value"] == {"rows": [1, None]}
    assert (await seeded.get(f"{entries}/return_value?stringify=true"))["value"] == '{"rows": [1, null]}'
    assert (await seeded.get(f"{entries}/text?stringify=true"))["value"] == "plain"
    await seeded.send("POST", entries, {"key": "text", "value": 1}, status=409)
    await seeded.send("POST", entries, {"key": "big", "value": "x" * 300_000}, status=422)
    await seeded.send("POST", entries, {"key": "object", "value": [{"__classname__": "my.Thing"}]}, status=422)
    await seeded.send("DELETE", f"{entries}/text", status=204)
    await seeded.send("GET", f"{entries}/text", status=404)


async def test_links_that_the_version_knows_have_their_names_and_are_null_until_they_are_pushed(
    seeded: Client,
) -> None:
    linked = TaskSpec(
        task_id="t", operator="Start", extra_links=("The job", "Bill"), extra_link_keys=("_link_Job", "bill_of_it")
    )
    spec = DagSpec(dag_id="linked", tasks=(linked,), bundle_digest="1" * 64)
    await seeded.send("POST", "/api/v2/leoflow/dags", msgspec.to_builtins(spec), status=201)
    run = await seeded.send("POST", "/api/v2/dags/linked/dagRuns", {"logical_date": None})
    task = f"/api/v2/dags/linked/dagRuns/{run['dag_run_id']}/taskInstances/t"
    assert (await seeded.get(f"{task}/links"))["extra_links"] == {"The job": None, "Bill": None}
    for key, value in (("_link_Job", "https://x/1"), ("bill_of_it", "https://x/2"), ("_link_OtherLink", "https://x/3")):
        await seeded.send("POST", f"{task}/xcomEntries", {"key": key, "value": value}, status=201)
    pushed = {"The job": "https://x/1", "Bill": "https://x/2", "Other Link": "https://x/3"}
    assert await seeded.get(f"{task}/links") == {"extra_links": pushed, "total_entries": 3}


async def test_links_that_an_operator_pushed_are_shown(seeded: Client) -> None:
    task = f"{RUNS}/{DONE}/taskInstances/extract"
    await seeded.send("POST", f"{task}/xcomEntries", {"key": "_link_JobLink", "value": "https://x/1"}, status=201)
    await seeded.send("POST", f"{task}/xcomEntries", {"key": "alinkb", "value": "https://x/2"}, status=201)
    assert await seeded.get(f"{task}/links") == {"extra_links": {"Job Link": "https://x/1"}, "total_entries": 1}
    assert await seeded.get(f"{task}/links?try_number=1") == await seeded.get(f"{task}/links")
    await seeded.send("GET", f"{task}/links?try_number=9", status=404)
    await seeded.send("GET", f"{task}/links?try_number=first", status=422)


async def test_a_log_holds_back_the_half_written_line(seeded: Client) -> None:
    url = f"{RUNS}/{OPEN}/taskInstances/extract/logs/1"
    answer = await seeded.call("GET", url, headers={"Accept": "application/x-ndjson"})
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    body = await answer.get_data(as_text=False)
    events = [msgspec.json.decode(line)["event"] for line in body.splitlines()]
    assert events == ["::group::Log message source details", "::endgroup::", "hello"]
    assert body.endswith(b"\n")
    assert [line["event"] for line in (await seeded.get(url))["content"]] == events


async def test_a_log_says_why_it_is_empty_and_what_is_unknown(seeded: Client) -> None:
    content = (await seeded.get(f"{RUNS}/{BROKEN}/taskInstances/load/logs/0"))["content"]
    assert "upstream_failed" in content[-1]["event"]
    for path, accept, status in (
        ("extract/logs/7", "*/*", 404),
        ("nope/logs/1", "*/*", 404),
        ("extract/logs/1", "text/plain", 406),
    ):
        answer = await seeded.call("GET", f"{RUNS}/{OPEN}/taskInstances/{path}", headers={"Accept": accept})
        assert answer.status_code == status


async def test_executor_config_is_shown_as_airflow_shows_it(seeded: Client) -> None:
    instances = f"{RUNS}/{OPEN}/taskInstances"
    assert (await seeded.get(f"{instances}/load"))["executor_config"] == "{'pod': {'cpu': 1}}"
    for path in (instances, f"{RUNS}/~/taskInstances?cursor="):
        found = {one["task_id"]: one["executor_config"] for one in (await seeded.get(path))["task_instances"]}
        assert (found["load"], found["extract"]) == ("{'pod': {'cpu': 1}}", "{}")
    (one,) = (await seeded.get(f"{instances}/load/tries"))["task_instances"]
    assert one["executor_config"] == "{'pod': {'cpu': 1}}"


async def test_unrendered_fields_are_shown_until_the_task_reports_them(seeded: Client) -> None:
    task = await seeded.get(f"{RUNS}/{OPEN}/taskInstances/load/-1")
    assert task["rendered_fields"] == {"sql": "{{ ds }}"}
    assert (await seeded.get(f"{RUNS}/{OPEN}/taskInstances/extract"))["rendered_fields"] == {"a": 1}


async def test_an_unfinished_task_says_what_blocks_it(seeded: Client) -> None:
    blocked = await seeded.get(f"{RUNS}/{OPEN}/taskInstances/load/dependencies")
    assert any("g.transform" in dependency["reason"] for dependency in blocked["dependencies"])
    explained = await seeded.get(f"/api/v2/leoflow/explain/{DAG}/{OPEN}/load")
    assert "load" in explained["because"][0]


async def test_waiting_ends_with_the_results(seeded: Client) -> None:
    answer = await seeded.call("GET", f"{RUNS}/{DONE}/wait?interval=1&result=extract&result=load")
    line = msgspec.json.decode(await answer.get_data(as_text=False))
    assert line == {"state": "success", "results": {"extract": {"rows": [1, None]}, "load": None}}
    await seeded.send("GET", f"{RUNS}/{DONE}/wait", status=422)


async def test_pushing_an_artifact_registers_it_once(seeded: Client) -> None:
    document = dag_spec.encode_canonical(msgspec.structs.replace(SPEC, dag_id="pushed"))
    statuses = []
    for _ in range(2):
        answer = await seeded.call("POST", "/api/v2/leoflow/dags", data=document)
        statuses.append(answer.status_code)
    assert statuses == [201, 200]
    assert (await seeded.get("/api/v2/dags/pushed/details"))["dag_run_timeout"] == "PT5400S"
    await seeded.send("POST", "/api/v2/leoflow/dags", {"dag_id": "x", "tasks": [], "odd": 1}, status=422)


NEEDS_A_POOL = dag_spec.encode_canonical(
    DagSpec(dag_id="hungry", tasks=(TaskSpec(task_id="a", operator="EmptyOperator", pool="gpu"),))
)


@pytest.mark.parametrize("query", ["", "?canary=50"])
async def test_pushing_says_which_pools_do_not_exist(seeded: Client, query: str) -> None:
    bare = dag_spec.encode_canonical(DagSpec(dag_id="hungry", tasks=(TaskSpec(task_id="a", operator="EmptyOperator"),)))
    pushed = await seeded.call("POST", "/api/v2/leoflow/dags", data=bare)
    assert (await pushed.get_json())["warnings"] == []
    answer = await seeded.call("POST", f"/api/v2/leoflow/dags{query}", data=NEEDS_A_POOL)
    (warning,) = (await answer.get_json())["warnings"]
    assert warning.startswith("pool 'gpu' does not exist, and these tasks wait for it: a; create it")
    await seeded.send("POST", "/api/v2/pools", {"name": "gpu", "slots": 1}, status=201)
    answer = await seeded.call("POST", f"/api/v2/leoflow/dags{query}", data=NEEDS_A_POOL)
    assert (await answer.get_json())["warnings"] == []


async def test_a_check_says_what_pushing_would_and_keeps_nothing(
    seeded: Client, app: QuartTrio, api_context: ApiContext, tmp_path: Path
) -> None:
    config = msgspec.structs.replace(api_context.config, bundles=tmp_path / "none")  # where the code is not
    app.config["LEOFLOW_CONTEXT"] = dataclasses.replace(api_context, config=config)
    for _ in range(2):
        answer = await seeded.call("POST", "/api/v2/leoflow/dags/check", data=NEEDS_A_POOL)
        told = await answer.get_json()
        assert told.pop("warnings")[0].startswith("pool 'gpu' does not exist")
        assert told == {"dag_id": "hungry", "created": True, "code_is_here": False, "signatures": "ignored"}
    app.config["LEOFLOW_CONTEXT"] = api_context  # of a cluster, where images are
    answer = await seeded.call("POST", "/api/v2/leoflow/dags/check", data=NEEDS_A_POOL)
    assert (await answer.get_json())["code_is_here"]
    assert (await seeded.call("GET", "/api/v2/dags/hungry")).status_code == 404
    assert (await seeded.get("/api/v2/dagWarnings?dag_id=hungry"))["dag_warnings"] == []
    await seeded.send("POST", "/api/v2/leoflow/dags/check", {"dag_id": "x", "tasks": [], "odd": 1}, status=422)


async def test_an_artifact_whose_code_is_not_here_is_refused(
    seeded: Client, app: QuartTrio, api_context: ApiContext, tmp_path: Path
) -> None:
    config = msgspec.structs.replace(api_context.config, bundles=tmp_path)
    app.config["LEOFLOW_CONTEXT"] = dataclasses.replace(api_context, config=config)
    document = dag_spec.encode_canonical(msgspec.structs.replace(SPEC, dag_id="pushed", bundle_digest="c" * 64))
    answer = await seeded.call("POST", "/api/v2/leoflow/dags", data=document)
    assert answer.status_code == 409
    assert "put the project's folder there" in (await answer.get_json())["detail"]
    (tmp_path / ("c" * 64)).mkdir()
    assert (await seeded.call("POST", "/api/v2/leoflow/dags", data=document)).status_code == 201


async def test_a_long_answer_is_compressed(seeded: Client) -> None:
    answer = await seeded.call("GET", f"{RUNS}/~/taskInstances", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"


async def test_a_bug_shows_none_of_its_text(seeded: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("leoflowd.store.api_dags.fetch_dag", broken)
    answer = await seeded.call("GET", D)
    assert answer.status_code == 500
    assert b"secret" not in await answer.get_data(as_text=False)


async def test_a_database_that_is_gone_is_503(seeded: Client, api_context: ApiContext) -> None:
    async with api_context.db.api.transaction() as conn:
        await set_paused(conn, DAG, True, api_context.now())
    api_context.db.api.close()
    api_context.db.api._conninfo = "host=/nowhere dbname=x"
    answer = await seeded.call("GET", D)
    assert answer.status_code == 503


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"conf": {"a": "x" * 262_144}}, ["body", "conf"]),
        ({"note": "n" * 1001}, ["body", "note"]),
        ({"note": "a\0b"}, ["body", "note"]),
        ({"logical_date": "9999-12-31T23:00:00Z"}, ["body", "logical_date"]),
        ({"logical_date": "0001-01-01T00:00:00Z"}, ["body", "logical_date"]),
        ({"run_after": "9999-12-31T00:00:00Z"}, ["body", "run_after"]),
    ],
)
async def test_a_run_that_cannot_be_kept_is_refused_with_its_place(
    seeded: Client, change: dict[str, Any], place: list[str]
) -> None:
    body = {"logical_date": None, "conf": {"n": 1}} | change
    answer = await seeded.send("POST", RUNS, body, status=422)
    assert answer["detail"][0]["loc"] == place


async def test_a_conf_is_given_back_as_it_came(seeded: Client) -> None:
    conf = {"n": 1, "odd": ["a\0b", 2**70, 1e20, {"": "\u202e"}]}
    run = await seeded.send("POST", RUNS, {"logical_date": None, "conf": conf})
    assert run["conf"] == conf
    assert type(run["conf"]["odd"][2]) is float
    found = await seeded.get(f"{RUNS}?conf_contains=1e20")
    assert [one["dag_run_id"] for one in found["dag_runs"]] == [run["dag_run_id"]]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"only_failed": True, "only_running": True}, "both are set"),
        ({"start_date": "2026-11-02T00:00:00Z", "end_date": "2026-11-01T00:00:00Z"}, "sooner than start_date"),
        ({"dag_run_id": DONE, "end_date": "2026-11-01T00:00:00Z"}, "Exactly one of dag_run_id"),
        ({"dag_run_id": DONE, "start_date": "2026-11-01T00:00:00Z"}, "Exactly one of dag_run_id"),
        ({"dag_run_id": DONE, "task_ids": []}, "at least 1 element"),
    ],
)
async def test_a_clear_that_contradicts_itself_is_refused(seeded: Client, body: dict[str, Any], said: str) -> None:
    before = await _states(seeded, DONE)
    answer = await seeded.send("POST", CLEAR, {"dry_run": False, **body}, status=422)
    assert said in str(answer["detail"])
    assert await _states(seeded, DONE) == before


async def test_only_running_alone_means_running_or_failed(seeded: Client) -> None:
    """As in Airflow, where only_failed is on unless it is switched off."""
    for run_id, expected in ((OPEN, {"extract"}), (BROKEN, {"g.transform", "load"})):
        answer = await seeded.send("POST", CLEAR, {"dag_run_id": run_id, "only_running": True})
        assert {task_id for _, task_id in _tasks(answer)} == expected
        only = {"dag_run_id": run_id, "only_running": True, "only_failed": False}
        assert {one for _, one in _tasks(await seeded.send("POST", CLEAR, only))} == expected & {"extract"}


# --- what the UI asks for since Airflow 3.3 -----------------------------------------------------------------------


async def test_a_clear_may_leave_a_note(seeded: Client) -> None:
    body = {"dag_run_id": BROKEN, "task_ids": ["load"], "dry_run": False, "note": "once more"}
    await seeded.send("POST", CLEAR, body)
    rows = (await seeded.get(f"{RUNS}/{BROKEN}/taskInstances"))["task_instances"]
    assert {row["task_id"]: row["note"] for row in rows} == {"extract": None, "g.transform": None, "load": "once more"}
    cleared = await seeded.send("POST", f"{RUNS}/{DONE}/clear", {"dry_run": False, "note": "all of it"})
    assert cleared["note"] == "all of it"
    assert (await seeded.send("POST", f"{RUNS}/{DONE}/clear", {"dry_run": False}))["note"] == "all of it"


async def test_a_group_is_marked_as_one(seeded: Client) -> None:
    group = f"{RUNS}/{BROKEN}/taskGroupInstances/g"
    planned = await seeded.send("PATCH", f"{group}/dry_run", {"new_state": "success"})
    assert _tasks(planned) == {(BROKEN, "g.transform")}
    assert (await _states(seeded, BROKEN))["g.transform"] == "failed"
    marked = await seeded.send("PATCH", group, {"new_state": "success", "note": "by hand"})
    assert [(row["task_id"], row["state"], row["note"]) for row in marked["task_instances"]] == [
        ("g.transform", "success", "by hand")
    ]
    assert (await _states(seeded, BROKEN))["load"] is None, "what had failed because of it goes on"
    assert (await seeded.call("PATCH", f"{RUNS}/{BROKEN}/taskGroupInstances/h", json={"note": "x"})).status_code == 404


async def test_many_runs_are_cleared_if_all_of_them_are_there(seeded: Client) -> None:
    many = f"{D}/clearDagRuns"
    named = {"dag_runs": [{"dag_run_id": DONE}, {"dag_run_id": BROKEN, "dag_id": DAG}, {"dag_run_id": DONE}]}
    planned = await seeded.send("POST", many, named | {"only_failed": True})
    assert _tasks(planned) == {(BROKEN, "g.transform"), (BROKEN, "load")}
    missing = {"dag_runs": [{"dag_run_id": DONE}, {"dag_run_id": "none"}], "dry_run": False}
    assert (await seeded.call("POST", many, json=missing)).status_code == 404
    assert (await seeded.get(f"{RUNS}/{DONE}"))["state"] == "success"
    cleared = await seeded.send("POST", "/api/v2/dags/~/clearDagRuns", _everywhere(named) | {"dry_run": False})
    assert [(run["dag_run_id"], run["state"]) for run in cleared["dag_runs"]] == [(DONE, "queued"), (BROKEN, "queued")]
    logged = (await seeded.get("/api/v2/eventLogs?event=clear_dag_run"))["event_logs"]
    assert len(logged) == 2
    assert all("dag_runs" not in event["extra"] for event in logged)


def _everywhere(body: dict[str, Any]) -> dict[str, Any]:
    return {"dag_runs": [{"dag_id": DAG, **one} for one in body["dag_runs"]]}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "dag_runs is empty"),
        ({"partition_key": "eu"}, "are not there yet"),
        ({"dag_runs": [{"dag_run_id": DONE, "dag_id": "other"}]}, "does not match the URL"),
        ({"dag_runs": [{"dag_run_id": DONE, "note": "x"}]}, "a note is the body's"),
    ],
)
async def test_a_clear_of_many_that_says_nothing_clear_is_refused(
    seeded: Client, body: dict[str, Any], said: str
) -> None:
    answer = await seeded.call("POST", f"{D}/clearDagRuns", json=body)
    assert (answer.status_code, said in (await answer.get_json())["detail"]) == (400, True)


async def test_many_runs_are_marked_noted_and_deleted_each_by_itself(seeded: Client) -> None:
    actions = [
        {
            "action": "update",
            "entities": [{"dag_run_id": DONE, "note": "x", "state": "failed"}, {"dag_run_id": "none", "note": "y"}],
            "update_mask": ["note"],
        },
        {"action": "delete", "entities": [BROKEN, "none"], "action_on_non_existence": "skip"},
        {"action": "create", "entities": [{"dag_run_id": "new"}]},
    ]
    done = await seeded.send("PATCH", RUNS, {"actions": actions})
    assert (done["update"]["success"], [one["status_code"] for one in done["update"]["errors"]]) == (
        [f"{DAG}.{DONE}"],
        [404],
    )
    assert done["delete"] == {"success": [f"{DAG}.{BROKEN}"], "errors": []}
    assert done["create"]["errors"][0]["status_code"] == 405
    run = await seeded.get(f"{RUNS}/{DONE}")
    assert (run["note"], run["state"]) == ("x", "success")
    assert (await seeded.call("GET", f"{RUNS}/{BROKEN}")).status_code == 404
    wrong = {"action": "update", "entities": [{"dag_run_id": DONE, "note": "z"}], "update_mask": ["notes"]}
    refused = (await seeded.send("PATCH", RUNS, {"actions": [wrong]}))["update"]
    assert (refused["success"], refused["errors"][0]["status_code"]) == ([], 422)
    everywhere = await seeded.send(
        "PATCH", "/api/v2/dags/~/dagRuns", {"actions": [{"action": "delete", "entities": [DONE]}]}
    )
    assert [one["status_code"] for one in everywhere["delete"]["errors"]] == [400]


@pytest.mark.parametrize(
    "path",
    [
        f"{RUNS}?partition_date_gte=2026-11-01",
        "/ui/dags/~/dagRuns/~/deadlines?last_updated_at_lt=2026-11-01T00:00:00Z",
    ],
)
async def test_a_filter_that_is_not_there_is_refused_and_not_ignored(seeded: Client, path: str) -> None:
    answer = await seeded.call("GET", path)
    assert (answer.status_code, "is not there yet" in (await answer.get_json())["detail"]) == (400, True)


async def test_import_errors_are_found_by_file_and_bundle(seeded: Client) -> None:
    (known,) = (await seeded.get("/api/v2/importErrors"))["import_errors"]
    for query, count in (
        (f"filename={known['filename']}&bundle_name={known['bundle_name']}", 1),
        (f"filename={known['filename'][:-1]}", 0),
        ("bundle_name=other", 0),
    ):
        assert (await seeded.get(f"/api/v2/importErrors?{query}"))["total_entries"] == count, query
