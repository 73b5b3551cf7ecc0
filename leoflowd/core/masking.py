"""What of a connection or variable may be shown, and how an edited form becomes what is stored. Rules of Airflow 3.2.

A value under a name that sounds secret is shown as `***`. Whoever saves a form sends that `***` back: it stands for the
value that is stored. Called by `api.public.connections`, `api.public.variables` and `store.loadable`; pure.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from leoflowd.core.secret_names import MASK, is_secret

PLACES = (
    "account",
    "addr",
    "authority",
    "broker",
    "domain",
    "dsn",
    "endpoint",
    "gateway",
    "host",
    "issuer",
    "proxies",
    "proxy",
    "server",
    "socket",
    "tenant",
    "url",
)
"""Names that contain one say where a connection goes; `uri` and `port` do as a word of their own."""

_PLACE = re.compile(rf"{'|'.join(PLACES)}|(?<![a-z])(uris?|ports?)(?![a-z])")

DEPTH_MAX = 32
"""Levels of an `extra`: far more than any hook reads, far fewer than Python's stack has."""


def masked(value: Any, *, sensitive: bool = False) -> Any:
    """JSON in which everything under a sensitive name is `***`; null and empty text stay, for they hide nothing."""
    match value:
        case dict():
            return {name: masked(inner, sensitive=sensitive or is_secret(name)) for name, inner in value.items()}
        case list():
            return [masked(inner, sensitive=sensitive) for inner in value]
        case _:
            return MASK if sensitive and value not in (None, "") else value


def unmasked(value: Any, stored: Any, *, sensitive: bool = False) -> Any:
    """`value` as a person sent it, with what is stored in the place of each `***` that hides something.

    Raises ValueError for a `***` under a sensitive name that nothing stored corresponds to: kept as it is, it would
    be the new secret.
    """
    match value:
        case dict():
            known = stored if isinstance(stored, dict) else {}
            return {
                name: unmasked(inner, known.get(name), sensitive=sensitive or is_secret(name))
                for name, inner in value.items()
            }
        case list():
            known_items = stored if isinstance(stored, list) else []
            return [
                unmasked(inner, known_items[i] if i < len(known_items) else None, sensitive=sensitive)
                for i, inner in enumerate(value)
            ]
        case _ if sensitive and value == MASK:
            if stored is None or isinstance(stored, dict | list):
                raise ValueError(f"`{MASK}` stands for a stored secret, and there is none; send the secret itself")
            return stored
        case _:
            return value


def places(value: Any, *, is_place: bool = False) -> Any:
    """What of an extra says where its connection goes: two that are equal in it send their secrets to one place."""
    match value:
        case dict():
            inner = {name: places(item, is_place=is_place or is_place_name(name)) for name, item in value.items()}
            return {name: item for name, item in inner.items() if item not in (None, {}, [])}
        case list():
            found = [places(item, is_place=is_place) for item in value]
            return found if any(item not in (None, {}, []) for item in found) else []
        case _:
            return value if is_place else None


def is_place_name(name: str) -> bool:
    return _PLACE.search(name.lower()) is not None


def without_secrets(value: Any) -> Any:
    """The same JSON without what `masked` would hide."""
    match value:
        case dict():
            return {name: without_secrets(inner) for name, inner in value.items() if not is_secret(name)}
        case list():
            return [without_secrets(inner) for inner in value]
        case _:
            return value


def stands_for_secrets(value: Any, *, sensitive: bool = False) -> bool:
    """Is there a `***` in it that `unmasked` would fill in?"""
    match value:
        case dict():
            return any(stands_for_secrets(v, sensitive=sensitive or is_secret(name)) for name, v in value.items())
        case list():
            return any(stands_for_secrets(inner, sensitive=sensitive) for inner in value)
        case _:
            return sensitive and value == MASK


def is_deeper_than(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(is_deeper_than(item, levels - 1) for item in inner)


# --- the text of a variable, which may be JSON -----------------------------------------------------------------------


def masked_text(text: str, name: str) -> str:
    """The text as it may be shown: `***` under a sensitive name, and for such names inside when it is JSON."""
    if is_secret(name):
        return MASK if text else text
    value = _parsed(text)
    if value is None:
        return text
    if is_deeper_than(value, DEPTH_MAX):
        return MASK
    hidden = masked(value)
    return text if hidden == value else json.dumps(hidden)


def unmasked_text(text: str, stored: str | None, name: str) -> str:
    """The text as a person sent it, with what is stored in the place of each `***` that hides something.

    Raises ValueError for a `***` that nothing stored corresponds to.
    """
    if text == MASK and stored is not None and masked_text(stored, name) == MASK:
        return stored
    value = text if is_secret(name) else _parsed(text)
    if value is None or is_deeper_than(value, DEPTH_MAX):
        return text
    if not stands_for_secrets(value, sensitive=is_secret(name)):
        return text
    return json.dumps(unmasked(value, _parsed(stored or ""), sensitive=is_secret(name)))


def _parsed(text: str) -> Any:
    """The object or list that a text is, as JSON; None for every other text."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
