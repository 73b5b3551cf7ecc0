"""Sensors that run user code: each poke is a call in a process of the task.

`execute` follows Airflow 3.2's BaseSensorOperator, because authors see its every detail: which errors end a sensor,
what `soft_fail`, `silent_fail` and `never_fail` make of them, and when the next poke is.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from airflow._leoflow import timezone
from airflow._leoflow.base_operator import BaseOperator
from airflow._leoflow.errors import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    AuthoringError,
    TaskDeferralError,
    TaskDeferralTimeout,
    describe,
)
from airflow._leoflow.operators import _Decorated, select_kwargs

DEFAULT_TIMEOUT_S = 7 * 86400.0
"""Airflow's `sensors.default_timeout`."""
LONGEST_WAIT_S = timedelta.max.total_seconds() - 1
SOFT_FAIL = "Skipping due to soft_fail is set to True."
NEVER_FAIL = "Skipping due to never_fail is set to True."


class PokeReturnValue:
    """What a poke may return instead of a bool: also the sensor's output."""

    def __init__(self, is_done: bool, xcom_value: Any = None) -> None:
        self.is_done = is_done
        self.xcom_value = xcom_value

    def __bool__(self) -> bool:
        return self.is_done


class BaseSensorOperator(BaseOperator):
    """Calls `poke(context)` until it is true."""

    kind = "sensor"
    ui_color = "#e6f1f2"
    valid_modes: Iterable[str] = ("poke", "reschedule")

    def __init__(
        self,
        *,
        poke_interval: timedelta | float = 60,
        timeout: timedelta | float | None = None,
        soft_fail: bool = False,
        mode: str = "poke",
        exponential_backoff: bool = False,
        max_wait: timedelta | float | None = None,
        silent_fail: bool = False,
        never_fail: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.poke_interval = self._in_seconds("poke_interval", poke_interval)
        self.timeout = DEFAULT_TIMEOUT_S if timeout is None else self._in_seconds("timeout", timeout)
        self.soft_fail = soft_fail
        self.mode = mode
        self.exponential_backoff = exponential_backoff
        self.max_wait = None if max_wait is None else timedelta(seconds=self._in_seconds("max_wait", max_wait))
        self.silent_fail = silent_fail
        self.never_fail = never_fail
        if soft_fail and never_fail:
            raise ValueError("soft_fail and never_fail are mutually exclusive, you can not provide both.")
        if self.mode not in self.valid_modes:
            raise AuthoringError(
                f"task {self.task_id!r} has mode={describe(mode)}",
                "a sensor has no such mode",
                f"use one of {', '.join(self.valid_modes)}; for deferrable sensors write deferrable=True",
                self._location,
            )

    def _in_seconds(self, name: str, value: Any) -> float:
        seconds = value.total_seconds() if isinstance(value, timedelta) else value
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds < 0:
            raise AuthoringError(
                f"task {self.task_id!r} has {name}={describe(value)}",
                "it must be a timedelta or seconds, and not negative",
                "correct it",
                self._location,
            )
        return float(seconds)

    @property
    def reschedule(self) -> bool:
        return self.mode == "reschedule"

    def poke(self, context: Any) -> bool | PokeReturnValue:
        raise AirflowException("Override me.")

    def execute(self, context: Any) -> Any:
        started_at, run_duration = self._clock(context)
        poke_count = 1
        while not (answer := self._poke_safely(context)):
            self._check_timeout(run_duration())
            interval = self._get_next_poke_interval(started_at, run_duration, poke_count)
            if self.reschedule:
                raise AirflowRescheduleException(timezone.utcnow() + timedelta(seconds=interval))
            time.sleep(interval)
            poke_count += 1
        self.log.info("Success criteria met. Exiting.")
        return answer.xcom_value if isinstance(answer, PokeReturnValue) else None

    def _clock(self, context: Any) -> tuple[datetime | float, Callable[[], float]]:
        """(start, seconds since then). A rescheduled sensor counts from its first process, by the wall clock."""
        if self.reschedule:
            first = context["ti"].get_first_reschedule_date(context) or timezone.utcnow()
            return first, lambda: (timezone.utcnow() - first).total_seconds()
        start = time.monotonic()
        return start, lambda: time.monotonic() - start

    def _poke_safely(self, context: Any) -> bool | PokeReturnValue:
        try:
            return self.poke(context)
        except (AirflowSensorTimeout, AirflowTaskTimeout, AirflowFailException) as error:
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(SOFT_FAIL if self.soft_fail else NEVER_FAIL) from error
            raise
        except AirflowSkipException:
            raise
        except Exception as error:
            if self.silent_fail:
                self.log.exception("Sensor poke failed")
                return False
            if self.never_fail:
                raise AirflowSkipException(NEVER_FAIL) from error
            raise

    def _check_timeout(self, duration_s: float) -> None:
        if duration_s <= self.timeout:
            return
        message = (
            f"Sensor has timed out; run duration of {duration_s} seconds exceeds the specified timeout of "
            f"{self.timeout}."
        )
        raise AirflowSkipException(message) if self.soft_fail else AirflowSensorTimeout(message)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        try:
            return self._resume(next_method, next_kwargs, context)
        except (AirflowException, TaskDeferralError) as error:
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(SOFT_FAIL if self.soft_fail else NEVER_FAIL) from error
            raise

    def _resume(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout as error:
            raise AirflowSensorTimeout(*error.args) from error

    def _get_next_poke_interval(
        self, started_at: datetime | float, run_duration: Callable[[], float], poke_count: int
    ) -> float:
        if not self.exponential_backoff:
            return self.poke_interval
        if self.reschedule:
            poke_count = self._count_pokes(started_at, run_duration())
        interval = min(self.timeout - int(run_duration()), self._backoff_s(started_at, poke_count))
        if self.max_wait:
            interval = min(self.max_wait.total_seconds(), interval)
        self.log.info("new %s interval is %s", self.mode, interval)
        return interval

    def _count_pokes(self, started_at: datetime | float, elapsed_s: float) -> int:
        """How many pokes fit into that time: a rescheduled sensor does not remember their number."""
        count, passed_s = 0, 0.0
        while passed_s <= elapsed_s:
            count += 1
            passed_s += self._backoff_s(started_at, count)
        return count

    def _backoff_s(self, started_at: datetime | float, poke_count: int) -> float:
        """Twice as long each time, and up to twice of that by a hash, so that equal sensors spread."""
        least = max(int(self.poke_interval * (2 ** (poke_count - 2))), 1)
        seed = f"{self.dag_id}#{self.task_id}#{started_at}#{poke_count}".encode()
        spread = int(hashlib.sha1(seed, usedforsecurity=False).hexdigest(), 16) % least
        return min(least + spread, LONGEST_WAIT_S)


def poke_mode_only(cls: Any) -> Any:
    """A class decorator: only `mode="poke"` is allowed."""
    if not (isinstance(cls, type) and issubclass(cls, BaseSensorOperator)):
        raise ValueError(f"poke_mode_only decorator should only be applied to subclasses of BaseSensorOperator: {cls}")

    def refuse_others(_: Any, value: str) -> None:
        if value != "poke":
            raise ValueError(f"Cannot set mode to {value!r}. Only 'poke' is acceptable")

    cls.mode = property(lambda _: "poke", refuse_others)  # type: ignore[assignment]
    return cls


class PythonSensor(BaseSensorOperator):
    """Waits until a function returns something true."""

    template_fields: Sequence[str] = ("templates_dict", "op_args", "op_kwargs")

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        templates_dict: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.python_callable = python_callable
        self.op_args = op_args or ()
        self.op_kwargs = op_kwargs or {}
        self.templates_dict = templates_dict

    def poke(self, context: Any) -> PokeReturnValue:
        available = {**context, **self.op_kwargs, "templates_dict": self.templates_dict}
        self.log.info("Poking callable: %s", describe(self.python_callable))
        answer = self.python_callable(*self.op_args, **select_kwargs(self.python_callable, self.op_args, available))
        return answer if isinstance(answer, PokeReturnValue) else PokeReturnValue(bool(answer))


class DecoratedSensorOperator(_Decorated, PythonSensor):
    """`@task.sensor`."""

    template_fields: Sequence[str] = ("templates_dict", "op_args", "op_kwargs")
    custom_operator_name = "@task.sensor"


class BashSensor(BaseSensorOperator):
    """Waits until a bash command exits with 0; with `retry_exit_code` all codes but these two are failures."""

    template_fields: Sequence[str] = ("bash_command", "env")

    def __init__(
        self,
        *,
        bash_command: Any,
        env: dict[str, str] | None = None,
        output_encoding: str = "utf-8",
        retry_exit_code: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bash_command = bash_command
        self.env = env
        self.output_encoding = output_encoding
        self.retry_exit_code = retry_exit_code
        self._child: Any = None

    def poke(self, context: Any) -> bool:
        exit_code = self._run()
        self.log.info("Command exited with return code %s", exit_code)
        if exit_code == 0:
            return True
        if self.retry_exit_code is None or exit_code == self.retry_exit_code:
            return False
        raise AirflowFailException(f"Command exited with return code {exit_code}")

    def _run(self) -> int:
        """Runs the command in a folder of its own; the exit code. It stays in the process group of the try."""
        import shutil
        import subprocess
        import tempfile

        with tempfile.TemporaryDirectory(prefix="airflowtmp") as folder:
            script = os.path.join(folder, "command.sh")
            with open(script, "w", encoding="utf-8") as file:
                file.write(self.bash_command)
            self.log.info("Running command: %s", self.bash_command)
            self._child = subprocess.Popen(
                [shutil.which("bash") or "bash", script],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=self.env,
            )
            with self._child.stdout as output:
                for raw in output:
                    self.log.info("%s", raw.decode(self.output_encoding, errors="backslashreplace").rstrip())
            return int(self._child.wait())

    def on_kill(self) -> None:
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()
