"""`Task`: a node of the graph. Its place in a DAG and a group, its edges, and whether it is a setup or a teardown.

Every task is a `BaseOperator`; this part of it is what groups, outputs and edges need to know of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow._leoflow import context
from airflow._leoflow.dependencies import Dependable, as_list
from airflow._leoflow.enums import TriggerRule
from airflow._leoflow.errors import AuthoringError
from airflow._leoflow.ids import validate_id
from airflow._leoflow.scopes import Scope, close_scope, open_scope

if TYPE_CHECKING:
    from airflow._leoflow.dag import DAG
    from airflow._leoflow.edges import EdgeModifier
    from airflow._leoflow.task_group import TaskGroup


class Task(Dependable):
    """The base of `BaseOperator`, which has the arguments and runs."""

    owner: str
    trigger_rule: Any
    multiple_outputs: bool

    def _take_place(self, task_id: str, dag: DAG | None, task_group: TaskGroup | None) -> None:
        """The first step of construction: its id and no edges yet. The last one adds it to the group and the DAG."""
        self.upstream_task_ids: set[str] = set()
        self.downstream_task_ids: set[str] = set()
        self.is_setup = False
        self.is_teardown = False
        self.on_failure_fail_dagrun = False
        self._dag: DAG | None = None
        self.task_group = task_group or context.current_group(dag)
        self.label = task_id
        self.task_id = self.task_group.child_id(task_id) if self.task_group is not None else task_id
        validate_id(self.task_id, "task_id")
        if context.open_scopes:
            context.open_scopes[-1].add_task(self)

    @property
    def dag(self) -> DAG:
        if self._dag is None:
            raise RuntimeError(f"task {self.task_id!r} belongs to no DAG")
        return self._dag

    @dag.setter
    def dag(self, dag: DAG | None) -> None:
        if dag is None or self._dag is dag:
            self._dag = dag
            return
        if self._dag is not None:
            raise AuthoringError(
                f"task {self.task_id!r} is given to dag {dag.dag_id!r}",
                f"it belongs to dag {self._dag.dag_id!r} already",
                "create one task per DAG",
            )
        dag.add_task(self)

    @property
    def dag_id(self) -> str:
        return self._dag.dag_id if self._dag is not None else f"adhoc_{self.owner}"

    def has_dag(self) -> bool:
        return self._dag is not None

    @property
    def node_id(self) -> str:
        return self.task_id

    @property
    def upstream_list(self) -> list[Task]:
        return [self.dag.get_task(task_id) for task_id in sorted(self.upstream_task_ids)]

    @property
    def downstream_list(self) -> list[Task]:
        return [self.dag.get_task(task_id) for task_id in sorted(self.downstream_task_ids)]

    def get_direct_relative_ids(self, upstream: bool = False) -> set[str]:
        return self.upstream_task_ids if upstream else self.downstream_task_ids

    def get_direct_relatives(self, upstream: bool = False) -> list[Task]:
        return self.upstream_list if upstream else self.downstream_list

    def get_flat_relative_ids(self, *, upstream: bool = False, depth: int | None = None) -> set[str]:
        """All that come before or after, as many levels away as `depth` says."""
        if depth is not None and depth < 0:
            raise ValueError(f"depth must be non-negative, got {depth}")
        found: set[str] = set()
        level = set(self.get_direct_relative_ids(upstream))
        while level and depth != 0:
            found |= level
            nearer, level = level, set()
            for one in nearer:
                level |= self.dag.get_task(one).get_direct_relative_ids(upstream)
            level -= found
            depth = None if depth is None else depth - 1
        return found

    def get_flat_relatives(self, upstream: bool = False, depth: int | None = None) -> list[Task]:
        ids = self.get_flat_relative_ids(upstream=upstream, depth=depth)
        return [self.dag.get_task(task_id) for task_id in sorted(ids)]

    def __lt__(self, other: Any) -> bool:
        return bool(self.task_id < other.task_id)

    # -- edges

    @property
    def roots(self) -> list[Task]:
        return [self]

    @property
    def leaves(self) -> list[Task]:
        return [self]

    def set_upstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None:
        self._set_relatives(other, True, edge_modifier)

    def set_downstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None:
        self._set_relatives(other, False, edge_modifier)

    def _set_relatives(self, other: Any, upstream: bool, edge_modifier: EdgeModifier | None) -> None:
        for node in as_list(other):
            node.update_relative(self, not upstream, edge_modifier)
            relatives = node.leaves if upstream else node.roots
            for relative in relatives:
                before, after = (relative, self) if upstream else (self, relative)
                _connect(before, after)
                if edge_modifier is not None:
                    edge_modifier.add_edge_info(before.dag, before.task_id, after.task_id)

    # -- setup and teardown

    def as_setup(self) -> Task:
        self.is_setup = True
        return self

    def as_teardown(self, *, setups: Any = None, on_failure_fail_dagrun: bool | None = None) -> Task:
        self.is_teardown = True
        self.trigger_rule = TriggerRule.ALL_DONE_SETUP_SUCCESS
        if on_failure_fail_dagrun is not None:
            self.on_failure_fail_dagrun = on_failure_fail_dagrun
        for setup in as_list(setups) if setups is not None else ():
            setup.is_setup = True
            setup.set_downstream(self)
        return self

    def __enter__(self) -> Scope:
        return open_scope(self)

    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        close_scope(is_failed=kind is not None)


def _connect(before: Task, after: Task) -> None:
    if before is after:
        raise AuthoringError(
            f"task {before.task_id!r} depends on itself", "a task cannot run before itself", "remove that dependency"
        )
    if before._dag is None and after._dag is not None:
        after._dag.add_task(before)
    elif after._dag is None and before._dag is not None:
        before._dag.add_task(after)
    if before._dag is not after._dag or before._dag is None:
        raise AuthoringError(
            f"task {before.task_id!r} (dag {before.dag_id!r}) is set before {after.task_id!r} (dag {after.dag_id!r})",
            "dependencies exist only inside one DAG",
            "give both tasks the same dag=, or create them in the same `with DAG(...)`",
        )
    before.downstream_task_ids.add(after.task_id)
    after.upstream_task_ids.add(before.task_id)
