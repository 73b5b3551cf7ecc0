"""When a quiet agent is lost."""

from __future__ import annotations

from leoflowd.core.silence import SilenceLimits, lost_at, lost_because
from tests.unit.core.core_builders import NOW, seconds

LIMITS = SilenceLimits(lost_after_s=60, hello_within_s=120)


def test_silence_up_to_the_limit_is_borne() -> None:
    def because(after_s: float) -> str | None:
        return lost_because(
            launched_at=NOW, last_heard_at=NOW, listening_since=NOW, now=NOW + seconds(after_s), limits=LIMITS
        )

    assert because(59) is None
    assert because(60) == "its agent has been silent for 60 s (limit 60 s)"


def test_the_first_sign_of_life_may_take_longer() -> None:
    def because(after_s: float) -> str | None:
        return lost_because(
            launched_at=NOW, last_heard_at=None, listening_since=NOW, now=NOW + seconds(after_s), limits=LIMITS
        )

    assert because(119) is None
    assert because(120) == "its agent never said hello in 120 s (limit 120 s)"


def test_an_agent_is_not_to_blame_for_what_nobody_was_there_to_hear() -> None:
    back = NOW + seconds(600)
    assert lost_at(launched_at=NOW, last_heard_at=NOW, listening_since=back, limits=LIMITS) == back + seconds(60)
