"""docs/configuration.md names every setting, and the environment is read as it says."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from leoflow_sensors.egress_policy import EgressRefused, check_addresses, destination_of, parse_policy
from leoflowd.config import (
    LITE_PORT,
    OWN_MACHINE,
    SECTIONS,
    ConfigRefused,
    LiteClusterConfig,
    LiteConfig,
    from_environment,
    lite_config,
)

TEXT = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()


def test_every_setting_is_documented_and_nothing_else() -> None:
    fields = {
        f"LEOFLOW_{name}_{field.name}".upper()
        for name, section in SECTIONS.items()
        for field in msgspec.structs.fields(section)
    }
    documented = {line.split("`")[1] for line in TEXT.splitlines() if line.startswith("| `LEOFLOW_")}
    assert documented == fields | {"LEOFLOW_DATABASE", "LEOFLOW_ROLE", "LEOFLOW_ADMIN_PASSWORD"}


def test_the_environment_is_read() -> None:
    config = from_environment({"LEOFLOW_DATABASE": "host=x", "LEOFLOW_API_PORT": "9000", "LEOFLOW_AGENTS_SOCKET": "/s"})
    assert (config.database, config.api.port, config.agents.socket) == ("host=x", 9000, Path("/s"))


def test_a_wrong_value_names_its_setting() -> None:
    with pytest.raises(ConfigRefused, match="port"):
        from_environment({"LEOFLOW_API_PORT": "many"})


def test_lite_refuses_a_port_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigRefused, match="--port 0"):
        lite_config(LiteConfig(workspace=tmp_path, data_dir=tmp_path, port=0))


def test_lite_does_not_promise_to_check_signatures(tmp_path: Path) -> None:
    with pytest.raises(ConfigRefused, match="LEOFLOW_ADMISSION_"):
        lite_config(LiteConfig(workspace=tmp_path, data_dir=tmp_path), {"LEOFLOW_ADMISSION_REQUIRE_SIGNED": "true"})


def test_lite_reads_where_it_may_connect_to_from_the_environment(tmp_path: Path) -> None:
    environment = {"LEOFLOW_EGRESS_ALLOW": "127.0.0.1", "LEOFLOW_INLINE_WORKERS": "3", "LEOFLOW_API_PORT": "1"}
    config = lite_config(LiteConfig(workspace=tmp_path, data_dir=tmp_path), environment)
    assert (config.egress.allow, config.inline.workers, config.api.port) == ("127.0.0.1", 3, LITE_PORT)


@pytest.mark.parametrize(
    ("host", "environment", "allowed"),
    [
        ("127.0.0.1", {}, OWN_MACHINE),
        ("::1", {"LEOFLOW_INLINE_WORKERS": "3"}, OWN_MACHINE),
        ("127.0.0.1", {"LEOFLOW_EGRESS_ALLOW": ""}, ""),
        ("0.0.0.0", {}, ""),
    ],
)
def test_lite_may_ask_its_own_machine_while_only_that_may_ask_lite(
    tmp_path: Path, host: str, environment: dict[str, str], allowed: str
) -> None:
    assert (
        lite_config(LiteConfig(workspace=tmp_path, data_dir=tmp_path, host=host), environment).egress.allow == allowed
    )


def test_lite_with_pods_opens_nothing_of_its_machine(tmp_path: Path) -> None:
    cluster = LiteClusterConfig(image="i@sha256:" + "0" * 64)
    lite = LiteConfig(workspace=tmp_path, data_dir=tmp_path, cluster=cluster)
    assert lite_config(lite, {}).egress.allow == ""


def test_the_rule_for_the_own_machine_opens_loopback_and_nothing_else() -> None:
    policy, target = parse_policy(OWN_MACHINE), destination_of("http://x:8000/")
    check_addresses(policy, target, ["127.0.0.1", "127.8.9.1", "::1"])
    for closed in ("10.0.0.1", "192.168.1.1", "169.254.169.254", "fe80::1", "0.0.0.0"):
        with pytest.raises(EgressRefused):
            check_addresses(policy, target, [closed])


def test_a_number_that_is_too_small_is_refused() -> None:
    with pytest.raises(ConfigRefused, match="workers"):
        from_environment({"LEOFLOW_INLINE_WORKERS": "0"})


@pytest.mark.parametrize("name", SECTIONS)
def test_every_setting_can_be_given_as_text(name: str) -> None:
    defaults = SECTIONS[name]()
    for field in msgspec.structs.fields(SECTIONS[name]):
        default = getattr(defaults, field.name)
        text = "x,y" if isinstance(default, tuple) else "/x" if default is None else str(default)
        found = getattr(getattr(from_environment({f"LEOFLOW_{name}_{field.name}".upper(): text}), name), field.name)
        assert found == (("x", "y") if isinstance(default, tuple) else Path("/x") if default is None else default)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True"}, True),
        ({"LEOFLOW_DAGS_PAUSED_AT_CREATION": "true"}, True),
        ({"AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "true", "LEOFLOW_DAGS_PAUSED_AT_CREATION": "false"}, False),
    ],
)
def test_whether_new_dags_are_paused_may_be_set_as_in_airflow(
    tmp_path: Path, environment: dict[str, str], expected: bool
) -> None:
    lite = lite_config(LiteConfig(workspace=tmp_path, data_dir=tmp_path), environment)
    assert [config.dags.paused_at_creation for config in (from_environment(environment), lite)] == [expected, expected]
