"""Attack 26: nobody ends a wait who cannot sign, and nobody ends it twice. The real application and Postgres."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path

import msgspec
import pytest
import trio
from quart_trio import QuartTrio

from leoflowd.api.app import create_app
from leoflowd.api.context import ApiContext
from leoflowd.config import ApiConfig
from leoflowd.contract.connection import ConnectionFacts
from leoflowd.store.connections import insert_connection
from leoflowd.store.database import Database
from leoflowd.store.hints import Hint, HintListener
from leoflowd.store.log_files import LogFiles
from leoflowd.store.secret_box import SecretBox
from leoflowd.store.webhooks import DeliveryRow, delete_old_deliveries, list_deliveries
from tests.conftest import PATIENCE_S
from tests.integration.api.api_client import START, Client, Clock

SECRET = "a long secret"
NOW = int(START.timestamp())
BODY = b'{"order": 7}'


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def app(database: Database, clock: Clock, tmp_path: Path) -> QuartTrio:
    box = SecretBox(lambda: {"k": base64.b64decode("A" * 43 + "=")})
    async with database.api.transaction() as conn:
        for connection_id, password in (("webhook_orders", SECRET), ("webhook_open", None)):
            facts = ConnectionFacts(connection_id=connection_id, conn_type="webhook", password=password)
            await insert_connection(conn, box, facts, clock())
    return create_app(
        ApiContext(
            db=database,
            logs=LogFiles(tmp_path),
            config=ApiConfig(),
            now=clock,
            tree=dict,
            version="0",
            secrets=box,
        )
    )


def sign(body: bytes = BODY, *, at: int | str = NOW, secret: str = SECRET) -> str:
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


async def _send(
    app: QuartTrio, *, name: str = "orders", body: bytes = BODY, delivery: str = "d-1", **headers: str
) -> tuple[int, bytes]:
    fields = {"X-Leoflow-Signature": sign(body), "X-Leoflow-Delivery": delivery, **headers}
    fields = {key.replace("_", "-"): value for key, value in fields.items()}
    answer = await Client(app).call("POST", f"/leoflow/hooks/{name}", data=body, headers=fields)
    return answer.status_code, await answer.get_data(as_text=False)


async def _stored(database: Database, name: str = "orders") -> tuple[DeliveryRow, ...]:
    async with database.api.connection() as conn:
        return await list_deliveries(conn, name)


async def test_a_signed_call_is_stored(app: QuartTrio, database: Database) -> None:
    assert await _send(app) == (204, b"")
    assert await _stored(database) == (DeliveryRow("d-1", START, {"order": 7}),)


async def test_a_stored_call_wakes_the_pool(app: QuartTrio, database: Database) -> None:
    listener = HintListener(database.conninfo)
    heard = listener.subscribe()
    async with trio.open_nursery() as nursery:
        await nursery.start(listener.run)
        await _send(app)
        with trio.fail_after(PATIENCE_S):
            assert [await heard.receive() for _ in range(2)] == [Hint("all", ""), Hint("hook", "orders")]
        nursery.cancel_scope.cancel()


async def test_a_call_without_a_body_is_stored_too(app: QuartTrio, database: Database) -> None:
    assert (await _send(app, body=b""))[0] == 204
    assert (await _stored(database))[0].body is None


async def test_a_browsers_form_and_another_origin_play_no_role(app: QuartTrio) -> None:
    cross = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Cookie": "_token=nonsense"}
    assert (await _send(app, **cross))[0] == 204


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("nobody", sign()),
        ("open", sign(secret="")),
        ("a%20b", sign()),
        ("orders", ""),
        ("orders", "v1=" + "0" * 64),
        ("orders", sign(secret="a guess")),
        ("orders", sign(b"another body")),
        ("orders", sign().upper()),
        ("orders", sign().replace(f"t={NOW}", f"t={NOW + 1}")),
        ("orders", sign(at=NOW - 301)),
        ("orders", sign(at=NOW + 301)),
        ("orders", sign(at="0x10")),
        ("orders", sign(at="9" * 30)),
        ("orders", sign() + ",v1=" + "0" * 64),
    ],
)
async def test_whoever_cannot_sign_gets_one_and_the_same_answer(
    app: QuartTrio, database: Database, name: str, signature: str
) -> None:
    status, body = await _send(app, name=name, **{"X-Leoflow-Signature": signature})
    refusal = {"detail": "This webhook is not accepted: name, signature or time is wrong"}
    assert (status, msgspec.json.decode(body)) == (401, refusal)
    assert await _stored(database) == ()


@pytest.mark.parametrize("offset", [-300, 300])
async def test_clocks_may_differ_by_five_minutes(app: QuartTrio, offset: int) -> None:
    assert (await _send(app, **{"X-Leoflow-Signature": sign(at=NOW + offset)}))[0] == 204


async def test_a_delivery_that_comes_again_is_refused(app: QuartTrio, database: Database) -> None:
    assert [(await _send(app))[0] for _ in range(2)] == [204, 409]
    assert len(await _stored(database)) == 1


async def test_a_delivery_signed_anew_is_the_same_delivery(app: QuartTrio, database: Database) -> None:
    await _send(app)
    assert (await _send(app, **{"X-Leoflow-Signature": sign(at=NOW + 60)}))[0] == 409


async def test_a_captured_call_is_refused_under_another_delivery_id(app: QuartTrio, database: Database) -> None:
    await _send(app)
    assert (await _send(app, delivery="d-2"))[0] == 409
    assert len(await _stored(database)) == 1


async def test_a_captured_call_is_refused_later_even_if_it_was_forgotten(
    app: QuartTrio, database: Database, clock: Clock
) -> None:
    await _send(app)
    clock.advance(301)
    async with database.api.transaction() as conn:
        assert await delete_old_deliveries(conn, clock()) == 1
    assert (await _send(app))[0] == 401


async def test_the_same_id_under_another_name_is_another_delivery(app: QuartTrio, database: Database) -> None:
    await _send(app)
    assert await _stored(database, "other") == ()


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"x" * (64 * 1024 + 1), 413), (b"{", 422), (b'"\\ud800"', 422), (b"[" * 50_000, 422), (b"\xff", 422)],
)
async def test_a_body_that_cannot_be_stored_is_refused(
    app: QuartTrio, database: Database, body: bytes, status: int
) -> None:
    assert (await _send(app, body=body))[0] == status
    assert await _stored(database) == ()


async def test_a_body_is_kept_as_it_came(app: QuartTrio, database: Database) -> None:
    assert (await _send(app, body=b'["a\\u0000b", 1180591620717411303424, 1e20]'))[0] == 204
    assert [row.body for row in await _stored(database)] == [["a\0b", 2**70, 1e20]]


async def test_a_body_as_large_as_the_limit_is_stored(app: QuartTrio) -> None:
    assert (await _send(app, body=b'"' + b"x" * (64 * 1024 - 2) + b'"'))[0] == 204


@pytest.mark.parametrize("delivery", ["", "a b", "x" * 201])
async def test_a_delivery_needs_an_id(app: QuartTrio, delivery: str) -> None:
    assert (await _send(app, delivery=delivery))[0] == 422


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_only_post_is_served(app: QuartTrio, method: str) -> None:
    answer = await Client(app).call(method, "/leoflow/hooks/orders")
    assert answer.status_code in (404, 405)
