"""`.airflowignore`: which files of a dags folder are none of Airflow's business.

One may lie in any folder and speaks for all below it. Patterns are those of `.gitignore`, Airflow 3's default, or, when
AIRFLOW__CORE__DAG_IGNORE_FILE_SYNTAX says `regexp`, regular expressions searched in the path. `discovery` asks
folder by folder from the top, so that what lies in an ignored folder is ignored whatever a later pattern says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from pathspec import GitIgnoreSpec

from leoflowd.authoring.errors import DagCompileError
from leoflowd.authoring.reading import read_file

IGNORE_NAME = ".airflowignore"
SYNTAX_VARIABLE = "AIRFLOW__CORE__DAG_IGNORE_FILE_SYNTAX"
MAX_BYTES = 1024 * 1024

Rules = tuple[tuple[Path, Callable[[str], bool | None]], ...]
"""(folder, what its file says of a path relative to it: ignored, not ignored, or nothing), outermost folder first."""


def with_rules_of(folder: Path, rules: Rules, *, shown: str) -> Rules:
    """`rules`, and those of the folder's own file if it has one. Raises `DagCompileError` under the name `shown`."""
    file = folder / IGNORE_NAME
    if not os.path.lexists(file):
        return rules
    lines = read_file(file, shown, MAX_BYTES).decode("utf-8", "replace").splitlines()
    is_regexp = os.environ.get(SYNTAX_VARIABLE, "glob").strip().lower() == "regexp"
    return (*rules, (folder, _regexps(lines, shown) if is_regexp else _globs(lines, shown)))


def is_ignored(path: Path, rules: Rules, *, is_folder: bool) -> bool:
    """Whether the innermost file that says anything of this path ignores it."""
    for folder, says in reversed(rules):
        verdict = says(path.relative_to(folder).as_posix() + ("/" if is_folder else ""))
        if verdict is not None:
            return verdict
    return False


def _globs(lines: list[str], shown: str) -> Callable[[str], bool | None]:
    try:
        spec = GitIgnoreSpec.from_lines(lines)
    except ValueError as error:
        raise _no_pattern(shown, 1, str(error)) from error
    return lambda path: spec.check_file(path).include


def _regexps(lines: list[str], shown: str) -> Callable[[str], bool | None]:
    patterns = []
    for number, line in enumerate(lines, start=1):
        text = re.sub(r"\s*#.*", "", line).strip()
        try:
            patterns += [re.compile(text)] if text else []
        except re.error as error:
            raise _no_pattern(shown, number, f"{text!r}: {error}") from error
    return lambda path: True if any(pattern.search(path.rstrip("/")) for pattern in patterns) else None


def _no_pattern(shown: str, line: int, why: str) -> DagCompileError:
    return DagCompileError(shown, line, "this is no pattern", why, f"correct it; {SYNTAX_VARIABLE} chooses the syntax")
