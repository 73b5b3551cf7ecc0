"""Where a file may put what it has read of secrets: `compiler` asks of each answer of the loader. ADR 74.

The loader gives `{{ var.value.api_token }}` for a secret. A process that loads the file again has the value; the
daemon, which acts on the artifact alone, has not: what it would act on must be for a process, or hold no such text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leoflowd.authoring.errors import DagCompileError

SHOWN_OF_DAG = frozenset({"tasks", "groups", "default_args", "description", "doc_md", "warnings"})
SHOWN_OF_TASK = frozenset({"template_values", "doc_md"})
BY_PROCESS = frozenset({"wait", "http", "mapped_values", "mapped_items"})
"""What holds a template that is not simple gets a process anyway (`project_settings`)."""


def settle(dags: Sequence[dict[str, Any]], references: Sequence[str], folder: Path) -> None:
    """Raises `DagCompileError` with the line of the DAG or task."""
    for dag in dags if references else ():
        _refuse(dag, SHOWN_OF_DAG, f"dag {dag['dag_id']!r}", references, folder)
        for task in dag["tasks"]:
            if _holds(task.get("deferral"), references):
                task["deferral"] = None  # its process defers
            _refuse(task, SHOWN_OF_TASK | BY_PROCESS, f"task {task['task_id']!r}", references, folder)


def _refuse(
    node: Mapping[str, Any], allowed: frozenset[str], who: str, references: Sequence[str], folder: Path
) -> None:
    for name in sorted(node.keys() - allowed):
        found = _holds(node[name], references)
        if found:
            raise DagCompileError(
                node["file"].removeprefix(f"{folder}/"),
                max(1, node["line"]),
                f"{who} has a secret in its {name}: {found}",
                "Leoflow acts on this part of the artifact without a process, and only one knows the value of a secret",
                "give it to the task in an argument, or read it in the task",
            )


def _holds(value: Any, references: Sequence[str]) -> str:
    text = json.dumps(value)
    return next((one for one in references if json.dumps(one)[1:-1] in text), "")
