"""Writes docs/api-compatibility.md: `make docs`. A test compares the file with what this answers.

Airflow's operations come from the OpenAPI documents in its pinned wheel, ours from the routes of the application.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import yaml

from leoflowd.api.app import create_app
from leoflowd.api.context import ApiContext
from leoflowd.config import ApiConfig
from leoflowd.lite.ui_assets import UI_VERSION, prepare_ui

FILE = Path(__file__).with_name("api-compatibility.md")
CACHE = Path(__file__).parents[1] / ".cache" / "ui"
DOCUMENTS: Mapping[str, str] = {
    "v2-rest-api-generated.yaml": "The public API",
    "_private_ui.yaml": "What the UI asks for",
    "v2-simple-auth-manager-generated.yaml": "Tokens",
}
METHODS = ("get", "post", "put", "patch", "delete")
Operation = tuple[str, str]

_RUN = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}"
_TASK = f"{_RUN}/taskInstances/{{task_id}}"
NOTES: Mapping[Operation, str] = {
    ("GET", "/api/v2/config"): "Leoflow's own settings by section, secrets as `***`; for admins.",
    ("GET", "/api/v2/config/section/{section}/option/{option}"): "The same.",
    ("GET", "/api/v2/jobs"): "A row for each daemon, as a `SchedulerJob`: scheduler, waits and API are parts of one "
    "process. `start_date` and `executor_class` are null.",
    ("GET", "/api/v2/providers"): "Always empty: no provider is installed in the daemon; those of a DAG are in its own "
    "environment.",
    (
        "GET",
        "/api/v2/plugins",
    ): "The one that holds Leoflow's own pages. Plugins of a folder of DAGs work in its tasks.",
    (
        "GET",
        "/api/v2/plugins/importErrors",
    ): "Always empty: a plugin that fails is an import error of the DAGs that use it.",
    ("PUT", "/api/v2/parseDagFile/{file_token}"): "Lite compiles the file again. Elsewhere 404: DAGs come by `leoflow "
    "deploy` or `leoflow push`.",
    ("PATCH", f"{_RUN}/taskInstances"): "Each entity is done or refused by itself; `create` is refused, as in Airflow.",
    (
        "POST",
        f"{_RUN.removesuffix('/{dag_run_id}')}",
    ): "A DAG whose file has an import error is run in the version in force.",
    ("GET", f"{_TASK}/externalLogUrl/{{try_number}}"): "400: logs are shown here, and nowhere else.",
    ("GET", "/ui/teams"): "The caller's [teams](access.md), of an administrator all; `multi_team` is off.",
    ("GET", "/api/v2/dagWarnings"): "Code whose result varies, and pools that do not exist. `asset conflict` is no "
    "warning here: such a file is refused when it compiles.",
}
"""What an operation that answers does otherwise than in Airflow."""
NOT_THERE: Mapping[Operation, str] = {}
"""Operations that do not answer, and why."""
HEAD = f"""# What of Airflow's API is there

Made by `make docs` from the OpenAPI documents of Airflow {UI_VERSION} and the routes of the application; do not edit.
An operation that is not there answers 404 with a `detail` that says so. Where behaviour differs:
[differences](differences.md). Leoflow's own routes begin with `/api/v2/leoflow` and `/leoflow`;
a server describes all that it serves at `/docs` and `/openapi.json` ([ADR 90](adr/0090-the-api-describes-itself.md)).
"""


def page(documents: Path) -> str:
    """`documents`: the folder of Airflow's OpenAPI documents."""
    found = set(served())
    return HEAD + "".join(_section(title, documents / name, found) for name, title in DOCUMENTS.items())


def operations(document: Path) -> list[Operation]:
    paths: dict[str, Any] = yaml.load(document.read_text(), Loader=yaml.CSafeLoader)["paths"]
    return [(method.upper(), path) for path, item in paths.items() for method in METHODS if method in item]


def is_served(operation: Operation, served: set[Operation]) -> bool:
    return (operation[0], _shape(operation[1])) in served


def _section(title: str, document: Path, served: set[Operation]) -> str:
    listed = operations(document)
    there = [one for one in listed if is_served(one, served)]
    rows = "".join(
        f"| {one[0]} | `{one[1]}` | {'yes' if one in there else 'no'} | {NOTES.get(one) or NOT_THERE.get(one, '')} |\n"
        for one in listed
    )
    return f"\n## {title}\n\n{len(there)} of {len(listed)}.\n\n| | path | there | |\n|---|---|---|---|\n{rows}"


def served() -> Iterator[Operation]:
    nothing = cast(Any, None)
    context = ApiContext(
        db=nothing, logs=nothing, config=ApiConfig(), now=lambda: datetime.now(UTC), tree=dict, version="0"
    )
    for rule in create_app(context).url_map.iter_rules():
        yield from ((method, _shape(rule.rule)) for method in rule.methods or ())


def _shape(path: str) -> str:
    """Names of parameters do not matter."""
    return re.sub(r"{[^}]*}|<[^>]*>", "*", path)


if __name__ == "__main__":
    FILE.write_text(page(prepare_ui(CACHE, progress=print) / "openapi"))
