"""Checks which addresses a webhook may call: users must not reach private networks through this server."""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

from fgd_core.errors import SpecError

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host name, port) -> its addresses."""

_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_NAME = re.compile(
    r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.?"
)
# A public address by its number, but the host agent in one large cloud.
_METADATA = frozenset({ipaddress.ip_address("168.63.129.16")})


@dataclass(frozen=True, kw_only=True)
class Target:
    """Holds where to connect to. The name is resolved once, so that it cannot resolve to another address later."""

    host: str
    port: int
    scheme: str
    addresses: tuple[str, ...]


async def resolve(host: str, port: int) -> Sequence[str]:
    """Return all addresses of a host."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[4][0]) for address in found))


async def target(url: str, *, allow_private: bool, resolve: Resolve = resolve) -> Target:
    """Resolve `url`, and check that a webhook may call it.

    Raises:
        SpecError: the URL is invalid, its host is unknown, or one of its addresses is not public.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as cause:
        raise _refused("bad_url", f"{url[:100]!r} is not a URL: {cause}") from cause
    if parts.scheme not in _PORTS or not host:
        raise _refused("bad_url", f"{url[:100]!r} is not a URL of a webhook; write https://host/path")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise _refused("bad_url", "a webhook's URL must not have a user name or fragment; the signature identifies us")
    if port == 0:
        raise _refused(
            "bad_url", f"{url[:100]!r} names port 0, which cannot be used; write another port, or leave it out"
        )
    if not _is_name(host):
        raise _refused("bad_url", f"{host[:100]!r} is not a valid host name; correct the URL")
    port = port or _PORTS[parts.scheme]
    try:
        addresses = await resolve(host, port)
    except (OSError, UnicodeError) as cause:
        raise _refused("unknown_host", f"the host {host!r} is unknown; correct the URL") from cause
    refused = [address for address in addresses if not allow_private and not is_public(ipaddress.ip_address(address))]
    # One private address is enough to refuse: a name with both kinds is meant to reach the private one.
    if refused or not addresses:
        message = f"{host!r} has the address {', '.join(refused) or 'none'}, and webhooks call the public internet only"
        raise _refused("private_address", f"{message}; an admin can set FGD_WEBHOOKS_ALLOW_PRIVATE")
    return Target(host=host, port=port, scheme=parts.scheme, addresses=tuple(addresses))


def _is_name(host: str) -> bool:
    """Whether it is a valid host name, or an address without a zone."""
    if ":" in host:
        return "%" not in host
    return len(host) <= 253 and _NAME.fullmatch(host) is not None


def is_public(address: IPAddress) -> bool:
    """Whether it is an address of the public internet; an IPv4 address within IPv6 must be public too."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            # Hosts without IPv4 reach the internet through NAT64, and possibly their own network.
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        wrapped = (address.ipv4_mapped, address.sixtofour, *(address.teredo or ()))
        if not all(is_public(inner) for inner in wrapped if inner is not None):
            return False
        if address.scope_id is not None or address.is_site_local:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address in _METADATA)


def _refused(code: str, message: str) -> SpecError:
    return SpecError(message, reasons=[{"loc": "url", "code": code, "message": message}])
