"""Two daemons on one database: one leads, the other serves API and agents; either may stop, die and come back."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from loadtests.lite_process import Lite, LiteError, temporary_folder, wait_until

DAG_ID, POOLS_ID = "two_daemons", "two_pools"
SENSORS = 24
DAG = """\
import time
from pathlib import Path

from airflow.providers.standard.sensors.filesystem import FileSensor
from airflow.sdk import DAG, task


@task
def wait(number, dag_run=None):
    folder = Path(dag_run.conf["folder"])
    with (folder / "notes").open("a") as notes:
        notes.write(f"started {number}\\n")
    until = time.monotonic() + 240
    while not (folder / "go").exists():
        assert time.monotonic() < until
        time.sleep(0.1)
    with (folder / "notes").open("a") as notes:
        notes.write(f"finished {number}\\n")
    return number


@task
def total(numbers):
    return sum(numbers)


with DAG("two_daemons", schedule=None):
    total([wait.override(task_id=f"wait_{number}")(number) for number in range(4)])

with DAG("two_pools", schedule=None):
    for number in range(SENSORS):
        FileSensor(task_id=f"see_{number}", filepath="{{ dag_run.conf['folder'] }}/seen", poke_interval=0.5)
""".replace("SENSORS", str(SENSORS))
ONCE = Counter(f"{word} {number}" for word in ("started", "finished") for number in range(4))


class Pair:
    """Two Lites with one workspace. `first` brings the Postgres, which outlives a kill of its daemon."""

    def __init__(self, root: Path, env: dict[str, str]) -> None:
        self.root = root
        project = root / "workspace" / DAG_ID
        project.mkdir(parents=True)
        (project / "dag.py").write_text(DAG)
        self.first = Lite(workspace=root / "workspace", data_dir=root / "first", env=env)
        self.second = Lite(workspace=root / "workspace", data_dir=root / "second", env=env)

    @property
    def conninfo(self) -> str:
        return (self.root / "first" / "postgres.conninfo").read_text().strip()

    def start(self) -> None:
        self.first.start()
        with self.first.api() as api:
            api.wait_for_dags(DAG_ID, POOLS_ID)
            api.unpause(DAG_ID)
            api.unpause(POOLS_ID)
        self.start_second()

    def start_second(self) -> None:
        self.second.start(LEOFLOW_POSTGRES=self.conninfo)

    def reports(self) -> int:
        with psycopg.connect(self.conninfo) as connection:
            row = connection.execute("SELECT count(*) FROM report").fetchone()
        assert row is not None
        return int(row[0])


class Work:
    """A run whose four tasks have started on the agent of `at`, and wait."""

    def __init__(self, at: Lite, folder: Path) -> None:
        folder.mkdir()
        folder.chmod(0o777)
        self._folder = folder
        with at.api() as api:
            self.run_id = api.trigger(DAG_ID, conf={"folder": str(folder)})
        wait_until(lambda: len(self.notes()) == 4, within_s=60, what="four tasks to start")

    def notes(self) -> list[str]:
        path = self._folder / "notes"
        return path.read_text().splitlines() if path.exists() else []

    def release(self) -> None:
        (self._folder / "go").touch()

    def ends_well(self, seen_by: Lite) -> None:
        """Each task ran once, in its first try, wherever it was decided."""
        with seen_by.api() as api:
            assert api.wait_for_run(DAG_ID, self.run_id, within_s=60)["state"] == "success"
            instances = api.task_instances(DAG_ID, self.run_id)
            assert {instance["try_number"] for instance in instances.values()} == {1}
            assert api.xcoms(DAG_ID, self.run_id)["total"]["return_value"] == 6
        assert Counter(self.notes()) == ONCE


@pytest.fixture
def pair(lite_environment: dict[str, str], artifacts: Path) -> Iterator[Pair]:
    with temporary_folder("leoflow-pair-") as root:
        pair = Pair(root, lite_environment)
        try:
            pair.start()
            yield pair
        finally:
            pair.second.end()
            pair.first.end()
            outputs = [path.read_text(errors="replace") for path in sorted(root.glob("*.output-*.txt"))]
            (artifacts / "two-daemons.txt").write_text("\n--- next start ---\n".join(outputs))


def leads(lite: Lite) -> bool:
    try:
        with lite.api() as api:
            tree = api.http.get("/api/v2/leoflow/tree").json()
    except LiteError:
        return False
    (leadership,) = [node for node in tree["children"] if node["name"] == "leadership"]
    (lock,) = [node for node in leadership["children"] if node["name"] == "lock"]
    return bool(lock["statistics"]["leading"])


def wait_to_lead(lite: Lite) -> None:
    wait_until(lambda: leads(lite), within_s=30, what=f"{lite.data_dir.name} to lead")


def share(lite: Lite) -> tuple[int, int]:
    """(shards, file sensors) that this daemon watches."""
    with lite.api() as api:
        pool = api.http.get("/leoflow/api/pool").json()
    return pool["shards"], pool["waits"].get("file", 0)


def test_daemons_share_the_waits_and_the_one_that_is_left_watches_all(pair: Pair) -> None:
    wait_until(lambda: 0 < share(pair.second)[0] < 64, within_s=30, what="the second to have its share")
    folder = pair.root / "pools"
    folder.mkdir()
    with pair.first.api() as api:
        run_id = api.trigger(POOLS_ID, conf={"folder": str(folder)})
    wait_until(lambda: share(pair.first)[1] + share(pair.second)[1] == SENSORS, within_s=60, what="all to be watched")
    assert share(pair.first)[0] + share(pair.second)[0] == 64
    assert 0 < share(pair.second)[1] < SENSORS

    # Asked of the one, done by the other.
    with pair.second.api() as api:
        waits = api.http.get("/leoflow/api/waits", params={"dag_id": POOLS_ID}).json()["waits"]
        elsewhere = next(wait for wait in waits if wait["is_elsewhere"])
        assert api.http.post(f"/leoflow/api/waits/{elsewhere['id']}/fire").status_code == 202
        wait_until(
            lambda: api.states(POOLS_ID, run_id)[elsewhere["task_id"]] == "success", within_s=30, what="it to be fired"
        )

    pair.second.kill_daemon()
    wait_until(lambda: share(pair.first) == (64, SENSORS - 1), within_s=30, what="the first to watch all that is left")
    (folder / "seen").touch()
    with pair.first.api() as api:
        assert api.wait_for_run(POOLS_ID, run_id, within_s=60)["state"] == "success"
        assert {one["try_number"] for one in api.task_instances(POOLS_ID, run_id).values()} == {1}


def test_leaders_that_stop_die_and_come_back_lose_and_double_nothing(pair: Pair) -> None:
    assert leads(pair.first)
    assert not leads(pair.second)

    # The leader is frozen: the other leads, and it comes back as a follower whose agent still has the tries.
    frozen = Work(pair.first, pair.root / "frozen")
    pair.first.send(signal.SIGSTOP)
    wait_to_lead(pair.second)
    pair.first.send(signal.SIGCONT)
    wait_until(lambda: not leads(pair.first), within_s=30, what="the first to follow")
    frozen.release()
    frozen.ends_well(seen_by=pair.second)
    frozen.ends_well(seen_by=pair.first)
    assert pair.reports() == 0

    # The leader is killed: the other leads at once, the killed one's agent reports through it when it is back.
    killed = Work(pair.second, pair.root / "killed")
    pair.second.kill_daemon()
    wait_to_lead(pair.first)
    killed.release()
    wait_until(lambda: len(killed.notes()) == 8, within_s=30, what="the tasks to end without their daemon")
    pair.start_second()
    assert not leads(pair.second)
    killed.ends_well(seen_by=pair.second)

    # What is asked of a follower is done by the leader.
    asked = Work(pair.second, pair.root / "asked")
    asked.release()
    asked.ends_well(seen_by=pair.first)
    assert pair.reports() == 0
