"""What was done through the API, by whom and from where, and whether the log is what it was. Blueprint `own_audit`,
below `/leoflow/api`, for administrators. ADR 86."""

from __future__ import annotations

import re

from quart import Blueprint, Response

from leoflowd.api.answers import json_answer
from leoflowd.api.context import context, lane
from leoflowd.api.paging import Query
from leoflowd.contract.errors import Invalid
from leoflowd.contract.values import shown
from leoflowd.core.audit_chain import Head
from leoflowd.store import audit_seals

blueprint = Blueprint("own_audit", __name__)

_HEAD = re.compile(r"([1-9][0-9]{0,17}):([0-9a-f]{64})")


@blueprint.get("/leoflow/api/audit")
async def list_events() -> Response:
    """Newest first. `owner`, `event`, `limit`, `offset`; `is_complete` says whether these were the last."""
    query = Query()
    owner, event = query.text("owner"), query.text("event")
    limit, offset = query.page()
    async with lane().connection() as conn:
        rows = await audit_seals.list_events(conn, owner=owner, event=event, limit=limit + 1, offset=offset)
    return json_answer({"events": rows[:limit], "is_complete": len(rows) <= limit})


@blueprint.get("/leoflow/api/audit/verify")
async def verify() -> Response:
    """Checks the log, 50,000 rows at a time: `after` is the `head` of the answer before, until one `is_complete`.
    `expect` is a head that was kept elsewhere. A head is POSITION:SEAL. Of the first rows `removed` were taken away for
    their age, all older than `removed_before`; they are not among those `checked`."""
    query = Query()
    after, expect = _head("after", query.text("after")), _head("expect", query.text("expect"))
    keys = context().secrets.audit_keys()
    report = await audit_seals.verify(lane(), keys, after=after, expected=expect)
    broken = report.broken
    return json_answer(
        {
            "is_intact": broken is None,
            "is_complete": report.is_complete,
            "checked": report.checked,
            "not_sealed_yet": report.open,
            "sealed_without_key": report.unkeyed,
            "removed": report.removed,
            "removed_before": report.removed_before,
            "head": f"{report.head.position}:{report.head.seal.hex()}" if report.head.position else None,
            "broken": broken,
        }
    )


def _head(name: str, text: str | None) -> Head | None:
    if text is None:
        return None
    found = _HEAD.fullmatch(text)
    if found is None:
        because = f"{shown(text, 100)!r} is no head of the audit log: a position, a colon, and 64 digits of 0-9 and a-f"
        raise Invalid(because, location=("query", name))
    return Head(position=int(found[1]), seal=bytes.fromhex(found[2]))
