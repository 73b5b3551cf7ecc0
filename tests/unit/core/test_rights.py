"""Who may do what to which DAG."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leoflowd.contract.errors import Invalid
from leoflowd.core.rights import (
    ALL_DAGS,
    NO_DAGS,
    ROLES,
    Dags,
    Grants,
    Held,
    Right,
    User,
    dags_for,
    grants_of,
    is_allowed,
    matches,
    only,
    parse_scope,
    scope_text,
)

A, B = only("a"), only("b")
ANY = "any dag there is"


def user(grants: Grants) -> User:
    return User(username="ana", roles=("own",), grants=grants)


def of_role(role: str) -> User:
    return User(username="ana", roles=(role,), grants=grants_of((role,), ()))


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


# --- roles of one's own ------------------------------------------------------------------------------------------


def held(rights: str, *patterns: str, ids: tuple[str, ...] = (), is_all: bool = False) -> Held:
    return Held(rights=rights, is_all=is_all, patterns=patterns, ids=ids)


def of_grants(*given: Held, roles: tuple[str, ...] = ("own",)) -> User:
    return User(username="ana", roles=roles, grants=grants_of(roles, given))


def test_a_grant_gives_its_rights_on_its_dags_and_on_no_other() -> None:
    who = of_grants(held("run", "a"), held("read", "b"))
    assert is_allowed(who, Right.ACT, "a")
    assert is_allowed(who, Right.READ, "b")
    assert not is_allowed(who, Right.ACT, "b")
    assert not is_allowed(who, Right.READ, "c")
    assert not is_allowed(who, Right.DEPLOY, None)


def test_a_pattern_holds_for_dags_that_there_are_not_yet() -> None:
    """Or nobody of a team could deploy its first one."""
    who = of_grants(held("deploy", "sales_*", ids=("sales_old",)))
    assert is_allowed(who, Right.DEPLOY, "sales_new")
    assert not is_allowed(who, Right.DEPLOY, "sale")
    assert dags_for(who, Right.DEPLOY).parameter() == ["sales_old"]


def test_roles_add_up() -> None:
    who = of_grants(held("operate", "a"), roles=("own", "Viewer"))
    assert dags_for(who, Right.READ) == ALL_DAGS
    assert dags_for(who, Right.OPERATE) == A
    assert dags_for(of_grants(held("run", "a"), held("run", "b")), Right.ACT) == Dags(frozenset({"a", "b"}))
    assert dags_for(of_grants(held("run", "a"), held("run", is_all=True)), Right.ACT) == ALL_DAGS


def test_settings_open_no_dag_and_no_dag_opens_settings() -> None:
    clerk, operator = of_grants(held("settings", is_all=True)), of_grants(held("operate", is_all=True))
    assert is_allowed(clerk, Right.SETTINGS, None)
    assert is_allowed(clerk, Right.READ, None), "or the UI would not open"
    assert not is_allowed(clerk, Right.READ, "a")
    assert not is_allowed(operator, Right.SETTINGS, None)


def test_no_grant_gives_what_an_administrator_does() -> None:
    everything = of_grants(*(held(rights, is_all=True) for rights in ("read", "run", "deploy", "operate", "settings")))
    assert not is_allowed(everything, Right.ADMIN, None)
    assert set(everything.grants) == set(Right) - {Right.ADMIN, Right.NONE}


def test_a_role_that_grants_nothing_gives_nothing() -> None:
    assert not of_grants().grants


@pytest.mark.parametrize(
    ("pattern", "dag_id", "does"),
    [
        ("etl", "etl", True),
        ("etl", "etl2", False),
        ("etl*", "etl", True),
        ("*_daily", "etl_daily", True),
        ("*_daily", "etl_daily_2", False),
        ("a*c", "abbc", True),
        ("a.c", "abc", False),
        ("a_c", "abc", False),
        ("*", "anything", True),
    ],
)
def test_a_star_stands_for_any_characters_and_all_else_for_itself(pattern: str, dag_id: str, does: bool) -> None:
    assert matches(pattern, dag_id) is does


@given(pattern=st.text("ab*", max_size=8), dag_id=st.text("ab", max_size=8))
def test_a_pattern_is_matched_as_a_shell_does(pattern: str, dag_id: str) -> None:
    assert matches(pattern, dag_id) is fnmatchcase(dag_id, pattern)


def test_a_pattern_of_many_stars_is_answered() -> None:
    assert not matches("*a" * 120 + "b", "a" * 250)


def test_patterns_meet_where_they_are_the_same_and_ids_where_they_match() -> None:
    one, other = Dags(frozenset({"x"}), frozenset({"a*", "b*"})), Dags(frozenset({"ab", "y"}), frozenset({"a*", "c*"}))
    assert one & other == Dags(frozenset({"ab"}), frozenset({"a*"}))
    assert one | other == Dags(frozenset({"x", "ab", "y"}), frozenset({"a*", "b*", "c*"}))


@pytest.mark.parametrize("text", ["all", "my-teams", "dag:etl_*", "tag:a:b", "team:sales"])
def test_a_scope_is_written_as_it_is_read(text: str) -> None:
    assert scope_text(*parse_scope(text)) == text


@pytest.mark.parametrize("text", ["", "etl", "dag:", "tag:", "dag:a b", "dag:a?", "everything", "my-teams:", "all:x"])
def test_a_scope_that_says_not_which_dags_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_scope(text)
