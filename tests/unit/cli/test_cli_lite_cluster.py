"""`leoflow lite --executor kubernetes`: its flags."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from leoflowd.cli import lite
from leoflowd.cli.failures import ExitCode
from leoflowd.config import LiteClusterConfig, LiteConfig, lite_config

from .conftest import Result

PLAIN: dict[str, Any] = {"kubeconfig": None, "context": "", "namespace": "default", "image": "", "agent_address": ""}


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("", "", 8089),
        ("host.k3d.internal", "host.k3d.internal", 8089),
        ("192.0.2.7:9000", "192.0.2.7", 9000),
        ("2001:db8::7", "2001:db8::7", 8089),
    ],
)
def test_an_address_may_have_a_port(address: str, host: str, port: int) -> None:
    found = lite._cluster("kubernetes", None, **{**PLAIN, "agent_address": address})
    assert found is not None
    assert (found.agent_host, found.agent_port) == (host, port)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--image", "etl:dev"), "add --executor kubernetes"),
        (("--namespace", "mine"), "add --executor kubernetes"),
        (("--executor", "kubernetes", "--run-as", "nobody"), "--run-as"),
        (("--executor", "kubernetes", "--agent-address", "host:port"), "HOST:PORT"),
    ],
)
def test_what_contradicts_itself_is_refused(
    leoflow: Callable[..., Result], tmp_path: Path, flags: tuple[str, ...], said: str
) -> None:
    result = leoflow("lite", str(tmp_path / "w"), "--data-dir", str(tmp_path / "data"), *flags)
    assert result.code == ExitCode.USAGE
    assert said in result.err
    assert not (tmp_path / "data").exists()


def test_the_environment_sets_what_flags_do_not(tmp_path: Path) -> None:
    cluster = LiteClusterConfig(namespace="mine", image="etl:dev")
    environment = {"LEOFLOW_KUBERNETES_MEMORY_LIMIT": "1Gi", "LEOFLOW_KUBERNETES_INSTALLATION": "me"}
    found = lite_config(LiteConfig(workspace=tmp_path, data_dir=tmp_path, cluster=cluster), environment).kubernetes
    assert (found.namespace, found.image, found.memory_limit) == ("mine", "etl:dev", "1Gi")
    assert (found.installation, found.allow_tags) == ("me", True)


def test_two_data_folders_are_two_installations(tmp_path: Path) -> None:
    """Or each would delete the pods of the other, whose tries it does not know."""
    names = {
        lite_config(
            LiteConfig(workspace=tmp_path, data_dir=tmp_path / name, cluster=LiteClusterConfig()), {}
        ).kubernetes.installation
        for name in ("a", "b")
    }
    assert len(names) == 2
