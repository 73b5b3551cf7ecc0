"""Functions that another interpreter calls: in a virtual environment made for them, or in one that is there.

The function's source and its pickled arguments go to `virtualenv_script.py` in the other interpreter, which knows
neither Airflow nor the shim; what it returns comes back pickled. As in Airflow the function sees nothing of its module.
"""

from __future__ import annotations

import ast
import contextlib
import glob
import hashlib
import importlib
import inspect
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import FunctionType
from typing import Any

from airflow._leoflow.branching import BaseBranchOperator
from airflow._leoflow.connectors import has_airflow
from airflow._leoflow.errors import AirflowException, AirflowSkipException, AuthoringError, ShimUnsupported, describe
from airflow._leoflow.operators import PythonOperator, _Decorated, as_container, logged, select_kwargs
from airflow._leoflow.variables import Variable

SERIALIZERS = ("pickle", "cloudpickle", "dill")
TEXT_KEYS = (
    "ds ds_nodash ts ts_nodash ts_nodash_with_tz run_id task_instance_key_str task_reschedule_count test_mode params"
    " inlets outlets expanded_ti_count"
).split()
"""Of the context, what every interpreter can read."""
DATE_KEYS = (
    "logical_date data_interval_start data_interval_end prev_data_interval_start_success prev_data_interval_end_success"
    " prev_start_date_success prev_end_date_success"
).split()
"""What it can read if it has pendulum, where they are pendulum's."""
CACHE_KEY_VARIABLE = "python_virtualenv_operator_cache_key"
"""Airflow's name: changing it builds all cached environments anew."""
_SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "virtualenv_script.py")
_MARKER = "install_complete_marker.json"


class _ElsewhereOperator(PythonOperator):
    """What they share. A subclass says which interpreter."""

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        serializer: str | None = None,
        string_args: Iterable[str] | None = None,
        expect_airflow: bool = True,
        skip_on_exit_code: Any = None,
        env_vars: dict[str, str] | None = None,
        inherit_env: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(python_callable=python_callable, **kwargs)
        self.serializer = serializer or "pickle"
        self.string_args = list(string_args or ())
        self.expect_airflow = expect_airflow  # asks for macros of its plugins there, and here are none
        self.skip_on_exit_code = as_container(skip_on_exit_code)
        self.env_vars = env_vars
        self.inherit_env = inherit_env
        self._child: Any = None
        self._check_function()
        if self.serializer not in SERIALIZERS:
            raise self._refuse(f"serializer={serializer!r}", f"there is none of that name, use one of {SERIALIZERS}")

    def _check_function(self) -> None:
        function = self.python_callable
        if not isinstance(function, FunctionType) or function.__name__ == "<lambda>":
            raise self._refuse(f"python_callable={describe(function)}", "write a `def`: its source is what is run")
        if inspect.isgeneratorfunction(function):
            raise self._refuse(f"python_callable={function.__name__}, which yields", "return a list")

    def _refuse(self, what: str, remedy: str) -> AuthoringError:
        why = f"a {self.task_type} cannot run that"
        return AuthoringError(f"task {self.task_id!r} has {what}", why, remedy, self._location)

    def _interpreter(self) -> contextlib.AbstractContextManager[str]:
        """The path of the other interpreter, for as long as it is needed."""
        raise NotImplementedError

    def call(self, context: Any) -> Any:
        with self._interpreter() as python, tempfile.TemporaryDirectory(prefix="venv-call") as folder:
            self._write_call(folder, self._keywords(context, python))
            self._child = subprocess.Popen(
                [python, os.path.join(folder, "script.py"), folder],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self._environment(),
            )
            exit_code, _ = logged(self._child, self.log)
            if exit_code in self.skip_on_exit_code:
                raise AirflowSkipException(f"Process exited with code {exit_code}. Skipping.")
            if exit_code != 0:
                said = _read(os.path.join(folder, "error")).decode()
                raise AirflowException(f"Process returned non-zero exit status {exit_code}.\n{said}".strip())
            return self._result(_read(os.path.join(folder, "result")))

    def on_kill(self) -> None:
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()

    # --- what goes there -----------------------------------------------------------------------------------------

    def _keywords(self, context: Mapping[str, Any], python: str) -> dict[str, Any]:
        """What is passed by name, as to any other function, but of the context only what can be read there."""
        dates = {key: _fetched(context[key]) for key in self._wanted(DATE_KEYS) if key in context}
        if any(type(date).__module__.startswith("pendulum") for date in dates.values()) and not _has_pendulum(python):
            dates = {}
        found = {key: context[key] for key in TEXT_KEYS if key in context} | dates | dict(self.op_kwargs)
        if self.templates_dict is not None:
            found["templates_dict"] = self.templates_dict
        return select_kwargs(self.python_callable, self.op_args, found)

    def _wanted(self, keys: Collection[str]) -> list[str]:
        parameters = inspect.signature(self.python_callable).parameters
        takes_all = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
        return [key for key in keys if takes_all or key in parameters]

    def _write_call(self, folder: str, keywords: dict[str, Any]) -> None:
        shutil.copyfile(_SCRIPT, os.path.join(folder, "script.py"))
        call = {
            "name": self.python_callable.__name__,
            "file": self.python_callable.__code__.co_filename,
            "serializer": self.serializer,
            "string_args": [line.strip() for text in self.string_args for line in str(text).splitlines()],
        }
        _write(os.path.join(folder, "call.json"), json.dumps(call).encode())
        _write(os.path.join(folder, "function.py"), source_of(self.python_callable).encode())
        _write(os.path.join(folder, "arguments"), self._pickled(keywords))

    def _pickled(self, keywords: dict[str, Any]) -> bytes:
        pickling = importlib.import_module(self.serializer)
        try:
            return bytes(pickling.dumps((tuple(self.op_args), keywords)))
        except Exception as error:
            raise AirflowException(
                f"the arguments of {self.python_callable.__name__} cannot be handed to another interpreter: {error}; "
                "pass plain values instead of objects of the task"
            ) from error

    def _environment(self) -> dict[str, str]:
        """With the project on the path, so that its modules can be imported there too."""
        env = {**(os.environ if self.inherit_env else {}), **(self.env_vars or {})}
        file = self.python_callable.__code__.co_filename
        project = [path for path in sys.path if path and file.startswith(os.path.join(path, ""))]
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [env.get("PYTHONPATH"), *project]))
        return env

    def _result(self, pickled: bytes) -> Any:
        if not pickled:
            return None
        try:
            return importlib.import_module(self.serializer).loads(pickled)
        except Exception as error:
            raise AirflowException(
                f"what {self.python_callable.__name__} returned cannot be read in the task's own environment: {error}; "
                "return plain values"
            ) from error


def _fetched(value: Any) -> Any:
    """Dates of the run before are looked up when they are used; pickling is no use."""
    return value._value if type(value).__name__ == "Lazy" else value


def _has_pendulum(python: str) -> bool:
    done = subprocess.run([python, "-c", "import pendulum"], capture_output=True, check=False)
    return done.returncode == 0


def _read(path: str) -> bytes:
    """Empty when there is none."""
    if not os.path.exists(path):
        return b""
    with open(path, "rb") as file:
        return file.read()


def _write(path: str, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


def source_of(function: FunctionType) -> str:
    """Its text on its own lines of the file, so that a traceback shows them, without the decorators of tasks."""
    lines, first = inspect.getsourcelines(function)
    is_indented = lines[0][:1].isspace()
    head = ["if True:\n"] if is_indented else []  # for what a text inside says, dedenting it would change
    definition: Any = ast.parse("".join([*head, *lines])).body[0]
    definition = definition.body[0] if is_indented else definition
    for decorator in definition.decorator_list:
        if _is_of_tasks(decorator):
            for number in range(decorator.lineno - 1 - len(head), decorator.end_lineno - len(head)):
                lines[number] = "\n"
    return "\n" * (first - 1 - len(head)) + "".join([*head, *lines])


def _is_of_tasks(decorator: ast.expr) -> bool:
    """`@task.virtualenv(...)`, `@setup`, `@sdk.teardown`."""
    while isinstance(decorator, ast.Call):
        decorator = decorator.func
    return not {"task", "setup", "teardown"}.isdisjoint(ast.unparse(decorator).split("."))


# --- an environment of its own -----------------------------------------------------------------------------------


class PythonVirtualenvOperator(_ElsewhereOperator):
    """In a virtual environment with `requirements`: gone with the task, or kept below `venv_cache_path`."""

    template_fields: Sequence[str] = (*PythonOperator.template_fields, "requirements", "index_urls", "venv_cache_path")
    template_ext: Sequence[str] = (".txt",)

    def __init__(
        self,
        *,
        requirements: Iterable[str] | str | None = None,
        python_version: str | None = None,
        system_site_packages: bool = True,
        pip_install_options: list[str] | None = None,
        index_urls: Collection[str] | str | None = None,
        index_urls_from_connection_ids: Collection[str] | str | None = None,
        venv_cache_path: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.requirements = [requirements] if isinstance(requirements, str) else list(requirements or ())
        self.python_version = python_version
        self.system_site_packages = system_site_packages
        self.pip_install_options = pip_install_options
        self.index_urls = [index_urls] if isinstance(index_urls, str) else index_urls
        self.index_urls_from_connection_ids = index_urls_from_connection_ids
        self.venv_cache_path = None if venv_cache_path is None else os.fspath(venv_cache_path)
        if python_version is not None and not isinstance(python_version, str):
            raise self._refuse(f"python_version={python_version!r}", 'write it as text, e.g. "3.11"')
        if index_urls_from_connection_ids and not has_airflow():
            raise ShimUnsupported(
                f"task {self.task_id!r} has index_urls_from_connection_ids",
                "connections of package indexes are Airflow's, whose packages this DAG does not have",
                "use index_urls, or name a provider in `connectors:` so that the real operator runs",
                self._location,
            )

    @contextlib.contextmanager
    def _interpreter(self) -> Iterator[str]:
        if self.venv_cache_path is not None:
            yield self._cached()
            return
        with tempfile.TemporaryDirectory(prefix="venv") as folder:
            yield self._built(folder)

    def _cached(self) -> str:
        """Of several tasks that want the same one, one builds it."""
        import fcntl

        wanted = json.dumps(self._wanted_environment(), sort_keys=True)
        os.makedirs(self.venv_cache_path, exist_ok=True)
        folder = os.path.join(self.venv_cache_path, f"venv-{hashlib.sha256(wanted.encode()).hexdigest()[:16]}")
        marker = os.path.join(folder, _MARKER)
        with open(f"{folder}.lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _read(marker).decode() == wanted:
                self.log.info("Reusing cached Python virtual environment in %s", folder)
                return _python_of(folder)
            shutil.rmtree(folder, ignore_errors=True)  # what a build that was killed left
            python = self._built(folder)
            _write(marker, wanted.encode())
            return python

    def _wanted_environment(self) -> dict[str, Any]:
        return {
            "requirements": self._requirements(),
            "options": self._options(),
            "python": self.python_version or sys.version,
            "system_site_packages": self.system_site_packages and _own_packages(),
            "cache_key": str(Variable.get(CACHE_KEY_VARIABLE, "")),
        }

    def _requirements(self) -> list[str]:
        needs_serializer = self.serializer != "pickle" and not self.system_site_packages
        return sorted({*map(str, self.requirements), *([self.serializer] if needs_serializer else [])})

    def _options(self) -> list[str]:
        if self.index_urls is None:
            return list(self.pip_install_options or ())
        first, *others = [*self.index_urls] or [None]
        index = ["--no-index"] if first is None else ["--index-url", first]
        return [
            *(self.pip_install_options or ()),
            *index,
            *(word for url in others for word in ("--extra-index-url", url)),
        ]

    def _built(self, folder: str) -> str:
        uv = shutil.which("uv")
        base = sys.executable if self.python_version is None else f"python{self.python_version}"
        self.log.info("Building a virtual environment with %s", ", ".join(self._requirements()) or "no packages")
        site = ["--system-site-packages"] if self.system_site_packages else []
        if uv is not None:
            wanted = self.python_version or sys.executable
            self._do(uv, "venv", "--quiet", "--no-project", "--no-python-downloads", "--python", wanted, *site, folder)
        else:
            self._do(base, "-m", "venv", *site, folder)
        python = _python_of(folder)
        if self.system_site_packages and self.python_version is None:
            _add_own_packages(folder)
        if self.requirements:
            listed = os.path.join(folder, "requirements.txt")
            _write(listed, "\n".join(self._requirements()).encode())
            head = [uv, "pip", "install", "--python", python] if uv is not None else [python, "-m", "pip", "install"]
            self._do(*head, *self._options(), "-r", listed)
        return python

    def _do(self, *command: str) -> None:
        """Raises AirflowException when it fails; what it says is in the log."""
        try:
            self._child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        except FileNotFoundError:
            raise AirflowException(
                f"cannot build the virtual environment: there is no {command[0]} on this machine; install it, or leave "
                "python_version out"
            ) from None
        exit_code, last_line = logged(self._child, self.log)
        if exit_code != 0:
            step = "the packages" if "install" in command else "the environment itself"
            raise AirflowException(
                f"cannot build the virtual environment ({step}): exit code {exit_code}, {last_line}; "
                "see the lines above, and correct `requirements`"
            )


def _python_of(folder: str) -> str:
    return os.path.join(folder, "bin", "python")


def _own_packages() -> str:
    return sysconfig.get_paths()["purelib"]


def _add_own_packages(folder: str) -> None:
    """A venv made from a venv sees the packages of the machine's Python, and not those of the DAG's environment."""
    for packages in glob.glob(os.path.join(folder, "lib", "python*", "site-packages")):
        _write(os.path.join(packages, "leoflow_parent.pth"), f"{_own_packages()}\n".encode())


class BranchPythonVirtualenvOperator(BaseBranchOperator, PythonVirtualenvOperator):
    """A branch whose function runs in a virtual environment of its own."""

    def choose_branch(self, context: Any) -> Any:
        return PythonVirtualenvOperator.execute(self, context)


# --- an interpreter that is there --------------------------------------------------------------------------------


class ExternalPythonOperator(_ElsewhereOperator):
    """In the environment of the interpreter `python`, which must be an absolute path."""

    template_fields: Sequence[str] = ("python", *PythonOperator.template_fields)

    def __init__(self, *, python: Any, expect_pendulum: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not python:
            raise self._refuse(f"python={python!r}", "give the absolute path of an interpreter")
        self.python = os.fspath(python)
        self.expect_pendulum = expect_pendulum  # in Airflow a warning depends on it; we look when dates are asked for

    @contextlib.contextmanager
    def _interpreter(self) -> Iterator[str]:
        if not os.path.isabs(self.python) or not os.path.isfile(self.python):
            raise ValueError(f"Python Path '{self.python}' must be the absolute path of a file that exists here")
        yield self.python


class BranchExternalPythonOperator(BaseBranchOperator, ExternalPythonOperator):
    """A branch whose function runs in another interpreter."""

    def choose_branch(self, context: Any) -> Any:
        return ExternalPythonOperator.execute(self, context)


# --- decorated functions -----------------------------------------------------------------------------------------


class _PythonVirtualenvDecoratedOperator(_Decorated, PythonVirtualenvOperator):
    template_fields: Sequence[str] = PythonVirtualenvOperator.template_fields
    custom_operator_name = "@task.virtualenv"


class _PythonExternalDecoratedOperator(_Decorated, ExternalPythonOperator):
    template_fields: Sequence[str] = ExternalPythonOperator.template_fields
    custom_operator_name = "@task.external_python"


class _BranchPythonVirtualenvDecoratedOperator(_Decorated, BranchPythonVirtualenvOperator):
    template_fields: Sequence[str] = PythonVirtualenvOperator.template_fields
    custom_operator_name = "@task.branch_virtualenv"


class _BranchExternalPythonDecoratedOperator(_Decorated, BranchExternalPythonOperator):
    template_fields: Sequence[str] = ExternalPythonOperator.template_fields
    custom_operator_name = "@task.branch_external_python"
