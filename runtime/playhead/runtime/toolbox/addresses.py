"""Decides which network addresses a tool may connect to: a model must not reach addresses that only this host can reach."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import anyio

__all__ = ["AddressPolicy", "is_public", "lookup"]

Address = IPv4Address | IPv6Address

_NAT64 = IPv6Network("64:ff9b::/96")
_V4_COMPATIBLE = IPv6Network("::/96")


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet.

    False for private, loopback, link-local (cloud metadata services), carrier-grade NAT, multicast, reserved and
    unspecified addresses, and for IPv6 addresses that carry such an IPv4 address (mapped, 6to4, NAT64, compatible).
    """
    if isinstance(address, IPv6Address):
        if (inner := _inner(address)) is not None:
            return is_public(inner)
        if address.is_site_local:
            return False
    return address.is_global and not (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
    )


def _inner(address: IPv6Address) -> IPv4Address | None:
    if address in _NAT64 or address in _V4_COMPATIBLE:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


class AddressPolicy:
    """Allows public addresses and those that the operator adds."""

    def __init__(self, *, allow_private: bool = False, allow_networks: Sequence[str] = ()) -> None:
        """Set the policy.

        Args:
            allow_private: Allow every address.
            allow_networks: Networks to allow besides the public ones, such as `10.1.0.0/16`.

        Raises:
            ValueError: If a network cannot be parsed.
        """
        self._allow_private = allow_private
        self._networks = tuple(ip_network(network) for network in allow_networks)

    def allows(self, address: Address) -> bool:
        """Whether a connection to `address` is allowed."""
        return self._allow_private or is_public(address) or any(address in network for network in self._networks)

    async def resolve(self, host: str, port: int) -> list[str]:
        """Look up the addresses of `host`, all of which are allowed.

        The caller must connect to one of these, not to the name: a second look-up may return something else.

        Raises:
            ValueError: If the name has no address, or has one that is not allowed.
        """
        try:
            found = await lookup(host, port)
        except (OSError, UnicodeError) as error:
            raise ValueError(f"cannot find the host {host!r}: {error}") from None
        for address in found:
            if not self.allows(ip_address(address)):
                raise ValueError(f"{host} is at {address}, which is not a public address; requests to it are refused")
        return found


async def lookup(host: str, port: int) -> list[str]:
    """The addresses of a name, or of an address in any spelling that the system accepts, without duplicates."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
