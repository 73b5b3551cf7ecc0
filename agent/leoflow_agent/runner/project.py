"""The author's project, loaded with our shim in the task's process; and what the shim's classes ask."""

from __future__ import annotations

import gc
from typing import Any

from . import because, limits, mail, module_path
from .control import Control

loaded: dict[str, Any] | None = None
"""The DAGs of the source file, where `loaded_server` has loaded them before it forked this try."""


def load(runtime: Any, spec: dict[str, Any]) -> dict[str, Any]:
    """dag id -> DAG. Raises `CannotLoad` with the author's line."""
    gc.disable()  # a large DAG is thousands of objects, none of them garbage
    try:
        with module_path.inside(spec["bundle_path"]):
            return loaded or runtime.load_project(
                spec["bundle_path"], spec.get("source_path", "dag.py"), spec.get("import_paths", ())
            )
    except BaseException as error:
        raise because.CannotLoad(because.where(error, spec["bundle_path"])) from error
    finally:
        gc.freeze()
        gc.enable()


def ask(control: Control, kind: str, question: dict[str, Any]) -> dict[str, Any]:
    """What this process can do itself, it does; the rest is the daemon's."""
    if kind == "mask":
        control.hide(question["values"])
        return {}
    if kind == "mail":
        return {"to": mail.send(**question)}
    if kind == "dag_run":
        conf = limits.json_text(question.get("conf") or {}, "conf", max_bytes=limits.CONF_MAX_BYTES)
        question = {**question, "conf": conf}
    return control.ask(kind, question)
