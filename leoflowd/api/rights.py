"""Who may do what: a table from route id to the right it needs, and from role to the rights it has.

Decided by route id (`<blueprint>.<function>`), never by path text. A read that is not named needs READ; anything else
that is not named needs ADMIN, so that a forgotten line locks a route instead of opening it.
"""

from __future__ import annotations

from enum import Enum, auto


class Right(Enum):
    NONE = auto()
    """Answered without a token."""
    READ = auto()
    ACT = auto()
    """Trigger, pause, clear, mark, note, delete: whatever touches DAGs, runs and task instances."""
    OPERATE = auto()
    """Pools, waits, connections, variables, assets; reading the secrets-bearing ones too."""
    ADMIN = auto()


ROLES: dict[str, frozenset[Right]] = {
    "Viewer": frozenset({Right.READ}),
    "User": frozenset({Right.READ, Right.ACT}),
    "Op": frozenset({Right.READ, Right.ACT, Right.OPERATE}),
    "Admin": frozenset({Right.READ, Right.ACT, Right.OPERATE, Right.ADMIN}),
}

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

OPEN_BLUEPRINTS = frozenset({"static_files"})
"""Files hold nothing secret and must load before the login; `api/static.py` names its blueprint so."""

RIGHTS: dict[str, Right] = {
    # login and what a load balancer asks
    "login.create_token": Right.NONE,
    "login.create_token_cli": Right.NONE,
    "login.token_without_login": Right.NONE,
    "login.login_without_password": Right.NONE,
    "login.redirect_to_login": Right.NONE,
    "login.logout": Right.NONE,
    "public_monitor.version": Right.NONE,
    "public_monitor.health": Right.NONE,
    # DAGs
    "public_dags.patch_dag": Right.ACT,
    "public_dags.patch_dags": Right.ACT,
    "public_dags.delete_dag": Right.ACT,
    "public_dags.favorite_dag": Right.READ,
    "public_dags.unfavorite_dag": Right.READ,
    "public_leoflow.register": Right.OPERATE,
    # runs
    "public_dag_runs.trigger_dag_run": Right.ACT,
    "public_dag_runs.patch_dag_run": Right.ACT,
    "public_dag_runs.delete_dag_run": Right.ACT,
    "public_dag_runs.clear_dag_run": Right.ACT,
    "public_dag_runs.list_dag_runs_batch": Right.READ,
    # task instances
    "public_task_instances.list_task_instances_batch": Right.READ,
    "public_task_instance_changes.patch_task_instance": Right.ACT,
    "public_task_instance_changes.patch_mapped_task_instance": Right.ACT,
    "public_task_instance_changes.dry_run_patch": Right.ACT,
    "public_task_instance_changes.dry_run_patch_mapped": Right.ACT,
    "public_task_instance_changes.delete_task_instance": Right.ACT,
    "public_task_instance_changes.clear_task_instances": Right.ACT,
    # XCom
    "public_xcoms.create_xcom_entry": Right.ACT,
    "public_xcoms.update_xcom_entry": Right.ACT,
    "public_xcoms.delete_xcom_entry": Right.ACT,
    # administration
    "public_pools.create_pool": Right.OPERATE,
    "public_pools.update_pool": Right.OPERATE,
    "public_pools.delete_pool": Right.OPERATE,
    "public_connections.list_connections": Right.OPERATE,
    "public_connections.get_connection": Right.OPERATE,
    "public_connections.post_connection": Right.OPERATE,
    "public_connections.patch_connection": Right.OPERATE,
    "public_connections.delete_connection": Right.OPERATE,
    "public_connections.bulk_connections": Right.OPERATE,
    "public_connections.create_default_connections": Right.OPERATE,
    "public_connections.test_connection": Right.OPERATE,
    "public_connections.reseal_connections": Right.ADMIN,
    "ui_connections.hook_meta": Right.OPERATE,
    # waits
    "own_waits.act_on_wait": Right.OPERATE,
    "own_waits.patch_wait": Right.OPERATE,
    # asks for its own token, see own/metrics.py
    "own_metrics.metrics": Right.NONE,
    # asks for a signature, see own/hooks.py
    "own_hooks.receive": Right.NONE,
    # the UI's own
    "ui_auth.create_token": Right.READ,
}


def required_right(endpoint: str, method: str) -> Right:
    blueprint = endpoint.partition(".")[0]
    if blueprint in OPEN_BLUEPRINTS or endpoint == "static":
        return Right.NONE
    return RIGHTS.get(endpoint, Right.READ if method in SAFE_METHODS else Right.ADMIN)


def is_allowed(role: str, right: Right) -> bool:
    return right is Right.NONE or right in ROLES.get(role, frozenset())
