"""Which DAG and group are open while a file is loaded, and which context is current while a task runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow._leoflow.dag import DAG
    from airflow._leoflow.scopes import Scope
    from airflow._leoflow.task_group import TaskGroup

open_dags: list[DAG] = []
open_groups: list[TaskGroup] = []
open_scopes: list[Scope] = []
"""Of setups and teardowns in `with` statements, outermost first."""
registered_dags: list[DAG] = []
"""DAGs that `with` or `@dag` registered since `begin_load`, in order."""

KNOWN_CONTEXT_KEYS = frozenset(
    """conn dag dag_run data_interval_end data_interval_start outlet_events ds ds_nodash expanded_ti_count exception
    inlets inlet_events logical_date macros map_index_template outlets params partition_key partition_date
    prev_data_interval_start_success prev_data_interval_end_success prev_start_date_success prev_end_date_success
    reason run_id task task_reschedule_count task_instance task_instance_key_str task_state_store asset_state_store
    templates_dict test_mode ti triggering_asset_events try_number ts ts_nodash ts_nodash_with_tz var""".split()
)
"""Names of Airflow 3.2's task context; a parameter of that name is filled in when the task runs."""

is_unmapping = False
"""Is the operator of one instance of a mapped task being made? It takes the place of that task."""

_current: Any = None


class Context(dict):  # type: ignore[type-arg]
    """The type that authors write in annotations."""


def begin_load() -> None:
    open_dags.clear()
    open_groups.clear()
    open_scopes.clear()
    registered_dags.clear()


def current_dag() -> DAG | None:
    return open_dags[-1] if open_dags else None


def current_group(dag: DAG | None) -> TaskGroup | None:
    """The innermost open group of this DAG, else the DAG's root group."""
    if open_groups and open_groups[-1].dag is dag:
        return open_groups[-1]
    return dag.task_group if dag is not None else None


def set_current_context(context: Any) -> None:
    global _current
    _current = context


def running_context() -> Any:
    """The context of the task that runs now; None while a file is only loaded."""
    return _current


def get_current_context() -> Any:
    """The context of the task that runs now; only usable inside a task."""
    if _current is None:
        raise RuntimeError("there is no current context: get_current_context() works only while a task runs")
    return _current


def get_parsing_context() -> Any:
    """Airflow's hook for loading only one DAG of a file; we always load the whole file."""
    return _ParsingContext()


class _ParsingContext:
    dag_id: str | None = None
    task_id: str | None = None
