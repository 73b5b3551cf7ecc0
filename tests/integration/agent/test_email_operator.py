"""EmailOperator without the provider: the task's process sends the mail to a real SMTP server process."""

from __future__ import annotations

import json
from typing import Any

import pytest

from leoflowd.contract.agent_messages import OutcomeKind
from leoflowd.contract.connection import ConnectionFacts
from tests.fakes.fake_control_plane import Facts, TryFacts

from .harness import World, agent_and_plane, in_world, run_tries
from .test_callbacks import Mails, mails  # noqa: F401  # the fixture

HEADER = """
from airflow.sdk import DAG
from airflow.providers.smtp.operators.smtp import EmailOperator
from airflow.operators.email import EmailOperator as Older
with DAG("d") as dag:
"""
TASKS = """
EmailOperator(task_id="sends", to="a@x, b@x", cc=["c@x"], bcc="d@x", subject="Run {{ run_id }}",
    html_content="<b>{{ dag.dag_id }}</b>", from_email="me@x", files=[__file__],
    mime_subtype="related", custom_headers={"X-Of": "{{ run_id }}"})
Older(task_id="older", to="old@x", subject="Old", html_content="old")
EmailOperator(task_id="template", to="t@x", html_content="given")
EmailOperator(task_id="empty", to="e@x", subject="given")
EmailOperator(task_id="nobody", to="", subject="s", html_content="h")
EmailOperator(task_id="nowhere", to="n@x", subject="s", html_content="h", conn_id="nowhere")
"""
NAMES = ("sends", "older", "template", "empty", "nobody", "nowhere")


@pytest.fixture(scope="module")
def tries(mails: Mails) -> dict[str, TryFacts]:  # noqa: F811
    ran: dict[str, TryFacts] = {}

    async def body(world: World) -> None:
        world.project(TASKS, header=HEADER)
        subject = world.folder / "subject.txt"
        subject.write_text("Of {{ run_id }}\n")
        options = {"disable_ssl": True, "disable_tls": True, "from_email": "leo@x", "subject_template": str(subject)}
        server = ConnectionFacts(
            connection_id="smtp_default",
            conn_type="smtp",
            host="127.0.0.1",
            port=await mails.port(),
            extra=json.dumps(options),
        )
        world.facts = Facts(connections={"smtp_default": server})
        specs = [world.spec(task_id=name, kind="python", runtime="shim") for name in NAMES]
        async with agent_and_plane(world) as plane:
            ran.update(zip(NAMES, await run_tries(world, plane, *specs), strict=True))

    in_world(body)
    return ran


def to(mails: Mails, address: str) -> dict[str, Any]:  # noqa: F811
    (mail,) = [one for one in mails if address in one["to"]]
    return mail


def test_every_argument_is_in_the_mail(tries: dict[str, TryFacts], mails: Mails) -> None:  # noqa: F811
    assert tries["sends"].outcome.kind is OutcomeKind.SUCCESS, tries["sends"].outcome.because
    mail = to(mails, "a@x")
    assert (mail["from"], mail["to"]) == ("me@x", ["a@x", "b@x", "c@x", "d@x"])
    content = mail["content"].replace("=\r\n", "").replace("\r\n ", " ")
    for words in (
        "Subject: Run manual__1",
        "Cc: c@x",
        "X-Of: manual__1",
        "<b>d</b>",
        "multipart/related",
        'filename="dag.py"',
    ):
        assert words in content
    assert "d@x" not in content


def test_the_older_path_is_the_same_operator(tries: dict[str, TryFacts], mails: Mails) -> None:  # noqa: F811
    assert tries["older"].outcome.kind is OutcomeKind.SUCCESS, tries["older"].outcome.because
    assert to(mails, "old@x")["from"] == "leo@x"


def test_the_connection_may_name_a_template(tries: dict[str, TryFacts], mails: Mails) -> None:  # noqa: F811
    assert tries["template"].outcome.kind is OutcomeKind.SUCCESS, tries["template"].outcome.because
    assert "Subject: Of manual__1" in to(mails, "t@x")["content"]


@pytest.mark.parametrize(
    ("name", "words"),
    [("empty", "html_content_template"), ("nobody", "nobody to go to"), ("nowhere", "'nowhere'")],
)
def test_what_cannot_be_sent_fails_the_task(tries: dict[str, TryFacts], name: str, words: str) -> None:
    outcome = tries[name].outcome
    assert outcome.kind is OutcomeKind.FAILED
    assert words in outcome.because
