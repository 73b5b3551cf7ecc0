"""When a DAG runs next, and over which data interval: Airflow 3.2's timetables as functions over `contract.dag_spec`.

Called by the timetable clock (`next_run`), by registration (`validate`, `describe`) and by whoever starts a run by hand
(`manual_interval`, `run_id_for`). All moments out are UTC; a time zone only decides what a cron expression means.

Daylight saving, as Airflow does it: an expression that runs every hour (`*` as hour) goes on in real time, so the hour
that comes twice has two runs and the missing one none; any other expression names wall-clock times: a time that comes
twice means its second occurrence, a time that is missing means as much later as the clock jumps.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Protocol, assert_never
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from cron_descriptor import (  # type: ignore[import-untyped]  # it ships no types
    CasingTypeEnum,
    ExpressionDescriptor,
    FormatException,
    MissingFieldException,
    Options,
)
from croniter import CroniterBadCronError, CroniterBadDateError, croniter
from dateutil.relativedelta import relativedelta

from leoflowd.contract.dag_spec import (
    ContinuousTimetable,
    CronTimetable,
    CustomTimetable,
    DagSpec,
    DatesTimetable,
    DeltaTimetable,
    MultipleCronTimetable,
    NoTimetable,
    OnceTimetable,
    Timetable,
)
from leoflowd.contract.states import DagRunType

CRON_PRESETS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@quarterly": "0 0 1 */3 *",
    "@yearly": "0 0 1 1 *",
}

FIRST_RUN_GRACE = timedelta(minutes=5)
"""A DAG without start date still gets the slot that passed a moment ago: this long, or a tenth of the gap if longer."""


ASK_AGAIN = timedelta(days=1)
"""A custom timetable may know better by then, e.g. of a calendar that it reads."""


class RunSlot(msgspec.Struct, frozen=True, kw_only=True):
    """One run that a timetable asks for; all UTC.

    A run with a partition has that in the place of logical date and data interval, which then only say where it stands
    among the others (ADR 57).
    """

    logical_date: datetime
    data_interval_start: datetime
    data_interval_end: datetime
    run_after: datetime
    partition_key: str | None = None
    partition_date: datetime | None = None

    @property
    def key(self) -> datetime | str:
        """Which run of its DAG it is: by its partition or, without one, by its logical date."""
        return self.logical_date if self.partition_key is None else self.partition_key


def next_run(
    timetable: Timetable,
    *,
    last: RunSlot | None,
    start_date: datetime | None,
    end_date: datetime | None,
    catchup: bool,
    now: datetime,
) -> RunSlot | None:
    """The next run; None = none is to come. `last`: the newest scheduled or backfilled run, never a manual one."""
    match timetable:
        case NoTimetable():
            return None
        case OnceTimetable():
            at = start_date or now
            return None if last is not None or _is_past(at, end_date) else _exact(at)
        case ContinuousTimetable():
            return _next_continuous(last, start_date, end_date, now)
        case DatesTimetable():
            return _next_date(timetable, last, start_date, end_date, catchup, now)
        case CronTimetable() | DeltaTimetable():
            beat = _beat_of(timetable)
            if timetable.data_interval:
                return _next_interval(beat, last, start_date, end_date, catchup, now)
            found_slot = _next_trigger(timetable, beat, last, start_date, end_date, catchup, now)
            return None if found_slot is None else _with_partition(timetable, found_slot)
        case MultipleCronTimetable():
            found = [
                next_run(one, last=last, start_date=start_date, end_date=end_date, catchup=catchup, now=now)
                for one in timetable.timetables
            ]
            return _first_of([slot for slot in found if slot is not None], catchup, now)
        case CustomTimetable():
            return _next_known(timetable, last, end_date, catchup, now)
        case _:
            assert_never(timetable)


def time_restriction(spec: DagSpec) -> tuple[datetime | None, datetime | None]:
    """Earliest start and latest end over the DAG and its tasks, which `next_run` takes as start and end date."""
    starts = [moment for moment in (spec.start_date, *(task.start_date for task in spec.tasks)) if moment is not None]
    ends = [task.end_date for task in spec.tasks if task.end_date is not None]
    if not spec.tasks or len(ends) < len(spec.tasks):
        return min(starts, default=None), spec.end_date
    return min(starts, default=None), max([*ends, *([spec.end_date] if spec.end_date is not None else [])])


def manual_interval(timetable: Timetable, run_after: datetime) -> tuple[datetime, datetime]:
    """Data interval of a run that someone asks for: the last complete one for data-interval timetables."""
    match timetable:
        case CronTimetable(data_interval=True):
            beat = _Cron(timetable)
            end = beat.align_back(run_after)
            return beat.before(end), end
        case DeltaTimetable(data_interval=True):
            return _Delta(timetable).before(run_after), run_after
        case CronTimetable() | DeltaTimetable():
            return run_after - _width(timetable), run_after
        case MultipleCronTimetable():
            return min(manual_interval(one, run_after) for one in timetable.timetables)
        case DatesTimetable(restrict_to_events=True, dates=dates) if dates:
            event = max((moment for moment in dates if moment <= run_after), default=dates[0])
            return event, event
        case CustomTimetable(manual_is_exact=False):
            passed = [slot for slot in timetable.slots if slot[2] <= run_after]
            return passed[-1][:2] if passed else timetable.manual or (run_after, run_after)
        case _:
            return run_after, run_after


def latest_window(timetable: Timetable, start: datetime, end: datetime) -> tuple[datetime, datetime] | None:
    """After which moment, and until which, the run of this data interval is the newest that the timetable asked for.

    None: none follows it, or the next one waits for its end. As Airflow's `LatestOnlyOperator` works it out.
    """
    if isinstance(timetable, ContinuousTimetable):
        return None
    last = _interval(start, end)
    following = next_run(timetable, last=last, start_date=end, end_date=None, catchup=True, now=end)
    return None if following is None else (last.data_interval_start, following.data_interval_end)


@functools.lru_cache(maxsize=4096)
def neighbours(timetable: Timetable, logical_date: datetime) -> tuple[datetime | None, datetime | None]:
    """Logical dates of the scheduled runs before and after; None where the timetable has none, or no fixed ones.

    Kept, because all tries of a run ask the same.
    """
    try:
        return _neighbours(timetable, logical_date)
    except (CroniterBadDateError, OverflowError, ValueError):
        return None, None


def _neighbours(timetable: Timetable, logical_date: datetime) -> tuple[datetime | None, datetime | None]:
    match timetable:
        case CronTimetable() | DeltaTimetable():
            beat = _beat_of(timetable)
            width = relativedelta() if timetable.data_interval else _width(timetable)
            at = logical_date + width
            return beat.before(at) - width, beat.after(at) - width
        case MultipleCronTimetable():
            sides = [_neighbours(one, logical_date) for one in timetable.timetables]
            dates = [moment for side in sides for moment in side if moment is not None]
            return _around(dates, logical_date)
        case DatesTimetable(dates=dates):
            return _around(dates, logical_date)
        case CustomTimetable():
            return _around([slot[0] for slot in timetable.slots], logical_date)
        case _:
            return None, None


def _around(dates: Sequence[datetime], moment: datetime) -> tuple[datetime | None, datetime | None]:
    before = [date for date in dates if date < moment]
    after = [date for date in dates if date > moment]
    return max(before, default=None), min(after, default=None)


def run_id_for(run_type: DagRunType, run_after: datetime, *, unique: str = "") -> str:
    """Airflow's run ids. A run without logical date needs `unique` (random letters): its moment may repeat."""
    stamp = run_after.astimezone(UTC).isoformat()
    return f"{run_type.value}__{stamp}_{unique}" if unique else f"{run_type.value}__{stamp}"


def run_id_of_slot(run_type: DagRunType, slot: RunSlot, *, asked_by: str) -> str:
    """Run id of a run that a timetable, or a backfill of it, makes: `asked_by` has one run of each slot.

    A run with a partition has no date that would be taken; that it is there already is its run id's alone to say.
    """
    if slot.partition_key is None:
        return run_id_for(run_type, slot.run_after)
    digest = hashlib.sha256(f"{asked_by}:{slot.run_after.isoformat()}".encode()).hexdigest()[:8]
    return run_id_for(run_type, slot.run_after, unique=f"_{slot.partition_key[:100].replace('/', '-')}__{digest}")


def describe(timetable: Timetable) -> str:
    """One sentence for the UI's `timetable_description`."""
    match timetable:
        case NoTimetable():
            return "Never, external triggers only"
        case OnceTimetable():
            return "Once, as soon as possible"
        case ContinuousTimetable():
            return "As frequently as possible, but only one run at a time."
        case CronTimetable():
            return _describe_cron(_without_preset(timetable.expression))
        case MultipleCronTimetable():
            return ", ".join(map(describe, timetable.timetables))
        case DeltaTimetable():
            return f"Every {_describe_delta(timetable)}"
        case DatesTimetable():
            return timetable.description or _describe_dates(timetable.dates)
        case CustomTimetable():
            return timetable.description
        case _:
            assert_never(timetable)


def validate(timetable: Timetable) -> None:
    """Raise ValueError that says what is wrong and what to write instead."""
    match timetable:
        case CronTimetable():
            _validate_cron(timetable)
        case MultipleCronTimetable():
            for one in timetable.timetables:
                _validate_cron(one)
        case DeltaTimetable():
            if timetable.months * 30 * 86_400 + timetable.seconds <= 0:
                raise ValueError("the schedule's time delta is not positive: give a longer one, or schedule=None")
        case DatesTimetable():
            naive = [moment for moment in timetable.dates if moment.tzinfo is None]
            if naive:
                raise ValueError(f"date {naive[0]} of the schedule has no time zone: write it with one, e.g. in UTC")
            if list(timetable.dates) != sorted(timetable.dates):
                raise ValueError("the dates of the schedule are not ascending: sort them")
        case CustomTimetable():
            starts = [slot[0] for slot in timetable.slots]
            if starts != sorted(set(starts)):
                raise ValueError(f"the data intervals of timetable {timetable.name} do not begin one after the other")
        case NoTimetable() | OnceTimetable() | ContinuousTimetable():
            pass
        case _:
            assert_never(timetable)


# --- beats: where the slots of a periodic timetable lie ---


class _Beat(Protocol):
    def after(self, moment: datetime) -> datetime: ...
    def before(self, moment: datetime) -> datetime: ...
    def align(self, moment: datetime) -> datetime:
        """The moment itself if it is a slot, else the slot after it."""
        ...

    def align_back(self, moment: datetime) -> datetime:
        """The moment itself if it is a slot, else the slot before it."""
        ...

    def latest_start(self, now: datetime) -> datetime:
        """Start of the newest complete data interval."""
        ...


def _beat_of(timetable: CronTimetable | DeltaTimetable) -> _Beat:
    return _Cron(timetable) if isinstance(timetable, CronTimetable) else _Delta(timetable)


@functools.lru_cache(maxsize=1024)
def _parsed(expression: str) -> croniter:
    """Never asked for a slot itself: it would remember it, and threads share it."""
    return croniter(expression, datetime(2000, 1, 1, tzinfo=UTC))


def _standing_at(wall: datetime, expression: str) -> croniter:
    """Parsing an expression costs several times what finding a slot does."""
    iterator = copy.copy(_parsed(expression))
    iterator.set_current(wall)
    return iterator


class _Cron:
    """Slots of a cron expression. croniter sees wall-clock time only; the time zone is our affair."""

    def __init__(self, timetable: CronTimetable) -> None:
        self._expression = _without_preset(timetable.expression)
        self._zone = zone_of(timetable.timezone)
        self._every_hour = _parsed(self._expression).expanded[1] == ["*"]

    def after(self, moment: datetime) -> datetime:
        wall = moment.astimezone(self._zone).replace(tzinfo=None)
        slot = _standing_at(wall, self._expression).get_next(datetime)
        return moment + (slot - wall) if self._every_hour else from_wall(slot, self._zone)

    def before(self, moment: datetime) -> datetime:
        wall = moment.astimezone(self._zone).replace(tzinfo=None)
        slot = _standing_at(wall, self._expression).get_prev(datetime)
        return moment - (wall - slot) if self._every_hour else from_wall(slot, self._zone)

    def align(self, moment: datetime) -> datetime:
        after = self.after(moment)
        return moment if self.before(after) == moment else after

    def align_back(self, moment: datetime) -> datetime:
        before = self.before(moment)
        return moment if self.after(before) == moment else before

    def latest_start(self, now: datetime) -> datetime:
        """At the very moment of a slot the interval that ends there is the newest complete one."""
        start = self.before(now)
        return start if self.after(start) == now else self.before(start)


class _Delta:
    """Slots at a fixed distance; every moment is one."""

    def __init__(self, timetable: DeltaTimetable) -> None:
        self._timetable = timetable

    def after(self, moment: datetime) -> datetime:
        return moment + relativedelta(months=self._timetable.months) + timedelta(seconds=self._timetable.seconds)

    def before(self, moment: datetime) -> datetime:
        return moment - relativedelta(months=self._timetable.months) - timedelta(seconds=self._timetable.seconds)

    def align(self, moment: datetime) -> datetime:
        return moment

    def align_back(self, moment: datetime) -> datetime:
        return moment

    def latest_start(self, now: datetime) -> datetime:
        """One step before now, with now rounded down to a multiple of the step since 1970 (a month counts 30 days)."""
        step_s = self._timetable.months * 30 * 86_400 + self._timetable.seconds
        rounded = now.timestamp() - now.timestamp() % step_s
        return self.before(datetime.fromtimestamp(rounded, UTC))


# --- Airflow's rules over the beats ---


def _next_trigger(
    timetable: CronTimetable | DeltaTimetable,
    beat: _Beat,
    last: RunSlot | None,
    start_date: datetime | None,
    end_date: datetime | None,
    catchup: bool,
    now: datetime,
) -> RunSlot | None:
    """Trigger timetables run *at* the slot; without catchup, of the slots that passed only the newest is due."""
    if last is not None:
        at = beat.after(last.data_interval_end)
    elif start_date is None:
        at = _first_without_start_date(timetable, beat, now)
    else:
        at = beat.align(start_date)
    if not catchup:
        at = max(at, beat.align_back(now), beat.align(start_date) if start_date is not None else at)
    if _is_past(at, end_date):
        return None
    return _interval(at - _width(timetable), at)


def _with_partition(timetable: CronTimetable | DeltaTimetable, slot: RunSlot) -> RunSlot:
    if not isinstance(timetable, CronTimetable) or timetable.partition is None:
        return slot
    beat, date, offset = _Cron(timetable), slot.run_after, timetable.partition.offset
    for _ in range(abs(offset)):
        date = beat.after(date) if offset > 0 else beat.before(date)
    key = date.strftime(timetable.partition.key_format)
    return msgspec.structs.replace(slot, partition_key=key, partition_date=date)


def is_partitioned(spec: DagSpec) -> bool:
    """Has each scheduled run of it a partition?"""
    timetable = spec.timetable
    return spec.partitions is not None or (isinstance(timetable, CronTimetable) and timetable.partition is not None)


def _width(timetable: CronTimetable | DeltaTimetable) -> relativedelta:
    """Of the data interval of a run at a slot, which ends there."""
    return relativedelta(months=timetable.interval_months) + timedelta(seconds=timetable.interval_s)


def _first_without_start_date(timetable: CronTimetable | DeltaTimetable, beat: _Beat, now: datetime) -> datetime:
    passed, coming = beat.align_back(now), beat.align(now)
    if isinstance(timetable, DeltaTimetable) or timetable.run_immediately:
        return passed
    if timetable.run_within_s is not None:
        grace = timedelta(seconds=timetable.run_within_s)
    else:  # Airflow's documentation says that run_immediately=False waits; its code gives this grace.
        grace = max((coming - passed) / 10, FIRST_RUN_GRACE)
    return passed if now - passed <= grace else coming


def _next_interval(
    beat: _Beat,
    last: RunSlot | None,
    start_date: datetime | None,
    end_date: datetime | None,
    catchup: bool,
    now: datetime,
) -> RunSlot | None:
    """Data-interval timetables run at the *end* of an interval; without catchup only the newest complete one is due."""
    earliest = beat.align(start_date) if start_date is not None else None
    if not catchup:
        newest = beat.latest_start(now)
        earliest = newest if earliest is None else max(newest, earliest)
    if last is None:
        start = earliest
    else:
        # Aligned, because the schedule may have changed since the last run.
        start = beat.align_back(last.data_interval_end)
        start = start if earliest is None else max(start, earliest)
        if last.data_interval_start == last.data_interval_end == start:
            # The last run came from a trigger timetable; its logical date is taken.
            start = beat.after(start)
    if start is None or _is_past(start, end_date):
        return None
    return _interval(start, beat.after(start))


def _next_continuous(
    last: RunSlot | None, start_date: datetime | None, end_date: datetime | None, now: datetime
) -> RunSlot | None:
    earliest = start_date or now
    if last is None:
        start, end = earliest, max(earliest, now)
    elif last.data_interval_end > now:
        start, end = earliest, earliest + (last.data_interval_end - last.data_interval_start)
    else:
        start, end = last.data_interval_end, now
    return None if _is_past(end, end_date) else _interval(start, end)


def _next_date(
    timetable: DatesTimetable,
    last: RunSlot | None,
    start_date: datetime | None,
    end_date: datetime | None,
    catchup: bool,
    now: datetime,
) -> RunSlot | None:
    earliest = start_date
    if not catchup:
        earliest = now if start_date is None else max(start_date, now)
    for moment in timetable.dates:
        if earliest is not None and moment < earliest:
            continue
        if last is not None and moment <= last.data_interval_end:
            continue
        return None if _is_past(moment, end_date) else _exact(moment)
    return None


def _first_of(slots: Sequence[RunSlot], catchup: bool, now: datetime) -> RunSlot | None:
    """The earliest; without catchup the newest that is due, if one is."""
    due = [slot for slot in slots if not catchup and slot.logical_date <= now]
    if due:
        return max(due, key=lambda slot: slot.logical_date)
    return min(slots, key=lambda slot: slot.logical_date, default=None)


def _next_known(
    timetable: CustomTimetable, last: RunSlot | None, end_date: datetime | None, catchup: bool, now: datetime
) -> RunSlot | None:
    """Of the slots that the class named when it was compiled; without catchup, of those that passed only the newest."""
    coming = [slot for slot in timetable.slots if last is None or slot[0] > last.logical_date]
    if not catchup:
        passed = sum(slot[2] <= now for slot in coming)
        coming = coming[max(passed - 1, 0) :]
    if not coming or _is_past(coming[0][0], end_date):
        return None
    start, end, run_after = coming[0]
    return RunSlot(logical_date=start, data_interval_start=start, data_interval_end=end, run_after=run_after)


def ran_out(timetable: Timetable, now: datetime) -> bool:
    """Is a custom timetable asked for what nobody knows? Its DAG has to be compiled again."""
    return isinstance(timetable, CustomTimetable) and timetable.valid_until is not None and timetable.valid_until <= now


def ask_again_at(timetables: Iterable[Timetable], now: datetime) -> datetime | None:
    """When the custom ones among these, which were asked now, are to be asked again: long before they run out."""
    ahead = [
        [slot[2] for slot in timetable.slots if slot[2] > now]
        for timetable in timetables
        if isinstance(timetable, CustomTimetable)
    ]
    return min((min([*slots[len(slots) // 2 :], now + ASK_AGAIN]) for slots in ahead), default=None)


def _is_past(moment: datetime, end_date: datetime | None) -> bool:
    return end_date is not None and moment > end_date


def _exact(moment: datetime) -> RunSlot:
    return _interval(moment, moment)


def _interval(start: datetime, end: datetime) -> RunSlot:
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    return RunSlot(logical_date=start, data_interval_start=start, data_interval_end=end, run_after=end)


# --- time zones and cron text ---


def zone_of(name: str) -> tzinfo:
    """An IANA zone (`Europe/Zurich`), `UTC`, or a fixed offset (`+02:00`); raises ValueError for anything else."""
    if name.upper() == "UTC":
        return UTC
    offset = re.fullmatch(r"([+-])(\d{2}):?(\d{2})", name)
    if offset:
        distance = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
        return timezone(distance if offset[1] == "+" else -distance)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"time zone {name!r} is unknown: use an IANA name like 'Europe/Zurich', or '+02:00'"
        ) from error


def from_wall(wall: datetime, zone: tzinfo) -> datetime:
    """Wall-clock time to UTC: the second of two occurrences; past a gap, as much later as the clock jumps."""
    first = wall.replace(tzinfo=zone, fold=0).utcoffset()
    second = wall.replace(tzinfo=zone, fold=1).utcoffset()
    assert first is not None
    assert second is not None
    if second > first:
        wall += second - first
    return wall.replace(tzinfo=zone, fold=1).astimezone(UTC)


def _without_preset(expression: str) -> str:
    return CRON_PRESETS.get(expression, expression)


def _validate_cron(timetable: CronTimetable) -> None:
    expression = _without_preset(timetable.expression)
    zone_of(timetable.timezone)
    fields = expression.split()
    if not expression.startswith("@") and len(fields) not in (5, 6):
        raise ValueError(
            f"cron expression {timetable.expression!r} has {len(fields)} fields: write five "
            "(minute, hour, day of month, month, day of week) or six (seconds last); years are not supported"
        )
    if any(re.match(r"[hr](\W|$)", field, re.IGNORECASE) for field in fields):
        raise ValueError(f"cron expression {timetable.expression!r} uses H or R, which mean chance: write the numbers")
    try:
        croniter(expression, datetime(2000, 1, 1, tzinfo=UTC)).get_next(datetime)
    except CroniterBadDateError as error:
        raise ValueError(f"cron expression {timetable.expression!r} matches no date: it would never run") from error
    except (CroniterBadCronError, ValueError, KeyError) as error:
        raise ValueError(
            f"cron expression {timetable.expression!r} is not valid ({error}): write five fields, e.g. '0 6 * * 1-5', "
            f"or one of {', '.join(CRON_PRESETS)}"
        ) from error


def _describe_cron(expression: str) -> str:
    fields = expression.split()
    if len(fields) > 5:
        return ""  # as Airflow has it; the library reads seconds as the first field
    if len(fields) == 5 and fields[2] != "*" and fields[4] != "*":
        # cron joins day of month and day of week with "or", which the library does not say
        by_month = " ".join([*fields[:4], "*"])
        by_week = " ".join([*fields[:2], "*", *fields[3:]])
        return f"{_describe_simple_cron(by_month)} (or) {_describe_simple_cron(by_week)}"
    return _describe_simple_cron(expression)


def _describe_simple_cron(expression: str) -> str:
    options = Options()
    options.casing_type = CasingTypeEnum.Sentence
    options.use_24hour_time_format = True
    options.locale_code = "en_US"  # else the machine's language decides
    try:
        return str(ExpressionDescriptor(expression, options).get_description())
    except (FormatException, MissingFieldException):
        return expression


def _describe_delta(timetable: DeltaTimetable) -> str:
    parts = []
    if timetable.months:
        parts.append(f"{timetable.months} month{'s' if timetable.months != 1 else ''}")
    if timetable.seconds:
        parts.append(str(timedelta(seconds=timetable.seconds)))
    return " and ".join(parts)


def _describe_dates(dates: tuple[datetime, ...]) -> str:
    if not dates:
        return "No events"
    return f"{len(dates)} events between {dates[0].isoformat()} and {dates[-1].isoformat()}"
