"""Whose pod an agent is: its projected service-account token, checked with the cluster's public keys.

The token names its pod, and a pod's name ends with the id of its try (`pod_spec.pod_name`). It is signed by the cluster
for our audience alone, the kubelet renews it, and it dies with its pod: nobody hands out, stores or mounts a secret.
Checking it needs no right beyond the discovery of keys that every service account has.
"""

from __future__ import annotations

from typing import Any

import jwt
import trio

from leoflowd import telemetry
from leoflowd.contract.errors import KubeUnavailable
from leoflowd.kube.api import KubeApi, KubeRefused
from leoflowd.kube.pod_spec import TOKEN_AUDIENCE

log = telemetry.get_logger(__name__)

ALGORITHMS = ("RS256", "ES256")
KEYS_KEPT_S = 600.0
ASK_AGAIN_S = 5.0
"""For a key that we do not know: the cluster may have rotated it, or somebody tries us."""
TOKEN_MAX = 16 * 1024


class PodIdentities:
    def __init__(self, api: KubeApi, *, namespace: str) -> None:
        self._api = api
        self._namespace = namespace
        self._keys: dict[str, Any] = {}
        self._asked_at = -KEYS_KEPT_S
        self._lock = trio.Lock()

    async def pod_of(self, try_id: str, token: str) -> str:
        """The uid of the pod whose token it is, if that is a pod of this try, or trigger host; else nothing. Raises
        `KubeUnavailable` when that cannot be found out now."""
        if len(token) > TOKEN_MAX or token.count(".") != 2 or not try_id:
            await trio.lowlevel.checkpoint()
            return ""
        try:
            key = await self._key(jwt.get_unverified_header(token).get("kid"))
            if key is None:
                return ""
            claims = jwt.decode(
                token, key, algorithms=ALGORITHMS, audience=TOKEN_AUDIENCE, options={"require": ["exp", "aud"]}
            )
        except jwt.PyJWTError as error:
            log.warning("pod_token_refused", try_id=try_id, because=str(error))
            return ""
        return self._uid_of(try_id, claims.get("kubernetes.io"))

    def _uid_of(self, try_id: str, place: Any) -> str:
        match place:
            case {"namespace": self._namespace, "pod": {"name": str(name), "uid": str(uid)}} if name.endswith(
                f"-{try_id}"
            ):
                return uid
            case _:
                return ""

    async def _key(self, kid: Any) -> Any:
        async with self._lock:
            age_s = trio.current_time() - self._asked_at
            if age_s > KEYS_KEPT_S or (kid not in self._keys and age_s > ASK_AGAIN_S):
                try:
                    keys = await self._api.fetch_signing_keys()
                except KubeRefused as refused:
                    raise KubeUnavailable(f"the cluster's signing keys are refused to us: {refused}") from refused
                self._keys = {str(key.key_id): key.key for key in jwt.PyJWKSet.from_json(keys.decode()).keys}
                self._asked_at = trio.current_time()
            return self._keys.get(kid)
