"""Where the daemon may connect to: the decision alone, without I/O (ADR 15, against SSRF).

`egress.EgressClient` asks twice: `destination` before anything else, for what the URL says, and `check_addresses` for
every address that the host's name resolved to. The public internet is open; everything that only this machine, its
networks or its cloud can reach is closed, unless a rule of LEOFLOW_EGRESS_ALLOW opens it (separated by commas):

    10.20.0.0/16    127.0.0.1    [fd00::7]:8443    wiki.corp.example    *.svc.cluster.local    api.corp.example:8443

Names and wide networks open private, shared and loopback addresses only: whoever runs the name's DNS must not gain the
metadata service with it. Everything else that is special (`SPECIAL`) takes a rule for that very address, or for a part
of its special network.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import httpx
import msgspec

from leoflow_sensors.kinds import ProbeFailed
from leoflowd.contract.overriding import override

SETTING = "LEOFLOW_EGRESS_ALLOW"
PORTS = {"http": 80, "https": 443}
Address = IPv4Address | IPv6Address

_LOOPBACK, _PRIVATE, _SHARED = "a loopback address", "a private address", "a shared (carrier NAT) address"
ORDINARY = frozenset({_LOOPBACK, _PRIVATE, _SHARED})
"""What any rule opens; the rest takes one for the very address."""


class Special(msgspec.Struct, frozen=True):
    network: IPv4Network | IPv6Network
    meaning: str


SPECIAL: tuple[Special, ...] = tuple(
    Special(ip_network(network), meaning)
    for network, meaning in (
        ("169.254.169.254/32", "a cloud's metadata service"),
        ("169.254.170.2/32", "a cloud's metadata service"),
        ("100.100.100.200/32", "a cloud's metadata service"),
        ("192.0.0.192/32", "a cloud's metadata service"),
        ("168.63.129.16/32", "a cloud's metadata service"),
        ("fd00:ec2::/32", "a cloud's metadata service"),
        ("fd20:ce::254/128", "a cloud's metadata service"),
        ("127.0.0.0/8", _LOOPBACK),
        ("::1/128", _LOOPBACK),
        ("10.0.0.0/8", _PRIVATE),
        ("172.16.0.0/12", _PRIVATE),
        ("192.168.0.0/16", _PRIVATE),
        ("fc00::/7", _PRIVATE),
        ("fec0::/10", _PRIVATE),
        ("100.64.0.0/10", _SHARED),
        ("169.254.0.0/16", "a link-local address"),
        ("fe80::/10", "a link-local address"),
        ("255.255.255.255/32", "the broadcast address"),
        ("224.0.0.0/4", "a multicast address"),
        ("ff00::/8", "a multicast address"),
        ("0.0.0.0/8", "an unspecified address"),
        ("::/128", "an unspecified address"),
        # Reserved, documentation, benchmarking: nothing on the internet answers there, something nearby might.
        ("192.0.0.0/24", "a reserved address"),
        ("192.0.2.0/24", "a reserved address"),
        ("192.88.99.0/24", "a reserved address"),
        ("198.18.0.0/15", "a reserved address"),
        ("198.51.100.0/24", "a reserved address"),
        ("203.0.113.0/24", "a reserved address"),
        ("240.0.0.0/4", "a reserved address"),
        ("64:ff9b:1::/48", "a reserved address"),
        ("100::/64", "a reserved address"),
        ("2001::/23", "a reserved address"),
        ("2001:db8::/32", "a reserved address"),
        ("3fff::/20", "a reserved address"),
        ("5f00::/16", "a reserved address"),
    )
)
"""The first network that holds an address says what it is. From IANA's special-purpose registries and cloud vendors."""

_NAT64 = IPv6Network("64:ff9b::/96")
_COMPATIBLE = IPv6Network("::/96")
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_RULE = re.compile(r"(?P<host>\[[^\]]*\]|[^\[\]:]*|[^\[\]]*:[^\[\]]*:[^\[\]]*?)(:(?P<port>[0-9]{1,5}))?")


class EgressRefused(ProbeFailed):
    """The policy forbids this connection; the message names what was asked for, why not, and what opens it."""


class Destination(msgspec.Struct, frozen=True):
    """Where a URL leads, in one canonical form."""

    scheme: str
    host: str
    """Lower case, ASCII (IDNA), without brackets or a dot at the end."""
    port: int

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @override
    def __str__(self) -> str:
        return self.origin


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the setting: exactly one of `network` and `name` is set."""

    network: IPv4Network | IPv6Network | None = None
    name: str | None = None
    """`host.example`, or `*.example` for every name below it."""
    port: int | None = None
    """None: every port."""

    def opens(self, target: Destination, address: Address, special: Special) -> bool:
        if self.port is not None and self.port != target.port:
            return False
        if self.network is None:
            return special.meaning in ORDINARY and self._names(target.host)
        return address in self.network and (special.meaning in ORDINARY or self._is_narrow(special))

    def _is_narrow(self, special: Special) -> bool:
        """Does it name nothing but this special network, or a part of it?"""
        own, other = self.network, special.network
        if isinstance(own, IPv4Network) and isinstance(other, IPv4Network):
            return own.subnet_of(other)
        # The IPv6 form of a special IPv4 address: exactly that address.
        return isinstance(own, IPv6Network) and (
            own.subnet_of(other) if isinstance(other, IPv6Network) else own.num_addresses == 1
        )

    def _names(self, host: str) -> bool:
        assert self.name is not None
        return host.endswith(self.name[1:]) if self.name.startswith("*.") else host == self.name


class EgressPolicy(msgspec.Struct, frozen=True):
    allow: tuple[Rule, ...] = ()


def parse_policy(text: str) -> EgressPolicy:
    """The policy of LEOFLOW_EGRESS_ALLOW. Raises ValueError that names the entry and what it may look like."""
    return EgressPolicy(tuple(_parse_rule(entry.strip()) for entry in text.split(",") if entry.strip()))


def _parse_rule(entry: str) -> Rule:
    found = _RULE.fullmatch(entry.lower())
    port = int(found["port"]) if found and found["port"] else None
    if found is None or not found["host"] or (port is not None and not 1 <= port <= 65_535):
        raise _bad_rule(entry)
    host = found["host"].strip("[]")
    try:
        return Rule(network=ip_network(host), port=port)
    except ValueError:
        if not _NAME.fullmatch(host.removeprefix("*.")) or _ends_in_number(host):
            raise _bad_rule(entry) from None
        return Rule(name=host, port=port)


def _bad_rule(entry: str) -> ValueError:
    return ValueError(
        f"{SETTING} has the entry {entry!r}, which is no address or network (`10.20.0.0/16`, `[fd00::7]:8443`) and no "
        "host name (`wiki.corp.example`, `*.svc.cluster.local`), each with or without `:port`; commas separate entries"
    )


def destination(url: httpx.URL) -> Destination:
    """Where `url` leads. Raises `EgressRefused` for what cannot be meant honestly: it is refused, not repaired."""
    if url.scheme not in PORTS:
        raise _refused(url, "only http and https URLs are requested")
    if url.userinfo:
        raise _refused(url, "it carries a user or password; put them into login and password of a connection")
    port = url.port or PORTS[url.scheme]
    if not 1 <= port <= 65_535:
        raise _refused(url, f"{port} is no port")
    return Destination(url.scheme, _canonical_host(url), port)


def destination_of(text: str) -> Destination:
    """Where the URL `text` leads. Raises `EgressRefused`, also for what is no URL."""
    try:
        return destination(httpx.URL(text))
    except httpx.InvalidURL as error:
        raise EgressRefused(f"{text.partition('?')[0]!r} is refused: it is no URL: {error}") from error


def endpoint(scheme: str, host: str | None, port: int) -> Destination:
    """Where a connection that is no URL leads. Raises `EgressRefused` unless it names one host.

    No Unix sockets, lists of hosts, or what a client library would read as something else than a host.
    """
    name = (host or "").strip().lower().removesuffix(".")
    shown = f"{scheme}://{host or ''}:{port}"
    if not 1 <= port <= 65_535:
        raise EgressRefused(f"{shown!r} is refused: {port} is no port")
    address = name.strip("[]")
    if ":" in address and "%" not in address:  # a zone id would name an interface of ours
        with contextlib.suppress(ValueError):
            return Destination(scheme, str(IPv6Address(address)), port)
    try:
        return Destination(scheme, str(IPv4Address(name)), port)
    except ValueError:
        if not _NAME.fullmatch(name) or _ends_in_number(name):
            raise EgressRefused(
                f"{shown!r} is refused: the connection's host must be one host name or address; sockets of this "
                "machine and lists of hosts are not tried"
            ) from None
    return Destination(scheme, name, port)


def _canonical_host(url: httpx.URL) -> str:
    host = url.raw_host.decode("ascii").lower().removesuffix(".")
    if "%" in host:
        raise _refused(url, "its host has an escape or a zone id (`%`); write a plain host")
    if ":" in host:
        return str(IPv6Address(host))  # httpx parsed it already
    if not _NAME.fullmatch(host):
        raise _refused(url, f"{host!r} is no host name")
    if _ends_in_number(host):
        return _dotted_quad(url, host)
    return host


def _ends_in_number(host: str) -> bool:
    """Resolvers read such a host as an IPv4 address in one of its many spellings (WHATWG URL, 4.6)."""
    return _NUMBER.fullmatch(host.rpartition(".")[2]) is not None


def _dotted_quad(url: httpx.URL, host: str) -> str:
    try:
        return str(IPv4Address(host))
    except ValueError as error:
        disguise = f"{host!r} is an address in decimal, octal or hexadecimal disguise; write it as four decimal numbers"
        raise _refused(url, disguise) from error


def _refused(url: httpx.URL, because: str) -> EgressRefused:
    shown = url.copy_with(username=None, password=None, query=None, fragment=None)
    return EgressRefused(f"{str(shown)!r} is refused: {because}")


def check_addresses(policy: EgressPolicy, target: Destination, addresses: Sequence[str]) -> None:
    """Raises `EgressRefused` unless every address may be connected to: a name that leads to both kinds is a trap."""
    for text in addresses:
        if "%" in text:
            raise EgressRefused(_refusal(target, text, "a link-local address with a zone id", opening=None))
        _check_address(policy, target, ip_address(text))


def _check_address(policy: EgressPolicy, target: Destination, address: Address) -> None:
    for inner in (address, *_embedded(address)):
        special = special_of(inner)
        if special is None:
            continue
        if not any(rule.opens(target, found, special) for rule in policy.allow for found in (inner, address)):
            opening = f"[{address}]" if address.version == 6 else str(address)
            raise EgressRefused(_refusal(target, str(address), special.meaning, opening=f"{opening}:{target.port}"))


def _refusal(target: Destination, address: str, meaning: str, *, opening: str | None) -> str:
    where = f"{target} is refused" if target.host == address else f"{target} is refused: it leads to {address}"
    where = f"{where}: that is {meaning}" if target.host == address else f"{where}, {meaning}"
    if opening is None:
        return f"{where}, which no rule can open"
    by_name = f" (or {target.host}:{target.port})" if meaning in ORDINARY and target.host != address else ""
    return (
        f"{where}, which only a rule of this installation opens. If tasks may connect there, an operator adds {opening}"
        f"{by_name} to {SETTING} and starts the daemon again"
    )


def special_of(address: Address) -> Special | None:
    """What is special about an address; None for one on the public internet."""
    return next((special for special in SPECIAL if address in special.network), None)


def _embedded(address: Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses inside an IPv6 one: a router or the kernel on the way may deliver to those."""
    if isinstance(address, IPv4Address):
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    low = int(address) & 0xFFFF_FFFF
    if address in _NAT64 or (address in _COMPATIBLE and low > 1):
        yield IPv4Address(low)
