"""Secrets at rest: AES-256-GCM, with the id of the key beside the ciphertext (ADR 14).

`store.connections` seals and opens; nobody else holds a box. Each ciphertext is bound to the place it belongs to, so
that one copied to another row or column does not open. The first key of the ring seals, all of them open. A key that
is missing or wrong is an error with a sentence, never a row that looks empty.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from leoflowd.config import SecretsConfig
from leoflowd.contract.errors import Conflict, LeoflowError
from leoflowd.core.audit_chain import UNKEYED

KEY_BYTES = 32
NONCE_BYTES = 12
"""96 random bits: safe for 2**32 seals under one key, which no table of connections reaches."""

KeyRing = Mapping[str, bytes]
"""Key id -> key, in order: the first one seals."""

_AUDIT = b"leoflow audit log"
"""What the keys of its seals are made for: they open no secret."""
_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class KeysRefused(LeoflowError):
    """The configured keys cannot be read; the message names the entry, never the key."""


class CannotOpen(Conflict, ValueError):
    """A stored secret does not open: its key is missing or another one, or the row was tampered with."""


class CannotSeal(Conflict):
    """There is no key to seal with."""


class Sealed(msgspec.Struct, frozen=True):
    key_id: str
    content: bytes
    """Nonce, ciphertext, tag."""


class SecretBox:
    """`read_keys` is asked again for every seal, and when a key id is unknown: a rotated key needs no restart."""

    def __init__(self, read_keys: Callable[[], KeyRing]) -> None:
        self._read_keys = read_keys
        self._ring = read_keys()

    def sealing_key_id(self) -> str:
        """The id of the first key, read anew. Raises `CannotSeal`."""
        self._ring = self._read_keys()
        if not self._ring:
            raise CannotSeal(
                "secrets cannot be stored: this server has no key to encrypt them with; set LEOFLOW_SECRETS_KEYS to "
                "`<id>:<base64 of 32 random bytes>` and start it again"
            )
        return next(iter(self._ring))

    def seal(self, text: str, place: str, key_id: str) -> Sealed:
        """With the key that `sealing_key_id` named. `place` says where it belongs; `open` must be given the same."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return Sealed(key_id, nonce + AESGCM(self._ring[key_id]).encrypt(nonce, text.encode(), place.encode()))

    def open(self, sealed: Sealed, place: str) -> str:
        """Raises `CannotOpen`, which names the key id."""
        if sealed.key_id not in self._ring:
            self._ring = self._read_keys()
        key = self._ring.get(sealed.key_id)
        if key is None:
            known = ", ".join(repr(key_id) for key_id in self._ring) or "none"
            raise CannotOpen(
                f"it was encrypted with the key {sealed.key_id!r}, which this server does not have (it has: {known}); "
                "bring the key back into LEOFLOW_SECRETS_KEYS or the key file, or delete it and add it anew"
            )
        nonce, content = sealed.content[:NONCE_BYTES], sealed.content[NONCE_BYTES:]
        try:
            return AESGCM(key).decrypt(nonce, content, place.encode()).decode()
        except (InvalidTag, ValueError) as error:  # ValueError: shorter than a nonce
            raise CannotOpen(
                f"it does not open with the key {sealed.key_id!r}: that id now belongs to another key, or the row was "
                "changed behind our back; bring back the right key, or delete it and add it anew"
            ) from error

    def audit_key(self) -> tuple[str, bytes]:
        """(id, key) that seals the audit log now, made of the first key; `("", b"")` without. Raises `KeysRefused`."""
        keys = self.audit_keys()
        key_id = next(iter(self._ring), UNKEYED)
        return key_id, keys[key_id]

    def audit_keys(self) -> Mapping[str, bytes]:
        """By id, all that may have sealed it. Raises `KeysRefused`."""
        self._ring = self._read_keys()
        made = {key_id: hmac.new(key, _AUDIT, hashlib.sha256).digest() for key_id, key in self._ring.items()}
        return {UNKEYED: b"", **made}


def box_of(config: SecretsConfig) -> SecretBox:
    """The box of this installation; makes Lite's key file at its first start. Raises `KeysRefused`."""
    if config.key_file is not None:
        make_key_file(config.key_file)
    return SecretBox(lambda: _configured_keys(config))


def _configured_keys(config: SecretsConfig) -> KeyRing:
    ring = dict(parse_keys(config.keys, "LEOFLOW_SECRETS_KEYS"))
    if config.key_file is not None:
        for key_id, key in read_key_file(config.key_file).items():
            ring.setdefault(key_id, key)
    return ring


def parse_keys(text: str, source: str) -> KeyRing:
    """`id:base64,id:base64`, or one per line. Raises `KeysRefused` that names `source` and the entry's number."""
    ring: dict[str, bytes] = {}
    entries = [entry for entry in re.split(r"[,\s]+", text) if entry]
    for number, entry in enumerate(entries, start=1):
        key_id, _, encoded = entry.partition(":")
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            key = b""
        if not _KEY_ID.fullmatch(key_id) or len(key) != KEY_BYTES:
            raise KeysRefused(f"{source}: entry {number} is not `<id>:<base64 of {KEY_BYTES} bytes>`")
        if key_id in ring:
            raise KeysRefused(f"{source}: entry {number} has the key id {key_id!r} of an earlier one")
        ring[key_id] = key
    return ring


# --- Lite's key file: one key per line, the sealing one first ---------------------------------------------------------


def make_key_file(file: Path) -> None:
    """Make the file with one new key, readable by its owner alone; an existing one is left as it is."""
    if not file.exists():
        _write(file, f"{_new_key()}\n")


def add_key(file: Path) -> str:
    """Put a new key in front, which seals from now on; the others stay, to open what they sealed. Its id."""
    key = _new_key()
    _write(file, f"{key}\n{file.read_text()}")
    return key.partition(":")[0]


def read_key_file(file: Path) -> KeyRing:
    """Raises `KeysRefused` for a file that is missing, open to others, or malformed."""
    try:
        mode, text = file.stat().st_mode, file.read_text()
    except OSError as error:
        raise KeysRefused(f"cannot read the key file {file}: {error.strerror}; bring it back from a backup") from error
    if mode & 0o077:
        raise KeysRefused(f"others may read the key file {file}; run `chmod 600 {file}`")
    return parse_keys(text, str(file))


def _new_key() -> str:
    return f"{secrets.token_hex(4)}:{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}"


def _write(file: Path, text: str) -> None:
    """Whole or not at all: a key lost to a crash halfway is every secret lost."""
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f"{file.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())
    fresh.replace(file)
