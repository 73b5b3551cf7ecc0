"""Who watches which waits: shards of ids, and how daemons that come and go share them out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from leoflowd.core.pool_shards import (
    ALL_SHARDS,
    MEMBERS_FROM,
    SHARDS,
    home_of,
    plan_shift,
)

members = st.frozensets(st.integers(MEMBERS_FROM, 2**31 - 1), min_size=1, max_size=6)


@given(members)
def test_each_shard_has_one_home_and_who_leaves_moves_his_own_alone(everybody: frozenset[int]) -> None:
    homes = {shard: home_of(shard, everybody) for shard in ALL_SHARDS}
    for gone in everybody if len(everybody) > 1 else ():
        rest = everybody - {gone}
        for shard, home in homes.items():
            assert home_of(shard, rest) == home or home == gone


@given(members, st.data())
def test_whoever_looks_in_whatever_order_each_shard_comes_home_and_is_never_taken_from_another(
    everybody: frozenset[int], data: st.DataObject
) -> None:
    """The lock table: shard -> member. Two looks each, after any beginning."""
    order = sorted(everybody)
    locks = dict(data.draw(st.dictionaries(st.integers(0, SHARDS - 1), st.sampled_from(order))))
    for _ in range(2):
        for me in data.draw(st.permutations(order)):
            held = {shard for shard, member in locks.items() if member == me}
            shift = plan_shift(me, everybody, held, locks.keys())
            assert not shift.claim & locks.keys()
            assert shift.give_up <= held
            locks.update(dict.fromkeys(shift.claim, me))
            for shard in shift.give_up:
                del locks[shard]
    assert locks == {shard: home_of(shard, everybody) for shard in ALL_SHARDS}


def test_one_daemon_alone_has_everything_at_its_first_look() -> None:
    assert plan_shift(MEMBERS_FROM, (), (), ()).claim == ALL_SHARDS
