"""`leoflow completion`: the script that a shell sources; the completing itself is click's."""

from __future__ import annotations

import click

from leoflowd.cli.options import output_option
from leoflowd.cli.output import Output, echo

HINTS = {
    "bash": "leoflow completion bash > ~/.local/share/bash-completion/completions/leoflow",
    "zsh": "leoflow completion zsh > ~/.zfunc/_leoflow   # with ~/.zfunc in fpath",
    "fish": "leoflow completion fish > ~/.config/fish/completions/leoflow.fish",
}


@click.command(epilog="\b\n" + "\n".join(HINTS.values()))
@click.argument("shell", type=click.Choice(list(HINTS)))
@output_option
@click.pass_obj
def completion(out: Output, shell: str) -> None:
    """Print the completion script of a SHELL."""
    from click.shell_completion import get_completion_class

    from leoflowd.cli.main import root

    complete = get_completion_class(shell)
    assert complete is not None
    script = complete(root, {}, "leoflow", "_LEOFLOW_COMPLETE").source()
    out.show({"shell": shell, "script": script}, lambda: echo(script))
