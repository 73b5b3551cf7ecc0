"""A real OTLP receiver over HTTP, in a process of its own: writes each span that it decodes as a JSON line.

`python -m tests.fakes.otlp_receiver FILE [CERTIFICATE]`, with which it speaks TLS; the address is the first line of its
output. `FILE.deaf`, while it is there, makes it take requests and answer none.
"""

from __future__ import annotations

import gzip
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from typing_extensions import override

REPOSITORY = Path(__file__).parents[2]


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        file = Path(sys.argv[1])
        body = self.rfile.read(int(self.headers["content-length"]))
        while file.with_suffix(".deaf").exists():
            time.sleep(0.05)
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest()
        request.ParseFromString(body)
        with file.open("a") as lines:
            for line in spans_of(request):
                lines.write(json.dumps({"path": self.path, "key": self.headers.get("api-key"), **line}) + "\n")
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    @override
    def log_message(self, *arguments: Any) -> None:
        pass


def spans_of(request: ExportTraceServiceRequest) -> list[dict[str, Any]]:
    return [
        {
            "service": {one.key: one.value.string_value for one in of.resource.attributes}.get("service.name"),
            "trace": span.trace_id.hex(),
            "id": span.span_id.hex(),
            "parent": span.parent_span_id.hex(),
            "name": span.name,
            "start": span.start_time_unix_nano,
            "end": span.end_time_unix_nano,
            "error": span.status.message if span.status.code else None,
            "attributes": {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes},
        }
        for of in request.resource_spans
        for in_scope in of.scope_spans
        for span in in_scope.spans
    ]


@contextmanager
def receiving(file: Path, *certificate: Path) -> Iterator[str]:
    """Its address; what it gets is in `file`."""
    command = [sys.executable, "-m", __name__, str(file), *map(str, certificate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


def received(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    scheme = "http"
    if len(sys.argv) > 2:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[2])
        server.socket, scheme = context.wrap_socket(server.socket, server_side=True), "https"
    sys.stdout.write(f"{scheme}://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()
