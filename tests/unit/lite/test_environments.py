"""One venv per distinct environment: built once, complete or absent, with errors that name the requirement."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from typing_extensions import override

from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.lite import environments as building
from leoflowd.lite.environments import (
    AIRFLOW,
    MARKER,
    EnvironmentFailed,
    Environments,
    Installer,
    Work,
    airflow_constraints,
    find_installer,
    interpreter,
    requirements_of,
)


class FakeInstaller(Installer):
    """Makes folders instead of venvs, and notes what it was asked to do."""

    def __init__(self, *fail_on: str) -> None:
        super().__init__(None)
        self.commands: list[Sequence[str]] = []
        self._fail_on = fail_on

    @override
    def run(self, command: Sequence[str], work: Work) -> tuple[int, str]:
        self.refuse_when_closed()
        self.commands.append(command)
        if command[1:3] == ["-m", "venv"]:
            python = Path(command[-1]) / "bin" / "python"
            python.parent.mkdir(parents=True)
            python.touch()
        if command[-1] == "--no-input":
            return 2, "nothing to install"
        failed = [one for one in self._fail_on if one in command]
        if failed:
            return 1, f"line\nno matching distribution for {failed[0].split('=')[0]}"
        return 0, "apache_airflow_core\nCryptography" if command[1] == "-c" else ""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    file = tmp_path / "lock.txt"
    file.write_text("jinja2==1\n")
    return file


def environments(tmp_path: Path, lock: Path, installer: Installer) -> Environments:
    return Environments(tmp_path / "data", lock=lock, installer=installer)


@pytest.mark.parametrize("brings", [False, True])
def test_tasks_build_environments_with_the_uv_that_built_theirs(
    tmp_path: Path, lock: Path, brings: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    uv = tmp_path / "uv"
    uv.touch()

    def make(installer: Installer, base: Path, folder: Path, work: Work) -> None:
        (folder / "bin").mkdir(parents=True)
        if brings:
            (folder / "bin" / "uv").write_text("its own")

    monkeypatch.setattr(Installer, "make", make)
    monkeypatch.setattr(Installer, "install", lambda *_: None)
    found = environments(tmp_path, lock, Installer(uv)).ensure(EnvironmentSpec()).parent / "uv"
    assert found.is_symlink() is not brings
    assert brings or found.resolve() == uv


def test_an_environment_is_built_once_and_then_needs_no_tool(tmp_path: Path, lock: Path) -> None:
    installer = FakeInstaller()
    built = environments(tmp_path, lock, installer).ensure(EnvironmentSpec())
    assert (built.parent.parent / MARKER).exists()
    assert len(installer.commands) == 2
    again = FakeInstaller()
    assert environments(tmp_path, lock, again).ensure(EnvironmentSpec()) == built
    assert again.commands == []


def test_the_key_is_python_version_dependencies_and_lock_and_nothing_else(tmp_path: Path, lock: Path) -> None:
    made = environments(tmp_path, lock, FakeInstaller())
    first = made.ensure(EnvironmentSpec(dependencies=("a", "b")))
    assert made.ensure(EnvironmentSpec(dependencies=("b", "a"), warm=False, preload=("x",))) == first
    assert made.ensure(EnvironmentSpec(dependencies=("a",))) != first
    lock.write_text("jinja2==2\n")
    assert made.ensure(EnvironmentSpec(dependencies=("a", "b"))) != first


def test_dependencies_come_on_top_of_the_hashed_defaults(tmp_path: Path, lock: Path) -> None:
    installer = FakeInstaller()
    environments(tmp_path, lock, installer).ensure(EnvironmentSpec(dependencies=("duckdb>=1",)))
    _, defaults, own = installer.commands
    assert defaults[-3:] == ["--require-hashes", "-r", str(lock)]
    assert own[-1] == "duckdb>=1"


def test_a_connector_brings_airflow_in_versions_that_start_together(tmp_path: Path, lock: Path) -> None:
    installer = FakeInstaller()
    spec = EnvironmentSpec(connectors=("http", "cncf.kubernetes"), dependencies=("duckdb",))
    environments(tmp_path, lock, installer).ensure(spec)
    wanted = ["apache-airflow-providers-http", "apache-airflow-providers-cncf-kubernetes", "duckdb"]
    assert installer.commands[-1][-7:] == ["--constraint", str(airflow_constraints()), *AIRFLOW, *wanted]


def test_a_dependency_on_airflow_brings_the_same_versions() -> None:
    wanted = requirements_of(EnvironmentSpec(dependencies=("apache-airflow-providers-ftp>=3",)))
    assert wanted == (*AIRFLOW, "apache-airflow-providers-ftp>=3")


def test_without_airflow_packages_there_are_no_constraints(tmp_path: Path, lock: Path) -> None:
    installer = FakeInstaller()
    environments(tmp_path, lock, installer).ensure(EnvironmentSpec(dependencies=("duckdb",)))
    assert "--constraint" not in installer.commands[-1]


def test_connectors_are_part_of_the_key(tmp_path: Path, lock: Path) -> None:
    made = environments(tmp_path, lock, FakeInstaller())
    assert made.ensure(EnvironmentSpec(connectors=("http",))) != made.ensure(EnvironmentSpec(connectors=("ftp",)))


@pytest.mark.parametrize("name", ["--index-url", "http==1", "HTTP", "a b", ""])
def test_a_connector_is_a_short_name(name: str) -> None:
    with pytest.raises(EnvironmentFailed, match="no connector"):
        requirements_of(EnvironmentSpec(connectors=(name,)))


def test_the_constraints_pin_the_airflow_that_is_installed() -> None:
    pinned = airflow_constraints().read_text().splitlines()
    assert AIRFLOW[0] in pinned


def test_whoever_waits_hears_that_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "PROGRESS_EVERY_S", 0.05)
    heard = threading.Event()
    done = tmp_path / "done"

    def say(line: str) -> None:
        if "still building the environment" in line:
            done.touch()
            heard.set()

    waits_for_the_line = f"import os, time\nwhile not os.path.exists({str(done)!r}): time.sleep(0.01)"
    with (tmp_path / "lock").open("w") as lock:
        code, _ = Installer(None).run([sys.executable, "-c", waits_for_the_line], Work(lock.fileno(), say))
    assert (code, heard.is_set()) == (0, True)


def test_what_a_kill_left_half_is_built_anew(tmp_path: Path, lock: Path) -> None:
    built = environments(tmp_path, lock, FakeInstaller()).ensure(EnvironmentSpec())
    folder = built.parent.parent
    (folder / MARKER).unlink()
    (folder / "rest").touch()
    environments(tmp_path, lock, FakeInstaller()).ensure(EnvironmentSpec())
    assert not (folder / "rest").exists()


def test_an_interpreter_that_was_removed_leads_to_a_new_build(tmp_path: Path, lock: Path) -> None:
    built = environments(tmp_path, lock, FakeInstaller()).ensure(EnvironmentSpec())
    built.unlink()
    assert environments(tmp_path, lock, FakeInstaller()).ensure(EnvironmentSpec()).exists()


def test_a_failure_names_the_requirement_and_leaves_nothing(tmp_path: Path, lock: Path) -> None:
    made = environments(tmp_path, lock, FakeInstaller("nosuch==9"))
    with pytest.raises(
        EnvironmentFailed, match=r"requirement 'nosuch==9'.*leoflow.yaml(.|\n)*no matching distribution"
    ):
        made.ensure(EnvironmentSpec(dependencies=("attrs", "nosuch==9")))
    assert [path.suffix for path in (tmp_path / "data" / "venvs").iterdir()] == [".lock"]


OLD = ("cryptography<42", "pandas[excel]==1.3.4; python_version > '3'", "geopy")


@pytest.mark.parametrize(
    ("impossible", "installed"),
    [
        (("cryptography<42",), ("cryptography", OLD[1], "geopy")),
        (("cryptography<42", OLD[1]), ("cryptography", "pandas[excel]; python_version > '3'", "geopy")),
    ],
)
def test_requirements_of_an_older_airflow_give_way_to_ours(
    tmp_path: Path, lock: Path, impossible: tuple[str, ...], installed: tuple[str, ...]
) -> None:
    installer, told = FakeInstaller(*impossible), []
    spec = EnvironmentSpec(dependencies=("mine==1", *OLD), yielding=OLD, connectors=("http",))
    environments(tmp_path, lock, installer).ensure(spec, told.append)
    assert tuple(installer.commands[-1][-4:]) == ("mine==1", *installed)
    assert any("without the versions of cryptography<42" in text for text in told)


class Yanked(FakeInstaller):
    """Two packages pin versions that were withdrawn, the second shows when the first is there: as uv says it."""

    @override
    def run(self, command: Sequence[str], work: Work) -> tuple[int, str]:
        answer = super().run(command, work)
        for version in ("requests==2.32.0", "zope.event==5.0.post1"):
            if "pins" in command and version not in command:
                return (
                    1,
                    f"Because pins depends on {version} and {version} was yanked (reason: CVE), it cannot be used.",
                )
        return answer


def test_a_version_that_was_withdrawn_is_taken_where_a_package_pins_it(tmp_path: Path, lock: Path) -> None:
    installer, told = Yanked(), []
    environments(tmp_path, lock, installer).ensure(EnvironmentSpec(dependencies=("pins",)), told.append)
    assert installer.commands[-1][-3:] == ["pins", "requests==2.32.0", "zope.event==5.0.post1"]
    assert [text for text in told if "withdrawn" in text] == [
        "withdrawn by its authors, and pinned by a requirement: requests==2.32.0",
        "withdrawn by its authors, and pinned by a requirement: zope.event==5.0.post1",
    ]


class Unbuildable(FakeInstaller):
    """uv, on a machine that lacks what one package is built with, and the index of another; it says one at a time."""

    def __init__(self, *fail_on: str) -> None:
        super().__init__(*fail_on)
        self.uv = Path("/no/uv")

    @override
    def make(self, base: Path, folder: Path, work: Work) -> None:
        self.run([str(base), "-m", "venv", str(folder)], work)

    @override
    def lend(self, python: Path) -> None: ...

    @override
    def run(self, command: Sequence[str], work: Work) -> tuple[int, str]:
        never = Path(command[command.index("--overrides") + 1]).read_text() if "--overrides" in command else ""
        if "pandas==1" in command:
            return 1, "error: Failed to build `pandas==1`"
        for name, asked in (("mysqlclient", "apache-airflow-providers-mysql"), ("python-ldap", "ldap3-like")):
            if (asked in command or name in command) and f"{name} ;" not in never:
                self.commands.append(command)
                return 1, {
                    "mysqlclient": f"error: Failed to build `{name}==2.3.2`\n  cause: pkg-config",
                    "python-ldap": f"Because {name} was not found in the package registry and you require {name}==1",
                }[name]
        return super().run(command, work)


NEEDS_BOTH = ("ldap3-like", "apache-airflow-providers-mysql")


def test_what_others_ask_for_and_this_machine_cannot_build_is_left_out(tmp_path: Path, lock: Path) -> None:
    installer, told = Unbuildable(), []
    spec = EnvironmentSpec(dependencies=NEEDS_BOTH, yielding=NEEDS_BOTH)
    folder = environments(tmp_path, lock, installer).ensure(spec, told.append).parent.parent
    never = folder / "left-out.txt"
    assert never.read_text() == "mysqlclient ; python_version < '3'\npython-ldap ; python_version < '3'\n"
    assert [text for text in told if "left out" in text] == [
        f"{why}. It is left out, and what imports it fails; once that is mended, remove {folder}"
        for why in (
            "mysqlclient cannot be built on this machine: `uv pip install mysqlclient` shows what its build lacks",
            "python-ldap is in no index that was asked: set UV_INDEX to the address of the one that has it",
        )
    ]
    assert ("--overrides", str(never)) == tuple(installer.commands[-1])[-len(NEEDS_BOTH) - 4 :][:2]


def test_what_only_a_pinned_version_lacks_is_not_left_out(tmp_path: Path, lock: Path) -> None:
    installer, pinned = Unbuildable(), ("pandas==1", "apache-airflow-providers-mysql")
    spec = EnvironmentSpec(dependencies=pinned, yielding=pinned)
    folder = environments(tmp_path, lock, installer).ensure(spec).parent.parent
    assert (folder / "left-out.txt").read_text() == "mysqlclient ; python_version < '3'\n"
    assert "pandas" in installer.commands[-1]


def test_what_was_asked_for_is_not_left_out(tmp_path: Path, lock: Path) -> None:
    """Of a requirements file it may be: that is of another machine."""
    spec = EnvironmentSpec(dependencies=("mysqlclient", "geopy"))
    with pytest.raises(EnvironmentFailed, match="Failed to build `mysqlclient"):
        environments(tmp_path, lock, Unbuildable()).ensure(spec)
    environments(tmp_path, lock, Unbuildable()).ensure(msgspec.structs.replace(spec, yielding=("mysqlclient",)))
    by_pip = Unbuildable()
    by_pip.uv = None
    with pytest.raises(EnvironmentFailed, match="Failed to build `mysqlclient"):
        environments(tmp_path, lock, by_pip).ensure(EnvironmentSpec(dependencies=NEEDS_BOTH))


def test_requirements_give_way_where_nothing_else_is_asked_for(tmp_path: Path, lock: Path) -> None:
    installer = FakeInstaller("cryptography<42")
    spec = EnvironmentSpec(dependencies=("cryptography<42",), yielding=("cryptography<42",))
    environments(tmp_path, lock, installer).ensure(spec)
    assert installer.commands[-1][-1] == "cryptography"


def test_what_was_written_for_us_is_installed_as_it_is_or_not_at_all(tmp_path: Path, lock: Path) -> None:
    spec = EnvironmentSpec(dependencies=("geopy", "cryptography<42"), yielding=("geopy",), connectors=("http",))
    with pytest.raises(EnvironmentFailed, match="cryptography"):
        environments(tmp_path, lock, FakeInstaller("cryptography<42")).ensure(spec)


@pytest.mark.parametrize("dependency", ["-r other.txt", "--index-url=http://x", " "])
def test_options_are_no_requirements(tmp_path: Path, lock: Path, dependency: str) -> None:
    installer = FakeInstaller()
    with pytest.raises(EnvironmentFailed, match="option of the installer"):
        environments(tmp_path, lock, installer).ensure(EnvironmentSpec(dependencies=(dependency,)))
    assert installer.commands == []


def test_many_askers_one_build(tmp_path: Path, lock: Path) -> None:
    installer = FakeInstaller()
    made = environments(tmp_path, lock, installer)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(made.ensure(EnvironmentSpec()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(installer.commands) == 2


def test_close_ends_a_running_installer_and_refuses_others(tmp_path: Path) -> None:
    installer = Installer(None)
    started = threading.Event()
    raised: list[Exception] = []

    def install() -> None:
        try:
            with (tmp_path / "lock").open("w") as lock:
                started.set()
                installer.run([sys.executable, "-c", "import time; time.sleep(600)"], Work(lock.fileno(), print))
        except EnvironmentFailed as error:
            raised.append(error)

    thread = threading.Thread(target=install)
    thread.start()
    started.wait()
    installer.close()
    thread.join()
    assert "stopped while" in str(raised[0])


def test_a_python_that_is_not_here_is_named_with_the_remedy() -> None:
    with pytest.raises(EnvironmentFailed, match=r"python_version 3\.99.*uv python install 3\.99"):
        interpreter("3.99", find_installer())


def test_a_real_venv_without_network(tmp_path: Path) -> None:
    lock = tmp_path / "empty.txt"
    lock.write_text("")
    python = environments(tmp_path, lock, find_installer()).ensure(EnvironmentSpec())
    done = subprocess.run(
        [python, "-c", "import sys; print(sys.prefix != sys.base_prefix)"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "True"


@pytest.mark.parametrize(
    "failure",
    [
        OSError(28, "No space left on device"),
        subprocess.TimeoutExpired("uv", 30),
        ValueError("embedded null byte"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_the_machine_refuses_is_an_environment_that_cannot_be_built(
    tmp_path: Path, lock: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def refuse(*_: object) -> None:
        raise failure

    made = environments(tmp_path, lock, FakeInstaller())
    monkeypatch.setattr(FakeInstaller, "make", refuse)
    with pytest.raises(EnvironmentFailed, match=str(failure).split("]")[-1].strip()[:20]):
        made.ensure(EnvironmentSpec())
