"""DAGs and their versions. An artifact is written once; registering it again changes nothing but what is current."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec
import trio

from leoflowd import telemetry
from leoflowd.contract import dag_spec
from leoflowd.contract.dag_spec import CustomTimetable, DagSpec, NoTimetable
from leoflowd.contract.errors import Invalid, NotFound
from leoflowd.core.dag_shape import DagShape, checked_order, shape_of
from leoflowd.core.partitions import validate_mappers
from leoflowd.core.timetable import RunSlot, describe, is_partitioned, validate
from leoflowd.store import assets, canaries
from leoflowd.store.database import Connection, execute, fetch_all, fetch_one, fetch_value, long_statement, statements
from leoflowd.store.hints import send_hint

_SQL = statements("dags")
log = telemetry.get_logger(__name__)
T = TypeVar("T")


class Registered(msgspec.Struct, frozen=True):
    version_id: uuid.UUID
    version_number: int
    created: bool


class VersionRow(msgspec.Struct, frozen=True):
    """One version. `spec.source` is empty; the text is in `source`."""

    id: uuid.UUID
    dag_id: str
    version_number: int
    digest: str
    spec: DagSpec
    source: str
    bundle_digest: str
    label: str


class _RawVersion(msgspec.Struct, frozen=True):
    id: uuid.UUID
    dag_id: str
    version_number: int
    digest: str
    spec: str
    source: str
    bundle_digest: str
    label: str


class NextRun(msgspec.Struct, frozen=True):
    """What the timetable clock needs of one DAG."""

    dag_id: str
    version_id: uuid.UUID
    is_paused: bool
    last_logical_date: datetime | None
    last_data_interval_start: datetime | None
    last_data_interval_end: datetime | None
    last_run_after: datetime | None
    last_partition_run_after: datetime | None
    """Of the newest run that the timetable started for a partition."""
    has_next: bool
    """Its row says when it runs next."""
    next_run_after: datetime | None
    active_runs: int

    @property
    def last(self) -> RunSlot | None:
        """The newest run that the timetable or a backfill started; planning goes on from there."""
        if self.last_partition_run_after is not None:
            at = self.last_partition_run_after
            return RunSlot(logical_date=at, data_interval_start=at, data_interval_end=at, run_after=at)
        start, end = self.last_data_interval_start, self.last_data_interval_end
        if self.last_run_after is None or self.last_logical_date is None or start is None or end is None:
            return None
        return RunSlot(
            logical_date=self.last_logical_date,
            data_interval_start=start,
            data_interval_end=end,
            run_after=self.last_run_after,
        )


def shape_of_version(version_id: uuid.UUID, spec: DagSpec) -> DagShape:
    """`shape_of`, once per version: versions never change. `fetch_version...` has worked it out already."""
    if version_id not in _shapes:
        if len(_shapes) >= _VERSIONS_MAX:
            _shapes.pop(next(iter(_shapes)))
        _shapes[version_id] = shape_of(spec)
    return _shapes[version_id]


_versions: dict[uuid.UUID, VersionRow] = {}
_shapes: dict[uuid.UUID, DagShape] = {}
_VERSIONS_MAX = 2048
LARGE = 500
"""Tasks that make work for more than a few milliseconds; of an artifact as text, hundreds of characters."""
_threads = trio.CapacityLimiter(2)


async def off_loop(work: Callable[[], T], *, size: int) -> T:
    """The answer of `work`, which takes time in proportion to `size`: worked out in a thread when that is long."""
    return work() if size < LARGE else await trio.to_thread.run_sync(work, limiter=_threads)


async def register_dag(
    conn: Connection,
    spec: DagSpec,
    *,
    now: datetime,
    fileloc: str,
    relative_fileloc: str,
    bundle_name: str = "workspace",
    parse_duration_s: float | None = None,
    paused_at_creation: bool = False,
    signed_by: str | None = None,
) -> Registered:
    """Make this artifact the current version of its DAG. Equal digest = same version, also when it is an old one.

    `paused_at_creation`: of a DAG that is new, where its file does not say whether it begins paused.

    What a custom timetable says by now takes the place of what it said before (ADR 50). Whoever had deleted the DAG, or
    rolled it back, is overruled. Raises `Invalid` for what cannot be stored or scheduled.
    """
    prepared = await off_loop(lambda: prepare(spec), size=size_of(spec))
    paused = paused_at_creation if spec.is_paused_upon_creation is None else spec.is_paused_upon_creation
    await conn.execute(_SQL.forget_deletions, {"dag_ids": [spec.dag_id]})
    await conn.execute(_SQL.insert_dag, {"dag_id": spec.dag_id, "paused": paused, "now": now})
    await conn.execute(_SQL.lock_dag, {"dag_id": spec.dag_id})
    registered = await insert_version(conn, spec, prepared, now, signed_by)
    where = Whereabouts(fileloc, relative_fileloc, bundle_name, parse_duration_s)
    await make_current(conn, registered.version_id, spec, prepared, where, now)
    return registered


async def insert_version(
    conn: Connection, spec: DagSpec, prepared: Prepared, now: datetime, signed_by: str | None = None
) -> Registered:
    """The version of this artifact, new or known; what is current stays. The caller has locked the dag row.

    `signed_by`: whose signature of it was checked; a known version keeps the last one.
    """
    digest = prepared.digest
    known = await fetch_one(conn, _SQL.fetch_version_by_digest, _KnownVersion, dag_id=spec.dag_id, digest=digest)
    if known is None:
        version_id = uuid.uuid4()
        number: int = await fetch_value(
            conn,
            _SQL.insert_version,
            id=version_id,
            dag_id=spec.dag_id,
            digest=digest,
            spec=prepared.document,
            source=spec.source,
            bundle_digest=spec.bundle_digest,
            label=spec.dag_version,
            signed_by=signed_by,
            now=now,
        )
    else:
        version_id, number = known.id, known.version_number
        if signed_by is not None:
            await conn.execute(_SQL.update_signer, {"id": version_id, "signed_by": signed_by})
        if isinstance(spec.timetable, CustomTimetable):
            timetable = msgspec.json.encode(spec.timetable).decode()
            await conn.execute(_SQL.update_look_ahead, {"id": version_id, "timetable": timetable})
    return Registered(version_id, number, known is None)


class Whereabouts(msgspec.Struct, frozen=True):
    """Where a DAG comes from."""

    fileloc: str
    relative_fileloc: str
    bundle_name: str
    parse_duration_s: float | None


async def make_current(
    conn: Connection, version_id: uuid.UUID, spec: DagSpec, prepared: Prepared, where: Whereabouts, now: datetime
) -> None:
    """From now on new runs are of this version, and lists show what it says. The caller has locked the dag row."""
    await canaries.overtake(conn, spec.dag_id, version_id, now)
    await conn.execute(
        _SQL.update_dag_current,
        {
            "dag_id": spec.dag_id,
            "version_id": version_id,
            "now": now,
            **msgspec.structs.asdict(where),
            "dag_display_name": spec.dag_display_name or spec.dag_id,
            "description": spec.description,
            "tags": sorted(spec.tags),
            "owners": prepared.owners,
            "timetable_summary": spec.timetable_summary,
            "timetable_description": prepared.timetable_description,
            "max_active_runs": spec.max_active_runs,
            "max_active_tasks": spec.max_active_tasks,
            "max_consecutive_failed_dag_runs": spec.max_consecutive_failed_dag_runs,
            "is_partitioned": is_partitioned(spec),
        },
    )
    for conflict in await assets.write_uses(conn, spec, now):
        log.warning("asset_inactive", dag_id=spec.dag_id, **msgspec.structs.asdict(conflict))
    await send_hint(conn, "dag", spec.dag_id)


class Prepared(msgspec.Struct, frozen=True):
    """All that costs time in proportion to the artifact."""

    digest: str
    document: str
    owners: list[str]
    timetable_description: str


class _KnownVersion(msgspec.Struct, frozen=True):
    id: uuid.UUID
    version_number: int


def size_of(spec: DagSpec) -> int:
    """For `off_loop`: its tasks, and what else makes work."""
    return sum(1 + len(task.upstream_task_ids) // 10 for task in spec.tasks) + len(spec.source) // 1_000


def prepare(spec: DagSpec) -> Prepared:
    """Checks the artifact, and works out what is stored of it. Raises `Invalid`."""
    try:
        dag_spec.checked(spec)
        validate(spec.timetable)
        if spec.partitions is not None:
            validate_mappers(spec.partitions)
        checked_order(spec)
        description = _describe(spec)
    except Invalid as error:
        raise Invalid(f"cannot register dag {spec.dag_id!r}: {error}", location=error.location) from error
    except (ValueError, OverflowError) as error:
        raise Invalid(f"cannot register dag {spec.dag_id!r}: {error}") from error
    return Prepared(
        digest=dag_spec.digest(spec),
        document=msgspec.json.encode(msgspec.structs.replace(spec, source="")).decode(),
        owners=sorted({task.owner for task in spec.tasks}) or ["airflow"],
        timetable_description=description,
    )


def _describe(spec: DagSpec) -> str:
    if spec.asset_condition is None:
        return describe(spec.timetable)
    if isinstance(spec.timetable, NoTimetable):
        return "Triggered by assets"
    return f"Triggered by assets or {describe(spec.timetable)}"


async def fetch_version(conn: Connection, dag_id: str, version_number: int | None = None) -> VersionRow:
    """The given or the current version. Raises `NotFound`."""
    statement = _SQL.fetch_current_version if version_number is None else _SQL.fetch_version_by_number
    parameters = {"dag_id": dag_id} if version_number is None else {"dag_id": dag_id, "number": version_number}
    raw = await fetch_one(conn, statement, _RawVersion, **parameters)
    if raw is None:
        what = f"version {version_number} of Dag `{dag_id}`" if version_number else f"Dag with ID: `{dag_id}`"
        raise NotFound(f"The {what} was not found")
    return await _remembered(raw)


async def fetch_version_by_id(conn: Connection, version_id: uuid.UUID) -> VersionRow:
    """A version by id, from memory when it was seen before. Raises `NotFound`.

    Of a custom timetable memory may have an earlier look-ahead; whoever plans by it reads `fetch_version`.
    """
    if version_id in _versions:
        return _versions[version_id]
    raw = await fetch_one(conn, _SQL.fetch_version_by_id, _RawVersion, id=version_id)
    if raw is None:
        raise NotFound(f"no DAG version {version_id}; its DAG was deleted")
    return await _remembered(raw)


async def fetch_signer(conn: Connection, version_id: uuid.UUID) -> str | None:
    """Whose signature of this version was checked; None: nobody's."""
    signed_by: str | None = await fetch_value(conn, _SQL.fetch_signer, id=version_id)
    return signed_by


async def _remembered(raw: _RawVersion) -> VersionRow:
    if raw.id not in _versions or isinstance(_versions[raw.id].spec.timetable, CustomTimetable):
        version, shape = await off_loop(lambda: _read(raw), size=len(raw.spec) // 100)
        for cache in (_versions, _shapes):
            if len(cache) >= _VERSIONS_MAX:
                cache.pop(next(iter(cache)))
        _versions[raw.id], _shapes[raw.id] = version, shape
        return version
    return _versions[raw.id]


def _read(raw: _RawVersion) -> tuple[VersionRow, DagShape]:
    spec = msgspec.json.decode(raw.spec, type=DagSpec)
    return VersionRow(**{**msgspec.structs.asdict(raw), "spec": spec}), shape_of(spec)


async def set_paused(conn: Connection, dag_id: str, paused: bool, now: datetime) -> None:
    """Pause or unpause; raises `NotFound`."""
    if not await execute(conn, _SQL.update_paused, dag_id=dag_id, paused=paused, now=now):
        raise NotFound(f"The Dag with ID: `{dag_id}` was not found")
    await send_hint(conn, "dag", dag_id)


async def mark_stale(conn: Connection, dag_ids: Sequence[str], now: datetime) -> int:
    """Their project is gone: no new runs, hidden from lists; history stays. How many were not stale before.

    A deleted DAG that comes with a project later is a new one.
    """
    await conn.execute(_SQL.forget_deletions, {"dag_ids": list(dag_ids)})
    count = await execute(conn, _SQL.update_stale, dag_ids=list(dag_ids), now=now)
    await assets.forget_uses(conn, dag_ids)
    for dag_id in dag_ids:
        await send_hint(conn, "dag", dag_id)
    return count


async def delete_dag(conn: Connection, dag_id: str) -> None:
    """Forget the DAG and all its history; remember what it was, so that its file does not bring it back by itself.

    Raises `NotFound`.
    """
    try:
        spec = (await fetch_version(conn, dag_id)).spec
        definition = await off_loop(lambda: dag_spec.definition_digest(spec), size=size_of(spec))
    except (msgspec.MsgspecError, ValueError):
        definition = ""  # not readable any more: whatever its file gives now is something else
    async with long_statement(conn):
        if await fetch_value(conn, _SQL.lock_dag, dag_id=dag_id) is None:
            raise NotFound(f"The Dag with ID: `{dag_id}` was not found")
        await conn.execute(_SQL.insert_deleted_dag, {"dag_id": dag_id, "definition": definition})
        await execute(conn, _SQL.delete_runs_of_dag, dag_id=dag_id)
        await assets.forget_uses(conn, [dag_id])
        await execute(conn, _SQL.delete_dag, dag_id=dag_id)
    await send_hint(conn, "dag", dag_id)


async def stays_deleted(conn: Connection, spec: DagSpec) -> bool:
    """Did somebody delete this DAG when it was what it is now? Its project may have changed since then."""
    definition = await fetch_value(conn, _SQL.fetch_deleted_definition, dag_id=spec.dag_id)
    return definition is not None and definition == await off_loop(
        lambda: dag_spec.definition_digest(spec), size=size_of(spec)
    )


async def list_next_runs(conn: Connection, *, dag_ids: Sequence[str] | None = None) -> tuple[NextRun, ...]:
    """Unpaused and paused active DAGs with their last scheduled run; all, or only these."""
    return await fetch_all(conn, _SQL.list_next_runs, NextRun, dag_ids=None if dag_ids is None else list(dag_ids))


async def list_dags_to_look_at(conn: Connection, *, since: datetime, now: datetime) -> tuple[str, ...]:
    """DAGs whose next run is due and not made, or that were registered after `since`."""
    cursor = await conn.execute(_SQL.list_dags_to_look_at, {"since": since, "now": now})
    return tuple(row[0] for row in await cursor.fetchall())


async def update_next_run(
    conn: Connection,
    dag_id: str,
    *,
    logical_date: datetime | None,
    data_interval_start: datetime | None,
    data_interval_end: datetime | None,
    run_after: datetime | None,
) -> None:
    await conn.execute(
        _SQL.update_next_run,
        {
            "dag_id": dag_id,
            "logical_date": logical_date,
            "start": data_interval_start,
            "end": data_interval_end,
            "run_after": run_after,
        },
    )


async def list_bundles_in_use(conn: Connection, *, now: datetime, keep: timedelta) -> set[str]:
    """Bundle digests that a current version, an unfinished run or a run younger than `keep` may still need."""
    cursor = await conn.execute(_SQL.list_bundles_in_use, {"since": now - keep})
    return {row[0] for row in await cursor.fetchall()}


async def put_import_error(
    conn: Connection, *, filename: str, bundle_name: str, stack_trace: str, now: datetime
) -> None:
    await conn.execute(
        _SQL.upsert_import_error,
        {"filename": filename, "bundle_name": bundle_name, "stack_trace": stack_trace, "now": now},
    )


async def clear_import_error(conn: Connection, *, filename: str, bundle_name: str) -> None:
    await conn.execute(_SQL.delete_import_error, {"filename": filename, "bundle_name": bundle_name})
