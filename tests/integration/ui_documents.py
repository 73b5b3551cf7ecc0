"""What the builds of Airflow's UI expect of the routes that are theirs alone, by the documents of the wheels."""

from __future__ import annotations

from functools import cache
from typing import Any

import jsonschema
import yaml

from leoflowd.contract.ui_builds import BUILDS
from tests.conftest import unpacked_ui


def fits_the_ui(name: str, answer: Any) -> None:
    """`answer` fits the schema of that name in each build that has it, every required key included."""
    known = [components for version in BUILDS if name in (components := _components(version))["schemas"]]
    assert known, f"no build has a schema {name}"
    for components in known:
        schema = {"$ref": f"#/components/schemas/{name}", "components": components}
        formats = jsonschema.Draft202012Validator.FORMAT_CHECKER
        jsonschema.Draft202012Validator(schema, format_checker=formats).validate(answer)


@cache
def _components(version: str) -> dict[str, Any]:
    document = (unpacked_ui(version) / "openapi" / "_private_ui.yaml").read_text()
    components: dict[str, Any] = yaml.load(document, Loader=yaml.CSafeLoader)["components"]
    return components
