"""`TaskGroup`: tasks drawn and connected together, inside a DAG or another group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from airflow._leoflow import context
from airflow._leoflow.dependencies import Dependable, as_list
from airflow._leoflow.errors import AuthoringError, DuplicateTaskIdFound, NodeNotFound, user_location
from airflow._leoflow.ids import near_miss, next_suffix, validate_group_id

if TYPE_CHECKING:
    from airflow._leoflow.dag import DAG
    from airflow._leoflow.edges import EdgeModifier
    from airflow._leoflow.task import Task


class TaskGroup(Dependable):
    """Tasks drawn and connected together. `group_id` carries the prefixes of the groups around it."""

    def __init__(
        self,
        group_id: str | None = None,
        prefix_group_id: bool = True,
        parent_group: TaskGroup | None = None,
        dag: DAG | None = None,
        default_args: Mapping[str, Any] | None = None,
        tooltip: str = "",
        ui_color: str = "CornflowerBlue",
        ui_fgcolor: str = "#000",
        add_suffix_on_collision: bool = False,
        group_display_name: str = "",
        doc_md: str | None = None,
    ) -> None:
        self._location = user_location()
        self.is_root = group_id is None
        self.prefix_group_id = prefix_group_id
        self.tooltip = tooltip
        self.ui_color = ui_color
        self.ui_fgcolor = ui_fgcolor
        self.group_display_name = group_display_name
        self.doc_md = doc_md
        self.children: dict[str, Task | TaskGroup] = {}
        self.upstream_group_ids: set[str] = set()
        self.downstream_group_ids: set[str] = set()
        self.upstream_task_ids: set[str] = set()
        self.downstream_task_ids: set[str] = set()
        found = dag or (parent_group.dag if parent_group else None) or context.current_dag()
        if found is None:
            raise AuthoringError(
                f"task group {group_id!r} belongs to no DAG",
                "a group can only be made inside a DAG",
                "put it into `with DAG(...)`, or pass dag=",
            )
        self.dag: DAG = found
        self.parent_group = None if self.is_root else parent_group or context.current_group(found)
        self.default_args: dict[str, Any] = dict(default_args or {})
        if not self.is_root:
            self._enter_parent(group_id, add_suffix_on_collision)

    def _enter_parent(self, group_id: Any, add_suffix_on_collision: bool) -> None:
        parent = self.parent_group
        assert parent is not None
        validate_group_id(group_id)
        used = self.dag.used_ids
        if parent.child_id(group_id) in used and add_suffix_on_collision:
            group_id = next_suffix(group_id, parent.child_id(group_id), used)
        self.label = group_id
        self.group_id = parent.child_id(group_id)
        parent.add(self)
        self.default_args = {**parent.default_args, **self.default_args}

    # -- what it is

    group_id: str | None = None
    label: str = ""
    is_mapped = False

    @property
    def node_id(self) -> str:
        return self.group_id or ""

    @property
    def task_group(self) -> TaskGroup | None:
        return self.parent_group

    @property
    def upstream_join_id(self) -> str:
        return f"{self.group_id}.upstream_join_id"

    @property
    def downstream_join_id(self) -> str:
        return f"{self.group_id}.downstream_join_id"

    def child_id(self, label: str) -> str:
        return f"{self.group_id}.{label}" if self.prefix_group_id and self.group_id else label

    def add(self, node: Task | TaskGroup) -> None:
        used = self.dag.used_ids
        if node.node_id in used:
            what = "group" if isinstance(node, TaskGroup) else "task"
            raise AuthoringError(
                f"{what} id {node.node_id!r} is used twice in dag {self.dag.dag_id!r}",
                "ids of tasks and groups must be unique inside a DAG",
                "rename one of them",
            ) from DuplicateTaskIdFound(node.node_id)
        used.add(node.node_id)
        self.children[node.node_id] = node

    def __iter__(self) -> Iterator[Task]:
        """All tasks of this group and the groups inside it."""
        for child in self.children.values():
            if isinstance(child, TaskGroup):
                yield from child
            else:
                yield child

    def has_task(self, task: Task) -> bool:
        return any(task is other for other in self)

    def get_child_by_label(self, label: str) -> Task | TaskGroup:
        return self.children[self.child_id(label)]

    def __getitem__(self, label: str) -> Task | TaskGroup:
        try:
            return self.get_child_by_label(label)
        except KeyError:
            near = near_miss(self.child_id(label), self.children)
            raise NodeNotFound(f"group {self.group_id!r} has no task or group {label!r}{near}") from None

    def __enter__(self) -> TaskGroup:
        context.open_groups.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        context.open_groups.pop()

    # -- edges

    @property
    def roots(self) -> list[Task]:
        return list(self.get_roots())

    @property
    def leaves(self) -> list[Task]:
        return list(self.get_leaves())

    def get_roots(self) -> Iterator[Task]:
        """Tasks that wait for no task of this group."""
        ids = {task.task_id for task in self}
        return (task for task in self if task.upstream_task_ids.isdisjoint(ids))

    def get_leaves(self) -> Iterator[Task]:
        """Tasks that no task of this group waits for; a teardown gives way to the work before it."""
        ids = {task.task_id for task in self}
        for task in self:
            if not task.downstream_task_ids.isdisjoint(ids):
                continue
            if task.is_teardown:
                yield from self._work_before(task, ids)
            else:
                yield task

    def _work_before(self, teardown: Task, ids: set[str]) -> Iterator[Task]:
        for before in teardown.upstream_list:
            if before.task_id not in ids:
                continue
            if before.is_teardown:
                yield from self._work_before(before, ids)
            elif not before.is_setup and not self._has_other_work_after(before, teardown, ids):
                yield before

    @staticmethod
    def _has_other_work_after(task: Task, teardown: Task, ids: set[str]) -> bool:
        return any(
            after is not teardown and after.task_id in ids and not after.is_teardown for after in task.downstream_list
        )

    def set_upstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None:
        for node in as_list(other):
            self.update_relative(node, True, edge_modifier)
        for task in self._ends(self.get_roots(), "upstream"):
            task.set_upstream(other)

    def set_downstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None:
        for node in as_list(other):
            self.update_relative(node, False, edge_modifier)
        for task in self._ends(self.get_leaves(), "downstream"):
            task.set_downstream(other)

    def _ends(self, tasks: Iterator[Task], direction: str) -> list[Task]:
        """An empty group passes on what was connected to it before, when edges leave it downstream."""
        found = list(tasks)
        if not found and direction == "downstream":
            return [self.dag.get_task(task_id) for task_id in sorted(self.upstream_task_ids)]
        return found

    def update_relative(self, other: Any, upstream: bool, edge_modifier: EdgeModifier | None) -> None:
        if isinstance(other, TaskGroup):
            mine, theirs = (
                (self.upstream_group_ids, other.downstream_group_ids)
                if upstream
                else (self.downstream_group_ids, other.upstream_group_ids)
            )
            mine.add(other.node_id)
            theirs.add(self.node_id)
            ends = (other.downstream_join_id, self.upstream_join_id)
            if not upstream:
                ends = (self.downstream_join_id, other.upstream_join_id)
            if edge_modifier is not None:
                edge_modifier.add_edge_info(self.dag, *ends)
            return
        for task in other.roots:
            (self.upstream_task_ids if upstream else self.downstream_task_ids).add(task.task_id)
            if edge_modifier is not None:
                ends = (task.task_id, self.upstream_join_id) if upstream else (self.downstream_join_id, task.task_id)
                edge_modifier.add_edge_info(self.dag, *ends)

    def __repr__(self) -> str:
        return f"<TaskGroup: {self.group_id}>"
