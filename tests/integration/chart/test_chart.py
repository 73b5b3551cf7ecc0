"""What the chart makes of its values: objects that Kubernetes takes, and settings that the daemon knows."""

from __future__ import annotations

import base64
import json
import re
import ssl
from functools import lru_cache
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import msgspec
import pytest
import yaml

from leoflowd import telemetry
from leoflowd.api.identity_provider import IdentityProvider
from leoflowd.api.own.metrics import LANE_READINGS, POOL_READINGS, READINGS
from leoflowd.config import SECTIONS, Role, from_environment
from leoflowd.contract.signatures import read_signers
from leoflowd.core.delays import BOUNDS_S
from leoflowd.kube.pod_spec import INSTALLATION
from tests.conftest import REPOSITORY
from tests.integration.chart.conftest import CHART, NAMESPACE, VALUES, Object, Rendered, merged, one

RELEASES = ("1.29", "1.30", "1.31", "1.32", "1.33", "1.34")
FOREIGN = ("cert-manager.io", "gateway.networking.k8s.io", "monitoring.coreos.com")
"""Kinds of other projects, which Kubernetes has no schema for."""
SPLIT: dict[str, Any] = {
    "all": None,
    "api": {"replicas": 2, "autoscaling": {"enabled": True, "maxReplicas": 5}},
    "scheduler": {"replicas": 2},
    "pool": {"replicas": 3},
}
OIDC: dict[str, Any] = {
    "issuer": "https://id.example",
    "publicUrl": "https://leo.example:8443",
    "clientId": "leoflow",
    "existingSecret": "id",
    "groupRoles": {"ops": ["Op"], "cn=a,dc=b": ["User", "developer"]},
    "groupTeams": {"sales": ["sales"]},
    "passwords": "admins",
}
SIGNER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop ci@example.com"
EVERYTHING: dict[str, Any] = {
    "roles": SPLIT,
    "image": {"digest": "sha256:" + "0" * 64, "pullSecrets": ["registry"]},
    "ingress": {"enabled": True, "className": "nginx", "hosts": ["leoflow.example"], "tls": [{"hosts": ["a"]}]},
    "gateway": {"enabled": True, "parentRefs": [{"name": "public"}], "hosts": ["leo.example"]},
    "tasks": {
        "namespace": "tasks",
        "allowedServiceAccounts": ["etl"],
        "allowedSecrets": ["warehouse"],
        "networkPolicy": {"blockPrivateNetworks": True, "extraEgress": [{"ports": [{"port": 5432}]}]},
    },
    "logs": {"envFrom": [{"secretRef": {"name": "s3"}}]},
    "settings": {"LEOFLOW_EGRESS_ALLOW": "10.0.0.0/8", "LEOFLOW_POOL_WORKERS": 128},
    "oidc": OIDC,
    "admission": {"signers": [SIGNER], "requireSigned": True},
    "extraEnv": [{"name": "TZ", "value": "UTC"}],
    "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca"}],
    "metrics": {"serviceMonitor": {"enabled": True}, "rules": {"enabled": True}, "dashboards": {"enabled": True}},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "leoflow", "operator": "Exists"}],
    "podAnnotations": {"a": "b"},
    "priorityClassName": "high",
}
VARIANTS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "everything": EVERYTHING,
    "one daemon": {"roles": {"all": {"replicas": 1}}, "logs": {"url": ""}},
    "a mesh": {"agents": {"tls": {"mode": "none"}}, "redis": {"enabled": False}},
    "cert-manager": {
        "agents": {"tls": {"mode": "certManager", "caConfigMap": "ca", "certManager": {"issuerRef": {"name": "x"}}}}
    },
    "secrets of one's own": {
        "secrets": {"existingSecret": "mine"},
        "database": {"url": "", "existingSecret": "stores"},
        "redis": {"url": "", "existingSecret": "stores"},
        "agents": {"tls": {"mode": "existing", "existingSecret": "tls", "caConfigMap": "ca"}},
    },
}


def test_it_has_no_findings() -> None:
    assert helm_python.lint(CHART)["errors"] == []


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_object_is_valid(rendered: Rendered, variant: str, release: str) -> None:
    for each in rendered(**VARIANTS[variant]):
        if not each["apiVersion"].startswith(FOREIGN):
            kubernetes_validate.validate(each, release, strict=True)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"database": {"url": ""}}, "no database: set database.url"),
        ({"redis": {"url": ""}}, "no Redis: set redis.url"),
        ({"image": {"repository": ""}}, "image.repository is empty"),
        ({"logs": {"url": ""}}, "2 daemons would each keep the logs that they get"),
        ({"roles": {"all": None, "api": {}}}, "nobody would schedule"),
        ({"roles": {"all": None, "scheduler": {}}}, "nobody would watch the waits"),
        ({"agents": {"tls": {"mode": "existing", "existingSecret": "x"}}}, "agents.tls.caConfigMap is empty"),
        ({"agents": {"tls": {"mode": "existing", "caConfigMap": "x"}}}, "agents.tls.existingSecret is empty"),
        ({"ingress": {"enabled": True}}, "ingress.hosts is empty"),
        ({"oidc": OIDC | {"clientId": ""}}, "set oidc.publicUrl and oidc.clientId"),
        ({"oidc": OIDC | {"groupRoles": {}}}, "nobody could log in"),
        ({"admission": {"requireSigned": True}}, "name the keys that sign in admission.signers"),
        ({"gateway": {"enabled": True}}, "gateway.parentRefs is empty"),
        ({"agents": {"tls": {"mode": "certManager", "caConfigMap": "x"}}}, "issuerRef is empty"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_made(rendered: Rendered, values: Any, says: str) -> None:
    with pytest.raises(helm_python.HelmRenderError, match=re.escape(says)):
        rendered(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"databse": {}},
        {"database": {"url": "mysql://x"}},
        {"roles": {"al": {"replicas": 1}}},
        {"roles": {"all": {"replicas": 0}}},
        {"settings": {"leoflow_pool_workers": 1}},
        {"image": {"digest": "latest"}},
        {"oidc": {"issuer": "http://id.example"}},
        {"oidc": {"passwords": "some"}},
        {"admission": {"signers": ["ssh-rsa AAAA ci"]}},
    ],
)
def test_a_value_that_the_chart_does_not_know_is_refused(chart: helm_python.Chart, values: Any) -> None:
    with pytest.raises(helm_python.HelmValuesError):
        chart.validate_schema(merged(VALUES, values))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_daemon_reads_every_setting_that_it_is_given(rendered: Rendered, variant: str) -> None:
    objects = rendered(**VARIANTS[variant])
    known = {f"LEOFLOW_{name}_{field.name}".upper() for name in SECTIONS for field in _fields(name)}
    known |= {"LEOFLOW_DATABASE", "LEOFLOW_ADMIN_PASSWORD_FILE"}
    settings = one(objects, "ConfigMap", "leo-leoflow")["data"]
    assert from_environment(settings).kubernetes.installation == "leoflow-leo-leoflow"
    for each in objects:
        if each["kind"] == "Deployment":
            given = {env["name"] for env in _container(each)["env"]} - {"TZ", "POD_IP"}
            assert given | set(settings) <= known
            assert _container(each)["args"][:2] == ["run", "--role"]
            assert _container(each)["args"][2] in set(Role)


def _fields(section: str) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(SECTIONS[section])


def _container(deployment: Object) -> Any:
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    return found


def test_the_provider_of_logins_is_what_the_daemon_accepts_and_its_secret_a_file(rendered: Rendered) -> None:
    objects = rendered(oidc=OIDC)
    settings = one(objects, "ConfigMap", "leo-leoflow")["data"]
    config = from_environment(settings)
    assert "leo.example" in config.api.allowed_hosts
    file = config.oidc.client_secret_file
    # the file is in the pod alone
    provider = IdentityProvider(msgspec.structs.replace(config.oidc, client_secret_file=None), telemetry.utc_now)
    assert provider.rules.roles == {"ops": ("Op",), "cn=a,dc=b": ("User", "developer")}
    assert provider.rules.teams == {"sales": ("sales",)}
    (pod,) = (each["spec"]["template"]["spec"] for each in objects if each["kind"] == "Deployment")
    (volume,) = (each for each in pod["volumes"] if each["name"] == "oidc")
    assert volume["secret"] == {"secretName": "id", "items": [{"key": "clientSecret", "path": "secret"}]}
    (mount,) = (each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "oidc")
    assert str(file) == f"{mount['mountPath']}/secret"


def test_keys_that_sign_versions_are_what_the_daemon_accepts(rendered: Rendered) -> None:
    objects = rendered(admission={"signers": [SIGNER], "requireSigned": True})
    admission = from_environment(one(objects, "ConfigMap", "leo-leoflow")["data"]).admission
    assert admission.require_signed
    assert [signer.name for signer in read_signers(admission.signers)] == ["ci@example.com"]


def test_secrets_stand_in_secrets_only(rendered: Rendered) -> None:
    for each in rendered(secrets={"keys": "1:KEY-SECRET", "adminPassword": "ADMIN-SECRET"}):
        if each["kind"] != "Secret":
            assert "-SECRET" not in json.dumps(each)
            assert "PRIVATE KEY" not in json.dumps(each)


def test_the_role_is_the_one_that_the_daemon_is_tested_under(rendered: Rendered) -> None:
    tested = one(list(yaml.safe_load_all((REPOSITORY / "helm" / "rbac.yaml").read_text())), "Role", "leoflowd")
    assert one(rendered(), "Role", "leo-leoflow")["rules"] == tested["rules"]


def test_pods_of_tasks_are_what_the_network_policies_mean(rendered: Rendered) -> None:
    objects = rendered()
    (label,) = one(objects, "NetworkPolicy", "leo-leoflow-tasks")["spec"]["podSelector"]["matchLabels"].items()
    assert label == (INSTALLATION, one(objects, "ConfigMap", "leo-leoflow")["data"]["LEOFLOW_KUBERNETES_INSTALLATION"])
    (_, agents) = one(objects, "NetworkPolicy", "leo-leoflow")["spec"]["ingress"]
    assert agents["from"][0]["podSelector"]["matchLabels"] == dict([label])


def test_no_service_and_no_policy_takes_the_job_for_a_daemon(rendered: Rendered) -> None:
    objects = rendered()
    job = one(objects, "Job", "leo-leoflow-migrate")["spec"]["template"]["metadata"]["labels"]
    selector = one(objects, "Service", "leo-leoflow")["spec"]["selector"]
    assert not selector.items() <= job.items()
    for each in objects:
        if each["kind"] == "Deployment":
            assert selector.items() <= each["spec"]["template"]["metadata"]["labels"].items()


def test_agents_can_verify_the_certificate_that_is_made(rendered: Rendered, tmp_path: Path) -> None:
    objects = rendered()
    data = one(objects, "Secret", "leo-leoflow-agents-tls")["data"]
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).write_bytes(base64.b64decode(data[name]))
    address = one(objects, "ConfigMap", "leo-leoflow")["data"]["LEOFLOW_KUBERNETES_AGENT_ADDRESS"]
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    client = ssl.create_default_context(cadata=one(objects, "ConfigMap", "leo-leoflow-agents-ca")["data"]["ca.crt"])
    _shake_hands(server, client, address.rpartition(":")[0])
    with pytest.raises(ssl.SSLCertVerificationError):
        _shake_hands(server, client, "elsewhere.svc")


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    """In memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=name)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    open_sides = [ours, theirs]
    while open_sides:
        for side in list(open_sides):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            open_sides.remove(side)


def test_what_is_given_is_not_made_again(rendered: Rendered) -> None:
    made = {
        each["metadata"]["name"] for each in rendered(**VARIANTS["secrets of one's own"]) if each["kind"] == "Secret"
    }
    assert made == set()


def test_every_metric_of_alerts_and_dashboard_exists(rendered: Rendered) -> None:
    readings = [*LANE_READINGS, *POOL_READINGS, *(each for group in READINGS.values() for each in group)]
    known = {each.name + ("_total" if each.kind == "counter" else "") for each in readings}
    source = (REPOSITORY / "leoflowd" / "api" / "own" / "metrics.py").read_text()
    known |= {
        name + end for name in re.findall(r'"(leoflow_\w+)"', source) for end in ("", "_total", "_bucket", "_count")
    }
    objects = rendered(metrics={"rules": {"enabled": True}, "dashboards": {"enabled": True}})
    rule = one(objects, "PrometheusRule", "leo-leoflow")
    dashboard = json.loads(one(objects, "ConfigMap", "leo-leoflow-dashboard")["data"]["leoflow.json"])
    asked = [alert["expr"] for group in rule["spec"]["groups"] for alert in group["rules"]]
    asked += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    named = {name for text in asked for name in re.findall(r"leoflow_\w+", text)}
    assert len(named) > 15
    assert named <= known
    assert f'namespace="{NAMESPACE}"' in asked[0]


def test_what_may_be_called_late_is_a_bound_that_is_counted() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    rules = schema["properties"]["metrics"]["properties"]["rules"]["properties"]
    assert set(rules["scheduleLagSeconds"]["enum"]) <= set(BOUNDS_S)


MODES = {
    "agents.tls.mode": "none", "service.type": "NodePort", "image.pullPolicy": "Always",
    "image.digest": "sha256:" + "1" * 64, "database.url": "postgresql://other", "redis.url": "redis://other",
    "oidc.issuer": "https://other", "oidc.publicUrl": "https://other", "oidc.passwords": "none",
    "admission.signers": [SIGNER.replace("ci", "other")],
    "oidc.groupRoles": {"other": ["x"]}, "oidc.groupTeams": {"other": ["x"]},
    "logs.url": "gs://other", "secrets.keys": "1:b3RoZXI=", "settings": {"LEOFLOW_OTHER": "x"},
    "metrics.rules.scheduleLagSeconds": 30, "metrics.rules.scheduleObjective": 0.999,
}  # fmt: skip
"""What not every text or number is good for."""
TEXTS = frozenset(
    {"pullSecrets", "imagePullSecrets", "allowedServiceAccounts", "allowedSecrets", "hosts", "allowedHosts"}
)
MADE = re.compile(
    r"(secretsKeys|adminPassword|metricsToken|(tls|ca)\.(crt|key)): [^\\]*|-----BEGIN.*?-----END CERTIFICATE-----"
)


def _leaves(values: Any, at: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(values, dict) or not values:
        return {".".join(at): values}
    return {name: leaf for key, value in values.items() for name, leaf in _leaves(value, (*at, key)).items()}


def _another(at: str, value: Any) -> Any:
    match value:
        case _ if at in MODES:
            return MODES[at]
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return "9m"
        case dict():
            return {"other": "x"}
        case _:
            return ["other.example"] if at.rpartition(".")[2] in TEXTS else [{"name": "other"}]


@lru_cache(maxsize=8)
def _files(chart: helm_python.Chart, values: str) -> str:
    """Most values are changed in the same few variants, and Helm takes its time."""
    return json.dumps(chart.render(json.loads(values), name="leo", namespace=NAMESPACE), sort_keys=True)


@pytest.mark.parametrize("at", list(_leaves(yaml.safe_load((CHART / "values.yaml").read_text()))))
def test_every_value_changes_what_is_made(chart: helm_python.Chart, at: str) -> None:
    """In one of the variants at least: some stand in for others."""

    def made(values: dict[str, Any]) -> str:
        files = _files(chart, json.dumps(values, sort_keys=True))
        return files if at.startswith("secrets.") else MADE.sub("", files)

    def changes(variant: dict[str, Any]) -> bool:
        values = merged(VALUES, variant)
        before: Any = merged(chart.values, values)
        for key in at.split("."):
            before = (before or {}).get(key)
        other: Any = _another(at, _leaves(chart.values)[at] if before is None else before)
        for key in reversed(at.split(".")):
            other = {key: other}
        try:
            first, second = made(values), made(merged(values, other))
        except helm_python.HelmRenderError:
            return False  # it asks for another one beside it
        if at.startswith("secrets.") and at != "secrets.existingSecret":
            return (
                base64.b64encode(b"9m").decode() in second
                or base64.b64encode(MODES["secrets.keys"].encode()).decode() in second
            )
        return first != second

    scaled = {"roles": {"all": {"autoscaling": {"enabled": True}}}}
    assert any(map(changes, (*VARIANTS.values(), scaled)))
