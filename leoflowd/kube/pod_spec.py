"""The pods of tries and of trigger hosts, as JSON for the API server. Pure: one try gives the same bytes twice, so
launching twice is once.

The author's wishes have come through an allow-list (`wishes`); the policy is written over them, key by key, so there is
no order of merging that an author could use. No secret is in it: the pod gets a projected token for the agents' service
only, and asks there for its spec.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

from leoflowd.contract import staging
from leoflowd.contract.agent_messages import TrySpec
from leoflowd.contract.dispatch import Placement
from leoflowd.contract.termination import WHERE
from leoflowd.core.pod_wishes import CONTAINER, Wishes
from leoflowd.kube.claims import claim_name
from leoflowd.kube.labels import (
    DAEMON,
    DAG_ID,
    DOMAIN,
    INSTALLATION,
    RUN_ID,
    TASK_ID,
    TRACEPARENT,
    TRIGGER_HOST,
    TRY_ID,
)
from leoflowd.kube.policy import PodPolicy
from leoflowd.kube.wishes import allowed_wishes, image_of

NAME_MAX = 63
"""A pod's name is its host name, and the value of labels."""
TOKEN_AUDIENCE = "leoflow"  # noqa: S105  # a name
TOKEN_TTL_S = 3600
"""The kubelet writes a new one before that; the agent reads it for each connection."""
HOST_GRACE_S = 15
"""Of a trigger host's pod: `cleanup` of triggers may take ten seconds."""
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
    """Of all pods of tries that are ours."""
    return f"{INSTALLATION}={installation},{TRY_ID}"


def host_selector(installation: str) -> str:
    """Of all pods of trigger hosts that are ours."""
    return f"{INSTALLATION}={installation},{TRIGGER_HOST}"


class HostPod(msgspec.Struct, frozen=True, kw_only=True):
    """A trigger host, and the daemon that wants it."""

    id: str
    """A UUID."""
    daemon: str
    image: str
    runtime: str
    memory_bytes: int
    log_max_bytes: int

    @property
    def name(self) -> str:
        return f"trigger-host-{self.id}"


def build_host_pod(host: HostPod, policy: PodPolicy) -> bytes:
    """Many tasks share it, so no task's wishes are in it."""
    asked, limit = str(host.memory_bytes // 4), str(host.memory_bytes)
    environment = {
        "LEOFLOW_TRIGGER_HOST_ID": host.id,
        "LEOFLOW_TRIGGER_HOST_RUNTIME": host.runtime,
        "LEOFLOW_TRIGGER_HOST_LOG_BYTES": str(host.log_max_bytes),
        **_line(policy, policy.host_address or policy.agent_address),
    }
    if policy.host_address:  # another name than that of the certificate
        environment["LEOFLOW_AGENT_TLS_NAME"] = policy.agent_address.rpartition(":")[0].strip("[]")
    pod = _pod(
        policy,
        Wishes(),
        image=host.image,
        name=host.name,
        labels={
            "app.kubernetes.io/managed-by": "leoflow",
            INSTALLATION: policy.installation,
            TRIGGER_HOST: host.id,
            DAEMON: label_value(host.daemon),
        },
        annotations={},
        resources={
            "requests": {**policy.requests, "memory": asked},
            "limits": {**policy.limits, "memory": limit},
        },
        environment=environment,
        grace_s=HOST_GRACE_S,
    )
    return msgspec.json.encode(pod)


def build_pod(spec: TrySpec, placement: Placement, policy: PodPolicy) -> bytes:
    """Raises `PodRefused`."""
    wishes = allowed_wishes(placement, policy)
    requests = {**policy.requests, **wishes.requests}
    limits = {**policy.limits, **wishes.limits}
    for name, amount in wishes.requests.items():
        if name in limits and name not in wishes.limits:
            limits[name] = amount  # whoever asks for more than the default limit means to get it
    pod = _pod(
        policy,
        wishes,
        image=image_of(placement, policy),
        claim="" if placement.staging is None else claim_name(placement.staging, policy),
        name=pod_name(spec.task_id, spec.try_id),
        labels=_labels(spec, policy),
        annotations=_annotations(spec),
        resources={"requests": requests, "limits": limits},
        environment={"LEOFLOW_TRY_ID": spec.try_id, **_line(policy, policy.agent_address)},
        grace_s=policy.grace_s,
    )
    return msgspec.json.encode(pod)


def _pod(
    policy: PodPolicy,
    wishes: Wishes,
    *,
    image: str,
    name: str,
    labels: dict[str, str],
    annotations: dict[str, str],
    resources: dict[str, dict[str, str]],
    environment: dict[str, str],
    grace_s: int,
    claim: str = "",
) -> dict[str, Any]:
    """What the arguments say comes after the wishes, so that nothing before it counts. `claim`: of its staging
    volume."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": policy.namespace,
            "labels": {**wishes.labels, **labels},
            "annotations": {**wishes.annotations, **annotations},
        },
        "spec": {
            **({"affinity": wishes.affinity} if wishes.affinity else {}),
            "tolerations": wishes.tolerations,
            "nodeSelector": {**wishes.node_selector, **policy.node_selector},
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": grace_s,
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
                    "image": image,
                    "imagePullPolicy": wishes.image_pull_policy or policy.image_pull_policy,
                    "resources": resources,
                    "env": [*wishes.env, *({"name": name, "value": value} for name, value in environment.items())],
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
                        *([{"name": "staging", "mountPath": staging.IN_POD}] if claim else ()),
                    ],
                }
            ],
            "volumes": [
                {"name": "scratch", "emptyDir": {"sizeLimit": SCRATCH_LIMIT}},
                {"name": "leoflow", "projected": {"sources": _sources(policy)}},
                *([{"name": "staging", "persistentVolumeClaim": {"claimName": claim}}] if claim else ()),
            ],
        },
    }


def _labels(spec: TrySpec, policy: PodPolicy) -> dict[str, str]:
    return {
        "app.kubernetes.io/managed-by": "leoflow",
        INSTALLATION: policy.installation,
        TRY_ID: spec.try_id,
        DAG_ID: label_value(spec.dag_run.dag_id),
        RUN_ID: label_value(spec.dag_run.run_id),
        TASK_ID: label_value(spec.task_id),
    }


def _annotations(spec: TrySpec) -> dict[str, str]:
    """For people, in full; and for the trace."""
    return {
        **({TRACEPARENT: spec.traceparent} if spec.traceparent else {}),
        DAG_ID: spec.dag_run.dag_id,
        RUN_ID: spec.dag_run.run_id,
        TASK_ID: spec.task_id,
        f"{DOMAIN}/map-index": str(spec.map_index),
        f"{DOMAIN}/try-number": str(spec.try_number),
    }


def _line(policy: PodPolicy, address: str) -> dict[str, str]:
    """Variables of the way to the agents' service."""
    found = {
        "LEOFLOW_AGENT_ADDRESS": address,
        "LEOFLOW_TRY_TOKEN_FILE": f"{SECRETS_AT}/token",
        "LEOFLOW_TERMINATION_LOG": WHERE,
        "HOME": "/tmp",  # noqa: S108  # in the pod
    }
    if policy.agent_ca_config_map:
        found["LEOFLOW_AGENT_CA_FILE"] = f"{SECRETS_AT}/ca.crt"
    elif policy.agent_ca:
        found["LEOFLOW_AGENT_CA"] = policy.agent_ca
    else:
        found["LEOFLOW_AGENT_PLAIN_TEXT"] = "1"
    return found


def _sources(policy: PodPolicy) -> list[dict[str, Any]]:
    token = {"audience": TOKEN_AUDIENCE, "expirationSeconds": TOKEN_TTL_S, "path": "token"}
    sources: list[dict[str, Any]] = [{"serviceAccountToken": token}]
    if policy.agent_ca_config_map:
        items = [{"key": "ca.crt", "path": "ca.crt"}]
        sources.append({"configMap": {"name": policy.agent_ca_config_map, "items": items}})
    return sources
