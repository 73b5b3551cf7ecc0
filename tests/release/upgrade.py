"""Work of the release before goes on under this code: `python -m tests.release.upgrade`.

`--from COMMIT`: by default the newest tag, or, where there is none, the last merge. Its Lite is started on a new data
folder with the packages that are installed here, and given runs that are at every stage: a task in the middle of its
work, one that waits to be tried again, a wait, a mapped task, a run behind `max_active_runs`. Then it is ended, once as
an upgrade does it (SIGTERM) and once by SIGKILL, after which the agent of its tries goes on; this code starts on the
same folder, and all of it has to end green, with no task run again that had ended.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from leoflowd.lite.postgres import paths_for
from loadtests.lite_process import Api, Lite, temporary_folder, wait_until
from tests.conftest import PATIENCE_S, REPOSITORY, pinned_wheel

RUNS = 3
DAG = """\
import time
from pathlib import Path

from airflow.providers.standard.sensors.filesystem import FileSensor
from airflow.sdk import DAG, task


def mark(ti, dag_run, what):
    with open(dag_run.conf["marks"], "a") as file:
        file.write(f"{ti.run_id} {ti.task_id} {ti.map_index} {what}\\n")


@task
def first(ti=None, dag_run=None):
    mark(ti, dag_run, "end")
    return [1, 2, 3]


@task(retries=5, retry_delay=0.2)
def hold(ti=None, dag_run=None):
    mark(ti, dag_run, "begin")
    while not Path(dag_run.conf["go"]).exists():
        time.sleep(0.1)
    mark(ti, dag_run, "end")
    return 10


@task(retries=1, retry_delay=20)
def flaky(ti=None, dag_run=None):
    mark(ti, dag_run, "begin")
    if ti.try_number == 1:
        raise ValueError("the first try fails")
    mark(ti, dag_run, "end")


@task
def each(number, ti=None, dag_run=None):
    mark(ti, dag_run, "end")
    return number


@task
def add_up(numbers, held, ti=None, dag_run=None):
    mark(ti, dag_run, "end")
    assert sum(numbers) + held == 16, (list(numbers), held)


with DAG("upgraded", schedule=None, max_active_runs=2):
    numbers, held = first(), hold()
    arrives = FileSensor(task_id="arrives", filepath="{{ dag_run.conf['go'] }}", poke_interval=0.5)
    [numbers >> arrives, flaky()] >> add_up(each.expand(number=numbers), held)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--from", dest="before", help="a commit; default: the newest tag, or the last merge")
    given = parser.parse_args()
    before = given.before or newest()
    told = []
    with temporary_folder("leoflow-upgrade-") as root, unpacked(before, root) as code:
        for name, end in (("SIGTERM", Lite.terminate), ("SIGKILL", Lite.kill_daemon)):
            told.append(upgraded(root / name, code, name, end))
            say(f"{before}, ended by {name}: {told[-1]}")
    print(json.dumps({"from": commit_of(before), "to": commit_of("HEAD"), "upgrades": told}, indent=1))
    return 0


def newest() -> str:
    tags = git("tag", "--merged", "HEAD", "--sort=-creatordate").split()
    return tags[0] if tags else git("log", "--merges", "-1", "--format=%h").strip()


@contextmanager
def unpacked(commit: str, root: Path) -> Iterator[Path]:
    """A checkout of that commit that git knows nothing of."""
    folder = root / "before"
    folder.mkdir()
    with subprocess.Popen(["git", "-C", REPOSITORY, "archive", commit], stdout=subprocess.PIPE) as archive:
        assert archive.stdout is not None
        with tarfile.open(fileobj=archive.stdout, mode="r|") as tar:
            tar.extractall(folder, filter="data")
    yield folder


def upgraded(root: Path, code: Path, name: str, end: Callable[[Lite], Any]) -> dict[str, Any]:
    """What was there before, and how long it took this code to bring it to its end."""
    project = root / "workspace" / "upgraded"
    project.mkdir(parents=True)
    (project / "dag.py").write_text(DAG)
    marks, go = root / "marks", root / "go"
    marks.touch()
    env = {"LEOFLOW_UI_WHEEL": str(pinned_wheel())}
    with Lite(workspace=root / "workspace", data_dir=root / "data", env=env, code=code) as lite:
        with lite.api() as api:
            api.wait_for_dags("upgraded")
            api.unpause("upgraded")
            runs = [api.trigger("upgraded", conf={"marks": str(marks), "go": str(go)}) for _ in range(RUNS)]
            wait_until(lambda: stages(api, runs) >= STAGES, within_s=PATIENCE_S, what=f"{STAGES}")
            found = stages(api, runs)
        migrations = applied(lite)
        end(lite)
        lite.code = None
        began = time.monotonic()
        lite.start()
        ready_s = time.monotonic() - began
        go.touch()
        with lite.api() as api:
            ended = [api.wait_for_run("upgraded", run)["state"] for run in runs]
            tasks = [api.states("upgraded", run) for run in runs]
            version = api.call("GET", "/version")["version"]
        assert ended == ["success"] * RUNS, (name, ended, tasks, lite.output()[-4000:])
        assert all(set(states.values()) == {"success"} for states in tasks), tasks
        twice = [line for line, count in Counter(marks.read_text().splitlines()).items() if count > 1 and "end" in line]
        assert twice == [], f"these had ended, and ran again: {twice}"
        return {
            "ended by": name,
            "underway": sorted(found),
            "migrations": [migrations, applied(lite)],
            "ready_s": round(ready_s, 1),
            "all_green_after_s": round(time.monotonic() - began, 1),
            "airflow_version": version,
        }


STAGES = {"hold running", "flaky up_for_retry", "arrives deferred", "each success", "a run queued"}


def stages(api: Api, runs: list[str]) -> set[str]:
    found = {f"{task} {state}" for run in runs for task, state in api.states("upgraded", run).items()}
    found = {one.replace("[0]", "") for one in found}
    return (found & STAGES) | {f"a run {api.run('upgraded', run)['state']}" for run in runs} & STAGES


def applied(lite: Lite) -> int:
    with psycopg.connect(paths_for(lite.data_dir).admin_conninfo("leoflow")) as connection:
        row = connection.execute("SELECT max(number) FROM schema_migration").fetchone()
        assert row is not None
        return int(row[0])


def commit_of(revision: str) -> str:
    return git("log", "-1", "--format=%h %cs %s", revision).strip()


def git(*arguments: str) -> str:
    return subprocess.run(["git", "-C", REPOSITORY, *arguments], check=True, capture_output=True, text=True).stdout


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
