"""The workspace watcher with real compiles and real Postgres. It reports each registration; nobody sleeps."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import trio
from typing_extensions import override

from leoflowd.authoring.errors import EnvironmentFailed
from leoflowd.authoring.project import Project
from leoflowd.config import LiteConfig
from leoflowd.contract.connection import ConnectionFacts
from leoflowd.contract.dag_spec import CustomTimetable, EnvironmentSpec
from leoflowd.contract.variable import VariableFacts
from leoflowd.contract.workspace_files import WorkspaceState
from leoflowd.lite import file_watch
from leoflowd.lite.environments import Environments
from leoflowd.lite.file_watch import FileWatch
from leoflowd.lite.passwords import set_up_admin
from leoflowd.lite.project_compiler import ProjectCompiler
from leoflowd.lite.registrations import BUNDLE_NAME
from leoflowd.lite.watched_project import Compiled
from leoflowd.lite.workspace import Workspace
from leoflowd.scheduler.clock import TimetableClock
from leoflowd.store import api_users, connections, dags, variables
from leoflowd.store import workspace as facts
from leoflowd.store.database import Database, fetch_value
from leoflowd.store.hints import HintListener
from leoflowd.store.loadable import fetch_loadable
from leoflowd.store.secret_box import SecretBox
from tests.conftest import PATIENCE_S
from tests.fakes.dag_trees import dag, plant
from tests.unit.authoring.test_timetables import DAG as WORKDAY_DAG
from tests.unit.authoring.test_timetables import WORKDAYS

DAG = """
from airflow.sdk import dag, task
from helper import COUNT

@dag(dag_id="{dag_id}")
def made():
    for number in range(COUNT):
        @task(task_id=f"t{{number}}")
        def t(): ...
        t()
made()
"""


class OwnInterpreter(Environments):
    """The interpreter of the tests instead of a venv: no network."""

    def ensure(self, spec: EnvironmentSpec, say: Callable[[str], None] = lambda _: None) -> Path:
        return Path(sys.executable)


def now() -> datetime:
    return datetime.now(UTC)


def project(root: Path, name: str, dag_id: str, count: int = 1) -> Path:
    folder = root / name
    folder.mkdir()
    (folder / "dag.py").write_text(DAG.format(dag_id=dag_id))
    (folder / "helper.py").write_text(f"COUNT = {count}\n")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "w").mkdir()
    return tmp_path / "w"


@asynccontextmanager
async def watching(root: Path, database: Database, **settings: bool) -> AsyncIterator[Workspace]:
    data = root.parent / "data"
    config = LiteConfig(workspace=root, data_dir=data)
    workspace = Workspace(config, database, now, environments=OwnInterpreter(data), **settings)
    async with trio.open_nursery() as nursery:
        await nursery.start(workspace.run)
        await workspace._tried_all.wait()  # a slow machine is ready earlier, with the scan still under way
        await until(lambda: _is_settled(workspace))
        yield workspace
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(PATIENCE_S):
        while not await condition():  # type: ignore[misc]  # noqa: ASYNC110  # the fact is in Postgres
            await trio.sleep(0.01)


async def _is_settled(workspace: Workspace) -> bool:
    await trio.lowlevel.checkpoint()
    return workspace.statistics().compiling == 0


async def task_count(database: Database, dag_id: str) -> int:
    async with database.api.connection() as conn:
        return len((await dags.fetch_version(conn, dag_id)).spec.tasks)


async def test_new_dags_begin_paused_where_that_is_set(root: Path, database: Database) -> None:
    project(root, "a", "d")
    async with watching(root, database, paused_at_creation=True), database.api.connection() as conn:
        assert await fetch_value(conn, b"SELECT is_paused FROM dag WHERE dag_id = 'd'") is True


async def registered(database: Database) -> list[str]:
    async with database.api.connection() as conn:
        return [row.dag_id for row in await facts.list_registered(conn, BUNDLE_NAME)]


async def import_errors(database: Database) -> dict[str, str]:
    async with database.api.connection() as conn:
        return {row.filename: row.stack_trace for row in await facts.list_import_errors(conn, BUNDLE_NAME)}


async def test_the_first_scan_registers_every_good_project_and_copies_its_code(root: Path, database: Database) -> None:
    project(root, "a", "alpha")
    (project(root, "b", "beta") / "dag.py").write_text("raise SystemExit(1)\n")
    project(root, "c", "gamma")
    async with watching(root, database):
        assert await registered(database) == ["alpha", "gamma"]
        errors = await import_errors(database)
        assert list(errors) == ["b/dag.py"]
        assert errors["b/dag.py"].startswith("dag.py:1: ")
        async with database.api.connection() as conn:
            version = await dags.fetch_version(conn, "alpha")
        assert (root.parent / "data" / "bundles" / version.bundle_digest / "helper.py").exists()


async def test_a_timetable_of_the_author_makes_runs_and_is_asked_for_more(root: Path, database: Database) -> None:
    for name, text in (
        ("dag.py", WORKDAY_DAG.format(arguments="start_date=datetime(2024, 11, 1)")),
        ("plugins/workdays.py", WORKDAYS),
    ):
        (root / "work" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "work" / name).write_text(text)
    clock = TimetableClock(db=database, now=now)
    async with watching(root, database) as workspace, trio.open_nursery() as nursery:
        nursery.start_soon(clock.run)
        clock.look_at("work")
        await until(lambda: has_runs(database, 1))
        async with database.api.connection() as conn:
            version = await dags.fetch_version(conn, "work")
            at = await fetch_value(conn, b"SELECT logical_date FROM dag_run")
        assert isinstance(version.spec.timetable, CustomTimetable)
        assert at == max(slot[0] for slot in version.spec.timetable.slots if slot[2] <= now())
        (project,) = workspace._projects.values()
        asked = project.ask_again_at
        assert asked is not None
        project.ask_again_at, compiles = now(), workspace.statistics().compiles_total
        workspace._look()
        await until(lambda: is_compiled_again(workspace, compiles))
        assert project.ask_again_at > asked
        async with database.api.connection() as conn:
            assert (await dags.fetch_version(conn, "work")).version_number == version.version_number
        nursery.cancel_scope.cancel()


async def has_runs(database: Database, count: int) -> bool:
    async with database.api.connection() as conn:
        return bool(await fetch_value(conn, b"SELECT count(*) = %(count)s FROM dag_run", count=count))


async def is_compiled_again(workspace: Workspace, compiles: int) -> bool:
    await trio.lowlevel.checkpoint()
    return workspace.statistics().compiles_total > compiles and await _is_settled(workspace)


async def test_saving_a_helper_registers_a_new_version(root: Path, database: Database) -> None:
    folder = project(root, "a", "alpha")
    async with watching(root, database) as workspace:
        await until_watching(workspace)
        (folder / "helper.py").write_text("COUNT = 3\n")
        await until(lambda: has_tasks(database, "alpha", 3))


async def test_a_saved_module_of_a_tree_recompiles_those_that_import_it_and_only_those(
    root: Path, database: Database
) -> None:
    plant(
        root,
        {
            "dags/one.py": dag("one", "import common\n"),
            "dags/two.py": dag("two", "from common import COUNT\n"),
            "dags/far.py": dag("far"),
            "dags/helper.py": "# makes dags for airflow\n",
            "dags/bad.py": "# airflow dag\n1/0\n",
            "dags/common.py": "COUNT = 1\n",
            "requirements.txt": "",
        },
    )
    async with watching(root, database) as workspace:
        assert await registered(database) == ["far", "one", "two"]
        assert list(await import_errors(database)) == ["dags/bad.py"]
        await until_watching(workspace)
        compiles = workspace.statistics().compiles_total
        (root.parent / "common.py").write_text("COUNT = 2\n")
        (root.parent / "common.py").rename(root / "dags" / "common.py")  # at once, else it is seen half written
        await until(lambda: are_at_version(database, {"far": 1, "one": 2, "two": 2}))
        assert workspace.statistics().compiles_total == compiles + 2


async def test_an_environment_that_cannot_be_built_is_an_import_error_of_a_dag_that_is_there(
    root: Path, database: Database
) -> None:
    """Its tasks need it, loading it does not: people see both."""

    class Broken(OwnInterpreter):
        def ensure(self, spec: EnvironmentSpec, say: Callable[[str], None] = lambda _: None) -> Path:
            if spec.connectors:
                raise EnvironmentFailed("cannot install the packages")
            return super().ensure(spec, say)

    text = "def f():\n    from airflow.providers.ftp.hooks.ftp import FTPHook\n"
    plant(root, {"dags/one.py": dag("one", text), "dags/two.py": dag("two"), "requirements.txt": ""})
    data = root.parent / "data"
    workspace = Workspace(LiteConfig(workspace=root, data_dir=data), database, now, environments=Broken(data))
    async with trio.open_nursery() as nursery:
        await nursery.start(workspace.run)
        await until(lambda: are_registered(database, ["one", "two"]))
        await until(lambda: import_errors(database))
        assert list((await import_errors(database)).items()) == [("dags/one.py", "cannot install the packages")]
        assert await registered(database) == ["one", "two"]
        nursery.cancel_scope.cancel()


async def are_at_version(database: Database, versions: dict[str, int]) -> bool:
    async with database.api.connection() as conn:
        return {dag_id: (await dags.fetch_version(conn, dag_id)).version_number for dag_id in versions} == versions


async def has_tasks(database: Database, dag_id: str, count: int) -> bool:
    return await task_count(database, dag_id) == count


async def until_watching(workspace: Workspace) -> None:
    """The flag is set right before the kernel's watches are, without a checkpoint in between."""
    await until(lambda: is_watching(workspace))


async def is_watching(workspace: Workspace) -> bool:
    return workspace.statistics().watching


async def test_an_error_appears_and_goes_and_the_last_good_version_stays(root: Path, database: Database) -> None:
    folder = project(root, "a", "alpha")
    good = (folder / "dag.py").read_text()
    async with watching(root, database) as workspace:
        await until_watching(workspace)
        (folder / "dag.py").write_text("1/0\n")
        await until(lambda: import_errors(database))
        assert await registered(database) == ["alpha"]
        (folder / "dag.py").write_text(good)
        await until(lambda: no_errors(database))


async def no_errors(database: Database) -> bool:
    return await import_errors(database) == {}


async def test_a_removed_project_is_stale_and_comes_back_with_its_history(root: Path, database: Database) -> None:
    folder = project(root, "a", "alpha")
    project(root, "b", "beta")
    async with watching(root, database) as workspace:
        await until_watching(workspace)
        folder.rename(root.parent / "away")
        await until(lambda: are_registered(database, ["beta"]))
        (root.parent / "away").rename(folder)
        await until(lambda: are_registered(database, ["alpha", "beta"]))


async def are_registered(database: Database, dag_ids: list[str]) -> bool:
    return await registered(database) == dag_ids


async def test_a_deleted_dag_stays_deleted_until_its_own_definition_changes(root: Path, database: Database) -> None:
    folder = project(root, "a", "alpha")
    (folder / "dag.py").write_text(DAG.format(dag_id="alpha") + TWIN)
    async with watching(root, database) as workspace:
        async with database.api.transaction() as conn:
            await dags.delete_dag(conn, "alpha")
        await until_watching(workspace)
        (folder / "dag.py").write_text(DAG.format(dag_id="alpha") + TWIN + TWIN.replace("twin", "third"))
        await until(lambda: are_registered(database, ["third", "twin"]))
    async with watching(root, database) as workspace:
        (folder / "dag.py").write_text(DAG.format(dag_id="alpha") + TWIN)
        await until(lambda: are_registered(database, ["twin"]))
        await until_watching(workspace)
        (folder / "helper.py").write_text("COUNT = 2\n")
        await until(lambda: are_registered(database, ["alpha", "twin"]))


TWIN = """
from airflow.sdk import DAG
from leoflow import EmptyOperator
with DAG("twin"):
    EmptyOperator(task_id="a")
"""


async def test_a_deleted_dag_comes_back_with_its_project_or_by_a_push(root: Path, database: Database) -> None:
    folder = project(root, "a", "alpha")
    async with watching(root, database) as workspace:
        async with database.api.connection() as conn:
            spec = (await dags.fetch_version(conn, "alpha")).spec
            await dags.delete_dag(conn, "alpha")
            await dags.register_dag(conn, spec, now=now(), fileloc="dag.py", relative_fileloc="a/dag.py")
            await dags.delete_dag(conn, "alpha")
        await until_watching(workspace)
        folder.rename(root.parent / "away")
        await until(lambda: is_no_deletion_remembered(database))
        (root.parent / "away").rename(folder)
        await until(lambda: are_registered(database, ["alpha"]))


async def is_no_deletion_remembered(database: Database) -> bool:
    async with database.api.connection() as conn:
        return await facts.list_deleted(conn, BUNDLE_NAME) == ()


async def test_a_workspace_that_is_not_there_makes_no_ghosts(root: Path, database: Database) -> None:
    project(root, "a", "alpha")
    async with watching(root, database):
        assert await registered(database) == ["alpha"]
    shutil.rmtree(root)
    config = LiteConfig(workspace=root, data_dir=root.parent / "data")
    workspace = Workspace(config, database, now, environments=OwnInterpreter(root.parent / "data"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(workspace.run)
        await until(lambda: has_scanned(workspace))
        nursery.cancel_scope.cancel()
    assert await registered(database) == ["alpha"]


async def has_scanned(workspace: Workspace) -> bool:
    return workspace.statistics().scans_total > 0


async def test_a_restart_with_unchanged_projects_makes_no_new_version(root: Path, database: Database) -> None:
    project(root, "a", "alpha")
    for _ in range(2):
        async with watching(root, database):
            pass
    async with database.api.connection() as conn:
        assert (await dags.fetch_version(conn, "alpha")).version_number == 1


@pytest.mark.parametrize("sqlstate", ["23514", "22021", "54000"])
async def test_an_artifact_that_postgres_refuses_is_an_import_error(
    root: Path, database: Database, sqlstate: str
) -> None:
    """Also for what psycopg calls an operational error, as if Postgres were away: "program limit exceeded"."""
    async with database.api.connection() as conn:
        await conn.execute(REFUSE_ALPHA.format(sqlstate=sqlstate).encode())
    project(root, "a", "alpha")
    project(root, "b", "beta")
    for _ in range(2):
        async with watching(root, database):
            assert await registered(database) == ["beta"]
            assert list(await import_errors(database)) == ["a/dag.py"]


REFUSE_ALPHA = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN
    IF NEW.dag_id = 'alpha' THEN RAISE EXCEPTION 'not this one' USING ERRCODE = '{sqlstate}'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON dag_version FOR EACH ROW EXECUTE FUNCTION refuse();
"""

POISON = {
    "surrogate": "raise Exception('\\ud800')\n",
    "nul": "raise Exception('a\\0b')\n",
    "exit": "import os\nos._exit(0)\n",
    "parent": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n",
    "answer": "import os\nfor fd in range(3, 9):\n    try:os.write(fd, b'[1]')\n    except OSError:pass\nos.abort()\n",
    **{
        name: f"from datetime import *\nfrom leoflow import DAG, EmptyOperator\nwith DAG('d', {argument}):\n"
        "    EmptyOperator(task_id='a')\n"
        for name, argument in {
            "timeout": "dagrun_timeout=timedelta(days=3_000_000)",
            "schedule": "schedule=timedelta.max",
            "start": "schedule='@daily', start_date=datetime.max",
            "tag": "tags=['a\\0b']",
            "doc": "doc_md='\\ud800'",
            "params": "params={'p': 2**70}",
            "cron": "schedule='0 0 30 2 *'",
        }.items()
    },
}


async def test_a_poisoned_workspace_stops_nobody_also_not_after_a_restart(root: Path, database: Database) -> None:
    for name, code in POISON.items():
        (root / name).mkdir()
        (root / name / "dag.py").write_text(code)
    for name in (b"\xff.py", b"\x1b[2J\n.py"):
        (root / os.fsdecode(name)).write_text("raise SystemExit  # an airflow dag\n")
    (root / os.fsdecode(b"\xfe")).mkdir()
    os.mkfifo(root / os.fsdecode(b"\xfe") / "dag.py")
    os.mkfifo(root / "leoflow.yml")
    (root / "loop").symlink_to("loop")
    project(root, "good", "good")
    for _ in range(2):
        async with watching(root, database) as workspace:
            await until(lambda: has_import_errors(database, len(POISON) + 3))
            assert await registered(database) == ["good"]
            await until_watching(workspace)
    (root / "good" / "helper.py").write_text("COUNT = 2\n")
    async with watching(root, database):
        await until(lambda: has_tasks(database, "good", 2))


async def test_a_file_whose_name_is_not_utf_8_does_not_end_the_watching(root: Path, database: Database) -> None:
    folder = project(root, "a", "alpha")
    async with watching(root, database) as workspace:
        await until_watching(workspace)
        (root / os.fsdecode(b"\xff")).touch()
        await until(lambda: is_not_watching(workspace))
        (folder / "helper.py").write_text("COUNT = 2\n")
        await until(lambda: has_tasks(database, "alpha", 2))
        await until_watching(workspace)


async def is_not_watching(workspace: Workspace) -> bool:
    return not workspace.statistics().watching


async def has_import_errors(database: Database, count: int) -> bool:
    return len(await import_errors(database)) == count


async def test_the_admin_is_made_once_and_follows_the_given_password(database: Database) -> None:
    made = await set_up_admin(database, None, now())
    assert made is not None
    assert await set_up_admin(database, None, now()) is None
    assert await set_up_admin(database, "given", now()) is None
    async with database.api.connection() as conn:
        user = await api_users.fetch_user(conn, "admin")
    assert user is not None
    assert api_users.verify_password(user.password_hash, "given")
    assert not api_users.verify_password(user.password_hash, made)


async def test_a_name_that_is_not_utf8_is_logged_once(
    root: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    ended = 0

    async def follow(_: FileWatch) -> None:
        nonlocal ended
        ended += 1
        raise ExceptionGroup("nursery", [ExceptionGroup("watch", [RuntimeError("not UTF-8")])])

    monkeypatch.setattr(FileWatch, "_follow_events", follow)
    monkeypatch.setattr(file_watch, "WATCH_AGAIN_S", 0.01)
    monkeypatch.setattr(file_watch.log, "warning", lambda event, **said: told.append(f"{event} {said['error']}"))
    async with watching(root, database):
        with trio.fail_after(PATIENCE_S):
            while ended <= 2:  # noqa: ASYNC110  # counted by the patched watch
                await trio.sleep(0.01)
    assert told == ["workspace_event_unreadable not UTF-8"]


class Counting(ProjectCompiler):
    """Notes the folder of what is compiled."""

    def __init__(self, compiler: ProjectCompiler, compiled: list[str]) -> None:
        vars(self).update(vars(compiler))
        self._compiled = compiled

    @override
    def __call__(self, project: Project) -> Compiled:
        self._compiled.append(project.folder.name)
        return super().__call__(project)


class TestVariables:
    """What files read while they are loaded, from the store."""

    READS = """
from airflow.sdk import DAG, Connection, Variable, task
with DAG("{dag_id}"):
    for number in range(int({value})):
        @task(task_id=f"t{{number}}")
        def t(): ...
        t()
"""
    BOX = SecretBox(lambda: {"k1": b"1" * 32})

    @pytest.fixture
    async def listener(self, database: Database) -> AsyncIterator[HintListener]:
        hints = HintListener(database.conninfo)
        async with trio.open_nursery() as nursery:
            await nursery.start(hints.run)
            yield hints
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def watching(
        self, root: Path, database: Database, listener: HintListener, compiled: list[str]
    ) -> AsyncIterator[Workspace]:
        data = root.parent / "data"
        workspace = Workspace(
            LiteConfig(workspace=root, data_dir=data),
            database,
            now,
            environments=OwnInterpreter(data),
            loadable=partial(fetch_loadable, database, self.BOX),
            hints=listener.subscribe(),
        )
        workspace._compile = Counting(workspace._compile, compiled)
        async with trio.open_nursery() as nursery:
            await nursery.start(workspace.run)
            await workspace._tried_all.wait()
            await until(lambda: _is_settled(workspace))
            yield workspace
            nursery.cancel_scope.cancel()

    @pytest.fixture
    def compiled(self) -> list[str]:
        """The folders of what was compiled, in that order."""
        return []

    def project(self, root: Path, name: str, key: str) -> None:
        (root / name).mkdir()
        (root / name / "dag.py").write_text(self.READS.format(dag_id=name, value=f"Variable.get('{key}')"))

    async def set(self, database: Database, key: str, value: str) -> None:
        async with database.api.transaction() as conn:
            await variables.put_variable(conn, self.BOX, VariableFacts(key=key, value=value), now())

    async def test_a_change_compiles_those_that_read_it_and_no_other(
        self, root: Path, database: Database, listener: HintListener, compiled: list[str]
    ) -> None:
        for key in ("one", "two"):
            await self.set(database, key, "1")
            self.project(root, f"reads_{key}", key)
        project(root, "reads_none", "reads_none")
        async with self.watching(root, database, listener, compiled):
            assert await registered(database) == ["reads_none", "reads_one", "reads_two"]
            del compiled[:]
            await self.set(database, "unread", "1")
            await self.set(database, "two", "3")

            async def has_three() -> bool:
                return await task_count(database, "reads_two") == 3

            await until(has_three)
        assert compiled == ["reads_two"]

    async def test_one_that_is_missing_is_an_import_error_until_it_is_set(
        self, root: Path, database: Database, listener: HintListener, compiled: list[str]
    ) -> None:
        self.project(root, "reads_one", "one")
        async with self.watching(root, database, listener, compiled):
            [error] = (await import_errors(database)).values()
            assert "`leoflow variables set one VALUE`" in error
            await self.set(database, "one", "2")

            async def is_registered() -> bool:
                return await registered(database) == ["reads_one"]

            await until(is_registered)
            assert await task_count(database, "reads_one") == 2

            async def is_clean() -> bool:
                return not await import_errors(database)

            await until(is_clean)

    async def test_a_change_that_no_hint_told_is_found_by_the_next_look(
        self, root: Path, database: Database, monkeypatch: pytest.MonkeyPatch, compiled: list[str]
    ) -> None:
        monkeypatch.setattr("leoflowd.lite.workspace.RESCAN_S", 0.05)
        await self.set(database, "one", "1")
        self.project(root, "reads_one", "one")
        async with self.watching(root, database, HintListener(database.conninfo), compiled):
            assert await task_count(database, "reads_one") == 1
            await self.set(database, "one", "2")

            async def has_two() -> bool:
                return await task_count(database, "reads_one") == 2

            await until(has_two)
        assert compiled == ["reads_one", "reads_one"]

    async def test_a_connection_counts_like_a_variable(
        self, root: Path, database: Database, listener: HintListener, compiled: list[str]
    ) -> None:
        (root / "reads").mkdir()
        (root / "reads" / "dag.py").write_text(self.READS.format(dag_id="reads", value="Connection.get('x').port"))
        async with self.watching(root, database, listener, compiled):
            assert list(await import_errors(database)) == ["reads/dag.py"]
            async with database.api.transaction() as conn:
                facts = ConnectionFacts(connection_id="x", conn_type="http", port=4, password="hunter2")
                await connections.insert_connection(conn, self.BOX, facts, now())

            async def has_four() -> bool:
                return await registered(database) == ["reads"] and await task_count(database, "reads") == 4

            await until(has_four)


async def test_the_state_tells_place_and_remedy_of_a_fault_and_that_it_is_mended(
    root: Path, database: Database
) -> None:
    folder = project(root, "a", "alpha")
    async with watching(root, database) as workspace:
        (folder / "helper.py").write_text("COUNT = 1\nCOUNT = (\n")
        state = await settled_after(workspace, workspace.look())
        (finding,) = state.projects[0].findings
        assert (finding.path, finding.line, finding.is_warning) == ("a/helper.py", 2, False)
        assert finding.remedy
        assert state.projects[0].dag_ids == ("alpha",)  # the last good version goes on
        (folder / "helper.py").write_text("COUNT = 2\n")
        state = await settled_after(workspace, workspace.look())
        assert [one.findings for one in state.projects] == [()]
        assert await task_count(database, "alpha") == 2


async def settled_after(workspace: Workspace, version: int) -> WorkspaceState:
    """The first state that knows of what `look` was told of and has nothing left to do."""
    with trio.fail_after(PATIENCE_S):
        while True:
            state = workspace.state()
            if state.version > version and not state.is_looking and not any(one.is_compiling for one in state.projects):
                return state
            await workspace.wait_changed(state.version)
