"""What the schedules of all DAGs ask for in the next days: runs, pool slots, polls; and what a change of one would do.

A run is taken to go as the mean of its DAG's earlier runs: each task begins when what is before it has ended, and lasts
as long as it did. What is told of a pool is what is asked for, so that it may be more than there is. Called by
`api.own.forecast`, in a thread. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from leoflowd.contract.dag_spec import ContinuousTimetable, CronTimetable, DagSpec, NoTimetable, TaskSpec
from leoflowd.contract.errors import Invalid
from leoflowd.contract.human import HUMAN_KIND
from leoflowd.contract.waits import TRIGGER_KIND
from leoflowd.core.dag_shape import checked_order
from leoflowd.core.human_times import span
from leoflowd.core.schedule import coming_slots, zone_name
from leoflowd.core.timetable import RunSlot, validate

DAYS_MAX = 14
BUCKETS_MAX = 168
"""Of the time line: an hour each for a week."""
RUNS_MAX = 2_000
"""Of one DAG: one a minute for more than a day."""
RUNS_ALL_MAX = 20_000
"""Of all DAGs together: each is some 50 us of work."""
INTERVALS_MAX = 100_000
"""Times at which some task is taken to run: more is not counted, and said."""
ASSUMED_S = 60.0
"""A task that has not succeeded yet lasts a minute."""
NOT_POLLED = frozenset({HUMAN_KIND, TRIGGER_KIND, "time", "webhook"})
"""Kinds of waits that nobody asks again and again."""
_QUARTER = timedelta(minutes=15)


class TaskMean(msgspec.Struct, frozen=True):
    """Of the earlier runs of a DAG: how long an instance of the task took, and how many there were in a run."""

    dag_id: str
    task_id: str
    duration_s: float
    instances: float


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """A DAG, as far as its future is concerned."""

    spec: DagSpec
    is_paused: bool
    last: RunSlot | None
    """The newest run that its schedule started."""
    means: Mapping[str, TaskMean] = {}
    """By task id; tasks without are taken to last `ASSUMED_S`."""


class PoolSize(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    slots: int
    """-1: no limit."""
    include_deferred: bool = False


class DagForecast(msgspec.Struct, frozen=True, kw_only=True):
    dag_id: str
    summary: str | None
    is_paused: bool
    runs_count: int
    run_s: float
    """How long a run takes if no pool holds it up."""
    lag_s: float
    """How much later than its time the latest run begins because of max_active_runs."""
    runs: tuple[tuple[int, int], ...]
    """(bucket, runs that begin in it); buckets without are left out."""
    notes: tuple[str, ...] = ()


class PoolForecast(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    slots: int
    peak: int
    peak_at: datetime | None
    over_s: float
    """How long more slots are asked for than there are."""
    series: tuple[int, ...]
    """The most that is asked for at once, in each bucket."""


class Polls(msgspec.Struct, frozen=True, kw_only=True):
    peak_per_s: float
    peak_at: datetime | None
    series: tuple[float, ...]
    """The mean of each bucket, at most: waits that ask the same question are asked once."""


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    begin: datetime
    end: datetime
    bucket_s: int
    dags: tuple[DagForecast, ...]
    """Those that run most first."""
    pools: tuple[PoolForecast, ...]
    """Those that are asked for most of what they have first; only those that are asked for at all."""
    polls: Polls


class _Load(msgspec.Struct, frozen=True):
    """What one task of a run asks for, from `begin_s` to `end_s` after the run's start."""

    begin_s: float
    end_s: float
    pool: str
    slots: int
    is_deferred: bool
    polls_per_s: float


def with_change(outlook: Outlook, *, schedule: str | None, is_paused: bool | None) -> Outlook:
    """The DAG as it would be: another schedule (cron, a preset, or `none`), paused or not. Raises `Invalid`."""
    spec = outlook.spec if schedule is None else _with_schedule(outlook.spec, schedule.strip())
    paused = outlook.is_paused if is_paused is None else is_paused
    return msgspec.structs.replace(outlook, spec=spec, is_paused=paused)


def _with_schedule(spec: DagSpec, text: str) -> DagSpec:
    if text.lower() == "none":
        return msgspec.structs.replace(spec, timetable=NoTimetable(), timetable_summary=None)
    now = spec.timetable
    base = now if isinstance(now, CronTimetable) else CronTimetable(expression=text, timezone=zone_name(spec))
    timetable = msgspec.structs.replace(base, expression=text)
    try:
        validate(timetable)
    except ValueError as error:
        raise Invalid(f"this schedule cannot be: {error}; or `none`", location=("query", "schedule")) from error
    return msgspec.structs.replace(spec, timetable=timetable, timetable_summary=text)


def forecast(outlooks: Iterable[Outlook], pools: Sequence[PoolSize], *, now: datetime, days: int) -> Forecast:
    """From the full bucket that `now` is in for `days`. Raises `Invalid` for too many."""
    if not 1 <= days <= DAYS_MAX:
        raise Invalid(f"{days} days were asked for; between 1 and {DAYS_MAX} are possible", location=("query", "days"))
    width = _QUARTER * -(-timedelta(days=days) // (_QUARTER * BUCKETS_MAX))
    begin = datetime.fromtimestamp(now.timestamp() // width.total_seconds() * width.total_seconds(), UTC)
    line = _Line(begin, now, int(width.total_seconds()), timedelta(days=days) // width, pools)
    dags = sorted((line.add(one) for one in outlooks), key=lambda one: (one.is_paused, -one.runs_count, one.dag_id))
    return Forecast(
        begin=begin,
        end=line.end,
        bucket_s=line.bucket_s,
        dags=tuple(dags),
        pools=tuple(sorted(line.pools(), key=lambda pool: (-_share(pool), pool.name))),
        polls=line.polls(),
    )


def _share(pool: PoolForecast) -> float:
    return pool.peak / pool.slots if pool.slots > 0 else float(pool.slots == 0)


class _Line:
    """The time line that is being filled. All moments inside are seconds from its begin."""

    def __init__(self, begin: datetime, now: datetime, bucket_s: int, buckets: int, pools: Sequence[PoolSize]) -> None:
        self.begin, self.bucket_s = begin, bucket_s
        self.end = begin + timedelta(seconds=bucket_s * buckets)
        self._now = now
        self._buckets = buckets
        self._sizes = {pool.name: pool for pool in pools}
        self._changes: dict[str, list[tuple[float, int]]] = {}
        """Pool -> (when, slots more or less)."""
        self._polls = [0.0] * (buckets + 1)
        """Polls per second, in each bucket, from waits that begin or end in it."""
        self._steps = [0.0] * (buckets + 1)
        """By how much the rate of all buckets from this one on is higher."""
        self._intervals_left = INTERVALS_MAX
        self._runs_left = RUNS_ALL_MAX

    def add(self, outlook: Outlook) -> DagForecast:
        """Counts the runs of a DAG in."""
        spec = outlook.spec
        loads = _loads(spec, outlook.means)
        run_s = max((load.end_s for load in loads), default=0.0)
        slots: list[RunSlot] = []
        most, fault = min(RUNS_MAX, self._runs_left), ""
        try:
            if not outlook.is_paused and most:
                slots, _ = coming_slots(spec, count=most, now=self._now, last=outlook.last, until=self.end)
        except (
            ValueError,
            ArithmeticError,
        ) as error:  # one DAG whose dates cannot be calculated with is no other's fault
            fault = str(error)
        self._runs_left -= len(slots)
        starts, lag_s = self._starts(slots, run_s, spec.max_active_runs)
        asking = [load for load in loads if load.slots or load.polls_per_s]
        is_counted = len(starts) * len(asking) <= self._intervals_left
        if is_counted:
            self._intervals_left -= len(starts) * len(asking)
            for start in starts:
                for load in asking:
                    self._ask(start, load)
        counts: dict[int, int] = {}
        for start in starts:
            bucket = int(start // self.bucket_s)
            if bucket < self._buckets:
                counts[bucket] = counts.get(bucket, 0) + 1
        return DagForecast(
            dag_id=spec.dag_id,
            summary=spec.timetable_summary,
            is_paused=outlook.is_paused,
            runs_count=len(slots),
            run_s=run_s,
            lag_s=lag_s,
            runs=tuple(sorted(counts.items())),
            notes=tuple(
                _notes(outlook, lag_s, cut_at=most if len(slots) == most else None, is_counted=is_counted, fault=fault)
            ),
        )

    def _starts(self, slots: Sequence[RunSlot], run_s: float, limit: int) -> tuple[list[float], float]:
        """When the runs begin, and the longest time by which `limit` runs at once delay one."""
        running: deque[float] = deque(maxlen=limit or None)
        starts, lag_s = [], 0.0
        for slot in slots:
            due = max(0.0, (slot.run_after - self.begin).total_seconds(), (self._now - self.begin).total_seconds())
            start = max(due, running[0]) if limit and len(running) == limit else due
            lag_s = max(lag_s, start - due)
            running.append(start + run_s)
            starts.append(start)
        return starts, lag_s

    def _ask(self, start: float, load: _Load) -> None:
        begin, end = start + load.begin_s, min(start + load.end_s, float(self._buckets * self.bucket_s))
        if begin >= end:
            return
        pool = self._sizes.get(load.pool)
        if load.slots and (not load.is_deferred or (pool is not None and pool.include_deferred)):
            self._changes.setdefault(load.pool, []).extend(((begin, load.slots), (end, -load.slots)))
        if load.polls_per_s:
            self._poll(begin, end, load.polls_per_s)

    def _poll(self, begin: float, end: float, per_s: float) -> None:
        first, last = int(begin // self.bucket_s), int(end // self.bucket_s)
        if first == last:
            self._polls[first] += per_s * (end - begin) / self.bucket_s
            return
        self._polls[first] += per_s * ((first + 1) * self.bucket_s - begin) / self.bucket_s
        self._polls[last] += per_s * (end - last * self.bucket_s) / self.bucket_s
        self._steps[first + 1] += per_s
        self._steps[last] -= per_s

    def pools(self) -> Iterable[PoolForecast]:
        for name, changes in self._changes.items():
            size = self._sizes.get(name, PoolSize(name=name, slots=0))
            series = [0] * self._buckets
            level, over_s, peak, peak_at, before = 0, 0.0, 0, 0.0, 0.0
            for moment, change in sorted(changes):  # at one moment, what ends makes room first
                if level and moment > before:
                    last = min(self._buckets - 1, -int(-moment // self.bucket_s) - 1)
                    for bucket in range(int(before // self.bucket_s), last + 1):
                        series[bucket] = max(series[bucket], level)
                    over_s += moment - before if 0 <= size.slots < level else 0.0
                    if level > peak:
                        peak, peak_at = level, before
                level, before = level + change, moment
            yield PoolForecast(
                name=name,
                slots=size.slots,
                peak=peak,
                peak_at=self._at(peak_at) if peak else None,
                over_s=over_s,
                series=tuple(series),
            )

    def polls(self) -> Polls:
        rate, series = 0.0, []
        for own, step in zip(self._polls[: self._buckets], self._steps, strict=False):
            rate += step
            series.append(round(own + rate, 6))
        peak = max(series, default=0.0)
        return Polls(
            peak_per_s=peak,
            peak_at=self._at(series.index(peak) * self.bucket_s) if peak else None,
            series=tuple(series),
        )

    def _at(self, offset_s: float) -> datetime:
        return self.begin + timedelta(seconds=offset_s)


def _loads(spec: DagSpec, means: Mapping[str, TaskMean]) -> list[_Load]:
    """Upstream first; what takes no time is there too, for what comes after it."""
    tasks = {task.task_id: task for task in spec.tasks}
    ends: dict[str, float] = {}
    loads = []
    for task_id in checked_order(spec):
        task = tasks[task_id]
        begin = max((ends[upstream] for upstream in task.upstream_task_ids), default=0.0)
        load = _load(task, begin, means.get(task_id), spec.max_active_tasks)
        ends[task_id] = load.end_s
        loads.append(load)
    return loads


def _load(task: TaskSpec, begin_s: float, mean: TaskMean | None, max_active_tasks: int) -> _Load:
    if task.kind == "empty":
        return _Load(begin_s, begin_s, task.pool, 0, False, 0.0)
    instances = max(1, round(mean.instances)) if mean is not None else 1
    limits = [limit for limit in (task.max_active_tis_per_dagrun, max_active_tasks) if limit]
    at_once = min([instances, *limits])
    duration = (mean.duration_s if mean is not None else ASSUMED_S) * -(-instances // at_once)
    is_wait = task.kind in ("wait", "sensor")
    every = task.wait.terms.poke_interval_s if task.wait is not None and task.wait.probe.kind not in NOT_POLLED else 0.0
    polls = instances / every if every > 0 else 0.0
    # as deferred, all instances wait at once
    slots = task.pool_slots * (instances if is_wait else at_once)
    return _Load(begin_s, begin_s + duration, task.pool, slots, is_wait, polls)


def _notes(outlook: Outlook, lag_s: float, *, cut_at: int | None, is_counted: bool, fault: str) -> Iterable[str]:
    """`cut_at`: how many runs were counted, if there may be more."""
    spec = outlook.spec
    if outlook.is_paused:
        yield "paused: no runs"
    if fault:
        yield f"its schedule gives no runs: {fault}"
    if isinstance(spec.timetable, ContinuousTimetable):
        yield "each run starts when the one before has ended: its runs are not shown"
    if lag_s > 0:
        yield f"max_active_runs {spec.max_active_runs} delays runs by up to {span(lag_s)}"
    if cut_at is not None and not outlook.is_paused:
        yield f"at most {cut_at} of its next runs are counted: choose fewer days or DAGs"
    if not is_counted:
        yield "too many runs of too many tasks: they are not in the pools and polls"
    unknown = [task.task_id for task in spec.tasks if task.kind != "empty" and task.task_id not in outlook.means]
    if unknown:
        yield f"{len(unknown)} of {len(spec.tasks)} tasks never succeeded: each is taken to last {span(ASSUMED_S)}"
