"""Whatever claims come: a person whose every right the map gives, or a sentence; never anything else."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from leoflowd.core import oidc
from leoflowd.core.oidc import OidcRefused, Rules
from tests.unit.core.test_oidc import CLIENT, ISSUER, NOW, TOKEN

names = st.sampled_from(["a", "b", "c", "d"])
maps = st.dictionaries(names, st.lists(names, min_size=1, max_size=3).map(tuple), max_size=3)
rules = st.builds(Rules, roles=maps, teams=maps, default_role=st.sampled_from(["", "z"]))
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(rules, st.lists(names))
def test_nobody_has_more_than_his_groups_give_and_all_of_it(rules: Rules, groups: list[str]) -> None:
    given_roles = {role for group in groups for role in rules.roles.get(group, ())}
    try:
        found = oidc.person_of({**TOKEN, "preferred_username": "ana", "groups": groups}, rules)
    except OidcRefused:
        assert not given_roles
        assert not rules.default_role
    else:
        assert set(found.roles) == (given_roles or {rules.default_role})
        assert len(set(found.roles)) == len(found.roles) > 0
        assert set(found.teams) == {team for group in groups for team in rules.teams.get(group, ())}


@given(
    st.dictionaries(
        st.sampled_from(
            [*TOKEN, "azp", "nbf", "jti", "sid", "events", "preferred_username", "email", "email_verified", "groups"]
        ),
        junk,
    )
)
def test_odd_claims_are_refused_or_read_and_never_break(changes: dict[str, Any]) -> None:
    claims = {**TOKEN, **changes}
    rules = Rules(roles={"a": ("A",)}, default_role="z", email_domains=("example.com",))
    for look in (
        lambda: oidc.check_id_token(claims, issuer=ISSUER, client_id=CLIENT, nonce="n", now=NOW),
        lambda: oidc.logout_order(claims, issuer=ISSUER, client_id=CLIENT, now=NOW),
        lambda: oidc.person_of(claims, rules),
        lambda: oidc.lacks(claims, rules),
    ):
        with suppress(OidcRefused):
            look()
