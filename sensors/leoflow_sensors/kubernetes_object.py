"""Kind `kubernetes_object`: an object of a Kubernetes cluster exists and is in a condition.

`leoflow.sensors.KubernetesObjectSensor`. The cluster is the connection's: API server in host, token in password, its
certificate authority in extra. The cluster that the daemon runs in is no exception.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

import msgspec

from leoflow_sensors import json_path
from leoflow_sensors.egress import EgressClient, Tls
from leoflow_sensors.kinds import KindSpec, Observation, ProbeContext, ProbeFailed, SensorKind, Verdict
from leoflow_sensors.refusals import raise_refusal
from leoflowd.contract.connection import ConnectionFacts

Group = Annotated[str, msgspec.Meta(pattern=r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?v[a-z0-9]+$")]
Resource = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([a-z0-9.:-]*[a-z0-9])?$")]
"""What may be in the path of the URL: no slash, and no `..`, which is checked apart."""
REMEDY = "check the token in the connection's password, and that its account may `get` this resource"
NOT_OURS = ("kube_config", "kube_config_path", "in_cluster", "cluster_context")
"""Extras of Airflow's Kubernetes connection that say elsewhere what we need here."""


class KubernetesObjectSpec(KindSpec, frozen=True, kw_only=True):
    api_version: Group
    """As in a manifest: `v1`, `batch/v1`."""
    resource: Resource
    """Plural: `jobs`."""
    name: Name
    namespace: Name | None = None
    """None: the resource is the cluster's, like `nodes`."""

    def __post_init__(self) -> None:
        if ".." in self.name or ".." in (self.namespace or ""):
            raise ValueError("kubernetes_object takes a name and a namespace as Kubernetes has them, without `..`")


class KubernetesObjectPredicate(KindSpec, frozen=True, kw_only=True):
    """Neither condition nor path: that it exists is enough."""

    condition: str | None = None
    """Type of an entry of `status.conditions`: `Complete`."""
    status: str = "True"
    """Of that entry."""
    json_path: str | None = None
    """See `json_path`; without `equals`, what is there must be true."""
    equals: Any = msgspec.UNSET

    def __post_init__(self) -> None:
        if self.json_path is not None:
            json_path.parse(self.json_path)
        elif self.equals is not msgspec.UNSET:
            raise ValueError("`equals` needs a `json_path` that says what has to equal it")
        if self.condition is not None and self.json_path is not None:
            raise ValueError("kubernetes_object takes a condition or a json_path, not both")


async def poke(spec: KubernetesObjectSpec, context: ProbeContext) -> Observation:
    """The object as its server sent it, None for 404."""
    connection = context.connection
    if connection is None:
        raise ProbeFailed(
            f"the sensor of {describe(spec)} needs a connection to its cluster, and there is none: create it, with the "
            "API server's address in host and a token in password"
        )
    client: EgressClient = context.http
    response = await client.request(
        "GET",
        base_url(connection) + path_of(spec),
        headers={"Authorization": f"Bearer {_token_of(connection)}", "Accept": "application/json"},
        tls=tls_of(connection),
        redirects_max=0,
    )
    if response.status == 404:
        return Observation(value=None, summary="no such object")
    raise_refusal(response, doing=f"asking for {describe(spec)}", remedy=REMEDY, now=context.now())
    document = response.json()
    if not isinstance(document, dict):
        raise ProbeFailed(
            f"the answer for {describe(spec)} is no object; is the connection's host a Kubernetes API server?"
        )
    metadata = document.get("metadata")
    if isinstance(metadata, dict):
        metadata.pop(
            "managedFields", None
        )  # often most of the object, in nobody's predicate; observations stay in memory
    return Observation(value=document, summary=_summary(document))


def path_of(spec: KubernetesObjectSpec) -> str:
    group = f"/apis/{spec.api_version}" if "/" in spec.api_version else f"/api/{spec.api_version}"
    namespace = "" if spec.namespace is None else f"/namespaces/{spec.namespace}"
    return f"{group}{namespace}/{spec.resource}/{spec.name}"


def base_url(connection: ConnectionFacts) -> str:
    """Raises `ProbeFailed` for a connection that names no server."""
    if not connection.host:
        given = [name for name in NOT_OURS if connection.extra_fields().get(name)]
        instead = f" (extra {given[0]!r} is not used)" if given else ""
        raise ProbeFailed(
            f"connection {connection.connection_id!r} names no cluster{instead}: put the API server's address into "
            "host and a token into password"
        )
    host = connection.host if "://" in connection.host else f"https://{connection.host}"
    return host.rstrip("/") + (f":{connection.port}" if connection.port else "")


def _token_of(connection: ConnectionFacts) -> str:
    if not connection.password:
        raise ProbeFailed(
            f"connection {connection.connection_id!r} has no token: put one of a service account that may read the "
            "object into password"
        )
    return connection.password


def tls_of(connection: ConnectionFacts) -> Tls:
    """Extra `certificate_authority`: PEM, or PEM in base64 as in a kubeconfig. Airflow's `disable_verify_ssl`."""
    extra = connection.extra_fields()
    authority = extra.get("certificate_authority")
    if authority is not None and not isinstance(authority, str):
        raise _bad_authority(connection)
    if authority and "-----BEGIN" not in authority:
        try:
            authority = base64.b64decode(authority, validate=True).decode("ascii")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise _bad_authority(connection) from error
    return Tls(verify=not extra.get("disable_verify_ssl"), ca_pem=authority or None)


def _bad_authority(connection: ConnectionFacts) -> ProbeFailed:
    return ProbeFailed(
        f"extra 'certificate_authority' of connection {connection.connection_id!r} is neither PEM nor PEM in base64; "
        "copy `certificate-authority-data` of your kubeconfig"
    )


def _summary(document: dict[str, Any]) -> str:
    conditions = ", ".join(f"{entry['type']}={entry.get('status')}" for entry in _conditions(document))
    return f"it exists: {conditions}" if conditions else "it exists"


def _conditions(document: dict[str, Any]) -> list[dict[str, Any]]:
    found = json_path.find(document, "status.conditions")
    return [entry for entry in found if isinstance(entry, dict) and "type" in entry] if isinstance(found, list) else []


def judge(predicate: KubernetesObjectPredicate, observation: Observation) -> Verdict:
    document = observation.value
    return Verdict(met=document is not None and _fits(predicate, document))


def _fits(predicate: KubernetesObjectPredicate, document: dict[str, Any]) -> bool:
    if predicate.condition is not None:
        wanted = (predicate.condition, predicate.status)
        return any((entry["type"], entry.get("status")) == wanted for entry in _conditions(document))
    if predicate.json_path is not None:
        return json_path.is_met(document, predicate.json_path, predicate.equals)
    return True


def describe(spec: KubernetesObjectSpec) -> str:
    return f"{spec.resource}/{spec.name}" + ("" if spec.namespace is None else f" in namespace {spec.namespace}")


def target(_spec: KubernetesObjectSpec, connection: ConnectionFacts | None) -> str:
    return base_url(connection) if connection is not None and connection.host else KIND.name


KIND: SensorKind[Any, Any] = SensorKind(
    name="kubernetes_object",
    spec=KubernetesObjectSpec,
    predicate=KubernetesObjectPredicate,
    describe=describe,
    poke=poke,
    judge=judge,
    target=target,
    default_connection_id="kubernetes_default",
)
