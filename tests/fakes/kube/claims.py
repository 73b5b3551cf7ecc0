"""The persistent volume claims of the fake API server.

As of a real one without a controller manager: what is deleted keeps its finalizer, and stays until somebody takes that
away.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from tests.fakes.kube.store import Json, Refused, matches

PROTECTION = "kubernetes.io/pvc-protection"


class Claims:
    def __init__(self) -> None:
        self._claims: dict[str, Json] = {}

    def list(self, selector: str) -> Json:
        found = [claim for claim in self._claims.values() if matches(claim, selector, "")]
        return {"kind": "PersistentVolumeClaimList", "metadata": {"resourceVersion": "1"}, "items": found}

    def get(self, name: str) -> Json:
        try:
            return self._claims[name]
        except KeyError:
            raise Refused(404, "NotFound", f'persistentvolumeclaims "{name}" not found') from None

    def create(self, body: Json) -> Json:
        name = body["metadata"]["name"]
        if name in self._claims:
            raise Refused(409, "AlreadyExists", f'persistentvolumeclaims "{name}" already exists')
        made = {"uid": str(uuid.uuid4()), "creationTimestamp": _now(), "finalizers": [PROTECTION]}
        self._claims[name] = {**body, "metadata": {**body["metadata"], **made}}
        return self._claims[name]

    def delete(self, name: str, options: Json) -> Json:
        claim = self.get(name)
        if options.get("preconditions", {}).get("uid") not in (None, claim["metadata"]["uid"]):
            raise Refused(409, "Conflict", "the UID in the precondition does not match")
        claim["metadata"].setdefault("deletionTimestamp", _now())
        return claim

    def release(self, name: str) -> None:
        """As the controller does when no pod uses it."""
        if "deletionTimestamp" in self.get(name)["metadata"]:
            del self._claims[name]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
