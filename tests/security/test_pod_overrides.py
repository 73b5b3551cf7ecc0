"""Attack 28: whatever an author writes, a pod has the fields that the policy gives it, and only those that may vary."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leoflowd.contract.dispatch import Placement
from leoflowd.core.pod_wishes import PodRefused
from leoflowd.kube.pod_spec import build_pod, label_value, pod_name
from tests.kube.tries import IMAGE, POLICY, new_try, pod_of

SECRET = {"secretKeyRef": {"name": "db", "key": "k"}}
EVIL: list[dict[str, Any]] = [
    {"spec": {"hostNetwork": True}},
    {"spec": {"hostPID": True}},
    {"spec": {"serviceAccountName": "cluster-admin"}},
    {"spec": {"automountServiceAccountToken": True}},
    {"spec": {"securityContext": {"runAsUser": 0}}},
    {"spec": {"volumes": [{"name": "h", "hostPath": {"path": "/"}}]}},
    {"spec": {"initContainers": [{"name": "base", "image": "evil"}]}},
    {"spec": {"ephemeralContainers": []}},
    {"spec": {"nodeName": "node-1"}},
    {"spec": {"priorityClassName": "system-node-critical"}},
    {"spec": {"runtimeClassName": "none"}},
    {"spec": {"restartPolicy": "Always"}},
    {"spec": {"terminationGracePeriodSeconds": 10**6}},
    {"spec": {"containers": [{"name": "sidecar", "image": "evil"}]}},
    {"spec": {"containers": [{"image": "evil"}]}},
    {"spec": {"containers": [{"name": "base", "image": "evil"}]}},
    {"spec": {"containers": [{"name": "base", "command": ["sh"]}]}},
    {"spec": {"containers": [{"name": "base", "securityContext": {"privileged": True}}]}},
    {"spec": {"containers": [{"name": "base", "volumeMounts": []}]}},
    {"spec": {"containers": [{"name": "base", "lifecycle": {}}]}},
    {"spec": {"containers": [{"name": "base", "terminationMessagePath": "/etc/passwd"}]}},
    {"spec": {"containers": [{"name": "base", "envFrom": [{"secretRef": {"name": "s"}}]}]}},
    {"spec": {"containers": [{"name": "base", "env": [{"name": "LEOFLOW_TRY_ID", "value": "other"}]}]}},
    {"spec": {"containers": [{"name": "base", "env": [{"name": "A B", "value": "x"}]}]}},
    {"spec": {"containers": [{"name": "base", "env": [{"name": "A", "valueFrom": {"fieldRef": {}}}]}]}},
    {"spec": {"containers": [{"name": "base", "env": [{"name": "A", "valueFrom": SECRET}]}]}},
    {"spec": {"containers": [{"name": "base", "resources": {"limits": {"nvidia.com/gpu": "8"}}}]}},
    {"spec": {"affinity": {"odd": {}}}},
    {"spec": {"tolerations": [{"key": "a", "odd": 1}]}},
    {"spec": "hostNetwork"},
    {"spec": {"containers": {"name": "base"}}},
    {"metadata": {"name": "other"}},
    {"metadata": {"namespace": "kube-system"}},
    {"metadata": {"ownerReferences": []}},
    {"metadata": {"labels": {"leoflow.io/try-id": "other"}}},
    {"metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/base": "unconfined"}}},
    {"metadata": {"annotations": {"iam.amazonaws.com/role": "admin"}}},
    {"status": {"phase": "Running"}},
    {"kind": "Job"},
]  # fmt: skip


@pytest.mark.parametrize("override", EVIL, ids=range(len(EVIL)))
def test_what_is_not_allowed_is_refused_by_its_path(override: dict[str, Any]) -> None:
    with pytest.raises(PodRefused, match=r"(pod_override\.(spec|metadata|status|kind)).* is refused: "):
        pod_of(new_try(), executor_config={"pod_override": override})


@pytest.mark.parametrize(
    "placement",
    [
        {"executor_config": {"KubernetesExecutor": {"image": "evil"}}},
        {"execution": {"service_account": "admin"}},
        {"execution": {"host_network": "yes"}},
        {"resources": {"claims": {}}},
        {"image": "registry.example/dag:latest"},
        {"image": "evil --privileged@sha256:" + "0" * 64},
        {"image": ""},
    ],
)
def test_so_is_what_comes_another_way(placement: dict[str, Any]) -> None:
    with pytest.raises(PodRefused):
        pod_of(new_try(), **placement)


FRIENDLY = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"labels": {"team": "data"}, "annotations": {"note": "x"}},
    "spec": {
        "nodeSelector": {"disk": "ssd", "pool": "mine"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "containers": [
            {
                "name": "base",
                "resources": {"requests": {"memory": "4Gi"}},
                "env": [
                    {"name": "MODE", "value": "fast"},
                    {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "shared", "key": "k"}}},
                ],
            }
        ],
    },
}


def test_what_is_allowed_is_there_and_the_policy_is_over_it() -> None:
    policy = msgspec.structs.replace(POLICY, secrets=frozenset({"shared"}), node_selector={"pool": "tasks"})
    spec = new_try()
    placement = Placement(
        image=IMAGE,
        resources={"requests": {"cpu": "2"}},
        execution={"node_selector": {"zone": "a"}, "image_pull_policy": "Always"},
        executor_config={"pod_override": FRIENDLY},
    )
    pod = json.loads(build_pod(spec, placement, policy))
    assert pod["spec"]["nodeSelector"] == {"zone": "a", "disk": "ssd", "pool": "tasks"}
    assert pod["spec"]["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    [container] = pod["spec"]["containers"]
    assert container["resources"] == {
        "requests": {"cpu": "2", "memory": "4Gi"},
        "limits": {"memory": "4Gi"},
    }
    assert container["imagePullPolicy"] == "Always"
    env = {one["name"]: one for one in container["env"]}
    assert env["MODE"] == {"name": "MODE", "value": "fast"}
    assert env["KEY"]["valueFrom"] == {"secretKeyRef": {"name": "shared", "key": "k"}}
    assert env["LEOFLOW_TRY_ID"]["value"] == spec.try_id
    assert pod["metadata"]["labels"]["team"] == "data"


def test_a_pod_is_hardened_and_holds_no_secret() -> None:
    pod = json.loads(pod_of(new_try()))
    [container] = pod["spec"]["containers"]
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    [_, volume] = pod["spec"]["volumes"]
    [source] = volume["projected"]["sources"]
    assert source == {"serviceAccountToken": {"audience": "leoflow", "expirationSeconds": 3600, "path": "token"}}
    assert not any("TOKEN" in one["name"] and "FILE" not in one["name"] for one in container["env"])


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(
        ["spec", "metadata", "containers", "name", "env", "labels", "base", "value", "securityContext", "nodeSelector"]
    ), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip
POLICY_FIELDS = ("automountServiceAccountToken", "hostNetwork", "hostPID", "hostIPC", "securityContext", "volumes")


@given(anything)
def test_no_override_changes_a_field_of_the_policy(override: Any) -> None:
    spec = new_try()
    plain = json.loads(pod_of(spec))
    try:
        pod = json.loads(pod_of(spec, executor_config={"pod_override": override}))
    except PodRefused:
        return
    assert [pod["spec"][name] for name in POLICY_FIELDS] == [plain["spec"][name] for name in POLICY_FIELDS]
    assert len(pod["spec"]["containers"]) == 1
    assert pod["spec"]["containers"][0]["securityContext"] == plain["spec"]["containers"][0]["securityContext"]
    assert pod["metadata"]["name"] == plain["metadata"]["name"]


@given(st.text(max_size=300))
def test_any_id_gives_a_name_and_a_label_that_kubernetes_takes(text: str) -> None:
    """Defect 37 of the original: labels of more than 63 characters."""
    spec = new_try()
    name = pod_name(text, spec.try_id)
    assert len(name) <= 63
    assert name.endswith(f"-{spec.try_id}")
    assert name.replace("-", "").isalnum()
    assert name.isascii()
    assert name == name.lower()
    assert name[0] != "-"
    value = label_value(text)
    assert len(value) <= 63
    assert not value or (value[0].isalnum() and value[-1].isalnum())
    assert value.isascii()
