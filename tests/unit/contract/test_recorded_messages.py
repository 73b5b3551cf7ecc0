"""What the release before said is still understood: its bytes, recorded from its own structs, every field set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from leoflowd.contract import agent_messages as m
from leoflowd.contract.agent_wire import MsgpackCodec, Unknown

RECORDED: dict[int, dict[str, dict[str, str]]] = {
    protocol: json.loads((Path(__file__).parent / "recorded" / f"protocol_{protocol}.json").read_text())
    for protocol in (1, 2)
}
"""Protocol -> union -> message -> bytes in hexadecimal. Never written again: a new protocol gets a file of its own."""
EACH = [
    (protocol, union, name)
    for protocol, unions in RECORDED.items()
    for union, messages in unions.items()
    for name in messages
]
BEFORE = m.PROTOCOL - 1


def said(protocol: int, union: str, name: str) -> bytes:
    return bytes.fromhex(RECORDED[protocol][union][name])


def fields_of(body: bytes) -> dict[str, Any]:
    """The fields as the wire has them, whatever struct they belong to."""
    found = msgspec.msgpack.decode(body)
    assert isinstance(found, dict)
    return found


def _within(understood: Any, said: Any) -> Any:
    """Of what was understood, as much as was said: what is new since then has its default."""
    if isinstance(said, dict):
        return {field: _within(understood.get(field), value) for field, value in said.items()}
    return understood


@pytest.mark.parametrize(("protocol", "union", "name"), EACH)
def test_a_message_of_an_earlier_release_says_what_it_said(protocol: int, union: str, name: str) -> None:
    body = said(protocol, union, name)
    message = MsgpackCodec().decode(body, getattr(m, union))
    understood = msgspec.msgpack.decode(msgspec.msgpack.encode(message))
    assert type(message).__name__ == name
    assert _within(understood, fields_of(body)) == fields_of(body)


@pytest.mark.parametrize(("protocol", "union", "name"), EACH)
def test_fields_of_a_newer_neighbour_are_ignored(protocol: int, union: str, name: str) -> None:
    body = said(protocol, union, name)
    more = msgspec.msgpack.encode({**fields_of(body), "mood": "good", "weights": [1.5]})
    assert MsgpackCodec().decode(more, getattr(m, union)) == MsgpackCodec().decode(body, getattr(m, union))


@pytest.mark.parametrize(
    ("fields", "unknown"),
    [
        ({"type": "Mood", "value": 1}, Unknown("Mood")),
        ({"type": "MoodAsk", "request_id": 5, "key": ["k"]}, Unknown("MoodAsk", 5)),
    ],
)
@pytest.mark.parametrize("union", RECORDED[1])
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


@pytest.mark.parametrize("union", ["FromHost", "FromTry", "ToHost", "ToTry"])
def test_the_release_before_is_told_only_what_it_knows(union: str) -> None:
    """What is new for it is in `SINCE`; fields that it does not know it ignores."""
    for kind in get_args(getattr(m, union)):
        if kind.__name__ not in RECORDED[BEFORE][union]:
            assert m.SINCE.get(kind, 1) > BEFORE, f"the release before does not know {kind.__name__}"


def test_a_refusal_is_known_from_the_second_protocol_on() -> None:
    refused = m.Refused(request_id=1, refused="no")
    assert [m.is_known_to(refused, protocol) for protocol in (1, 2, 3)] == [False, True, True]
    assert m.is_known_to(m.OutcomeStored(), 1)


def test_what_is_asked_since_the_third_protocol_is_known_from_then_on() -> None:
    for message in (
        m.DagAsk(request_id=1, dag_id="d"),
        m.DagAnswer(request_id=1),
        m.VariableAsk(request_id=1, key="k"),
        m.VariableWrite(request_id=1, key="k"),
        m.VariableAnswer(request_id=1),
        m.StatesAsk(request_id=1, dag_id="d"),
        m.StatesAnswer(request_id=1),
        m.PreviousInstanceAsk(request_id=1, dag_id="d", task_id="t"),
        m.PreviousInstance(request_id=1),
    ):
        assert [m.is_known_to(message, protocol) for protocol in (2, 3)] == [False, True]


def test_neighbours_understand_each_other_and_others_are_told_why_not() -> None:
    near = [m.distance_fault(agent=agent, daemon=5) for agent in (4, 5, 6)]
    assert near == [None, None, None]
    for agent in (3, 7):
        assert f"the agent speaks protocol {agent} and the daemon protocol 5" in (
            m.distance_fault(agent=agent, daemon=5) or ""
        )
