"""Watchers of assets: what is watched for which, and why not. Blueprint `own_watchers`, below `/leoflow/api`."""

from __future__ import annotations

from typing import Any

import msgspec
from quart import Blueprint, Response

from leoflowd.api import auth
from leoflowd.api.answers import collection
from leoflowd.api.context import context, lane
from leoflowd.core.watching import explain_watcher
from leoflowd.store.asset_watchers import WatcherRow, list_watchers

blueprint = Blueprint("own_watchers", __name__)


@blueprint.get("/leoflow/api/watchers")
async def list_asset_watchers() -> Response:
    """All of them, by asset: there are as many as files name."""
    async with lane().connection() as conn:
        rows = await list_watchers(conn, dags=auth.dags())
    return collection("watchers", [_shown(row) for row in rows], len(rows))


def _shown(row: WatcherRow) -> dict[str, Any]:
    return {**msgspec.structs.asdict(row), "because": explain_watcher(row.facts, context().now())}
