"""What the settings of staging volumes change: the claim that is made, and how long it is kept."""

from __future__ import annotations

import json
from datetime import timedelta
from unittest.mock import MagicMock

import pytest

from leoflowd.assembly import pods
from leoflowd.config import KubernetesConfig
from leoflowd.contract.staging import Staging
from leoflowd.kube.claims import build_claim
from leoflowd.kube.policy import policy_of

CONFIG = KubernetesConfig(
    agent_address="leoflow:9090",
    staging_size="7Gi",
    staging_storage_class="fast",
    staging_access_mode="ReadWriteOnce",
    staging_ttl_s=60.0,
)


def claimed(**fields: str) -> tuple[str, str, list[str]]:
    """Size, class, access modes."""
    staging = Staging(dag_run_id=1, dag_id="d", run_id="r", **fields)
    spec = json.loads(build_claim(staging, policy_of(CONFIG)))["spec"]
    return spec["resources"]["requests"]["storage"], spec["storageClassName"], spec["accessModes"]


def test_a_claim_has_what_the_settings_say() -> None:
    assert claimed() == ("7Gi", "fast", ["ReadWriteOnce"])


def test_what_a_project_says_counts_more() -> None:
    assert claimed(size="1Ti", storage_class="slow") == ("1Ti", "slow", ["ReadWriteOnce"])


async def test_it_is_kept_for_as_long_as_the_setting_says(monkeypatch: pytest.MonkeyPatch) -> None:
    made = MagicMock()
    monkeypatch.setattr(pods, "StagingCollector", made)
    base = MagicMock()
    base.config.kubernetes = CONFIG
    pods.build_pods(base, MagicMock(), policy_of(CONFIG))
    assert made.call_args.kwargs["ttl"] == timedelta(minutes=1)
