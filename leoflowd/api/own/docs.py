"""The API's own description: `/openapi.json`, and `/docs` to read it. Blueprint `own_docs`, ADR 90.

The UI's Docs menu leads to `/docs`. The page is Scalar, from its npm package; without it, it says what to do.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec
import trio
from quart import Blueprint, Response, current_app
from quart_trio import QuartTrio

from leoflowd.api import static
from leoflowd.api.answers import json_bytes
from leoflowd.api.context import context
from leoflowd.api.openapi import document_of

blueprint = Blueprint("own_docs", __name__)

_KEY = "LEOFLOW_OPENAPI"


class Document:
    """Made when it is first asked for; one per application."""

    def __init__(self) -> None:
        self._lock = trio.Lock()
        self._content: bytes | None = None

    async def content(self) -> bytes:
        async with self._lock:
            if self._content is None:
                app, ctx = cast(QuartTrio, cast(Any, current_app)._get_current_object()), context()  # noqa: SLF001

                def make() -> bytes:
                    return msgspec.json.encode(
                        document_of(app, version=ctx.version, base_path=ctx.config.base_path), order="deterministic"
                    )

                self._content = await trio.to_thread.run_sync(make)
        return self._content


@blueprint.get("/openapi.json")
async def openapi() -> Response:
    """This document. It is the same for everybody: what is described here, rights decide about."""
    document = current_app.config.setdefault(_KEY, Document())
    assert isinstance(document, Document)
    return json_bytes(await document.content())


@blueprint.get("/docs")
async def docs_page() -> Response:
    return await static.page("docs", needs="scalar/standalone.js")
