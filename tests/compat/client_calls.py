"""Calls of the published `apache-airflow-client`, run by its own interpreter: URL TOKEN DAG_ID -> JSON {call: fault}.

The DAG has tasks `hello` (which returns something) and `after`; what is made here is deleted again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import airflow_client.client as api
from airflow_client.client.exceptions import ApiException
from airflow_client.client.models.actions_inner import ActionsInner
from airflow_client.client.models.actions_inner2 import ActionsInner2

NOT_THERE = "no-such-thing"
faults: dict[str, str] = {}


def call(name: str, do: Callable[[], Any], wanted: int | None = None) -> Any:
    """`wanted`: the status of the refusal that is right."""
    try:
        answer = do()
    except ApiException as refusal:
        if refusal.status != wanted:
            faults[name] = f"{refusal.status} {refusal.body}"[:500]
        return None
    except Exception as error:
        faults[name] = repr(error)[:500]
        return None
    faults[name] = "" if wanted is None else f"wanted {wanted}, got an answer"
    if wanted is None:
        del faults[name]
    return answer


def main(url: str, token: str, dag_id: str) -> None:
    client = api.ApiClient(api.Configuration(host=url, access_token=token))
    one = {"dag_id": dag_id}
    reading(client, dag_id)
    run_id = running(client, dag_id)
    run = {**one, "dag_run_id": run_id}
    instances(client, run)
    xcoms(client, run)
    things(client)
    backfills(client, dag_id)
    refusals(url, client, dag_id)
    call("delete_dag_run", lambda: api.DagRunApi(client).delete_dag_run(**run))
    print(json.dumps(faults))


def reading(client: Any, dag_id: str) -> None:
    dags, versions, tasks = api.DAGApi(client), api.DagVersionApi(client), api.TaskApi(client)
    call("version", lambda: api.VersionApi(client).get_version())
    call("health", lambda: api.MonitorApi(client).get_health())
    call("get_dags", lambda: dags.get_dags(limit=5, order_by=["dag_id"]))
    call("get_dag", lambda: dags.get_dag(dag_id))
    call("get_dag_details", lambda: dags.get_dag_details(dag_id))
    call("get_dag_tags", lambda: dags.get_dag_tags())
    call("patch_dag", lambda: dags.patch_dag(dag_id, api.DAGPatchBody(is_paused=False)))
    call("patch_dags", lambda: dags.patch_dags(api.DAGPatchBody(is_paused=False), dag_id_pattern=dag_id))
    call("favorite_dag", lambda: dags.favorite_dag(dag_id))
    call("unfavorite_dag", lambda: dags.unfavorite_dag(dag_id))
    call("get_dag_stats", lambda: api.DagStatsApi(client).get_dag_stats(dag_ids=[dag_id]))
    call("get_dag_source", lambda: api.DagSourceApi(client).get_dag_source(dag_id, accept="application/json"))
    call("get_dag_versions", lambda: versions.get_dag_versions(dag_id))
    call("get_dag_version", lambda: versions.get_dag_version(dag_id, 1))
    call("get_tasks", lambda: tasks.get_tasks(dag_id))
    call("get_task", lambda: tasks.get_task(dag_id, "hello"))
    call("list_dag_warnings", lambda: api.DagWarningApi(client).list_dag_warnings())
    call("get_import_errors", lambda: api.ImportErrorApi(client).get_import_errors())
    call("get_event_logs", lambda: api.EventLogApi(client).get_event_logs(limit=2))
    call("get_jobs", lambda: api.JobApi(client).get_jobs(is_alive=True))
    call("get_providers", lambda: api.ProviderApi(client).get_providers())
    call("get_plugins", lambda: api.PluginApi(client).get_plugins())
    call("get_config", lambda: api.ConfigApi(client).get_config(accept="application/json"))
    call("get_config_value", lambda: api.ConfigApi(client).get_config_value("pool", "workers"))
    call("get_assets", lambda: api.AssetApi(client).get_assets())
    call("get_asset_events", lambda: api.AssetApi(client).get_asset_events())
    call("get_asset_aliases", lambda: api.AssetApi(client).get_asset_aliases())
    dag = dags.get_dag(dag_id)
    call("reparse_dag_file", lambda: api.DAGParsingApi(client).reparse_dag_file(dag.file_token))


def running(client: Any, dag_id: str) -> str:
    runs = api.DagRunApi(client)
    body = api.TriggerDAGRunPostBody(logical_date=datetime(2026, 1, 30, tzinfo=UTC), conf={"n": 1})
    made = call("trigger_dag_run", lambda: runs.trigger_dag_run(dag_id, body))
    run_id = str(made.dag_run_id)
    call("trigger_dag_run twice", lambda: runs.trigger_dag_run(dag_id, body), 409)
    call("wait_dag_run_until_finished", lambda: runs.wait_dag_run_until_finished(dag_id, run_id, interval=1.0))
    call("get_dag_runs", lambda: runs.get_dag_runs(dag_id, limit=2, offset=0))
    call("get_dag_runs by cursor", lambda: runs.get_dag_runs("~", limit=1, cursor="", order_by=["-run_after"]))
    call("get_list_dag_runs_batch", lambda: runs.get_list_dag_runs_batch("~", api.DAGRunsBatchBody(dag_ids=[dag_id])))
    call("patch_dag_run", lambda: runs.patch_dag_run(dag_id, run_id, api.DAGRunPatchBody(note="seen")))
    call("get_upstream_asset_events", lambda: runs.get_upstream_asset_events(dag_id, run_id))
    return run_id


def instances(client: Any, run: dict[str, str]) -> None:
    tasks = api.TaskInstanceApi(client)
    one = {**run, "task_id": "hello"}
    call("get_task_instances", lambda: tasks.get_task_instances(**run))
    call("get_task_instance", lambda: tasks.get_task_instance(**one))
    call("get_mapped_task_instance", lambda: tasks.get_mapped_task_instance(**one, map_index=-1))
    call("get_mapped_task_instances", lambda: tasks.get_mapped_task_instances(**one))
    call("get_task_instance_tries", lambda: tasks.get_task_instance_tries(**one))
    call("get_task_instance_try_details", lambda: tasks.get_task_instance_try_details(**one, task_try_number=1))
    call("get_task_instance_dependencies", lambda: tasks.get_task_instance_dependencies(**one))
    call("get_extra_links", lambda: api.ExtraLinksApi(client).get_extra_links(**one))
    batch = api.TaskInstancesBatchBody(dag_ids=[run["dag_id"]])
    call("get_task_instances_batch", lambda: tasks.get_task_instances_batch("~", "~", batch))
    call("get_log", lambda: tasks.get_log(**one, try_number=1, accept="application/json"))
    patch = api.PatchTaskInstanceBody(new_state="success")
    call(
        "patch_task_instance_dry_run", lambda: tasks.patch_task_instance_dry_run(**one, patch_task_instance_body=patch)
    )
    entity = api.BulkTaskInstanceBody(task_id="hello", note="bulk")
    update = api.BulkUpdateActionBulkTaskInstanceBody(action="update", entities=[entity])
    action = ActionsInner(update)
    body = api.BulkBodyBulkTaskInstanceBody(actions=[action])
    call("bulk_task_instances", lambda: tasks.bulk_task_instances(**run, bulk_body_bulk_task_instance_body=body))
    clear = api.ClearTaskInstancesBody(dag_run_id=run["dag_run_id"], dry_run=True, only_failed=False)
    call("post_clear_task_instances", lambda: tasks.post_clear_task_instances(run["dag_id"], clear))
    call("get_hitl_details", lambda: tasks.get_hitl_details("~", "~"))


def xcoms(client: Any, run: dict[str, str]) -> None:
    entries = api.XComApi(client)
    one = {**run, "task_id": "hello"}
    call("get_xcom_entries", lambda: entries.get_xcom_entries(**one))
    call("get_xcom_entry", lambda: entries.get_xcom_entry(**one, xcom_key="return_value"))
    call("get_xcom_entry as text", lambda: entries.get_xcom_entry(**one, xcom_key="return_value", stringify=True))
    body = api.XComCreateBody(key="mine", value={"a": [1]})
    call("create_xcom_entry", lambda: entries.create_xcom_entry(**one, x_com_create_body=body))
    change = api.XComUpdateBody(value=2)
    call(
        "update_xcom_entry",
        lambda: entries.update_xcom_entry(**one, xcom_key="mine", x_com_update_body=change),
    )
    call("delete_xcom_entry", lambda: entries.delete_xcom_entry(**one, xcom_key="mine"))


def things(client: Any) -> None:
    pools, variables, connections = api.PoolApi(client), api.VariableApi(client), api.ConnectionApi(client)
    call("post_pool", lambda: pools.post_pool(api.PoolBody(name="client", slots=2)))
    call("post_pool twice", lambda: pools.post_pool(api.PoolBody(name="client", slots=2)), 409)
    call("get_pools", lambda: pools.get_pools(pool_name_pattern="client"))
    call("get_pool", lambda: pools.get_pool("client"))
    call("patch_pool", lambda: pools.patch_pool("client", api.PoolPatchBody(slots=3), update_mask=["slots"]))
    create = api.BulkCreateActionPoolBody(action="create", entities=[api.PoolBody(name="client2", slots=1)])
    bulk = api.BulkBodyPoolBody(actions=[ActionsInner2(create)])
    call("bulk_pools", lambda: pools.bulk_pools(bulk))
    for name in ("client", "client2"):
        call(f"delete_pool {name}", lambda name=name: pools.delete_pool(name))
    value = api.VariableBody(key="client", value="v")
    call("post_variable", lambda: variables.post_variable(value))
    call("get_variables", lambda: variables.get_variables())
    call("get_variable", lambda: variables.get_variable("client"))
    call("patch_variable", lambda: variables.patch_variable("client", api.VariableBody(key="client", value=[1])))
    call("delete_variable", lambda: variables.delete_variable("client"))
    connection = api.ConnectionBody(connection_id="client", conn_type="http", host="h")
    call("post_connection", lambda: connections.post_connection(connection))
    call("get_connections", lambda: connections.get_connections())
    call("get_connection", lambda: connections.get_connection("client"))
    changed = api.ConnectionBody(connection_id="client", conn_type="http", host="i")
    call("patch_connection", lambda: connections.patch_connection("client", changed))
    call("delete_connection", lambda: connections.delete_connection("client"))


def backfills(client: Any, dag_id: str) -> None:
    backfill = api.BackfillApi(client)
    first, last = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 31, tzinfo=UTC)
    # one run after the other, so that there is something left to cancel
    body = api.BackfillPostBody(dag_id=dag_id, from_date=first, to_date=last, max_active_runs=1)
    call("create_backfill_dry_run", lambda: backfill.create_backfill_dry_run(body))
    made = call("create_backfill", lambda: backfill.create_backfill(body))
    call("list_backfills", lambda: backfill.list_backfills(dag_id))
    if made is not None:
        call("get_backfill", lambda: backfill.get_backfill(made.id))
        call("pause_backfill", lambda: backfill.pause_backfill(made.id))
        call("unpause_backfill", lambda: backfill.unpause_backfill(made.id))
        call("cancel_backfill", lambda: backfill.cancel_backfill(made.id))


def refusals(url: str, client: Any, dag_id: str) -> None:
    nobody, stranger = (api.ApiClient(api.Configuration(host=url, access_token=token)) for token in (None, "none"))
    call("401 without a token", lambda: api.DAGApi(nobody).get_dags(), 401)
    call("403 with a bad token", lambda: api.DAGApi(stranger).get_dags(), 403)
    call("422 of an order", lambda: api.DAGApi(client).get_dags(order_by=["nope"]), 422)
    call("404 of a DAG", lambda: api.DAGApi(client).get_dag(NOT_THERE), 404)
    call("404 of a run", lambda: api.DagRunApi(client).get_dag_run(dag_id, NOT_THERE), 404)


if __name__ == "__main__":
    main(*sys.argv[1:])
