"""### HTTP load

Four tasks send requests to a server and measure each answer; the last task reports the percentiles. With the param
`url` empty, every task starts a tiny server of its own on the loopback interface, so the example needs no network.
"""

import contextlib
import http.server
import statistics
import threading
import time
import urllib.request

from airflow.sdk import DAG, Param, task

CLIENTS = 4


class Pong(http.server.BaseHTTPRequestHandler):
    """Answers every GET with "pong", and keeps quiet about it."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"pong")

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def server(url: str):
    """The given URL, or a server of our own for as long as the block lasts."""
    if url:
        yield url
        return
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pong) as local:
        threading.Thread(target=local.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{local.server_port}/"
        finally:
            local.shutdown()


with DAG(
    "http_load",
    schedule=None,
    params={
        "url": Param("", "Server to ask; empty = one of our own", type="string"),
        "requests": Param(50, "Requests per task", type="integer", minimum=1, maximum=10_000),
    },
    doc_md=__doc__,
):

    @task(retries=1)
    def client(params=None) -> list:
        took_ms = []
        with server(params["url"]) as url:
            for _ in range(params["requests"]):
                start = time.perf_counter()
                with urllib.request.urlopen(url, timeout=10) as answer:
                    answer.read()
                took_ms.append(round((time.perf_counter() - start) * 1000, 3))
        return took_ms

    @task
    def report(results: list) -> dict[str, float]:
        # `-> dict[...]` makes one XCom of every key
        times = sorted(ms for result in results for ms in result)
        figures = {
            "requests": len(times),
            "p50_ms": statistics.median(times),
            "p99_ms": times[int(len(times) * 0.99) - 1],
            "max_ms": times[-1],
        }
        print("  ".join(f"{name}={value}" for name, value in figures.items()))
        return figures

    report([client.override(task_id=f"client_{number}")() for number in range(CLIENTS)])
