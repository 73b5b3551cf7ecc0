"""Interpreters that a task on the real packages starts, for `@task.virtualenv` and its like: their line to us.

Where the other interpreter has Airflow too, its SDK asks on the descriptor that `__AIRFLOW_SUPERVISOR_FD` names, and
wants one to log to. What it asks is answered as if the task had asked; what it logs is the task's log.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

_NAME = "__AIRFLOW_SUPERVISOR_FD"
_ELSEWHERE = "_BasePythonVirtualenvOperator"
_HEAD_BYTES = 4


def serve(task: Any, send: Callable[[Any], Any], log: Callable[[bytes], Any]) -> None:
    """Open the line if the task may start such an interpreter; it ends with this process."""
    if all(kind.__name__ != _ELSEWHERE for kind in type(task).__mro__):
        return
    ours, theirs = socket.socketpair()
    theirs.set_inheritable(True)
    os.environ[_NAME] = str(theirs.detach())
    threading.Thread(target=_answer_all, args=(ours, send, log), daemon=True).start()


def _answer_all(line: socket.socket, send: Callable[[Any], Any], log: Callable[[bytes], Any]) -> None:
    msgspec: Any = importlib.import_module("msgspec")  # the SDK's own
    pydantic: Any = importlib.import_module("pydantic")
    comms: Any = importlib.import_module("airflow.sdk.execution_time.comms")
    request = msgspec.msgpack.Decoder(comms._RequestFrame)  # noqa: SLF001  the form in which it asks
    messages = pydantic.TypeAdapter(comms.ToSupervisor)
    while head := _received(line, _HEAD_BYTES):
        frame = request.decode(_received(line, int.from_bytes(head, "big")))
        message = messages.validate_python(frame.body)
        if type(message).__name__ == "ResendLoggingFD":
            answer, descriptors = comms.SentFDs(fds=[0]), [_log_pipe(log)]
        else:
            answer, descriptors = _answered(comms, send, message), []
        is_error = type(answer).__name__ == "ErrorResponse"
        said = None if answer is None else answer.model_dump()
        parts = {"error": said} if is_error else {"body": said}
        framed = comms._ResponseFrame(id=frame.id, **parts).as_bytes()  # noqa: SLF001
        if descriptors:
            socket.send_fds(line, [framed], descriptors)  # a few bytes: never sent in parts
        else:
            line.sendall(framed)
        for descriptor in descriptors:
            os.close(descriptor)


def _received(line: socket.socket, count: int) -> bytes:
    return line.recv(count, socket.MSG_WAITALL)


def _answered(comms: Any, send: Callable[[Any], Any], message: Any) -> Any:
    try:
        return send(message)
    except Exception as error:  # noqa: BLE001  it is the other interpreter's to raise
        kinds = importlib.import_module("airflow.sdk.exceptions").ErrorType
        return comms.ErrorResponse(error=kinds.GENERIC_ERROR, detail={"message": str(error)})


def _log_pipe(log: Callable[[bytes], Any]) -> int:
    """Where the other interpreter writes its log, as JSON lines."""
    reading, writing = os.pipe()

    def pass_on() -> None:
        with os.fdopen(reading, "rb") as lines:
            for text in lines:
                log(text if _is_json(text) else json.dumps({"event": text.decode("utf-8", "replace")}).encode())

    threading.Thread(target=pass_on, daemon=True).start()
    return writing


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
