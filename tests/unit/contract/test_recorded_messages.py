"""What the release before said is still understood: its bytes, recorded from its own structs, every field set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from leoflowd.contract import agent_messages as m
from leoflowd.contract.agent_wire import MsgpackCodec

RECORDED = json.loads((Path(__file__).parent / "recorded" / "protocol_1.json").read_text())
"""Union -> message -> bytes in hexadecimal. Never written again: a new protocol gets a file of its own."""
EACH = [(union, name) for union, messages in RECORDED.items() for name in messages]


def said(union: str, name: str) -> bytes:
    return bytes.fromhex(RECORDED[union][name])


def fields_of(body: bytes) -> dict[str, Any]:
    """The fields as the wire has them, whatever struct they belong to."""
    found = msgspec.msgpack.decode(body)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(("union", "name"), EACH)
def test_a_message_of_the_release_before_says_what_it_said(union: str, name: str) -> None:
    body = said(union, name)
    message = MsgpackCodec().decode(body, getattr(m, union))
    understood = msgspec.msgpack.decode(msgspec.msgpack.encode(message))
    assert type(message).__name__ == name
    assert {field: understood.get(field) for field in fields_of(body)} == fields_of(body)
