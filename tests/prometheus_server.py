"""Debian's Prometheus for tests of alerts and dashboards; `tests/e2e/install-programs.sh` unpacks it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from loadtests.lite_process import free_port, wait_until
from tests.conftest import PATIENCE_S, REPOSITORY, missing

UNPACKED = REPOSITORY / ".cache" / "prometheus" / "usr" / "bin"


def program(name: str) -> str:
    """Of the system, or unpacked."""
    found = shutil.which(name) or shutil.which(str(UNPACKED / name))
    return found or missing(f"{name} of Debian's prometheus; `make programs` unpacks it")


class Prometheus:
    def __init__(self, url: str) -> None:
        self._url = url

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Samples of this moment: `metric` and `value` each."""
        answer = httpx.get(f"{self._url}/api/v1/query", params={"query": expression}, timeout=PATIENCE_S)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    def wait_for(self, expression: str) -> None:
        """Until it has an answer."""
        wait_until(lambda: self.query(expression), within_s=PATIENCE_S, what=expression)


@contextmanager
def scraping(address: str, labels: dict[str, str], folder: Path) -> Iterator[Prometheus]:
    """Each other second, `host:port`; its samples get `labels`, as a ServiceMonitor's target gives them."""
    config = {
        "global": {"scrape_interval": "2s", "scrape_timeout": "2s"},
        "scrape_configs": [{"job_name": "leoflow", "static_configs": [{"targets": [address], "labels": labels}]}],
    }
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    url = f"127.0.0.1:{free_port()}"
    command = [program("prometheus"), "--config.file=config.yaml", "--storage.tsdb.path=data"]
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen([*command, f"--web.listen-address={url}"], cwd=folder, stdout=output, stderr=output)
    try:
        wait_until(lambda: _is_ready(f"http://{url}"), within_s=30, what=f"Prometheus; see {folder}/output")
        yield Prometheus(f"http://{url}")
    finally:
        process.kill()
        process.wait()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready").is_success
    except httpx.HTTPError:
        return False
