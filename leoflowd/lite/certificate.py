"""The certificate of Lite's door for pods: made here, for the name under which they reach it, trusted by them alone.

Kept in the data folder, and made anew a month before its end or for another name. Blocking.
"""

from __future__ import annotations

import ipaddress
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LIFE = timedelta(days=365)
RENEW_BEFORE = timedelta(days=30)
EARLIER = timedelta(days=1)
"""Clocks of nodes differ."""


class Certificate(msgspec.Struct, frozen=True):
    file: Path
    """With its key."""
    pem: str
    """What pods trust."""


def keep_certificate(folder: Path, host: str) -> Certificate:
    """Raises OSError."""
    file = folder / "door.pem"
    found = _read(file)
    if found is None or not _is_good(found, host):
        folder.mkdir(parents=True, exist_ok=True)
        found = _make(file, host)
    return Certificate(file, found.public_bytes(serialization.Encoding.PEM).decode())


def _read(file: Path) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _is_good(certificate: x509.Certificate, host: str) -> bool:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return list(names) == [_name(host)] and certificate.not_valid_after_utc - RENEW_BEFORE > datetime.now(UTC)


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _make(file: Path, host: str) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Leoflow Lite")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(now + LIFE)
        .add_extension(x509.SubjectAlternativeName([_name(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    both = made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(serialization.Encoding.PEM, form, plain)
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as output:
        output.write(both)
    new.replace(file)
    return made
