"""docs/configuration.md names every setting, and the environment is read as it says."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from leoflowd.config import (
    AgentsConfig,
    ApiConfig,
    ConfigRefused,
    LiteConfig,
    SchedulerConfig,
    from_environment,
    lite_config,
)

TEXT = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()


def test_every_setting_is_documented_and_nothing_else() -> None:
    fields = {
        f"LEOFLOW_{name}_{field.name}".upper()
        for name, section in (("api", ApiConfig), ("scheduler", SchedulerConfig), ("agents", AgentsConfig))
        for field in msgspec.structs.fields(section)
    }
    documented = {line.split("`")[1] for line in TEXT.splitlines() if line.startswith("| `LEOFLOW_")}
    assert documented == fields | {"LEOFLOW_DATABASE"}


def test_the_environment_is_read() -> None:
    config = from_environment({"LEOFLOW_DATABASE": "host=x", "LEOFLOW_API_PORT": "9000", "LEOFLOW_AGENTS_SOCKET": "/s"})
    assert (config.database, config.api.port, config.agents.socket) == ("host=x", 9000, Path("/s"))


def test_a_wrong_value_names_its_setting() -> None:
    with pytest.raises(ConfigRefused, match="port"):
        from_environment({"LEOFLOW_API_PORT": "many"})


def test_lite_refuses_a_port_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigRefused, match="--port 0"):
        lite_config(LiteConfig(workspace=tmp_path, data_dir=tmp_path, port=0))
