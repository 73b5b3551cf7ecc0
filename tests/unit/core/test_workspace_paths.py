"""Which texts may name a file of the workspace."""

from __future__ import annotations

import pytest

from leoflowd.contract.errors import Invalid
from leoflowd.core.workspace_paths import DEPTH_MAX, PART_MAX_BYTES, checked_path


@pytest.mark.parametrize(
    "path",
    [
        "dag.py",
        "etl/dag.py",
        "a b/c.sql",
        "\u00fcber/\u65e5\u672c.py",
        "a..b",
        "..a/x".removeprefix(".."),
        "x" * PART_MAX_BYTES,
    ],
)
def test_relative_paths_of_plain_names_are_paths(path: str) -> None:
    assert checked_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "/etc/passwd", "//etc", "a//b", "a/", "."),
        *("..", "../x", "a/../../x", "a/./b", "a/.."),
        *("a\\b", "..\\x", "a\0b", "a\nb", "a\x1b[2Jb", "a\u202eb", "\ud800"),
        *(" a", "a ", "a/ b"),
        "x" * (PART_MAX_BYTES + 1),
        "\u00fc" * PART_MAX_BYTES,
        "/".join("x" * (DEPTH_MAX + 1)),
        *(".leoflow-0123", "a/.leoflow-x"),
    ],
)
@pytest.mark.parametrize("hidden", [False, True])
def test_whatever_could_lead_elsewhere_or_cannot_be_shown_is_none(path: str, hidden: bool) -> None:
    with pytest.raises(Invalid, match="no path for the editor"):
        checked_path(path, hidden=hidden)


@pytest.mark.parametrize("path", [".env", ".git/config", "a/.git", "...", "..a"])
def test_hidden_names_are_paths_for_those_who_ask_for_them(path: str) -> None:
    with pytest.raises(Invalid, match="hidden"):
        checked_path(path)
    assert checked_path(path, hidden=True) == path
