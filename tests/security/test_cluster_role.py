"""Attack 29: the daemon's Role allows what its client asks for, and task pods get no credentials of the cluster.

The simulator below answers as Kubernetes' RBAC does (additive, `*` is everything, no rule is no). The same Role is put
before a real API server in tests/conformance/kube.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import yaml

from leoflowd.contract.agent_messages import TrySpec
from leoflowd.contract.dispatch import Placement
from leoflowd.contract.staging import Staging
from leoflowd.kube.api import KubeApi
from leoflowd.kube.claims import build_claim, claim_name, claim_selector
from leoflowd.kube.pod_spec import build_pod
from tests.conftest import PATIENCE_S, REPOSITORY
from tests.kube.clusters import fake_cluster
from tests.kube.tries import IMAGE, POLICY, name_of, new_try, pod_of

OURS = "/api/v1/namespaces/leoflow"
STAGING = Staging(dag_run_id=1, dag_id="d", run_id="r")
OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all((REPOSITORY / "helm" / "rbac.yaml").read_text()))
[ROLE] = [one for one in OBJECTS if one["kind"] == "Role"]
VERBS = (
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "impersonate",
    "bind",
    "escalate",
)
RESOURCES = (
    ("", "pods"), ("", "pods/log"), ("", "pods/exec"), ("", "pods/attach"), ("", "pods/status"),
    ("", "pods/ephemeralcontainers"),
    ("", "secrets"), ("", "configmaps"), ("", "serviceaccounts"), ("", "serviceaccounts/token"), ("", "nodes"),
    ("", "namespaces"), ("", "persistentvolumeclaims"), ("", "events"), ("apps", "deployments"), ("batch", "jobs"),
    ("rbac.authorization.k8s.io", "roles"), ("rbac.authorization.k8s.io", "rolebindings"),
    ("authentication.k8s.io", "tokenreviews"), ("coordination.k8s.io", "leases"),
)  # fmt: skip
NEEDED = {
    ("", "pods"): {"create", "get", "list", "watch", "delete"},
    ("", "persistentvolumeclaims"): {"create", "get", "list", "delete"},
}


def may(verb: str, group: str, resource: str) -> bool:
    return any(
        not rule.get("resourceNames")
        and {group, "*"} & set(rule.get("apiGroups", ()))
        and {resource, "*"} & set(rule.get("resources", ()))
        and {verb, "*"} & set(rule["verbs"])
        for rule in ROLE["rules"]
    )


@pytest.mark.parametrize(("group", "resource"), RESOURCES, ids=[f"{group}/{name}" for group, name in RESOURCES])
def test_the_role_gives_the_verbs_of_its_pods_and_claims_and_of_nothing_else(group: str, resource: str) -> None:
    allowed = {verb for verb in VERBS if may(verb, group, resource)}
    assert allowed == NEEDED.get((group, resource), set())


def test_nothing_is_granted_outside_of_the_namespace_of_the_tries() -> None:
    assert sorted(one["kind"] for one in OBJECTS) == ["Role", "RoleBinding", "ServiceAccount"]
    assert {one["metadata"]["namespace"] for one in OBJECTS} == {"leoflow"}
    [binding] = [one for one in OBJECTS if one["kind"] == "RoleBinding"]
    assert binding["roleRef"]["name"] == ROLE["metadata"]["name"]
    assert [(one["kind"], one["name"]) for one in binding["subjects"]] == [("ServiceAccount", "leoflowd")]


async def test_the_client_asks_for_nothing_that_the_role_does_not_give(tmp_path: Path) -> None:
    """Each call of `KubeApi`, as the API server sees it; the keys of the cluster are everybody's to read."""
    async with fake_cluster(tmp_path) as cluster:
        assert cluster.server is not None
        spec = new_try()
        with trio.fail_after(PATIENCE_S):
            await every_call(cluster.api, spec)
        asked = set(cluster.server.requests)
    pods = f"{OURS}/pods"
    known = {("POST", pods), ("GET", pods), ("GET", f"{pods}/{name_of(spec)}"), ("DELETE", f"{pods}/{name_of(spec)}")}
    claims, claim = f"{OURS}/persistentvolumeclaims", claim_name(STAGING, POLICY)
    known |= {("POST", claims), ("GET", claims), ("GET", f"{claims}/{claim}"), ("DELETE", f"{claims}/{claim}")}
    assert asked == known | {("GET", "/openid/v1/jwks")}


async def every_call(api: KubeApi, spec: TrySpec) -> None:
    calls = {name for name in vars(KubeApi) if not name.startswith("_")}
    assert calls == {
        "create_pod", "fetch_pod", "delete_pod", "list_pods", "watch_pods", "fetch_signing_keys", "close",
        "keep_claim", "list_claims", "delete_claim",
    }, "a new call needs its verb here, and in helm/rbac.yaml"  # fmt: skip
    await api.create_pod(pod_of(spec))
    listed = await api.list_pods("")
    await api.fetch_pod(name_of(spec))
    async with api.watch_pods("", listed.resource_version, watch_s=5):
        pass
    await api.delete_pod(name_of(spec), uid=listed.pods[0].uid)
    await api.keep_claim(claim_name(STAGING, POLICY), build_claim(STAGING, POLICY))
    [claim] = await api.list_claims(claim_selector(POLICY.installation))
    await api.delete_claim(claim)
    await api.fetch_signing_keys()


WISHES: list[dict[str, Any]] = [
    {},
    {"execution": {"service_account": "other"}},
    {"executor_config": {"pod_override": {"spec": {"containers": [{"name": "base"}]}}}},
]


@pytest.mark.parametrize("wishes", WISHES, ids=range(len(WISHES)))
def test_no_pod_of_a_task_gets_the_clusters_token(wishes: dict[str, Any]) -> None:
    policy = msgspec.structs.replace(POLICY, service_accounts=frozenset({"other"}))
    pod = json.loads(build_pod(new_try(), Placement(image=IMAGE, **wishes), policy))
    assert pod["spec"]["automountServiceAccountToken"] is False
    sources = list(
        itertools.chain(*(one["projected"]["sources"] for one in pod["spec"]["volumes"] if "projected" in one))
    )
    assert [one["serviceAccountToken"]["audience"] for one in sources if "serviceAccountToken" in one] == ["leoflow"]
    assert not any("secret" in one for one in (*sources, *pod["spec"]["volumes"]))
