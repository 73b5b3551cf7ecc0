"""What every task pod is, whatever its author writes: the settings, checked once at start."""

from __future__ import annotations

import re

import msgspec

from leoflowd.config import ConfigRefused, KubernetesConfig
from leoflowd.core.pod_outcome import PodLimits

DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class PodPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """`KubernetesConfig` as `pod_spec` needs it."""

    namespace: str
    installation: str
    agent_address: str
    host_address: str = ""
    agent_ca_config_map: str = ""
    agent_ca: str = ""
    image: str = ""
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    allow_tags: bool = False
    service_account: str = "default"
    service_accounts: frozenset[str] = frozenset()
    secrets: frozenset[str] = frozenset()
    run_as_user: int = 50000
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    node_selector: dict[str, str] = {}
    grace_s: int = 30
    staging_size: str = "1Gi"
    staging_storage_class: str = ""
    staging_access_mode: str = "ReadWriteMany"


def policy_of(config: KubernetesConfig) -> PodPolicy:
    """Raises `ConfigRefused`."""
    for name in ("namespace", "installation"):
        if not DNS_LABEL.fullmatch(getattr(config, name)):
            raise ConfigRefused(
                f"LEOFLOW_KUBERNETES_{name.upper()} is {getattr(config, name)!r}: at most 63 letters, digits and dashes"
            )
    if not config.agent_address:
        raise ConfigRefused(
            "LEOFLOW_KUBERNETES_AGENT_ADDRESS is not set: pods need the host:port of the agents' service"
        )
    return PodPolicy(
        namespace=config.namespace,
        installation=config.installation,
        agent_address=config.agent_address,
        host_address=config.host_address,
        agent_ca_config_map=config.agent_ca_config_map,
        agent_ca=config.agent_ca,
        image=config.image,
        image_pull_policy=config.image_pull_policy,
        image_pull_secrets=_names(config.image_pull_secrets),
        allow_tags=config.allow_tags,
        service_account=config.service_account,
        service_accounts=frozenset(_names(config.service_accounts)),
        secrets=frozenset(_names(config.secrets)),
        run_as_user=config.run_as_user,
        requests={"cpu": config.cpu_request, "memory": config.memory_request},
        limits={"memory": config.memory_limit},
        node_selector=_selector(config.node_selector),
        grace_s=config.grace_s,
        staging_size=config.staging_size,
        staging_storage_class=config.staging_storage_class,
        staging_access_mode=config.staging_access_mode,
    )


def limits_of(config: KubernetesConfig) -> PodLimits:
    return PodLimits(
        schedule_s=config.schedule_within_s,
        start_s=config.start_within_s,
        pull_s=config.pull_within_s,
        configure_s=config.configure_within_s,
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _selector(text: str) -> dict[str, str]:
    found = {}
    for pair in _names(text):
        label, equals, value = pair.partition("=")
        if not equals or not label:
            raise ConfigRefused(f"LEOFLOW_KUBERNETES_NODE_SELECTOR: {pair!r} is not label=value")
        found[label] = value
    return found
