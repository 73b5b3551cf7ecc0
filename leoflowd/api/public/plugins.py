"""Plugins: the one that holds our own pages (`own.plugins` says which); providers. Blueprint `public_plugins`."""

from __future__ import annotations

from quart import Blueprint, Response

from leoflowd.api.answers import collection, empty_collection
from leoflowd.api.context import context
from leoflowd.api.own.plugins import plugins
from leoflowd.api.paging import Query

blueprint = Blueprint("public_plugins", __name__)


@blueprint.get("/api/v2/plugins")
async def list_plugins() -> Response:
    limit, offset = Query().page()
    found = plugins(context())
    return collection("plugins", found[offset : offset + limit], len(found))


@blueprint.get("/api/v2/plugins/importErrors")
async def list_plugin_import_errors() -> Response:
    Query().page()
    return empty_collection("import_errors")


@blueprint.get("/api/v2/providers")
async def list_providers() -> Response:
    """Empty: no provider is installed in the daemon. Those of a DAG are in its own environment."""
    Query().page()
    return empty_collection("providers")
