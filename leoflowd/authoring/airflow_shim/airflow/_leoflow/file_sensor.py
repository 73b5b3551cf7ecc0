"""The native sensor that waits for a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from glob import glob
from typing import Any

from airflow._leoflow import services
from airflow._leoflow.errors import AirflowNotFoundException
from airflow._leoflow.native_sensor import NativeSensor


class FileSensor(NativeSensor):
    """Waits for a file, or for a folder with a file in it; the path may be a glob."""

    sensor_kind = "file"
    deferral_arguments = ("deferrable", "start_from_trigger", "trigger_kwargs")
    template_fields: Sequence[str] = ("filepath", "fs_conn_id")
    ui_color = "#91818a"

    def __init__(
        self, *, filepath: Any, fs_conn_id: str = "fs_default", recursive: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.filepath = os.fspath(filepath) if isinstance(filepath, os.PathLike) else filepath
        self.fs_conn_id = fs_conn_id
        self.recursive = recursive

    def probe_arguments(self) -> dict[str, Any]:
        return {"path": self.filepath, "recursive": bool(self.recursive)}

    def connection(self) -> str | None:
        return self.fs_conn_id

    @property
    def path(self) -> str:
        """Relative to the connection's `path`; without such a connection to the root, as the daemon takes it."""
        try:
            base = services.Connection.get(self.fs_conn_id).extra_dejson.get("path", "")
        except AirflowNotFoundException:
            base = ""
        return os.path.join(base or "/", self.filepath)

    def poke(self, context: Any) -> bool:
        found = glob(self.path, recursive=self.recursive)
        return any(os.path.isfile(path) or any(files for _, _, files in os.walk(path)) for path in found)
