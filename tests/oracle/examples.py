"""Airflow's example DAGs end here as they end there: `python -m tests.oracle.examples`, of `make oracle`.

`leoflow test` beside `dag.test()` of Airflow: states of the run and of all instances, and XComs. Only
examples that need no outside service, nobody's answer and no other DAG. Ends with 1 when one differs that `KNOWN` does
not name.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.lite.environments import Environments
from tests.oracle.__main__ import CACHE

CORE = (
    *("example_branch_labels", "example_complex", "example_display_name"),
    *("example_dynamic_task_mapping", "example_dynamic_task_mapping_with_no_taskflow_operators", "example_failed_dag"),
    *("example_latest_only_with_trigger", "example_nested_branch_dag", "example_params_ui_tutorial"),
    *("example_passing_params_via_test_command", "example_setup_teardown", "example_setup_teardown_taskflow"),
    *("example_simplest_dag", "example_skip_dag", "example_task_group", "example_task_group_decorator"),
    *("example_xcom", "example_xcomargs", "tutorial_dag", "tutorial_taskflow_api"),
    "tutorial",
)
STANDARD = (
    *("example_bash_decorator", "example_bash_operator", "example_branch_datetime_operator", "example_latest_only"),
    *("example_branch_day_of_week_operator", "example_short_circuit_decorator", "example_short_circuit_operator"),
)
REFUSED = {"refused": True}
"""A run that is not begun, such as for want of a param; each says so in its own words."""
ONE_TAKES_S = 600
"""At most, here or there."""
KNOWN: dict[str, str] = {}
"""DAG ids that differ on purpose: docs/differences.md has the reasons."""
_OF_THE_RUN = re.compile(
    r"(manual|test)__[0-9T:.+-]+(_[0-9a-f]{8})?|\d{4}-\d\d-\d\d[T ][\d:.]+([+-][\d:]+|Z)?( UTC)?|\d{8}T\d{6}"
    r"|[A-Z][a-z]{2} [A-Z][a-z]{2} +\d+ [\d:]+ [A-Z]+ \d{4}|/tmp/[\w./-]+"
)
"""Ids, moments and folders, which differ because the runs do."""


def main() -> int:
    options = _read_options()
    with tempfile.TemporaryDirectory(prefix="oracle-") as folder:
        files = [*_copied(options.airflow_python, Path(folder), options.only)]
        airflow = subprocess.Popen(
            [options.airflow_python, Path(__file__).with_name("dag_test_in_airflow.py"), folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        counts = {"equal": 0, "different": 0, "known to differ": 0}
        for file in files:
            for dag_id in _ask(airflow, file.name):
                ours, theirs = _ours(file, dag_id), _ask(airflow, dag_id)
                found = [*_between(ours, REFUSED if "error" in theirs and ours is REFUSED else theirs, "")]
                verdict = "equal" if not found else "known to differ" if dag_id in KNOWN else "different"
                counts[verdict] += 1
                sys.stdout.write(f"{file.stem} {dag_id}: {verdict}\n")
                sys.stdout.writelines(f"    {line}\n" for line in found)
                sys.stdout.flush()
        assert airflow.stdin is not None
        airflow.stdin.close()
        airflow.wait()
    sys.stdout.write(f"{counts}\n")
    return 1 if counts["different"] else 0


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.examples", description=__doc__.splitlines()[0])
    parser.add_argument("--airflow-python", type=Path, help="an interpreter that has Airflow; else one is installed")
    parser.add_argument("--only", default="", help="files whose name has this")
    options = parser.parse_args()
    if options.airflow_python is None:
        options.airflow_python = Environments(CACHE).ensure(EnvironmentSpec(connectors=("http",)))
    return options


def _copied(python: Path, folder: Path, only: str) -> Iterator[Path]:
    where = "import airflow, airflow.providers.standard as s; print(airflow.__path__[0]); print(s.__path__[0])"
    found = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True).stdout.split()
    for package, names in zip(found, (CORE, STANDARD), strict=True):
        for name in names:
            if only in name:
                source = Path(package) / "example_dags" / f"{name}.py"
                yield Path(shutil.copy(source, folder))


def _ours(file: Path, dag_id: str) -> Any:
    text = _leoflow("test", file, "--dag-id", dag_id, "-o", "json")
    if not text:
        return REFUSED
    ran = json.loads(text)
    return {
        "state": ran["state"],
        "task_instances": {
            f"{one['task_id']}[{one.get('map_index', -1)}]": {"state": one["state"], "xcoms": one["xcoms"]}
            for one in ran["task_instances"]
        },
    }


def _leoflow(*arguments: Any) -> str:
    command = [Path(sys.executable).with_name("leoflow"), *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=ONE_TAKES_S).stdout


def _ask(airflow: subprocess.Popen[str], name: str) -> Any:
    assert airflow.stdin is not None
    assert airflow.stdout is not None
    airflow.stdin.write(f"{name}\n")
    airflow.stdin.flush()
    deadline = threading.Timer(ONE_TAKES_S, airflow.kill)
    deadline.start()
    try:
        line = airflow.stdout.readline()
    finally:
        deadline.cancel()
    if not line:
        raise RuntimeError(f"Airflow's process ended, or was ended after {ONE_TAKES_S} s, at {name}")
    return json.loads(line)


def _between(ours: Any, theirs: Any, path: str) -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted({*ours, *theirs}):
            yield from _between(ours.get(key, "(missing)"), theirs.get(key, "(missing)"), f"{path}.{key}".lstrip("."))
    elif "skipmixin_key" in path and sorted(ours) == sorted(theirs):
        return  # made of a set
    elif _settled(ours) != _settled(theirs):
        yield f"{path}: {json.dumps(ours)[:200]}, there {json.dumps(theirs)[:200]}"


def _settled(value: Any) -> str:
    return _OF_THE_RUN.sub("...", json.dumps(value, sort_keys=True))


if __name__ == "__main__":
    sys.exit(main())
