"""Both loaders write down the same: `python -m tests.oracle.artifacts --python PYTHON [--sample N --seed S]` (ADR 40).

For every file of the corpus that the shim and Airflow's own SDK load, the two artifacts are equal. `PYTHON` has the
packages that the files import. Ends with 1 when a difference is found that `_is_for_people` does not know.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from leoflowd.authoring.compiler import Loader, compile_opened
from leoflowd.authoring.errors import DagCompileError
from tests.corpus.sources import of_folder, published
from tests.corpus.trying import DagFile, files_of

CACHE = Path(__file__).parents[2] / ".cache" / "corpus"
AS_WRITTEN = re.compile(r"[A-Za-z_][\w.]*(\(.*\)|\.[A-Z_0-9]+(\.value)?)", re.DOTALL)
"""How the shim shows a value of a package that it cannot make: `Secret('env', None)`, `OnFinishAction.DELETE_POD`."""


def main() -> int:
    options = _read_options()
    trees = published(CACHE) if options.folder is None else of_folder(options.folder.resolve())
    files = [file for tree in trees for file in files_of(tree)]
    if options.sample:
        files = random.Random(options.seed).sample(files, min(options.sample, len(files)))
    counts = {"equal": 0, "different": 0, "not by both": 0}
    for number, file in enumerate(files, 1):
        found = list(differences(file, options.python))
        verdict = "not by both" if found == [None] else "different" if found else "equal"
        counts[verdict] += 1
        sys.stdout.write(f"{number}/{len(files)} {file.shown}: {verdict}\n")
        sys.stdout.writelines(f"    {line}\n" for line in found if line is not None)
        sys.stdout.flush()
    sys.stdout.write(f"{counts}\n")
    return 1 if counts["different"] else 0


def differences(file: DagFile, python: str) -> Iterator[str | None]:
    """Paths in the artifact with both values; one None when only one of the two loads it."""
    try:
        one, other = (_load(file, python, loader) for loader in (Loader.SHIM, Loader.SDK))
    except DagCompileError:
        yield None
        return
    yield from _between(one, other, "")


def _load(file: DagFile, python: str, loader: Loader) -> Any:
    specs = compile_opened(file.project, python=python, only=loader, deadline_s=120).specs
    return json.loads(msgspec.json.encode([msgspec.structs.replace(one, loaded_by="shim") for one in specs]))


def _between(one: Any, other: Any, path: str) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from _between(one.get(key), other.get(key), f"{path}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (this, that) in enumerate(zip(one, other, strict=True)):
            yield from _between(this, that, f"{path}[{index}]")
    elif one != other and not _is_for_people(path, one):
        yield f"{path}: {str(one)[:200]!r} by the shim, {str(other)[:200]!r} by Airflow"


def _is_for_people(path: str, by_shim: Any) -> bool:
    """Arguments as the UI shows them; what they are is decided when the task runs, by the same file."""
    is_shown = ".template_values." in path or ".default_args." in path
    return is_shown and isinstance(by_shim, str) and AS_WRITTEN.fullmatch(by_shim) is not None


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.artifacts", description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="a folder of projects; else the published examples")
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has what the files import")
    parser.add_argument("--sample", type=int, help="this many files, drawn by --seed")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
