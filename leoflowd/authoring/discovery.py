"""Which projects a folder holds: `discover` for a workspace, `find_projects` for what a person names.

Two kinds. A *project of its own* is a folder with `dag.py`, `dag.yaml` or a `leoflow.yaml` that names a source: all
of its files belong to it. A *tree* is how Airflow has it: each file with a DAG in it is a project, and all share the
rest of the folder. A tree is a folder with `dags/` beside Airflow's other folders and files, or a dags folder itself.
ADR 37.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from leoflowd.authoring.airflowignore import IGNORE_NAME, Rules, is_ignored, with_rules_of
from leoflowd.authoring.errors import DagCompileError
from leoflowd.authoring.module_facts import facts_of
from leoflowd.authoring.packages import is_known
from leoflowd.authoring.project import CONFIG_NAME, SOURCE_NAMES, Project, read_project, repository_of
from leoflowd.authoring.requirements import SRC, Requirements, folders_from, read_requirements
from leoflowd.contract.import_paths import path_of_package
from leoflowd.contract.values import shown

DAGS = "dags"
BESIDE = ("plugins", "config")
"""Folders beside the dags folder whose modules Airflow finds too, in this order."""
SIGNS = (
    *BESIDE,
    *("include", "requirements.txt", "airflow_settings.yaml", "airflow.cfg", "Dockerfile", ".astro", "packages.txt"),
    *("pyproject.toml", "Pipfile"),
)
"""What lies beside `dags/` in Airflow's own, Astro's and Composer's layouts."""
OF_A_PACKAGE = ("pyproject.toml", "setup.cfg", "setup.py")
TESTS = "tests"
"""Of a repository: they import DAG files, and are none."""
NO_PROJECTS = frozenset({DAGS, *BESIDE, "include", TESTS})
"""Folders of a tree that are not searched for projects of their own."""
MAX_DEPTH = 5
"""Folders below the workspace that are looked into; what lies deeper is reported."""
MAX_DAGS_DEPTH = 64
SKIPPED_FOLDERS = frozenset({"__pycache__", "venv", "node_modules"})


class Discovery(msgspec.Struct, frozen=True, kw_only=True):
    projects: tuple[Project, ...]
    """In the order of their paths."""
    skipped: tuple[str, ...]
    """One sentence per folder that was not looked into although it may hold projects."""


def discover(workspace: Path) -> Discovery:
    """All projects of a workspace. Raises OSError when it cannot be read."""
    workspace = workspace.resolve()
    os.scandir(workspace).close()
    search = _Search(workspace)
    search.look(workspace, 0, _Tree(workspace, is_dags=_is_dags_folder(workspace)), ())
    projects = sorted(search.projects, key=lambda project: project.path)
    return Discovery(projects=_apart(projects), skipped=tuple(search.skipped))


def find_projects(path: Path) -> Discovery:
    """Those of a folder, or the one of a file. Of a folder inside of a dags folder those below it, as the whole has
    them: what its files import lies beside it, and a DAG has one artifact, however it is named. Raises OSError when it
    cannot be read."""
    path = path.resolve()
    if path.is_file():
        return Discovery(projects=(_project_of(path),), skipped=())
    root = _root_of(path)
    inside = () if root == path else tuple(one for one in discover(root).projects if path in _source(one).parents)
    return Discovery(projects=inside, skipped=()) if inside else discover(path)


def open_projects(path: Path) -> tuple[Project, ...]:
    """The same; a folder without any is one, whose compile says what is missing."""
    path = path.resolve()
    return find_projects(path).projects or (Project(folder=path, source_path=SOURCE_NAMES[0], path=path.name),)


def airflow_folder_around(folder: Path) -> Path | None:
    """The one in whose `dags/` this folder is, or which it is the `dags/` of."""
    return next((found for one in (folder, *folder.parents) if (found := _airflow_folder_of(one)) is not None), None)


def _airflow_folder_of(dags: Path) -> Path | None:
    """None: this folder is nobody's `dags/`."""
    top = repository_of(dags.parent)
    is_cloned = os.path.lexists(top / ".git")  # no home of somebody is searched for want of signs
    if dags.name != DAGS or not (_has_signs(dags.parent) or (is_cloned and _has_dags(dags.parent))):
        return None
    return _tree_of(dags.parent, Path(dags.anchor), top).root


def _source(project: Project) -> Path:
    return project.folder / project.source_path


def _project_of(file: Path) -> Project:
    root = _root_of(file.parent)
    for project in discover(root).projects:
        if _source(project) == file:
            return project
    is_dags = _is_dags_folder(root) or root == file.parent
    named = _Tree(root, has_dags=not is_dags, is_dags=True).project(file, root)  # a person has named it: it counts
    return _with_packages(named)


def _root_of(folder: Path) -> Path:
    """The tree that DAG files in this folder, or in its `dags/`, belong to; by default it is a dags folder itself."""
    own = _airflow_folder_of(folder / DAGS) if (folder / DAGS).is_dir() else None
    if own is not None:
        return own
    for one in (folder, *folder.parents):
        found = _airflow_folder_of(one) or (one if _is_dags_folder(one) else None)
        if found is not None:
            return found
    return folder


class _Tree(msgspec.Struct, frozen=True):
    """Where files with DAGs are projects: below `root / DAGS`, or below the root, which is then the dags folder."""

    root: Path
    base: str = ""
    """Where `dags/` and what lies beside it are below the root, with a slash at its end."""
    has_dags: bool = False
    is_dags: bool = False
    """All below is Airflow's: `dag.py` is a file as any other there."""

    def project(self, file: Path, workspace: Path) -> Project:
        return Project(
            folder=self.root,
            source_path=file.relative_to(self.root).as_posix(),
            path=file.relative_to(workspace).as_posix(),
            base=self.base,
            in_tree=True,
            import_paths=self._import_paths(file),
        )

    def _import_paths(self, file: Path) -> tuple[str, ...]:
        """As Airflow has them on its path; then the root, from which Astro's `include` is imported."""
        first = f"{self.base}{DAGS}" if self.has_dags else "."
        found = [first, *(self.base + name for name in BESIDE if (self.root / self.base / name).is_dir())]
        found += [self.base.rstrip("/")] if self.base else []
        own = file.parent.relative_to(self.root).as_posix()
        if file.name in SOURCE_NAMES and own != first:
            found.append(own)  # such a folder is a project of its own elsewhere, and imports what lies beside it
        return tuple(dict.fromkeys([*found, ".", *self._own_package(), *self._nearer(file, found)]))

    def _own_package(self) -> list[str]:
        """Where the package lies that images of this repository install beside its DAGs, or with them."""
        around = [folder for folder in folders_from(self.root, self.base) if _has_source_package(folder)]
        return [(folder / SRC).relative_to(self.root).as_posix() for folder in around]

    def _nearer(self, file: Path, found: list[str]) -> list[str]:
        """Folders around the file that have what it imports and nothing else has: a dags folder in a dags folder, as a
        repository of many projects has it."""
        places = [self.root, *(self.root / path for path in found)]
        missing = {top for top in _tops(file) if not (is_known(top) or _is_importable(places, top))}
        around = [folder for folder in file.parents if self.root in folder.parents]
        return [one.relative_to(self.root).as_posix() for one in around if any(_has(one, top) for top in missing)]


def _tree_of(folder: Path, workspace: Path, reach: Path | None = None) -> _Tree:
    """Of a folder with `dags/`. Its root is where its files import from: above a package in which the folder lies when
    they name that package, as far as the workspace goes; or a folder further up that has what they name, or a package
    that the folder requires by its path, as far as `reach`, by default the workspace."""
    beside = [folder, folder / DAGS, *(folder / name for name in BESIDE)]
    imported = {top for file in _dag_files(folder / DAGS) for top in _tops(file)}
    missing = {top for top in imported if not (is_known(top) or _is_importable(beside, top))}
    root = folder
    for inner in (one for one in (folder, *folder.parents) if workspace in (one, *one.parents)):
        if inner.name in missing:
            root = inner if inner == workspace else inner.parent
            break
        if (reach or workspace) in (inner, *inner.parents) and any(_has(inner, top) for top in missing):
            root = inner
            break
    if root.name == SRC and _has_source_package(root.parent) and workspace in root.parents:
        root = root.parent
    for package in _requirements(root, folder).outside:
        around = next(one for one in (root, *root.parents) if one in (package, *package.parents))
        root = around if (reach or workspace) in (around, *around.parents) else root
    base = "" if root == folder else f"{folder.relative_to(root).as_posix()}/"
    return _Tree(root, base, has_dags=True, is_dags=True)


def _has_source_package(folder: Path) -> bool:
    return (folder / SRC).is_dir() and any(_is_there(folder / name) for name in OF_A_PACKAGE)


def _is_importable(places: Iterable[Path], module: str) -> bool:
    return any(_has(place, module) for place in places)


def _has(place: Path, module: str) -> bool:
    return (place / module).is_dir() or (place / f"{module}.py").exists()


def _tops(file: Path) -> frozenset[str]:
    """What it imports, by first names."""
    return frozenset(one.module.partition(".")[0] for one in facts_of(file).imports if one.level == 0)


class _Search:
    """One look through a workspace."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self.projects: list[Project] = []
        self.skipped: list[str] = []

    def look(self, folder: Path, depth: int, tree: _Tree | None, rules: Rules) -> None:
        """`tree`: whose DAG files these are, if anybody's."""
        in_dags = tree is not None and tree.is_dags
        if _is_own_project(folder, in_dags=in_dags):
            self._add_own(folder)
            return
        hidden: frozenset[str] = frozenset()
        if not in_dags and _has_dags(folder):
            self.look(folder / DAGS, 0, _tree_of(folder, self.workspace), ())
            tree, hidden = None, NO_PROJECTS
        elif _is_there(folder / CONFIG_NAME) and not (in_dags and tree is not None and tree.root == folder):
            self._look_with_settings(folder, depth)
            return
        if tree is not None:
            rules = self._with_rules_of(folder, rules)
            self._add_files(folder, tree, rules)
        self._look_into(folder, depth, tree, rules, hidden)

    def _add_files(self, folder: Path, tree: _Tree, rules: Rules) -> None:
        for file in _python_files(folder):
            if not is_ignored(file, rules, is_folder=False) and facts_of(file).looks_like_a_dag:
                self.projects.append(tree.project(file, self.workspace))

    def _look_with_settings(self, folder: Path, depth: int) -> None:
        """`leoflow.yaml` alone: it stands over the DAG files below it, or its own source is missing."""
        before = len(self.projects)
        self.look(folder, depth, _Tree(folder, is_dags=True), ())
        if len(self.projects) == before:
            self._add_own(folder)

    def _look_into(self, folder: Path, depth: int, tree: _Tree | None, rules: Rules, hidden: frozenset[str]) -> None:
        limit = MAX_DAGS_DEPTH if tree is not None and tree.is_dags else MAX_DEPTH
        for inner in self._folders(folder):
            if inner.name in hidden or inner.name in SKIPPED_FOLDERS or inner.name.startswith("."):
                continue
            if inner.name == TESTS and not (tree is not None and tree.is_dags):
                continue
            if tree is not None and is_ignored(inner, rules, is_folder=True):
                continue
            if depth == limit:
                self._skip(inner, f"deeper than {limit} folders")
            elif not _is_there(inner / "pyvenv.cfg"):
                self.look(inner, depth + 1, tree, rules)

    def _add_own(self, folder: Path) -> None:
        path = folder.name if folder == self.workspace else folder.relative_to(self.workspace).as_posix()
        self.projects.append(_with_packages(Project(folder=folder, source_path=_source_of(folder), path=path)))

    def _with_rules_of(self, folder: Path, rules: Rules) -> Rules:
        file = (folder / IGNORE_NAME).relative_to(self.workspace).as_posix()
        try:
            return with_rules_of(folder, rules, shown=file)
        except DagCompileError as error:
            self.skipped.append(str(error))
            return rules

    def _folders(self, folder: Path) -> list[Path]:
        try:
            with os.scandir(folder) as entries:
                return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
        except OSError as error:
            self._skip(folder, error.strerror or str(error))
            return []

    def _skip(self, folder: Path, why: str) -> None:
        self.skipped.append(f"{shown(folder.relative_to(self.workspace).as_posix())}: {why}")


def _apart(projects: list[Project]) -> tuple[Project, ...]:
    """A tree's files with each other, without the folders in it that are projects, or trees, of their own."""
    folders = {project.folder for project in projects}
    files: dict[Path, list[str]] = {}
    for project in projects:
        files.setdefault(project.folder, []).append(project.source_path)
    beside = {folder: tuple(sorted(found)) for folder, found in files.items()}
    roots = {project.folder for project in projects if project.in_tree}
    inside = {
        root: tuple(sorted(one.relative_to(root).as_posix() for one in folders if one != root and root in one.parents))
        for root in roots
    }
    packages = {
        root: _packages_of(root, {path for one in projects if one.folder == root for path in one.import_paths})
        for root in roots
    }
    required = {one: _requirements(*one).folders for one in {(p.folder, p.folder / p.base) for p in projects}}
    return tuple(
        msgspec.structs.replace(
            project,
            excluded=inside[project.folder],
            neighbours=beside[project.folder],
            import_paths=_each_once(
                project.import_paths,
                required[project.folder, project.folder / project.base],
                packages[project.folder],
            ),
        )
        if project.in_tree
        else project
        for project in projects
    )


def _requirements(root: Path, folder: Path, *, in_tree: bool = True) -> Requirements:
    """Nothing where they cannot be read: the compile says it."""
    base = "" if root == folder else f"{folder.relative_to(root).as_posix()}/"
    try:
        return read_requirements(root, base, in_tree=in_tree)
    except DagCompileError:
        return Requirements()


def _each_once(*paths: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(path for some in paths for path in some))


def _with_packages(project: Project) -> Project:
    """A project that nothing else is found beside: its import paths are those of the packages that it requires too."""
    folders = _requirements(project.folder, project.folder, in_tree=project.in_tree).folders
    paths = _each_once(project.import_paths or (".",), folders) if folders else project.import_paths
    return msgspec.structs.replace(project, import_paths=paths)


def _packages_of(root: Path, import_paths: Iterable[str]) -> tuple[str, ...]:
    """Import paths for what its files call the tree itself: by the name of the clone, or `dags` where the repository is
    the dags folder of somebody's Airflow. No folder above the workspace is looked at."""
    places = [root / path for path in import_paths]
    names = [name for name in dict.fromkeys((root.name, DAGS)) if not (is_known(name) or _is_importable(places, name))]
    called = {top for file in _files_below(root) for top in _tops(file)} if names else set()
    return tuple(path_of_package(name) for name in names if name in called)


# --- what a folder is --------------------------------------------------------------------------------------------


def _is_own_project(folder: Path, *, in_dags: bool) -> bool:
    if not in_dags and any(_is_there(folder / name) for name in SOURCE_NAMES):
        return True
    return _named_source(folder) is not None


def _is_dags_folder(folder: Path) -> bool:
    return folder.name == DAGS or _is_there(folder / IGNORE_NAME)


def _has_dags(folder: Path) -> bool:
    dags = folder / DAGS
    return dags.is_dir() and not dags.is_symlink() and (_has_signs(folder) or any(True for _ in _dag_files(dags)))


def _has_signs(folder: Path) -> bool:
    return any(os.path.lexists(folder / name) for name in SIGNS)


def _dag_files(folder: Path) -> Iterator[Path]:
    """Those in it that look like one, at any depth."""
    yield from (file for file in _files_below(folder) if facts_of(file).looks_like_a_dag)


def _files_below(folder: Path) -> Iterator[Path]:
    """Python files at any depth."""
    for top, folders, files in os.walk(folder):
        is_deep = len(Path(top).relative_to(folder).parts) >= MAX_DAGS_DEPTH
        kept = [n for n in folders if not is_deep and n not in SKIPPED_FOLDERS and not n.startswith(".")]
        folders[:] = [name for name in kept if not _is_there(Path(top, name, "pyvenv.cfg"))]
        yield from (Path(top, name) for name in files if name.endswith(".py"))


def _source_of(folder: Path) -> str:
    named = _named_source(folder)
    return named or next((name for name in SOURCE_NAMES if os.path.lexists(folder / name)), SOURCE_NAMES[0])


def _named_source(folder: Path) -> str | None:
    if not _is_there(folder / CONFIG_NAME):
        return None
    try:
        config = read_project(folder)
    except DagCompileError:
        return None  # the compile will say it
    return config.dag_source or (CONFIG_NAME if config.dbt else None)


def _is_there(file: Path) -> bool:
    """Whatever it is: a pipe called `dag.py` is a project too, whose compile says what is wrong."""
    try:
        return not stat.S_ISDIR(file.lstat().st_mode)
    except OSError:
        return False


def _python_files(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.name.endswith(".py"))
    except OSError:
        return []  # `_folders` reports it
