"""`leoflow mcp`: what the server knows, for MCP clients (editors, chat programs), over stdin and stdout. ADR 87.

A process of its own beside the client that starts it: the daemon has no part in it but its HTTP API.
"""

from __future__ import annotations

import importlib.metadata

import click

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.options import output_option


@click.command()
@click.option("--allow-writes", is_flag=True, help="Also trigger runs, clear task instances, pause DAGs.")
@click.option("--server", metavar="URL", help="Overrides LEOFLOW_SERVER and the saved login.")
@click.option("--token", metavar="TOKEN", help="Overrides LEOFLOW_TOKEN and the saved login.")
@output_option
def mcp(allow_writes: bool, server: str | None, token: str | None) -> None:
    """Serve the Model Context Protocol on stdin and stdout, for an editor or a chat program that starts this command.

    It reads with the saved login and can do what that may do; with an access token that only reads
    (`leoflow auth create-token --rights read`) it can never do more. See docs/mcp.md.
    """
    try:
        from leoflowd.cli.mcp_tools import build
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith(("mcp", "pydantic")):
            raise
        raise CommandFailed(
            ExitCode.NOT_READY, "the official SDK of MCP is not installed here: `pip install 'leoflow[mcp]'`"
        ) from error
    build(server, token, writes=allow_writes, version=importlib.metadata.version("leoflow")).run("stdio")
