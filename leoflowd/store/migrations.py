"""Brings the schema to the version this release needs: numbered, forward only, each file once, all or nothing.

`daemon.py` runs it before anything else opens a connection; `leoflowd migrate` runs it alone. A file that was applied
may never change: its SHA-256 is compared at every start.

A schema that is newer than this release is none of its business: a migration only adds, so that a daemon which crashes
in the middle of an upgrade comes back, and a rollback needs no SQL. One that takes something away is named
`NNNN_contract_MMMM_words`: whoever does not know migration MMMM, which made the thing needless, is refused (ADR 68).
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import msgspec

from leoflowd.contract.errors import LeoflowError
from leoflowd.store.database import Connection, fetch_all, statements

_SQL = statements("migrations")

POSTGRES_MIN = 14
"""The first that ends idle sessions (ADR 22); 13 has had no fixes since November 2025."""
ADVISORY_LOCK = 0x1E0F10
"""Key of the lock that lets one process migrate at a time; `leadership` uses the next number."""
CONTRACTS = re.compile(r"\d{4}_contract_(\d{4})_")


class MigrationRefused(LeoflowError):
    """The schema is not what this release can work with; the message says which file and what to do."""


class Migration(msgspec.Struct, frozen=True):
    number: int
    name: str
    sha256: str
    sql: bytes = b""


def migrations_folder() -> Path:
    """`migrations/` of a checkout, or the copy inside an installed wheel."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package.parent / "migrations", package / "_data" / "migrations"):
        if folder.is_dir():
            return folder
    raise MigrationRefused("the folder migrations/ is missing; reinstall leoflow")


def read_migrations(folder: Path) -> tuple[Migration, ...]:
    """All files, in order of number. Raises `MigrationRefused` for a gap or a duplicate number."""
    found = []
    for path in sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql")):
        sql = path.read_bytes()
        found.append(Migration(int(path.name[:4]), path.stem, hashlib.sha256(sql).hexdigest(), sql))
    numbers = [m.number for m in found]
    if numbers != list(range(1, len(found) + 1)):
        raise MigrationRefused(f"migrations must be numbered 1, 2, 3, ... without gaps; found {numbers}")
    return tuple(found)


async def migrate(conn: Connection, *, folder: Path | None = None) -> int:
    """Apply what is missing; how many files were applied. `conn` is in autocommit mode."""
    known = read_migrations(folder or migrations_folder())
    version = conn.info.server_version
    if version < POSTGRES_MIN * 10_000:
        raise MigrationRefused(
            f"the database is PostgreSQL {version // 10_000}, and Leoflow needs {POSTGRES_MIN} or newer; upgrade it"
        )
    async with conn.transaction():
        await conn.execute(_SQL.lock_migrations, {"key": ADVISORY_LOCK})
        await conn.execute(_SQL.create_schema_migration)
        missing = _missing(known, await fetch_all(conn, _SQL.list_applied, Migration))
        for migration in missing:
            # Not prepared: a migration is many statements, which a prepared query may not be.
            await conn.execute(migration.sql, prepare=False)
            await conn.execute(
                _SQL.insert_applied,
                {"number": migration.number, "name": migration.name, "sha256": migration.sha256},
            )
    return len(missing)


def _missing(known: tuple[Migration, ...], applied: tuple[Migration, ...]) -> tuple[Migration, ...]:
    for ours, theirs in zip(known, applied, strict=False):
        if ours.sha256 != theirs.sha256:
            raise MigrationRefused(
                f"migration {theirs.name} was applied with other content than this release has "
                f"(sha256 {theirs.sha256[:12]}, here {ours.sha256[:12]}); applied files never change: "
                "restore the file, or start with a new database"
            )
    for newer in applied[len(known) :]:
        if _needs(newer.name) > known[-1].number:
            raise MigrationRefused(
                f"the database is at migration {newer.name}, which took away what this release still uses "
                f"(it ends with {known[-1].name}); run the newer release"
            )
    return known[len(applied) :]


def _needs(name: str) -> int:
    """The migration that a release has to know if this one, which it does not know, was applied."""
    found = CONTRACTS.match(name)
    return int(found[1]) if found else 0
