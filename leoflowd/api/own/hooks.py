"""`POST /leoflow/hooks/<name>`: a signed webhook, which may end waits of kind `webhook`. Blueprint `own_hooks`.

No login: the signature is the caller's proof. The secret is the password of the connection `webhook_<name>`; the sender
computes, over the exact bytes of the body,

    X-Leoflow-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256 of "<t>.<body>">
    X-Leoflow-Delivery: <an id of its own, new for each event, the same when it sends one again>

Whoever cannot sign learns nothing: an unknown name, a wrong signature and an old one get the same answer.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re

from quart import Blueprint, Response, request

from leoflowd import telemetry
from leoflowd.api.answers import no_content
from leoflowd.api.bodies import raw_body
from leoflowd.api.context import context, lane
from leoflowd.api.problems import NotAuthenticated
from leoflowd.contract.errors import Conflict, Invalid
from leoflowd.contract.values import json_text, parsed_json
from leoflowd.store.connections import ConnectionBook
from leoflowd.store.hints import send_hint
from leoflowd.store.webhooks import insert_delivery

log = telemetry.get_logger(__name__)
blueprint = Blueprint("own_hooks", __name__)

SIGNATURE, DELIVERY = "X-Leoflow-Signature", "X-Leoflow-Delivery"
BODY_MAX_BYTES = 64 * 1024
BODY_WITHIN_S = 10.0
"""For the whole body: a sender that drips holds a request of ours for so long."""
WINDOW_S = 300
"""How far the sender's clock may be off; beyond it a captured call is worthless even if we forgot it."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
_SIGNED = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})")
_DELIVERY_ID = re.compile(r"[\x21-\x7e]{1,200}")
_NO_SECRET = os.urandom(32).hex()
"""Signatures for unknown names are computed as well, so that the time tells nothing; nobody knows this secret."""


@blueprint.post("/leoflow/hooks/<name>")
async def receive(name: str) -> Response:
    """204 when stored, 401 for whoever cannot sign, 409 for what was here before, 413 and 422 for a wrong body."""
    body = await raw_body(BODY_MAX_BYTES, within_s=BODY_WITHIN_S)
    signature = check_signature(
        request.headers.get(SIGNATURE, ""), body, await _secret(name), int(context().now().timestamp())
    )
    delivery_id = request.headers.get(DELIVERY, "")
    if not _DELIVERY_ID.fullmatch(delivery_id):
        raise Invalid(
            f"the header {DELIVERY} must be an id of 1 to 200 visible characters", location=("header", DELIVERY)
        )
    content = _checked(body)
    async with lane().transaction() as conn:
        if not await insert_delivery(
            conn,
            name=name,
            delivery_id=delivery_id,
            received_at=context().now(),
            body=content,
            signature=signature,
        ):
            raise Conflict(f"the delivery {delivery_id!r}, or one with this signature, was received before")
        await send_hint(conn, "hook", name)
    return no_content()


def check_signature(header: str, body: bytes, secret: str | None, now: int) -> str:
    """The hex signature. Raises `NotAuthenticated`, always in the same words; `now` is in Unix seconds."""
    signed = _SIGNED.fullmatch(header)
    at, given = signed.groups() if signed else ("0", "")
    right = hmac.new((secret or _NO_SECRET).encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
    is_right = hmac.compare_digest(right, given)
    if not (is_right and secret and abs(now - int(at)) <= WINDOW_S):
        raise NotAuthenticated("This webhook is not accepted: name, signature or time is wrong")
    return given


async def _secret(name: str) -> str | None:
    """None for a name that nobody configured, or whose secret cannot be read, which is the operator's to know."""
    book = ConnectionBook(lane(), context().secrets, os.environ)
    # A name that cannot be one costs the same look-up.
    connection_id = f"webhook_{name}" if _NAME.fullmatch(name) else "webhook_"
    unreadable = None
    try:
        found = await book.fetch(connection_id)
    except ValueError as error:
        found, unreadable = None, str(error)
    if unreadable is not None:
        log.error("webhook_secret_unreadable", connection_id=connection_id, because=unreadable)
    return None if found is None else found.password


def _checked(body: bytes) -> str | None:
    """The body as JSON text, None for an empty one. Raises `Invalid`."""
    if not body:
        return None
    try:
        return json_text(parsed_json(body, "the body"), "the body", max_bytes=4 * BODY_MAX_BYTES)
    except Invalid as error:
        raise Invalid(str(error), location=("body",)) from error
