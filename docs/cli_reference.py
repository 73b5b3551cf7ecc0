"""Writes docs/cli.md from the commands themselves: `make docs`. A test compares the file with what this answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from leoflowd.cli.main import root

FILE = Path(__file__).with_name("cli.md")
WIDTH = 100
HEAD = """# Commands

Made by `make docs` from `leoflow --help` and its commands; do not edit.
"""


def reference() -> str:
    return HEAD + "".join(sections(root, "leoflow", None))


def sections(command: click.Command, name: str, parent: click.Context | None) -> Iterator[str]:
    """The command's help, then its subcommands'."""
    context = click.Context(command, info_name=name, parent=parent, terminal_width=WIDTH, max_content_width=WIDTH)
    head = "### " if parent else "## "
    yield f"\n{head}{context.command_path}\n\n```text\n{command.get_help(context).rstrip()}\n```\n"
    if isinstance(command, click.Group):
        for child_name in command.list_commands(context):
            child = command.get_command(context, child_name)
            if child is not None and not child.hidden:
                yield from sections(child, child_name, context)


if __name__ == "__main__":
    FILE.write_text(reference())
