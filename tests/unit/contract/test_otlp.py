"""The bytes of a trace request, read with the published protocol; and OpenTelemetry's variables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from leoflowd.config import ConfigRefused, from_environment
from leoflowd.contract.otel_settings import OtelSettings, otel_settings
from leoflowd.contract.otlp import Span, encode

AT = datetime(2026, 11, 29, 12, 0, 0, 123456, tzinfo=UTC)
SPAN = Span(
    trace_id=b"t" * 16, span_id=b"s" * 8, parent_id=b"p" * 8, name="task", start=AT, end=AT + timedelta(seconds=2)
)
EPOCH = datetime.fromtimestamp(0, UTC)
texts = st.text(max_size=300)
moments = st.integers(0, 2**62 // 1000).map(lambda microseconds: EPOCH + timedelta(microseconds=microseconds))
attributes = st.dictionaries(texts, texts | st.booleans() | st.integers(-(2**63), 2**63 - 1), max_size=5)
spans = st.builds(
    Span,
    trace_id=st.binary(min_size=16, max_size=16),
    span_id=st.binary(min_size=8, max_size=8),
    parent_id=st.sampled_from([b"", b"12345678"]),
    name=texts,
    start=moments,
    end=moments,
    attributes=attributes,
    error=st.none() | texts,
)


def read(found: bytes) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    request.ParseFromString(found)
    return request


@given(st.lists(spans, max_size=4), st.dictionaries(texts, texts, max_size=3))
def test_what_is_encoded_is_what_a_receiver_reads(given_spans: list[Span], resource: dict[str, str]) -> None:
    (of,) = read(encode(given_spans, resource, scope="leoflow", version="1.2")).resource_spans
    assert {one.key: one.value.string_value for one in of.resource.attributes} == resource
    (in_scope,) = of.scope_spans
    assert (in_scope.scope.name, in_scope.scope.version) == ("leoflow", "1.2")
    for span, one in zip(given_spans, in_scope.spans, strict=True):
        assert (one.trace_id, one.span_id, one.parent_span_id) == (span.trace_id, span.span_id, span.parent_id)
        assert (one.name, one.kind) == (span.name, one.SPAN_KIND_INTERNAL)
        assert one.start_time_unix_nano // 1000 == (span.start - EPOCH) // timedelta(microseconds=1)
        assert one.end_time_unix_nano >= one.start_time_unix_nano
        values = {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in one.attributes}
        assert values == dict(span.attributes)
        assert one.status.code == (one.status.STATUS_CODE_UNSET if span.error is None else one.status.STATUS_CODE_ERROR)
        assert one.status.message == (span.error or "")


def test_a_text_that_is_no_utf_8_is_no_fault() -> None:
    (of,) = read(encode([SPAN], {"a": "\ud800"}, scope="x", version="1")).resource_spans
    assert of.resource.attributes[0].value.string_value == "?"


# --- variables ---------------------------------------------------------------------------------------------------

HERE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318/"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
        {"OTEL_SERVICE_NAME": "x"},
        HERE | {"OTEL_SDK_DISABLED": "true"},
        HERE | {"OTEL_TRACES_EXPORTER": "none"},
        HERE | {"OTEL_TRACES_SAMPLER": "always_off"},
        HERE | {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"},
    ],
)
def test_without_a_receiver_nothing_is_traced(environment: dict[str, str]) -> None:
    assert otel_settings(environment) is None
    assert from_environment(environment).traces is None


def test_what_is_not_said_is_as_the_specification_has_it() -> None:
    assert otel_settings(HERE) == OtelSettings(url="http://collector:4318/v1/traces")


def test_every_variable_is_heard() -> None:
    environment = HERE | {
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=a%3Db, x = y",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "2500",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": "/etc/ca.pem",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_RESOURCE_ATTRIBUTES": "service.name=no,deployment.environment=prod",
        "OTEL_SERVICE_NAME": "flows",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.25",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_BSP_MAX_QUEUE_SIZE": "10",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "5",
    }
    assert otel_settings(environment) == OtelSettings(
        url="http://collector:4318/v1/traces",
        headers={"api-key": "a=b", "x": "y"},
        timeout_s=2.5,
        is_compressed=True,
        ca_file="/etc/ca.pem",
        resource={"service.name": "flows", "deployment.environment": "prod"},
        ratio=0.25,
        delay_s=0.2,
        queue_max=10,
        batch_max=5,
    )


def test_what_is_said_of_traces_counts() -> None:
    own = {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://traces/api/otlp",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "a=own",
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "1000",
    }
    others = {"OTEL_EXPORTER_OTLP_HEADERS": "a=all", "OTEL_EXPORTER_OTLP_TIMEOUT": "9000"}
    settings = OtelSettings(url="https://traces/api/otlp", headers={"a": "own"}, timeout_s=1.0)
    assert otel_settings(HERE | others | own) == settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://collector"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
    ],
)
def test_what_cannot_be_done_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(ConfigRefused, match=name):
        from_environment(HERE | {name: value})


def test_a_ratio_above_one_is_refused() -> None:
    with pytest.raises(ConfigRefused, match="OTEL_TRACES_SAMPLER_ARG"):
        from_environment(HERE | {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"})


def test_the_key_of_the_receiver_is_in_no_representation() -> None:
    settings = otel_settings(HERE | {"OTEL_EXPORTER_OTLP_HEADERS": "api-key=secret"})
    assert "secret" not in repr(settings)
