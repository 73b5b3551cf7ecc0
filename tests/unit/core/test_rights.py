"""Who may do what to which DAG."""

from __future__ import annotations

from itertools import pairwise

import pytest

from leoflowd.core.rights import (
    ALL_DAGS,
    NO_DAGS,
    ROLES,
    Dags,
    Grants,
    Right,
    User,
    dags_for,
    grants_of_role,
    is_allowed,
    only,
)

A, B = only("a"), only("b")
ANY = "any dag there is"


def user(grants: Grants) -> User:
    return User(username="ana", role="own", grants=grants)


def of_role(role: str) -> User:
    return User(username="ana", role=role, grants=grants_of_role("ana", role))


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("right", [right for right in Right if right is not Right.NONE])
def test_a_role_gives_its_rights_on_all_dags(role: str, right: Right) -> None:
    who = of_role(role)
    assert is_allowed(who, right, None) == is_allowed(who, right, ANY) == (right in ROLES[role])
    assert dags_for(who, right) == (ALL_DAGS if right in ROLES[role] else NO_DAGS)


def test_each_role_may_do_what_the_one_before_it_may() -> None:
    ordered = [ROLES[name] for name in ("Viewer", "User", "Op", "Admin")]
    assert all(less < more for less, more in pairwise(ordered))


def test_a_role_that_is_not_known_gives_nothing() -> None:
    who = of_role("Owner")
    assert not any(is_allowed(who, right, dag) for right in Right for dag in (None, ANY))


def test_a_right_on_some_dags_is_one_on_those_only() -> None:
    who = user({Right.READ: ALL_DAGS, Right.ACT: A})
    assert is_allowed(who, Right.ACT, "a")
    assert not is_allowed(who, Right.ACT, "b")
    assert is_allowed(who, Right.READ, "b")
    assert is_allowed(who, Right.ACT, None)


def test_what_may_not_be_seen_may_not_be_touched() -> None:
    who = user({Right.READ: A, Right.ACT: ALL_DAGS})
    assert dags_for(who, Right.ACT) == A
    assert not is_allowed(who, Right.ACT, "b")


def test_a_right_on_no_dag_still_serves_for_what_belongs_to_none() -> None:
    who = user({Right.READ: NO_DAGS, Right.OPERATE: NO_DAGS})
    assert is_allowed(who, Right.OPERATE, None)
    assert not is_allowed(who, Right.OPERATE, "a")


def test_sets_of_dags_meet() -> None:
    both = Dags(frozenset({"a", "b"}))
    assert (both & A, A & B, ALL_DAGS & A, A & ALL_DAGS) == (A, NO_DAGS, A, A)
    assert ALL_DAGS & ALL_DAGS == ALL_DAGS


def test_sql_gets_null_for_all_dags_and_never_for_none() -> None:
    assert ALL_DAGS.parameter() is None
    assert NO_DAGS.parameter() == []
    assert Dags(frozenset({"b", "a"})).parameter() == ["a", "b"]
