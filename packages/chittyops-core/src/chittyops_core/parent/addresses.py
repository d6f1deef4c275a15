"""Where a request comes from: the peer, or what a proxy that we trust says."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

__all__ = ["client_address", "is_trusted"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def client_address(peer: str, forwarded: str, trusted: Sequence[Network]) -> str:
    """Return the address of who sent a request.

    Args:
        peer: Address of who connected.
        forwarded: `X-Forwarded-For`; each proxy adds at its end whom it was asked by.
        trusted: Networks of proxies whose word is taken.
    """
    address = peer
    for said in reversed(forwarded.split(",")):
        if not is_trusted(address, trusted) or not said.strip():
            break
        address = said.strip()
    return address[:64]


def is_trusted(address: str, networks: Sequence[Network]) -> bool:
    """Whether *address* is in one of *networks*."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in networks)
