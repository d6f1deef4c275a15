"""`dns`: what does a name server say of a name?"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from chittyops_core.errors import MonitorError
from chittyops_core.monitor.probes import checks
from chittyops_core.monitor.probes.base import Check, Deadline, LookError, Probe, Unit, Values
from chittyops_core.monitor.probes.net import Address, host_name

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
        try:
            import dns.message  # noqa: F401 - told now, not at the first look
        except ImportError as error:
            raise MonitorError(
                f"the monitor {self.monitor.name!r}: the probe dns needs dnspython",
                remedy="pip install 'chittyops-core[monitor]'",
                monitor=self.monitor.name,
            ) from error
        self._name = host_name(target)

    def _look(self, values: Values, deadline: Deadline) -> None:
        import dns.exception
        import dns.message
        import dns.query
        import dns.rcode
        import dns.rdatatype

        server: Address = self._option("server") or _first_server()
        wanted = dns.rdatatype.from_text(self._option("type", "A"))
        query = dns.message.make_query(self._name, wanted)
        began = time.monotonic()
        try:
            answer, _ = dns.query.udp_with_fallback(
                query,
                server.host,
                port=server.port,
                timeout=deadline.left(),
                ignore_unexpected=True,
            )
        except dns.exception.Timeout:
            raise TimeoutError(f"no answer from the name server {server}") from None
        except (OSError, dns.exception.DNSException) as error:
            raise LookError(f"the name server {server} does not answer: {error}") from error
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
