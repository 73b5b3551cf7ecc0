"""Commands of the published `airflowctl`, run in its own interpreter: URL USERNAME PASSWORD NAMES -> JSON.

NAMES is a JSON object: `dag_id`, `run_id` and `task_id` of a run that has ended, `waiting` (a DAG that waits for the
asset `asset_id` and has an event of it), `alias_id`, `import_error_id`. Answers `{"faults": {command: what it printed},
"missing": [commands that were not run]}`.

Each command is the program's own `main` in a fork of this process: one import instead of eighty.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

from airflowctl.__main__ import main as airflowctl
from airflowctl.ctl import cli_parser

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
folder = Path(os.environ["AIRFLOW_HOME"])
faults: dict[str, str] = {}
called: set[str] = set()


def run(*command: str) -> tuple[int, str]:
    """Exit code and what it printed."""
    with tempfile.TemporaryFile() as output:
        if not (child := os.fork()):
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            sys.argv = ["airflowctl", *command]
            code = 1
            try:
                code = _ended()
            finally:  # whatever it raised: behind the fork nothing of this script may go on
                if error := sys.exc_info()[1]:
                    traceback.print_exception(error)
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        output.seek(0)
        return os.waitstatus_to_exitcode(status), COLOURS.sub("", output.read().decode())


def _ended() -> int:
    try:
        airflowctl()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def call(command: str, *arguments: object, says: str = "") -> str:
    """It ends well, and `says` is in what it printed without line breaks."""
    called.add(command)
    code, printed = run(*command.split(), *map(str, arguments))
    if code != 0 or says not in re.sub(r"\s*\n\s*", "", printed):
        faults[command] = f"exit code {code}, wanted {says!r} in: {printed[-1500:]}"
    return printed


def written(name: str, content: object) -> Path:
    path = folder / name
    path.write_text(json.dumps(content))
    return path


def commands(parser: argparse.ArgumentParser, name: str = "") -> Iterator[str]:
    """All that this release has."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield name
    for group in groups:
        for word, inner in group.choices.items():
            yield from commands(inner, f"{name} {word}".strip())


def main(url: str, username: str, password: str, names: dict[str, str]) -> None:
    login(url, username, password)
    reading(names)
    assets(names)
    backfills(names["dag_id"])
    dags(names["dag_id"])
    xcoms(names)
    connections()
    pools()
    variables()
    call("dags delete", names["waiting"])
    print(json.dumps({"faults": faults, "missing": sorted(set(commands(cli_parser.get_parser())) - called)}))


def login(url: str, username: str, password: str) -> None:
    """By password into a file and by a token that is kept nowhere: a keyring is of a desktop."""
    here = ("--api-url", url)
    os.environ["AIRFLOW_CLI_DEBUG_MODE"] = "true"
    call("auth login", *here, "--username", username, "--password", password, says="Login successful")
    call("version", "--remote", says="3.2.2")
    del os.environ["AIRFLOW_CLI_DEBUG_MODE"]
    token = call("auth token", *here, "--username", username, "--password", password, says=".").split()[-1]
    os.environ["AIRFLOW_CLI_TOKEN"] = token
    call("auth login", *here, "--skip-keyring", says="Login successful")
    call("auth list-envs", says=url)


def reading(names: dict[str, str]) -> None:
    dag_id, run_id = names["dag_id"], names["run_id"]
    call("config list", says='"key": "workers"')
    call("config get", "pool", "workers", says="workers")
    call("config lint")
    call("jobs list", says="SchedulerJob")
    call("plugins list")
    call("plugins list-import-errors")
    call("providers list")
    call("dags list", says=dag_id)
    call("dags get", dag_id, says=dag_id)
    call("dags get-details", dag_id, says=dag_id)
    call("dags next-execution", dag_id, says="next")
    call("dags get-stats", dag_id, says=dag_id)
    call("dags get-tags", says="of-airflowctl")
    call("dags list-version", dag_id, says='"version_number": "1"')
    call("dags get-version", dag_id, 1, says='"version_number": "1"')
    call("dags list-warning")
    call("dags list-import-errors", says="no_such_module")
    call("dags get-import-error", names["import_error_id"], says="no_such_module")
    call("dagrun get", dag_id, run_id, says=run_id)
    call("dagrun list", "--dag-id", dag_id, "--state", "success", "--limit", 5, says=run_id)


def assets(names: dict[str, str]) -> None:
    asset_id, waiting = names["asset_id"], names["waiting"]
    call("assets list", says="of-airflowctl")
    call("assets get", asset_id, says="of-airflowctl")
    call("assets list-by-alias", says="alias-of-airflowctl")
    call("assets get-by-alias", names["alias_id"], says="alias-of-airflowctl")
    call("assets get-queued-events", asset_id, says=waiting)
    call("assets get-dag-queued-events", waiting, "2100-01-01T00:00:00Z", says=waiting)
    call("assets get-dag-queued-event", waiting, asset_id, says=waiting)
    call("assets delete-queued-event", waiting, asset_id)
    call("assets delete-dag-queued-events", waiting, "2100-01-01T00:00:00Z")
    call("assets delete-queued-events", asset_id)
    call("assets create-event", "--asset-id", asset_id, says="of-airflowctl")
    call("assets materialize", asset_id, says="asset_materialization")


def backfills(dag_id: str) -> None:
    days = ("--dag-id", dag_id, "--from-date", "2025-12-02T00:00:00+00:00", "--to-date", "2025-12-03T00:00:00+00:00")
    how = ("--max-active-runs", 1, "--reprocess-behavior", "none")
    call("backfill create-dry-run", *days, *how, says="2025-12-02")
    made = call("backfill create", *days, *how, says=dag_id)
    found = re.search(r'"id": "(\d+)"', made)
    backfill_id = found[1] if found else 0
    call("backfill list", dag_id, says=dag_id)
    call("backfill get", backfill_id, says=dag_id)
    call("backfill pause", backfill_id, says='"is_paused": "True"')
    call("backfill unpause", backfill_id, says='"is_paused": "False"')
    call("backfill cancel", backfill_id, says="completed_at")


def dags(dag_id: str) -> None:
    call("dags pause", dag_id, says='"is_paused": "True"')
    call("dags unpause", dag_id, says='"is_paused": "False"')
    call("dags update", dag_id, "--no-is-paused", says='"is_paused": "False"')
    day = ("--logical-date", "2026-02-03T00:00:00Z")
    call("dags trigger", dag_id, *day, "--note", "by airflowctl", says="by airflowctl")


def xcoms(names: dict[str, str]) -> None:
    of = (names["dag_id"], names["run_id"], names["task_id"])
    call("xcom list", *of, says="return_value")
    call("xcom add", *of, "added", '"first"', says="added")
    call("xcom get", *of, "added", says="first")
    call("xcom edit", *of, "added", '"edited"', says="edited")
    call("xcom delete", *of, "added", says="added")


def connections() -> None:
    name = ("--connection-id", "of_airflowctl")
    host = ("--conn-type", "http", "--host")
    call("connections create", *name, *host, "one.invalid", says="one.invalid")
    call("connections get", "of_airflowctl", says="one.invalid")
    call("connections update", *name, *host, "two.invalid", says="two.invalid")
    call("connections list", says="two.invalid")
    call("connections delete", "of_airflowctl", says="of_airflowctl")
    call("connections import", written("connections.json", {"imported": {"conn_type": "http", "host": "i.invalid"}}))
    call("connections delete", "imported", says="imported")
    call("connections test", *name, "--conn-type", "http", "--host", "127.0.0.1")
    call("connections create-defaults")


def pools() -> None:
    call("pools create", "--name", "of_airflowctl", "--slots", 3, says="of_airflowctl")
    call("pools get", "of_airflowctl", says='"slots": "3"')
    call("pools update", "--pool", "of_airflowctl", "--slots", 4, says='"slots": "4"')
    call("pools list", says="of_airflowctl")
    call("pools export", folder / "exported.json")
    call("pools delete", "of_airflowctl", says="of_airflowctl")
    call("pools import", folder / "exported.json")
    call("pools get", "of_airflowctl", says='"slots": "4"')


def variables() -> None:
    name = ("--key", "of_airflowctl")
    call("variables create", *name, "--value", "one", says="one")
    call("variables get", "of_airflowctl", says="one")
    call("variables update", *name, "--value", "two", says="two")
    call("variables list", says="two")
    call("variables delete", "of_airflowctl", says="of_airflowctl")
    call("variables import", written("variables.json", {"of_airflowctl": {"value": "three"}}))
    call("variables get", "of_airflowctl", says="three")


if __name__ == "__main__":
    main(*sys.argv[1:4], json.loads(sys.argv[4]))
