"""What Postgres needs so that it agrees with the workspace: `plan_registrations`, a pure function."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from leoflowd.contract.dag_spec import CustomTimetable, DagSpec
from leoflowd.contract.values import shown
from leoflowd.lite.watched_project import Compiled, Failed, Watched, join

REASON_MAX = 100_000
"""Characters of an import error: an installer says a lot."""


class Registration(msgspec.Struct, frozen=True):
    """What Postgres has, or shall have, of one DAG."""

    relative_fileloc: str
    digest: str
    asked: CustomTimetable | None = None
    """What its custom timetable said; no part of the digest. After a start it is written once more."""


class ToRegister(msgspec.Struct, frozen=True):
    path: str
    spec: DagSpec
    registration: Registration
    duration_s: float


class Plan(msgspec.Struct, frozen=True):
    """What Postgres needs to agree with the workspace."""

    register: tuple[ToRegister, ...]
    errors: dict[str, str]
    """Import errors to write, by file."""
    cleared: tuple[str, ...]
    stale: tuple[str, ...]


def plan_registrations(
    projects: Mapping[str, Watched], registered: Mapping[str, Registration], errors: Mapping[str, str]
) -> Plan:
    """Compare the scan's outcomes with what was registered and reported before.

    A DAG id belongs to the first project (by path) that defines it; the others get an import error naming both. DAGs
    of a project that fails, or was not tried yet, stay as they are: the last good version goes on.
    """
    owners: dict[str, str] = {}
    register: list[ToRegister] = []
    wanted_errors: dict[str, str] = {}
    for path in sorted(projects):
        project = projects[path]
        match project.outcome:
            case Failed(reason=reason):
                wanted_errors[project.files.source] = shown(reason, REASON_MAX)
            case Compiled(specs=specs, digests=digests, duration_s=duration_s):
                taken = [spec.dag_id for spec in specs if spec.dag_id in owners]
                if taken:
                    wanted_errors[project.files.source] = _taken_message(path, taken, owners)
                for spec, digest in zip(specs, digests, strict=True):
                    if owners.setdefault(spec.dag_id, path) == path:
                        asked = spec.timetable if isinstance(spec.timetable, CustomTimetable) else None
                        wanted = Registration(join(project.files.folder, spec.source_path), digest, asked)
                        if registered.get(spec.dag_id) != wanted:
                            register.append(ToRegister(path, spec, wanted, duration_s))
            case None:
                pass
    pending = {p.files.source for p in projects.values() if p.outcome is None}
    keep = [project.files for project in projects.values() if not isinstance(project.outcome, Compiled)]
    return Plan(
        register=tuple(register),
        errors={source: text for source, text in wanted_errors.items() if errors.get(source) != text},
        cleared=tuple(source for source in sorted(errors) if source not in wanted_errors and source not in pending),
        stale=tuple(
            dag_id
            for dag_id, known in sorted(registered.items())
            if dag_id not in owners and not any(files.owns(known.relative_fileloc) for files in keep)
        ),
    )


def _taken_message(path: str, taken: list[str], owners: Mapping[str, str]) -> str:
    return "\n".join(
        f"dag_id {dag_id!r} is defined by two projects, {owners[dag_id]!r} and {path!r}; the first one is used; "
        f"give the DAG in {path!r} another dag_id, or remove one of the projects"
        for dag_id in taken
    )
