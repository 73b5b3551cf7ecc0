"""What of other people's DAG files compiles as it is: `python -m tests.corpus [FOLDER]`, or `make corpus`.

Without a folder: the example DAGs of Airflow and its providers, and `docs/compatibility.md` is written. With one: what
Lite finds in each folder of it; the report goes to standard output.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from leoflowd.lite.environments import Environments
from tests.corpus.report import public, table, with_half
from tests.corpus.sources import Tree, of_folder, published
from tests.corpus.trying import Result, files_of, try_file

REPOSITORY = Path(__file__).parents[2]
CACHE = REPOSITORY / ".cache" / "corpus"
PAGE = REPOSITORY / "docs" / "compatibility.md"


def main() -> int:
    options = _read_options()
    trees = published(CACHE) if options.folder is None else of_folder(options.folder.resolve())
    attempt = partial(_try_tree, options=options)
    with ThreadPoolExecutor(options.jobs) as pool:
        results = [result for tried in pool.map(attempt, trees) for result in tried]
    if options.page or (options.folder is None and not options.only):
        half = public(results, options.sample) if options.page else table(results, title="Compatibility")
        PAGE.write_text(with_half(PAGE.read_text(), half))
        sys.stderr.write(f"corpus: written to {PAGE.relative_to(REPOSITORY)}\n")
    else:
        sys.stdout.write(table(results, title=str(options.folder.name if options.folder else "Compatibility")))
    return 0


def _try_tree(tree: Tree, options: argparse.Namespace) -> list[Result]:
    """Of its files that define a DAG; with `--sample` so many, drawn by the digests of their names."""
    files = [file for file in files_of(tree) if re.search(options.only, file.shown)]
    if options.sample is not None:
        files.sort(key=lambda file: hashlib.sha256(file.shown.encode()).digest())
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as data_dir:  # nobody's disk holds the environments of all of them
        environments = Environments(Path(data_dir)) if options.build else None
        for number, file in enumerate(files, 1):
            if options.sample is not None and len(results) >= options.sample:
                break
            result = _told(try_file(file, options.python, environments), number, len(files))
            results += [result] if result.dags or result.error else []
    return results


def _told(result: Result, number: int, count: int) -> Result:
    verdict = "compiles" if result.is_compiled else "defines no DAG"
    if result.verdict is not None:
        verdict = f"{result.verdict.value}: {result.error}"
    sys.stderr.write(f"corpus: {number}/{count} {result.file.shown}: {verdict}\n")
    return result


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.corpus", description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="a folder of projects with DAG files")
    parser.add_argument("--python", help="an interpreter that has what the files import; else this one")
    parser.add_argument("--build", action="store_true", help="install what it lacks, as Lite does it; takes a while")
    parser.add_argument(
        "--only", default="", help="files that this regular expression finds by their shown name; to standard output"
    )
    parser.add_argument("--sample", type=int, help="of each source so many files that define a DAG; default all")
    parser.add_argument("--page", action="store_true", help="write the shares of the folder into the page, unnamed")
    parser.add_argument("--jobs", type=int, default=2, help="sources at once (default 2)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
