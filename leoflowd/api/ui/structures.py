"""Structures of a DAG version as bytes, made once: versions never change, and the UI asks for them on every Dag page.

`grid` and `structure` use it, those of a large version from a thread: the caches lock themselves.
"""

from __future__ import annotations

import uuid
from functools import lru_cache

import msgspec
from typing_extensions import override

from leoflowd.contract.dag_spec import DagSpec
from leoflowd.core.dag_drawing import Graph, GridNode, build_graph, build_grid
from leoflowd.core.group_tree import list_group_members, list_mapped_tasks
from leoflowd.store.dags import VersionRow

KEPT_VERSIONS = 256
"""A version of 1,000 tasks takes about 1 MB here."""


class _Version:
    """A version as a key of the caches: equal by id, so that its spec is never hashed or compared."""

    __slots__ = ("id", "spec")

    def __init__(self, version: VersionRow) -> None:
        self.id: uuid.UUID = version.id
        self.spec: DagSpec = version.spec

    @override
    def __hash__(self) -> int:
        return hash(self.id)

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Version) and self.id == other.id


@lru_cache(KEPT_VERSIONS)
def _grid(version: _Version) -> tuple[GridNode, ...]:
    return build_grid(version.spec)


@lru_cache(KEPT_VERSIONS)
def _graph_document(version: _Version) -> bytes:
    return encode_graph(build_graph(version.spec))


@lru_cache(KEPT_VERSIONS)
def _members(version: _Version) -> tuple[list[str], list[str], list[str]]:
    pairs = list_group_members(version.spec)
    return [group_id for group_id, _ in pairs], [task_id for _, task_id in pairs], list_mapped_tasks(version.spec)


def grid_of(version: VersionRow) -> tuple[GridNode, ...]:
    return _grid(_Version(version))


def graph_document_of(version: VersionRow) -> bytes:
    """StructureDataResponse of the whole DAG."""
    return _graph_document(_Version(version))


def members_of(version: VersionRow) -> tuple[list[str], list[str], list[str]]:
    """Group ids and task ids, pairwise, and the tasks that are mapped, as `ui_grid.fetch_ti_summaries` takes them."""
    return _members(_Version(version))


def encode_graph(graph: Graph) -> bytes:
    return msgspec.json.encode(graph)
