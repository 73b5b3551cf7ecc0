"""What a task read as a secret is not in its log."""

from __future__ import annotations

from leoflow_agent.masking import MIN_LENGTH, Secrets
from leoflow_agent.runner import control


def test_the_shortest_hidden_text_is_the_same_in_runner_and_agent() -> None:
    assert control._MIN_HIDDEN_LENGTH == MIN_LENGTH


def test_a_secret_inside_a_longer_one_leaves_nothing_behind() -> None:
    secrets = Secrets()
    secrets.hide(["sesame", "open-sesame-2"])
    assert secrets.in_output(b"open-sesame-2 sesame") == b"*** ***"


def test_texts_of_a_record_are_hidden_however_deep_and_its_keys_stay() -> None:
    secrets = Secrets()
    secrets.hide(["event"])
    assert secrets.in_record({"event": "an event", "n": 1, "frames": [{"line": "event"}]}) == {
        "event": "an ***",
        "n": 1,
        "frames": [{"line": "***"}],
    }


def test_a_short_text_would_make_the_log_unreadable_and_stays() -> None:
    secrets = Secrets()
    secrets.hide(["a"])
    assert secrets.in_output(b"a banana") == b"a banana"
