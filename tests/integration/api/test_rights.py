"""The table of rights names routes that exist, and no write is forgotten."""

from __future__ import annotations

from quart_trio import QuartTrio

from leoflowd.api.rights import RIGHTS, SAFE_METHODS, Right, required_right


async def test_every_line_of_the_table_is_a_route(app: QuartTrio) -> None:
    assert RIGHTS.keys() <= app.view_functions.keys()


async def test_every_write_has_its_line(app: QuartTrio) -> None:
    for rule in app.url_map.iter_rules():
        writes = (rule.methods or set()) - SAFE_METHODS
        if writes and required_right(rule.endpoint, writes.pop()) is Right.ADMIN:
            assert rule.endpoint in RIGHTS, f"{rule.endpoint} is locked to admins because rights.py does not name it"
