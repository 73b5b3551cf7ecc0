"""`ObjectStoragePath`: kept as written while a file is loaded; the real packages open it when the task runs."""

from __future__ import annotations

from typing import Any, NoReturn

from airflow._leoflow.connectors import helped_by, is_named, remedy
from airflow._leoflow.errors import ShimUnsupported
from airflow._leoflow.provider_constants import UsedTooEarly

CONNECTOR = "common.io"
_MODULE = "airflow.providers.common.io.assets"


class ObjectStoragePath:
    """An address, and the parts that `/` and `joinpath` add."""

    def __init__(self, *parts: Any, **options: Any) -> None:
        if not is_named(_MODULE):
            refused = ShimUnsupported(
                f"ObjectStoragePath({', '.join(map(repr, parts))}) is made",
                "only Airflow's real packages can open it",
                remedy(CONNECTOR),
            )
            raise helped_by(refused, CONNECTOR)
        self._parts = tuple(str(part) for part in parts)
        self._options = options

    def joinpath(self, *parts: Any) -> ObjectStoragePath:
        return ObjectStoragePath(*self._parts, *parts, **self._options)

    def __truediv__(self, part: Any) -> ObjectStoragePath:
        return self.joinpath(part)

    def __str__(self) -> str:
        first, *others = self._parts or ("",)
        return "/".join([first.rstrip("/"), *(other.strip("/") for other in others)]) if others else first

    def __repr__(self) -> str:
        return f"ObjectStoragePath({str(self)!r})"

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)
        raise UsedTooEarly(
            f"{name} of {self!r} is used while the file is loaded",
            "a DAG file only describes the DAG",
            "use it inside a @task function",
        )
