"""The working directory of a try: fresh, its own, gone afterwards; the code of the version is found all the same."""

from __future__ import annotations

from pathlib import Path

from leoflowd.contract.agent_messages import OutcomeKind
from tests.integration.agent.harness import HEADER, World, agent_and_plane, in_world, run_one, run_tries, vanishes


def test_each_try_works_in_a_fresh_folder_that_goes_with_it():
    async def test(world: World) -> None:
        world.project(
            """
            @task
            def run():
                found = os.listdir(".")
                pathlib.Path("left", "deep").mkdir(parents=True)
                pathlib.Path("left", "deep", "file").write_text("data")
                return [os.getcwd(), found]
            run()
            """
        )
        async with agent_and_plane(world) as plane:
            first, second = await run_tries(world, plane, *(world.spec(bundle_digest=str(n)) for n in range(2)))
            folders = [Path(each.xcoms["return_value"][0]) for each in (first, second)]
            assert [each.xcoms["return_value"][1] for each in (first, second)] == [[], []]
            assert len({*folders, world.folder / "project"}) == 3
            for folder in folders:
                await vanishes(folder)
        assert list((world.folder / "work").iterdir()) == []

    in_world(test)


def test_code_templates_and_files_next_to_the_dag_are_found_from_the_scratch_folder():
    async def test(world: World) -> None:
        project = world.project(
            """
            @task
            def run():
                import helper
                from package import inner
                near = pathlib.Path(__file__).with_name("data.txt").read_text()
                return [helper.VALUE, inner.VALUE, near]
            run()
            class Sql(BashOperator):
                template_fields = ("bash_command", "sql")
                template_ext = (".sql",)
                def __init__(self, *, sql, **rest):
                    self.sql = sql
                    super().__init__(bash_command="pwd", **rest)
                def execute(self, context):
                    return [self.sql, super().execute(context)]
            Sql(task_id="sql", sql="queries/q.sql")
            BashOperator(task_id="there", bash_command="pwd", cwd=os.path.dirname(__file__))
            """,
            header=HEADER,
        )
        (project / "helper.py").write_text("VALUE = 'helper'")
        (project / "package").mkdir()
        (project / "package" / "__init__.py").touch()
        (project / "package" / "inner.py").write_text("from .other import VALUE")
        (project / "package" / "other.py").write_text("VALUE = 'relative'")
        (project / "data.txt").write_text("near")
        (project / "queries").mkdir()
        (project / "queries" / "q.sql").write_text("select '{{ ds }}'")
        async with agent_and_plane(world) as plane:
            run, sql, there = await run_tries(world, plane, *(world.spec(name) for name in ("run", "sql", "there")))
        assert run.xcoms["return_value"] == ["helper", "relative", "near"]
        assert sql.xcoms["return_value"][0] == "select '2026-03-01'"
        assert sql.xcoms["return_value"][1] != str(project)
        assert there.xcoms["return_value"] == str(project)

    in_world(test)


def test_a_task_sees_no_settings_of_the_daemon():
    facts = run_one("@task\ndef run():\n    return sorted(k for k in os.environ if k.startswith('LEOFLOW'))\nrun()")
    assert facts.outcome.kind is OutcomeKind.SUCCESS
    assert facts.xcoms == {"return_value": []}
