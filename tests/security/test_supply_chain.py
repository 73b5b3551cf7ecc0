"""What comes with us and what we hand out: advisories, keys in the source, and what installing and importing do."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.plugins.base import RegexBasedDetector
from typing_extensions import override

from tests.conftest import REPOSITORY
from tests.house.test_repository import committed_files

NOISE = {"BasicAuthDetector", "IPPublicDetector", "CloudantDetector", "IbmCloudIamDetector", "IbmCosHmacDetector"}
NOISE |= {"SoftlayerDetector"}
"""What tells by a word beside it, not by the form of a key: example addresses and slow guesses."""
DETECTORS: list[type[object]] = list(get_mapping_from_secret_type_to_class().values())
KEY_FORMATS: list[re.Pattern[str]] = [
    pattern
    for detector in DETECTORS
    if issubclass(detector, RegexBasedDetector) and detector.__name__ not in NOISE
    for pattern in detector().denylist
]

IMPORT_ALL = """
import importlib, pkgutil, sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        raise AssertionError(f"{event}{arguments}")
    if event == "open" and isinstance(arguments[1], str) and set("wax+") & set(arguments[1]):
        raise AssertionError(f"opened for writing: {arguments[0]}")

sys.addaudithook(refuse)
sys.dont_write_bytecode = True
scripts = ("__main__", "become")
for top in ("leoflowd", "leoflow_sensors", "leoflow_agent"):
    for module in pkgutil.walk_packages(importlib.import_module(top).__path__, f"{top}."):
        if module.name.rpartition(".")[2] not in scripts:
            importlib.import_module(module.name)
            print(module.name)
"""


def _keys_in(text: str) -> list[str]:
    """The lines that hold a key of a known form and do not say that it is made up."""
    starts = [match.start() for pattern in KEY_FORMATS for match in pattern.finditer(text)]
    lines = [text[text.rfind("\n", 0, start) + 1 :].partition("\n")[0] for start in starts]
    return [line for line in lines if "pragma: allowlist secret" not in line]


def test_no_key_is_in_a_committed_file() -> None:
    texts = {path: path.read_text(errors="ignore") for path in committed_files()}
    found = [f"{path.relative_to(REPOSITORY)}: {line.strip()}" for path in texts for line in _keys_in(texts[path])]
    assert found == [], "a made-up key of a test says so on its line: # pragma: allowlist secret"


@pytest.mark.parametrize(
    "key", ["-----BEGIN OPENSSH " + "PRIVATE KEY-----", "key: AKIA" + "QWERTYUIOPASDFGH", "ghp_" + "q1W2" * 9]
)
def test_the_scan_finds_keys(key: str) -> None:
    assert _keys_in(f"nothing\n{key}\n") == [key]
    assert _keys_in(f"nothing\n{key}  # pragma: allowlist secret\n") == []


def test_importing_asks_nobody_and_writes_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(done.stdout.split()) > 400


@contextmanager
def _advisories(answer: dict[str, object]) -> Iterator[str]:
    """An advisory service that knows one vulnerable package, as OSV answers; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["content-length"])))
            body = json.dumps(answer if query["package"]["name"] == "trio" else {}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _audit(address: str) -> subprocess.CompletedProcess[str]:
    command = ["locks/audit.sh", "--vulnerability-service", "osv", "--osv-url", address]
    return subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def test_the_audit_names_what_is_vulnerable() -> None:
    affected = [{"package": {"name": "trio", "ecosystem": "PyPI"}, "versions": [], "ranges": []}]
    advisory = {"id": "PYSEC-2026-1", "modified": "2026-01-01T00:00:00Z", "summary": "made up", "affected": affected}
    with _advisories({"vulns": [advisory]}) as address:
        done = _audit(address)
    assert done.returncode == 1, done.stderr[-3000:]
    assert "PYSEC-2026-1" in done.stdout
    assert "trio" in done.stdout
    with _advisories({}) as address:
        done = _audit(address)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "No known vulnerabilities found" in done.stderr


def test_an_audit_that_is_not_answered_is_none() -> None:
    assert _audit("http://127.0.0.1:9/v1/query").returncode != 0
