"""Rows of `tests/unit/core/oracle/timetables.jsonl`: what Airflow's own timetables answer to random questions.

Run by an interpreter that has Airflow, not by ours: `python tests/oracle/timetables.py COUNT SEED`. A row is the
timetable in the artifact's form, the question, and the answer. Half of the moments lie around changes of the clocks.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from unittest import mock

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="oracle-")
sys.path[0] = ""

import pendulum  # noqa: E402
from airflow.timetables import events, interval, trigger  # noqa: E402
from airflow.timetables.base import DataInterval, TimeRestriction  # noqa: E402
from dateutil.relativedelta import relativedelta  # noqa: E402

ZONES = ("UTC", "Europe/Zurich", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")
CHANGES = ("2026-03-29T01:00", "2026-10-25T01:00", "2026-03-08T07:00", "2026-11-01T06:00", "2026-04-04T15:00")
FIVE = ("0 6 * * *", "30 2 * * *", "*/20 * * * *", "15 */2 * * *", "0 0 L * *", "0 9 * * 1#1", "0 12 * * L5", "@daily")
SIX = ("0 6 * * * 30", "* * * * * */20", "30 2 * * * 15", "59 23 * * 0 59", "0 */3 * * * 0,30")
WIDTHS = (timedelta(), timedelta(hours=1), timedelta(days=1), relativedelta(months=1), relativedelta(days=1, hours=2))


def main(count: int, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(count):
        print(json.dumps(row(chance)))


def row(chance):
    spec, timetable = chance.choice((cron, cron, crons, crons, delta, dates))(chance)
    now = moment(chance)
    start = chance.choice((None, moment(chance), now - timedelta(days=3)))
    end = chance.choice((None, None, moment(chance)))
    catchup = chance.random() < 0.5
    last = chance.choice((None, moment(chance), now - timedelta(hours=5)))
    last = last and DataInterval(last - chance.choice((timedelta(), timedelta(hours=1))), last)
    with frozen(now):
        found = timetable.next_dagrun_info(
            last_automated_data_interval=last, restriction=TimeRestriction(start, end, catchup)
        )
        manual = timetable.infer_manual_data_interval(run_after=now)
    info = found and (found.logical_date, *found.data_interval, found.run_after)
    return {
        "timetable": spec,
        "now": text(now),
        "start_date": text(start),
        "end_date": text(end),
        "catchup": catchup,
        "last": last and [text(one) for one in last],
        "next": info and [text(one) for one in info],
        "manual": [text(one) for one in manual],
    }


def cron(chance):
    expression, zone = chance.choice(FIVE + SIX + SIX), chance.choice(ZONES)
    if chance.random() < 0.4:
        spec = {"type": "cron", "expression": expression, "timezone": zone, "data_interval": True}
        return spec, interval.CronDataIntervalTimetable(expression, zone)
    width, at_once = chance.choice(WIDTHS), chance.choice((False, True, timedelta(hours=3)))
    spec = cron_spec(expression, zone, width, at_once)
    return spec, trigger.CronTriggerTimetable(expression, timezone=zone, interval=width, run_immediately=at_once)


def crons(chance):
    expressions, zone = chance.sample(FIVE + SIX, chance.randint(1, 3)), chance.choice(ZONES)
    width, at_once = chance.choice(WIDTHS), chance.choice((False, True, timedelta(hours=3)))
    spec = {"type": "crons", "timetables": [cron_spec(one, zone, width, at_once) for one in expressions]}
    made = trigger.MultipleCronTriggerTimetable
    return spec, made(*expressions, timezone=zone, interval=width, run_immediately=at_once)


def cron_spec(expression, zone, width, at_once):
    found = {"type": "cron", "expression": expression, "timezone": zone, **width_spec(width)}
    found["run_immediately"] = at_once is True
    return found | ({} if isinstance(at_once, bool) else {"run_within_s": at_once.total_seconds()})


def width_spec(width):
    if isinstance(width, timedelta):
        return {"interval_s": width.total_seconds()}
    rest = timedelta(days=width.days, hours=width.hours)
    return {"interval_s": rest.total_seconds(), "interval_months": width.years * 12 + width.months}


def delta(chance):
    every, width = chance.choice((timedelta(minutes=7), timedelta(days=2))), chance.choice(WIDTHS)
    spec = {"type": "delta", "seconds": every.total_seconds(), **width_spec(width)}
    return spec, trigger.DeltaTriggerTimetable(every, interval=width)


def dates(chance):
    found = sorted({moment(chance) for _ in range(chance.randint(1, 6))})
    restrict = chance.random() < 0.7
    spec = {"type": "dates", "dates": [text(one) for one in found], "restrict_to_events": restrict}
    return spec, events.EventsTimetable(found, restrict_to_events=restrict, presorted=True)


def moment(chance):
    around = datetime.fromisoformat(chance.choice(CHANGES)).replace(tzinfo=UTC)
    if chance.random() < 0.5:
        around = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=chance.randint(0, 500))
    return pendulum.instance(around + timedelta(seconds=30 * chance.randint(-480, 480)))


@contextmanager
def frozen(now):
    with (
        mock.patch.multiple(trigger, utcnow=lambda: now, time=mock.Mock(time=now.timestamp)),
        mock.patch.object(interval, "utcnow", return_value=now),
        mock.patch.object(events.timezone, "utcnow", return_value=now),
    ):
        yield


def text(at):
    return at and at.astimezone(UTC).isoformat()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
