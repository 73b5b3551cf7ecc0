"""Objects of a Kubernetes cluster, against a server on loopback."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from leoflow_sensors.kinds import Observation, ProbeFailed, ProbeThrottled, TargetDown
from leoflow_sensors.kubernetes_object import (
    KIND,
    KubernetesObjectPredicate,
    KubernetesObjectSpec,
    base_url,
    judge,
    path_of,
    poke,
    tls_of,
)
from tests.fakes.certificates import self_signed
from tests.fakes.probe_context import Context, connection
from tests.fakes.scripted_server import ScriptedServer, answer, scripted_server

JOB = {"api_version": "batch/v1", "resource": "jobs", "namespace": "etl", "name": "load"}
DONE: dict[str, Any] = {
    "metadata": {"name": "load", "managedFields": [{"manager": "kubectl"}]},
    "status": {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}, {"type": "Failed"}]},
}
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def spec(**fields: Any) -> KubernetesObjectSpec:
    return msgspec.convert(JOB | fields, KubernetesObjectSpec)


@asynccontextmanager
async def cluster(
    status: str = "200 OK", document: Any = None, *headers: str
) -> AsyncIterator[tuple[ScriptedServer, Context]]:
    async with scripted_server(answer(status, msgspec.json.encode(document), *headers)) as server:
        context = Context(connection("kubernetes", host="http://127.0.0.1", port=server.port, password="its-token"))
        try:
            yield server, context
        finally:
            context.http.close()


def is_met(document: Any, **predicate: Any) -> bool:
    observation = Observation(value=document, summary="")
    return judge(msgspec.convert(predicate, KubernetesObjectPredicate), observation).met


# --- asking ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({}, "/apis/batch/v1/namespaces/etl/jobs/load"),
        ({"api_version": "v1", "resource": "pods"}, "/api/v1/namespaces/etl/pods/load"),
        ({"api_version": "v1", "resource": "nodes", "namespace": None}, "/api/v1/nodes/load"),
        (
            {"api_version": "spark.example.com/v1beta2", "resource": "sparkapps"},
            "/apis/spark.example.com/v1beta2/namespaces/etl/sparkapps/load",
        ),
    ],
)
def test_an_object_has_its_place_in_the_api(fields: dict[str, Any], path: str) -> None:
    assert path_of(spec(**fields)) == path


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "../../secrets/x"},
        {"name": "a..b"},
        {"namespace": "etl/../kube-system"},
        {"resource": "jobs/status"},
        {"api_version": "batch/v1/namespaces/x"},
        {"name": "load?watch=1"},
    ],
)
def test_no_name_leads_elsewhere(fields: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        spec(**fields)


async def test_the_token_of_the_connection_is_shown() -> None:
    async with cluster(document=DONE) as (server, context):
        await poke(spec(), context)
        head = server.requests[0].lower()
    assert head.startswith(b"get /apis/batch/v1/namespaces/etl/jobs/load ")
    assert b"authorization: bearer its-token\r\n" in head


async def test_the_authority_of_the_connection_is_the_one_that_is_trusted(tmp_path: Path) -> None:
    tls, pem = self_signed(tmp_path)
    async with scripted_server(answer("200 OK", b"{}"), tls=tls) as server:
        facts = connection("kubernetes", host="127.0.0.1", port=server.port, password="t")
        context = Context(facts)
        with pytest.raises(TargetDown, match="certificate verify failed"):
            await poke(spec(), context)
        extra = msgspec.json.encode({"certificate_authority": pem}).decode()
        trusting = Context(msgspec.structs.replace(facts, extra=extra), context.http)
        assert (await poke(spec(), trusting)).value == {}
        context.http.close()


async def test_the_token_does_not_follow_a_redirect() -> None:
    async with cluster("307 Temporary Redirect", None, "Location: /elsewhere") as (server, context):
        with pytest.raises(ProbeFailed, match="HTTP 307"):
            await poke(spec(), context)
        assert len(server.requests) == 1


async def test_an_object_that_is_there_is_seen_without_its_bookkeeping() -> None:
    async with cluster(document=DONE) as (_, context):
        seen = await poke(spec(), context)
    assert (seen.value["metadata"], seen.summary) == ({"name": "load"}, "it exists: Complete=True, Failed=None")


async def test_an_object_that_is_not_there_is_waited_for() -> None:
    async with cluster("404 Not Found") as (_, context):
        assert await poke(spec(), context) == Observation(value=None, summary="no such object")


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
async def test_a_refused_token_is_an_error_that_says_what_to_check(status: str) -> None:
    async with cluster(status, {"message": "no"}) as (_, context):
        with pytest.raises(ProbeFailed, match=f"jobs/load in namespace etl: HTTP {status}.*check the token"):
            await poke(spec(), context)


async def test_a_server_that_asks_for_patience_gets_it() -> None:
    async with cluster("429 Too Many Requests", None, "Retry-After: 3") as (_, context):
        with pytest.raises(ProbeThrottled) as caught:
            await poke(spec(), context)
    assert caught.value.retry_after_s == 3


async def test_a_server_that_is_broken_is_down() -> None:
    async with cluster("500 Internal Server Error") as (_, context):
        with pytest.raises(TargetDown):
            await poke(spec(), context)


async def test_an_answer_that_is_no_object_is_an_error() -> None:
    async with cluster(document=[1]) as (_, context):
        with pytest.raises(ProbeFailed, match="host a Kubernetes API server"):
            await poke(spec(), context)


# --- connections -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"host": "k8s.example", "port": 6443}, "https://k8s.example:6443"),
        ({"host": "https://k8s.example/"}, "https://k8s.example"),
    ],
)
def test_the_server_is_the_connections_host(fields: dict[str, Any], url: str) -> None:
    assert base_url(connection("kubernetes", **fields)) == url


async def test_a_connection_without_a_server_says_what_is_missing() -> None:
    elsewhere = connection("kubernetes", password="t", extra={"in_cluster": True})
    with pytest.raises(ProbeFailed, match=r"names no cluster \(extra 'in_cluster' is not used\)"):
        await poke(spec(), Context(elsewhere))


async def test_a_connection_without_a_token_says_what_is_missing() -> None:
    with pytest.raises(ProbeFailed, match="has no token"):
        await poke(spec(), Context(connection("kubernetes", host="k8s.example")))


async def test_without_a_connection_nothing_is_asked() -> None:
    with pytest.raises(ProbeFailed, match="needs a connection to its cluster"):
        await poke(spec(), Context())


@pytest.mark.parametrize("authority", [PEM, base64.b64encode(PEM.encode()).decode()])
def test_the_authority_is_pem_or_as_in_a_kubeconfig(authority: str) -> None:
    assert tls_of(connection("kubernetes", extra={"certificate_authority": authority})).ca_pem == PEM


@pytest.mark.parametrize("authority", ["/etc/ca.pem", 7])
def test_an_authority_that_is_neither_is_an_error(authority: Any) -> None:
    with pytest.raises(ProbeFailed, match="neither PEM nor PEM in base64"):
        tls_of(connection("kubernetes", extra={"certificate_authority": authority}))


def test_verification_ends_only_where_the_connection_says_so() -> None:
    assert tls_of(connection("kubernetes")).verify
    assert not tls_of(connection("kubernetes", extra={"disable_verify_ssl": True})).verify


def test_the_budget_is_the_servers() -> None:
    assert KIND.target is not None
    assert KIND.target(spec(), connection("kubernetes", host="k8s.example", port=6443)) == "https://k8s.example:6443"
    assert KIND.target(spec(), None) == "kubernetes_object"


# --- judging -----------------------------------------------------------------------------------------------------


def test_existing_is_enough_when_nothing_else_is_asked() -> None:
    assert is_met(DONE)
    assert not is_met(None)


@pytest.mark.parametrize(
    ("predicate", "met"),
    [
        ({"condition": "Complete"}, True),
        ({"condition": "Complete", "status": "False"}, False),
        ({"condition": "Failed"}, False),
        ({"condition": "Ready"}, False),
        ({"json_path": "status.succeeded"}, True),
        ({"json_path": "status.succeeded", "equals": 1}, True),
        ({"json_path": "status.succeeded", "equals": 2}, False),
        ({"json_path": "status.failed"}, False),
    ],
)
def test_the_predicate_decides(predicate: dict[str, Any], met: bool) -> None:
    assert is_met(DONE, **predicate) is met
    assert not is_met(None, **predicate)


@pytest.mark.parametrize("document", [{}, {"status": "Active"}, {"status": {"conditions": [None, {}]}}])
def test_an_object_without_conditions_is_in_none(document: dict[str, Any]) -> None:
    assert not is_met(document, condition="Ready")


@pytest.mark.parametrize("predicate", [{"condition": "Ready", "json_path": "a"}, {"equals": 1}, {"json_path": "a..b"}])
def test_predicates_that_make_no_sense_are_refused(predicate: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(predicate, KubernetesObjectPredicate)


def test_a_wait_says_what_it_waits_for() -> None:
    assert KIND.describe(spec()) == "jobs/load in namespace etl"
    assert KIND.describe(spec(namespace=None)) == "jobs/load"
