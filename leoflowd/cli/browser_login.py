"""`leoflow auth login` where people log in through an identity provider: in the browser, as RFC 8252 has it.

The server's login ends on a page whose link leads to a listener here, on loopback, with a code; only who has the
verifier of the code's challenge gets a token for it. Nothing of the provider passes through this process.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import sys
import time
import webbrowser
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.contract.overriding import override

if TYPE_CHECKING:
    from leoflowd.cli.client import Client
    from leoflowd.cli.output import Output

WITHIN_S = 600.0
"""For the person, at the provider."""
DONE = b"You are logged in on the command line. You can close this window.\n"


def provider_of(client: Client) -> str | None:
    """The name of the server's identity provider; None: it has none, or is of a release before there were any."""
    try:
        methods = client.get("/leoflow/api/login-methods")
        return None if methods["oidc"] is None else str(methods["oidc"]["name"])
    except CommandFailed as failure:
        if failure.code is ExitCode.UNREACHABLE:
            raise
        return None
    except (LookupError, TypeError) as error:
        raise client.odd_answer(error) from error


def log_in(client: Client, out: Output, name: str, *, opens: bool, within_s: float = WITHIN_S) -> dict[str, Any]:
    """`access_token` and `username`. Raises `CommandFailed`, also when nobody comes."""
    if opens and not sys.stdin.isatty():
        raise CommandFailed(
            ExitCode.USAGE,
            f"nobody is here to log in with {name}: a program sets LEOFLOW_TOKEN to an access token; a person without "
            "a terminal adds --no-browser",
        )
    verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
    with _Listener(state) as listener:
        asked = {"cli_port": listener.server_port, "cli_challenge": _challenge(verifier), "cli_state": state}
        url = f"{client.login.server}/auth/oidc/login?{urlencode(asked)}"
        out.note(f"log in with {name} in your browser: {url}")
        if opens:
            webbrowser.open(url)
        code = listener.wait(within_s)
    if code is None:
        raise CommandFailed(
            ExitCode.NOT_ALLOWED,
            f"nobody logged in within {within_s / 60:.0f} minutes; where no browser can reach this machine, set "
            "LEOFLOW_TOKEN to an access token, or use --username",
        )
    made: dict[str, Any] = client.post("/auth/oidc/cli-token", {"code": code, "verifier": verifier})
    return made


class _Listener(HTTPServer):
    """Waits for the one request that knows our state."""

    def __init__(self, state: str) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.state = state
        self.code: str | None = None

    def wait(self, within_s: float) -> str | None:
        deadline = time.monotonic() + within_s
        while self.code is None and (left := deadline - time.monotonic()) > 0:
            self.timeout = left
            self.handle_request()
        return self.code


class _Answer(BaseHTTPRequestHandler):
    server: _Listener
    timeout = 5.0  # of a peer that connects and says nothing

    def do_GET(self) -> None:  # http.server's
        asked = parse_qs(urlsplit(self.path).query)
        state, code = (asked.get(name, [""])[0] for name in ("state", "code"))
        is_ours = bool(code) and hmac.compare_digest(state.encode(), self.server.state.encode())
        body = DONE if is_ours else b"This is not the login that was asked for.\n"
        self.send_response(200 if is_ours else 400)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if is_ours:
            self.server.code = code

    @override
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # http.server's
        """Nothing: the address holds the code."""


def _challenge(verifier: str) -> str:
    """S256 of RFC 7636."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
