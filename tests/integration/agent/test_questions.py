"""Questions of a task at every moment of its life: each gets its answer, or an error that the task can read."""

from __future__ import annotations

import msgspec

from leoflowd.contract.agent_messages import OutcomeKind, XComInput
from leoflowd.contract.connection import ConnectionFacts
from tests.fakes.fake_control_plane import Facts
from tests.integration.agent.harness import World, agent_and_plane, in_world, run_one

AT_ONCE = 60

EVERY_KIND = """
def ask_everything(ti):
    from airflow.sdk import Connection
    first = Connection.get("env").password, Connection.get("stored").password
    previous = ti.get_previous_dagrun()
    ti.xcom_push("pushed", ti.map_index)
    pulled = ti.xcom_pull(task_ids="other", key="big")
    supervisor = __import__("airflow._leoflow.supervisor", fromlist=["ask"])
    count = supervisor.ask("counts", {"dag_id": "d", "states": ["running"]})["count"]
    run = supervisor.ask("dag_run", {"dag_id": "other", "run_id": f"r{os.getpid()}"})["run_id"]
    return [*first, previous, len(pulled), count, run is not None]

class Early(BashOperator):
    def pre_execute(self, context): ...
    def execute(self, context):
        return ask_everything(context["ti"])

run = Early(task_id="run", bash_command="true")
"""
ANSWERS = ["env-password", "stored-password", None, 200_000, 3, True]


def _facts() -> Facts:
    facts = Facts(count=3)
    facts.connections["stored"] = ConnectionFacts(connection_id="stored", conn_type="http", password="stored-password")
    facts.xcoms.append(XComInput(task_id="other", key="big", value='"' + "x" * 200_000 + '"'))
    return facts


def test_sixty_tries_at_once_that_ask_everything_in_their_first_moments_all_end():
    async def test(world: World) -> None:
        world.facts = _facts()
        world.project(EVERY_KIND)
        env = {"AIRFLOW_CONN_ENV": "http://u:env-password@host", "AIRFLOW_VAR_TOKEN": "hidden at once"}
        specs = [world.spec(env=env, xcoms_complete=False) for _ in range(AT_ONCE)]
        async with agent_and_plane(world) as plane:
            for spec in specs:
                await plane.launch(spec)
            await plane.finished(*(spec.try_id for spec in specs))
        ended = [world.facts.of(spec.try_id) for spec in specs]
        assert {each.outcome.because for each in ended} == {"The task returned."}
        assert [each.xcoms["return_value"] for each in ended] == [ANSWERS] * AT_ONCE
        assert {each.xcoms["pushed"] for each in ended} == {-1}

    in_world(test, within_s=120)


def test_threads_of_a_task_may_ask_for_large_values_at_the_same_time():
    facts = _facts()
    ended = run_one(
        """
        @task
        def run(ti=None):
            from concurrent.futures import ThreadPoolExecutor
            with ThreadPoolExecutor(8) as pool:
                pulls = pool.map(lambda _: ti.xcom_pull(task_ids="other", key="big"), range(40))
            return sorted({len(value) for value in pulls})
        run()
        """,
        facts=facts,
        xcoms_complete=False,
    )
    assert ended.xcoms["return_value"] == [200_000]


def test_a_question_that_cannot_be_asked_is_an_error_in_the_task():
    ended = run_one(
        """
        @task
        def run():
            supervisor = __import__("airflow._leoflow.supervisor", fromlist=["ask"])
            found = []
            for question in ({"dag_id": 1}, {"dag_id": "d", "nonsense": 1, "logical_dates": ["never"]}):
                try:
                    supervisor.ask("counts", question)
                except RuntimeError as error:
                    found.append(str(error))
            return found
        run()
        """
    )
    refusals = ended.xcoms["return_value"]
    assert len(refusals) == 2
    assert all(text.startswith("this question cannot be asked: ") for text in refusals)


def test_a_line_that_user_code_writes_on_our_descriptor_is_output_and_no_more():
    ended = run_one(
        r"""
        @task
        def run():
            for line in (b'[1]', b'{}', b'{"outcome": 1}', b'[' * 100_000, b'\xff', b'{"a": {"request_id": "x"}}'):
                os.write(3, line + b"\n")
            return "fine"
        run()
        """
    )
    assert ended.outcome.kind is OutcomeKind.SUCCESS
    assert ended.xcoms == {"return_value": "fine"}
    assert "[1]" in ended.events


def test_a_message_of_the_daemon_that_nobody_can_read_is_refused_and_the_next_one_is_read():
    async def test(world: World) -> None:
        world.project("@task\ndef run():\n    return 1\nrun()")
        async with agent_and_plane(world) as plane:
            broken = msgspec.structs.replace(world.spec(), try_number="one")
            await plane.launch(broken)
            await plane.wait_for(lambda: plane.facts.refusals)
            await plane.launch(spec := world.spec())
            await plane.finished(spec.try_id)
        (refusal,) = plane.facts.refusals
        assert refusal.try_id == broken.try_id
        assert "Expected `int`, got `str`" in refusal.because
        assert len(world.facts.hosts) == 1  # it stayed attached

    in_world(test)
