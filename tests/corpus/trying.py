"""One file of the corpus: compiled as it is, or not, with a reason of which a kind is made, and whose reason it is.

What nobody outside can have is tried with a stand-in: a Variable that a file reads while it is loaded gets `MADE_UP`.
A package that the given interpreter lacks is installed as Lite would do it: in the environment of the file's imports.
"""

from __future__ import annotations

import enum
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from leoflowd.authoring.compiler import Loader, PythonFor, compile_opened
from leoflowd.authoring.discovery import discover
from leoflowd.authoring.errors import DagCompileError, EnvironmentFailed
from leoflowd.authoring.project import Project
from leoflowd.authoring.pythons import Here
from leoflowd.contract.errors import LeoflowError
from leoflowd.contract.loading import NOTHING, Loadable
from leoflowd.lite.environments import Environments
from tests.corpus.sources import Tree

DEADLINE_S = 120.0
"""Four files of big libraries are loaded at once, on a busy machine."""
MADE_UP = "1"
"""Of a Variable: text, a number and JSON at once."""
MAX_VARIABLES = 80
"""Each costs a loading."""


class Verdict(enum.Enum):
    """All but the last are apart: no share counts them."""

    WAITS = "waits"
    UNPUBLISHED = "unpublished"
    UNINSTALLED = "uninstalled"
    OWNERS = "owner's"
    AIRFLOWS = "Airflow's"
    REFUSED = "refused"


LATER = re.compile(r"\bcosmos\b", re.IGNORECASE)
"""What the roadmap has still to bring."""
REMOVED = "Airflow 3 has removed it"
ON_AIRFLOWS_PATH = ("dags", "plugins", "config")
"""And the root, which images often put there. What lies deeper is imported by a path that only its owner sets."""
HAS_NO_MODULE = re.compile(
    r"^the module '(?P<module>[^']+)' is imported; "
    r"(?P<why>it is not installed|.* does not have it, although|no file of the project has this name)"
)
OWNERS = re.compile(
    r"finds no (variable|connection)|^the environment variable|raised (EnvNotSetError|FileNotFoundError|NoRegionError)"
)
"""What only the owner of a file has: variables of its process, files that its repository does not hold."""


class DagFile(msgspec.Struct, frozen=True):
    source: str
    project: Project

    @property
    def shown(self) -> str:
        return f"{self.source}/{self.project.path}"


class Result(msgspec.Struct, frozen=True):
    file: DagFile
    dags: int = 0
    error: str = ""
    """The message as an author reads it; empty when it compiles, or defines no DAG."""
    reason: str = ""
    """Its kind: equal for files that fail for the same cause."""
    verdict: Verdict | None = None
    """None: it compiles, or defines no DAG."""

    @property
    def is_compiled(self) -> bool:
        return self.dags > 0


def files_of(tree: Tree) -> Iterator[DagFile]:
    """What Lite finds in this folder."""
    yield from (DagFile(tree.name, project) for project in discover(tree.folder).projects)


def try_file(file: DagFile, python: str | None, environments: Environments | None = None) -> Result:
    """Never raises: whatever happens is the result. `python` has what most files import, None: this interpreter;
    `environments` builds what Lite would load it in, for a file that does not compile there as well; None: what lacks
    a package is `UNINSTALLED`."""
    result = _try_in(file, lambda _: python or sys.executable)
    if result.verdict is None or environments is None:
        return result
    built = _try_in(file, lambda needs: str(environments.ensure(needs.environment)), here=environments.python)
    return msgspec.structs.replace(built, verdict=_verdict_of_built(built))


def _verdict_of_built(result: Result) -> Verdict | None:
    """Where everything is installed that the file asks for, a module that is missing still has nobody who brings it."""
    absent = HAS_NO_MODULE.match(result.reason)
    if result.verdict is not Verdict.UNINSTALLED or absent is None:
        return result.verdict
    if absent["why"].startswith("it is not"):
        return Verdict.AIRFLOWS if absent["module"].startswith("airflow.") else Verdict.UNPUBLISHED
    return Verdict.REFUSED  # the package that we know by this module does not bring it


def _try_in(file: DagFile, python_for: PythonFor, here: Here | None = None) -> Result:
    variables: dict[str, str] = {}
    while True:
        try:
            loadable = Loadable(variables=variables)
            done = compile_opened(
                file.project, python_for=python_for, deadline_s=DEADLINE_S, loadable=loadable, here=here
            )
            return Result(file, dags=len(done.specs))
        except DagCompileError as refusal:
            missing = _missing_in(refusal) - variables.keys()
            if not missing or len(variables) >= MAX_VARIABLES:
                return _refused(file, refusal, python_for, has_made_up=bool(variables))
            variables |= dict.fromkeys(missing, MADE_UP)
        except EnvironmentFailed as failure:
            reason = "its packages cannot be installed here"
            return Result(file, error=str(failure), reason=reason, verdict=Verdict.UNINSTALLED)
        except Exception as fault:  # what the corpus is there to find
            reason = f"a fault of ours: {type(fault).__name__}"
            return Result(file, error=repr(fault), reason=reason, verdict=Verdict.REFUSED)


def _missing_in(refusal: DagCompileError) -> set[str]:
    """The variables that it wants: the first that was read, and those that the files' text names."""
    found: set[str] = set()
    for one in (refusal, *refusal.others):
        named = re.match(
            r"Variable\.get\('(?P<name>.*)'\) finds no variable|\d+ variables are read .*: (?P<all>.*)", one.what
        )
        found |= set((named["name"] or named["all"]).split(", ")) if named else set()
    return found


def _refused(file: DagFile, refusal: DagCompileError, python_for: PythonFor, *, has_made_up: bool) -> Result:
    reason = _kind_of(refusal)
    verdict = _verdict(file, refusal, reason, python_for, has_made_up=has_made_up)
    return Result(file, error=str(refusal), reason=reason, verdict=verdict)


def _verdict(
    file: DagFile, refusal: DagCompileError, reason: str, python_for: PythonFor, *, has_made_up: bool
) -> Verdict:
    absent = HAS_NO_MODULE.match(f"{refusal.what}; {refusal.why}")
    if absent is not None and not _is_on_path(file, absent["module"]):
        return (
            Verdict.AIRFLOWS
            if _is_in_tree(file, absent["module"])
            else _verdict_without(absent["module"], absent["why"])
        )
    if REMOVED in refusal.why:
        return Verdict.AIRFLOWS
    if LATER.search(f"{reason} {refusal.remedy}"):
        return Verdict.WAITS
    is_raised = refusal.what.startswith("loading it raised")
    has_missed = has_made_up or any(read.digest == NOTHING for read in refusal.reads)
    if OWNERS.search(reason) or (is_raised and (has_missed or "environ" in _line_of(file, refusal))):
        return Verdict.OWNERS
    # of the file's own line, and beside what the shim refused: a fault of the second loader has no line of the file
    is_beside = bool(refusal.others) or _is_raised_by_sdk(file, refusal, python_for)
    return Verdict.AIRFLOWS if is_raised and is_beside and refusal.line > 1 else Verdict.REFUSED


def _verdict_without(module: str, why: str) -> Verdict:
    if LATER.search(module):
        return Verdict.WAITS
    if module.startswith("airflow.") and not module.startswith("airflow.providers."):
        return Verdict.AIRFLOWS
    return Verdict.UNPUBLISHED if why.startswith("no file") else Verdict.UNINSTALLED


def _is_raised_by_sdk(file: DagFile, refusal: DagCompileError, python_for: PythonFor) -> bool:
    """Is it stopped at the same line where Airflow's own packages load it?"""
    try:
        compile_opened(file.project, python_for=python_for, deadline_s=DEADLINE_S, only=Loader.SDK)
    except DagCompileError as error:
        return (error.path, error.line) == (refusal.path, refusal.line)
    except LeoflowError:
        pass
    return False


def _is_in_tree(file: DagFile, module: str) -> bool:
    return any(_places_of(file, module))


def _is_on_path(file: DagFile, module: str) -> bool:
    """One that lies where Airflow would find it, and that we do not find, is a refusal of ours."""
    folder = file.project.folder
    return any(place == folder or place.name in ON_AIRFLOWS_PATH for place in _places_of(file, module))


def _places_of(file: DagFile, module: str) -> Iterator[Path]:
    """Folders of the repository from which it could be imported."""
    if not module.startswith("airflow."):
        inside = module.replace(".", "/")
        for path in (f"{inside}.py", f"{inside}/__init__.py"):
            for found in file.project.folder.glob(f"**/{path}"):
                yield Path(str(found).removesuffix(f"/{path}"))


def _line_of(file: DagFile, refusal: DagCompileError) -> str:
    try:
        lines = (file.project.folder / refusal.path).read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return lines[refusal.line - 1] if refusal.line <= len(lines) else ""


def _kind_of(refusal: DagCompileError) -> str:
    """The sentence without the names of this file, except those of modules and arguments, which are the reason."""
    what = re.sub(r"^(task|dag|task group|the function|the output of task) '[^']*':?", r"a \1", refusal.what)
    what = re.sub(r"=('[^']*'|\"[^\"]*\"|\[.*\]|\{.*\}|<.*>)", "", what)
    what = re.sub(r"(directory|KeyError|setting|variable): '[^']*'$", r"\1", what)
    why = re.sub(r"^/.*/python\S* (does not have it, although).*", r"it \1 its package is named", refusal.why)
    return f"{what}; {why}"[:200]
