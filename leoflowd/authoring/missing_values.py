"""What a file reads while it is loaded and nobody has given: all of it at once, with the commands that give it.

Loading stops at the first. `compiler` calls this, so that somebody who has cloned a folder is told everything that its
text names; names that the code makes up are told one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from leoflowd.authoring.errors import DagCompileError
from leoflowd.authoring.module_facts import Asked
from leoflowd.contract.loading import Loadable

ENVIRONMENT_PREFIX = "AIRFLOW_VAR_"


def with_all_missing(
    error: DagCompileError, asked: Iterable[tuple[str, Asked]], known: Loadable, environment: Mapping[str, str]
) -> DagCompileError:
    """`error`, and one more for each kind of value of which others are missing too. `asked`: by path what each file
    asks for while it is loaded."""
    found = [(path, one) for path, one in asked if not _is_given(one, known, environment)]
    variables = {one.name: (path, one.line) for path, one in reversed(found) if one.kind == "variable"}
    settings = {one.name: (path, one.line) for path, one in reversed(found) if one.kind == "environment"}
    more = [_variables(variables), _settings(settings)]
    return error.with_others((*error.others, *(one for one in more if one is not None)))


def _is_given(one: Asked, known: Loadable, environment: Mapping[str, str]) -> bool:
    if one.kind == "environment":
        return one.name in environment
    return (
        one.name in known.variables
        or one.name in known.secret_variables
        or f"{ENVIRONMENT_PREFIX}{one.name.upper()}" in environment
    )


def _variables(found: Mapping[str, tuple[str, int]]) -> DagCompileError | None:
    if len(found) < 2:
        return None  # the error itself is about it
    names = sorted(found)
    return DagCompileError(
        *found[names[0]],
        f"{len(names)} variables are read without a default: {', '.join(names)}",
        "none of them is set",
        f"set each, as in `leoflow variables set {names[0]} VALUE`, or write them to a file of KEY=VALUE lines for "
        "`leoflow variables import FILE.env` (in CI `--variables FILE.env`)",
    )


def _settings(found: Mapping[str, tuple[str, int]]) -> DagCompileError | None:
    if len(found) < 2:
        return None
    names = sorted(found)
    return DagCompileError(
        *found[names[0]],
        f"{len(names)} environment variables are read without a default: {', '.join(names)}",
        "none of them is set",
        f"start Leoflow with them, as in `{names[0]}=... leoflow lite`",
    )
