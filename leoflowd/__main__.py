"""`leoflowd run` and `leoflowd migrate`: a daemon of a cluster, configured by the environment."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable

import click
import msgspec
import trio

from leoflowd import daemon
from leoflowd.config import Config, Role, from_environment, role_of
from leoflowd.contract.errors import LeoflowError
from leoflowd.lite.given_password import take_password


@click.group()
def main() -> None:
    """A daemon of a cluster. Settings: LEOFLOW_DATABASE, LEOFLOW_API_PORT, ... (docs/configuration.md)."""


@main.command()
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    help="What it does beside API and agents [LEOFLOW_ROLE; all].",
)
def run(role: str | None) -> None:
    """Serve until SIGTERM. Exit code 0 after a drain, 1 when something broke."""

    def configured() -> Config:
        config = msgspec.structs.replace(from_environment(), admin_password=take_password())
        return config if role is None else msgspec.structs.replace(config, role=role_of(role))

    _run(daemon.run, configured)


@main.command()
def migrate() -> None:
    """Bring the schema of LEOFLOW_DATABASE up to date, and end."""
    _run(daemon.migrate_only, from_environment)


def _run(work: Callable[[Config], Awaitable[None]], configured: Callable[[], Config]) -> None:
    try:
        trio.run(work, configured())
    except* LeoflowError as group:
        for error in group.exceptions:
            sys.stderr.write(f"leoflowd: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
