"""What cannot be sent is known before a stream tries."""

from __future__ import annotations

import pytest

from leoflowd.contract import agent_messages as m
from leoflowd.contract.agent_wire import MAX_MESSAGE_BYTES, MessageTooLarge, MsgpackCodec, fault_of

FITS = m.XComPush(key="k", value="1")


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (m.XComPull(request_id=1, map_indexes=(2**70,)), "it cannot be sent: can't serialize ints"),
        (m.XComPush(key="\ud800", value="1"), "surrogates not allowed"),
        (m.XComPush(key="k", value="x" * MAX_MESSAGE_BYTES), f"a message has {MAX_MESSAGE_BYTES} at most"),
    ],
)
def test_a_message_that_cannot_be_sent_says_why(message: m.FromTry, words: str) -> None:
    assert words in (fault_of(message) or "")
    with pytest.raises((MessageTooLarge, OverflowError, UnicodeError)):
        MsgpackCodec().encode(message, m.FromTry)


def test_room_is_left_for_what_comes_later() -> None:
    size = len(MsgpackCodec().encode(FITS, m.FromTry))
    assert fault_of(FITS) is None
    assert fault_of(FITS, room=MAX_MESSAGE_BYTES - size) is None
    assert fault_of(FITS, room=MAX_MESSAGE_BYTES - size + 1) is not None
