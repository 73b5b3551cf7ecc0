"""What a dbt project is made of: `dbt ls` in the DAG's environment, once per state of its files (ADR 51).

`dbt_dag.py` asks when a file is compiled and when a try loads it again. What dbt has parsed is kept per user below
`~/.cache/leoflow/dbt`, so that a try need not parse: the graph for this module, and dbt's own partial parse.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any, NamedTuple

from airflow._leoflow.dbt_profiles import ADAPTERS

DBT = (sys.executable, "-I", "-c", "from dbt.cli.main import cli; cli()")
PROFILE = "leoflow"
PARTIAL_PARSE = "partial_parse.msgpack"
GRAPH = "graph.json"
RUNS = {"model": "run", "seed": "seed", "snapshot": "snapshot"}
"""Resource type -> the dbt command that makes it."""
TESTS = ("test", "unit_test")
_OF_THE_PARSE = (
    "type",
    "path",
    "host",
    "port",
    "user",
    "dbname",
    "schema",
    "account",
    "database",
    "project",
    "dataset",
    "catalog",
)
"""What of a profile is no secret, and dbt compares."""
_NAMED_PACKAGES = re.compile(r"^packages:[ \t]*(#.*)?\n\s*-", re.MULTILINE)
_INSTALL_PATH = re.compile(r"""^packages-install-path:\s*["']?([^"'#\n]+)""", re.MULTILINE)
_LOCAL = re.compile(r"""(\blocal:\s*)["']?([^"'#\s]+)["']?""")
_NOT_OF_THE_PROJECT = frozenset({"target", "logs", ".git", "__pycache__", ".leoflow"})


class Failed(Exception):
    """dbt refused the project: `lines` are the last ones that it printed."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class NothingSelected(Exception):
    """A selector matches no node."""


class Settings(NamedTuple):
    """The `dbt:` block, with its defaults."""

    folder: str
    """Of the dbt project, absolute."""
    adapter: str | None
    """None: the project has a profiles.yml of its own."""
    target: str | None
    select: list[str]
    exclude: list[str]
    vars: dict[str, Any]
    threads: int | None


class Node(NamedTuple):
    """Something that dbt makes, or a test of it."""

    id: str
    name: str
    kind: str
    fqn: list[str]
    folder: str
    parents: list[str]
    """Ids of the selected nodes before it; what lies between is passed over."""


def nodes_of(settings: Settings) -> list[Node]:
    """The selected nodes, by id. Raises `Failed` and `NothingSelected`."""
    folder = os.path.join(cache(), _key(settings))
    graph = os.path.join(folder, GRAPH)
    with contextlib.suppress(OSError), _locked(folder):
        if not os.path.exists(graph):
            _parse_into(folder, settings)
    if not os.path.exists(graph):  # the cache cannot be written here
        with tempfile.TemporaryDirectory(prefix="leoflow-dbt-") as own:
            _parse_into(own, settings)
            return _read(os.path.join(own, GRAPH))
    return _read(graph)


def with_packages(settings: Settings) -> Settings:
    """The project as it is, or a copy with what its packages.yml names, by `dbt deps`: the bundle of a try is nobody's
    to write. Raises `Failed`."""
    if not _lacks_packages(settings.folder):
        return settings
    kept = os.path.join(cache(), _key(settings))
    place = os.path.join(kept, "project")
    try:
        with _locked(kept):
            if not os.path.isdir(place):
                _install_into(place, settings)
    except OSError as error:
        raise Failed([f"dbt deps needs a place for the packages: {error}"]) from error
    return settings._replace(folder=place)


def _lacks_packages(folder: str) -> bool:
    named = any(_NAMED_PACKAGES.search(_text(folder, name)) for name in ("packages.yml", "dependencies.yml"))
    place = _INSTALL_PATH.search(_text(folder, "dbt_project.yml"))
    found = os.path.join(folder, place[1].strip() if place else "dbt_packages")
    return named and not (os.path.isdir(found) and os.listdir(found))


def _text(folder: str, name: str) -> str:
    try:
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _install_into(place: str, settings: Settings) -> None:
    with tempfile.TemporaryDirectory(prefix="leoflow-dbt-") as scratch:
        work = os.path.join(scratch, "project")
        shutil.copytree(settings.folder, work, ignore=lambda _, names: _NOT_OF_THE_PROJECT.intersection(names))
        for name in ("packages.yml", "dependencies.yml"):
            if text := _text(work, name):
                with open(os.path.join(work, name), "w", encoding="utf-8") as file:
                    file.write(_LOCAL.sub(lambda found: found[1] + os.path.join(settings.folder, found[2]), text))
        command = [*DBT, "deps", "--no-use-colors", "--project-dir", work]
        done = subprocess.run(command, env=environment(scratch), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failed(["dbt deps failed:", *_said(done)])
        # a link to a package would lead into the bundle of one version
        shutil.copytree(work, f"{place}.new", symlinks=False, dirs_exist_ok=True)
        os.replace(f"{place}.new", place)


def _said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What dbt printed last, without its clock."""
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return [re.sub(r"^\d\d:\d\d:\d\d\s+", "", line) for line in lines][-8:]


def warm(settings: Settings, output: dict[str, Any], target: str) -> str:
    """dbt's partial parse into the target folder of a try: a copy, since dbt writes it again.

    dbt takes it only with the profile that it was made with, so that there is one of each. Its place, for `keep`.
    """
    shown = {name: output.get(name) for name in _OF_THE_PARSE}
    profile = hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:16]
    kept = os.path.join(cache(), _key(settings), f"{profile}.msgpack")
    with contextlib.suppress(OSError):
        shutil.copyfile(kept, os.path.join(target, PARTIAL_PARSE))
    return kept


def keep(target: str, kept: str) -> None:
    """What the try has parsed, for the next one; whole or not at all, as tries run side by side."""
    with contextlib.suppress(OSError):
        if not os.path.exists(kept):
            own = f"{kept}.{os.getpid()}"
            shutil.copyfile(os.path.join(target, PARTIAL_PARSE), own)
            os.replace(own, kept)


def cache() -> str:
    return os.path.join(os.path.expanduser("~"), ".cache", "leoflow", "dbt")


def arguments(settings: Settings, profiles: str) -> list[str]:
    """What each call of dbt gets; `profiles` is the folder of the profile that was written for it."""
    found = ["--project-dir", settings.folder, "--no-use-colors"]
    if settings.adapter is None:
        found += ["--profiles-dir", settings.folder]
    else:
        found += ["--profiles-dir", profiles, "--profile", PROFILE]
    if settings.target is not None:
        found += ["--target", settings.target]
    if settings.vars:
        found += ["--vars", json.dumps(settings.vars, sort_keys=True)]
    return found


def write_profile(folder: str, settings: Settings, output: dict[str, Any]) -> None:
    """`output` may hold a password: the file is the user's alone."""
    target = settings.target or "default"
    document = {PROFILE: {"target": target, "outputs": {target: {"threads": settings.threads or 1, **output}}}}
    descriptor = os.open(os.path.join(folder, "profiles.yml"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(document, file)  # JSON is YAML


def environment(target: str) -> dict[str, str]:
    """Of dbt's process: what it writes goes there, and nowhere else."""
    return {
        **os.environ,
        "DBT_TARGET_PATH": target,
        "DBT_LOG_PATH": target,
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }


def _parse_into(folder: str, settings: Settings) -> None:
    """One `dbt ls`; the graph is written last, so that it is there whole or not at all."""
    with tempfile.TemporaryDirectory(prefix="leoflow-dbt-") as scratch:
        if settings.adapter is not None:
            write_profile(scratch, settings, {"type": settings.adapter, **ADAPTERS[settings.adapter].placeholder})
        selected = _selected(settings, scratch)
        with open(os.path.join(scratch, "manifest.json"), encoding="utf-8") as file:
            nodes = _nodes(json.load(file), selected)
    with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8") as file:
        json.dump(nodes, file)
    os.replace(file.name, os.path.join(folder, GRAPH))


def _selected(settings: Settings, scratch: str) -> set[str]:
    """Unique ids."""
    command = [*DBT, "ls", *arguments(settings, scratch), "--output", "json", "--output-keys", "unique_id"]
    for option, chosen in (("--select", settings.select), ("--exclude", settings.exclude)):
        if chosen:
            command += [option, *chosen]
    done = subprocess.run(command, env=environment(scratch), capture_output=True, text=True, check=False)
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    if done.returncode != 0:
        raise Failed(_said(done))
    unmatched = [line for line in lines if "does not match any enabled nodes" in line]
    if unmatched:
        raise NothingSelected(re.sub(r"^\d\d:\d\d:\d\d\s+", "", unmatched[0]))
    return {json.loads(line)["unique_id"] for line in lines if line.startswith('{"unique_id"')}


def _nodes(manifest: dict[str, Any], selected: set[str]) -> list[Node]:
    everything = {**manifest["nodes"], **manifest.get("unit_tests", {})}

    def is_kept(node_id: str) -> bool:
        node = everything.get(node_id, {})
        is_made = node.get("resource_type") in RUNS and node["config"].get("materialized") != "ephemeral"
        return node_id in selected and (is_made or node.get("resource_type") in TESTS)

    def parents(node_id: str, seen: set[str]) -> set[str]:
        found: set[str] = set()
        for before in everything[node_id].get("depends_on", {}).get("nodes", ()):
            if before in seen or before not in everything:
                continue
            seen.add(before)
            found |= {before} if is_kept(before) else parents(before, seen)
        return found

    return [
        _node(everything[node_id], sorted(parents(node_id, set()))) for node_id in sorted(filter(is_kept, everything))
    ]


def _node(node: dict[str, Any], parents: list[str]) -> Node:
    version = f"_v{node['version']}" if node.get("version") else ""
    folder = os.path.dirname(node["original_file_path"])
    return Node(node["unique_id"], node["name"] + version, node["resource_type"], node["fqn"], folder, parents)


def _read(path: str) -> list[Node]:
    with open(path, encoding="utf-8") as file:
        return [Node(*one) for one in json.load(file)]


def _key(settings: Settings) -> str:
    """Of all that the answer depends on: files, choices, and the releases of dbt."""
    digest = hashlib.sha256()
    versions = [(name, _version(name)) for name in ("dbt-core", f"dbt-{settings.adapter}")]
    digest.update(json.dumps([settings._replace(folder="", threads=None), versions], sort_keys=True).encode())
    for relative in sorted(files_of(settings.folder)):
        with open(os.path.join(settings.folder, relative), "rb") as file:
            digest.update(f"{len(relative)}:{relative}".encode() + hashlib.sha256(file.read()).digest())
    return digest.hexdigest()[:32]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def files_of(folder: str) -> Iterator[str]:
    for top, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _NOT_OF_THE_PROJECT]
        for name in files:
            if os.path.isfile(os.path.join(top, name)):
                yield os.path.relpath(os.path.join(top, name), folder)


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Two loads of one file ask at once; the second one takes what the first has found."""
    import fcntl

    os.makedirs(folder, mode=0o700, exist_ok=True)
    with open(os.path.join(folder, ".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
