"""What must survive the agent: one folder per try, `spool/<try_id>/`, kept until the daemon has stored the outcome.

The folder appears, with the try's `token`, in one rename *before* anything is forked. It is the proof that this try was
started once: whoever finds the folder must not start the try again. The agent alone writes here: the runner tells it
over the control socket what to keep, so that a full disk is met in one place, and a task needs no way into the spool.

Each try also has a scratch folder, `work/<try_id>/`: its working directory, gone when the try is over.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from leoflowd.contract.agent_messages import OutcomeKind, XComItem
from leoflowd.contract.asset_spec import AssetRecord
from leoflowd.contract.values import EARLIEST, LATEST
from leoflowd.contract.wait_spec import Deferral

_T = TypeVar("_T")
Small = Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)]
OUTCOME = "outcome.json"
LOG = "log.ndjson"
EVENTS = "events.ndjson"


class AlreadyStarted(Exception):
    """This try has a folder: it runs, or it ended and nobody has acknowledged that yet."""


class StoredOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """`outcome.json`, as the runner tells it, or completed by the agent (`complete=True`)."""

    kind: OutcomeKind
    because: str
    start_date: datetime
    end_date: datetime
    exit_code: Small | None = None
    signal: Small | None = None
    xcoms: tuple[XComItem, ...] = ()
    skips: tuple[str, ...] = ()
    assets: tuple[AssetRecord, ...] = ()
    reschedule_at: datetime | None = None
    deferral: Deferral | str | None = None
    """JSON text of a `contract.wait_spec.Deferral`; the release before this one wrote the thing itself."""
    complete: bool = False

    def __post_init__(self) -> None:
        """User code can write this file: moments that no message carries make it one that cannot be read."""
        for moment in (self.start_date, self.end_date, self.reschedule_at):
            if moment is not None and not EARLIEST <= moment <= LATEST:
                raise ValueError(f"{moment.isoformat()} is no moment of a try")


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """`stop.json`: the agent decided to end the try, and why. Written before the first signal."""

    kind: OutcomeKind
    because: str


class ProcessFacts(msgspec.Struct, frozen=True, kw_only=True):
    """`process.json`: the try's main process. `started_ticks` tells it from a later process of the same number."""

    pid: int
    started_ticks: int | None
    boot_id: str
    started_at: datetime


class TryFolder:
    """One folder of the spool."""

    def __init__(self, path: Path, work: Path) -> None:
        self.path = path
        self.try_id = path.name
        self.work = work
        """The try's working directory."""

    @property
    def log_path(self) -> Path:
        return self.path / LOG

    @property
    def events_path(self) -> Path:
        return self.path / EVENTS

    def read_token(self) -> str:
        return (self.path / "token").read_text()

    def read_process(self) -> ProcessFacts | None:
        return self._read("process.json", ProcessFacts)

    def write_process(self, facts: ProcessFacts) -> None:
        """In one write: half of it counts as nothing, and the kernel ends those whom nobody remembers."""
        (self.path / "process.json").write_bytes(msgspec.json.encode(facts))

    def read_stop(self) -> Stop | None:
        return self._read("stop.json", Stop)

    def write_stop(self, stop: Stop) -> None:
        self._write("stop.json", stop)

    def read_outcome(self) -> StoredOutcome | None:
        return self._read(OUTCOME, StoredOutcome)

    def write_outcome(self, outcome: StoredOutcome) -> None:
        self._write(OUTCOME, outcome)

    def add_event(self, line: bytes) -> None:
        """All of the line or nothing. Raises OSError."""
        descriptor = os.open(self.events_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if os.write(descriptor, line + b"\n") <= len(line):
                os.ftruncate(descriptor, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), EVENTS)
        finally:
            os.close(descriptor)

    def remove_empty_work(self) -> bool:
        """Nearly always a task leaves nothing there. False when it did: then `remove_work`, which may take long."""
        try:
            self.work.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def remove_work(self) -> None:
        if not self.remove_empty_work():
            shutil.rmtree(self.work, ignore_errors=True)

    def remove(self) -> None:
        """Rename first: a folder that is half removed must not look like a try."""
        doomed = self.path.with_name(f".{self.try_id}.done")
        try:
            self.path.rename(doomed)
        except FileNotFoundError:
            return
        try:
            for entry in os.scandir(doomed):  # a tenth of rmtree's cost for a flat folder, which it nearly always is
                os.unlink(entry.path)
            os.rmdir(doomed)
        except OSError:
            shutil.rmtree(doomed, ignore_errors=True)

    def _read(self, name: str, type_: type[_T]) -> _T | None:
        try:
            return msgspec.json.decode((self.path / name).read_bytes(), type=type_)
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError):
            # User code may reach this folder (same user); a file that it broke counts as not there.
            return None

    def _write(self, name: str, content: Any) -> None:
        temporary = f"{self.path}/.{name}.tmp"
        try:
            with open(temporary, "wb") as file:
                file.write(msgspec.json.encode(content))
            os.rename(temporary, f"{self.path}/{name}")
        except OSError:
            with contextlib.suppress(OSError):  # what is half written takes room that others need
                os.unlink(temporary)
            raise


class Spool:
    """The folder of all tries that this agent knows, and the one of their scratch folders."""

    def __init__(self, path: Path, work: Path, *, owner: tuple[int, int] | None = None) -> None:
        """`owner`: user and group id that the scratch folders belong to, if these are not ours."""
        self._path = path
        self._work = work
        self._owner = owner
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.chmod(0o700)  # tokens are in there
        work.mkdir(parents=True, exist_ok=True, mode=0o700)
        work.chmod(0o700 if owner is None else 0o711)

    def create(self, try_id: str, token: str) -> TryFolder:
        """The exclusive act that makes a try ours. Raises `AlreadyStarted`, and OSError when there is no room."""
        if not try_id or "/" in try_id or "\0" in try_id or try_id.startswith("."):
            raise ValueError(f"try id {try_id!r} cannot name a folder")
        folder = TryFolder(self._path / try_id, self._work / try_id)
        building = self._path / f".{try_id}.{os.getpid()}.new"
        try:
            building.mkdir(exist_ok=True)
            (building / "token").write_text(token)
            (building / LOG).touch()
            self._make_work(folder)
            building.rename(folder.path)  # refuses to replace a folder that has files in it
        except OSError as error:
            shutil.rmtree(building, ignore_errors=True)
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise AlreadyStarted(try_id) from error
            folder.remove_work()
            raise
        return folder

    def _make_work(self, folder: TryFolder) -> None:
        if folder.path.exists():
            raise FileExistsError(errno.EEXIST, "this try was started already", folder.try_id)
        folder.remove_work()  # of a try that an earlier agent did not get to start
        folder.work.mkdir(mode=0o700)
        if self._owner is not None:
            os.chown(folder.work, *self._owner)

    def scan(self) -> tuple[TryFolder, ...]:
        """What an earlier agent left, oldest first; leftovers of unfinished creations and removals go away."""
        folders = []
        for path in self._path.iterdir():
            if path.name.startswith("."):
                shutil.rmtree(path, ignore_errors=True)
            elif path.is_dir():
                folders.append(TryFolder(path, self._work / path.name))
        return tuple(sorted(folders, key=lambda folder: folder.path.stat().st_mtime))

    def clear_work(self) -> None:
        """No try runs yet: all scratch is an earlier agent's."""
        for path in self._work.iterdir():
            shutil.rmtree(path, ignore_errors=True)
