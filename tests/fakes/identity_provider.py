"""A real identity provider as a process of its own: npm's oidc-provider, pinned by the hashes of its lock file."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec

from leoflowd.config import OidcConfig, Passwords
from tests.conftest import DOWNLOAD_WITHIN_S, PATIENCE_S, REPOSITORY, missing, one_at_a_time

FOLDER = Path(__file__).parent / "oidc_provider"
CACHE = REPOSITORY / ".cache" / "oidc-provider"
CLIENT_ID = "leoflow"
SECRET = "a secret: of 100% the client"  # whatever form-encoding changes


class Provider:
    """One that runs. `people`: login -> claims; whoever is not in there cannot log in."""

    def __init__(self, port: int, app: str, secret: str) -> None:
        self.issuer = f"http://127.0.0.1:{port}"
        self._settings = {"port": port, "app": app, "secret": secret}
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """With new keys."""
        node = shutil.which("node")
        assert node is not None
        self._process = subprocess.Popen(
            [node, "provider.mjs"], cwd=CACHE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(self._settings).decode() + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.strip() == "ready":
                return
        raise AssertionError("the provider did not start")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def tell(self, what: str, content: Any) -> Any:
        answer = httpx.post(f"{self.issuer}/-/{what}", json=content, timeout=PATIENCE_S, trust_env=False)
        return answer.raise_for_status().json()

    def count(self, path: str) -> int:
        """How often it was asked for this."""
        counts = httpx.get(f"{self.issuer}/-/counts", timeout=PATIENCE_S, trust_env=False).json()
        return int(counts.get(path, 0))


def config_of(provider: Provider, app: str, **changes: Any) -> OidcConfig:
    settings: dict[str, Any] = {
        "issuer": provider.issuer,
        "public_url": app,
        "client_id": CLIENT_ID,
        "client_secret": SECRET,
        "scopes": "openid profile email groups",
        "group_roles": "admins=Admin; ops=Op; staff=Viewer",
        "group_teams": "sales=sales",
        "name": "the house",
        "timeout_s": PATIENCE_S,
    }
    settings |= changes
    return OidcConfig(**settings | {"passwords": Passwords(settings.get("passwords", "all"))})


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def running_provider(app: str, *, secret: str = SECRET) -> Iterator[Provider]:
    """`app`: the public URL of the one client, with a slash at its end. Empty `secret`: a public client."""
    _install()
    provider = Provider(free_port(), app, secret)
    try:
        provider.start()
        yield provider
    finally:
        provider.stop()


def _install() -> None:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        missing("node and npm, which an identity provider runs on")
    with one_at_a_time(CACHE):
        _install_with(npm)


def _install_with(npm: str) -> None:
    lock = (FOLDER / "package-lock.json").read_bytes()
    is_there = CACHE / "installed-lock.json"
    if not is_there.exists() or is_there.read_bytes() != lock:
        CACHE.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(FOLDER / name, CACHE / name)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=CACHE, check=True, timeout=DOWNLOAD_WITHIN_S, capture_output=True)
        is_there.write_bytes(lock)
    shutil.copy(FOLDER / "provider.mjs", CACHE / "provider.mjs")


# --- a person in front of the provider's form ---------------------------------------------------------------------


async def pass_the_form(browser: httpx.AsyncClient, url: str, login: str) -> httpx.Response:
    """From our redirect to the provider, until it sends the browser back to us; the answer that does, not followed."""
    answer = await browser.get(url)
    for _ in range(10):
        if answer.is_redirect:
            target = answer.headers["location"]
            if "/auth/oidc/" in target:
                return answer
            answer = await browser.get(answer.url.join(target))
        else:
            form = re.search(r'<form[^>]*action="([^"]+)"', answer.text)
            assert form is not None, answer.text
            fields = {"prompt": "login", "login": login, "password": "any"}
            answer = await browser.post(answer.url.join(form[1]), data=fields)
    raise AssertionError(f"it does not end: {answer.url}")
