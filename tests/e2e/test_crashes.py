"""Kill any process of Lite in the middle of running tasks: nothing is lost, nothing runs twice, nothing stays behind.

Each task appends one line to a file when it starts and one when it ends, and waits in between for a file that the test
makes; so the tests decide what is running when, and the file proves what ran.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from loadtests.lite_process import PATIENCE, Api, Lite, temporary_folder, wait_until

DAG_ID = "crash_proof"
DAG = """\
import time
from pathlib import Path

from airflow.sdk import DAG, task


def note(folder, line):
    with (folder / "notes").open("a") as notes:  # O_APPEND: one write of a short line is never torn
        notes.write(line + "\\n")


@task
def wait(number, dag_run=None):
    folder = Path(dag_run.conf["folder"])
    note(folder, f"started {number}")
    until = time.monotonic() + 120
    while not (folder / f"go-{number % 2}").exists():
        assert time.monotonic() < until
        time.sleep(0.1)
    note(folder, f"finished {number}")
    return number


@task
def total(numbers):
    return sum(numbers)


with DAG("crash_proof", schedule=None, max_active_tasks=0, params={"count": 0}):
    total([wait.override(task_id=f"wait_{number}")(number) for number in range(COUNT)])
"""
RUN_WITHIN_S = 180.0


class Scene:
    """A Lite of its own, running `count` tasks that all have started and wait."""

    def __init__(self, root: Path, count: int, env: dict[str, str]) -> None:
        self.count = count
        self.folder = root / "notes"
        self.folder.mkdir()
        self.folder.chmod(0o777)
        project = root / "workspace" / DAG_ID
        project.mkdir(parents=True)
        (project / "dag.py").write_text(DAG.replace("COUNT", str(count)))
        self.lite = Lite(workspace=root / "workspace", data_dir=root / "data", env=env)

    def start_run(self) -> None:
        self.lite.start()
        with self.lite.api() as api:
            api.wait_for_dags(DAG_ID)
            api.unpause(DAG_ID)
            self.run_id = api.trigger(DAG_ID, conf={"folder": str(self.folder)})
        wait_until(lambda: len(self.notes()) == self.count, within_s=120, what=f"{self.count} tasks to start")

    def notes(self) -> list[str]:
        path = self.folder / "notes"
        return path.read_text().splitlines() if path.exists() else []

    def release(self, parity: int) -> None:
        """Let every second task end."""
        (self.folder / f"go-{parity}").touch()

    def wait_for_notes(self, count: int) -> None:
        wait_until(lambda: len(self.notes()) >= count, within_s=60, what=f"{count} notes")

    def wait_for_end(self) -> Api:
        api = self.lite.api()
        assert api.wait_for_run(DAG_ID, self.run_id, within_s=RUN_WITHIN_S)["state"] == "success"
        return api

    def expected_notes(self) -> Counter[str]:
        return Counter(f"{word} {number}" for word in ("started", "finished") for number in range(self.count))


@pytest.fixture
def root() -> Iterator[Path]:
    with temporary_folder("leoflow-crash-") as folder:
        yield folder


@pytest.fixture
def scene(
    root: Path, lite_environment: dict[str, str], request: pytest.FixtureRequest, artifacts: Path
) -> Iterator[Scene]:
    """All tasks running. Afterwards nothing of it is left, whatever the test did."""
    scene = Scene(root, request.param, {**lite_environment, "LEOFLOW_SCHEDULER_AGENT_SILENCE_S": "15"})
    try:
        scene.start_run()
        yield scene
    finally:
        scene.lite.end()
        outputs = [path.read_text(errors="replace") for path in sorted(root.glob("*.output-*.txt"))]
        (artifacts / f"{request.node.originalname}.txt").write_text("\n--- next start ---\n".join(outputs))


@pytest.mark.parametrize("scene", [100], indirect=True)
def test_kill_9_of_the_daemon_with_100_running_tasks_loses_and_doubles_nothing(scene: Scene) -> None:
    scene.lite.kill_daemon()
    scene.release(0)
    scene.wait_for_notes(scene.count + scene.count // 2)  # half of them end while there is no daemon
    scene.lite.start()
    scene.release(1)
    with scene.wait_for_end() as api:
        instances = api.task_instances(DAG_ID, scene.run_id)
        assert {instance["try_number"] for instance in instances.values()} == {1}
        assert api.xcoms(DAG_ID, scene.run_id)["total"]["return_value"] == sum(range(scene.count))
    assert Counter(scene.notes()) == scene.expected_notes()


@pytest.mark.parametrize("scene", [100], indirect=True)
def test_kill_9_of_postgres_with_100_running_tasks_loses_and_doubles_nothing(scene: Scene) -> None:
    scene.lite.postmaster().kill()
    scene.release(0)
    scene.wait_for_notes(scene.count + scene.count // 2)
    scene.lite.ensure_running()
    scene.release(1)
    with scene.wait_for_end() as api:
        instances = api.task_instances(DAG_ID, scene.run_id)
        assert {instance["try_number"] for instance in instances.values()} == {1}
    assert Counter(scene.notes()) == scene.expected_notes()


@pytest.mark.parametrize("scene", [6], indirect=True)
def test_kill_9_of_the_agent_gives_its_tasks_a_new_try_with_a_reason(scene: Scene) -> None:
    agents = [process for process in scene.lite.processes() if is_agent(process)]
    assert len(agents) == 1, f"expected one agent, found {agents}"
    tries = agents[0].children(recursive=True)
    agents[0].kill()
    assert psutil.wait_procs(tries, timeout=30 * PATIENCE)[1] == []  # on a busy machine one might still end by itself
    scene.release(0)
    scene.release(1)
    with scene.wait_for_end() as api:
        waits = [i for task_id, i in api.task_instances(DAG_ID, scene.run_id).items() if task_id.startswith("wait_")]
        assert {instance["try_number"] for instance in waits} == {2}
    # The first tries died with their agent: each task started twice and ended once.
    counts = Counter(line.split()[0] for line in scene.notes())
    assert counts == {"started": 2 * scene.count, "finished": scene.count}


@pytest.mark.parametrize("scene", [6], indirect=True)
def test_a_frozen_agent_is_found_and_its_tasks_run_again(scene: Scene) -> None:
    """Its sockets stay open and the kernel holds its lock: only its silence tells."""
    [agent] = [process for process in scene.lite.processes() if is_agent(process)]
    agent.suspend()
    scene.release(0)
    scene.release(1)
    with scene.wait_for_end() as api:
        waits = [i for task_id, i in api.task_instances(DAG_ID, scene.run_id).items() if task_id.startswith("wait_")]
        assert {instance["state"] for instance in waits} == {"success"}
    assert not agent.is_running()


@pytest.mark.parametrize("scene", [6], indirect=True)
def test_ctrl_c_with_running_tasks_leaves_no_process_and_the_next_start_finishes_the_run(scene: Scene) -> None:
    code = scene.lite.interrupt()
    assert code in (0, 130), scene.lite.output()[-3000:]
    assert scene.lite.leftovers() == []
    scene.release(0)
    scene.release(1)
    scene.lite.start()
    with scene.wait_for_end():
        finished = Counter(line for line in scene.notes() if line.startswith("finished"))
    assert finished == Counter(f"finished {number}" for number in range(scene.count))


def test_ctrl_c_of_an_idle_lite_leaves_no_process(root: Path, lite_environment: dict[str, str]) -> None:
    (root / "workspace").mkdir()
    with Lite(workspace=root / "workspace", data_dir=root / "data", env=lite_environment) as lite:
        assert lite.interrupt() in (0, 130), lite.output()[-3000:]
        assert lite.leftovers() == []


def is_agent(process: psutil.Process) -> bool:
    """The agent itself, not the interpreters it started."""
    command = process.cmdline()
    return "leoflow_agent" in command and "-m" in command
