"""Files of variables, as Airflow imports them."""

from __future__ import annotations

from pathlib import Path

import pytest

from leoflowd.authoring.errors import DagCompileError
from leoflowd.authoring.variable_files import read_variables
from leoflowd.contract.variable import VariableFacts

FOUND = (
    VariableFacts(key="region", value="eu"),
    VariableFacts(key="limits", value='{\n  "rows": 3\n}', description="of one run"),
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("v.json", '{"region": "eu", "limits": {"value": {"rows": 3}, "description": "of one run"}}'),
        ("v.yaml", "region: eu\nlimits:\n  value: {rows: 3}\n  description: of one run\n"),
        ("v.YML", "region: eu\nlimits: {value: {rows: 3}, description: of one run}\n"),
        ("variables", '\ufeff{"region": "eu", "limits": {"value": {"rows": 3}, "description": "of one run"}}'),
    ],
)
def test_json_and_yaml(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_variables(tmp_path / name) == FOUND


def test_lines(tmp_path: Path) -> None:
    (tmp_path / "v.env").write_text("# where\nregion = eu\n\nurl=http://h/?a=b\nempty=\n")
    assert [(facts.key, facts.value) for facts in read_variables(tmp_path / "v.env")] == [
        ("region", "eu"),
        ("url", "http://h/?a=b"),
        ("empty", ""),
    ]


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("v.json", b"{", 1),
        ("v.json", b"[1]", 1),
        ("v.json", b'{"a": "\xff"}', 1),
        ("v.yaml", b"a: 1\na: 2\n", 2),
        ("v.env", b"a=1\nnothing\n", 2),
        ("v.env", b"a=1\n=2\n", 2),
    ],
)
def test_another_file_is_refused_with_its_line(tmp_path: Path, name: str, content: bytes, line: int) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DagCompileError) as refused:
        read_variables(tmp_path / name)
    assert (refused.value.path, refused.value.line) == (name, line)
