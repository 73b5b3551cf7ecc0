"""What a DAG file reads while it is loaded: what it may read, and the note of what it did read. ADR 39.

Whoever compiles (Lite's workspace, `leoflow compile`) gives the loader a `Loadable`; the shim answers `Variable.get`
and `Connection.get` from it and names what was asked for; `read_now` makes a `Read` of each, for the artifact.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

ReadKind = Literal["variable", "connection", "environment"]
NOTHING = ""
"""The digest of what was not there."""
_SECRET = "secret"  # noqa: S105  # stands for a value that is not told
NOT_TOLD = "__secrets__"
"""Of a connection: the names of its fields that are not told (`password`, `extra`)."""


class Loadable(msgspec.Struct, frozen=True, kw_only=True):
    """No secret is in it: of secret things there are only the names."""

    variables: Mapping[str, str] = {}
    """In JSON values, `***` stands in the place of what has a secret name."""
    secret_variables: tuple[str, ...] = ()
    """Keys that promise a secret, or whose value does not open."""
    connections: Mapping[str, Mapping[str, Any]] = {}
    """By id: Airflow's fields that are set, and `NOT_TOLD`."""


class Read(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One thing that a file asked for while it was loaded, whether it was there or not."""

    kind: ReadKind
    """`environment`: `key` is the name of the `AIRFLOW_VAR_...` or `AIRFLOW_CONN_...` that counted."""
    key: str
    digest: str = NOTHING
    """SHA-256 (hex) of what was read."""


def read_now(kind: ReadKind, key: str, known: Loadable, environment: Mapping[str, str]) -> Read:
    """What reading this gives at this moment."""
    text: str | None
    match kind:
        case "environment":
            text = environment.get(key)
        case "variable":
            text = known.variables.get(key, _SECRET if key in known.secret_variables else None)
        case "connection":
            fields = known.connections.get(key)
            text = None if fields is None else msgspec.json.encode(fields, order="sorted").decode()
    if text is None:
        return Read(kind=kind, key=key)
    return Read(kind=kind, key=key, digest=hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest())


def are_current(reads: Sequence[Read], known: Loadable, environment: Mapping[str, str]) -> bool:
    """Would the file that read this read the same now?"""
    return all(read_now(read.kind, read.key, known, environment) == read for read in reads)


EMPTY = Loadable()
"""Where nothing is stored."""
