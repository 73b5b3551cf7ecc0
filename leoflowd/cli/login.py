"""Which server and token a call uses, and the saved login in `~/.leoflow/config.yaml` (or `$LEOFLOW_CONFIG`).

Flag, then environment, then saved login. A saved token goes only to the server that gave it. The file holds tokens,
so it is written 0600 and replaced whole; keys that are not ours are kept.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leoflowd.cli.failures import CommandFailed, ExitCode

DEFAULT_SERVER = "http://127.0.0.1:8088"


@dataclass(frozen=True, slots=True)
class Login:
    """What a call was resolved to; the token is kept out of tracebacks."""

    server: str
    token: str | None = field(repr=False)
    is_saved: bool = field(default=False, compare=False)
    """The server is that of the saved login: nobody named it in this call."""


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    configured = environ.get("LEOFLOW_CONFIG")
    return Path(configured).expanduser() if configured else Path.home() / ".leoflow" / "config.yaml"


def resolve(server: str | None, token: str | None, environ: Mapping[str, str] = os.environ) -> Login:
    """Flag, environment, saved login, default; in this order, for server and token each."""
    saved = _read(config_path(environ))
    logins: dict[str, Any] = saved.get("logins") or {}
    named = server or environ.get("LEOFLOW_SERVER")
    url = _normal(named or saved.get("server") or DEFAULT_SERVER)
    is_saved = not named and bool(saved.get("server"))
    return Login(url, token or environ.get("LEOFLOW_TOKEN") or logins.get(url), is_saved)


def save(server: str, token: str, path: Path) -> None:
    """Remember the token of this server and make it the default server."""
    content = _read(path)
    content["server"] = server
    content.setdefault("logins", {})[server] = token
    _write(path, content)


def forget(server: str, path: Path) -> bool:
    """Remove the token of this server, and the server as the default one; was there one?"""
    content = _read(path)
    logins: dict[str, Any] = content.get("logins") or {}
    if logins.pop(server, None) is None and content.get("server") != server:
        return False
    if content.get("server") == server:
        del content["server"]
    _write(path, content)
    return True


def saved_token(server: str, path: Path) -> str | None:
    return (_read(path).get("logins") or {}).get(server)


def _normal(url: str) -> str:
    url = url.rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise CommandFailed(
            ExitCode.USAGE, f"the server {url!r} is no URL; write it as http://host:port or https://host"
        )
    return url


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise CommandFailed(
            ExitCode.USAGE, f"cannot read the saved login {path}: {error}; repair or remove the file"
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("logins") or {}, dict):
        raise CommandFailed(
            ExitCode.USAGE, f"the saved login {path} has not the expected form; remove it and log in again"
        )
    return content


def _write(path: Path, content: dict[str, Any]) -> None:
    import yaml

    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # mkstemp makes the file 0600 from the start: the token is never readable by others, not even for a moment
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".config-")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        yaml.safe_dump(content, file, sort_keys=True)
    Path(temporary).replace(path)
