"""The operators that run: Python, Bash, Empty. `execute` is only ever called in the task's own process."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from typing import Any

from airflow._leoflow import asset_records
from airflow._leoflow.base_operator import BaseOperator
from airflow._leoflow.errors import AirflowException, AirflowSkipException, AuthoringError, describe
from airflow._leoflow.ids import unique_task_id

renderer: Callable[[str], Any] | None = None
"""Set by the task runner; renders the command that `@task.bash` learns only when it runs."""

MAX_INLINE_SCRIPT_BYTES = 100 * 1024
"""Linux takes at most 128 KiB in one argument; a longer command goes through a file."""


class EmptyOperator(BaseOperator):
    """Does nothing; the scheduler finishes it without a process."""

    kind = "empty"
    ui_color = "#e8f7e4"

    def execute(self, context: Any) -> None:
        """Nothing to do."""


class ExternalTaskMarker(EmptyOperator):
    """Says which task of another DAG depends on this one; does nothing, and clearing it clears nothing elsewhere.

    So it is in Airflow 3, which has no recursive clearing any more.
    """

    template_fields: Sequence[str] = ("external_dag_id", "external_task_id", "logical_date")
    ui_color = "#4db7db"

    def __init__(
        self,
        *,
        external_dag_id: str,
        external_task_id: str,
        logical_date: Any = "{{ logical_date.isoformat() }}",
        recursion_depth: int = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if recursion_depth <= 0:
            raise ValueError("recursion_depth should be a positive integer")
        self.external_dag_id = external_dag_id
        self.external_task_id = external_task_id
        self.logical_date = logical_date if isinstance(logical_date, str) else logical_date.isoformat()
        self.recursion_depth = recursion_depth


class PythonOperator(BaseOperator):
    """Calls a function; parameters named like context keys are filled in, `**kwargs` gets all of them."""

    template_fields: Sequence[str] = ("templates_dict", "op_args", "op_kwargs")
    template_fields_renderers = {"templates_dict": "json", "op_args": "py", "op_kwargs": "py"}
    ui_color = "#ffefeb"

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        templates_dict: dict[str, Any] | None = None,
        templates_exts: Sequence[str] | None = None,
        show_return_value_in_logs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not callable(python_callable):
            raise AuthoringError(
                f"task {self.task_id!r}: python_callable is {describe(python_callable)}",
                "it must be a function",
                "pass the function itself, without calling it",
                self._location,
            )
        self.python_callable = python_callable
        self.op_args = op_args or ()
        self.op_kwargs = op_kwargs or {}
        self.templates_dict = templates_dict
        if templates_exts:
            self.template_ext = templates_exts
        self.show_return_value_in_logs = show_return_value_in_logs

    def execute(self, context: Any) -> Any:
        value = self.call(context)
        if self.show_return_value_in_logs:
            self.log.info("Done. Returned value was: %s", value)
        else:
            self.log.info("Done. Returned value not shown")
        return value

    def call(self, context: Any) -> Any:
        available = {**context, **self.op_kwargs}
        if self.templates_dict is not None:
            available["templates_dict"] = self.templates_dict
        return self.call_with(select_kwargs(self.python_callable, self.op_args, available), context)

    def call_with(self, arguments: Mapping[str, Any], context: Any) -> Any:
        return asset_records.call(self.python_callable, context, *self.op_args, **arguments)


def select_kwargs(function: Callable[..., Any], args: Collection[Any], available: Mapping[str, Any]) -> dict[str, Any]:
    """What Airflow passes by name: all of `available` to `**kwargs`, else only the parameters that exist."""
    parameters = inspect.signature(function).parameters
    for name, parameter in list(parameters.items())[: len(args)]:
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD):
            continue
        if name in available:
            raise ValueError(f"The key {name!r} in args is a part of kwargs and therefore reserved.")
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return dict(available)
    return {name: available[name] for name in parameters if name in available}


def logged(child: Any, log: logging.Logger, encoding: str = "utf-8") -> tuple[int, str]:
    """Exit code and last line of a process whose output is a pipe; each line is logged as it comes."""
    last_line = ""
    log.info("Output:")
    with child.stdout as output:
        for raw in output:
            last_line = raw.decode(encoding, errors="backslashreplace").rstrip()
            log.info("%s", last_line)
    exit_code = child.wait()
    log.info("Command exited with return code %s", exit_code)
    return exit_code, last_line


def as_container(codes: int | Container[int] | None) -> Container[int]:
    """`skip_on_exit_code` as it may be written."""
    return codes if isinstance(codes, Container) else [] if codes is None else [codes]


class BashOperator(BaseOperator):
    """Runs a bash command; its last line of output is the task's output, exit code 99 skips the task."""

    kind = "bash"
    template_fields: Sequence[str] = ("bash_command", "env", "cwd")
    template_ext: Sequence[str] = (".sh", ".bash")
    template_fields_renderers = {"bash_command": "bash", "env": "json"}
    ui_color = "#f0ede4"

    def __init__(
        self,
        *,
        bash_command: Any,
        env: dict[str, str] | None = None,
        append_env: bool = False,
        output_encoding: str = "utf-8",
        skip_on_exit_code: int | Container[int] | None = 99,
        cwd: str | None = None,
        output_processor: Callable[[str], Any] = lambda result: result,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bash_command = bash_command
        self.env = env
        self.append_env = append_env
        self.output_encoding = output_encoding
        self.cwd = cwd
        self.output_processor = output_processor
        self.skip_on_exit_code = as_container(skip_on_exit_code)
        self._child: Any = None

    def execute(self, context: Any) -> Any:
        import tempfile

        if self.cwd is not None and not os.path.isdir(self.cwd):
            what = "must be a directory" if os.path.exists(self.cwd) else "does not exist"
            raise AirflowException(f"The cwd {self.cwd} {what}")
        with tempfile.TemporaryDirectory(prefix="airflowtmp") as folder:
            exit_code, last_line = self._run(folder, self.child_env(context))
        if exit_code in self.skip_on_exit_code:
            raise AirflowSkipException(f"Bash command returned exit code {exit_code}. Skipping.")
        if exit_code != 0:
            raise AirflowException(f"Bash command failed. The command returned a non-zero exit code {exit_code}.")
        return self.output_processor(last_line)

    def child_env(self, context: Any) -> dict[str, str]:
        """The process's own environment, or only `env`, with the AIRFLOW_CTX_* names that Airflow adds."""
        env = dict(os.environ) if self.env is None or self.append_env else {}
        env.update(self.env or {})
        env.update(context_variables(context))
        return env

    def _run(self, folder: str, env: dict[str, str]) -> tuple[int, str]:
        """(exit code, last line of output); each line is logged as it comes."""
        import shutil
        import subprocess

        command = [shutil.which("bash") or "bash", *self._script(folder)]
        self.log.info("Running command: %s", [*command[:1], "-c", self.bash_command])
        # It stays in the process group of the try: the agent's kill of that group reaches it whatever happens to us.
        self._child = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.cwd or folder,
            env=env,
            stdin=subprocess.DEVNULL,
        )
        return logged(self._child, self.log, self.output_encoding)

    def _script(self, folder: str) -> list[str]:
        if len(self.bash_command.encode()) <= MAX_INLINE_SCRIPT_BYTES:
            return ["-c", self.bash_command]
        path = os.path.join(folder, "command.sh")
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.bash_command)
        return [path]

    def on_kill(self) -> None:
        """End the command; what it started is in the try's process group, which the agent ends."""
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()


def context_variables(context: Any) -> dict[str, str]:
    """AIRFLOW_CTX_* of a bash task."""
    found: dict[str, str] = {}
    task, run, ti = context.get("task"), context.get("dag_run"), context.get("ti")
    values = {
        "AIRFLOW_CTX_DAG_OWNER": getattr(task, "owner", None),
        "AIRFLOW_CTX_DAG_ID": getattr(ti, "dag_id", None),
        "AIRFLOW_CTX_TASK_ID": getattr(ti, "task_id", None),
        "AIRFLOW_CTX_LOGICAL_DATE": context.get("logical_date"),
        "AIRFLOW_CTX_TRY_NUMBER": getattr(ti, "try_number", None),
        "AIRFLOW_CTX_DAG_RUN_ID": getattr(run, "run_id", None),
    }
    for name, value in values.items():
        if value is not None and value != "":
            found[name] = value.isoformat() if hasattr(value, "isoformat") else str(value)
    return found


# --- decorated functions -----------------------------------------------------------------------------------------


class _Decorated(BaseOperator):
    """What `@task` and `@task.bash` share: a free task id for each call, and arguments that nobody else changes."""

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        task_id: str,
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        task_id = unique_task_id(task_id, kwargs.get("dag"), kwargs.get("task_group"))
        op_args, op_kwargs = tuple(op_args or ()), dict(op_kwargs or {})
        super().__init__(
            task_id=task_id, python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, **kwargs
        )


class _PythonDecoratedOperator(_Decorated, PythonOperator):
    template_fields: Sequence[str] = ("templates_dict", "op_args", "op_kwargs")
    custom_operator_name = "@task"


class _BashTask(BashOperator):
    """A bash task whose command is what a function returns."""

    def __init__(
        self, *, python_callable: Callable[..., Any], op_args: Any = None, op_kwargs: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(bash_command="", **kwargs)
        self.python_callable = python_callable
        self.op_args = op_args or ()
        self.op_kwargs = op_kwargs or {}


class _BashDecoratedOperator(_Decorated, _BashTask):
    template_fields: Sequence[str] = ("op_args", "op_kwargs", "bash_command", "env", "cwd")
    template_fields_renderers = {"op_args": "py", "op_kwargs": "py", "bash_command": "bash", "env": "json"}
    custom_operator_name = "@task.bash"

    def execute(self, context: Any) -> Any:
        available = {**context, **self.op_kwargs}
        command = self.python_callable(*self.op_args, **select_kwargs(self.python_callable, self.op_args, available))
        if not isinstance(command, str) or not command.strip():
            raise TypeError("The returned value from the TaskFlow callable must be a non-empty string.")
        self.bash_command = renderer(command) if renderer is not None else command
        return super().execute(context)
