"""What must survive the agent: one folder per try, `spool/<try_id>/`, kept until the daemon has stored the outcome.

The folder appears, complete with `spec.json` and `token`, in one rename *before* anything is forked. It is the proof
that this try was started once: whoever finds the folder must not start the try again. The runner (same folder, see
`runner/files.py`) writes `events.ndjson` and `outcome.json`; the agent writes the rest.
"""

from __future__ import annotations

import os
import shutil
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from leoflowd.contract.agent_messages import OutcomeKind, TrySpec, XComItem
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
    """`outcome.json`, as the runner writes it, or completed by the agent (`complete=True`)."""

    kind: OutcomeKind
    because: str
    start_date: datetime
    end_date: datetime
    exit_code: Small | None = None
    signal: Small | None = None
    xcoms: tuple[XComItem, ...] = ()
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

    def __init__(self, path: Path) -> None:
        self.path = path
        self.try_id = path.name

    @property
    def log_path(self) -> Path:
        return self.path / LOG

    @property
    def events_path(self) -> Path:
        return self.path / EVENTS

    def read_spec(self) -> TrySpec:
        return msgspec.json.decode((self.path / "spec.json").read_bytes(), type=TrySpec)

    def read_token(self) -> str:
        return (self.path / "token").read_text()

    def read_process(self) -> ProcessFacts | None:
        return self._read("process.json", ProcessFacts)

    def write_process(self, facts: ProcessFacts) -> None:
        self._write("process.json", facts)

    def read_stop(self) -> Stop | None:
        return self._read("stop.json", Stop)

    def write_stop(self, stop: Stop) -> None:
        self._write("stop.json", stop)

    def has_begun(self) -> bool:
        """The runner's first act is to create this file, exclusively: user code may have run from then on."""
        return (self.path / "begun").exists()

    def has_outcome(self) -> bool:
        return (self.path / OUTCOME).exists()

    def read_outcome(self) -> StoredOutcome | None:
        return self._read(OUTCOME, StoredOutcome)

    def write_outcome(self, outcome: StoredOutcome) -> None:
        self._write(OUTCOME, outcome)

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
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            # User code can reach this folder; a file that it broke counts as not there.
            return None

    def _write(self, name: str, content: Any) -> None:
        temporary = f"{self.path}/.{name}.tmp"
        with open(temporary, "wb") as file:
            file.write(msgspec.json.encode(content))
        os.rename(temporary, f"{self.path}/{name}")


class Spool:
    """The folder of all tries that this agent knows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.chmod(0o700)  # tokens are in there

    def create(self, spec: TrySpec, token: str) -> TryFolder:
        """The exclusive act that makes a try ours. Raises `AlreadyStarted`."""
        if "/" in spec.try_id or spec.try_id.startswith("."):
            raise ValueError(f"try id {spec.try_id!r} cannot name a folder")
        building = self._path / f".{spec.try_id}.{os.getpid()}.new"
        building.mkdir(exist_ok=True)
        (building / "spec.json").write_bytes(msgspec.json.encode(spec))
        (building / "token").write_text(token)
        (building / LOG).touch()
        try:
            building.rename(self._path / spec.try_id)  # refuses to replace a folder that has files in it
        except OSError as error:
            shutil.rmtree(building, ignore_errors=True)
            raise AlreadyStarted(spec.try_id) from error
        return TryFolder(self._path / spec.try_id)

    def scan(self) -> tuple[TryFolder, ...]:
        """What an earlier agent left, oldest first; leftovers of unfinished creations and removals go away."""
        folders = []
        for path in self._path.iterdir():
            if path.name.startswith("."):
                shutil.rmtree(path, ignore_errors=True)
            elif path.is_dir():
                folders.append(TryFolder(path))
        return tuple(sorted(folders, key=lambda folder: folder.path.stat().st_mtime))
