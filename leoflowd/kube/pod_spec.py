"""The pod of a try, as JSON for the API server. Pure: one try gives the same bytes twice, so launching twice is once.

The author's wishes have come through an allow-list (`wishes`); the policy is written over them, key by key, so there is
no order of merging that an author could use. No secret is in it: the pod gets a projected token for the agents' service
only, and asks there for its spec.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

from leoflowd.contract.agent_messages import TrySpec
from leoflowd.contract.dispatch import Placement
from leoflowd.contract.termination import WHERE
from leoflowd.kube.policy import PodPolicy
from leoflowd.kube.wishes import CONTAINER, wishes_of

NAME_MAX = 63
"""A pod's name is its host name, and the value of labels."""
DOMAIN = "leoflow.io"
INSTALLATION, TRY_ID = f"{DOMAIN}/installation", f"{DOMAIN}/try-id"
TOKEN_AUDIENCE = "leoflow"  # noqa: S105  # a name
TOKEN_TTL_S = 3600
"""The kubelet writes a new one before that; the agent reads it for each connection."""
SCRATCH_LIMIT = "2Gi"
SECRETS_AT = "/var/run/secrets/leoflow"
_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


def pod_name(task_id: str, try_id: str) -> str:
    """At most 63 characters; it ends with the try's id, and is good for nothing but this try."""
    room = NAME_MAX - len(try_id) - 1
    slug = re.sub(r"[^a-z0-9]+", "-", task_id.lower()).strip("-")[: max(room, 0)].strip("-")
    return f"{slug}-{try_id}" if slug else f"t-{try_id}"


def label_value(text: str) -> str:
    """The text if Kubernetes takes it, else what is left of it and a hash: never longer than 63 characters."""
    if _VALUE.fullmatch(text):
        return text
    cut = re.sub(r"[^-A-Za-z0-9_.]+", "-", text)[:50].strip("-_.")
    return f"{cut}-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:10]}".lstrip("-")


def selector(installation: str) -> str:
    """Of all pods that are ours."""
    return f"{INSTALLATION}={installation},{TRY_ID}"


def build_pod(spec: TrySpec, placement: Placement, policy: PodPolicy) -> bytes:
    """Raises `PodRefused`."""
    wishes = wishes_of(placement, policy)
    requests = {**policy.requests, **wishes.requests}
    limits = {**policy.limits, **wishes.limits}
    for name, amount in wishes.requests.items():
        if name in limits and name not in wishes.limits:
            limits[name] = amount  # whoever asks for more than the default limit means to get it
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod_name(spec.task_id, spec.try_id),
            "namespace": policy.namespace,
            "labels": {**wishes.labels, **_labels(spec, policy)},
            "annotations": {**wishes.annotations, **_annotations(spec)},
        },
        "spec": {
            **({"affinity": wishes.affinity} if wishes.affinity else {}),
            "tolerations": wishes.tolerations,
            "nodeSelector": {**wishes.node_selector, **policy.node_selector},
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": policy.grace_s,
            "serviceAccountName": wishes.service_account or policy.service_account,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "hostNetwork": False,
            "hostPID": False,
            "hostIPC": False,
            "imagePullSecrets": [{"name": name} for name in policy.image_pull_secrets],
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": policy.run_as_user,
                "runAsGroup": policy.run_as_user,
                "fsGroup": policy.run_as_user,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": CONTAINER,
                    "image": wishes.image,
                    "imagePullPolicy": wishes.image_pull_policy or policy.image_pull_policy,
                    "resources": {"requests": requests, "limits": limits},
                    "env": [*wishes.env, *_environment(spec, policy)],
                    "terminationMessagePath": WHERE,
                    "terminationMessagePolicy": "File",
                    "securityContext": {
                        "privileged": False,
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [
                        {"name": "scratch", "mountPath": "/tmp"},  # noqa: S108  # in the pod
                        {"name": "leoflow", "mountPath": SECRETS_AT, "readOnly": True},
                    ],
                }
            ],
            "volumes": [
                {"name": "scratch", "emptyDir": {"sizeLimit": SCRATCH_LIMIT}},
                {"name": "leoflow", "projected": {"sources": _sources(policy)}},
            ],
        },
    }
    return msgspec.json.encode(pod)


def _labels(spec: TrySpec, policy: PodPolicy) -> dict[str, str]:
    return {
        "app.kubernetes.io/managed-by": "leoflow",
        INSTALLATION: policy.installation,
        TRY_ID: spec.try_id,
        f"{DOMAIN}/dag-id": label_value(spec.dag_run.dag_id),
        f"{DOMAIN}/run-id": label_value(spec.dag_run.run_id),
        f"{DOMAIN}/task-id": label_value(spec.task_id),
    }


def _annotations(spec: TrySpec) -> dict[str, str]:
    """For people, in full."""
    return {
        f"{DOMAIN}/dag-id": spec.dag_run.dag_id,
        f"{DOMAIN}/run-id": spec.dag_run.run_id,
        f"{DOMAIN}/task-id": spec.task_id,
        f"{DOMAIN}/map-index": str(spec.map_index),
        f"{DOMAIN}/try-number": str(spec.try_number),
    }


def _environment(spec: TrySpec, policy: PodPolicy) -> list[dict[str, Any]]:
    """Last in the list, so that nothing before it counts."""
    found = {
        "LEOFLOW_AGENT_ADDRESS": policy.agent_address,
        "LEOFLOW_TRY_ID": spec.try_id,
        "LEOFLOW_TRY_TOKEN_FILE": f"{SECRETS_AT}/token",
        "LEOFLOW_TERMINATION_LOG": WHERE,
        "HOME": "/tmp",  # noqa: S108  # in the pod
    }
    if policy.agent_ca_config_map:
        found["LEOFLOW_AGENT_CA_FILE"] = f"{SECRETS_AT}/ca.crt"
    else:
        found["LEOFLOW_AGENT_PLAIN_TEXT"] = "1"
    return [{"name": name, "value": value} for name, value in found.items()]


def _sources(policy: PodPolicy) -> list[dict[str, Any]]:
    token = {"audience": TOKEN_AUDIENCE, "expirationSeconds": TOKEN_TTL_S, "path": "token"}
    sources: list[dict[str, Any]] = [{"serviceAccountToken": token}]
    if policy.agent_ca_config_map:
        items = [{"key": "ca.crt", "path": "ca.crt"}]
        sources.append({"configMap": {"name": policy.agent_ca_config_map, "items": items}})
    return sources
