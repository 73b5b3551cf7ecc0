"""A task of our own, run through the runner where no try can see it: Python then has done what it does at first use.

`fork_server` calls this before it forks anything: bytecode is specialised, attributes are found, caches are full, and
tries share that instead of doing it again each, in pages of their own (ADR 53). What a try sets, this puts back. Real
packages of Airflow are not rehearsed.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

from . import logs, project
from .control import Control

ROUNDS = 12
"""Python specialises a function when it was called eight times, and some instructions a little later."""
_NAME = "leoflow_rehearsal"
_MOMENT = "2026-01-01T00:00:00Z"
_RUN = {
    **dict.fromkeys(("run_after", "logical_date", "data_interval_start", "data_interval_end", "start_date"), _MOMENT),
    "dag_id": _NAME,
    "run_id": "manual__1",
    "run_type": "manual",
    "state": "running",
    "conf": "{}",
}
_SPEC = {
    "try_id": _NAME,
    "task_id": _NAME,
    "try_number": 1,
    "max_tries": 0,
    "kind": "python",
    "operator": "@task",
    "bundle_path": "/",
    "source_path": "dag.py",
    "dag_run": _RUN,
}

Run = Callable[["dict[str, Any]", Control], "dict[str, Any]"]
"""`main.outcome_of`."""


def rehearse(run: Run) -> str:
    """Why it did not work, which is no reason not to run tries; or nothing."""
    runtime = importlib.import_module("airflow._leoflow_runtime")  # the shim
    try:
        with _put_back(runtime):
            sdk = importlib.import_module("airflow.sdk")
            for _ in range(ROUNDS):
                dag = sdk.DAG(_NAME, schedule=None)
                sdk.task(_returned, dag=dag, task_id=_NAME)(1)
                project.loaded = {_NAME: dag}
                _run_once(run)
    except Exception as error:  # noqa: BLE001  what the environment's own packages raise
        return f"{type(error).__name__}: {error}"
    return ""


def _returned(value: int) -> int:
    return value


def _run_once(run: Run) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        ours.sendall(json.dumps({"spec": _SPEC, "work": "/"}).encode() + b"\n")
        control = Control(theirs.detach())
        with contextlib.closing(control):
            outcome = run(control.begin()["spec"], control)
            record = logging.LogRecord(_NAME, logging.INFO, __file__, 1, "%s", ("said",), None)
            logs.ControlHandler(control).emit(record)
            control.send({"outcome": {"outcome": outcome, "has_children": False}})
    if outcome["kind"] != "success":
        raise RuntimeError(f"the rehearsal of a try ended {outcome['kind']}: {outcome['because']}")


@contextlib.contextmanager
def _put_back(runtime: Any) -> Iterator[None]:
    environment, handler, loaded = dict(os.environ), signal.getsignal(signal.SIGTERM), project.loaded
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # it would end the task of the rehearsal, and no more
    try:
        yield
    finally:
        project.loaded = loaded
        signal.signal(signal.SIGTERM, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        runtime.set_supervisor(None)
        runtime.set_renderer(None)
        runtime.set_templates(None)
        runtime.set_current_context(None)
