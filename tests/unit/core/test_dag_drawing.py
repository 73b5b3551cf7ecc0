"""What grid and graph show of a DAG."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leoflowd.contract.dag_spec import DagSpec, EdgeLabel, MapInput, MappedSpec, TaskGroupSpec, TaskSpec
from leoflowd.core.dag_drawing import Graph, GraphNode, GridNode, build_graph, build_grid, merge_grids
from leoflowd.core.dag_subset import select_subset
from leoflowd.core.group_tree import list_group_members, list_mapped_tasks


def task(task_id: str, *upstream: str, **fields: object) -> TaskSpec:
    return TaskSpec(task_id=task_id, operator="EmptyOperator", upstream_task_ids=upstream, **fields)  # type: ignore[arg-type]


def group(group_id: str, **fields: object) -> TaskGroupSpec:
    return TaskGroupSpec(group_id=group_id, label=group_id.rpartition(".")[2], **fields)  # type: ignore[arg-type]


def dag(*tasks: TaskSpec, groups: tuple[TaskGroupSpec, ...] = (), **fields: object) -> DagSpec:
    return DagSpec(dag_id="d", tasks=tasks, groups=groups, **fields)  # type: ignore[arg-type]


def ids(nodes: tuple[GridNode, ...] | tuple[GraphNode, ...]) -> list[str]:
    return [node.id for node in nodes]


def edges(graph: Graph) -> set[tuple[str, str]]:
    return {(edge.source_id, edge.target_id) for edge in graph.edges}


TWO_LINKED_GROUPS = dag(
    task("g1.a", group_id="g1"),
    task("g1.b", group_id="g1"),
    task("g2.c", "g1.a", "g1.b", group_id="g2"),
    task("g2.d", "g1.a", "g1.b", group_id="g2"),
    groups=(group("g1"), group("g2", upstream_ids=("g1",))),
)


class TestGrid:
    def test_rows_are_in_topological_order_whatever_the_order_of_the_artifact(self) -> None:
        assert ids(build_grid(dag(task("c", "b"), task("b", "a"), task("a")))) == ["a", "b", "c"]

    def test_equals_stay_as_written_as_airflow_passes_over_them(self) -> None:
        # pass 1 takes a, x and c (its upstream was placed before it in the same pass); b waits for d
        spec = dag(task("a"), task("b", "d"), task("x"), task("c", "a"), task("d"))
        assert ids(build_grid(spec)) == ["a", "x", "c", "d", "b"]

    def test_a_group_is_a_node_with_children_and_labels_lose_the_prefix(self) -> None:
        (start, g) = build_grid(dag(task("start"), task("g.t", "start", group_id="g"), groups=(group("g"),)))
        assert start.children is None
        assert (g.id, g.label) == ("g", "g")
        assert g.children is not None
        assert [(n.id, n.label) for n in g.children] == [("g.t", "t")]

    def test_without_prefix_the_label_is_the_id(self) -> None:
        (g,) = build_grid(dag(task("t", group_id="g"), groups=(group("g", prefix_group_id=False),)))
        assert g.children is not None
        assert g.children[0].label == "t"

    def test_a_display_name_wins(self) -> None:
        (node,) = build_grid(dag(task("t", task_display_name="Load it")))
        assert node.label == "Load it"

    def test_groups_nest(self) -> None:
        spec = dag(task("o.i.t", group_id="o.i"), groups=(group("o"), group("o.i", parent_group_id="o")))
        (outer,) = build_grid(spec)
        assert outer.children is not None
        (inner,) = outer.children
        assert (inner.id, inner.label) == ("o.i", "i")
        assert inner.children is not None
        assert inner.children[0].label == "t"

    def test_a_task_between_two_members_of_a_group_is_no_endless_loop(self) -> None:
        spec = dag(task("g.a", group_id="g"), task("x", "g.a"), task("g.b", "x", group_id="g"), groups=(group("g"),))
        assert ids(build_grid(spec)) == ["g", "x"]

    def test_setup_and_teardown_are_told(self) -> None:
        nodes = build_grid(dag(task("s", is_setup=True), task("w", "s"), task("t", "w", is_teardown=True)))
        assert [n.setup_teardown_type for n in nodes] == ["setup", None, "teardown"]

    def test_a_task_that_left_the_dag_is_merged_in_at_the_end_of_its_group(self) -> None:
        latest = build_grid(dag(task("a"), task("g.new", group_id="g"), groups=(group("g"),)))
        older = build_grid(dag(task("gone"), task("a"), task("g.old", group_id="g"), groups=(group("g"),)))
        merged = merge_grids(latest, older)
        assert ids(merged) == ["a", "g", "gone"]
        assert merged[1].children is not None
        assert ids(merged[1].children) == ["g.new", "g.old"]

    def test_a_group_that_became_a_task_stays_a_task(self) -> None:
        latest = build_grid(dag(task("g")))
        older = build_grid(dag(task("g.t", group_id="g"), groups=(group("g"),)))
        assert merge_grids(latest, older) == latest

    def test_members_are_listed_for_every_group_around_them(self) -> None:
        spec = dag(
            task("o.t", group_id="o"),
            task("o.i.u", group_id="o.i"),
            task("free"),
            groups=(group("o"), group("o.i", parent_group_id="o")),
        )
        assert list_group_members(spec) == (("o", "o.t"), ("o.i", "o.i.u"), ("o", "o.i.u"))


class TestGraph:
    def test_edges_are_sorted_pairs(self) -> None:
        graph = build_graph(dag(task("b", "a"), task("a"), task("c", "a")))
        assert [(e.source_id, e.target_id) for e in graph.edges] == [("a", "b"), ("a", "c")]

    def test_linked_groups_meet_in_join_nodes_instead_of_every_pair(self) -> None:
        graph = build_graph(TWO_LINKED_GROUPS)
        down, up = "g1.downstream_join_id", "g2.upstream_join_id"
        assert edges(graph) == {("g1.a", down), ("g1.b", down), (down, up), (up, "g2.c"), (up, "g2.d")}
        assert graph.nodes[0].children is not None
        assert [(n.id, n.type, n.label) for n in graph.nodes[0].children][-1] == (down, "join", "")
        assert graph.nodes[1].children is not None
        assert [(n.id, n.type) for n in graph.nodes[1].children][-1] == (up, "join")

    def test_a_task_before_and_after_a_group(self) -> None:
        spec = dag(
            task("start"),
            task("g.a", "start", group_id="g"),
            task("g.b", "g.a", group_id="g"),
            task("end", "g.b"),
            groups=(group("g", upstream_ids=("start",), downstream_ids=("end",)),),
        )
        up, down = "g.upstream_join_id", "g.downstream_join_id"
        assert edges(build_graph(spec)) == {("start", up), (up, "g.a"), ("g.a", "g.b"), ("g.b", down), (down, "end")}

    def test_members_linked_one_by_one_keep_their_edges(self) -> None:
        spec = dag(task("g.a", group_id="g"), task("t", "g.a"), groups=(group("g"),))
        assert edges(build_graph(spec)) == {("g.a", "t")}

    def test_every_edge_ends_at_a_node_even_beside_an_empty_group(self) -> None:
        spec = dag(task("a"), groups=(group("empty", upstream_ids=("a",), downstream_ids=("a",)),))
        assert edges(build_graph(spec)) == set()
        assert ids(build_graph(spec).nodes) == ["a"]

    def test_labels_sit_on_their_edge(self) -> None:
        spec = dag(task("a"), task("b", "a"), edge_labels=(EdgeLabel(upstream_id="a", downstream_id="b", label="ok"),))
        assert [e.label for e in build_graph(spec).edges] == ["ok"]

    @pytest.mark.parametrize("downstream_id", ["g", "g.upstream_join_id"])
    def test_a_label_on_a_link_of_a_group_sits_before_the_join(self, downstream_id: str) -> None:
        spec = dag(
            task("a"),
            task("g.t", "a", group_id="g"),
            groups=(group("g", upstream_ids=("a",)),),
            edge_labels=(EdgeLabel(upstream_id="a", downstream_id=downstream_id, label="when new"),),
        )
        labelled = {(e.source_id, e.target_id): e.label for e in build_graph(spec).edges}
        assert labelled == {("a", "g.upstream_join_id"): "when new", ("g.upstream_join_id", "g.t"): None}

    def test_an_edge_from_setup_to_teardown_is_marked(self) -> None:
        spec = dag(task("s", is_setup=True), task("w", "s"), task("t", "w", "s", is_teardown=True))
        marked = {(e.source_id, e.target_id): e.is_setup_teardown for e in build_graph(spec).edges}
        assert marked == {("s", "t"): True, ("s", "w"): None, ("w", "t"): None}

    def test_a_group_ends_before_its_teardown(self) -> None:
        spec = dag(
            task("g.w", group_id="g"),
            task("g.t", "g.w", group_id="g", is_teardown=True),
            task("end", "g.w"),
            groups=(group("g", downstream_ids=("end",)),),
        )
        down = "g.downstream_join_id"
        assert edges(build_graph(spec)) == {("g.w", "g.t"), ("g.w", down), (down, "end")}


class TestSubset:
    CHAIN = dag(task("a"), task("b", "a"), task("c", "b"), task("d", "c"))

    @pytest.mark.parametrize(
        ("up", "down", "depth", "expected"),
        [
            (False, False, None, "b"),
            (True, False, None, "ab"),
            (False, True, None, "bcd"),
            (False, True, 1, "bc"),
            (True, True, None, "abcd"),
        ],
    )
    def test_relatives_of_a_task(self, up: bool, down: bool, depth: int | None, expected: str) -> None:
        cut = select_subset(self.CHAIN, "b", include_upstream=up, include_downstream=down, depth=depth)
        assert [t.task_id for t in cut.tasks] == list(expected)

    def test_links_to_what_was_cut_away_are_gone(self) -> None:
        cut = select_subset(TWO_LINKED_GROUPS, "g2", include_upstream=False, include_downstream=False, depth=None)
        assert [g.group_id for g in cut.groups] == ["g2"]
        assert edges(build_graph(cut)) == set()

    def test_the_setup_of_a_kept_task_is_kept(self) -> None:
        spec = dag(task("s", is_setup=True), task("w", "s"), task("t", "w", is_teardown=True), task("x", "w"))
        cut = select_subset(spec, "w", include_upstream=False, include_downstream=False, depth=None)
        assert [t.task_id for t in cut.tasks] == ["s", "w", "t"]


@st.composite
def specs(draw: st.DrawFn) -> DagSpec:
    """Any acyclic DAG of up to 12 tasks in up to 4 nested groups, with links between groups."""
    group_ids = [f"g{i}" for i in range(draw(st.integers(0, 4)))]
    groups = []
    for index, group_id in enumerate(group_ids):
        parent = draw(st.sampled_from([None, *group_ids[:index]]))
        others = [g for g in group_ids if g != group_id]
        linked = draw(st.lists(st.sampled_from(others), unique=True, max_size=2)) if others else []
        groups.append(group(group_id, parent_group_id=parent, upstream_ids=tuple(linked)))
    tasks: list[TaskSpec] = []
    for index in range(draw(st.integers(1, 12))):
        upstream = draw(st.lists(st.sampled_from([t.task_id for t in tasks]), unique=True, max_size=3)) if tasks else []
        tasks.append(task(f"t{index}", *upstream, group_id=draw(st.sampled_from([None, *group_ids]))))
    return dag(*draw(st.permutations(tasks)), groups=tuple(groups))


def all_ids(node: GraphNode) -> set[str]:
    return {node.id}.union(*(all_ids(child) for child in node.children or ()))


@given(specs())
def test_every_edge_has_both_its_nodes_and_every_task_is_drawn_once(spec: DagSpec) -> None:
    graph = build_graph(spec)
    drawn = set().union(*(all_ids(node) for node in graph.nodes))
    assert {end for pair in edges(graph) for end in pair} <= drawn
    flat = list(itertools.chain.from_iterable(sorted(all_ids(node)) for node in graph.nodes))
    assert len(flat) == len(set(flat))
    assert {t.task_id for t in spec.tasks} <= drawn


@given(specs())
def test_without_groups_the_grid_is_a_topological_order(spec: DagSpec) -> None:
    flat = dag(*(task(t.task_id, *t.upstream_task_ids) for t in spec.tasks))
    place = {node_id: index for index, node_id in enumerate(ids(build_grid(flat)))}
    assert all(place[u] < place[t.task_id] for t in flat.tasks for u in t.upstream_task_ids)


def test_mapped_tasks_and_groups_say_so_and_so_do_the_tasks_of_the_groups() -> None:
    mapped = MappedSpec(inputs=(MapInput(name="x", length=2),))
    spec = dag(
        task("plain"),
        task("m", mapped=mapped),
        task("g.inside", group_id="g"),
        groups=(group("g", mapped=mapped),),
    )
    found, drawn = build_grid(spec), build_graph(spec)
    rows = {node.id: node.is_mapped for node in found}
    assert rows == {"plain": None, "m": True, "g": True}
    assert [child.is_mapped for node in found if node.id == "g" for child in node.children or ()] == [True]
    nodes = {node.id: node.is_mapped for node in drawn.nodes}
    assert nodes == {"plain": False, "m": True, "g": True}
    assert [child.is_mapped for node in drawn.nodes if node.id == "g" for child in node.children or ()] == [True]
    assert list_mapped_tasks(spec) == ["m", "g.inside"]
