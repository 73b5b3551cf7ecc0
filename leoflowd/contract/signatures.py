"""Signatures of artifacts: made beside the author's key, checked by a server that trusts some keys. ADR 105.

Keys are OpenSSH's, of Ed25519. What is signed are the bytes of the artifact as they are sent, behind DOMAIN, so that a
signature for anything else is none here. It travels in the header HEADER, as `<fingerprint of the key> <base64>`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    load_ssh_private_key,
    load_ssh_public_key,
    ssh_key_fingerprint,
)

from leoflowd.contract.errors import Invalid, NotAllowed
from leoflowd.contract.overriding import override

HEADER = "Leoflow-Signature"
DOMAIN = b"leoflow dag version 1\0"


class Signer(msgspec.Struct, frozen=True):
    """Whose signature counts."""

    name: str
    """What stands behind the key in its line; for people."""
    fingerprint: str
    """As `ssh-keygen -l` shows it."""
    key: Ed25519PublicKey

    @override
    def __str__(self) -> str:
        return f"{self.name} ({self.fingerprint})" if self.name else self.fingerprint


def read_signers(lines: Iterable[str]) -> tuple[Signer, ...]:
    """Of lines like those of `~/.ssh/authorized_keys`, `ssh-ed25519 AAAA... name`. Raises `Invalid`."""
    return tuple(_signer(line) for line in lines)


def _signer(line: str) -> Signer:
    kind, _, rest = line.partition(" ")
    encoded, _, name = rest.strip().partition(" ")
    try:
        key = load_ssh_public_key(f"{kind} {encoded}".encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Invalid(f"{line[:60]!r} is no public key of OpenSSH: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise Invalid(f"{line[:60]!r} is a key of {kind}; versions are signed with keys of ssh-ed25519")
    return Signer(name.strip(), _fingerprint(key), key)


def load_key(text: bytes) -> Ed25519PrivateKey:
    """Of a file that `ssh-keygen -t ed25519` wrote. Raises `Invalid`."""
    try:
        key = load_ssh_private_key(text, None)
    except TypeError:
        raise Invalid("it has a passphrase: sign with a key of its own that has none, as CI would") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Invalid(f"it is no private key of OpenSSH: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Invalid("versions are signed with keys of Ed25519: make one with `ssh-keygen -t ed25519`")
    return key


def sign(key: Ed25519PrivateKey, artifact: bytes) -> str:
    """The value of HEADER."""
    signature = base64.b64encode(key.sign(DOMAIN + artifact)).decode()
    return f"{_fingerprint(key.public_key())} {signature}"


def signer_of(signers: Sequence[Signer], header: str, artifact: bytes) -> Signer:
    """Who signed these bytes. Raises `NotAllowed`: none of them did."""
    fingerprint, _, encoded = header.strip().partition(" ")
    signer = next((one for one in signers if one.fingerprint == fingerprint), None)
    if signer is None:
        raise NotAllowed(
            f"the version is signed with {fingerprint[:60]!r}, which is none of the keys that this server trusts "
            "(LEOFLOW_ADMISSION_SIGNERS)"
        )
    try:
        signer.key.verify(base64.b64decode(encoded, validate=True), DOMAIN + artifact)
    except (InvalidSignature, binascii.Error):
        raise NotAllowed(f"the signature of {signer} does not fit: the artifact is not what was signed") from None
    return signer


def _fingerprint(key: Ed25519PublicKey) -> str:
    digest = base64.b64encode(ssh_key_fingerprint(key, hashes.SHA256())).decode().rstrip("=")
    return f"SHA256:{digest}"
