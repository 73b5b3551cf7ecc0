"""Which names promise a secret: `leoflowd.core.secret_names` for an interpreter that has only the shim of ours."""

from __future__ import annotations

from typing import Any

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


def names_a_secret(key: str) -> bool:
    plain = key.lower().replace("-", "_")
    return any(word in plain for word in SECRET_NAMES)


def secrets_in(value: Any, is_secret: bool = False) -> list[str]:
    """All texts under names that promise a secret; a whole mapping may be one (`keyfile_dict`)."""
    if isinstance(value, dict):
        return [text for key, item in value.items() for text in secrets_in(item, is_secret or names_a_secret(key))]
    if isinstance(value, list):
        return [text for item in value for text in secrets_in(item, is_secret)]
    return [value] if is_secret and isinstance(value, str) else []
