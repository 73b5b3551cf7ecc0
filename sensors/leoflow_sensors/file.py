"""Kind `file`: a file exists, or a folder with a file somewhere in it. Airflow's FileSensor and FileTrigger.

What is looked at is the file system of the daemon's machine: everything in Lite, mounted volumes on Kubernetes.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from glob import has_magic, iglob
from pathlib import Path, PurePosixPath
from typing import Any

import trio

from leoflow_sensors.blocking import run_blocking
from leoflow_sensors.kinds import (
    KindSpec,
    NoPredicate,
    Observation,
    ProbeContext,
    ProbeFailed,
    SensorKind,
    Verdict,
    Watcher,
)
from leoflowd.contract.connection import ConnectionFacts

LIMITER = trio.CapacityLimiter(8)
"""Looks at the file system at a time: a mount that hangs holds its thread until it answers."""


class FileSpec(KindSpec, frozen=True, kw_only=True):
    path: str
    """May be a glob; a relative one starts at the connection's extra `path`, else at `/`."""
    recursive: bool = False
    """`**` in the path means any depth."""

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("file needs a path")


def full_path(spec: FileSpec, connection: ConnectionFacts | None) -> str:
    """Where to look, as FSHook joins it. Raises `ProbeFailed` for a base that is no path."""
    base = None
    if connection is not None:
        base = connection.extra_fields().get("path")
        if not isinstance(base, str | None):
            raise ProbeFailed(f"the extra `path` of connection {connection.connection_id!r} is no text; correct it")
    return posixpath.join("/", base or "", spec.path)


async def poke(spec: FileSpec, context: ProbeContext) -> Observation:
    path = full_path(spec, context.connection)
    return await run_blocking(lambda: look(path, spec.recursive), LIMITER)


async def poke_many(specs: Sequence[FileSpec], context: ProbeContext) -> Sequence[Observation | Exception]:
    """One thread for all."""
    asked = [(full_path(spec, context.connection), spec.recursive) for spec in specs]
    return await run_blocking(lambda: [look(path, recursive) for path, recursive in asked], LIMITER)


def look(path: str, recursive: bool) -> Observation:
    """Blocking. What cannot be read is not there, as in Airflow."""
    # As FileSensor: pathlib's globs find hidden files too, and have another `**`.
    for found in iglob(path, recursive=recursive):  # noqa: PTH207
        if Path(found).is_file():
            return Observation(value=True, summary=f"found {found}{_modified(found)}")
        inside = next((folder for folder, _, files in os.walk(found) if files), None)
        if inside is not None:
            return Observation(value=True, summary=f"found a file in {inside}")
    return Observation(value=False, summary=f"no such file: {path}")


def _modified(path: str) -> str:
    try:
        at = datetime.fromtimestamp(Path(path).stat().st_mtime, UTC)
    except OSError:  # gone again; it was there when we looked
        return ""
    return f", modified {at:%Y-%m-%d %H:%M:%S} UTC"


def judge(_predicate: NoPredicate, observation: Observation) -> Verdict:
    return Verdict(met=observation.value, event=True if observation.value else None)


def folder_of(path: str) -> str:
    """The folder that every match lies in: the part of `path` before its last name, or before its first wildcard."""
    parts = PurePosixPath(path).parent.parts
    plain = next((place for place, part in enumerate(parts) if has_magic(part)), len(parts))
    return str(PurePosixPath(*parts[:plain]))


def watch(spec: FileSpec, watcher: Watcher, wake: Callable[[], None]) -> Callable[[], None]:
    """Nothing for a relative path: the connection, and with it the folder, is only known to probes."""
    if not spec.path.startswith("/"):
        return lambda: None
    return watcher.directory(folder_of(spec.path), wake)


KIND: SensorKind[Any, Any] = SensorKind(
    name="file",
    spec=FileSpec,
    predicate=NoPredicate,
    describe=lambda spec: f"file {spec.path}",
    poke=poke,
    poke_many=poke_many,
    # Paths of one folder hang together, if they hang; those of others should not.
    batch_key=lambda spec: folder_of(spec.path),
    judge=judge,
    target=lambda spec, connection: f"file://{folder_of(full_path(spec, connection))}",
    default_connection_id="fs_default",
    watch=watch,
)
