"""What `airflow` is in this process: our shim, or the real packages of the environment.

Both answer the same four questions: how arguments and events are read and written, how a DAG file that defines a
trigger is loaded, who answers a trigger's questions, and where its log goes.
"""

# mypy: disable-error-code="explicit-override"
# `typing.override` may be newer than the author's interpreter.

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from abc import ABC, abstractmethod
from typing import Any

from ..runner import xcom
from .airflow_comms import AirflowComms
from .channel import Channel
from .logs import JsonLines, TriggerLog, set_up_logging
from .marking import current_wait


class Runtime(ABC):
    @abstractmethod
    def prepare(self, channel: Channel, log: TriggerLog) -> None:
        """Once, before the first trigger."""

    @abstractmethod
    def load_dag_file(self, folder: str, source_path: str, module: str) -> Any:
        """The module of a DAG file; `module` is its name in the class path. Raises what the file raises."""

    def decode(self, kwargs: Any) -> Any:
        return xcom.decode(kwargs)

    def encode(self, value: Any, what: str) -> Any:
        """In the XCom form. Raises `xcom.NotSerializable`."""
        return xcom.plain(value, what)


class ShimRuntime(Runtime):
    def __init__(self, shim: str) -> None:
        self._shim = shim

    def prepare(self, channel: Channel, log: TriggerLog) -> None:
        # First on the path: the shim is `airflow` here, even where the real one is installed.
        sys.path.insert(0, self._shim)
        set_up_logging(log)

        def ask(kind: str, question: dict[str, Any]) -> dict[str, Any]:
            if kind == "mask":
                channel.hide(question["values"])
                return {}
            return channel.ask(kind, question, current_wait.get())

        importlib.import_module("airflow._leoflow_runtime").set_supervisor(ask)

    def load_dag_file(self, folder: str, source_path: str, module: str) -> Any:
        """The loader gives the module another name when something else is called so already."""
        # "." changes nothing: the path of modules is `TriggerClasses`' doing
        importlib.import_module("airflow._leoflow_runtime").load_project(folder, source_path, ["."])
        path = os.path.join(os.path.abspath(folder), source_path)
        stem = os.path.splitext(os.path.basename(path))[0]
        for name in (stem, f"leoflow_dag_{stem}"):
            loaded = sys.modules.get(name)
            if getattr(loaded, "__file__", None) == path:
                return loaded
        raise ImportError(f"{source_path} did not become the module {module}")


class AirflowRuntime(Runtime):
    def __init__(self, shim: str) -> None:
        self._shim = shim

    def prepare(self, channel: Channel, log: TriggerLog) -> None:
        from ..runner import real_airflow

        real_airflow.prepare_environment(self._shim)
        # As in Airflow's triggerer: connections come from the environment, then from whoever supervises.
        os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "client"
        task_runner: Any = importlib.import_module("airflow.sdk.execution_time.task_runner")
        task_runner.SUPERVISOR_COMMS = AirflowComms(channel)
        sdk_log: Any = importlib.import_module("airflow.sdk.log")
        sdk_log.configure_logging(json_output=True, output=JsonLines(log), sending_to_supervisor=True)

    def load_dag_file(self, folder: str, source_path: str, module: str) -> Any:
        spec = importlib.util.spec_from_file_location(module, os.path.join(folder, source_path))
        assert spec is not None
        assert spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        sys.modules[module] = loaded  # dataclasses, pickle and typing look modules up by name
        try:
            spec.loader.exec_module(loaded)
        except BaseException:
            del sys.modules[module]
            raise
        return loaded

    def encode(self, value: Any, what: str) -> Any:
        try:
            return xcom.plain(value, what)
        except xcom.NotSerializable:
            return importlib.import_module("airflow.sdk.serde").serialize(value)
