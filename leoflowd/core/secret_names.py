"""Which names promise a secret: values under them are never shown. The runner has the same list for rendered fields."""

from __future__ import annotations

from typing import Any

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
"""Parts of names, in lower case; `-` counts as `_` (HTTP headers)."""


def masked(value: Any, name: str = "") -> Any:
    """The same plain JSON with `***` under every name that promises a secret, at any depth."""
    if value and is_secret(name):
        return MASK
    if isinstance(value, dict):
        return {key: masked(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [masked(item) for item in value]
    return value


def is_secret(name: str) -> bool:
    plain = name.lower().replace("-", "_")
    return any(word in plain for word in SECRET_NAMES)
