"""What the release before said is still understood: its bytes, recorded from its own structs, every field set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from leoflowd.contract import agent_messages as m
from leoflowd.contract.agent_wire import MsgpackCodec, Unknown

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


def of_old_fields(value: Any, old: Any) -> Any:
    """`value` without the fields that `old` does not have: a release may add some, in structs inside it too."""
    if isinstance(value, dict) and isinstance(old, dict):
        return {field: of_old_fields(value.get(field), old[field]) for field in old}
    if isinstance(value, list) and isinstance(old, list) and len(value) == len(old):
        return list(map(of_old_fields, value, old))
    return value


@pytest.mark.parametrize(("union", "name"), EACH)
def test_a_message_of_the_release_before_says_what_it_said(union: str, name: str) -> None:
    body = said(union, name)
    message = MsgpackCodec().decode(body, getattr(m, union))
    understood = msgspec.msgpack.decode(msgspec.msgpack.encode(message))
    assert type(message).__name__ == name
    assert of_old_fields(understood, fields_of(body)) == fields_of(body)


@pytest.mark.parametrize(("union", "name"), EACH)
def test_fields_of_a_newer_neighbour_are_ignored(union: str, name: str) -> None:
    body = said(union, name)
    more = msgspec.msgpack.encode({**fields_of(body), "mood": "good", "weights": [1.5]})
    assert MsgpackCodec().decode(more, getattr(m, union)) == MsgpackCodec().decode(body, getattr(m, union))


@pytest.mark.parametrize(
    ("fields", "unknown"),
    [
        ({"type": "Mood", "value": 1}, Unknown("Mood")),
        ({"type": "VariableAsk", "request_id": 5, "key": ["k"]}, Unknown("VariableAsk", 5)),
    ],
)
@pytest.mark.parametrize("union", RECORDED)
def test_a_message_of_a_newer_neighbour_is_known_to_be_unknown(
    union: str, fields: dict[str, Any], unknown: Unknown
) -> None:
    assert MsgpackCodec().decode(msgspec.msgpack.encode(fields), getattr(m, union)) == unknown


@pytest.mark.parametrize(
    "body",
    [
        msgspec.msgpack.encode({"type": "Terminate"}),
        msgspec.msgpack.encode({"type": "Terminate", "reason": 7}),
        msgspec.msgpack.encode({"type": 7}),
        msgspec.msgpack.encode(["Mood"]),
        b"",
    ],
)
def test_what_is_no_message_is_still_refused(body: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        MsgpackCodec().decode(body, m.ToTry)


@pytest.mark.parametrize("union", ["ToHost", "ToTry"])
def test_the_release_before_is_told_only_what_it_knows(union: str) -> None:
    """It refuses a message with a field more; what it is sent is what is said in protocol 1."""
    for kind in get_args(getattr(m, union)):
        recorded = RECORDED[union].get(kind.__name__)
        if recorded is None:
            assert m.SINCE.get(kind, 1) > 1, f"the release before does not know {kind.__name__}"
        else:
            message = MsgpackCodec().decode(bytes.fromhex(recorded), kind)
            assert fields_of(MsgpackCodec().encode(message, kind)).keys() <= fields_of(bytes.fromhex(recorded)).keys()


@pytest.mark.parametrize("union", ["FromHost", "FromTry"])
def test_agents_say_nothing_that_the_release_before_does_not_know(union: str) -> None:
    """The day one does, its streams have to ask `is_known_to`, as the daemon's do."""
    assert {kind.__name__ for kind in get_args(getattr(m, union))} == RECORDED[union].keys()


def test_a_refusal_is_known_from_the_second_protocol_on() -> None:
    refused = m.Refused(request_id=1, refused="no")
    assert [m.is_known_to(refused, protocol) for protocol in (1, 2, 3)] == [False, True, True]
    assert m.is_known_to(m.OutcomeStored(), 1)


def test_neighbours_understand_each_other_and_others_are_told_why_not() -> None:
    near = [m.distance_fault(agent=agent, daemon=5) for agent in (4, 5, 6)]
    assert near == [None, None, None]
    for agent in (3, 7):
        assert f"the agent speaks protocol {agent} and the daemon protocol 5" in (
            m.distance_fault(agent=agent, daemon=5) or ""
        )
