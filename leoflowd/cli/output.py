"""What a command prints: a table or text for people, or exactly one JSON document on stdout with `-o json`.

Progress and errors go to stderr, so that stdout can be piped. rich is imported at the first table, not before:
most calls need none. Text that came from a server, a file or a task never reaches the terminal with its control codes:
everything goes through `echo`, `styled` and `json_line` here, and a test of the house sees to that.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

PIPE_WIDTH = 4096
"""Columns of a table that is piped: wide enough that nothing is cut or wrapped."""

STATE_STYLES = {
    "success": "green",
    "running": "bright_green",
    "failed": "red",
    "upstream_failed": "dark_orange",
    "skipped": "magenta",
    "queued": "bright_black",
    "scheduled": "tan",
    "up_for_retry": "yellow",
    "up_for_reschedule": "cyan",
    "deferred": "medium_purple",
    "restarting": "violet",
    "removed": "bright_black",
}

_SGR = re.compile(r"\x1b\[[0-9;]*m")
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?", re.DOTALL)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""C0 but tab and line feed, C1, and what turns the direction of writing round, so that a text reads as another one."""
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|\+00:00)")
"""What the API calls a moment; a table shows it in UTC to the second, and `-o json` as it came."""
_UNWRITABLE = re.compile("[\ud800-\udfff]")
_RESET = "\x1b[0m"


class Output:
    """Where this call prints and in which form. One per call, made by `main`, found through click's context."""

    def __init__(self) -> None:
        self.as_json = False

    def show(self, document: Any, for_people: Callable[[], None]) -> None:
        """The result of the command: `document` with `-o json`, else what `for_people` prints."""
        if self.as_json:
            echo(json_line(document))
        else:
            for_people()

    def say(self, text: str) -> None:
        """A line for people on stdout; nothing with `-o json`."""
        if not self.as_json:
            echo(text)

    def note(self, text: str) -> None:
        """Progress, hints and warnings: stderr, and nothing with `-o json`."""
        if not self.as_json:
            echo(text, err=True)

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """One table; a column named "state" is coloured."""
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold")
        for header in headers:
            table.add_column(header, overflow="fold")
        for row in rows:
            table.add_row(*(_cell(header, value) for header, value in zip(headers, row, strict=True)))
        console().print(table)


def echo(text: str = "", *, err: bool = False, keep_colour: bool = False) -> None:
    """One or more lines on stdout or stderr, cleaned. The colours of a log line end with it."""
    text = clean(text, keep_colour=keep_colour)
    click.echo(text + _RESET if keep_colour and "\x1b" in text else text, err=err, color=keep_colour or None)


def styled(text: str, style: str = "") -> Text:
    """A cleaned text for rich."""
    from rich.text import Text

    return Text(clean(text), style=style)


def json_line(document: Any) -> str:
    """One JSON document; what a terminal would obey, or UTF-8 not carry, is written as an escape of JSON."""
    line = json.dumps(document, ensure_ascii=False, default=str)
    return _CONTROLS.sub(_escape, _UNWRITABLE.sub(_escape, line))


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def console(file: TextIO | None = None) -> Console:
    """rich's console for stdout: no colour off a terminal or with NO_COLOR, and no cutting in a pipe."""
    from rich.console import Console

    target = file or sys.stdout
    return Console(file=target, width=None if target.isatty() else PIPE_WIDTH, highlight=False, soft_wrap=False)


def _cell(header: str, value: Any) -> Any:
    text = show_value(value)
    if isinstance(value, str) and (found := _MOMENT.fullmatch(value)):
        text = f"{found[1]} {found[2]}"
    return styled(text, STATE_STYLES.get(text, "") if header == "state" else "")


def show_value(value: Any) -> str:
    """A JSON value as a person reads it: nothing for null, yes/no, a list with commas."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case str():
            return value
        case list() | tuple():
            return ", ".join(show_value(item) for item in value)
        case dict():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return str(value)


def clean(text: str, *, keep_colour: bool = False) -> str:
    """Without terminal control codes: a log line must not be able to move the cursor or set the window's title."""
    text = _UNWRITABLE.sub(_escape, text)
    if not keep_colour:
        return _CONTROLS.sub("", _ESCAPES.sub("", text))
    parts, colours = _SGR.split(text), _SGR.findall(text)
    cleaned = [_CONTROLS.sub("", _ESCAPES.sub("", part)) for part in parts]
    return "".join(piece for pair in zip(cleaned, [*colours, ""], strict=True) for piece in pair)


def seconds(value: float | None) -> str:
    """A duration as people say it."""
    if value is None:
        return ""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
