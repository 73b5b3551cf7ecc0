"""A cluster that is fake, and one with a real API server, for the tests that want both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.kube.clusters import Cluster, fake_cluster, real_cluster, real_server


@pytest.fixture(scope="session")
def real_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with real_server(tmp_path_factory.mktemp("kube")) as folder:
        yield folder


@pytest.fixture(params=["fake", "real"])
async def either_cluster(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Cluster, Path]]:
    """With the kubeconfig of a daemon under its Role."""
    if request.param == "fake":
        async with fake_cluster(tmp_path) as fake:
            yield fake, tmp_path / "config"
    else:
        folder = request.getfixturevalue("real_folder")
        async with real_cluster(folder) as real:
            yield real, folder / "daemon.kubeconfig"
