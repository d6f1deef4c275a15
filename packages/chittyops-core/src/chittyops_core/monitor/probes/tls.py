"""`tls`: is a server's certificate good, and for how long?"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from chittyops_core.monitor.probes import checks, contexts
from chittyops_core.monitor.probes.base import Check, Deadline, LookError, Probe, Unit, Values
from chittyops_core.monitor.probes.net import Address, Line, host_name, open_line
from chittyops_core.monitor.units import show_duration

if TYPE_CHECKING:
    from cryptography import x509

__all__ = ["TlsProbe"]


class TlsProbe(Probe):
    """Do a TLS handshake with the target, `host:port` (443 when left out) or `unix:/path`.

    The certificate's dates and names are told even when it is not good: a second handshake, which
    trusts anybody, only reads it. Of a good one, `cert_expires_in` is the server's own
    certificate's; a CA above it that expires first is found when it has.

    Revocation is looked up only in `crl_file`, which somebody has to keep up to date; without it
    the value `revocation` says `not checked`. No OCSP: the CAs are giving it up (Let's Encrypt
    ended it in 2025). Options:

    - `host`: The name that the certificate should be for; the target's host when not given.
    - `ca_file`: PEM file of the CAs to trust instead of the machine's.
    - `crl_file`: PEM file of revocation lists, one for every CA of the chain.
    """

    kind = "tls"
    default_conditions = ("cert_expires_in > 14d",)
    values: ClassVar[Mapping[str, Unit]] = {
        "cert_expires_in": Unit.DURATION,
        "cert_is_valid": Unit.FLAG,
        "cert_issuer": Unit.TEXT,
        "cert_names": Unit.TEXT,
        "revocation": Unit.TEXT,
        "tls_version": Unit.TEXT,
        "response_time": Unit.DURATION,
        "dns_time": Unit.DURATION,
        "connect_time": Unit.DURATION,
        "tls_time": Unit.DURATION,
    }
    options: ClassVar[Mapping[str, Check]] = {
        "host": lambda value: host_name(checks.text(value)),
        "ca_file": checks.path,
        "crl_file": checks.path,
    }

    def _prepare(self, target: str) -> None:
        self._address = Address.parse(target, default_port=443)
        self._name: str = self._option("host", self._address.host)
        if not self._name:
            raise ValueError("a unix socket has no name: give the option host")

    def _look(self, values: Values, deadline: Deadline) -> None:
        began = time.monotonic()
        ca_file, crl_file = self._option("ca_file"), self._option("crl_file")
        context = contexts.verified(ca_file, crl_file)
        try:
            line = open_line(self._address, deadline, values, context=context, name=self._name)
        except LookError as error:
            if not isinstance(error.__cause__, ssl.SSLCertVerificationError):
                raise
            values["cert_is_valid"] = False
            raise LookError(f"{error}{self._read_bad(values, deadline)}") from error
        with line:
            values["response_time"] = time.monotonic() - began
            values["cert_is_valid"] = True
            values["revocation"] = "checked by crl_file" if crl_file else "not checked"
            _read_good(line, values, self.clock.now().timestamp())

    def _read_bad(self, values: Values, deadline: Deadline) -> str:
        """Read a certificate that is not good; return what a person should know of it."""
        try:
            # Its timings are not the look's: they go nowhere.
            line = open_line(
                self._address, deadline, {}, context=contexts.unverified(), name=self._name
            )
        except (LookError, TimeoutError):
            return ""
        with line:
            assert isinstance(line.sock, ssl.SSLSocket)
            encoded = line.sock.getpeercert(binary_form=True)
            values["tls_version"] = line.sock.version()
        # Here and nowhere else: it costs 10 MB, and most certificates are good.
        from cryptography import x509

        try:
            found = x509.load_der_x509_certificate(encoded or b"")
            begins, ends = found.not_valid_before_utc, found.not_valid_after_utc
            names = _names(found)
            issuer = found.issuer.rfc4514_string()
        except ValueError:
            return " (and it cannot be read)"
        now = self.clock.now()
        values["cert_expires_in"] = (ends - now).total_seconds()
        values["cert_issuer"] = issuer
        values["cert_names"] = names
        return f" (for {names or 'no name'}, by {issuer}, {_since(begins, ends, now)})"


def _read_good(line: Line, values: Values, now: float) -> None:
    assert isinstance(line.sock, ssl.SSLSocket)
    certificate: dict[str, Any] = line.sock.getpeercert() or {}
    values["tls_version"] = line.sock.version()
    values["cert_expires_in"] = ssl.cert_time_to_seconds(certificate["notAfter"]) - now
    issuer = [pair for pairs in certificate.get("issuer", ()) for pair in pairs]
    values["cert_issuer"] = ", ".join(f"{key}={value}" for key, value in issuer)
    values["cert_names"] = ", ".join(name for _, name in certificate.get("subjectAltName", ()))


def _names(certificate: x509.Certificate) -> str:
    from cryptography import x509

    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    return ", ".join(str(name.value) for name in found)


def _since(begins: datetime, ends: datetime, now: datetime) -> str:
    if now > ends:
        return f"expired {show_duration((now - ends).total_seconds())} ago"
    if now < begins:
        return f"valid in {show_duration((begins - now).total_seconds())}"
    return f"expires in {show_duration((ends - now).total_seconds())}"
