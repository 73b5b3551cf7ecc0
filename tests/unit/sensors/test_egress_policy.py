"""What the egress policy opens and refuses, without any network."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leoflow_sensors.egress_policy import (
    Destination,
    EgressPolicy,
    EgressRefused,
    check_addresses,
    destination,
    parse_policy,
)

SITE = Destination("https", "site.example", 443)
PUBLIC = ("8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "64:ff9b::808:808", "2002:808:808::1", "::ffff:8.8.8.8")
METADATA = ("169.254.169.254", "fd00:ec2::254", "169.254.170.2", "100.100.100.200", "168.63.129.16")


@pytest.mark.parametrize("address", PUBLIC)
def test_the_public_internet_is_open(address: str) -> None:
    check_addresses(EgressPolicy(), SITE, [address])


@pytest.mark.parametrize(
    ("address", "meaning"),
    [
        ("127.0.0.1", "loopback"),
        ("127.8.9.10", "loopback"),
        ("::1", "loopback"),
        ("10.1.2.3", "private"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.168.1.1", "private"),
        ("fd12:3456::1", "private"),
        ("fec0::1", "private"),
        ("100.64.0.1", "shared"),
        ("169.254.1.1", "link-local"),
        ("fe80::1", "link-local"),
        ("fe80::1%2", "link-local"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "unspecified"),
        ("::", "unspecified"),
        ("255.255.255.255", "broadcast"),
        ("240.0.0.1", "reserved"),
        ("198.18.0.1", "reserved"),
        ("192.0.2.1", "reserved"),
        ("2001:db8::1", "reserved"),
        *((address, "metadata") for address in METADATA),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:a9fe:a9fe", "metadata"),
        ("::127.0.0.1", "loopback"),
        ("::10.0.0.1", "private"),
        ("64:ff9b::a9fe:a9fe", "metadata"),
        ("64:ff9b::7f00:1", "loopback"),
        ("2002:7f00:1::", "loopback"),
        ("2002:a9fe:a9fe::1", "metadata"),
    ],
)
def test_what_only_we_can_reach_is_closed(address: str, meaning: str) -> None:
    with pytest.raises(EgressRefused, match=meaning):
        check_addresses(EgressPolicy(), SITE, [address])


@pytest.mark.parametrize("addresses", [("8.8.8.8", "127.0.0.1"), ("127.0.0.1", "8.8.8.8")])
def test_a_name_with_one_closed_address_is_refused(addresses: tuple[str, ...]) -> None:
    with pytest.raises(EgressRefused, match="loopback"):
        check_addresses(EgressPolicy(), SITE, addresses)


def test_the_refusal_says_what_to_set() -> None:
    with pytest.raises(EgressRefused) as refused:
        check_addresses(EgressPolicy(), SITE, ["10.0.0.7"])
    assert str(refused.value) == (
        "https://site.example:443 is refused: it leads to 10.0.0.7, a private address, which only a rule of this "
        "installation opens. If tasks may connect there, an operator adds 10.0.0.7:443 (or site.example:443) to "
        "LEOFLOW_EGRESS_ALLOW and starts the daemon again"
    )


@pytest.mark.parametrize(
    "address", ["10.0.0.7", "fd00::7", "127.0.0.1", "169.254.169.254", "fe80::7", "::ffff:10.0.0.7"]
)
def test_what_a_refusal_says_to_set_opens_the_way(address: str) -> None:
    target = Destination("http", address, 8080)
    with pytest.raises(EgressRefused) as refused:
        check_addresses(EgressPolicy(), target, [address])
    rule = str(refused.value).partition("adds ")[2].partition(" ")[0]
    check_addresses(parse_policy(rule), target, [address])


@pytest.mark.parametrize(
    ("rules", "address"),
    [
        ("10.0.0.0/8", "10.9.9.9"),
        ("10.0.0.0/8", "::ffff:10.9.9.9"),
        ("site.example", "192.168.0.1"),
        ("SITE.example:443", "192.168.0.1"),
        ("*.example", "127.0.0.1"),
        (" 1.2.3.4 ,, [fd00::/8]:443 ", "fd00::1"),
        ("[fd00::1]:443", "fd00::1"),
        ("169.254.169.254", "169.254.169.254"),
        ("fd00:ec2::254", "fd00:ec2::254"),
    ],
)
def test_a_rule_opens_what_it_names(rules: str, address: str) -> None:
    check_addresses(parse_policy(rules), SITE, [address])


@pytest.mark.parametrize(
    ("rules", "address"),
    [
        ("10.0.0.0/8", "192.168.0.1"),
        ("10.0.0.0/8:80", "10.0.0.1"),
        ("other.example", "10.0.0.1"),
        ("*.site.example", "10.0.0.1"),
        ("ite.example", "10.0.0.1"),
        ("[fd00::1]:80", "fd00::1"),
    ],
)
def test_a_rule_opens_nothing_else(rules: str, address: str) -> None:
    with pytest.raises(EgressRefused):
        check_addresses(parse_policy(rules), SITE, [address])


@pytest.mark.parametrize("rule", ["site.example", "*.example", "0.0.0.0/0", "::/0", "fd00::/8", "169.0.0.0/8"])
@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254"])
def test_no_name_and_no_wide_network_opens_the_metadata_service(rule: str, address: str) -> None:
    with pytest.raises(EgressRefused, match="metadata"):
        check_addresses(parse_policy(rule), SITE, [address])


@pytest.mark.parametrize(
    "entry",
    ["10.0.0.0/33", "10.0.0.1/8", "a b", "http://x", "*", "*.", "a.*.b", "x:0", "x:99999", "[::1", ":80", "1.2.3"],
)
def test_an_entry_that_is_no_rule_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match="LEOFLOW_EGRESS_ALLOW has the entry"):
        parse_policy(f"10.0.0.1,{entry}")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://site.example/a?b", Destination("http", "site.example", 80)),
        ("HTTPS://SITE.Example:444", Destination("https", "site.example", 444)),
        ("https://site.example./", SITE),
        ("https://münchen.example/", Destination("https", "xn--mnchen-3ya.example", 443)),
        ("http://[::FFFF:127.0.0.1]:80/", Destination("http", "::ffff:7f00:1", 80)),
        ("http://127.0.0.1./", Destination("http", "127.0.0.1", 80)),
        ("http://under_score.svc/", Destination("http", "under_score.svc", 80)),
    ],
)
def test_a_url_leads_to_one_canonical_place(url: str, expected: Destination) -> None:
    assert destination(httpx.URL(url)) == expected


@pytest.mark.parametrize(
    "url",
    [
        "ftp://site.example/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_",
        "//site.example/",
        "http:///path",
        "http://user@site.example/",
        "http://user:pw@site.example/",
        "http://site.example\\@evil.example/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://127.1/",
        "http://1.2.3.0x4/",
        "http://[fe80::1%25eth0]/",
        "http://127.0.0.1%2f.evil.example/",
        "http://ex%61mple.com/",
        "http://a..b/",
        "http://site.example../",
        "http://site.example:99999/",
    ],
)
def test_a_url_in_disguise_is_refused(url: str) -> None:
    with pytest.raises(EgressRefused, match="is refused"):
        destination(httpx.URL(url))


def test_the_refusal_of_a_url_hides_its_password_and_query() -> None:
    with pytest.raises(EgressRefused) as refused:
        destination(httpx.URL("http://user:hunter2@site.example/?token=hunter3"))
    assert "hunter" not in str(refused.value)


@given(st.ip_addresses(v=4))
def test_every_ipv6_form_of_a_closed_ipv4_address_is_closed(address: IPv4Address) -> None:
    def closed(text: str) -> bool:
        try:
            check_addresses(EgressPolicy(), SITE, [text])
        except EgressRefused:
            return True
        return False

    low = int(address)
    forms = [0xFFFF << 32 | low, 0x64_FF9B << 96 | low, 0x2002 << 112 | low << 80]
    assert all(closed(str(IPv6Address(form))) or not closed(str(address)) for form in forms)
