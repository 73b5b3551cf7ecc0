"""`leoflow version`."""

from __future__ import annotations

import platform

import click

from leoflowd.cli.options import output_option
from leoflowd.cli.output import Output, echo


@click.command()
@output_option
@click.pass_obj
def version(out: Output) -> None:
    """Print the version."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        number = installed("leoflow")
    except PackageNotFoundError:
        number = "0.0.0+source"  # run from a checkout that nobody installed
    document = {"version": number, "python": platform.python_version(), "platform": platform.platform()}
    out.show(document, lambda: echo(f"leoflow {number} (Python {document['python']}, {document['platform']})"))
