"""`leoflow pools` against a server that keeps them."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from leoflowd.cli.failures import ExitCode

NOT_FOUND = httpx.Response(404, json={"detail": "The Pool with name: `gpu` was not found"})


class Kept:
    def __init__(self) -> None:
        self.pools: dict[str, dict[str, Any]] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else {}
        name = unquote(request.url.raw_path.decode()).removeprefix("/api/v2/pools").lstrip("/") or body.get("name", "")
        if request.method == "GET":
            rows = [self.row(one) for one in self.pools]
            return httpx.Response(200, json={"pools": rows, "total_entries": len(rows)})
        if request.method != "POST" and name not in self.pools:
            return NOT_FOUND
        if request.method == "DELETE":
            del self.pools[name]
            return httpx.Response(204)
        self.pools[name] = self.pools.get(name, {"description": None, "include_deferred": False}) | body
        return httpx.Response(200, json=self.row(name))

    def row(self, name: str) -> dict[str, Any]:
        states = ("running", "queued", "scheduled", "deferred", "open")
        return {"name": name, **{f"{state}_slots": 0 for state in states}, **self.pools[name]}


@pytest.fixture
def kept(server) -> Kept:
    found = Kept()
    server(found)
    return found


def test_set_makes_a_pool_and_changes_it_and_keeps_what_it_does_not_name(leoflow, kept: Kept) -> None:
    assert leoflow("pools", "set", "a/b c", "2", "--description", "two", "--include-deferred").code == 0
    assert leoflow("pools", "set", "a/b c", "3").out == "set a/b c: slots 3\n"
    facts = kept.pools["a/b c"]
    assert (facts["slots"], facts["description"], facts["include_deferred"]) == (3, "two", True)
    assert leoflow("pools", "set", "a/b c", "3", "--exclude-deferred", "--description", "").code == 0
    assert kept.pools["a/b c"] == {**facts, "include_deferred": False, "description": ""}


def test_minus_one_is_unlimited_and_what_is_no_number_is_sent_nowhere(leoflow, kept: Kept) -> None:
    assert leoflow("pools", "set", "--", "gpu", "-1").out == "set gpu: slots unlimited\n"
    assert leoflow("pools", "set", "other", "many").code == ExitCode.USAGE
    assert list(kept.pools) == ["gpu"]


def test_list_shows_them_and_delete_asks_first(leoflow, kept: Kept) -> None:
    leoflow("pools", "set", "gpu", "4")
    assert leoflow("pools", "list").out.splitlines()[1].split()[:2] == ["gpu", "4"]
    assert leoflow("pools", "list", "-o", "json").document["pools"][0]["slots"] == 4
    assert leoflow("pools", "delete", "gpu").code == ExitCode.USAGE
    assert leoflow("pools", "delete", "gpu", "--yes").out == "deleted gpu\n"
    assert leoflow("pools", "delete", "gpu", "--yes").code == ExitCode.NOT_FOUND
