"""Who may do what to which DAG: the one decision, and what the roles give. ADR 32.

Asked by `api.auth` before every route, and by whoever lists things of DAGs, for the DAGs that a list may show.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

import msgspec


class Right(Enum):
    NONE = auto()
    """Answered without a token."""
    READ = auto()
    ACT = auto()
    """Trigger, pause, clear, mark, note, delete: whatever touches DAGs, runs and task instances."""
    DEPLOY = auto()
    """Register versions, roll back, promote: what runs is decided here, and nothing secret is shown."""
    OPERATE = auto()
    """Pools, waits, connections, variables, assets; reading the secrets-bearing ones too."""
    ADMIN = auto()


class Dags(msgspec.Struct, frozen=True):
    """Some DAGs, by id, whether they exist or not; `ids` None: all that there are and will be."""

    ids: frozenset[str] | None

    def __contains__(self, dag_id: str) -> bool:
        return self.ids is None or dag_id in self.ids

    def __and__(self, other: Dags) -> Dags:
        if self.ids is None:
            return other
        return self if other.ids is None else Dags(self.ids & other.ids)

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
    "Op": frozenset({Right.READ, Right.ACT, Right.DEPLOY, Right.OPERATE}),
    "Admin": frozenset({Right.READ, Right.ACT, Right.DEPLOY, Right.OPERATE, Right.ADMIN}),
}

TOKEN_RIGHTS: Mapping[str, frozenset[Right]] = {
    "read": ROLES["Viewer"],
    "run": ROLES["User"],
    "deploy": frozenset({Right.READ, Right.ACT, Right.DEPLOY}),
    "operate": ROLES["Op"],
    "admin": ROLES["Admin"],
}
"""What an access token was made for -> the rights that it has at most."""


class User(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks."""

    username: str
    role: str
    grants: Grants


def grants_of_role(username: str, role: str) -> Grants:
    """What a role gives: its rights, on all DAGs. A role that is not known gives nothing."""
    return dict.fromkeys(ROLES.get(role, ()), ALL_DAGS)


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
    return dag in dags_for(who, right)
