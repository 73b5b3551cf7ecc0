"""When a quiet try is lost: the truth table."""

from __future__ import annotations

import pytest

from leoflowd.core.silence import Signs, SilenceLimits, lost_because

LIMITS = SilenceLimits(lost_after_s=60, beat_s=10, hello_within_s=120)
LONG = 100_000.0


def signs(
    silent_s: float | None = None, launched_s: float | None = None, listening_s: float = LONG, launches: int = 1
) -> Signs:
    return Signs(silent_s=silent_s, launched_s=launched_s, launches=launches, listening_s=listening_s)


@pytest.mark.parametrize(
    ("is_queued", "seen", "is_lost"),
    [
        # heard before: silence up to the limit and a beat is borne, in any state
        (False, signs(silent_s=69.9), False),
        (False, signs(silent_s=70), True),
        (True, signs(silent_s=69.9, launched_s=LONG), False),
        (True, signs(silent_s=70, launched_s=1), True),
        # nobody was there to hear it: the agent is not to blame
        (False, signs(silent_s=LONG, listening_s=69.9), False),
        (False, signs(silent_s=LONG, listening_s=70), True),
        # queued and never heard: time begins with the launch, not with building its environment or waiting for an agent
        (True, signs(launched_s=None), False),
        (True, signs(launched_s=119.9), False),
        (True, signs(launched_s=120), True),
        (True, signs(launched_s=LONG, listening_s=119.9), False),
        # running and never heard by this daemon: its agent has as long to come back
        (False, signs(listening_s=119.9), False),
        (False, signs(listening_s=120), True),
    ],
)
def test_a_try_is_lost_when_silence_outlasts_its_limit(is_queued: bool, seen: Signs, is_lost: bool) -> None:
    assert (lost_because(seen, LIMITS, is_queued=is_queued) is not None) == is_lost


@pytest.mark.parametrize(
    ("is_queued", "seen", "because"),
    [
        (False, signs(silent_s=75), "its agent has been silent about it for 75 s (limit 70 s)"),
        (True, signs(launched_s=130), "it was handed to its agent 130 s ago and never said hello (limit 120 s)"),
        (True, signs(launched_s=130, launches=3), "it was handed to 3 agents 130 s ago and never said hello"),
        (False, signs(listening_s=121), "no agent has spoken of it in the 121 s since the daemon began to listen"),
    ],
)
def test_the_reason_says_what_was_missed_and_for_how_long(is_queued: bool, seen: Signs, because: str) -> None:
    assert (lost_because(seen, LIMITS, is_queued=is_queued) or "").startswith(because)


@pytest.mark.parametrize(("silence_s", "hello_s"), [(60.0, 120.0), (600.0, 600.0)])
def test_the_first_word_may_take_no_less_than_any_other(silence_s: float, hello_s: float) -> None:
    limits = SilenceLimits.of_agents(silence_s)
    assert (limits.lost_after_s, limits.hello_within_s) == (silence_s, hello_s)
