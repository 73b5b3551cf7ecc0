"""What of other people's DAG files compiles as it is: `python -m tests.corpus [FOLDER]`, or `make corpus`.

Without a folder: the example DAGs of Airflow and its providers, and `docs/compatibility.md` is written. With one: what
Lite finds in each folder of it; the report goes to standard output.
"""

from __future__ import annotations

import argparse
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.corpus.report import table
from tests.corpus.sources import of_folder, published
from tests.corpus.trying import Result, files_of, try_file

REPOSITORY = Path(__file__).parents[2]
CACHE = REPOSITORY / ".cache" / "corpus"
PAGE = REPOSITORY / "docs" / "compatibility.md"


def main() -> int:
    options = _read_options()
    trees = published(CACHE) if options.folder is None else of_folder(options.folder.resolve())
    files = [file for tree in trees for file in files_of(tree) if re.search(options.only, file.shown)]
    attempt = partial(try_file, python=options.python)
    with ThreadPoolExecutor(options.jobs) as pool:
        tried = [_told(result, number, len(files)) for number, result in enumerate(pool.map(attempt, files), 1)]
    results = [result for result in tried if result.dags or result.error]  # the others define no DAG
    if options.folder is None and not options.only:
        PAGE.write_text(table(results, title="Compatibility"))
        sys.stderr.write(f"corpus: written to {PAGE.relative_to(REPOSITORY)}\n")
    else:
        sys.stdout.write(table(results, title=str(options.folder.name if options.folder else "Compatibility")))
    return 0


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
    parser.add_argument(
        "--only", default="", help="files that this regular expression finds by their shown name; to standard output"
    )
    parser.add_argument("--jobs", type=int, default=2, help="files at once (default 2)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
