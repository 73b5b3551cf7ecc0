"""Signatures of artifacts: whose they are, and what is none. ADR 105."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from leoflowd.contract.errors import Invalid, NotAllowed
from leoflowd.contract.signatures import load_key, read_signers, sign, signer_of

ARTIFACT = b'{"dag_id": "d"}'
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
FINGERPRINT = "SHA256:lbmsoA0yIEcEiVDRnMWuzm+nV+3ZEEpVIURqFoeSspg"
"""As `ssh-keygen -l` shows that of KEY."""


def line(key: Ed25519PrivateKey, name: str = "") -> str:
    text = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return f"{text} {name}".strip()


SIGNERS = read_signers([line(Ed25519PrivateKey.generate(), "other"), line(KEY, "ci at example")])


def test_a_signature_says_whose_it_is() -> None:
    signature = sign(KEY, ARTIFACT)
    assert signature.split()[0] == FINGERPRINT
    assert str(signer_of(SIGNERS, signature, ARTIFACT)) == f"ci at example ({FINGERPRINT})"
    assert str(signer_of(read_signers([line(KEY)]), signature, ARTIFACT)) == FINGERPRINT


@pytest.mark.parametrize("artifact", [ARTIFACT + b" ", ARTIFACT[:-1], b""])
def test_other_bytes_are_not_what_was_signed(artifact: bytes) -> None:
    with pytest.raises(NotAllowed, match=r"ci at example .* does not fit"):
        signer_of(SIGNERS, sign(KEY, ARTIFACT), artifact)


def test_what_the_key_signed_elsewhere_is_no_signature_here() -> None:
    bare = f"{FINGERPRINT} {base64.b64encode(KEY.sign(ARTIFACT)).decode()}"
    with pytest.raises(NotAllowed, match="does not fit"):
        signer_of(SIGNERS, bare, ARTIFACT)


@pytest.mark.parametrize("rest", ["", " ", " ?", " YQ==", " " + "A" * 1000])
def test_what_is_no_signature_is_none(rest: str) -> None:
    with pytest.raises(NotAllowed, match="does not fit"):
        signer_of(SIGNERS, FINGERPRINT + rest, ARTIFACT)


@pytest.mark.parametrize("header", ["", "SHA256:x y", sign(Ed25519PrivateKey.generate(), ARTIFACT)])
def test_a_key_that_nobody_trusts_is_named(header: str) -> None:
    with pytest.raises(NotAllowed, match="none of the keys that this server trusts"):
        signer_of(SIGNERS, header, ARTIFACT)


def test_a_key_is_read_as_openssh_writes_it() -> None:
    text = KEY.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    assert sign(load_key(text), ARTIFACT) == sign(KEY, ARTIFACT)


RSA = generate_private_key(65537, 2048)
FRAME = b"-----BEGIN %s-----\n%s\n-----END %s-----\n"
WHAT = b"OPENSSH PRIVATE KEY"
LOCKED = b"""\
b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABAwMDAwMDAwMDAwMDAwMDAw
AAAAEAAAAAEAAAAzAAAAC3NzaC1lZDI1NTE5AAAAIAOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4
AAAAEAAAAAAAAAAAAAAAAAAAAAA="""
"""Of a key with a passphrase: its head is what is looked at."""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "no private key of OpenSSH"),
        (FRAME % (WHAT, b"AAAA", WHAT), "no private key of OpenSSH"),
        (FRAME % (WHAT, LOCKED, WHAT), "passphrase"),
        (RSA.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), "keys of Ed25519"),
    ],
)
def test_a_file_that_is_no_such_key_is_refused(text: bytes, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        load_key(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no public key"),
        ("hello", "no public key"),
        ("ssh-ed25519", "no public key"),
        ("ssh-ed25519 AAAA ci", "no public key"),
        (RSA.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(), "a key of ssh-rsa"),
    ],
)
def test_a_line_that_is_no_such_key_is_refused(text: str, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        read_signers([line(KEY), text])
