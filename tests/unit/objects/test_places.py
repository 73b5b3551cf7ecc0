"""Which settings make which stores, and what is said of wrong ones before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from leoflowd.assembly.places import places_of
from leoflowd.config import Config, ConfigRefused, LiteConfig, RedisConfig, from_environment, lite_config
from leoflowd.contract.agent_messages import XCOM_MAX_BYTES
from leoflowd.objects.logs import ObjectLogs
from leoflowd.store.log_files import LogFiles


def test_without_settings_logs_are_files_and_values_rows() -> None:
    kept = places_of(Config())
    assert isinstance(kept.logs, LogFiles)
    assert (kept.redis, kept.large, kept.values.max_bytes) == (None, None, XCOM_MAX_BYTES)


def test_settings_of_the_environment_are_those_of_lite_too(tmp_path: Path) -> None:
    environment = {
        "LEOFLOW_LOGS_URL": f"file://{tmp_path}/logs",
        "LEOFLOW_REDIS_URL": "redis://nobody:6379",
        "LEOFLOW_REDIS_CLUSTER": "true",
        "LEOFLOW_XCOMS_LARGE_URL": f"file://{tmp_path}/large",
        "LEOFLOW_XCOMS_LARGE_MAX_BYTES": "500000",
    }
    lite = lite_config(LiteConfig(workspace=tmp_path, data_dir=tmp_path), environment)
    for config in (from_environment(environment), lite):
        kept = places_of(config)
        assert isinstance(kept.logs, ObjectLogs)
        assert kept.redis is not None
        assert config.redis.cluster
        assert kept.values.max_bytes == 500_000


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"LEOFLOW_LOGS_URL": "what://is/this"}, "LEOFLOW_LOGS_URL cannot be used"),
        ({"LEOFLOW_XCOMS_LARGE_URL": "what://is/this"}, "LEOFLOW_XCOMS_LARGE_URL cannot be used"),
        ({"LEOFLOW_REDIS_URL": "http://redis"}, "LEOFLOW_REDIS_URL cannot be used"),
        ({"LEOFLOW_REDIS_URL": "redis://h", "LEOFLOW_REDIS_SENTINELS": "one, two:26379"}, "list of host:port"),
        ({"LEOFLOW_REDIS_URL": "redis://h/name", "LEOFLOW_REDIS_SENTINELS": "one:1"}, "is no number"),
        ({"LEOFLOW_REDIS_URL": "redis://h/name"}, "is no number"),
        ({"LEOFLOW_XCOMS_LARGE_MAX_BYTES": "7000000"}, "setting of the environment is wrong"),
    ],
)
def test_wrong_settings_are_refused_at_the_start(environment: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigRefused, match=words):
        places_of(from_environment(environment))


def test_a_url_with_a_password_is_not_shown() -> None:
    assert "open-sesame" not in repr(Config(redis=RedisConfig(url="redis://:open-sesame@host")))
