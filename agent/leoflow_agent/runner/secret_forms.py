"""Secrets in all the forms in which a task may show them: as they are, in base64, URL-encoded, escaped, line by line.

Used by the agent (logs, `masking`) and in the task's own process (rendered fields, texts that are cut before they
reach the agent). Shorter texts than `MIN_LENGTH` are left alone, as Airflow does: hiding them would make the log
unreadable.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

MIN_LENGTH = 5
MASK = "***"
SECRET_NAMES = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "apikey",
    "access_key",
    "private_key",
    "authorization",
    "keyfile_dict",
    "service_account",
    "auth_header",
    "bearer",
    "connection_string",
    "dsn",
    "proxies",
    "proxy",
    "service_key",
    "webhook_url",
)
"""`leoflowd.core.secret_names.SECRET_NAMES`; a unit test compares them."""


_NOTHING = re.compile(""), re.compile(b"")


class Hidden:
    """The secrets that are known so far, as patterns for text and for bytes."""

    def __init__(self) -> None:
        self._forms: tuple[str, ...] = ()
        self._raw: tuple[bytes, ...] = ()
        self._in_text, self._in_bytes = _NOTHING  # compiled once for all tries of a warm interpreter
        self.longest = 0
        """Bytes of the longest form."""

    def hide(self, secrets: Iterable[str]) -> list[str]:
        """Those of the texts that are long enough to be hidden."""
        texts = [text for text in secrets if len(text) >= MIN_LENGTH]
        known = {*self._forms, *(form for text in texts for form in forms(text))}
        if len(known) > len(self._forms):
            # Longer ones first, so that one inside another leaves nothing behind.
            self._forms = tuple(sorted(known, key=len, reverse=True))
            self._raw = tuple(form.encode("utf-8", "surrogatepass") for form in self._forms)
            self._in_text = re.compile("|".join(map(re.escape, self._forms)))
            self._in_bytes = re.compile(b"|".join(map(re.escape, self._raw)))
            self.longest = max(map(len, self._raw))
        return texts

    def in_text(self, text: str) -> str:
        return self._in_text.sub(MASK, text) if any(form in text for form in self._forms) else text

    def in_bytes(self, raw: bytes) -> bytes:
        # `in` is a hundred times faster than the pattern, and nearly every line holds no secret.
        return self._in_bytes.sub(MASK.encode(), raw) if any(form in raw for form in self._raw) else raw

    def cut_before(self, raw: bytes, at: int) -> int:
        """Where to cut, at `at` or a little later, so that no secret is cut in two."""
        if any(form in raw for form in self._raw):
            for match in self._in_bytes.finditer(raw):
                if match.start() >= at:
                    break
                if match.end() > at:
                    return match.end()
        return at


def forms(secret: str) -> Iterator[str]:
    """Every text to look for; each line of a secret that has several (keys in PEM form) counts for itself."""
    lines = [line.strip() for line in secret.splitlines()] if "\n" in secret or "\r" in secret else []
    for text in (secret, *(line for line in lines if len(line) >= MIN_LENGTH and not line.startswith("-----"))):
        yield text
        yield quote(text, safe="", errors="replace")
        yield quote(text, errors="replace")
        yield quote_plus(text, errors="replace")
        yield json.dumps(text)[1:-1]
        yield json.dumps(text, ensure_ascii=False)[1:-1]
        yield repr(text)[1:-1]
        yield from _in_base64(text.encode("utf-8", "surrogatepass"))


def _in_base64(raw: bytes) -> Iterator[str]:
    """What of it shows in base64 of something that holds it, at each of the three alignments; both alphabets."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw).decode("ascii")
        first = (before * 8 + 5) // 6  # characters that depend on what stands before
        whole = (before + len(raw)) * 8 // 6  # the rest depends on what follows
        core = encoded[first:whole]
        if len(core) >= MIN_LENGTH:
            yield core
            yield core.replace("+", "-").replace("/", "_")


def names_a_secret(name: str) -> bool:
    plain = name.lower().replace("-", "_")
    return any(word in plain for word in SECRET_NAMES)


def of_environment(environment: Mapping[str, str]) -> list[str]:
    """Secrets in `AIRFLOW_VAR_*` (by their name, or the names inside their JSON) and in `AIRFLOW_CONN_*`."""
    found: list[str] = []
    for name, text in environment.items():
        if name.startswith("AIRFLOW_CONN_"):
            found += (text, *of_connection(text))
        elif name.startswith("AIRFLOW_VAR_"):
            found += of_variable(name.removeprefix("AIRFLOW_VAR_"), text)
    return found


def of_variable(key: str, text: str) -> list[str]:
    """The value under a key that promises a secret; else what is secret by the names inside its JSON."""
    return [text, *_texts(_parsed(text))] if names_a_secret(key) else of_json(_parsed(text))


def of_connection(text: str) -> list[str]:
    """Secrets of a connection in URI or JSON form; what cannot be read has none of its own."""
    fields = _parsed(text)
    if isinstance(fields, dict):
        extra = fields.get("extra")
        return [*of_json(fields), *(of_json(_parsed(extra)) if isinstance(extra, str) else ())]
    try:
        parts = urlsplit("//" + text.rpartition("://")[2])
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        passwords = [parts.password, unquote(parts.password)] if parts.password else []
    except ValueError:
        return []
    return [*passwords, *of_json(query), *of_json(_parsed(query.get("__extra__", "")))]


def of_value(value: Any, name: str | None) -> list[str]:
    """As Airflow's masker: a text counts unless its name is harmless; in a mapping the keys are the names."""
    if isinstance(value, dict):
        return [text for key, item in value.items() for text in of_value(item, str(key))]
    if isinstance(value, (list, tuple, set)):
        return [text for item in value for text in of_value(item, name)]
    is_secret = not name or names_a_secret(name)
    return [value] if is_secret and isinstance(value, str) and value else []


def of_json(value: Any, name: str = "") -> list[str]:
    """All texts under names that promise a secret, at any depth."""
    if name and names_a_secret(name):
        return _texts(value)
    if isinstance(value, dict):
        return [text for key, item in value.items() for text in of_json(item, str(key))]
    return [text for item in value for text in of_json(item)] if isinstance(value, list) else []


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        inner = _parsed(value)
        return [value, *(_texts(inner) if isinstance(inner, (dict, list)) else ())]
    if isinstance(value, dict):
        return [text for item in value.values() for text in _texts(item)]
    return [text for item in value for text in _texts(item)] if isinstance(value, list) else []


def _parsed(text: str) -> Any:
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
