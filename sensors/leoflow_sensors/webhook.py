"""Kind `webhook`: wait until somebody calls. `leoflow.sensors.WebhookSensor`.

`POST <base>leoflow/hooks/<name>` checks the signature and stores the delivery (`leoflowd.api.own.hooks`); a wait is met
by the first one that arrived since the wait began and has what the predicate asks for. The hint that a delivery sends
wakes the group at once; the poll is the safety net.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Protocol

import msgspec

from leoflow_sensors import json_path
from leoflow_sensors.kinds import KindSpec, Observation, ProbeContext, ProbeFailed, SensorKind, Verdict, Watcher


class Delivery(Protocol):
    """One signed call as it was stored."""

    @property
    def delivery_id(self) -> str: ...

    @property
    def received_at(self) -> datetime: ...

    @property
    def body(self) -> Any:
        """The JSON that was sent, None for an empty body."""


class WebhookContext(ProbeContext, Protocol):
    """What this kind needs beyond other kinds."""

    async def deliveries(self, name: str) -> Sequence[Delivery]:
        """The newest deliveries of this webhook, oldest first (`store.webhooks.list_deliveries`)."""


class WebhookSpec(KindSpec, frozen=True, kw_only=True):
    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,100}$")]
    """Its secret is the password of the connection `webhook_<name>`."""


class WebhookPredicate(KindSpec, frozen=True, kw_only=True):
    since: Annotated[datetime, msgspec.Meta(tz=True)]
    """Earlier deliveries were for others: `{{ leoflow_registered_at }}`."""
    json_path: str | None = None
    equals: Any = msgspec.UNSET

    def __post_init__(self) -> None:
        if self.json_path is not None:
            json_path.parse(self.json_path)
        elif self.equals is not msgspec.UNSET:
            raise ValueError("`equals` needs a `json_path` that says what has to equal it")


async def poke(spec: WebhookSpec, context: ProbeContext) -> Observation:
    """Raises `ProbeFailed` where no call can be accepted, as there is no secret. Waits of earlier releases name no
    connection."""
    if context.connection is not None and not context.connection.password:
        raise ProbeFailed(
            f"connection {context.connection.connection_id!r} has no password, which is the secret that callers sign "
            "with; nobody can call until it has one"
        )
    asked: WebhookContext = context  # type: ignore[assignment]  # the pool's context has it; kinds.ProbeContext may get it
    found = tuple(await asked.deliveries(spec.name))
    return Observation(
        value=found,
        summary=f"last delivery at {found[-1].received_at:%Y-%m-%d %H:%M:%S} UTC" if found else "no delivery yet",
    )


def judge(predicate: WebhookPredicate, observation: Observation) -> Verdict:
    """Met by the oldest delivery that fits; its body is event and XCom."""
    for delivery in observation.value:
        if delivery.received_at >= predicate.since and _fits(predicate, delivery.body):
            return Verdict(met=True, event=delivery.body, xcom=delivery.body)
    return Verdict(met=False)


def _fits(predicate: WebhookPredicate, body: Any) -> bool:
    return predicate.json_path is None or json_path.is_met(body, predicate.json_path, predicate.equals)


def watch(spec: WebhookSpec, watcher: Watcher, wake: Callable[[], None]) -> Callable[[], None]:
    return watcher.hook(spec.name, wake)


KIND = SensorKind[WebhookSpec, WebhookPredicate](
    name="webhook",
    spec=WebhookSpec,
    predicate=WebhookPredicate,
    describe=lambda spec: f"webhook {spec.name}",
    poke=poke,
    judge=judge,
    watch=watch,
)
