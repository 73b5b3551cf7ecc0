"""Variables in tasks on the shim: read and written through the real agent, also while the file is loaded."""

from __future__ import annotations

import json

from leoflowd.contract.agent_messages import OutcomeKind
from leoflowd.contract.connection import ConnectionFacts
from tests.fakes.fake_control_plane import Facts
from tests.integration.agent.harness import (
    HEADER,
    KEEPS_A_SECRET,
    World,
    agent_and_plane,
    in_world,
    run_one,
    run_tries,
    until,
)

READS = HEADER.replace("\nwith DAG", '\nfrom airflow.sdk import Variable\nREGION = Variable.get("region")\nwith DAG')
TOKEN = 'TOKEN = Variable.get("api_token")'


def _facts(**variables: str) -> Facts:
    return Facts(variables={"region": "eu", **variables})


def test_a_task_reads_writes_and_deletes():
    facts = _facts(limits='{"rows": 3}')
    ended = run_one(
        """
        @task
        def run():
            from airflow.sdk import Variable
            Variable.set("written", {"n": 1}, serialize_json=True)
            Variable.set("region", "us")
            Variable.delete("limits")
            return [Variable.get("region"), Variable.get("limits", "gone"), Variable.get("env")]
        run()
        """,
        facts=facts,
        env={"AIRFLOW_VAR_ENV": "of the task"},
    )
    assert ended.xcoms["return_value"] == ["us", "gone", "of the task"], ended.events
    assert facts.variables == {"region": "us", "written": '{\n  "n": 1\n}'}


def test_templates_read_variables_and_connections():
    facts = _facts(limits='{"rows": 3}')
    facts.connections["api"] = ConnectionFacts(connection_id="api", conn_type="http", host="h.example")
    ended = run_one(
        """
        BashOperator(task_id="run", bash_command="echo {{ var.value.region }} {{ var.json.limits.rows }} "
                     "{{ var.value.get('nope', 'none') }} {{ conn.api.host }}")
        """,
        facts=facts,
        kind="bash",
    )
    assert ended.xcoms["return_value"] == "eu 3 none h.example", ended.events


def test_a_template_of_a_variable_that_is_missing_fails_with_the_remedy():
    ended = run_one(
        'BashOperator(task_id="run", bash_command="echo {{ var.value.nope }}")', facts=_facts(), kind="bash"
    )
    assert ended.outcome.kind is OutcomeKind.FAILED
    assert "`leoflow variables set`" in ended.outcome.because


def test_a_secret_is_hidden_wherever_the_task_shows_it():
    ended = run_one(
        """
        @task
        def run():
            from airflow.sdk import Variable
            print("is", Variable.get("api_token"))
            raise ValueError(Variable.get("settings", deserialize_json=True)["auth"]["client_secret"])
        run()
        """,
        facts=_facts(api_token="t0ken-value", settings='{"auth": {"client_secret": "inner-secret"}}'),
    )
    assert "is ***" in ended.events
    shown = ended.log.decode() + ended.outcome.because
    assert not [text for text in ("t0ken-value", "inner-secret") if text in shown]


def test_what_the_daemon_refuses_is_an_error_in_the_task():
    facts = _facts()
    facts.variables_refused = "its key is gone"
    ended = run_one(
        """
        @task
        def run():
            from airflow.sdk import Variable
            Variable.get("region", "default")
        run()
        """,
        facts=facts,
    )
    assert "'region' cannot be read: its key is gone" in ended.outcome.because


def test_a_daemon_of_the_release_before_is_not_asked_what_it_does_not_know():
    facts = _facts()
    facts.protocol = 2
    ended = run_one(
        """
        @task
        def run():
            from airflow.sdk import Variable
            Variable.get("region", "default")
        run()
        """,
        facts=facts,
    )
    assert "an older release, which does not know VariableAsk" in ended.outcome.because
    assert "VariableAsk" not in ended.messages


def test_a_file_reads_what_is_stored_now_each_time_it_is_loaded():
    async def test(world: World) -> None:
        world.facts = _facts()
        world.project("@task\ndef run():\n    return REGION\nrun()", header=READS)
        found = []
        async with agent_and_plane(world) as plane:
            for region in ("eu", "us", "ap", "sa"):
                world.facts.variables["region"] = region
                [ended] = await run_tries(world, plane, world.spec())
                found.append(ended.xcoms["return_value"])
            await until(lambda: "version_not_loaded" in world.agent_log)
        assert found == ["eu", "us", "ap", "sa"]
        assert "loading asks for a variable" in world.agent_log

    in_world(test)


def test_a_file_that_swallows_every_error_reads_anew_too():
    swallowing = READS.replace(
        'REGION = Variable.get("region")',
        'try:\n    REGION = Variable.get("region")\nexcept Exception:\n    REGION = "swallowed"',
    )

    async def test(world: World) -> None:
        world.facts = _facts()
        world.project("@task\ndef run():\n    return REGION\nrun()", header=swallowing)
        async with agent_and_plane(world) as plane:
            found = [(await run_tries(world, plane, world.spec()))[0].xcoms["return_value"] for _ in range(4)]
            await until(lambda: "version_not_loaded" in world.agent_log)
        assert found == ["eu"] * 4
        assert "asks the daemon" in world.agent_log

    in_world(test)


def test_what_a_file_reads_of_secrets_reaches_fields_that_are_no_templates():
    """Also in a try of a version that is in demand, which is forked from a process that has loaded the file."""
    header = HEADER.replace("\nwith DAG", "\nfrom airflow.sdk import BaseOperator, Variable\n" + TOKEN + "\nwith DAG")

    async def test(world: World) -> None:
        world.facts = Facts(variables={"api_token": "t0ken-value"})
        world.project(KEEPS_A_SECRET, header=header)
        async with agent_and_plane(world) as plane:
            ended = [(await run_tries(world, plane, world.spec(kind="operator")))[0] for _ in range(4)]
        assert [one.xcoms["return_value"] for one in ended] == [["eulav-nek0t", "Bearer t0ken-value"]] * 4
        assert all("with *** Bearer ***" in one.events for one in ended)
        assert all(one.rendered == {"header": "Bearer ***"} for one in ended)

    in_world(test)


def test_a_task_that_is_gone_since_its_variable_changed_says_so():
    ended = run_one(
        """
        if REGION == "us":
            @task
            def run(): ...
            run()
        """,
        header=READS,
        facts=_facts(),
    )
    assert ended.outcome.kind is OutcomeKind.FAILED
    assert "no task 'run'" in ended.outcome.because


def test_a_secrets_backend_is_refused_in_a_task_without_the_real_packages(monkeypatch):
    monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND", "airflow.secrets.local_filesystem.LocalFilesystemBackend")
    monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND_KWARGS", json.dumps({}))
    ended = run_one(
        """
        @task
        def run():
            from airflow.sdk import Variable
            Variable.get("region", "default")
        run()
        """,
        facts=_facts(),
    )
    assert "secrets backend of AIRFLOW__SECRETS__BACKEND" in ended.outcome.because
