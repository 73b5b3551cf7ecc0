"""Everybody in a cluster but the daemon, as calls to its API server: for tests and for the load test of pods."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import httpx
import trio
import yaml

from leoflowd.kube.api import Body
from leoflowd.kube.credentials import Credentials

NAMESPACE = "leoflow"
Json = dict[str, Any]


class Admin:
    """Everybody but the daemon: scheduler, kubelet, other controllers, people. Raises `httpx.HTTPStatusError`."""

    def __init__(self, client: httpx.AsyncClient, credentials: Credentials) -> None:
        self._client = client
        self._credentials = credentials

    async def call(self, method: str, path: str, body: Json | None = None) -> Json:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {**await self._credentials.headers(), "Content-Type": kind}
        request = self._client.build_request(method, self._credentials.host + path, headers=headers, json=body)
        request.stream = Body(request.content)
        with trio.CancelScope(shield=True):  # a connection that is cancelled while it begins is left open by httpcore
            answer = await self._client.send(request)
        answer.raise_for_status()
        return dict(answer.json())

    def _pod(self, name: str) -> str:
        return f"/api/v1/namespaces/{NAMESPACE}/pods/{name}"

    async def fetch(self, name: str) -> Json:
        return await self.call("GET", self._pod(name))

    async def names(self) -> list[str]:
        found = await self.call("GET", f"/api/v1/namespaces/{NAMESPACE}/pods")
        return [one["metadata"]["name"] for one in found["items"]]

    async def uids(self) -> list[tuple[str, str]]:
        """Of each pod the name and the uid."""
        found = await self.call("GET", f"/api/v1/namespaces/{NAMESPACE}/pods")
        return [(one["metadata"]["name"], one["metadata"]["uid"]) for one in found["items"]]

    async def token(self, pod: Json, audience: str) -> str:
        """What the kubelet writes into this pod, signed by the cluster; its service account is made, if need be."""
        accounts, account = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", pod["spec"]["serviceAccountName"]
        made = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}}
        with suppress(httpx.HTTPStatusError):  # it is there
            await self.call("POST", accounts, made)
        bound = {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
        asked = {"spec": {"audiences": [audience], "expirationSeconds": 3600, "boundObjectRef": bound}}
        kind = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
        return str((await self.call("POST", f"{accounts}/{account}/token", {**kind, **asked}))["status"]["token"])

    async def bind(self, name: str, node: str = "node-1") -> None:
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
        await self.call("POST", self._pod(name) + "/binding", body)

    async def patch(self, name: str, patch: Json) -> None:
        await self.call("PATCH", self._pod(name), patch)

    async def patch_status(self, name: str, **status: Any) -> None:
        await self.call("PATCH", self._pod(name) + "/status", {"status": status})

    async def wait(self, name: str, reason: str, message: str = "") -> None:
        """Its container waits."""
        await self._container(name, {"waiting": {"reason": reason, "message": message}}, phase="Pending")

    async def begin(self, name: str) -> None:
        await self._container(name, {"running": {"startedAt": "2026-01-01T00:00:00Z"}}, phase="Running")

    async def end(self, name: str, exit_code: int, *, reason: str = "", message: str = "") -> None:
        """As a kubelet does: the container first, the phase in an event of its own, unless the pod is gone by then."""
        terminated = {
            "exitCode": exit_code,
            "reason": reason or ("Error" if exit_code else "Completed"),
            "message": message,
        }
        await self._container(name, {"terminated": terminated}, phase="Running")
        try:
            await self.patch_status(name, phase="Failed" if exit_code else "Succeeded")
        except httpx.HTTPStatusError as error:
            if error.response.status_code != 404:
                raise

    async def remove(self, name: str) -> None:
        """At once, as its kubelet does when it is done, or a person who forces it."""
        await self.call("DELETE", self._pod(name), {"gracePeriodSeconds": 0})

    async def delete(self, name: str, *, grace_s: int) -> None:
        """As whoever drains a node does."""
        await self.call("DELETE", self._pod(name), {"gracePeriodSeconds": grace_s})

    async def _container(self, name: str, state: Json, *, phase: str) -> None:
        status = {"name": "base", "state": state, "ready": False, "restartCount": 0, "image": "i", "imageID": ""}
        await self.patch_status(name, phase=phase, containerStatuses=[status])


async def set_up(admin: Admin, roles: str) -> None:
    """The namespace and the Role that the daemon runs under (the text of helm/rbac.yaml)."""
    await create(admin, "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    for one in yaml.safe_load_all(roles):
        group = "/api/v1" if one["apiVersion"] == "v1" else f"/apis/{one['apiVersion']}"
        await create(admin, f"{group}/namespaces/{NAMESPACE}/{one['kind'].lower()}s", one)


async def create(admin: Admin, path: str, body: Json) -> None:
    try:
        await admin.call("POST", path, body)
    except httpx.HTTPStatusError as error:
        if error.response.status_code != 409:
            raise
