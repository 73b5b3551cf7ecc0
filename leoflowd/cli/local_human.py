"""Who answers the questions of `leoflow test`: `--answer`, else a person at the terminal, else the task's defaults."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

import click

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.output import Output, clean, echo
from leoflowd.contract.errors import Invalid
from leoflowd.contract.human import Answer, Person, Question
from leoflowd.core.human import check_input, check_options, default_input, param_form

TESTER = Person(id="test", name="leoflow test")

answer_option = click.option(
    "--answer",
    "answers",
    metavar="TASK=OPTION",
    multiple=True,
    help="What to answer when this task asks a person; TASK[INDEX]=OPTION for one instance. Repeat it for several.",
)


def read_answers(texts: Iterable[str], task_ids: Collection[str]) -> dict[str, list[str]]:
    """Task, or task and index, -> chosen options. Raises `CommandFailed`."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for text in texts:
        task, is_given, option = text.partition("=")
        if not is_given or not option:
            raise CommandFailed(ExitCode.USAGE, f"--answer {text!r}: write TASK=OPTION")
        if task.partition("[")[0] not in task_ids:
            raise CommandFailed(ExitCode.USAGE, f"--answer {text!r}: the DAG has no such task")
        found[task].append(option)
    return dict(found)


class Answers:
    """`paused` takes the live display away while somebody is asked; None: nobody is here."""

    def __init__(
        self, given: Mapping[str, Sequence[str]], paused: Callable[[], AbstractContextManager[None]] | None
    ) -> None:
        self._given = given
        self._paused = paused

    def of(self, task_id: str, name: str, question: Question, now: datetime) -> Answer | None:
        """None: nobody answers. `name` has the map index. Raises `Invalid` for an `--answer` that does not fit."""
        chosen = self._given.get(name, self._given.get(task_id))
        if chosen is not None:
            check_options(question.options, chosen, multiple=question.multiple)
            return _answer(chosen, default_input(question.params), now, TESTER)
        if self._paused is not None:
            with self._paused():
                return _ask(name, question, now)
        if question.defaults is not None:
            return _answer(question.defaults, default_input(question.params), now, None)
        return None


def terminal(out: Output) -> bool:
    """Is a person here who can be asked?"""
    return sys.stdin.isatty() and sys.stdout.isatty() and not out.as_json


def _answer(chosen: Sequence[str], entered: dict[str, Any], now: datetime, who: Person | None) -> Answer:
    return Answer(chosen_options=tuple(chosen), params_input=entered, responded_at=now, responded_by=who)


def _ask(name: str, question: Question, now: datetime) -> Answer:
    """Until the answer fits."""
    echo(f"\n{name} asks: {question.subject}")
    if question.body:
        echo(question.body)
    default = None if question.defaults is None else ",".join(question.defaults)
    many = " (several with commas between)" if question.multiple else ""
    while True:
        text = click.prompt(clean(f"{' / '.join(question.options)}{many}"), default=default)
        chosen = [part.strip() for part in text.split(",")] if question.multiple else [text.strip()]
        entered = {param: _ask_param(param, param_form(one)) for param, one in question.params.items()}
        try:
            check_options(question.options, chosen, multiple=question.multiple)
            check_input(question.params, entered)
        except Invalid as fault:
            echo(str(fault))
            continue
        return _answer(chosen, entered, now, TESTER)


def _ask_param(name: str, param: dict[str, Any]) -> Any:
    """JSON, or text as it is."""
    value = param["value"]
    text = click.prompt(clean(name), default=value if isinstance(value, str) else json.dumps(value))
    try:
        return json.loads(text)
    except ValueError:
        return text
