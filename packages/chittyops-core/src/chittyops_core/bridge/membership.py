"""Which parent a child belongs to, as it stands in `membership.json`; and its neighbours' names."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from urllib.parse import urlsplit

from attrs import evolve, field, frozen

from chittyops_core._kit import files, wire
from chittyops_core.bridge.protocol import ChildState
from chittyops_core.errors import BridgeError, UsageError

__all__ = [
    "FILE_NAME",
    "OUTBOX",
    "PAUSED",
    "Membership",
    "is_loopback",
    "read",
    "require_url",
    "write",
]

FILE_NAME = "membership.json"
OUTBOX = "outbox.db"
PAUSED = "paused"
"""The file that an operator's pause is; its content means nothing."""


@frozen
class Membership:
    """A child's place with one parent.

    Attributes:
        url: Of the parent, without a path.
        child: The id that the parent gave.
        parent: Thumbprint of the parent's key; nobody else is believed.
        parent_key: That key, 32 bytes in base64url.
        name: How the host calls itself.
        state: Where it stands, as the parent last said.
        parent_name: How the parent calls itself.
        ca_file: Certificates to trust instead of the machine's; "" for none.
        enrolled_at: Seconds since the epoch.
    """

    url: str
    child: str
    parent: str
    parent_key: str
    name: str
    state: ChildState = field(converter=ChildState)
    parent_name: str = ""
    ca_file: str = ""
    enrolled_at: float = 0.0

    def with_state(self, state: ChildState) -> Membership:
        return evolve(self, state=state)


def read(folder: Path) -> Membership | None:
    """Return the membership in *folder*; None for a host that belongs to no parent.

    Raises:
        BridgeError: The file is damaged.
    """
    path = folder / FILE_NAME
    try:
        return wire.from_wire(Membership, json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except Exception as error:  # What cattrs raises has many types.
        raise BridgeError(
            f"{path} cannot be read: {error}",
            remedy="Restore it from a backup, or enrol again: "
            "the same key makes it the same child.",
        ) from error


def write(folder: Path, membership: Membership) -> None:
    """Keep *membership*, also across a power cut."""
    files.write_durably(folder / FILE_NAME, json.dumps(wire.to_wire(membership), indent=1))


def require_url(url: str) -> str:
    """Return the parent's address without a path, as it is kept.

    Raises:
        UsageError: It is no address, holds more than one, or is neither TLS nor loopback.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise UsageError(f"{url!r} is no address: {error}") from error
    if parts.scheme not in ("http", "https") or not host or not url.isascii():
        raise UsageError(
            f"{url!r} is no address of a parent", remedy="Give one as https://ops.example.org."
        )
    if "@" in parts.netloc or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise UsageError(
            "a parent's address has no user, path or query",
            remedy=f"Give {parts.scheme}://{host} with its port alone.",
        )
    if parts.scheme == "http" and not is_loopback(host):
        raise UsageError(
            f"{host} is another machine, so its address has to begin with https://",
            remedy="Put Caddy in front of the parent, or let it serve TLS by itself.",
        )
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (f":{port}" if port else "")


def is_loopback(host: str) -> bool:
    """Say whether *host* is this machine by its address, or `localhost`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
