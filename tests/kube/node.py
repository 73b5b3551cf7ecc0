"""A node for tests that runs images: a script in the kubelet's place, with podman for the containers.

What it does it takes from the pod object: image, entry point's arguments, variables, user, read-only root, dropped
capabilities, memory limit, empty folders, files of a projected volume (a token that the API server has signed for this
pod, a config map), termination message, grace. Containers share the network of this machine, as far as podman can
here. Needs root, podman, runc.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import trio

from loadtests.kube_admin import NAMESPACE, Admin, Json

LOOK_S = 0.01
SETTINGS = """\
[containers]
default_ulimits=["nofile={files}:{files}","nproc=32768:32768"]
[engine]
runtime="runc"
cgroup_manager="cgroupfs"
events_logger="file"
"""
"""Podman asks for more files than this machine may open, and its own runtime refuses a mix of cgroups."""
REGISTRIES = """\
[[registry]]
location="{registry}"
insecure=true
"""


class Engine:
    """Podman and buildah with settings and a storage of their own: nothing of this machine's is touched."""

    def __init__(self, folder: Path, *, registry: str) -> None:
        """`registry`: host:port of one that speaks plain HTTP."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "containers.conf").write_text(SETTINGS.format(files=resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        (folder / "registries.conf").write_text(REGISTRIES.format(registry=registry))
        (folder / "storage.conf").write_text(
            f'[storage]\ndriver="overlay"\ngraphroot="{folder / "storage"}"\nrunroot="{folder / "run"}"\n'
        )
        self._folder = folder
        self.environment = {
            **os.environ,
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        }

    def call(self, *command: str) -> str:
        """What it prints. Raises AssertionError with its words."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (
            f"{' '.join(command[:3])}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        )
        return done.stdout.strip()

    async def podman(self, *arguments: str) -> str:
        return await trio.to_thread.run_sync(lambda: self.call("podman", *arguments), abandon_on_cancel=True)

    def remove_all(self) -> None:
        """Containers, images, mounts."""
        subprocess.run(["podman", "rm", "-f", "-t", "0", "-a"], env=self.environment, capture_output=True, check=False)
        subprocess.run(["umount", "-l", self._folder / "storage" / "overlay"], capture_output=True, check=False)
        shutil.rmtree(self._folder, ignore_errors=True)


class Node:
    host = "127.0.0.1"
    """Where its pods reach this machine."""

    def __init__(self, admin: Admin, engine: Engine, folder: Path, *, name: str = "node-1") -> None:
        self._admin = admin
        self._engine = engine
        self._folder = folder
        self._name = name
        self._known: set[str] = set()
        self._doomed: set[str] = set()
        self.seen_at: dict[str, float] = {}
        """Pod -> Unix time; within `LOOK_S` and an answer of the API server of its creation."""
        self.started_at: dict[str, float] = {}
        """Pod -> when podman had started its container."""
        self.ended: dict[str, int] = {}
        """Pod -> exit code."""

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                pods = await self._admin.call("GET", f"/api/v1/namespaces/{NAMESPACE}/pods")
                for pod in pods["items"]:
                    name = pod["metadata"]["name"]
                    if name not in self._known:
                        self._known.add(name)
                        self.seen_at[name] = time.time()
                        nursery.start_soon(self._run_pod, pod)
                    if pod["metadata"].get("deletionTimestamp") and name not in self._doomed:
                        self._doomed.add(name)
                        nursery.start_soon(self._end_pod, pod)
                await trio.sleep(LOOK_S)

    def scratch(self, name: str) -> Path:
        """The folder that is /tmp in the pod."""
        return self._folder / name / "scratch"

    def said(self, name: str) -> str:
        """Its termination message so far."""
        return (self._folder / name / "termination").read_text()

    async def kill(self, name: str) -> None:
        """As when the machine loses its power, but for the word of its kubelet, which comes."""
        await self._engine.podman("kill", "--signal", "KILL", name)

    async def _run_pod(self, pod: Json) -> None:
        name = pod["metadata"]["name"]
        await self._admin.bind(name, self._name)
        [container] = pod["spec"]["containers"]
        arguments = await self._arguments(pod, container)
        image = [container["image"], *container.get("args", ())]
        await self._engine.podman("run", "-d", "--name", name, *arguments, *image)
        self.started_at[name] = time.time()
        await self._admin.begin(name)
        code = int(await self._engine.podman("wait", name))
        out_of_memory = await self._engine.podman("inspect", "--format", "{{.State.OOMKilled}}", name) == "true"
        (self._folder / name / "output").write_text(await self._engine.podman("logs", name))
        self.ended[name] = code
        reason = "OOMKilled" if out_of_memory else ""
        try:
            await self._admin.end(name, code, reason=reason, message=self.said(name))
        except httpx.HTTPStatusError as error:
            if error.response.status_code != 404:
                raise

    async def _end_pod(self, pod: Json) -> None:
        """It is to go: TERM, grace, KILL; then the object."""
        name = pod["metadata"]["name"]
        if name in self.started_at and name not in self.ended:
            await self._engine.podman("stop", "-t", str(pod["metadata"]["deletionGracePeriodSeconds"]), name)
        try:
            await self._admin.remove(name)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != 404:
                raise

    async def _arguments(self, pod: Json, container: Json) -> list[str]:
        """For `podman run`. What it does not know of a pod's security is an error, not a container without it."""
        spec, place = pod["spec"], self._folder / pod["metadata"]["name"]
        place.mkdir(parents=True)
        (place / "termination").touch()
        (place / "termination").chmod(0o666)
        of_pod, own = spec["securityContext"], container["securityContext"]
        assert own == {
            "privileged": False,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert of_pod["runAsNonRoot"] is True
        assert of_pod["runAsUser"] != 0
        found = [
            *("--network=host", "--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL"),
            "--security-opt=no-new-privileges",
            f"--user={of_pod['runAsUser']}:{of_pod['runAsGroup']}",
            f"--volume={place / 'termination'}:{container['terminationMessagePath']}",
            f"--env-file={await self._variables(container, place / 'variables')}",
        ]
        if "command" in container:
            found.append(f"--entrypoint={json.dumps(container['command'])}")
        if "memory" in container["resources"].get("limits", {}):
            found.append(f"--memory={_bytes(container['resources']['limits']['memory'])}")
        volumes = {one["name"]: one for one in spec["volumes"]}
        for mount in container["volumeMounts"]:
            at = place / mount["name"]
            await self._fill(at, volumes[mount["name"]], pod)
            found.append(f"--volume={at}:{mount['mountPath']}{':ro' if mount.get('readOnly') else ''}")
        return found

    async def _fill(self, at: Path, volume: Json, pod: Json) -> None:
        assert "emptyDir" in volume or "projected" in volume, f"this node knows no volume of {volume}"
        files = {}
        for source in volume.get("projected", {}).get("sources", ()):
            files |= await self._files(source, pod)
        make_volume(at, files, group=pod["spec"]["securityContext"]["fsGroup"], is_writable="emptyDir" in volume)

    async def _files(self, source: Json, pod: Json) -> dict[str, bytes]:
        match source:
            case {"serviceAccountToken": wanted}:
                return {wanted["path"]: (await self._token(wanted, pod)).encode()}
            case {"configMap": {"name": str(name), "items": items}}:
                found = await self._admin.call("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps/{name}")
                return {one["path"]: found["data"][one["key"]].encode() for one in items}
        raise AssertionError(f"this node knows no volume of {source}")

    async def _token(self, wanted: Json, pod: Json) -> str:
        """Signed by the API server, bound to this pod: it is good for nothing else, and no longer."""
        account = pod["spec"].get("serviceAccountName", "default")
        meta = pod["metadata"]
        request = {
            "audiences": [wanted["audience"]],
            "expirationSeconds": wanted["expirationSeconds"],
            "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": meta["name"], "uid": meta["uid"]},
        }
        path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{account}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": request}
        return str((await self._admin.call("POST", path, body))["status"]["token"])

    async def _variables(self, container: Json, file: Path) -> Path:
        """In a file: a command line is everybody's to read. The last of a name counts, as in Kubernetes."""
        values = {one["name"]: await self._value(one) for one in container["env"]}
        assert not any("\n" in value for value in values.values()), "podman reads a variable from each line"
        write_secretly(file, "".join(f"{name}={value}\n" for name, value in values.items()))
        return file

    async def _value(self, variable: Json) -> str:
        match variable:
            case {"valueFrom": {"secretKeyRef": {"name": str(name), "key": str(key)}}}:
                secret = await self._admin.call("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets/{name}")
                return base64.b64decode(secret["data"][key]).decode()
            case _:
                return str(variable.get("value", ""))


def make_volume(at: Path, files: Mapping[str, bytes], *, group: int, is_writable: bool) -> None:
    """As the kubelet does: it belongs to the group of the pod."""
    at.mkdir()
    for name, content in files.items():
        (at / name).write_bytes(content)
        (at / name).chmod(0o640)
        os.chown(at / name, 0, group)
    os.chown(at, 0, group)
    at.chmod(0o2777 if is_writable else 0o2755)


def write_secretly(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text)


def _bytes(quantity: str) -> int:
    for unit, factor in {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}.items():
        if quantity.endswith(unit):
            return int(quantity.removesuffix(unit)) * factor
    return int(quantity)
