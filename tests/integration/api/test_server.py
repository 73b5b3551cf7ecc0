"""The listening server, over a real socket: the address it reports, closed connections, draining, a taken port."""

from __future__ import annotations

import socket
import threading
from typing import Any

import httpx
import msgspec
import pytest
import trio
import trio.testing
from quart_trio import QuartTrio
from werkzeug.routing import Rule

from leoflowd.api.app import create_app
from leoflowd.api.context import ApiContext
from leoflowd.api.server import ApiServer
from leoflowd.config import ApiConfig, ConfigRefused
from tests.conftest import PATIENCE_S


def _with_config(context: ApiContext, **changes: Any) -> ApiContext:
    fields: dict[str, Any] = {**vars(context), "config": msgspec.structs.replace(context.config, **changes)}
    return ApiContext(**fields)


async def test_it_serves_under_a_base_path_and_drains(api_context: ApiContext) -> None:
    draining = trio.Event()
    server = ApiServer(_with_config(api_context, port=0, base_path="/leo/"), shutdown=draining.wait)
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            address = await nursery.start(server.run)
            async with httpx.AsyncClient(base_url=address) as client:
                assert (await client.get("/leo/api/v2/version")).status_code == 200
                assert (await client.get("/leo/api/v2/auth/login")).headers["Location"] == "/leo/auth/login"
            draining.set()


async def test_the_event_loop_turns_while_the_routes_are_imported(
    api_context: ApiContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their modules take half a second of a laptop, in which the pool and the agents have begun already."""
    turned = threading.Event()

    def slowly(context: ApiContext) -> QuartTrio:
        assert turned.wait(PATIENCE_S)
        return create_app(context)

    monkeypatch.setattr("leoflowd.api.server.create_app", slowly)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ApiServer(_with_config(api_context, port=0)).run)
        await trio.testing.wait_all_tasks_blocked()
        turned.set()
        nursery.cancel_scope.cancel()


async def test_connection_close_is_honoured(api_context: ApiContext) -> None:
    """quart-trio 0.12 cancels hypercorn's last step unless the answer is sent inside a shield."""
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            address = await nursery.start(ApiServer(_with_config(api_context, port=0)).run)
            host, port = address.removeprefix("http://").split(":")
            stream = await trio.open_tcp_stream(host, int(port))
            async with stream:
                await stream.send_all(b"GET /api/v2/version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                received = b"".join([chunk async for chunk in stream])
            assert received.startswith(b"HTTP/1.1 200")
            nursery.cancel_scope.cancel()


async def test_a_taken_port_is_one_clear_message(api_context: ApiContext) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigRefused, match=f"cannot listen on 127.0.0.1:{port}"):
            await ApiServer(_with_config(api_context, port=port)).run()


def test_the_default_config_listens_on_loopback() -> None:
    assert ApiConfig().host == "127.0.0.1"


async def test_an_application_compiles_what_builds_addresses_when_it_is_asked_for_one(
    api_context: ApiContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[str] = []
    compile_builder = Rule._compile_builder

    def noted(rule: Rule, append_unknown: bool = True) -> Any:
        compiled.append(rule.endpoint)
        return compile_builder(rule, append_unknown)

    monkeypatch.setattr(Rule, "_compile_builder", noted)
    addresses = create_app(api_context).url_map.bind("localhost")
    assert compiled == []
    assert addresses.build("public_dags.get_dag", {"dag_id": "a b", "x": "1"}) == "/api/v2/dags/a%20b?x=1"
    assert set(compiled) == {"public_dags.get_dag"}
