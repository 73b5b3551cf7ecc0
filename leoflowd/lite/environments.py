"""Environments of DAGs in Lite: one venv for each distinct set of Python version and dependencies.

`lite.workspace` asks for one before it compiles a project, `leoflow test` and `lite.setup` too. Plain blocking code:
callers on Trio use a thread. What exists is returned at once and without network. Never activates anything, never
touches our own interpreter, and downloads packages only, no Python.

An environment that names Airflow's packages (`connectors:`, or `dependencies:` with apache-airflow...) also gets
Airflow itself, in the versions of `locks/airflow-constraints.txt`: its tasks run on the real packages.

A venv is complete when its marker file exists, and the marker is written last. It is built in place, not renamed: the
scripts in `bin/` hold absolute paths. A folder without marker is the rest of a kill; the next call removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

import leoflowd
from leoflowd.authoring.errors import EnvironmentFailed
from leoflowd.authoring.pythons import find_python, find_uv, own_version
from leoflowd.contract.dag_spec import EnvironmentSpec, has_airflow

MARKER = ".leoflow-complete"
LAYOUT = 2
"""Raise it when venvs are built differently: then all are built anew."""
INSTALL_TIMEOUT_S = 1800.0
"""For one call of the installer; large wheels over a slow line."""
OUTPUT_TAIL_CHARS = 3000
LOCK_POLL_S = 0.1
PROGRESS_EVERY_S = 10.0
"""Airflow with a large provider takes minutes; whoever waits is told that it goes on."""
AIRFLOW = ("apache-airflow-core==3.2.2", "apache-airflow-task-sdk")
"""`locks/airflow-constraints.txt` says in which versions; a unit test compares them."""

LIST_INSTALLED = "import importlib.metadata as m; print(*(one.metadata['Name'] for one in m.distributions()))"
LACKING = {
    re.compile(r"Failed to (?:download and )?build:? `?([A-Za-z0-9][\w.-]*)=="): (
        "cannot be built on this machine: `uv pip install {0}` shows what its build lacks"
    ),
    re.compile(r"\b([a-z0-9][a-z0-9.-]*) was not found in the package registry"): (
        "is in no index that was asked: set UV_INDEX to the address of the one that has it"
    ),
}
"""In what uv says of a package, which it can leave out; pip cannot."""
YANKED = re.compile(r"\b([a-z0-9][a-z0-9.-]*==[^\s,]+) was yanked")
"""In what uv says. pip takes such a version where a package pins it; uv where it is asked for by name."""
NOT_FOR_INSTALLERS = ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME", "__PYVENV_LAUNCHER__")


class EnvironmentStatistics(msgspec.Struct, frozen=True):
    ready: int
    building: int
    built_total: int


def default_lock() -> Path:
    """The hashed lock of the default environment."""
    return _shipped("task-default.txt")


def airflow_constraints() -> Path:
    """Which versions of Airflow and its libraries start together."""
    return _shipped("airflow-constraints.txt")


def _shipped(name: str) -> Path:
    """A file of `locks/`: the repository's, else the one inside the wheel."""
    package = Path(leoflowd.__file__).parent
    candidates = (package.parent / "locks" / name, package / "_data" / "locks" / name)
    for candidate in candidates:
        if candidate.exists():
            return candidate
    raise EnvironmentFailed(
        f"{name} is missing: neither {candidates[0]} nor {candidates[1]} exists; install Leoflow again"
    )


def requirements_of(spec: EnvironmentSpec) -> tuple[str, ...]:
    """What is installed on top of the default packages. Raises `EnvironmentFailed` for what is no requirement."""
    _refuse_options(spec.dependencies)
    for name in spec.connectors:
        if not re.fullmatch(r"[a-z0-9]+([._-][a-z0-9]+)*", name):
            raise EnvironmentFailed(
                f"{name!r} is no connector; write the short name of an Airflow provider in leoflow.yaml, "
                "e.g. `http` or `cncf.kubernetes`"
            )
    connectors = tuple(f"apache-airflow-providers-{re.sub('[._]', '-', name)}" for name in spec.connectors)
    return (*(AIRFLOW if has_airflow(spec) else ()), *connectors, *spec.dependencies)


class Environments:
    """The venvs under `<data_dir>/venvs`. Threads and processes may ask at once: each is built once."""

    def __init__(self, data_dir: Path, *, lock: Path | None = None, installer: Installer | None = None) -> None:
        self._folder = data_dir / "venvs"
        self._lock = lock or default_lock()
        self._installer = installer or find_installer()
        self._ready: set[str] = set()
        self._building = 0
        self._built_total = 0

    def statistics(self) -> EnvironmentStatistics:
        return EnvironmentStatistics(len(self._ready), self._building, self._built_total)

    def ensure(self, spec: EnvironmentSpec, say: Callable[[str], None] = lambda _: None) -> Path:
        """The interpreter of this environment, built now when it is missing. Raises `EnvironmentFailed`, nothing else
        that the disk, the process table or odd requirements can bring about."""
        try:
            return self._ensure(spec, say)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            raise EnvironmentFailed(
                f"{error}; see to the disk of {self._folder} and the requirements, then let the task run again"
            ) from error

    def _ensure(self, spec: EnvironmentSpec, say: Callable[[str], None]) -> Path:
        requirements, constraints, version = self._wanted(spec)
        key = self._key(version, requirements, constraints)
        folder = self._folder / key
        if not _is_complete(folder):
            with self._exclusive(key) as descriptor:
                if not _is_complete(folder):
                    self._build(folder, version, requirements, spec.yielding, constraints, Work(descriptor, say))
        self._ready.add(key)
        return _python_of(folder)

    def has(self, spec: EnvironmentSpec) -> bool:
        """Is it built? Raises `EnvironmentFailed` for what is no requirement."""
        requirements, constraints, version = self._wanted(spec)
        return _is_complete(self._folder / self._key(version, requirements, constraints))

    def python(self, version: str) -> Path | None:
        """Of this machine, to make one with."""
        return find_python(version, self._installer.uv)

    def close(self) -> None:
        """End running installers and refuse further ones; waiting `ensure` calls raise."""
        self._installer.close()

    def _wanted(self, spec: EnvironmentSpec) -> tuple[tuple[str, ...], Path | None, str]:
        """Requirements, constraints, Python version."""
        constraints = airflow_constraints() if has_airflow(spec) else None
        return requirements_of(spec), constraints, spec.python_version or own_version()

    def _key(self, version: str, requirements: Sequence[str], constraints: Path | None) -> str:
        files = [self._lock, *([constraints] if constraints else [])]
        digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
        content = [LAYOUT, version, sorted(set(requirements)), *digests]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:20]

    @contextlib.contextmanager
    def _exclusive(self, key: str) -> Iterator[int]:
        """One builder per environment, over threads and processes. The installer inherits the descriptor: if we are
        killed while it writes, the lock is held until it has ended, and nobody builds into the same folder."""
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._folder / f"{key}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                self._installer.refuse_when_closed()
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                time.sleep(LOCK_POLL_S)
            yield descriptor
        finally:
            os.close(descriptor)

    def _build(
        self,
        folder: Path,
        version: str,
        requirements: Sequence[str],
        yielding: Sequence[str],
        constraints: Path | None,
        work: Work,
    ) -> None:
        self._building += 1
        try:
            shutil.rmtree(folder, ignore_errors=True)
            base = interpreter(version, self._installer)
            wanted = ", ".join(requirements) or "the default packages"
            work.say(f"building an environment with Python {version} and {wanted} ({self._installer.name})")
            self._installer.make(base, folder, work)
            python = _python_of(folder)
            self._installer.install(python, ("--require-hashes", "-r", str(self._lock)), (), work)
            if requirements:
                self._install(folder, requirements, yielding, constraints, work)
            self._installer.lend(python)
            (folder / MARKER).write_text(json.dumps({"python": version, "requirements": sorted(requirements)}))
            self._built_total += 1
            work.say(f"the environment with {wanted} is ready")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            self._building -= 1

    def _install(
        self,
        folder: Path,
        requirements: Sequence[str],
        yielding: Sequence[str],
        constraints: Path | None,
        work: Work,
    ) -> None:
        """On top of the default packages: those that satisfy the requirements stay, others are replaced.

        What others ask for and this machine cannot have (it lacks headers, or the index of a company) is left out where
        everything else can be had: most files and tasks of a folder need none of it.
        """
        named = {_name(one) for one in requirements if one not in yielding}
        options = ["--constraint", str(constraints)] if constraints else []
        never, left_out = folder / "left-out.txt", set[str]()
        without: list[str] = []
        while failures := self._failures(_python_of(folder), [*options, *without], requirements, yielding, work):
            # the last one has the fewest pins: what only a pinned version lacks is not to be left out
            more = {name: why for name, why in _lacking(failures[-1]).items() if name not in named | left_out}
            if not more or not self._installer.uv:
                raise failures[0]
            for name, why in more.items():
                work.say(
                    f"{name} {why}. It is left out, and what imports it fails; once that is mended, remove {folder}"
                )
            left_out |= more.keys()
            never.write_text("".join(f"{name} ; python_version < '3'\n" for name in sorted(left_out)))
            without = ["--overrides", str(never)]

    def _failures(
        self, python: Path, options: Sequence[str], requirements: Sequence[str], yielding: Sequence[str], work: Work
    ) -> list[EnvironmentFailed]:
        """None of them when it succeeded in the end.

        Of requirements that were written for another Airflow the versions give way when they cannot be had with ours,
        or on this Python: first those of Airflow's own libraries, then all.
        """
        failures: list[EnvironmentFailed] = []

        def installs(texts: Sequence[str]) -> bool:
            try:
                self._installer.install(python, options, texts, work)
            except EnvironmentFailed as error:
                failures.append(error)
                return False
            return True

        if installs(requirements):
            return []
        own = [one for one in requirements if one not in yielding]
        without = [_without_version(one) for one in yielding]
        # an installer that is asked for nothing fails
        if without == list(yielding) or (own and not installs(own)):
            return failures
        there = self._installer.installed(python, work)
        kept = [_without_version(one) if _name(one) in there else one for one in yielding]
        for texts in (kept, without):
            given = ", ".join(sorted(set(yielding) - set(texts)))
            if not given:
                continue
            work.say(f"the requirements cannot be had here as they are; tried without the versions of {given}")
            if installs([*own, *texts]):
                return []
        return failures


# --- installers --------------------------------------------------------------------------------------------------


class Work(msgspec.Struct, frozen=True):
    """What one build hands to its commands: the lock's descriptor, and who is told how it goes."""

    descriptor: int
    say: Callable[[str], None]


class Installer:
    """How venvs are made and filled: uv, or venv and pip. `run` is the only place that starts a process."""

    def __init__(self, uv: Path | None) -> None:
        self.uv = uv
        self.name = "uv" if uv else "pip"
        self._guard = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._closed = False

    def make(self, base: Path, folder: Path, work: Work) -> None:
        if self.uv:
            command: list[str | Path] = [
                self.uv,
                "venv",
                "--quiet",
                "--no-project",
                "--no-python-downloads",
                "--python",
                base,
                folder,
            ]
        else:
            command = [base, "-m", "venv", folder]
        self._checked(command, work, "make the venv", ())

    def install(self, python: Path, options: Sequence[str], requirements: Sequence[str], work: Work) -> None:
        if self.uv:
            # Compiled here, as pip does it: tasks write no bytecode, and each cold start would compile all it imports.
            head: list[str | Path] = [self.uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python]
        else:
            head = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
        withdrawn: set[str] = set()
        while True:
            try:
                command = [*head, *options, *requirements, *sorted(withdrawn)]
                return self._checked(command, work, "install the packages", requirements)
            except EnvironmentFailed as error:
                more = set(YANKED.findall(str(error))) - withdrawn
                if not more:
                    raise
                withdrawn |= more
                work.say(f"withdrawn by its authors, and pinned by a requirement: {', '.join(sorted(more))}")

    def lend(self, python: Path) -> None:
        """uv for the tasks of this environment, which build others (`@task.virtualenv`); one of their own stays."""
        if self.uv:
            with contextlib.suppress(FileExistsError):
                (python.parent / "uv").symlink_to(self.uv.resolve())

    def installed(self, python: Path, work: Work) -> frozenset[str]:
        """Names of the packages that are there, normalised."""
        command = [python, "-c", LIST_INSTALLED]
        code, output = self.run([str(word) for word in command], work)
        if code != 0:
            raise EnvironmentFailed(_failure(self.name, "list the packages", (), code, output))
        return frozenset(map(_normalised, output.split()))

    def _checked(self, command: Sequence[str | Path], work: Work, step: str, requirements: Sequence[str]) -> None:
        code, output = self.run([str(word) for word in command], work)
        if code != 0:
            raise EnvironmentFailed(_failure(self.name, step, requirements, code, output))

    def run(self, command: Sequence[str], work: Work) -> tuple[int, str]:
        """Exit code and output of one command; stops it after `INSTALL_TIMEOUT_S` or at `close`."""
        environment = {name: value for name, value in os.environ.items() if name not in NOT_FOR_INSTALLERS}
        with self._guard:
            self.refuse_when_closed()
            process = subprocess.Popen(  # noqa: S603  # our own tool; requirements that look like options were refused
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=environment,
                start_new_session=True,
                pass_fds=(work.descriptor,),
            )
            self._running.add(process)
        try:
            output = _output_of(process, work.say)
        finally:
            with self._guard:
                self._running.discard(process)
        self.refuse_when_closed()
        return process.returncode, output

    def close(self) -> None:
        with self._guard:
            self._closed = True
            for process in self._running:
                _kill(process)

    def refuse_when_closed(self) -> None:
        if self._closed:
            raise EnvironmentFailed("stopped while an environment was being built; it is built at the next start")


def find_installer() -> Installer:
    """uv, else venv and pip."""
    return Installer(find_uv())


def interpreter(version: str, installer: Installer) -> Path:
    """Of this machine. Raises `EnvironmentFailed`; nothing is downloaded."""
    if python := find_python(version, installer.uv):
        return python
    raise EnvironmentFailed(
        f"the project asks for python_version {version}, which is not on this machine (Lite itself runs on "
        f"{own_version()}); install python{version} (`uv python install {version}` does it), or change python_version "
        "in leoflow.yaml"
    )


# --- small parts -------------------------------------------------------------------------------------------------


def _python_of(folder: Path) -> Path:
    return folder / "bin" / "python"


def _is_complete(folder: Path) -> bool:
    """The marker is there, and the interpreter that the venv links to still exists."""
    return (folder / MARKER).exists() and _python_of(folder).exists()


def _refuse_options(dependencies: Sequence[str]) -> None:
    for dependency in dependencies:
        if dependency.lstrip().startswith("-") or not dependency.strip():
            raise EnvironmentFailed(
                f"the dependency {dependency!r} is an option of the installer, not a requirement; "
                "write one requirement per line in leoflow.yaml, e.g. `duckdb>=1.1`"
            )


def _output_of(process: subprocess.Popen[str], say: Callable[[str], None]) -> str:
    """All that it prints until it ends, or is ended after `INSTALL_TIMEOUT_S`."""
    began = time.monotonic()
    while True:
        try:
            return process.communicate(timeout=PROGRESS_EVERY_S)[0]
        except subprocess.TimeoutExpired:
            seconds = time.monotonic() - began
        if seconds >= INSTALL_TIMEOUT_S:
            _kill(process)
            return f"{process.communicate()[0]}\nstopped after {INSTALL_TIMEOUT_S:.0f} s"
        say(f"still building the environment ({seconds:.0f} s)")


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _failure(tool: str, step: str, requirements: Sequence[str], code: int, output: str) -> str:
    named = [
        wanted for wanted in requirements if _name(wanted) and _name(wanted) in _normalised(output)
    ] or requirements
    whose = f" of requirement {', '.join(map(repr, named))}" if named else ""
    tail = output.strip()[-OUTPUT_TAIL_CHARS:]
    return (
        f"cannot {step}{whose}: {tool} ended with exit code {code}; correct `dependencies` or `connectors` in "
        f"leoflow.yaml, or check the network, and save again. The end of its output:\n{tail}"
    )


def _lacking(failure: EnvironmentFailed) -> dict[str, str]:
    """Packages that cannot be had, by their normalised names, and why."""
    return {
        _normalised(name): why.format(name)
        for pattern, why in LACKING.items()
        for name in sorted(pattern.findall(str(failure)))
    }


def _name(requirement: str) -> str:
    found = re.match(r"\s*([A-Za-z0-9][\w.-]*)", requirement)
    return _normalised(found.group(1)) if found else ""


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _without_version(requirement: str) -> str:
    """`name[extra]>=1,<2; marker` -> `name[extra]; marker`; an address stays."""
    found = re.fullmatch(r"\s*([A-Za-z0-9][\w.-]*\s*(?:\[[^\]]*\])?)\s*[(=<>!~][^;@]*(;.*)?", requirement)
    return requirement if found is None else f"{found[1].strip()}{found[2] or ''}"
