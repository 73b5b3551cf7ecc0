"""`leoflow variables`: list, show, set, delete, import and export the variables that the server stores, encrypted."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.options import confirm, server_command
from leoflowd.cli.output import Output, echo
from leoflowd.cli.variable_sources import file_argument, read_file

if TYPE_CHECKING:
    from leoflowd.cli.client import Client

PATH = "/api/v2/variables"
STDIN = "-"
MASK = "***"
"""What the server shows in the place of a secret."""


def variable_path(key: str) -> str:
    from leoflowd.cli.client import segment

    return f"{PATH}/{segment(key)}"


@click.group()
def variables() -> None:
    """List, set, delete, import and export variables."""


@variables.command("list")
@server_command
def list_variables(client: Client, out: Output) -> None:
    """List the stored variables; secrets as ***."""
    rows = list(client.pages(PATH, "variables", order_by="key"))
    document = {"variables": rows, "total_entries": len(rows)}
    out.show(document, lambda: out.table(("key", "value", "description"), [_row(row) for row in rows]))


def _row(row: dict[str, Any]) -> tuple[Any, ...]:
    return (row["key"], row["value"], row["description"])


@variables.command("get")
@click.argument("key")
@server_command
def get_variable(client: Client, out: Output, key: str) -> None:
    """Print the value of one variable; a secret is ***."""
    row = client.get(variable_path(key))
    out.show(row, lambda: echo(row["value"]))


@variables.command("set")
@click.argument("key")
@click.argument("value", required=False)
@click.option("--description", help="For people; without it, the one that is stored stays.")
@server_command
def set_variable(client: Client, out: Output, key: str, value: str | None, description: str | None) -> None:
    """Store VALUE under KEY, whether it exists or not; without VALUE, or with -, it is read from stdin."""
    from leoflowd.core.secret_names import is_secret

    if value in (None, STDIN):
        value = sys.stdin.read().rstrip("\r\n")
    elif is_secret(key):
        out.note(
            "warning: other users of this machine may see a secret in an argument; next time let it come from stdin"
        )
    entity = {"key": key, "value": value} | ({} if description is None else {"description": description})
    _bulk(client, {"action": "create", "entities": [entity], "action_on_existence": "overwrite"})
    row = client.get(variable_path(key))
    out.show(row, lambda: echo(f"set {key}"))


@variables.command("delete")
@click.argument("key")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@server_command
def delete_variable(client: Client, out: Output, key: str, yes: bool) -> None:
    """Delete a variable."""
    confirm(out, f"Delete variable {key!r}?", yes=yes)
    client.delete(variable_path(key))
    out.show({"key": key, "deleted": True}, lambda: echo(f"deleted {key}"))


@variables.command("import")
@click.argument("file", metavar="FILE", type=file_argument)
@click.option(
    "--on-existing",
    type=click.Choice(["overwrite", "skip", "fail"]),
    default="overwrite",
    show_default=True,
    help="What happens to a variable that is stored already.",
)
@server_command
def import_variables(client: Client, out: Output, file: Path, on_existing: str) -> None:
    """Store the variables of FILE, all or none: JSON, YAML (.yaml) or KEY=VALUE lines (.env)."""
    entities = [
        {"key": facts.key, "value": facts.value}
        | ({} if facts.description is None else {"description": facts.description})
        for facts in read_file(file)
    ]
    done = _bulk(client, {"action": "create", "entities": entities, "action_on_existence": on_existing})
    skipped = [entity["key"] for entity in entities if entity["key"] not in done]
    document = {"imported": done, "skipped": skipped}
    out.show(
        document, lambda: echo(f"imported {len(done)} variables" + (f", skipped {len(skipped)}" if skipped else ""))
    )


@variables.command("export")
@click.argument("file", metavar="[FILE]", default=STDIN, type=click.Path(dir_okay=False))
@server_command
def export_variables(client: Client, out: Output, file: str) -> None:
    """Write all variables as JSON that `import` reads, to FILE or stdout. It holds no secrets: no server shows them."""
    found: dict[str, Any] = {}
    withheld: list[str] = []
    for row in client.pages(PATH, "variables", order_by="key"):
        if MASK in row["value"]:
            withheld.append(row["key"])
        elif row["description"] is None:
            found[row["key"]] = row["value"]
        else:
            found[row["key"]] = {"value": row["value"], "description": row["description"]}
    text = json.dumps(found, indent=2, ensure_ascii=False)
    if withheld:
        out.note(f"left out, for their values hold secrets: {', '.join(withheld)}")
    if file == STDIN:
        echo(text)
        return
    try:
        Path(file).write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise CommandFailed(ExitCode.USAGE, f"cannot write {file}: {error.strerror}; name another file") from error
    document = {"file": file, "exported": sorted(found), "left_out": withheld}
    out.show(document, lambda: echo(f"{file}: {len(found)} variables"))


def _bulk(client: Client, action: dict[str, Any]) -> list[str]:
    """The keys that were written. Raises `CommandFailed`: an action that fails is no HTTP error."""
    from leoflowd.cli.client import EXIT_CODES

    result = client.patch(PATH, {"actions": [action]})[action["action"]]
    for error in result["errors"]:
        raise CommandFailed(EXIT_CODES.get(error["status_code"], ExitCode.UNEXPECTED), error["error"])
    return [str(key) for key in result["success"]]
