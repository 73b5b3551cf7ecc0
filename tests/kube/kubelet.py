"""A node for tests: runs the agent of each pod as a process of this machine, and tells the API server how it ended.

What an image, a mount and a service account would bring, the script brings: the code of the DAG as working directory, a
token for the pod that the cluster has signed, the CA of the daemon, a file for the termination message.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import jwt
import trio
from cryptography.hazmat.primitives.asymmetric import rsa

from leoflowd.kube.pod_spec import SECRETS_AT, TOKEN_AUDIENCE
from tests.conftest import REPOSITORY
from tests.kube.clusters import NAMESPACE, Cluster

SHIM = REPOSITORY / "leoflowd" / "authoring" / "airflow_shim"
LOOK_S = 0.05
LIFE_S = 600


class Kubelet:
    """`project` is the folder of the image's code, `ca` the PEM text of the config map."""

    def __init__(self, cluster: Cluster, folder: Path, *, project: Path, ca: str) -> None:
        self._admin = cluster.admin
        self._folder = folder
        self._project = project
        self._ca = ca
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._known: set[str] = set()
        """Uids: a pod may have the name of one before it."""
        self.processes: dict[str, trio.Process] = {}
        """By pod."""
        self.pods: dict[str, dict[str, Any]] = {}
        """As they were when they began."""
        self._is_real = cluster.server is None
        if cluster.server is not None:
            public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key()))
            cluster.server.signing_keys = {"keys": [{**public, "kid": "k", "alg": "RS256", "use": "sig"}]}

    @property
    def started(self) -> int:
        return len(self._known)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                for name, uid in await self._admin.uids():
                    if uid not in self._known:
                        self._known.add(uid)
                        nursery.start_soon(self._run_pod, name, uid)
                await trio.sleep(LOOK_S)

    async def _run_pod(self, name: str, uid: str) -> None:
        await self._admin.bind(name)
        pod = self.pods[name] = await self._admin.fetch(name)
        place = self._folder / uid
        (place / "secrets").mkdir(parents=True)
        (place / "secrets" / "token").write_text(await self._token(pod))
        (place / "secrets" / "ca.crt").write_text(self._ca)
        said = place / "termination"
        said.touch()
        await self._admin.begin(name)
        with (place / "output").open("wb") as output:
            process = self.processes[name] = await trio.lowlevel.open_process(
                [sys.executable, "-m", "leoflow_agent", "pod"],
                env=self._environment(pod, place, said),
                cwd=self._project,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            code = await process.wait()
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
        await self._end(name, 128 - code if code < 0 else code, said.read_text())

    async def _end(self, name: str, code: int, message: str) -> None:
        """A pod that was deleted meanwhile goes now."""
        try:
            await self._admin.end(name, code, message=message)
            if (await self._admin.fetch(name))["metadata"].get("deletionTimestamp"):
                await self._admin.remove(name)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != 404:
                raise

    def _environment(self, pod: dict[str, Any], place: Path, said: Path) -> dict[str, str]:
        [container] = pod["spec"]["containers"]
        given = {one["name"]: one["value"] for one in container["env"]}
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'agent'}",
            "LEOFLOW_SHIM": str(SHIM),
            "LEOFLOW_PYTHON": sys.executable,
            "LEOFLOW_SPOOL": str(place / "spool"),
            **{name: value.replace(SECRETS_AT, str(place / "secrets")) for name, value in given.items()},
            "LEOFLOW_TERMINATION_LOG": str(said),
            "HOME": str(place),
        }

    async def _token(self, pod: dict[str, Any]) -> str:
        """As the kubelet asks for it: what the pod's volume wants, for this pod alone."""
        [projected] = [one["projected"] for one in pod["spec"]["volumes"] if "projected" in one]
        [wanted] = [one["serviceAccountToken"] for one in projected["sources"] if "serviceAccountToken" in one]
        assert wanted["audience"] == TOKEN_AUDIENCE
        if self._is_real:
            return await self._admin.token(pod, TOKEN_AUDIENCE)
        place = {"namespace": NAMESPACE, "pod": {"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}}
        claims = {"aud": [wanted["audience"]], "exp": time.time() + LIFE_S, "kubernetes.io": place}
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": "k"})
