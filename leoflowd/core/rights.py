"""Who may do what to which DAG: the one decision, and what the roles give. ADR 32.

Asked by `api.auth` before every route, and by whoever lists things of DAGs, for the DAGs that a list may show.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum, auto

import msgspec

from leoflowd.contract.errors import Invalid
from leoflowd.contract.values import shown


class Right(Enum):
    NONE = auto()
    """Answered without a token."""
    READ = auto()
    ACT = auto()
    """Trigger, pause, clear, mark, note, delete: whatever touches DAGs, runs and task instances."""
    DEPLOY = auto()
    """Register versions, roll back, promote: what runs is decided here, and nothing secret is shown."""
    OPERATE = auto()
    """Waits, callbacks, assets: what runs behind DAGs."""
    SETTINGS = auto()
    """Connections, variables, pools: what belongs to no DAG, with the secrets in it."""
    ADMIN = auto()


class Dags(msgspec.Struct, frozen=True):
    """Some DAGs, by id, whether they exist or not; `ids` None: all that there are and will be.

    `patterns`: whatever is called so as well. Those that exist are among `ids`, for the store, which knows no patterns.
    """

    ids: frozenset[str] | None
    patterns: frozenset[str] = frozenset()

    def __contains__(self, dag_id: str) -> bool:
        return self.ids is None or dag_id in self.ids or any(matches(each, dag_id) for each in self.patterns)

    def __and__(self, other: Dags) -> Dags:
        """Two patterns meet where they are the same: too little rather than too much."""
        if self.ids is None:
            return other
        if other.ids is None:
            return self
        ids = {dag_id for dag_id in self.ids ^ other.ids if dag_id in self and dag_id in other}
        return Dags(self.ids & other.ids | ids, self.patterns & other.patterns)

    def __or__(self, other: Dags) -> Dags:
        if self.ids is None or other.ids is None:
            return ALL_DAGS
        return Dags(self.ids | other.ids, self.patterns | other.patterns)

    def parameter(self) -> list[str] | None:
        """For SQL that reads NULL as all DAGs."""
        return None if self.ids is None else sorted(self.ids)


ALL_DAGS = Dags(None)
NO_DAGS = Dags(frozenset())

Grants = Mapping[Right, Dags]
"""The DAGs that each right is held on. One that is held on no DAG still serves for what belongs to no DAG."""

ROLES: Mapping[str, frozenset[Right]] = {
    "Viewer": frozenset({Right.READ}),
    "User": frozenset({Right.READ, Right.ACT}),
    "Op": frozenset({Right.READ, Right.ACT, Right.DEPLOY, Right.OPERATE, Right.SETTINGS}),
    "Admin": frozenset({Right.READ, Right.ACT, Right.DEPLOY, Right.OPERATE, Right.SETTINGS, Right.ADMIN}),
}
"""Those that are built in; each holds on all DAGs."""
ADMIN = "Admin"

TOKEN_RIGHTS: Mapping[str, frozenset[Right]] = {
    "read": ROLES["Viewer"],
    "run": ROLES["User"],
    "deploy": frozenset({Right.READ, Right.ACT, Right.DEPLOY}),
    "operate": ROLES["Op"],
    "admin": ROLES["Admin"],
}
"""What an access token was made for -> the rights that it has at most."""


GRANTABLE: Mapping[str, frozenset[Right]] = {
    "read": ROLES["Viewer"],
    "run": ROLES["User"],
    "deploy": TOKEN_RIGHTS["deploy"],
    "operate": TOKEN_RIGHTS["deploy"] | {Right.OPERATE},
    "settings": frozenset({Right.SETTINGS}),
}
"""What a role of one's own can give. What only an administrator does, only the role Admin gives."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """One grant of a role of one's own, at this moment: `ids` are the DAGs that there are, by tag or pattern."""

    rights: str
    is_all: bool
    patterns: tuple[str, ...]
    ids: tuple[str, ...]

    def dags(self) -> Dags:
        if self.is_all:
            return ALL_DAGS
        globs = frozenset(pattern for pattern in self.patterns if "*" in pattern)
        return Dags(frozenset(self.ids) | (frozenset(self.patterns) - globs), globs)


class User(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks. `roles`: none for a service."""

    username: str
    roles: tuple[str, ...]
    grants: Grants


def grants_of(roles: Iterable[str], held: Iterable[Held]) -> Grants:
    """What roles give together: those that are built in, on all DAGs; a role that is not known, nothing.

    Whoever has anything may see what belongs to no DAG: without READ the UI would not open for him.
    """
    grants: dict[Right, Dags] = {}
    for role in roles:
        grants |= dict.fromkeys(ROLES.get(role, ()), ALL_DAGS)
    for each in held:
        dags = each.dags()
        for right in GRANTABLE.get(each.rights, ()):
            grants[right] = grants.get(right, NO_DAGS) | dags
    return {Right.READ: NO_DAGS, **grants} if grants else grants


def narrowed(grants: Grants, rights: frozenset[Right]) -> Grants:
    """Of these grants, those of these rights."""
    return {right: dags for right, dags in grants.items() if right in rights}


def only(dag_id: str) -> Dags:
    return Dags(frozenset({dag_id}))


def dags_for(who: User, right: Right) -> Dags:
    """The DAGs on which this may be done: what somebody may not see is out of reach of every other right too."""
    return who.grants.get(right, NO_DAGS) & who.grants.get(Right.READ, NO_DAGS)


def is_allowed(who: User, right: Right, dag: str | None) -> bool:
    """May this be done to this DAG? `dag` None: to what belongs to no DAG, or to none in particular."""
    if dag is None:
        return right in who.grants
    return dag in who.grants.get(right, NO_DAGS) and dag in who.grants.get(Right.READ, NO_DAGS)


# --- what a grant is on ------------------------------------------------------------------------------------------

PATTERN_MAX = 250
PATTERN = re.compile(r"[\w.*-]{1,250}")
"""What a DAG id is made of, and `*`."""
ON_ALL, ON_MY_TEAMS = "all", "my-teams"
_ON_NAMED = ("dag", "tag", "team")


def matches(pattern: str, dag_id: str) -> bool:
    """As the store's: `*` stands for any characters, all else for itself. In linear time, whatever the pattern."""
    beginning, *rest = pattern.split("*")
    if not rest:
        return dag_id == beginning
    *middle, ending = rest
    at, end = len(beginning), len(dag_id) - len(ending)
    if at > end or not dag_id.startswith(beginning) or not dag_id.endswith(ending):
        return False
    for part in middle:
        found = dag_id.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def check_pattern(pattern: str) -> str:
    """Raises `Invalid`."""
    if not PATTERN.fullmatch(pattern):
        raise Invalid(
            f"{shown(pattern)!r} is no pattern of DAG ids: letters, digits, `_`, `-`, `.`, and `*` for any of them"
        )
    return pattern


def parse_scope(text: str) -> tuple[str, str]:
    """(kind, name) of `all`, `my-teams`, `dag:PATTERN`, `tag:NAME`, `team:NAME`. Raises `Invalid`."""
    kind, is_named, name = text.partition(":")
    if text in (ON_ALL, ON_MY_TEAMS):
        return text, ""
    if kind not in _ON_NAMED or not is_named or not name or len(name) > PATTERN_MAX:
        raise Invalid(
            f"{shown(text)!r} says not which DAGs: write `all`, `my-teams`, `dag:etl_*`, `tag:NAME` or `team:NAME`"
        )
    return kind, check_pattern(name) if kind == "dag" else name


def scope_text(kind: str, name: str) -> str:
    return f"{kind}:{name}" if name else kind
