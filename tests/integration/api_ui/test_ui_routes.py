"""The private routes of the UI answer in the shapes of Airflow's own document, and say what the database says."""

from __future__ import annotations

import dataclasses
import gzip
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from quart_trio import QuartTrio

from leoflowd.api.app import create_app
from leoflowd.api.context import context
from leoflowd.contract.dag_spec import DagSpec, TaskSpec
from leoflowd.contract.deadline_spec import DeadlineSpec
from leoflowd.contract.states import DagRunType
from leoflowd.store.dag_runs import fetch_dag_run
from leoflowd.store.database import Database
from tests.conftest import unpacked_ui
from tests.integration.api.api_client import Client
from tests.integration.api_ui.conftest import Check
from tests.integration.api_ui.ui_seed import (
    NOW,
    Seeded,
    add_mapped_instance,
    etl_spec,
    register,
    set_states,
    start_run,
)

RUNNING = "manual__2026-11-21T12:00:00+00:00"


async def lines(client: Client, path: str) -> list[Any]:
    answer = await client.call("GET", path)
    assert answer.status_code == 200
    assert answer.content_type == "application/x-ndjson"
    body = await answer.get_data(as_text=False)
    assert not body or body.endswith(b"\n")
    return [msgspec.json.decode(line) for line in body.splitlines()]


class TestShell:
    async def test_config_has_every_key_and_a_theme(self, admin: Client, check: Check) -> None:
        config = await admin.get("/ui/config")
        check("ConfigResponse", config)
        assert config["instance_name"] == "Leoflow LITE"
        assert config["theme"]["icon"] == "/leoflow/static/mark.svg"
        assert config["external_log_name"] is None

    async def test_menus_and_me(self, admin: Client, check: Check) -> None:
        menus = await admin.get("/ui/auth/menus")
        check("MenuItemCollectionResponse", menus)
        assert "Deadlines" not in menus["authorized_menu_items"], "a page that this build does not have"
        me = await admin.get("/ui/auth/me")
        check("AuthenticatedMeResponse", me)
        assert me["username"] == "admin"

    async def test_a_newer_build_has_a_page_more(self, app: QuartTrio, admin: Client) -> None:
        async with app.app_context():
            ctx = context()
        newer = msgspec.structs.replace(ctx.config, ui_dir=unpacked_ui("3.3.2"))
        menus = await Client(create_app(dataclasses.replace(ctx, config=newer)), token=admin.token).get(
            "/ui/auth/menus"
        )
        assert "Deadlines" in menus["authorized_menu_items"]

    async def test_a_token_for_scripts_works(self, admin: Client, check: Check) -> None:
        granted = await admin.send("POST", "/ui/auth/token", {"token_type": "cli"})
        check("GenerateTokenResponse", granted)
        await Client(admin.app, token=granted["access_token"]).get("/ui/auth/me")

    async def test_without_login_nothing_answers(self, anonymous: Client) -> None:
        answer = await anonymous.call("GET", "/ui/config")
        assert answer.status_code == 401
        assert await answer.get_json() == {"detail": "Not authenticated"}

    async def test_an_unknown_route_is_a_json_404(self, admin: Client) -> None:
        answer = await admin.call("GET", "/ui/nothing/here")
        assert (answer.status_code, answer.content_type) == (404, "application/json")

    async def test_teams_are_listed_though_the_mode_is_off(self, admin: Client) -> None:
        assert await admin.get("/ui/teams") == {"teams": [], "total_entries": 0}
        assert (await admin.get("/ui/config"))["multi_team"] is False

    @pytest.mark.parametrize(
        ("path", "schema"),
        [
            ("/ui/backfills?dag_id=etl_daily&active=true", "BackfillCollectionResponse"),
            ("/ui/partitioned_dag_runs", "PartitionedDagRunCollectionResponse"),
            ("/ui/dependencies?dependency_type=scheduling", "BaseGraphResponse"),
        ],
    )
    async def test_what_does_not_exist_yet_is_an_empty_collection(
        self, admin: Client, check: Check, path: str, schema: str
    ) -> None:
        check(schema, await admin.get(path))

    async def test_deadlines_of_a_run_are_those_that_are_open_or_missed(
        self, admin: Client, check: Check, database: Database
    ) -> None:
        path = "/ui/dags/etl_daily/dagRuns/good/deadlines"
        assert await admin.get(path) == {"deadlines": [], "total_entries": 0}
        async with database.api.transaction() as conn:
            run = await fetch_dag_run(conn, "etl_daily", "good")
            await conn.execute(
                b"INSERT INTO deadline (dag_run_id, position, deadline_time, missed, created_at)"
                b" SELECT %(run)s, n, '2026-11-21 12:00Z'::timestamptz - make_interval(hours => n), n = 1, now()"
                b" FROM generate_series(0, 2) AS n",
                {"run": run.id},
            )
        found = await admin.get(path)
        check("DeadlineCollectionResponse", found)
        assert [(one["deadline_time"], one["missed"]) for one in found["deadlines"]] == [
            ("2026-11-21T10:00:00.000000Z", False),
            ("2026-11-21T11:00:00.000000Z", True),
            ("2026-11-21T12:00:00.000000Z", False),
        ]
        page = await admin.get(f"{path}?order_by=-deadline_time&limit=1&offset=1")
        assert (page["deadlines"], page["total_entries"]) == ([found["deadlines"][1]], 3)
        assert (await admin.call("GET", f"{path}?order_by=callback")).status_code == 400
        everywhere = "/ui/dags/~/dagRuns/~/deadlines"
        (missed,) = (await admin.get(f"{everywhere}?missed=true"))["deadlines"]
        assert missed == found["deadlines"][1]
        assert (missed["dag_id"], missed["dag_run_id"]) == ("etl_daily", "good")
        late = await admin.get(f"{everywhere}?deadline_time_gt=2026-11-21T11:00:00Z&order_by=dag_run_id")
        assert [one["deadline_time"] for one in late["deadlines"]] == ["2026-11-21T12:00:00.000000Z"]
        assert (await admin.get("/ui/dags/etl_daily/dagRuns/~/deadlines"))["total_entries"] == 3
        assert (await admin.call("GET", "/ui/dags/~/dagRuns/good/deadlines")).status_code == 400
        assert (await admin.call("GET", "/ui/dags/etl_daily/dagRuns/none/deadlines")).status_code == 404
        runs = {one["run_id"]: one["has_missed_deadline"] for one in await admin.get("/ui/grid/runs/etl_daily")}
        assert (runs["good"], runs["bad"]) == (True, False)

    async def test_a_run_is_compared_with_those_that_have_ended(self, admin: Client, check: Check) -> None:
        found = await admin.get("/ui/dags/etl_daily/dagRuns/good/stats")
        check("DagRunStatsResponse", found)
        assert found["duration"] == dict.fromkeys(("mean", "mode", "p50", "p90", "p95", "p99"), 5), "two took 5 s"
        assert (await admin.call("GET", "/ui/dags/etl_daily/dagRuns/none/stats")).status_code == 404

    async def test_deadlines_of_a_file_are_those_that_its_runs_name(
        self, admin: Client, check: Check, database: Database
    ) -> None:
        spec = DagSpec(
            dag_id="late",
            deadlines=(
                DeadlineSpec(reference="queued_at", interval_s=60),
                DeadlineSpec(reference="average_runtime", interval_s=-5, min_runs=1),
            ),
            tasks=(TaskSpec(task_id="a", operator="EmptyOperator"),),
        )
        version = await register(database, spec)
        alerts = await admin.get("/ui/dags/late/deadlineAlerts?limit=1&offset=1")
        check("DeadlineAlertCollectionResponse", alerts)
        assert alerts["total_entries"] == 2
        assert [(one["reference_type"], one["interval"]) for one in alerts["deadline_alerts"]] == [
            ("AverageRuntimeDeadline", -5)
        ]
        async with database.api.transaction() as conn:
            await start_run(conn, version, "r")
        first = (await admin.get("/ui/dags/late/deadlineAlerts?version_number=1&limit=1"))["deadline_alerts"][0]
        (deadline,) = (await admin.get("/ui/dags/late/dagRuns/r/deadlines"))["deadlines"]
        assert deadline["alert_id"] == first["id"]
        assert (await admin.call("GET", "/ui/dags/late/deadlineAlerts?version_number=2")).status_code == 404

    async def test_every_connection_type_has_all_keys(self, admin: Client, check: Check) -> None:
        types = await admin.get("/ui/connections/hook_meta")
        for entry in types:
            check("ConnectionHookMetaData", entry)
        assert {"generic", "http", "postgres", "redis", "fs", "aws"} <= {entry["connection_type"] for entry in types}


class TestDagList:
    async def names(self, admin: Client, query: str = "") -> list[str]:
        listed = await admin.get(f"/ui/dags{query}")
        return [dag["dag_id"] for dag in listed["dags"]]

    async def test_the_list_as_the_ui_asks_for_it(self, admin: Client, check: Check) -> None:
        listed = await admin.get(
            "/ui/dags?dag_runs_limit=14&limit=50&offset=0&order_by=dag_display_name&exclude_stale=true"
            "&tags_match_mode=any&dag_display_name_prefix_pattern="
        )
        check("DAGWithLatestDagRunsCollectionResponse", listed)
        assert listed["total_entries"] == 2
        etl = listed["dags"][0]
        assert [run["run_id"] for run in etl["latest_dag_runs"]] == [RUNNING, "bad", "good"]
        assert [tag["name"] for tag in etl["tags"]] == ["daily", "sales"]
        assert etl["timetable_summary"] == "0 3 * * *"
        assert etl["latest_dag_runs"][0]["start_date"].endswith("Z")

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("?order_by=-dag_id", ["quiet", "etl_daily"]),
            ("?order_by=last_run_state&order_by=-last_run_start_date", ["etl_daily", "quiet"]),
            ("?tags=sales&tags=other", ["etl_daily"]),
            ("?tags=sales&tags=other&tags_match_mode=all", []),
            ("?last_dag_run_state=running", ["etl_daily"]),
            ("?last_dag_run_state=failed", []),
            ("?dag_run_state=failed", ["etl_daily"]),
            ("?dag_run_state=queued", []),
            ("?paused=true", []),
            ("?dag_display_name_prefix_pattern=qui", ["quiet"]),
            ("?dag_display_name_pattern=TL", ["etl_daily"]),
            ("?dag_id_pattern=etl|quiet", ["etl_daily", "quiet"]),
            ("?owners=airflow&dag_ids=quiet", ["quiet"]),
            ("?is_favorite=true", []),
            ("?is_favorite=false", ["etl_daily", "quiet"]),
            ("?has_import_errors=true", []),
            ("?has_pending_actions=true", []),
            ("?limit=1&offset=1", ["quiet"]),
        ],
    )
    async def test_filters_and_order(self, admin: Client, query: str, expected: list[str]) -> None:
        assert await self.names(admin, query) == expected

    async def test_dag_runs_limit_bounds_the_latest_runs(self, admin: Client) -> None:
        listed = await admin.get("/ui/dags?dag_runs_limit=1")
        assert [len(dag["latest_dag_runs"]) for dag in listed["dags"]] == [1, 0]

    @pytest.mark.parametrize(
        ("query", "status"), [("?order_by=secret", 400), ("?limit=-1", 422), ("?paused=maybe", 422)]
    )
    async def test_bad_queries_are_refused(self, admin: Client, query: str, status: int) -> None:
        assert (await admin.call("GET", f"/ui/dags{query}")).status_code == status

    async def test_latest_run(self, admin: Client, check: Check) -> None:
        latest = await admin.get("/ui/dags/etl_daily/latest_run")
        check("DAGRunLightResponse", latest)
        assert latest["run_id"] == RUNNING
        assert await admin.get("/ui/dags/quiet/latest_run") is None

    async def test_next_run_assets(self, admin: Client) -> None:
        assert await admin.get("/ui/next_run_assets/quiet") == {"asset_expression": None, "events": []}
        assert (await admin.call("GET", "/ui/next_run_assets/none")).status_code == 404


class TestDashboard:
    async def test_counters(self, admin: Client, check: Check) -> None:
        stats = await admin.get("/ui/dashboard/dag_stats")
        check("DashboardDagStatsResponse", stats)
        assert stats == {"active_dag_count": 2, "failed_dag_count": 0, "running_dag_count": 1, "queued_dag_count": 0}

    async def test_history_counts_every_state(self, admin: Client, check: Check) -> None:
        metrics = await admin.get("/ui/dashboard/historical_metrics_data?start_date=2026-11-20T00:00:00.000Z")
        check("HistoricalMetricDataResponse", metrics)
        assert metrics["dag_run_states"]["running"] == 1
        assert metrics["task_instance_states"]["running"] == 1
        assert metrics["task_instance_states"]["no_status"] == 2
        assert metrics["task_instance_states"]["removed"] == 0

    async def test_the_start_is_required(self, admin: Client) -> None:
        assert (await admin.call("GET", "/ui/dashboard/historical_metrics_data")).status_code == 422


class TestGrid:
    async def test_runs(self, admin: Client, check: Check) -> None:
        runs = await admin.get("/ui/grid/runs/etl_daily?limit=10&order_by=-run_after")
        for run in runs:
            check("GridRunsResponse", run)
        assert [run["run_id"] for run in runs] == [RUNNING, "bad", "good"]
        assert runs[1]["duration"] == 5
        assert runs[1]["dag_versions"][0]["version_number"] == 1

    @pytest.mark.parametrize(
        ("ended_s_ago", "state"), [(0, "running"), (3, "running"), (4, "failed"), (-1, "running"), (-4, "failed")]
    )
    async def test_a_run_goes_on_until_its_squares_have_been_asked_for(
        self, admin: Client, database: Database, ended_s_ago: int, state: str
    ) -> None:
        """The UI asks every 3 s, and not once more after the last bar has ended."""
        async with database.api.transaction() as conn:
            ended = {"at": NOW - timedelta(seconds=ended_s_ago)}
            await conn.execute(b"UPDATE dag_run SET end_date = %(at)s WHERE run_id = 'bad'", ended)
        runs = await admin.get("/ui/grid/runs/etl_daily?order_by=-run_after&state=failed")
        assert [(run["run_id"], run["state"]) for run in runs] == [("bad", state)]

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("state=failed&state=running", [RUNNING, "bad"]),
            ("run_type=backfill", []),
            ("run_after_lte=2026-11-20T12:00:00.000Z", ["bad", "good"]),
            ("run_after_gt=2026-11-20T12:00:00.000Z", [RUNNING]),
            ("triggering_user=nobody", []),
            ("limit=1&offset=1", ["bad"]),
        ],
    )
    async def test_run_filters(self, admin: Client, query: str, expected: list[str]) -> None:
        runs = await admin.get(f"/ui/grid/runs/etl_daily?order_by=-run_after&{query}")
        assert [run["run_id"] for run in runs] == expected

    async def test_structure(self, admin: Client, check: Check) -> None:
        rows = await admin.get("/ui/grid/structure/etl_daily?limit=10&order_by=-run_after")
        for row in rows:
            check("GridNodeResponse", row)
        assert [row["id"] for row in rows] == ["start", "etl", "end"]
        assert [(child["id"], child["label"]) for child in rows[1]["children"]] == [
            ("etl.extract", "extract"),
            ("etl.load", "load"),
        ]
        assert rows[2]["label"] == "The end"
        assert rows[2]["children"] is None

    async def test_structure_keeps_tasks_of_older_shown_runs(self, admin: Client, database: Database) -> None:
        await register(database, etl_spec(extra_task=True))
        version = await register(database, etl_spec(extra_task=True))
        async with database.api.transaction() as conn:
            await start_run(conn, version, "newest", days_ago=-1)
        await register(database, etl_spec())  # back to the first artifact
        rows = await admin.get("/ui/grid/structure/etl_daily?limit=10&order_by=-run_after")
        assert [row["id"] for row in rows] == ["start", "etl", "end", "extra"]
        rows = await admin.get("/ui/grid/structure/etl_daily?limit=10&order_by=-run_after&run_type=manual")
        assert [row["id"] for row in rows] == ["start", "etl", "end"]

    async def test_structure_of_a_part(self, admin: Client) -> None:
        rows = await admin.get("/ui/grid/structure/etl_daily?root=etl.load&include_upstream=true&depth=1")
        assert [row["id"] for row in rows] == ["etl"]
        assert [child["id"] for child in rows[0]["children"]] == ["etl.extract", "etl.load"]

    async def test_unknown_dag(self, admin: Client) -> None:
        for path in ("/ui/grid/structure/none", "/ui/grid/ti_summaries/none?run_ids=x"):
            answer = await admin.call("GET", path)
            assert answer.status_code == 404

    async def test_summaries_stream_a_line_per_known_run(self, admin: Client, check: Check) -> None:
        query = f"run_ids=bad&run_ids=unknown&run_ids={RUNNING.replace('+', '%2B')}"
        answered = await lines(admin, f"/ui/grid/ti_summaries/etl_daily?{query}")
        for line in answered:
            check("GridTISummaries", line)
        assert [line["run_id"] for line in answered] == ["bad", RUNNING]
        nodes = {node["task_id"]: node for node in answered[0]["task_instances"]}
        assert nodes["etl.extract"]["state"] == "failed"
        assert nodes["etl.extract"]["child_states"] is None
        assert nodes["etl"]["state"] == "failed"
        assert nodes["etl"]["child_states"] == {"failed": 1, "upstream_failed": 1}
        assert nodes["etl"]["min_start_date"] == "2026-11-21T12:00:00.000000Z"
        assert nodes["end"]["state"] is None
        assert nodes["end"]["task_display_name"] == "The end"

    async def test_a_group_without_a_state_counts_none(self, admin: Client) -> None:
        (line,) = await lines(admin, f"/ui/grid/ti_summaries/etl_daily?run_ids={RUNNING.replace('+', '%2B')}")
        group = next(node for node in line["task_instances"] if node["task_id"] == "etl")
        assert group["state"] == "running"
        assert group["child_states"] == {"running": 1, "None": 1}

    async def test_mapped_instances_are_summed_up(self, admin: Client, database: Database, seeded: Seeded) -> None:
        async with database.api.transaction() as conn:
            await conn.execute(
                b"DELETE FROM task_instance WHERE dag_run_id = %s AND task_id = 'end'", (seeded.runs["good"],)
            )
            for map_index, state in enumerate(("success", "success", "failed")):
                await add_mapped_instance(conn, seeded.runs["good"], "end", map_index, state)
        (line,) = await lines(admin, "/ui/grid/ti_summaries/etl_daily?run_ids=good")
        (end,) = [node for node in line["task_instances"] if node["task_id"] == "end"]
        assert (end["state"], end["child_states"]) == ("failed", {"success": 2, "failed": 1})

    async def test_no_run_ids_is_an_empty_answer(self, admin: Client) -> None:
        assert await lines(admin, "/ui/grid/ti_summaries/etl_daily") == []

    async def test_summaries_are_packed_for_a_browser(self, admin: Client) -> None:
        answer = await admin.call(
            "GET", "/ui/grid/ti_summaries/etl_daily?run_ids=good&run_ids=bad", headers={"Accept-Encoding": "gzip"}
        )
        assert answer.headers["Content-Encoding"] == "gzip"
        assert len(gzip.decompress(await answer.get_data(as_text=False)).splitlines()) == 2

    async def test_gantt_has_a_row_per_try(
        self, admin: Client, check: Check, database: Database, seeded: Seeded
    ) -> None:
        chart = await admin.get("/ui/gantt/etl_daily/good")
        check("GanttResponse", chart)
        assert [(row["task_id"], row["try_number"]) for row in chart["task_instances"]] == [
            ("end", 1),
            ("etl.extract", 1),
            ("etl.load", 1),
            ("start", 1),
        ]

    async def test_gantt_of_a_run_id_with_plus_and_colon(self, admin: Client) -> None:
        for run_id in (RUNNING, RUNNING.replace("+", "%2B").replace(":", "%3A")):
            assert (await admin.get(f"/ui/gantt/etl_daily/{run_id}"))["run_id"] == RUNNING

    async def test_gantt_of_nothing(self, admin: Client) -> None:
        assert (await admin.call("GET", "/ui/gantt/etl_daily/none")).status_code == 404


class TestGraph:
    async def test_nodes_edges_and_joins(self, admin: Client, check: Check) -> None:
        graph = await admin.get("/ui/structure/structure_data?dag_id=etl_daily&external_dependencies=false")
        check("StructureDataResponse", graph)
        edges = {(edge["source_id"], edge["target_id"]): edge["label"] for edge in graph["edges"]}
        assert edges == {
            ("start", "etl.upstream_join_id"): None,
            ("etl.upstream_join_id", "etl.extract"): None,
            ("etl.extract", "etl.load"): "rows",
            ("etl.load", "etl.downstream_join_id"): None,
            ("etl.downstream_join_id", "end"): None,
        }

    async def test_of_an_older_version_and_of_a_part(self, admin: Client, database: Database) -> None:
        await register(database, etl_spec(extra_task=True))
        path = "/ui/structure/structure_data?dag_id=etl_daily"
        assert [n["id"] for n in (await admin.get(f"{path}&version_number=1"))["nodes"]] == ["start", "etl", "end"]
        assert "extra" in [n["id"] for n in (await admin.get(path))["nodes"]]
        assert [n["id"] for n in (await admin.get(f"{path}&root=start"))["nodes"]] == ["start"]

    @pytest.mark.parametrize(
        ("query", "status"), [("dag_id=none", 404), ("dag_id=etl_daily&version_number=9", 404), ("", 422)]
    )
    async def test_unknown_or_unnamed(self, admin: Client, query: str, status: int) -> None:
        assert (await admin.call("GET", f"/ui/structure/structure_data?{query}")).status_code == status


class TestCalendar:
    async def test_what_ran_and_what_is_planned(self, admin: Client, check: Check) -> None:
        calendar = await admin.get(
            "/ui/calendar/etl_daily?granularity=daily"
            "&logical_date_gte=2026-11-20T00:00:00Z&logical_date_lte=2026-11-30T23:59:59Z"
        )
        check("CalendarTimeRangeCollectionResponse", calendar)
        states = {(cell["date"], cell["state"]): cell["count"] for cell in calendar["dag_runs"]}
        assert states[("2026-11-20T00:00:00Z", "failed")] == 1
        assert states[("2026-11-21T00:00:00Z", "running")] == 1
        assert states[("2026-11-22T00:00:00Z", "planned")] == 1
        assert states[("2026-11-30T00:00:00Z", "planned")] == 1
        assert ("2026-11-19T00:00:00Z", "success") not in states
        assert calendar["total_entries"] == len(calendar["dag_runs"])

    async def test_by_hour(self, admin: Client) -> None:
        calendar = await admin.get("/ui/calendar/etl_daily?granularity=hourly&logical_date_lte=2026-11-22T23:59:59Z")
        assert {"date": "2026-11-22T03:00:00Z", "state": "planned", "count": 1} in calendar["dag_runs"]

    async def test_a_dag_without_schedule_plans_nothing(self, admin: Client) -> None:
        assert await admin.get("/ui/calendar/quiet") == {"total_entries": 0, "dag_runs": []}


async def test_a_run_that_started_by_hand_does_not_move_the_plan(
    admin: Client, database: Database, seeded: Seeded
) -> None:
    async with database.api.transaction() as conn:
        run = await start_run(conn, seeded.version, "by hand", days_ago=-5, kind=DagRunType.MANUAL)
        await set_states(conn, run, {"start": "success"}, "success")
    calendar = await admin.get("/ui/calendar/etl_daily?logical_date_lte=2026-11-23T00:00:00Z")
    assert "2026-11-22T00:00:00Z" in [cell["date"] for cell in calendar["dag_runs"] if cell["state"] == "planned"]
