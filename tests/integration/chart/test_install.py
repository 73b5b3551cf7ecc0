"""The chart on a real API server: installed, upgraded, rolled back, uninstalled. No kubelet, so that nothing starts."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import httpx
import pytest
import yaml

from tests.integration.chart.conftest import CHART, VALUES, merged
from tests.kube.clusters import real_server

NAMESPACE = "chart"
ONE = merged(VALUES, {"roles": {"all": {"replicas": 1}}, "logs": {"url": ""}, "migrations": {"enabled": False}})
SECRET, TLS = "leo-leoflow-secrets", "leo-leoflow-agents-tls"


class _Cluster:
    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        user, cluster = config["users"][0]["user"], config["clusters"][0]["cluster"]
        tls = ssl.create_default_context(cafile=cluster["certificate-authority"])
        tls.load_cert_chain(user["client-certificate"], user["client-key"])
        self.client = httpx.Client(base_url=cluster["server"], verify=tls, trust_env=False)

    def find(self, kind: str, name: str, group: str = "/api/v1") -> dict[str, Any] | None:
        answer = self.client.get(f"{group}/namespaces/{NAMESPACE}/{kind}/{name}")
        return dict(answer.json()) if answer.status_code == 200 else None

    def data(self, name: str) -> dict[str, str]:
        found = self.find("secrets", name)
        assert found is not None, f"no secret {name}"
        return dict(found["data"])

    def replicas(self) -> int:
        found = self.find("deployments", "leo-leoflow-all", "/apis/apps/v1")
        assert found is not None
        return int(found["spec"]["replicas"])

    def may(self, verb: str, resource: str) -> bool:
        """The daemon's service account, in the namespace of the tasks."""
        attributes = {"namespace": NAMESPACE, "verb": verb, "resource": resource}
        user = f"system:serviceaccount:{NAMESPACE}:leo-leoflow"
        body = {"spec": {"user": user, "resourceAttributes": attributes}}
        kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"}
        answer = self.client.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", json={**kind, **body})
        return bool(answer.json()["status"]["allowed"])


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with real_server(tmp_path_factory.mktemp("kube")) as folder:
        yield folder / "admin.kubeconfig"


@pytest.fixture(scope="module")
def cluster(kubeconfig: Path) -> Iterator[_Cluster]:
    found = _Cluster(kubeconfig)
    with found.client:
        yield found


@pytest.fixture(scope="module")
def helm(kubeconfig: Path) -> Iterator[helm_python.Config]:
    with helm_python.Config(kubeconfig_path=kubeconfig, namespace=NAMESPACE) as config:
        yield config


def test_without_a_database_nothing_is_installed(helm: helm_python.Config, cluster: _Cluster) -> None:
    with pytest.raises(helm_python.HelmError, match=r"no database: set database\.url"):
        helm.install(CHART, "leo", merged(ONE, {"database": {"url": ""}}), create_namespace=True)
    assert cluster.find("configmaps", "leo-leoflow") is None


def test_its_life(helm: helm_python.Config, cluster: _Cluster) -> None:
    helm.install(CHART, "leo", ONE, create_namespace=True)
    made, certificate = cluster.data(SECRET), cluster.data(TLS)
    assert cluster.replicas() == 1
    allowed = {
        (verb, kind)
        for verb in ("create", "delete", "patch")
        for kind in ("pods", "secrets")
        if cluster.may(verb, kind)
    }
    assert allowed == {("create", "pods"), ("delete", "pods")}

    two = merged(ONE, {"roles": {"all": {"replicas": 2}}, "logs": {"url": "s3://logs/leoflow"}})
    helm.upgrade(CHART, "leo", two)
    assert cluster.replicas() == 2
    assert (cluster.data(SECRET), cluster.data(TLS)) == (made, certificate)

    helm.rollback("leo", version=1)
    assert cluster.replicas() == 1
    assert (cluster.data(SECRET), cluster.data(TLS)) == (made, certificate)

    helm.uninstall("leo")
    assert cluster.find("deployments", "leo-leoflow-all", "/apis/apps/v1") is None
    assert cluster.data(SECRET) == made, "what opens the database's secrets outlives the release"

    helm.install(CHART, "leo", ONE)
    assert cluster.data(SECRET) == made
