"""OpenTelemetry's own variables, as its specification has them, for the one signal that we send: traces. ADR 82.

Read by `config`. What a variable asks for is done, or refused with a sentence: a setting that is overlooked in silence
is found on the day it is needed. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from leoflowd.contract.overriding import override

PATH = "/v1/traces"
SAMPLERS = ("always_on", "always_off", "traceidratio")


class OtelSettings(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    headers: dict[str, str] = {}
    resource: dict[str, str] = msgspec.field(default_factory=lambda: {"service.name": "leoflow"})
    ca_file: str | None = None
    is_compressed: bool = False
    timeout_s: float = 10.0
    delay_s: float = 5.0
    """How long spans are gathered before they are sent."""
    queue_max: int = 2048
    batch_max: int = 512
    ratio: float = 1.0
    """Of the dag runs, so many are traced."""

    @override
    def __repr__(self) -> str:
        return f"OtelSettings({self.url!r})"  # headers hold the receiver's key


def otel_settings(environment: Mapping[str, str]) -> OtelSettings | None:
    """None: nothing is sent. Raises ValueError naming the variable."""
    env = {name: text.strip() for name, text in environment.items() if name.startswith("OTEL_") and text.strip()}
    url = _url(env)
    if url is None or env.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if _one_of(env, "OTEL_TRACES_EXPORTER", ("otlp", "none"), "otlp") == "none":
        return None
    ratio = _ratio(env)
    if ratio == 0:
        return None
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        _one_of(env, name, ("http/protobuf",), "http/protobuf")
    certificate = _of_traces(env, "CERTIFICATE")
    for name in ("CLIENT_KEY", "CLIENT_CERTIFICATE"):
        if _of_traces(env, name) is not None:
            raise ValueError(f"OTEL_EXPORTER_OTLP_{name} is not there yet; let a collector beside Leoflow do that")
    fields: dict[str, Any] = {
        "delay_s": _number(env, "OTEL_BSP_SCHEDULE_DELAY", 5000, least=1) / 1000,
        "queue_max": int(_number(env, "OTEL_BSP_MAX_QUEUE_SIZE", 2048, least=1)),
        "batch_max": int(_number(env, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512, least=1)),
    }
    timeout = "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"
    timeout = timeout if timeout in env else "OTEL_EXPORTER_OTLP_TIMEOUT"
    return OtelSettings(
        url=url,
        headers=_pairs(env, _name_of(env, "HEADERS")),
        resource=_resource(env),
        ca_file=certificate,
        is_compressed=_one_of(env, _name_of(env, "COMPRESSION"), ("none", "gzip"), "none") == "gzip",
        timeout_s=_number(env, timeout, 10_000, least=1) / 1000,
        ratio=ratio,
        **fields,
    )


def _url(env: Mapping[str, str]) -> str | None:
    """The variable of traces is the whole address, that of all signals its beginning."""
    name = _name_of(env, "ENDPOINT")
    url = env.get(name)
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{name} is {url!r}, which is no http:// or https:// address of an OTLP receiver")
    return url if "_TRACES_" in name else url.rstrip("/") + PATH


def _name_of(env: Mapping[str, str], ending: str) -> str:
    """The variable of traces, where it is set, comes before that of all signals."""
    own = f"OTEL_EXPORTER_OTLP_TRACES_{ending}"
    return own if own in env else f"OTEL_EXPORTER_OTLP_{ending}"


def _of_traces(env: Mapping[str, str], ending: str) -> str | None:
    return env.get(_name_of(env, ending))


def _ratio(env: Mapping[str, str]) -> float:
    names = (*SAMPLERS, *(f"parentbased_{name}" for name in SAMPLERS))
    sampler = _one_of(env, "OTEL_TRACES_SAMPLER", names, "parentbased_always_on").removeprefix("parentbased_")
    if sampler != "traceidratio":
        return 0.0 if sampler == "always_off" else 1.0
    ratio = _number(env, "OTEL_TRACES_SAMPLER_ARG", 1.0, least=0)
    if ratio > 1:
        raise ValueError(f"OTEL_TRACES_SAMPLER_ARG is {ratio}; a share of traces is between 0 and 1")
    return ratio


def _resource(env: Mapping[str, str]) -> dict[str, str]:
    found = {"service.name": "leoflow"} | _pairs(env, "OTEL_RESOURCE_ATTRIBUTES")
    return found | ({"service.name": env["OTEL_SERVICE_NAME"]} if "OTEL_SERVICE_NAME" in env else {})


def _pairs(env: Mapping[str, str], name: str) -> dict[str, str]:
    """`a=b,c=d`, percent-encoded."""
    found = {}
    for part in filter(None, (part.strip() for part in env.get(name, "").split(","))):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"{name} has a part without a name and a value; write it as key=value,key=value")
        found[unquote(key.strip())] = unquote(value.strip())
    return found


def _one_of(env: Mapping[str, str], name: str, possible: tuple[str, ...], default: str) -> str:
    value = env.get(name, default).lower()
    if value not in possible:
        raise ValueError(f"{name} is {value!r}; Leoflow can do {' or '.join(possible)}")
    return value


def _number(env: Mapping[str, str], name: str, default: float, *, least: float) -> float:
    try:
        value = float(env.get(name, default))
    except ValueError:
        raise ValueError(f"{name} is {env[name]!r}, which is no number") from None
    if not least <= value < 1e9:
        raise ValueError(f"{name} is {value:g}; it has to be {least:g} or more")
    return value
