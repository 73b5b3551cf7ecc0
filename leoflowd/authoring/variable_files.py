"""Files of variables, in the forms that Airflow imports: JSON, YAML, or lines `KEY=VALUE`. The CLI reads them."""

from __future__ import annotations

from pathlib import Path

from leoflowd.authoring.errors import DagCompileError
from leoflowd.authoring.reading import read_file
from leoflowd.authoring.yaml_lines import read_yaml
from leoflowd.contract.errors import Invalid
from leoflowd.contract.values import parsed_json
from leoflowd.contract.variable import VariableFacts, described

MAX_BYTES = 8 * 1024 * 1024


def read_variables(file: Path) -> tuple[VariableFacts, ...]:
    """In the order of the file, which its ending says how to read. Raises `DagCompileError` with the line."""
    try:
        match file.suffix.lower():
            case ".yaml" | ".yml":
                return described(read_yaml(file).content)
            case ".env":
                return described(dict(_pairs(file)))
            case _:
                return described(parsed_json(_text(file), f"the file {file.name}"))
    except Invalid as error:
        raise _refused(file, 1, str(error)) from error


def _pairs(file: Path) -> list[tuple[str, str]]:
    pairs = []
    for number, line in enumerate(_text(file).splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        key, has_value, value = stripped.partition("=")
        if not has_value or not key.strip():
            raise _refused(file, number, "this line is not KEY=VALUE")
        pairs.append((key.strip(), value.strip()))
    return pairs


def _text(file: Path) -> str:
    try:
        return read_file(file, file.name, MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused(file, 1, f"the file is not UTF-8 text: {error}") from error


def _refused(file: Path, line: int, why: str) -> DagCompileError:
    example = '{"region": "eu", "limits": {"value": 10, "description": "rows"}}'
    return DagCompileError(
        file.name,
        line,
        "this is no file of variables",
        why,
        f"write JSON such as {example}, YAML (.yaml), or KEY=VALUE (.env)",
    )
