"""TLS contexts: one for each set of files in the whole process, and what a failure means.

Reading a CA bundle costs ten times a whole probe (findings 1.1), so nothing else may build one.
"""

from __future__ import annotations

import ssl
import threading
from pathlib import Path

from chittyops_core.monitor.probes.base import LookError

__all__ = ["explain", "unverified", "verified"]

_Key = tuple[Path | None, Path | None]
_lock = threading.Lock()
_verified: dict[_Key, tuple[tuple[int, ...], ssl.SSLContext]] = {}
_unverified: list[ssl.SSLContext] = []


def verified(ca_file: Path | None = None, crl_file: Path | None = None) -> ssl.SSLContext:
    """Return the one context that trusts *ca_file* (None: the machine's CAs).

    It is built again only when a file has changed.

    Args:
        ca_file: PEM, trusted instead of the machine's.
        crl_file: PEM, revocation lists; every certificate but the root is then looked up in one.

    Raises:
        LookError: A file cannot be read.
    """
    try:
        stamp = tuple(file.stat().st_mtime_ns for file in (ca_file, crl_file) if file)
        with _lock:
            known = _verified.get((ca_file, crl_file))
            if known is None or known[0] != stamp:
                known = _verified[ca_file, crl_file] = (stamp, _build(ca_file, crl_file))
            return known[1]
    except (OSError, ssl.SSLError) as error:
        raise LookError(f"the CA or CRL file cannot be read: {error}") from error


def unverified() -> ssl.SSLContext:
    """Return the one context that trusts anybody: only to read a certificate, never to use it."""
    with _lock:
        if not _unverified:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            _unverified.append(context)
        return _unverified[0]


def _build(ca_file: Path | None, crl_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    # Python 3.13 began to refuse private CAs without some extensions; a probe says the same on all.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if crl_file is not None:
        context.load_verify_locations(crl_file)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    return context


# X509_V_ERR_*, openssl/x509_vfy.h.
_REASONS = {
    3: "cannot be checked for revocation: crl_file has no list of its issuer",
    9: "is not yet valid",
    10: "has expired",
    12: "cannot be checked for revocation: the list in crl_file is out of date",
    18: "is self-signed and not trusted here",
    19: "comes from an unknown issuer: the chain ends in a CA that is not trusted here",
    20: "comes from an unknown issuer: the server sent no complete chain, or its CA is not "
    "trusted here",
    21: "comes from an unknown issuer: the server sent only its own certificate",
    23: "has been revoked",
    62: "is for another name",
    64: "is for another address",
}


def explain(error: ssl.SSLError, name: str) -> str:
    """Return why the handshake with *name* failed, in one line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = _REASONS.get(error.verify_code, f"is not valid: {error.verify_message}")
        return f"the certificate of {name} {reason}"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return f"{name} closed the connection during the TLS handshake"
    reason = (error.reason or str(error)).lower().replace("_", " ")
    return f"the TLS handshake with {name} failed: {reason}"
