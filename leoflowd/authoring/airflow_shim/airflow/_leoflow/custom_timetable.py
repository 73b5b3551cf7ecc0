"""Timetables of the author's own: asked while the DAG is compiled, as far ahead as is kept (ADR 50).

`serialize.py` calls `timetable_spec`. The class is the author's, on the shim's base or on Airflow's;
`airflow.timetables` is either one's, so that it gets the objects it expects. The daemon has the answers only.
"""

from __future__ import annotations

import importlib
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow._leoflow.checked_values import moment
from airflow._leoflow.errors import AuthoringError, Location, warn
from airflow._leoflow.timetables import BaseTimetable, is_own, iso_utc

AHEAD_MAX, AHEAD = 1_000, timedelta(days=730)
"""How far the class is asked, whichever comes first; Lite asks again at half of it."""
PAST_MAX = 20_000
"""Slots of a catchup that lie behind: 54 years of days."""
_NOT_ASKED = {
    "run_ordering": "runs are ordered by the end of their data interval, then by their logical date",
    "generate_run_id": "run ids are Airflow's usual ones",
}

_now = datetime.now(timezone.utc)


def begin(now: str) -> None:
    """The moment of the compile, one for both loads of a file."""
    global _now
    _now = datetime.fromisoformat(now)


class OfAirflow(BaseTimetable):
    """A class that the real packages have loaded."""

    def __init__(self, real: Any) -> None:
        self.real = real

    @property
    def summary(self) -> str | None:
        return str(self.real.summary)


def timetable_spec(dag: Any, project: str) -> dict[str, Any]:
    """The DAG's timetable in the artifact's form. Raises `AuthoringError`."""
    timetable = getattr(dag.timetable, "timetable", dag.timetable)  # of `AssetOrTimeSchedule`
    if not is_own(timetable):
        return dag.timetable.to_spec()  # type: ignore[no-any-return]
    return _Asked(dag, getattr(timetable, "real", timetable), project).spec()


class _Asked:
    def __init__(self, dag: Any, timetable: Any, project: str) -> None:
        self._dag = dag
        self._timetable = timetable
        self._project = project
        self._base: Any = importlib.import_module("airflow.timetables.base")
        cls = type(timetable)
        self.name = f"{cls.__module__}.{cls.__qualname__}"

    def spec(self) -> dict[str, Any]:
        self._check()
        slots, valid_until = self._slots() if self._timetable.can_be_scheduled else ([], None)
        manual = self._manual()
        return {
            "type": "custom",
            "name": self.name,
            "description": str(self._timetable.description or ""),
            "slots": slots,
            "manual": manual,
            "manual_is_exact": manual is not None and manual == [iso_utc(_now)] * 2,
            "valid_until": valid_until,
        }

    def _check(self) -> None:
        self._call("validate")
        limit, runs = self._timetable.active_runs_limit, self._dag.max_active_runs
        if limit is not None and not 1 <= runs <= limit:
            raise AuthoringError(
                f"dag {self._dag.dag_id!r} has max_active_runs={runs}",
                f"its timetable {self.name} allows {limit}",
                f"set max_active_runs={limit}",
                self._dag._location,
            )
        for attribute, instead in _NOT_ASKED.items():
            owner = next((cls for cls in type(self._timetable).__mro__ if attribute in vars(cls)), object)
            if not owner.__module__.startswith(("airflow.", "builtins")):
                what = f"{attribute} of timetable {self.name} is not used: {instead}"
                warn(what, "remove it", self._place(attribute), self._dag.dag_id)

    # --- runs of the schedule --------------------------------------------------------------------------------------

    def _slots(self) -> tuple[list[list[str]], str | None]:
        """What `CustomTimetable.slots` and `valid_until` are."""
        restriction = self._base.TimeRestriction(*self._bounds(), self._dag.catchup)
        found: list[tuple[datetime, datetime, datetime]] = []
        last, ahead = None, 0
        while True:
            last = self._next(last, restriction)
            if last is None:
                return [list(map(iso_utc, slot)) for slot in found], None
            slot = self._checked(last)
            if found and slot[0] <= found[-1][0]:
                raise self._wrong("next_dagrun_info", f"after {found[-1][0]} it gave {slot[0]}", "return a later one")
            found.append(slot)
            ahead += slot[2] > _now
            if ahead >= AHEAD_MAX or slot[2] > _now + AHEAD:
                return [list(map(iso_utc, slot)) for slot in found], iso_utc(slot[2])
            if len(found) - ahead > PAST_MAX:
                raise self._wrong(
                    "next_dagrun_info",
                    f"it has more than {PAST_MAX} runs between the start date and now",
                    "set a later start_date",
                )

    def _next(self, last: Any, restriction: Any) -> Any:
        if hasattr(self._timetable, "next_dagrun_info_v2"):
            return self._call("next_dagrun_info_v2", last_dagrun_info=last, restriction=restriction)
        interval = None if last is None else last.data_interval
        return self._call("next_dagrun_info", last_automated_data_interval=interval, restriction=restriction)

    def _bounds(self) -> tuple[Any, Any]:
        """As `core.timetable.time_restriction`."""
        tasks = list(self._dag.tasks)
        starts = [at for one in (self._dag, *tasks) if (at := _moment_of(one, "start_date")) is not None]
        end = _moment_of(self._dag, "end_date")
        ends = [at for task in tasks if (at := _moment_of(task, "end_date")) is not None]
        if tasks and len(ends) == len(tasks):
            end = max([*ends, *([end] if end is not None else [])])
        return min(starts, default=None), end

    def _checked(self, info: Any) -> tuple[datetime, datetime, datetime]:
        interval = getattr(info, "data_interval", None)
        moments = (*(interval or (None, None)), getattr(info, "run_after", None))
        if not all(isinstance(at, datetime) and at.tzinfo is not None for at in moments):
            raise self._wrong(
                "next_dagrun_info",
                f"it gave {type(info).__name__} with {', '.join(map(str, moments))}",
                "return a DagRunInfo with a data interval, whose moments all have a time zone, or None",
            )
        if getattr(info, "partition_key", None) is not None:
            raise self._wrong("next_dagrun_info", "it gave a partition_key", "leave partitions out of it")
        return moments  # type: ignore[return-value]

    # --- runs that someone asks for --------------------------------------------------------------------------------

    def _manual(self) -> list[str] | None:
        try:
            found = self._call("infer_manual_data_interval", run_after=_as_given(_now))
        except NotImplementedError:
            return None
        moments = found if isinstance(found, tuple) else ()
        if len(moments) != 2 or not all(isinstance(at, datetime) and at.tzinfo is not None for at in moments):
            raise self._wrong(
                "infer_manual_data_interval", f"it gave {found!r}", "return a DataInterval with time zones"
            )
        return list(map(iso_utc, moments))

    # --- its code --------------------------------------------------------------------------------------------------

    def _call(self, method: str, **given: Any) -> Any:
        call = getattr(self._timetable, method, None)
        if call is None:
            raise self._wrong(method, "the class has no such method", "define it")
        try:
            return call(**given)
        except NotImplementedError:
            raise
        except Exception as error:
            raise AuthoringError(
                f"{method} of timetable {self.name} raised {type(error).__name__}: {error}",
                "it is asked for the coming runs when the DAG is compiled",
                "correct that line",
                self._line_of(error) or self._place(method),
            ) from error

    def _wrong(self, method: str, why: str, remedy: str) -> AuthoringError:
        what = f"{method} of timetable {self.name} cannot be used"
        return AuthoringError(what, why, remedy, self._place(method))

    def _place(self, method: str) -> Location:
        code = getattr(getattr(type(self._timetable), method, None), "__code__", None)
        is_theirs = code is not None and code.co_filename.startswith(self._project)
        return (code.co_filename, code.co_firstlineno) if is_theirs else self._dag._location

    def _line_of(self, error: Exception) -> Location | None:
        found, trace = None, error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename.startswith(self._project):
                found = trace.tb_frame.f_code.co_filename, trace.tb_lineno
            trace = trace.tb_next
        return found


def _moment_of(one: Any, name: str) -> Any:
    written = moment(getattr(one, name), name, one._location)
    return None if written is None else _as_given(datetime.fromisoformat(written.replace("Z", "+00:00")))


def _as_given(at: datetime) -> Any:
    """As Airflow gives moments to a timetable: pendulum's, where the environment has it."""
    try:
        pendulum: Any = importlib.import_module("pendulum")
    except ModuleNotFoundError:
        return at
    return pendulum.instance(at)
