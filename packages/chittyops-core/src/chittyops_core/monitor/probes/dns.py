"""`dns`: what does a name server say of a name?

dnspython builds and reads the messages; the sockets are our own, because `dns.query` loads whatever
it finds of asyncio, QUIC and HTTP clients (32 MB where they are installed).
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from chittyops_core.errors import MonitorError
from chittyops_core.monitor.probes import checks
from chittyops_core.monitor.probes.base import Check, Deadline, LookError, Probe, Unit, Values
from chittyops_core.monitor.probes.net import Address, host_name, open_line, reason

if TYPE_CHECKING:
    from dns.message import Message

__all__ = ["DnsProbe"]


def _server(value: Any) -> Address:
    """Check for a name server's address; a name would need a name server."""
    address = Address.parse(checks.text(value), default_port=53)
    if not address.host:
        raise ValueError("an address, not a unix socket")
    try:
        ipaddress.ip_address(address.host)
    except ValueError:
        raise ValueError(f"an IP address such as 9.9.9.9 or [::1]:5353, not {value!r}") from None
    return address


class DnsProbe(Probe):
    """Ask a name server once for the target, a name. Options:

    - `type`: The record type; A when not given.
    - `server`: `address` or `address:port`; the machine's first one when not given.
    """

    kind = "dns"
    default_conditions = ("answers > 0",)
    values: ClassVar[Mapping[str, Unit]] = {
        "answers": Unit.NUMBER,
        "answer": Unit.TEXT,
        "ttl": Unit.DURATION,
        "response_time": Unit.DURATION,
    }
    options: ClassVar[Mapping[str, Check]] = {
        "server": _server,
        "type": checks.one_of(
            "A", "AAAA", "CAA", "CNAME", "DS", "MX", "NS", "PTR", "SOA", "SRV", "TXT"
        ),
    }

    def _prepare(self, target: str) -> None:
        self._name = host_name(target)
        try:
            import dns.message  # noqa: F401 - told now, not at the first look
        except ImportError as error:
            raise MonitorError(
                f"the monitor {self.monitor.name!r}: the probe dns needs dnspython",
                remedy="pip install 'chittyops-core[local]'",
                monitor=self.monitor.name,
            ) from error

    def _look(self, values: Values, deadline: Deadline) -> None:
        import dns.message
        import dns.rcode
        import dns.rdatatype

        server: Address = self._option("server") or _first_server()
        wanted = dns.rdatatype.from_text(self._option("type", "A"))
        query = dns.message.make_query(self._name, wanted)
        began = time.monotonic()
        try:
            answer = _ask_by_udp(query, server, deadline)
            if answer is None:
                answer = _ask_by_tcp(query, server, deadline)
        except TimeoutError:
            raise TimeoutError(f"no answer from the name server {server}") from None
        except OSError as error:
            raise LookError(f"the name server {server} cannot be asked: {reason(error)}") from error
        values["response_time"] = time.monotonic() - began
        if answer.rcode() == dns.rcode.NXDOMAIN:
            raise LookError(f"the name {self._name} does not exist (NXDOMAIN from {server})")
        if answer.rcode() != dns.rcode.NOERROR:
            raise LookError(f"{server} refuses with {dns.rcode.to_text(answer.rcode())}")
        found = [records for records in answer.answer if records.rdtype == wanted]
        texts = sorted(record.to_text() for records in found for record in records)
        values["answers"] = len(texts)
        values["answer"] = ", ".join(texts)[:1000]
        if found:
            values["ttl"] = min(records.ttl for records in found)


def _ask_by_udp(query: Message, server: Address, deadline: Deadline) -> Message | None:
    """Return the answer; None when it does not fit. Raises OSError, TimeoutError."""
    import dns.exception
    import dns.flags
    import dns.message

    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        # Connected: the kernel drops what others send, and tells that nobody listens.
        sock.connect((server.host, server.port))
        sock.settimeout(deadline.left())
        sock.send(query.to_wire())
        while True:
            sock.settimeout(deadline.left())
            data = sock.recv(65535)
            try:
                answer = dns.message.from_wire(data)
            except dns.exception.DNSException:
                continue  # nonsense, or a forgery: the answer may still come
            if query.is_response(answer):
                return None if answer.flags & dns.flags.TC else answer


def _ask_by_tcp(query: Message, server: Address, deadline: Deadline) -> Message:
    """Ask again by TCP (RFC 7766, section 5). Raises LookError, OSError, TimeoutError."""
    import dns.exception
    import dns.message

    with open_line(server, deadline, {}) as line:
        sent = query.to_wire()
        line.send(len(sent).to_bytes(2, "big") + sent)
        data = b""
        while len(data) < 2 or len(data) - 2 < int.from_bytes(data[:2], "big"):
            more = line.receive()
            if not more:
                raise LookError(f"the name server {server} broke off its answer")
            data += more
    try:
        answer = dns.message.from_wire(data[2 : 2 + int.from_bytes(data[:2], "big")])
    except dns.exception.DNSException as error:
        raise LookError(f"the name server {server} answers nonsense: {error}") from error
    if not query.is_response(answer):
        raise LookError(f"the name server {server} answers another question")
    return answer


def _first_server() -> Address:
    """Return the first name server of resolv.conf(5)."""
    try:
        with open("/etc/resolv.conf", encoding="utf-8", errors="replace") as file:
            words = [line.split() for line in file]
    except OSError:
        words = []
    found = [line[1] for line in words if len(line) > 1 and line[0] == "nameserver"]
    # resolv.conf(5): with none, the name server is on the local machine.
    return Address(found[0].partition("%")[0] if found else "127.0.0.1", 53)
