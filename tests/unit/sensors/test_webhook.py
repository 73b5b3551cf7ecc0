"""Kind `webhook`: which delivery ends which wait."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from leoflow_sensors.kinds import Observation, ProbeFailed, Verdict
from leoflow_sensors.webhook import KIND, WebhookPredicate, WebhookSpec
from leoflowd.contract.connection import ConnectionFacts

SINCE = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


class _Delivery(msgspec.Struct, frozen=True):
    delivery_id: str
    received_at: datetime
    body: Any


class _Context:
    """The pool's door to stored deliveries; this kind uses no other."""

    connection: ConnectionFacts | None = None
    http = None
    dag_facts: Any = None

    def __init__(self, *found: _Delivery) -> None:
        self.found = found
        self.asked: list[str] = []

    async def deliveries(self, name: str) -> tuple[_Delivery, ...]:
        self.asked.append(name)
        return self.found

    def now(self) -> datetime:
        return SINCE


def _at(seconds: float, body: Any = None) -> _Delivery:
    return _Delivery(f"d{seconds}", SINCE + timedelta(seconds=seconds), body)


async def _poke(*found: _Delivery) -> Observation:
    assert KIND.poke is not None
    context = _Context(*found)
    seen = await KIND.poke(WebhookSpec(name="orders"), context)
    assert context.asked == ["orders"]
    return seen


async def _verdict(*found: _Delivery, **predicate: Any) -> Verdict:
    assert KIND.judge is not None
    terms = msgspec.convert({"since": SINCE.isoformat(), **predicate}, WebhookPredicate)
    return KIND.judge(terms, await _poke(*found))


async def test_a_webhook_whose_secret_nobody_has_is_a_failed_probe() -> None:
    context = _Context()
    context.connection = ConnectionFacts(connection_id="webhook_orders", conn_type="webhook")
    assert KIND.poke is not None
    with pytest.raises(ProbeFailed, match="'webhook_orders' has no password, which is the secret"):
        await KIND.poke(WebhookSpec(name="orders"), context)
    context.connection = ConnectionFacts(connection_id="webhook_orders", conn_type="webhook", password="secret")
    assert (await KIND.poke(WebhookSpec(name="orders"), context)).summary == "no delivery yet"


async def test_without_a_delivery_it_waits() -> None:
    assert not (await _verdict()).met


async def test_a_delivery_from_before_the_wait_was_for_others() -> None:
    assert not (await _verdict(_at(-1))).met


async def test_the_first_delivery_since_then_ends_it_with_its_body() -> None:
    verdict = await _verdict(_at(-1, "old"), _at(0, {"n": 1}), _at(1, {"n": 2}))
    assert (verdict.met, verdict.event, verdict.xcom) == (True, {"n": 1}, {"n": 1})


async def test_a_predicate_looks_into_the_body() -> None:
    found = (_at(1, {"order": {"id": 7}}), _at(2, {"order": {"id": 8}}), _at(3, None))
    assert (await _verdict(*found, json_path="order.id", equals=8)).event == {"order": {"id": 8}}
    assert not (await _verdict(*found, json_path="order.id", equals=9)).met


async def test_the_summary_says_when_the_last_one_came() -> None:
    assert (await _poke(_at(60))).summary == "last delivery at 2026-11-21 03:01:00 UTC"
    assert (await _poke()).summary == "no delivery yet"


@pytest.mark.parametrize("name", ["", "a/b", "a b", "..", "x" * 101])
def test_a_name_that_no_route_serves_is_refused(name: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"name": name}, WebhookSpec)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"since": "2026-11-21T03:00:00"},
        {"since": SINCE.isoformat(), "equals": 1},
        {"since": SINCE.isoformat(), "json_path": "["},
    ],
)
def test_a_predicate_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(fields, WebhookPredicate)
