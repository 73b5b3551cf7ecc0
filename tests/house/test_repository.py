"""House rules that no linter knows: locks, migrations, pictures, links, and what must never be in a committed file."""

from __future__ import annotations

import hashlib
import importlib
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
LOCKS = REPOSITORY / "locks"
PINNED_MIGRATIONS = LOCKS / "migrations.sha256"
LOCK_LINE = re.compile(r"""[a-z0-9][a-z0-9._-]*==[^ ;]+( ; [a-z_]+ [^\\#]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?""")
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)\s]*)?\)")


def committed_files() -> list[Path]:
    """What git tracks or would track; without git, this clean tree's own folders."""
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("not a git repository: nothing tells which files are committed")
    command = ["git", "-C", str(REPOSITORY), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split("\0")
    return [REPOSITORY / name for name in names if name and (REPOSITORY / name).is_file()]


def pins(lock: Path) -> dict[str, str]:
    lines = [line.split(" ")[0] for line in lock.read_text().splitlines() if not line.startswith(" ")]
    return dict(sorted(line.split("==") for line in lines))


@pytest.mark.parametrize("name", ["lite.txt", "dev.txt", "uv.txt", "task-default.txt", "agent.txt"])
def test_a_lock_holds_names_versions_and_hashes_only(name: str) -> None:
    for line in (LOCKS / name).read_text().splitlines():
        assert LOCK_LINE.fullmatch(line), f"locks/{name} has a line that is no pin and no hash: {line!r}"


def test_developers_run_what_users_run() -> None:
    """Every pin of the lite lock is in the dev lock: `locks/install.sh` relies on it."""
    lite, uv, dev = (pins(LOCKS / name) for name in ("lite.txt", "uv.txt", "dev.txt"))
    assert (lite | uv).items() <= dev.items()


def test_migrations_are_numbered_without_gaps() -> None:
    numbers = [int(path.name[:4]) for path in sorted((REPOSITORY / "migrations").glob("*.sql"))]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_pinned_migration_never_changes() -> None:
    """Databases out there ran it as it is; a change is a new migration. `make pin-migrations` appends new ones."""
    for line in PINNED_MIGRATIONS.read_text().splitlines():
        expected, name = line.split()
        actual = hashlib.sha256((REPOSITORY / "migrations" / name).read_bytes()).hexdigest()
        assert actual == expected, f"migrations/{name} was changed after it was pinned; write a new migration instead"


def test_the_list_of_pinned_migrations_only_grows() -> None:
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("not a git repository: no earlier list to compare with")
    git = ["git", "-C", str(REPOSITORY)]
    name = str(PINNED_MIGRATIONS.relative_to(REPOSITORY))
    history = subprocess.run([*git, "log", "--format=%H", "--", name], capture_output=True, text=True, check=False)
    now = PINNED_MIGRATIONS.read_text()
    for commit in history.stdout.split():
        then = subprocess.run([*git, "show", f"{commit}:{name}"], capture_output=True, text=True, check=False)
        assert now.startswith(then.stdout), f"{name} lost or changed lines that commit {commit[:12]} had"


def test_the_pictures_are_what_their_program_draws() -> None:
    draw = runpy.run_path(str(REPOSITORY / "docs" / "pictures" / "draw.py"))
    for name, picture in draw["PICTURES"].items():
        on_disk = (REPOSITORY / "docs" / "pictures" / name).read_text()
        assert on_disk == picture().svg(), f"docs/pictures/{name} is out of date; run make docs"


def test_the_stubs_are_what_the_shim_says() -> None:
    """In a process of its own: the shim takes the name `airflow`."""
    command = [sys.executable, str(REPOSITORY / "docs" / "author_stubs.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_command_reference_is_what_the_commands_say() -> None:
    """In a process of its own: click keeps in a command what it was once called with."""
    script = str(REPOSITORY / "docs" / "cli_reference.py")
    program = f"import runpy; it = runpy.run_path({script!r}); assert it['FILE'].read_text() == it['reference']()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"docs/cli.md is out of date; run make docs\n{done.stderr[-2000:]}"


def test_every_command_prints_through_the_module_that_strips_terminal_escapes() -> None:
    around = re.compile(r"\bclick\.(s?echo|style)\(|rich\.text|sys\.std(out|err)\.write")
    found = [
        f"{path.name}:{number}: {line.strip()}"
        for path in (REPOSITORY / "leoflowd" / "cli").glob("*.py")
        if path.name != "output.py"
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if around.search(line)
    ]
    assert found == [], "use echo or styled of leoflowd.cli.output"


def test_links_in_documents_lead_somewhere() -> None:
    dead = [
        f"{path.relative_to(REPOSITORY)}: {target}"
        for path in committed_files()
        if path.suffix == ".md"
        for target in LINK.findall(path.read_text())
        if "://" not in target and not target.startswith("mailto:") and not (path.parent / target).exists()
    ]
    assert dead == []


def test_no_committed_file_names_a_registry_or_a_path_of_a_machine() -> None:
    """Packages come from whatever index the machine is configured for; folders are found, not written down."""
    forbidden = re.compile(
        r"py" + r"pi\.org|python" + r"hosted\.|npm" + r"js\.(?:org|com)|deb\.deb" + r"ian|/work" + r"/main|/root" + r"/"
    )
    found = [
        f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()[:100]}"
        for path in committed_files()
        for number, line in enumerate(path.read_text(errors="ignore").splitlines(), start=1)
        if forbidden.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("path", sorted((REPOSITORY / "tests").glob("*kube/*.py")), ids=lambda path: path.stem)
def test_what_runs_on_request_only_can_at_least_be_imported(path: Path) -> None:
    importlib.import_module(".".join(path.relative_to(REPOSITORY).with_suffix("").parts))
