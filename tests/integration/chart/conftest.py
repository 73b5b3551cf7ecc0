"""The chart, rendered by Helm itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import helm_python
import pytest
import yaml

from tests.conftest import REPOSITORY

CHART = REPOSITORY / "helm" / "leoflow"
VALUES: dict[str, Any] = {
    "image": {"repository": "registry.example/leoflowd"},
    "database": {"url": "postgresql://leoflow:DB-SECRET@db/leoflow"},
    "redis": {"url": "rediss://:REDIS-SECRET@redis:6379/0"},
    "logs": {"url": "s3://logs/leoflow"},
}
NAMESPACE = "leoflow"

Object = dict[str, Any]
Rendered = Callable[..., list[Object]]


def merged(base: Any, over: Any) -> Any:
    """As Helm does it."""
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    return {**base, **{name: merged(base.get(name), value) for name, value in over.items()}}


@pytest.fixture(scope="session")
def chart() -> Iterator[helm_python.Chart]:
    with helm_python.Chart.load(CHART) as loaded:
        yield loaded


@pytest.fixture(scope="session")
def rendered(chart: helm_python.Chart) -> Rendered:
    """Called with values beside the ones that are required: all objects."""

    def render(**values: Any) -> list[Object]:
        files = chart.render(merged(VALUES, values), name="leo", namespace=NAMESPACE)
        texts = (text for path, text in files.items() if not path.endswith("NOTES.txt"))
        return [found for text in texts for found in yaml.safe_load_all(text) if found]

    return render


def one(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = (each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return found
