"""When events start a run. `oracle/asset_conditions.jsonl`: what the AssetEvaluator of apache-airflow-core 3.2.2 said
of random conditions, with assets, aliases and active assets in its own tables."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from leoflowd.contract.asset_spec import AliasSpec, AllOf, AnyOf, AssetAt, AssetCondition, AssetNamed, AssetSpec
from leoflowd.core.asset_conditions import ComeAsset, expression_of, is_met, named_in


class Row(msgspec.Struct):
    condition: AssetCondition
    come: list[ComeAsset]
    is_met: bool


ROWS = [
    msgspec.convert(
        {**row, "come": [ComeAsset(**{**one, "aliases": tuple(one["aliases"])}) for one in row["come"]]}, Row
    )
    for row in map(json.loads, (Path(__file__).parent / "oracle" / "asset_conditions.jsonl").read_text().splitlines())
]
A, B = AssetSpec(name="a", uri="u://a"), AssetSpec(name="b", uri="u://b")
LEAF = st.sampled_from([A, B, AliasSpec(name="x"), AssetNamed(name="a"), AssetAt(uri="u://b")])
CONDITION = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        st.builds(AnyOf, of=st.lists(inner, max_size=3).map(tuple)),
        st.builds(AllOf, of=st.lists(inner, max_size=3).map(tuple)),
    ),
)
COME = st.frozensets(
    st.builds(
        ComeAsset,
        st.sampled_from("ab"),
        st.sampled_from(["u://a", "u://b"]),
        st.booleans(),
        st.sampled_from([(), ("x",)]),
    )
)


def test_conditions_are_met_as_in_airflow() -> None:
    assert [row for row in ROWS if is_met(row.condition, row.come) is not row.is_met] == []
    assert {row.is_met for row in ROWS} == {True, False}


@given(CONDITION, COME, COME)
def test_what_has_come_is_never_too_much(condition: AssetCondition, come: frozenset, more: frozenset) -> None:
    assert is_met(condition, come | more) or not is_met(condition, come)


@given(st.lists(CONDITION, max_size=3).map(tuple), COME)
def test_all_and_any_are_those_of_their_parts(parts: tuple[AssetCondition, ...], come: frozenset) -> None:
    said = [is_met(part, come) for part in parts]
    assert is_met(AllOf(of=parts), come) is all(said)
    assert is_met(AnyOf(of=parts), come) is any(said)


def test_a_condition_is_shown_as_airflow_shows_it() -> None:
    condition = AllOf(of=(A, AnyOf(of=(AliasSpec(name="x"), AssetNamed(name="n"), AssetAt(uri="u://u")))))
    assert expression_of(condition, {("a", "u://a"): 7}) == {
        "all": [
            {"asset": {"id": 7, "name": "a", "uri": "u://a", "group": "asset"}},
            {
                "any": [
                    {"alias": {"name": "x", "group": "asset"}},
                    {"asset_ref": {"name": "n"}},
                    {"asset_ref": {"uri": "u://u"}},
                ]
            },
        ]
    }
    assert list(named_in(condition)) == [A, AliasSpec(name="x"), AssetNamed(name="n"), AssetAt(uri="u://u")]
    assert expression_of(None, {}) is None
