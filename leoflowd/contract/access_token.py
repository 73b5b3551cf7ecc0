"""What an access token looks like: for whoever makes, checks, or hides one. ADR 80.

`leoflow_pat_` (a person's) or `leoflow_svc_` (a service's), 30 random characters, and six of a checksum: scanners of
code find it by its form alone, and a mistyped one is refused without a look into the database. Pure.
"""

from __future__ import annotations

import hashlib
import re
import string
import zlib

PERSONAL, SERVICE = "pat", "svc"
RANDOM_LENGTH = 30
"""Of 62 characters: 178 bits, so a plain hash of it can be stored."""
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_CHECKSUM_LENGTH = 6
FORM = re.compile(rf"leoflow_(?:{PERSONAL}|{SERVICE})_[0-9A-Za-z]{{{RANDOM_LENGTH + _CHECKSUM_LENGTH}}}")
_SECRET = re.compile(rf"(leoflow_(?:{PERSONAL}|{SERVICE})_)[0-9A-Za-z]{{8,}}")


def compose(kind: str, randomness: str) -> str:
    """The token of RANDOM_LENGTH random characters of ALPHABET."""
    return f"leoflow_{kind}_{randomness}{_checksum(randomness)}"


def is_access_token(text: str) -> bool:
    """Does it have the form, checksum included? Says nothing about whether it is good."""
    if FORM.fullmatch(text) is None:
        return False
    ending = text.rpartition("_")[2]
    return ending[RANDOM_LENGTH:] == _checksum(ending[:RANDOM_LENGTH])


def claims_to_be_one(text: str) -> bool:
    return text.startswith((f"leoflow_{PERSONAL}_", f"leoflow_{SERVICE}_"))


def hash_of(token: str) -> bytes:
    """What is stored."""
    return hashlib.sha256(token.encode()).digest()


def without_access_tokens(text: str) -> str:
    """The text with `***` for the secret part of every access token in it, cut ones included."""
    return _SECRET.sub(r"\1***", text) if "leoflow_" in text else text


def _checksum(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits
