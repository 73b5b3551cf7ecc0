"""Registering an artifact with its author's signature, for `push` and `deploy`. ADR 105."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.output import Output
from leoflowd.contract.errors import Invalid

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from leoflowd.cli.client import Client

VARIABLE = "LEOFLOW_SIGN_KEY"


def _key(_context: click.Context, _parameter: click.Parameter, file: Path | None) -> Ed25519PrivateKey | None:
    from leoflowd.contract.signatures import load_key

    if file is None:
        return None
    try:
        return load_key(file.read_bytes())
    except (Invalid, OSError) as error:
        raise click.BadParameter(f"{file}: {error}") from error


sign_key_option = click.option(
    "--sign-key",
    envvar=VARIABLE,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    callback=_key,
    metavar="FILE",
    help=f"Sign with this key of `ssh-keygen -t ed25519`, without a passphrase [{VARIABLE}].",
)
"""Hands the command the key itself, or None."""


def register(client: Client, out: Output, route: str, artifact: bytes, key: Ed25519PrivateKey | None) -> Any:
    """The server's answer."""
    from leoflowd.contract.signatures import HEADER, sign

    if key is None:
        return client.post_bytes(route, artifact)
    answer = client.post_bytes(route, artifact, {HEADER: sign(key, artifact)})
    if not answer.get("signed_by"):  # an older server does not say
        out.note(f"{answer['dag_id']}: it is signed, and {client.login.server} checks no signatures")
    return answer


def check_key(word: str | None, key: Ed25519PrivateKey | None, server: str) -> None:
    """`word`: what the server does with signatures. Raises `CommandFailed` for what it would refuse later."""
    if word == "required" and key is None:
        raise CommandFailed(
            ExitCode.NOT_ALLOWED,
            f"{server} runs signed versions only: name your key with --sign-key FILE, or set {VARIABLE}. Nothing was "
            "built",
        )
