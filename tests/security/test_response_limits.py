"""Attack 25: no server can make the daemon hold more memory or time than the limits say. Real sockets on loopback."""

from __future__ import annotations

import gzip
import socket
import struct
import tracemalloc
import zlib

import pytest
import trio

from leoflow_sensors.egress import AnswerTooSlow, EgressClient, Limits, Response, ResponseTooLarge, ResponseUnreadable
from leoflow_sensors.egress_policy import parse_policy
from leoflow_sensors.http_connection import HEAD_MAX_BYTES
from leoflow_sensors.kinds import TargetDown
from tests.conftest import PATIENCE_S
from tests.fakes.scripted_server import Answer, Stream, answer, scripted_server

KIB, MIB = 1024, 1024 * 1024
PATIENT = Limits(max_body_bytes=64 * KIB, head_s=PATIENCE_S, total_s=PATIENCE_S)
SHORT_HEAD = Limits(max_body_bytes=64 * KIB, head_s=0.3, total_s=PATIENCE_S)
SHORT = Limits(max_body_bytes=64 * KIB, head_s=PATIENCE_S, total_s=0.6)


async def _ask(*answers: Answer, limits: Limits = PATIENT, method: str = "GET") -> Response:
    async with scripted_server(*answers) as server:
        client = EgressClient(parse_policy(f"127.0.0.1:{server.port}"))
        try:
            return await client.request(method, server.url, limits=limits)
        finally:
            client.close()


def _endless(head: bytes, piece: bytes, *, pause_s: float = 0.0) -> Answer:
    async def send(stream: Stream) -> None:
        await stream.send_all(head)
        while True:
            await stream.send_all(piece)
            await trio.sleep(pause_s)

    return send


async def _silence(stream: Stream) -> None:
    await trio.sleep_forever()


async def test_an_answer_as_large_as_the_limit_is_read() -> None:
    assert len((await _ask(answer(body=b"x" * 64 * KIB))).body) == 64 * KIB


async def test_one_byte_more_is_too_large() -> None:
    with pytest.raises(ResponseTooLarge, match="larger than 65536 bytes"):
        await _ask(answer(body=b"x" * (64 * KIB + 1)))


async def test_an_answer_of_a_gigabyte_is_left_after_the_limit() -> None:
    sent = 0

    async def gigabyte(stream: Stream) -> None:
        nonlocal sent
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
        while sent < 1024 * MIB:
            await stream.send_all(b"x" * 64 * KIB)
            sent += 64 * KIB

    with pytest.raises(ResponseTooLarge):
        await _ask(gigabyte)
    assert sent < 64 * MIB  # what the kernel's buffers took


async def test_an_endless_chunked_answer_is_left_after_the_limit() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with pytest.raises(ResponseTooLarge):
        await _ask(_endless(head, b"1000\r\n" + b"x" * 4096 + b"\r\n"))


async def test_gzip_is_unpacked() -> None:
    assert (await _ask(answer("200 OK", gzip.compress(b"hello"), "Content-Encoding: gzip"))).body == b"hello"


async def test_a_gzip_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(50 * MIB))
    assert len(bomb) < 64 * KIB
    tracemalloc.start()
    try:
        with pytest.raises(ResponseTooLarge):
            await _ask(answer("200 OK", bomb, "Content-Encoding: gzip"))
        assert tracemalloc.get_traced_memory()[1] < 5 * MIB
    finally:
        tracemalloc.stop()


async def test_gzip_that_unpacks_to_nothing_for_ever_is_left_after_the_limit() -> None:
    start = zlib.compressobj(wbits=31)
    head = start.compress(b"") + start.flush(zlib.Z_SYNC_FLUSH)
    empty_blocks = b"\x00\x00\x00\xff\xff" * 1000
    with pytest.raises(ResponseTooLarge):
        await _ask(_endless(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + head, empty_blocks))


GZIPPED = gzip.compress(b"hello", mtime=0)  # the same in every worker: it is part of the id


@pytest.mark.parametrize("body", [b"not gzip", GZIPPED[:-4], GZIPPED + b"more"])
async def test_broken_gzip_is_an_answer_that_cannot_be_read(body: bytes) -> None:
    with pytest.raises(ResponseUnreadable, match="gzip"):
        await _ask(answer("200 OK", body, "Content-Encoding: gzip"))


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip"])
async def test_an_encoding_that_nobody_asked_for_is_refused(encoding: str) -> None:
    with pytest.raises(ResponseUnreadable, match="we asked for gzip only"):
        await _ask(answer("200 OK", b"x", f"Content-Encoding: {encoding}"))


async def test_a_flood_of_headers_is_cut_off() -> None:
    with pytest.raises(TargetDown, match=f"longer than {HEAD_MAX_BYTES} bytes"):
        await _ask(_endless(b"HTTP/1.1 200 OK\r\n", b"X-Flood: " + b"x" * 1000 + b"\r\n"))


async def test_complete_headers_that_are_too_long_are_refused() -> None:
    with pytest.raises(TargetDown, match=f"longer than {HEAD_MAX_BYTES} bytes"):
        await _ask(answer("200 OK", b"", *(f"X-{n}: {'x' * 1000}" for n in range(70))))


async def test_a_server_that_never_answers_is_left() -> None:
    with pytest.raises(AnswerTooSlow, match="did not answer within"):
        await _ask(_silence, limits=SHORT_HEAD)


async def test_headers_that_drip_are_left_however_steadily_they_come() -> None:
    with pytest.raises(AnswerTooSlow, match="did not answer within"):
        await _ask(_endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", pause_s=0.02), limits=SHORT_HEAD)


async def test_promises_of_an_answer_do_not_buy_time() -> None:
    with pytest.raises(AnswerTooSlow, match="did not answer within"):
        await _ask(_endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", pause_s=0.02), limits=SHORT_HEAD)


async def test_a_body_that_drips_is_left_however_steadily_it_comes() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
    with pytest.raises(AnswerTooSlow, match="did not complete its answer within"):
        await _ask(_endless(head, b"x", pause_s=0.02), limits=SHORT)


async def test_redirects_do_not_buy_time() -> None:
    async def slow(stream: Stream) -> None:
        await trio.sleep(0.2)
        await stream.send_all(answer("302 Found", b"", "Location: /again", "Connection: close"))

    with pytest.raises(AnswerTooSlow, match="did not complete its answer within"):
        await _ask(slow, limits=SHORT)


async def test_a_reset_connection_is_a_target_that_is_down() -> None:
    async def reset(stream: Stream) -> None:
        assert isinstance(stream, trio.SocketStream)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.socket.close()

    with pytest.raises(TargetDown, match="connection was lost"):
        await _ask(reset)


@pytest.mark.parametrize(
    ("sent", "because"),
    [
        (b"", "before its answer was complete"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "before its answer was complete"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", "no HTTP"),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", "no HTTP"),
    ],
)
async def test_what_is_no_http_is_a_target_that_is_down(sent: bytes, because: str) -> None:
    async def send(stream: Stream) -> None:
        await stream.send_all(sent)

    with pytest.raises(TargetDown, match=because):
        await _ask(send)


async def test_a_closed_port_is_a_target_that_is_down() -> None:
    async with scripted_server(answer()) as server:
        port = server.port
    with pytest.raises(TargetDown, match="cannot connect to"):
        await EgressClient(parse_policy("127.0.0.1")).request("GET", f"http://127.0.0.1:{port}/", limits=PATIENT)


async def test_bytes_after_an_answer_are_not_the_answer_to_the_next_question() -> None:
    smuggled = answer(body=b"first") + answer(body=b"smuggled")
    async with scripted_server(smuggled, answer(body=b"second")) as server:
        client = EgressClient(parse_policy(f"127.0.0.1:{server.port}"))
        bodies = [(await client.request("GET", server.url, limits=PATIENT)).body for _ in range(2)]
        client.close()
    assert bodies == [b"first", b"second"]


async def test_an_answer_to_no_question_is_not_the_answer_to_the_next_one() -> None:
    was_read, is_sent = trio.Event(), trio.Event()

    async def answer_twice(stream: Stream) -> None:
        await stream.send_all(answer(body=b"first"))
        await was_read.wait()
        await stream.send_all(answer(body=b"smuggled"))
        is_sent.set()
        await trio.sleep_forever()

    async with scripted_server(answer_twice, answer(body=b"second")) as server:
        client = EgressClient(parse_policy(f"127.0.0.1:{server.port}"))
        assert (await client.request("GET", server.url, limits=PATIENT)).body == b"first"
        was_read.set()
        await is_sent.wait()
        assert (await client.request("GET", server.url, limits=PATIENT)).body == b"second"
        client.close()


async def test_a_deeply_nested_document_is_no_json() -> None:
    response = await _ask(answer(body=b"[" * 60_000))
    with pytest.raises(ResponseUnreadable, match="no JSON"):
        response.json()
