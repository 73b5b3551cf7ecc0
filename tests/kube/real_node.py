"""A real node: the kubelet and containerd of node.sh. What lacks of a cluster, its scheduler, is a loop here."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from loadtests.kube_admin import NAMESPACE, Admin, Json
from tests.conftest import REPOSITORY
from tests.kube.clusters import START_WITHIN_S

SCRIPT = REPOSITORY / "tests" / "kube" / "node.sh"
LOOK_S = 0.01


@contextmanager
def running_node(folder: Path, *, api: Path, pause: str) -> Iterator[Path]:
    """`api`: as `real_server` gave it; `pause`: an image that stays alive."""
    try:
        subprocess.run([SCRIPT, "start", folder, api, pause], check=True, timeout=START_WITHIN_S)
        yield folder
    finally:
        subprocess.run([SCRIPT, "stop", folder], check=True, timeout=START_WITHIN_S)


class RealNode:
    """As `node.Node`, for the one node of `running_node`."""

    host = "10.231.0.1"

    def __init__(self, admin: Admin, folder: Path) -> None:
        self._admin = admin
        self._folder = folder
        self._pods: dict[str, Json] = {}
        self.seen_at: dict[str, float] = {}
        self.started_at: dict[str, float] = {}
        """When the API server said that it runs."""
        self.ended: dict[str, int] = {}

    async def run(self) -> None:
        while True:
            for pod in (await self._admin.call("GET", f"/api/v1/namespaces/{NAMESPACE}/pods"))["items"]:
                name = pod["metadata"]["name"]
                if name not in self._pods:
                    self.seen_at[name] = time.time()
                    await self._admin.bind(name)
                self._pods[name] = pod
                self._note(name, pod)
            await trio.sleep(LOOK_S)

    def _note(self, name: str, pod: Json) -> None:
        for container in pod["status"].get("containerStatuses", ()):
            if container["state"].keys() & {"running", "terminated"}:
                self.started_at.setdefault(name, time.time())
            if "terminated" in container["state"]:
                self.ended.setdefault(name, container["state"]["terminated"]["exitCode"])

    def scratch(self, name: str) -> Path:
        return self._place(name) / "volumes" / "kubernetes.io~empty-dir" / "scratch"

    def said(self, name: str) -> str:
        return "".join(file.read_text() for file in (self._place(name) / "containers" / "base").glob("*"))

    async def kill(self, name: str) -> None:
        container = self._pods[name]["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
        ctr = ["ctr", "--address", self._folder / "containerd.sock", "-n", "k8s.io"]
        await trio.run_process([*ctr, "tasks", "kill", "-s", "SIGKILL", container])

    def _place(self, name: str) -> Path:
        return self._folder / "kubelet" / "pods" / self._pods[name]["metadata"]["uid"]
