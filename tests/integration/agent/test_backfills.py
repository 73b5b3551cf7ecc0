"""A try of a backfill lets all others have the processor first."""

from __future__ import annotations

import pytest

from leoflow_agent.runner.backseat import NICENESS
from tests.integration.agent.harness import World, agent_and_plane, in_world, run_tries


@pytest.mark.parametrize("warm", [True, False])
def test_a_try_of_a_backfill_and_what_it_starts_are_nicer_than_others(warm: bool) -> None:
    """Also than those that come after it from the same server."""

    async def test(world: World) -> None:
        world.project(
            """
            import subprocess
            @task
            def run():
                group = pathlib.Path("/proc/self/autogroup")
                child = subprocess.run(["nice"], capture_output=True, text=True, check=True).stdout
                return [os.nice(0), int(child), group.read_text().split()[-1] if group.exists() else "none"]
            run()
            """
        )
        async with agent_and_plane(world) as plane:
            kinds = ("manual", "backfill", "scheduled")
            specs = [world.spec(dag_run={"run_type": kind}, warm=warm) for kind in kinds]
            found = [(await run_tries(world, plane, spec))[0].xcoms["return_value"] for spec in specs]
        base = found[0]
        assert found[2] == base
        assert found[1][:2] == [base[0] + NICENESS] * 2
        assert found[1][2] == ("none" if base[2] == "none" else str(NICENESS))

    in_world(test)
