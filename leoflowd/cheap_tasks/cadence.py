"""How often a wait wants its probe, and at which phase. Pure."""

from __future__ import annotations

import hashlib
from typing import Final

from leoflowd.contract.wait_spec import WaitTerms

LONGEST_S: Final = 86_400.0 * 365


def backoff_s(terms: WaitTerms, seed: str, elapsed_s: float) -> float:
    """Seconds to the next probe of a wait with `exponential_backoff`, `elapsed_s` after it began.

    What BaseSensorOperator of Airflow 3.2 works out in reschedule mode: how many pokes there were is estimated from the
    time that has passed, as if each gap had been the backoff of its number; the result is no longer than `max_wait` and
    never reaches beyond the timeout. `seed` spreads waits that began together; Airflow's is dag, task and start.
    """
    if terms.poke_interval_s == 0:
        return 1.0  # what Airflow comes to as well, after a walk through every second that has passed
    number, passed_s = 0, 0.0
    while passed_s <= elapsed_s:
        number += 1
        passed_s += _gap_s(terms.poke_interval_s, seed, number)
    interval = _gap_s(terms.poke_interval_s, seed, number)
    if terms.timeout_s is not None:
        interval = min(terms.timeout_s - int(elapsed_s), interval)
    if terms.max_wait_s:
        interval = min(terms.max_wait_s, interval)
    return interval


def _gap_s(poke_interval_s: float, seed: str, number: int) -> float:
    """The gap before poke `number` (from 1): doubling from half an interval, and up to as much again by the seed."""
    least = max(int(min(poke_interval_s * 2.0 ** (number - 2), LONGEST_S)), 1)
    spread = int(hashlib.sha1(f"{seed}#{number}".encode(), usedforsecurity=False).hexdigest(), 16)
    return float(least + spread % least)


def until_phase_s(key: str, interval_s: float, now: float) -> float:
    """Seconds to the next `k * interval + hash(key) % interval` of the wall clock: the same moments after a restart.

    `now` is seconds since the epoch. A cohort of keys spreads evenly over its interval.
    """
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    offset = int.from_bytes(digest, "big") / 2**64 * interval_s
    return (offset - now) % interval_s
