"""Addresses and connections: each step timed, one deadline over all of them."""

from __future__ import annotations

import errno
import ipaddress
import socket
import ssl
import time
from types import TracebackType
from typing import Self

from attrs import frozen

from chittyops_core.monitor.probes import blocking, contexts
from chittyops_core.monitor.probes.base import Deadline, LookError, Values

__all__ = ["Address", "Line", "host_name", "open_line", "reason"]

MAX_UNIX_PATH = 107
"""Bytes; sun_path of unix(7) less its end."""

READ_BYTES = 16384


@frozen
class Address:
    """Where something listens: *path* of a unix socket, or *host* and *port*."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str, default_port: int | None = None) -> Address:
        """Read `host:port`, `[::1]:port` or `unix:/path`. Raises ValueError."""
        if text.startswith("unix:"):
            return cls.of_unix(text.removeprefix("unix:"))
        host, colon, port = text.rpartition(":")
        if text.startswith("[") and text.endswith("]"):
            host, colon, port = text, "", ""
        elif not colon:
            host, port = text, ""
        if port == "" and default_port is not None:
            number = default_port
        elif port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536:
            number = int(port)
        else:
            raise ValueError("it should be host:port with a port from 1 to 65535, or unix:/path")
        return cls(host_name(host), number)

    @classmethod
    def of_unix(cls, path: str) -> Address:
        """Check *path*. Raises ValueError."""
        if not path.startswith("/") or not path.isprintable():
            raise ValueError("a unix socket is written unix:/path, with an absolute path")
        if len(path.encode()) > MAX_UNIX_PATH:
            raise ValueError(f"a unix socket's path has at most {MAX_UNIX_PATH} bytes")
        return cls(path=path)

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def host_name(text: str) -> str:
    """Return *text* as the wire has it: ASCII, in small letters, no brackets. Raises ValueError."""
    if text.startswith("[") and text.endswith("]"):
        return str(ipaddress.IPv6Address(text[1:-1]))
    try:
        # RFC 3490; plain ASCII is only checked.
        name = text.encode("idna").decode("ascii").lower()
    except UnicodeError as error:
        raise ValueError(f"{text!r} is no host name") from error
    if not name or not all(c.isalnum() or c in ".-_" for c in name):
        raise ValueError(f"{text!r} is no host name; an IPv6 address goes in brackets")
    return name


class Line:
    """An open connection. Every read and write ends when the look's time is over."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self.sock = sock
        self._deadline = deadline

    def send(self, data: bytes) -> None:
        """Send all of *data*. Raises TimeoutError, OSError."""
        self.sock.settimeout(self._deadline.left())
        try:
            self.sock.sendall(data)
        except TimeoutError:
            raise TimeoutError from None

    def receive(self) -> bytes:
        """Return what came, at most 16 KiB; b'' when the other side has closed.

        Raises TimeoutError, OSError.
        """
        self.sock.settimeout(self._deadline.left())
        try:
            return self.sock.recv(READ_BYTES)
        except TimeoutError:
            raise TimeoutError from None  # without the text of one step's limit

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.sock.close()


def open_line(
    address: Address,
    deadline: Deadline,
    values: Values,
    *,
    context: ssl.SSLContext | None = None,
    name: str = "",
) -> Line:
    """Connect to *address*, by TLS as *name* when there is a *context*.

    Adds `dns_time`, `connect_time` and `tls_time` to *values*, in seconds.

    Raises:
        LookError: It cannot be reached, or its certificate is not good (the cause is the
            ssl.SSLError).
        TimeoutError: The deadline is over.
    """
    sock = _connect(address, deadline, values)
    if context is None:
        return Line(sock, deadline)
    began = time.monotonic()
    try:
        sock.settimeout(deadline.left())
        sock = context.wrap_socket(sock, server_hostname=name)
    except TimeoutError:
        sock.close()
        raise TimeoutError(f"no TLS handshake with {address}") from None
    except ssl.SSLError as error:
        sock.close()
        raise LookError(contexts.explain(error, name)) from error
    except OSError as error:
        sock.close()
        raise LookError(f"{address} broke off the TLS handshake: {reason(error)}") from error
    values["tls_time"] = time.monotonic() - began
    return Line(sock, deadline)


def _connect(address: Address, deadline: Deadline, values: Values) -> socket.socket:
    began = time.monotonic()
    places = _resolve(address, deadline)
    if not address.path:
        values["dns_time"] = time.monotonic() - began
    began = time.monotonic()
    failure: OSError | None = None
    for at, (family, place) in enumerate(places):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            # A dead address must leave time for the next one.
            sock.settimeout(deadline.left() / (len(places) - at))
            sock.connect(place)
        except OSError as error:
            sock.close()
            failure = error
            continue
        values["connect_time"] = time.monotonic() - began
        return sock
    if isinstance(failure, TimeoutError):
        raise TimeoutError(f"no connection to {address}")
    assert failure is not None
    raise LookError(f"cannot connect to {address}: {reason(failure)}") from failure


def _resolve(address: Address, deadline: Deadline) -> list[tuple[int, str | tuple[str, int]]]:
    """Return families and places to connect to, the system's preferred one first."""
    if address.path:
        return [(socket.AF_UNIX, address.path)]
    try:
        version = ipaddress.ip_address(address.host).version
    except ValueError:
        pass
    else:
        family = socket.AF_INET6 if version == 6 else socket.AF_INET
        return [(family, (address.host, address.port))]
    try:
        found = blocking.call(
            ("name", address.host, address.port),
            # As bytes: for a str Python loads its IDNA tables.
            lambda: socket.getaddrinfo(
                address.host.encode(), address.port, type=socket.SOCK_STREAM
            ),
            deadline,
            waiting=f"no address for the name {address.host}",
        )
    except socket.gaierror as error:
        raise LookError(f"the name {address.host} has no address: {error.strerror}") from error
    # An IPv6 place has four parts, of which connect() needs two.
    return [(family, (str(place[0]), int(place[1]))) for family, _, _, _, place in found]


def reason(error: OSError) -> str:
    """Return what *error* means, in plain words."""
    known = {
        errno.ECONNREFUSED: "connection refused, nothing listens there",
        errno.EAGAIN: "its queue is full, nobody accepts",
        errno.ENOENT: "there is no such socket",
        errno.ECONNRESET: "connection reset",
    }
    return known.get(error.errno or 0) or error.strerror or type(error).__name__
