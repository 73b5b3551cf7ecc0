"""What of other people's DAG files compiles as it is: `python -m tests.corpus [FOLDER]`, or `make corpus`.

Without a folder: the example DAGs of Airflow and its providers, and `docs/compatibility.md` is written. With one: every
DAG file below it, each folder in it being a project; the report goes to standard output.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.corpus.report import table
from tests.corpus.sources import DagFile, of_folder, published
from tests.corpus.trying import Result, try_file

REPOSITORY = Path(__file__).parents[2]
CACHE = REPOSITORY / ".cache" / "corpus"
PAGE = REPOSITORY / "docs" / "compatibility.md"


def main() -> int:
    options = _read_options()
    files = list(published(CACHE) if options.folder is None else of_folder(options.folder.resolve()))
    with ThreadPoolExecutor(options.jobs) as pool:
        results = [_told(result, number, len(files)) for number, result in enumerate(pool.map(try_file, files), 1)]
    if options.folder is None:
        PAGE.write_text(table(results, title="Compatibility"))
        sys.stderr.write(f"corpus: written to {PAGE.relative_to(REPOSITORY)}\n")
    else:
        sys.stdout.write(table(results, title=options.folder.name))
    return 0


def _told(result: Result, number: int, count: int) -> Result:
    verdict = "compiles" if result.is_compiled else f"{result.error}"
    sys.stderr.write(f"corpus: {number}/{count} {_shown(result.file)}: {verdict}\n")
    return result


def _shown(file: DagFile) -> str:
    return f"{file.source}/{file.name}"


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.corpus", description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="a folder of projects with DAG files")
    parser.add_argument("--jobs", type=int, default=2, help="files at once (default 2)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
