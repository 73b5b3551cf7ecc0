"""`leoflow tree`: the server's components as a tree, each with its state, restarts and statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from leoflowd.cli.options import server_command
from leoflowd.cli.output import Output, clean, console, show_value

if TYPE_CHECKING:
    from rich.tree import Tree

    from leoflowd.cli.client import Client

STATE_STYLES = {"running": "green", "ready": "green", "starting": "yellow", "restarting": "yellow", "failed": "red"}


@click.command()
@click.option("--watch", is_flag=True, help="Show it anew each second until Ctrl-C.")
@server_command
def tree(client: Client, out: Output, watch: bool) -> None:
    """Show the server's components and their state."""
    if watch and not out.as_json:
        _watch(client)
    document = client.get("/api/v2/leoflow/tree")
    out.show(document, lambda: console().print(_drawn(document)))


def _watch(client: Client) -> None:
    import time

    from rich.live import Live

    with Live(console=console(), auto_refresh=False, screen=True) as live:
        while True:
            live.update(_drawn(client.get("/api/v2/leoflow/tree")), refresh=True)
            time.sleep(1.0)


def _drawn(node: Any) -> Tree:
    from rich.tree import Tree

    root = Tree(_label(node))
    _grow(root, node)
    return root


def _grow(branch: Tree, node: Any) -> None:
    for child in node.get("children") or ():
        _grow(branch.add(_label(child)), child)


def _label(node: dict[str, Any]) -> Any:
    """Name, state, restarts, then the statistics in grey; what the server adds later is shown too."""
    from rich.text import Text

    state = str(node.get("state") or "")
    label = Text.assemble((clean(str(node.get("name", "?"))), "bold"))
    if state:
        label.append(f"  {state}", style=STATE_STYLES.get(state, ""))
    if node.get("restarts"):
        label.append(f"  {node['restarts']} restarts", style="yellow")
    if node.get("fault"):
        label.append(f"  {clean(str(node['fault']))}", style="bold red")
    facts = {key: value for key, value in node.items() if key not in {"name", "state", "restarts", "children", "fault"}}
    statistics = facts.pop("statistics", None)
    facts |= statistics if isinstance(statistics, dict) else {"statistics": statistics} if statistics else {}
    told = "  ".join(f"{key}={clean(show_value(value))}" for key, value in facts.items() if value not in (None, "", []))
    return label.append(f"  {told}", style="bright_black") if told else label
