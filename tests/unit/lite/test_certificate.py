"""The certificate of the door for pods: for one name, kept, made anew for another one, closed to others."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography import x509

from leoflowd.config import ConfigRefused
from leoflowd.lite.certificate import keep_certificate
from leoflowd.lite.route import address_towards


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::7", "host.k3d.internal"])
def test_it_is_for_the_name_that_pods_use_and_kept(tmp_path: Path, host: str) -> None:
    made = keep_certificate(tmp_path / "agent", host)
    assert keep_certificate(tmp_path / "agent", host) == made
    names = x509.load_pem_x509_certificate(made.pem.encode()).extensions
    [name] = names.get_extension_for_class(x509.SubjectAlternativeName).value
    assert str(name.value) == host
    ssl.create_default_context(cadata=made.pem)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(made.file)


def test_another_name_gets_another_one_and_others_cannot_read_the_key(tmp_path: Path) -> None:
    first = keep_certificate(tmp_path, "192.0.2.7")
    second = keep_certificate(tmp_path, "192.0.2.8")
    assert first.pem != second.pem
    assert second.file.stat().st_mode & 0o077 == 0
    assert "PRIVATE KEY" not in second.pem


def test_the_way_to_a_server_of_this_machine_is_loopback() -> None:
    assert address_towards("https://127.0.0.1:6443") == "127.0.0.1"


def test_a_server_without_an_address_is_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigRefused, match="--agent-address"):
        address_towards("https://no-such-name.invalid:6443")
