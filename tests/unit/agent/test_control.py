"""The line between a task and its agent: both real ends, in one process. No line is lost or mixed."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from leoflow_agent.control_line import ControlLine
from leoflow_agent.runner.control import AgentGone, Control, NoAnswer

BIG = "x" * 1_000_000
"""Far more than a socket buffer holds."""


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, Control]]:
    ours, theirs = socket.socketpair()
    control = Control(theirs.detach(), answer_within_s=0.2)
    yield ours, control
    ours.close()
    control._socket.close()


def _serve(ours: socket.socket, answer: Callable[[str, dict], bytes]) -> threading.Thread:
    """An agent that answers each question at once."""

    def run() -> None:
        with ours.makefile("rb") as lines:
            for line in lines:
                ((kind, question),) = json.loads(line).items()
                ours.sendall(answer(kind, question))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def _line(**message: object) -> bytes:
    return json.dumps(message).encode() + b"\n"


def test_a_question_without_an_answer_is_an_error_that_the_task_can_read(ends):
    _, control = ends
    with pytest.raises(NoAnswer, match=r"no answer to the question 'counts' within 0.2 s"):
        control.ask("counts", {})


def test_an_answer_that_comes_too_late_disturbs_no_later_question(ends):
    ours, control = ends
    with pytest.raises(NoAnswer):
        control.ask("counts", {})
    ours.sendall(_line(request_id=1, count=1))
    ours.sendall(_line(request_id=2, count=2))
    assert control.ask("counts", {})["count"] == 2


def test_a_question_that_the_agent_refuses_is_an_error_with_its_reason(ends):
    ours, control = ends
    _serve(ours, lambda _, question: _line(request_id=question["request_id"], error="no room"))
    with pytest.raises(NoAnswer, match="no room"):
        control.keep({"push": {}})


def test_an_agent_that_is_gone_is_told_from_one_that_is_slow(ends):
    ours, control = ends
    ours.close()
    with pytest.raises((AgentGone, BrokenPipeError)):
        control.ask("counts", {})
    with pytest.raises(AgentGone):
        control.begin()


def test_threads_may_ask_at_the_same_time_and_answers_may_come_in_any_order(ends):
    ours, control = ends
    control._answer_within_s = 20
    held: list[bytes] = []

    def backwards(_: str, question: dict) -> bytes:
        held.append(_line(request_id=question["request_id"], of=question["n"]))
        return b"" if len(held) < 8 else b"".join(reversed(held))

    _serve(ours, backwards)
    found: dict[int, int] = {}
    threads = [
        threading.Thread(target=lambda n=n: found.update({n: control.ask("counts", {"n": n})["of"]})) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: n for n in range(8)}


def test_a_signal_handler_may_ask_while_its_own_thread_waits(ends):
    ours, control = ends
    control._answer_within_s = 20
    inner: list[object] = []

    def answers(kind: str, question: dict) -> bytes:
        if kind == "outer":  # both answers at once, the interrupted question's first
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
            answers.outer = _line(request_id=question["request_id"], of="outer")
            return b""
        return answers.outer + _line(request_id=question["request_id"], of="inner")

    previous = signal.signal(signal.SIGUSR1, lambda *_: inner.append(control.ask("inner", {})["of"]))
    try:
        _serve(ours, answers)
        assert control.ask("outer", {})["of"] == "outer"
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert inner == ["inner"]


def test_a_signal_handler_that_logs_does_not_break_a_line_that_is_being_sent(ends):
    ours, control = ends
    previous = signal.signal(signal.SIGALRM, lambda *_: control.send({"log": "from the handler"}))
    received: list[bytes] = []

    def read_slowly() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
        while sum(map(len, received)) < len(BIG):
            received.append(ours.recv(4096))
        while not received[-1].endswith(b"\n") or b"".join(received).count(b"\n") < 2:
            received.append(ours.recv(4096))

    reader = threading.Thread(target=read_slowly)
    try:
        reader.start()
        control.send({"log": BIG})
        reader.join()
    finally:
        signal.signal(signal.SIGALRM, previous)
    texts = sorted(json.loads(line)["log"] for line in b"".join(received).splitlines())
    assert texts == ["from the handler", BIG]


def test_the_reason_of_a_stop_is_read_without_waiting(ends):
    ours, control = ends
    assert control.stop_reason() is None
    ours.sendall(_line(stop={"kind": "lost", "because": "the host stops"}))
    assert control.stop_reason() == ("lost", "the host stops")


def _control_line() -> tuple[ControlLine, socket.socket]:
    """Ours, and the task's end."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return ControlLine(ours, lambda: None), theirs


def test_lines_larger_than_the_socket_buffer_never_mix():
    """Two answers at once: the second must wait until the first is out."""

    async def test() -> list[str]:
        line, theirs = _control_line()
        for number in range(4):
            line.say(json.dumps({"n": number, "value": BIG}).encode())
        with theirs:

            def read() -> list[bytes]:
                with theirs.makefile("rb") as lines:
                    return [next(lines) for _ in range(4)]

            received = await asyncio.to_thread(read)
        line.close()
        return [json.loads(each)["n"] for each in received if json.loads(each)["value"] == BIG]

    assert asyncio.run(test()) == [0, 1, 2, 3]


def test_what_is_said_before_the_task_reads_waits_for_it():
    async def test() -> bytes:
        line, theirs = _control_line()
        line.say(b"first")
        with theirs:
            received = theirs.recv(100)
        line.close()
        return received

    assert asyncio.run(test()) == b"first\n"


def test_a_line_of_the_task_may_come_in_any_pieces():
    async def test() -> list[bytes]:
        (line, theirs), found = _control_line(), []
        with theirs:
            for piece in (b'{"a"', b": 1}", b'\n{"b": 2}\n{', b"}\n"):
                theirs.sendall(piece)
                found += line.read() or []
        assert line.read() is None
        assert not line.is_open
        return found

    assert asyncio.run(test()) == [b'{"a": 1}', b'{"b": 2}', b"{}"]
