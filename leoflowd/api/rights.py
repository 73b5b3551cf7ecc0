"""The one table of what each route needs: which right, and where the request says on which DAG.

By route id (`<blueprint>.<function>`), never by path text. `auth.authenticate_request` reads it before every route and
lets `core.rights` decide. A route that is missing here is refused to everybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

import msgspec
from quart import Request

from leoflowd.core.rights import Right

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
ALL = "~"
"""As dag_id, run_id or task_id in a path: all of them."""


class Object(Enum):
    """Where the DAG is found that a request is about."""

    NONE = auto()
    """Nothing of any DAG is read or changed."""
    PATH = auto()
    """`dag_id` of the path."""
    PATH_OR_ALL = auto()
    """The same, or `~`: then whatever `auth.dags()` holds, filtered by the store."""
    QUERY = auto()
    """`dag_id` of the query."""
    BODY = auto()
    """The body names it: the route calls `auth.check_dag` when it has read it."""
    FILTERED = auto()
    """Any DAG's things, filtered by the store to what `auth.dags()` holds; also one thing that has an id of its own."""


class Need(msgspec.Struct, frozen=True):
    right: Right
    object: Object

    def dag_of(self, request: Request) -> str | None:
        """The DAG that the address names; None: none in particular, or the route finds it."""
        match self.object:
            case Object.PATH:
                return str((request.view_args or {})["dag_id"])
            case Object.PATH_OR_ALL:
                dag_id = str((request.view_args or {})["dag_id"])
                return None if dag_id == ALL else dag_id
            case Object.QUERY:
                return request.args.get("dag_id")
            case Object.NONE | Object.BODY | Object.FILTERED:
                return None


_TABLE: tuple[tuple[Right, Object, str], ...] = (
    # login, what a load balancer asks, files: nothing secret, and they must load before the login
    (Right.NONE, Object.NONE, "login: create_token create_token_cli token_without_login login_without_password"),
    (Right.NONE, Object.NONE, "login: redirect_to_login logout"),
    (Right.NONE, Object.NONE, "public_monitor: version health"),
    (Right.NONE, Object.NONE, "static_files: log_in login_file login_page own_file own_page package_file ui_file"),
    # the API's description, the same for everybody
    (Right.NONE, Object.NONE, "own_docs: openapi docs_page"),
    # ask for a proof of their own: see own/metrics.py and own/hooks.py
    (Right.NONE, Object.NONE, "own_metrics: metrics"),
    (Right.NONE, Object.NONE, "own_probes: livez readyz"),
    (Right.NONE, Object.NONE, "own_hooks: receive"),
    (Right.NONE, Object.NONE, "own_oidc: login_methods begin callback cli_token logged_out backchannel_logout"),
    # DAGs
    (Right.READ, Object.FILTERED, "public_dags: list_dags list_stats list_tags list_warnings"),
    (Right.READ, Object.PATH, "public_dags: get_dag get_dag_details favorite_dag unfavorite_dag"),
    (Right.ACT, Object.FILTERED, "public_dags: patch_dags"),
    (Right.ACT, Object.PATH, "public_dags: patch_dag delete_dag"),
    (Right.OPERATE, Object.BODY, "public_dags: reparse_dag_file"),
    (Right.READ, Object.PATH_OR_ALL, "public_dag_versions: list_versions"),
    (Right.READ, Object.PATH, "public_dag_versions: get_version get_source"),
    (Right.READ, Object.PATH, "public_tasks: list_tasks get_task"),
    (Right.DEPLOY, Object.BODY, "public_leoflow: register check"),
    (Right.READ, Object.PATH, "own_versions: diff list_versions"),
    (Right.DEPLOY, Object.PATH, "own_versions: rollback promote_canary"),
    # runs
    (Right.READ, Object.PATH_OR_ALL, "public_dag_runs: list_dag_runs list_dag_runs_batch"),
    (Right.READ, Object.PATH, "public_dag_runs: get_dag_run wait_dag_run"),
    (Right.ACT, Object.PATH, "public_dag_runs: trigger_dag_run patch_dag_run delete_dag_run clear_dag_run"),
    (Right.ACT, Object.PATH_OR_ALL, "public_dag_runs_bulk: bulk_dag_runs clear_dag_runs"),
    (Right.READ, Object.PATH, "own_run_diff: diff"),
    # backfills
    (Right.READ, Object.QUERY, "public_backfills: list_backfills"),
    (Right.READ, Object.FILTERED, "public_backfills: get_backfill"),
    (Right.ACT, Object.BODY, "public_backfills: create_backfill create_backfill_dry_run"),
    (Right.ACT, Object.FILTERED, "public_backfills: pause_backfill unpause_backfill cancel_backfill"),
    (Right.READ, Object.FILTERED, "ui_backfills: list_backfills"),
    # task instances
    (Right.READ, Object.PATH_OR_ALL, "public_task_instances: list_task_instances list_task_instances_batch"),
    (Right.READ, Object.PATH_OR_ALL, "public_hitl_details: list_hitl_details"),
    (Right.READ, Object.PATH, "public_hitl_details: get_hitl_detail get_hitl_detail_of_try"),
    (Right.ACT, Object.PATH, "public_hitl_details: update_hitl_detail"),
    (Right.READ, Object.PATH, "public_task_instances: list_mapped get_task_instance get_mapped_task_instance"),
    (Right.READ, Object.PATH, "public_task_instances: list_tries list_mapped_tries get_try get_mapped_try"),
    (Right.READ, Object.PATH, "public_task_instances: list_dependencies list_mapped_dependencies list_extra_links"),
    (Right.ACT, Object.PATH, "public_task_instance_changes: patch_task_instance patch_mapped_task_instance"),
    (Right.ACT, Object.PATH, "public_task_instance_changes: dry_run_patch dry_run_patch_mapped"),
    (Right.ACT, Object.PATH, "public_task_instance_changes: delete_task_instance clear_task_instances"),
    (Right.ACT, Object.PATH, "public_task_instance_changes: patch_task_group dry_run_patch_group"),
    (Right.ACT, Object.PATH_OR_ALL, "public_task_instances_bulk: bulk_task_instances"),
    (Right.READ, Object.PATH, "public_logs: get_log get_external_log_url"),
    (Right.READ, Object.PATH, "public_leoflow: explain explain_dag_run explain_runs schedule"),
    # XCom
    (Right.READ, Object.PATH_OR_ALL, "public_xcoms: list_xcom_entries"),
    (Right.READ, Object.PATH, "public_xcoms: get_xcom_entry"),
    (Right.ACT, Object.PATH, "public_xcoms: create_xcom_entry update_xcom_entry delete_xcom_entry"),
    (Right.READ, Object.PATH, "public_state_stores: list_task_state_store"),
    # assets
    (Right.READ, Object.FILTERED, "public_state_stores: list_asset_state_store"),
    (Right.READ, Object.FILTERED, "public_assets: list_assets get_asset list_asset_aliases get_asset_alias"),
    (Right.READ, Object.FILTERED, "public_assets: list_asset_events list_asset_queued_events"),
    (Right.READ, Object.PATH, "public_assets: list_dag_queued_events get_dag_queued_event list_upstream_asset_events"),
    (Right.OPERATE, Object.FILTERED, "public_assets: create_asset_event delete_asset_queued_events materialize_asset"),
    (Right.OPERATE, Object.PATH, "public_assets: delete_dag_queued_events delete_dag_queued_event"),
    (Right.READ, Object.PATH, "ui_assets: next_run_assets pending_partitioned_dag_run pending_partition"),
    (Right.READ, Object.FILTERED, "ui_assets: dependencies partitioned_dag_runs"),
    # waits
    (Right.READ, Object.FILTERED, "own_waits: list_waits get_wait get_pool get_overview"),
    (Right.OPERATE, Object.FILTERED, "own_waits: act_on_wait patch_wait"),
    (Right.READ, Object.FILTERED, "own_watchers: list_asset_watchers"),
    (Right.READ, Object.FILTERED, "own_forecast: get_forecast"),
    (Right.READ, Object.FILTERED, "own_lag: get_lag"),
    (Right.READ, Object.FILTERED, "own_log_search: search_logs"),
    # callbacks
    (Right.READ, Object.FILTERED, "own_callbacks: list_callbacks get_callback get_callback_log"),
    (Right.OPERATE, Object.FILTERED, "own_callbacks: retry_callback"),
    # the editor of Lite: whoever writes DAGs runs code (its page is a file)
    (Right.NONE, Object.NONE, "own_files: editor_page"),
    (
        Right.ADMIN,
        Object.NONE,
        "own_files: list_files read_file count_files save_file move_file remove_file make_folder",
    ),
    (Right.ADMIN, Object.NONE, "own_files: add_examples completions get_workspace"),
    # what happened
    (Right.READ, Object.FILTERED, "public_records: list_event_logs get_event_log list_import_errors get_import_error"),
    # what belongs to no DAG
    (Right.READ, Object.NONE, "public_pools: list_pools get_pool"),
    (Right.SETTINGS, Object.NONE, "public_pools: create_pool update_pool delete_pool bulk_pools"),
    (Right.READ, Object.NONE, "public_monitor: list_jobs"),
    (Right.ADMIN, Object.NONE, "public_config: get_config get_config_value"),
    (Right.SETTINGS, Object.NONE, "public_connections: list_connections get_connection post_connection"),
    (Right.SETTINGS, Object.NONE, "public_connections: patch_connection delete_connection bulk_connections"),
    (Right.SETTINGS, Object.NONE, "public_connections: create_default_connections test_connection"),
    (Right.ADMIN, Object.NONE, "public_connections: reseal_connections"),
    (Right.SETTINGS, Object.NONE, "public_variables: list_variables get_variable post_variable patch_variable"),
    (Right.SETTINGS, Object.NONE, "public_variables: delete_variable bulk_variables"),
    (Right.SETTINGS, Object.NONE, "ui_connections: hook_meta"),
    (Right.READ, Object.NONE, "own_tokens: whoami end_session list_tokens create_token revoke_token"),
    (Right.READ, Object.NONE, "own_users: change_own_password"),
    (Right.ADMIN, Object.NONE, "own_users: list_users get_user create_user patch_user delete_user"),
    (Right.ADMIN, Object.NONE, "own_roles: list_roles get_role create_role put_role delete_role"),
    (Right.ADMIN, Object.NONE, "own_roles: list_teams get_team create_team patch_team delete_team"),
    (Right.ADMIN, Object.NONE, "own_audit: list_events verify"),
    (Right.ADMIN, Object.NONE, "own_retention: preview clean"),
    (Right.READ, Object.NONE, "public_leoflow: tree"),
    (Right.READ, Object.NONE, "public_plugins: list_plugins list_plugin_import_errors list_providers"),
    # the UI's own
    (Right.READ, Object.NONE, "ui_auth: config menus me create_token teams"),
    (Right.READ, Object.FILTERED, "ui_dags: list_dags dag_stats historical_metrics_data"),
    (Right.READ, Object.PATH, "ui_dags: latest_run dag_run_stats"),
    (Right.READ, Object.PATH_OR_ALL, "ui_deadlines: list_deadlines"),
    (Right.READ, Object.PATH, "ui_deadlines: list_deadline_alerts"),
    (Right.READ, Object.PATH, "ui_grid: grid_runs grid_structure ti_summaries gantt"),
    (Right.READ, Object.QUERY, "ui_structure: structure_data"),
    (Right.READ, Object.PATH, "ui_calendar: calendar"),
)
"""(right, where the DAG is found, "<blueprint>: <functions>")."""


def _needs() -> dict[str, Need]:
    needs: dict[str, Need] = {}
    for right, place, routes in _TABLE:
        blueprint, _, functions = routes.partition(": ")
        for function in functions.split():
            endpoint = f"{blueprint}.{function}"
            assert endpoint not in needs, f"{endpoint} is named twice"
            needs[endpoint] = Need(right, place)
    return needs


NEEDS: Mapping[str, Need] = _needs()
"""Route id -> what it needs."""

LOGIN_ONLY = frozenset(
    {"own_tokens.create_token", "ui_auth.create_token", "own_users.change_own_password"}
    | {f"own_users.{verb}_user" for verb in ("create", "patch", "delete")}
    | {f"own_roles.{verb}" for verb in ("create_role", "put_role", "delete_role")}
    | {f"own_roles.{verb}_team" for verb in ("create", "patch", "delete")}
)
"""Not with an access token, whatever its rights: what it made or changed here would be there when it is not."""
