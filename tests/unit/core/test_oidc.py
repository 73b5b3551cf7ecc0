"""What an identity provider's claims must be, and what they make of a person."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from leoflowd.core import oidc
from leoflowd.core.oidc import OidcRefused, Rules

NOW = datetime(2026, 11, 29, 20, 0, tzinfo=UTC)
SECOND = int(NOW.timestamp())
ISSUER, CLIENT = "https://id.example.com", "leoflow"
TOKEN = {"iss": ISSUER, "aud": CLIENT, "sub": "7", "iat": SECOND, "exp": SECOND + 300, "nonce": "n"}
RULES = Rules(roles={"staff": ("Viewer",), "ops": ("Op", "developer")}, teams={"sales": ("sales",)})


def check(**changes: Any) -> None:
    claims = {name: value for name, value in {**TOKEN, **changes}.items() if value is not None}
    oidc.check_id_token(claims, issuer=ISSUER, client_id=CLIENT, nonce="n", now=NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"aud": [CLIENT]},
        {"aud": [CLIENT, "b"], "azp": CLIENT},
        {"azp": CLIENT},
        {"exp": SECOND - 59, "iat": SECOND - 300},
        {"iat": SECOND + 60},
        {"iat": SECOND - 600},
        {"nbf": SECOND + 60},
        {"iat": SECOND + 0.5},
    ],
)
def test_a_token_of_this_moment_for_this_login_is_good(changes: dict[str, Any]) -> None:
    check(**changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"iss": None}, "issued by nobody"),
        ({"iss": ISSUER + "/"}, "issued by https://id.example.com/"),
        ({"aud": None}, "(aud)"),
        ({"aud": []}, "(aud)"),
        ({"aud": {CLIENT: 1}}, "(aud)"),
        ({"aud": CLIENT + "2"}, "(aud)"),
        ({"aud": [CLIENT, "b"]}, "(azp)"),
        ({"azp": "b"}, "(azp)"),
        ({"exp": SECOND - 60, "iat": SECOND - 300}, "expired"),
        ({"exp": None}, "no time in exp"),
        ({"exp": True}, "no time in exp"),
        ({"exp": 1e30}, "no time in exp"),
        ({"iat": SECOND + 61}, "(iat)"),
        ({"iat": SECOND - 601}, "(iat)"),
        ({"iat": None}, "no time in iat"),
        ({"nbf": SECOND + 61}, "(nbf)"),
        ({"nonce": None}, "(nonce)"),
        ({"nonce": ""}, "(nonce)"),
        ({"nonce": ["n"]}, "(nonce)"),
        ({"nonce": "ü"}, "(nonce)"),
        ({"sub": None}, "(sub)"),
        ({"sub": ""}, "(sub)"),
        ({"sub": 7}, "(sub)"),
        ({"sub": "7\0"}, "(sub)"),
        ({"sub": "7" * 256}, "(sub)"),
    ],
)
def test_any_other_token_is_refused_with_its_reason(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(OidcRefused) as refused:
        check(**changes)
    assert said in str(refused.value)


# --- logout tokens -----------------------------------------------------------------------------------------------

LOGOUT = {**TOKEN, "nonce": None, "jti": "j", "events": {oidc.BACKCHANNEL_EVENT: {}}, "sid": "s"}


def order(**changes: Any) -> oidc.LogoutOrder:
    claims = {name: value for name, value in {**LOGOUT, **changes}.items() if value is not None}
    return oidc.logout_order(claims, issuer=ISSUER, client_id=CLIENT, now=NOW)


def test_a_logout_token_names_a_session_a_person_or_both() -> None:
    assert [(o.subject, o.sid) for o in (order(), order(sid=None), order(sub=None))] == [
        ("7", "s"),
        ("7", None),
        (None, "s"),
    ]
    assert order().issued_at == NOW


@pytest.mark.parametrize(
    "changes",
    [
        {"events": None},
        {"events": []},
        {"events": {oidc.BACKCHANNEL_EVENT: None}},
        {"events": {"another": {}}},
        {"nonce": "n"},
        {"nonce": ""},
        {"jti": None},
        {"sub": None, "sid": None},
        {"sub": None, "sid": 7},
        {"sub": ""},
        {"aud": "b"},
        {"iat": SECOND - 601},
    ],
)
def test_any_other_logout_token_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(OidcRefused):
        order(**changes)


# --- who it is ---------------------------------------------------------------------------------------------------


def person(rules: Rules = RULES, **claims: Any) -> oidc.Person:
    return oidc.person_of({**TOKEN, "preferred_username": "ana", **claims}, rules)


@pytest.mark.parametrize(
    ("groups", "default", "roles", "teams"),
    [
        (["staff"], "", ("Viewer",), ()),
        (["ops"], "", ("Op", "developer"), ()),
        (["ops", "staff", "ops"], "", ("Op", "developer", "Viewer"), ()),
        (["staff", "sales"], "", ("Viewer",), ("sales",)),
        ("staff", "", ("Viewer",), ()),
        (["Staff"], "User", ("User",), ()),
        (["sales"], "User", ("User",), ("sales",)),
        ([{"name": "staff"}, 7, "staff"], "", ("Viewer",), ()),
        (None, "User", ("User",), ()),
    ],
)
def test_groups_give_roles_and_teams_and_else_there_is_the_default(
    groups: Any, default: str, roles: tuple[str, ...], teams: tuple[str, ...]
) -> None:
    rules = Rules(roles=RULES.roles, teams=RULES.teams, default_role=default)
    found = person(rules, groups=groups)
    assert (found.roles, found.teams) == (roles, teams)


@pytest.mark.parametrize("groups", [None, [], ["Staff"], ["sales"], [7], {"staff": 1}, "staff,ops"])
def test_without_a_role_nobody_logs_in(groups: Any) -> None:
    with pytest.raises(OidcRefused, match="ana is in no group that gives a role"):
        person(groups=groups)


def test_groups_are_found_inside_other_claims_and_under_names_with_dots() -> None:
    inside = Rules(roles=RULES.roles, groups_claim="realm_access.roles")
    assert person(inside, realm_access={"roles": ["staff"]}).roles == ("Viewer",)
    assert person(inside, **{"realm_access.roles": ["staff"]}).roles == ("Viewer",)
    with pytest.raises(OidcRefused):
        person(inside, realm_access=["roles"])


def test_groups_that_are_too_many_for_the_token_are_said() -> None:
    with pytest.raises(OidcRefused, match="too many groups"):
        person(_claim_names={"groups": "src1"})


@pytest.mark.parametrize(
    ("claims", "username"),
    [
        ({}, "ana"),
        ({"preferred_username": None, "email": "a@b.c"}, "a@b.c"),
        ({"preferred_username": " ", "email": "a@b.c", "email_verified": True}, "a@b.c"),
        ({"preferred_username": None, "email": "a@b.c", "email_verified": False}, None),
        ({"preferred_username": None, "email": "a@b.c", "email_verified": "false"}, None),
        ({"preferred_username": 7}, None),
        ({"preferred_username": " ana "}, "ana"),
    ],
)
def test_the_name_is_the_first_claim_that_is_one(claims: dict[str, Any], username: str | None) -> None:
    if username is None:
        with pytest.raises(OidcRefused, match="gives no name"):
            person(groups=["staff"], **claims)
    else:
        assert person(groups=["staff"], **claims).username == username


@pytest.mark.parametrize(
    ("email", "verified", "is_in"),
    [
        ("a@example.com", True, True),
        ("a@EXAMPLE.com", "true", True),
        ("a@example.com", None, False),
        ("a@example.com", False, False),
        ("a@evil.com", True, False),
        ("a@evil-example.com", True, False),
        ("a@example.com@evil.com", True, False),
        ("a@example.com.evil.com", True, False),
        ("example.com", True, False),
        (None, True, False),
        (["a@example.com"], True, False),
    ],
)
def test_only_verified_addresses_of_the_domains_log_in(email: Any, verified: Any, is_in: bool) -> None:
    rules = Rules(roles=RULES.roles, email_domains=("example.com",))
    claims = {"groups": ["staff"], "email": email, "email_verified": verified}
    if is_in:
        assert person(rules, **claims).email == email
    else:
        with pytest.raises(OidcRefused):
            person(rules, **claims)


def test_userinfo_is_asked_for_what_is_missing_and_no_more() -> None:
    with_name = {**TOKEN, "preferred_username": "ana"}
    assert oidc.lacks(with_name, RULES)
    assert not oidc.lacks({**with_name, "groups": []}, RULES)
    assert not oidc.lacks(with_name, Rules(default_role="User"))
    assert oidc.lacks(TOKEN, Rules(default_role="User"))
    assert oidc.lacks(with_name, Rules(default_role="User", email_domains=("example.com",)))


def test_what_the_token_says_counts_more_than_userinfo() -> None:
    found = oidc.with_userinfo({"sub": "7", "groups": ["staff"]}, {"sub": "7", "groups": ["ops"], "email": "a@b.c"})
    assert found == {"sub": "7", "groups": ["staff"], "email": "a@b.c"}
    for other in ({"sub": "8"}, {}):
        with pytest.raises(OidcRefused):
            oidc.with_userinfo({"sub": "7"}, other)


# --- configuration -----------------------------------------------------------------------------------------------


def test_a_map_of_groups_is_read() -> None:
    text = " staff = Viewer;cn=ops,dc=example,dc=com=Op;; staff=developer; "
    assert oidc.parse_group_map(text) == {"staff": ("Viewer", "developer"), "cn=ops,dc=example,dc=com": ("Op",)}
    assert oidc.parse_group_map("") == {}


@pytest.mark.parametrize("text", ["staff", "staff=", "=Viewer", "a=b;c"])
def test_a_map_of_groups_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not GROUP=NAME"):
        oidc.parse_group_map(text)


@pytest.mark.parametrize(
    "url", ["https://id.example.com", "http://127.0.0.1:9", "http://[::1]:9/x", "http://localhost"]
)
def test_tls_is_asked_for_except_on_this_machine(url: str) -> None:
    assert oidc.check_url(url, "it") == url


@pytest.mark.parametrize(
    "url",
    [
        "http://id.example.com",
        "http://127.0.0.1.example.com",
        "https://",
        "https://u:p@id.example.com",
        "https://id.example.com#x",
        "ftp://127.0.0.1",
        "//id.example.com",
        "https://[::1",
        "",
        None,
        7,
    ],
)
def test_any_other_address_is_refused(url: Any) -> None:
    with pytest.raises(ValueError, match=r"^it is "):
        oidc.check_url(url, "it")
