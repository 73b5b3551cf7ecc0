"""What a task read as a secret shows as *** wherever the task shows it: output, log, errors, rendered fields."""

from __future__ import annotations

import json

from leoflowd.contract.agent_messages import OutcomeKind
from leoflowd.contract.connection import ConnectionFacts
from tests.fakes.fake_control_plane import Facts
from tests.integration.agent.harness import run_one

TOKEN, INNER, STORED, KEY = "t0ken-of-a-variable", "inner/secret+1", "st0red pass&word", "nested-key-9"
ENV = {"AIRFLOW_VAR_API_TOKEN": TOKEN, "AIRFLOW_VAR_SETTINGS": json.dumps({"auth": {"client_secret": INNER}})}


def _facts() -> Facts:
    facts = Facts()
    facts.connections["stored"] = ConnectionFacts(
        connection_id="stored", conn_type="http", password=STORED, extra=json.dumps({"auth": {"api-key": KEY}})
    )
    return facts


def _shown(facts) -> str:
    return facts.log.decode() + json.dumps(facts.rendered) + facts.outcome.because


def test_no_form_of_a_secret_is_shown():
    facts = run_one(
        """
        @task
        def run():
            import base64, urllib.parse
            from airflow.sdk import Connection, Variable
            found = Connection.get("stored")
            key = found.extra_dejson["auth"]["api-key"]
            inner = Variable.get("settings", deserialize_json=True)["auth"]["client_secret"]
            for secret in [Variable.get("API_TOKEN"), inner, found.password, key]:
                print("is", secret, base64.b64encode(f"u:{secret}".encode()).decode(), urllib.parse.quote_plus(secret))
                logging.getLogger("mine").warning("it is %s", json.dumps({"x": secret}))
                sys.stdout.write(secret[:4])
                sys.stdout.flush()
                print(secret[4:])
            os.system("env")
            raise ValueError("x" * (500 - len("ValueError: ") - 4) + found.password)
        run()
        """,
        facts=_facts(),
        env=ENV,
    )
    assert facts.outcome.kind is OutcomeKind.FAILED
    shown = _shown(facts)
    assert "***" in shown
    for text in (
        TOKEN,
        INNER,
        STORED,
        KEY,
        "c3QwcmVk",
        "inner%2Fsecret",
        "st0red+pass",
        "st0re",
        "AIRFLOW_VAR_API_TOKEN=t",
    ):
        assert text not in shown, text


def test_a_secret_in_a_rendered_field_is_hidden_and_the_task_gets_it():
    facts = run_one(
        """
        BashOperator(
            task_id="run",
            bash_command="test '{{ var.value.api_token }}' = " + chr(34) + "$AIRFLOW_VAR_API_TOKEN" + chr(34),
            env={"{{ var.json.settings.auth.client_secret }}": "{{ conn.stored.password }}"}, append_env=True,
        )
        """,
        facts=_facts(),
        env=ENV,
    )
    assert facts.outcome.kind is OutcomeKind.SUCCESS, facts.events
    shown = _shown(facts)
    assert "test '***'" in shown
    assert not [text for text in (TOKEN, INNER, STORED) if text in shown]
