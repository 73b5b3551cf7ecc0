"""How a new password comes in: typed twice, from stdin, or made here. Never as an argument, which others can read."""

from __future__ import annotations

import sys

import click

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.output import Output, clean
from leoflowd.contract.passwords import generate_password


def ask_new(question: str, out: Output) -> str:
    """From a person."""
    if out.as_json or not sys.stdin.isatty():
        raise CommandFailed(ExitCode.USAGE, "nobody is here to type the new password; use --password-stdin")
    return str(click.prompt(clean(question), hide_input=True, confirmation_prompt=True, err=True))


def read_lines(*whats: str) -> list[str]:
    """One line of stdin for each."""
    lines = sys.stdin.read().splitlines()
    if len(lines) != len(whats) or not all(lines):
        raise CommandFailed(ExitCode.USAGE, f"stdin has not {len(whats)} lines, with {', '.join(whats)}")
    return lines


def new_password(username: str, out: Output, *, from_stdin: bool, generate: bool) -> str:
    if from_stdin and generate:
        raise CommandFailed(ExitCode.USAGE, "--generate makes the password: leave out --password-stdin")
    if generate:
        return generate_password()
    return read_lines("the password")[0] if from_stdin else ask_new(f"New password of {username}", out)
