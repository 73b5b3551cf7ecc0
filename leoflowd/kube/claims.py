"""Staging volumes as the API server has them: persistent volume claims, one for each dag run that wants one (ADR 67).

Pure. A claim says in labels and annotations which run it is for, so that nothing else has to remember it.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from leoflowd.contract.staging import Staging
from leoflowd.kube.labels import DAG_ID, DAG_RUN_ID, INSTALLATION, RUN_ID
from leoflowd.kube.policy import PodPolicy

_EPOCH = datetime.fromtimestamp(0, UTC)


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    uid: str
    dag_run_id: int
    dag_id: str
    run_id: str
    created_at: datetime
    is_leaving: bool
    """It is deleted, and goes when no pod uses it any more."""


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    uid: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    creation_timestamp: datetime = _EPOCH
    deletion_timestamp: datetime | None = None


class _Claim(msgspec.Struct, frozen=True):
    metadata: _Metadata


_CLAIM = msgspec.json.Decoder(_Claim)


def claim_name(staging: Staging, policy: PodPolicy) -> str:
    """Installations may share a namespace. It is no label: it may be longer than 63 characters."""
    return f"{policy.installation}-staging-{staging.name}"


def claim_selector(installation: str) -> str:
    """Of all claims that are ours."""
    return f"{INSTALLATION}={installation},{DAG_RUN_ID}"


def build_claim(staging: Staging, policy: PodPolicy) -> bytes:
    storage_class = staging.storage_class or policy.staging_storage_class
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": claim_name(staging, policy),
            "namespace": policy.namespace,
            "labels": {
                "app.kubernetes.io/managed-by": "leoflow",
                INSTALLATION: policy.installation,
                DAG_RUN_ID: str(staging.dag_run_id),
            },
            "annotations": {DAG_ID: staging.dag_id, RUN_ID: staging.run_id},
        },
        "spec": {
            "accessModes": [policy.staging_access_mode],
            "resources": {"requests": {"storage": staging.size or policy.staging_size}},
            **({"storageClassName": storage_class} if storage_class else {}),
        },
    }
    return msgspec.json.encode(claim)


def read_claim(raw: bytes | msgspec.Raw) -> Claim | None:
    """None: it is none that we made. Never raises."""
    try:
        meta = _CLAIM.decode(raw).metadata
        return Claim(
            name=meta.name,
            uid=meta.uid,
            dag_run_id=int(meta.labels[DAG_RUN_ID]),
            dag_id=meta.annotations[DAG_ID],
            run_id=meta.annotations[RUN_ID],
            created_at=meta.creation_timestamp,
            is_leaving=meta.deletion_timestamp is not None,
        )
    except (ValueError, KeyError, RecursionError):
        return None
