"""A DAG file of a tree in its task processes: the same modules, files and home as where it was compiled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from leoflowd.contract.agent_messages import OutcomeKind, TrySpec
from tests.fakes.dag_trees import plant
from tests.fakes.fake_control_plane import TryFacts

from .harness import World, agent_and_plane, in_world, run_tries, until

REAL_WITHIN_S = 300
"""The first try imports all of Airflow."""
TREE = {
    "dags/etl.py": """\
        import os
        from airflow.macros.ours import twice as again
        from airflow.sdk import DAG, get_current_context, task
        from operators import WORD

        with open("include/name.txt") as file:
            NAME = file.read()
        with DAG("d"):
            @task
            def run():
                from include.helpers import END
                home = os.path.dirname(os.path.dirname(__file__))
                macros = get_current_context()["macros"]
                words = [macros.ours.twice("x"), again("y"), macros.ds_add("2024-01-31", 1)]
                return [WORD, NAME, END, *words, os.environ["AIRFLOW_HOME"] == home, os.getcwd() == home]
            run()
        """,
    "plugins/registered.py": """\
        from airflow.plugins_manager import AirflowPlugin

        def twice(word):
            return word * 2

        class Ours(AirflowPlugin):
            name = "ours"
            macros = [twice]
        """,
    "plugins/operators.py": "WORD = 'from plugins'\n",
    "include/helpers.py": "END = 'from include'\n",
    "include/name.txt": "from a file",
}
EXPECTED = ["from plugins", "from a file", "from include", "xx", "yy", "2024-02-01", True, False]


def spec(world: World, **more: str) -> TrySpec:
    return world.spec(source_path="dags/etl.py", import_paths=("dags", "plugins", "."), **more)


def value_of(facts: TryFacts) -> object:
    assert facts.outcome is not None
    assert facts.outcome.kind is OutcomeKind.SUCCESS, facts.outcome.because
    pushed = facts.outcome.xcoms  # the real Airflow pushes before its outcome
    return json.loads(pushed[-1].value) if pushed else facts.xcoms["return_value"]


def test_a_try_finds_what_its_file_imports_before_and_after_it_was_loaded_for_others() -> None:
    async def test(world: World) -> None:
        plant(world.folder / "project", TREE)
        async with agent_and_plane(world) as plane:
            for _ in range(2):
                [facts] = await run_tries(world, plane, spec(world))
                assert value_of(facts) == EXPECTED
            await until(lambda: "version_loaded" in world.agent_log)
            [facts] = await run_tries(world, plane, spec(world))
            assert value_of(facts) == EXPECTED

    in_world(test)


def test_a_try_on_the_real_airflow_finds_the_same(airflow_python: Path) -> None:
    async def test(world: World) -> None:
        plant(world.folder / "project", TREE)
        async with agent_and_plane(world) as plane:
            [facts] = await run_tries(world, plane, spec(world, python=str(airflow_python), runtime="airflow"))
            assert value_of(facts) == EXPECTED

    in_world(test, within_s=REAL_WITHIN_S)


@pytest.mark.parametrize("import_paths", [(), ("dags", ".")])
def test_a_module_of_the_tree_hides_no_library_but_one_of_a_project_does(import_paths: tuple[str, ...]) -> None:
    """As in Airflow; a project of its own has always come first."""
    text = "from airflow.sdk import DAG, task\nimport attrs\nwith DAG('d'):\n    @task\n    def run():\n"
    text += "        return hasattr(attrs, 'define')\n    run()\n"

    async def test(world: World) -> None:
        plant(world.folder / "project", {"dags/etl.py": text, "dags/attrs.py": "", "attrs.py": ""})
        async with agent_and_plane(world) as plane:
            one = world.spec(source_path="dags/etl.py", import_paths=import_paths)
            [facts] = await run_tries(world, plane, one)
            assert value_of(facts) is bool(import_paths)

    in_world(test)
