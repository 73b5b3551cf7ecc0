"""What of variables and connections a DAG file may read while it is loaded: all but secrets. ADR 39.

What is read there ends in the artifact. `store.loadable` asks for the rows of the store, `cli.variable_sources` for
files and for the answers of a server; pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from leoflowd.contract.connection import ConnectionFacts
from leoflowd.contract.loading import NOT_TOLD, Loadable
from leoflowd.core.masking import masked_text
from leoflowd.core.secret_names import MASK


def loadable_of(shown: Mapping[str, str], connections: Mapping[str, Mapping[str, Any]]) -> Loadable:
    """From what may be shown of each variable: one that is `***` is a secret; and from `told_of` each connection."""
    return Loadable(
        variables={key: text for key, text in shown.items() if text != MASK},
        secret_variables=tuple(key for key, text in shown.items() if text == MASK),
        connections=connections,
    )


def told_of(facts: ConnectionFacts) -> dict[str, Any]:
    """The fields of a connection, less the password, and less an extra that holds a secret, also one shown as `***`."""
    fields = {name: value for name, value in msgspec.structs.asdict(facts).items() if value not in (None, "")}
    del fields["connection_id"]
    secret = ["password"] if "password" in fields else []
    extra = fields.get("extra", "")
    if MASK in extra or masked_text(extra, "") != extra:
        secret.append("extra")
    return {name: value for name, value in fields.items() if name not in secret} | {NOT_TOLD: secret}


UNREADABLE: Mapping[str, Any] = {NOT_TOLD: ["password", "extra"]}
"""A connection whose secrets do not open."""
