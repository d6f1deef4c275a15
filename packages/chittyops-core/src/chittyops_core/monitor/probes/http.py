"""`http`: one request, one answer, every phase timed. It never retries and follows no redirect."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

from chittyops_core.monitor.probes import checks, contexts
from chittyops_core.monitor.probes.base import Check, Deadline, LookError, Probe, Unit, Values
from chittyops_core.monitor.probes.http_reader import read_response
from chittyops_core.monitor.probes.net import Address, Line, host_name, open_line, reason

__all__ = ["HttpProbe"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OWN = ("host", "connection", "content-length", "transfer-encoding", "accept-encoding")


class HttpProbe(Probe):
    """Ask a URL.

    The target is `http://...`, `https://...`, or `unix:/path/of.sock:/path` for an app on a unix
    socket. Options:

    - `method`: GET (default), HEAD, OPTIONS or POST (with an empty body).
    - `headers`: Mapping of header to text.
    - `host`: What `Host` and the certificate's name should be; the URL's host when not given.
    - `connect`: `host:port` or `unix:/path` to connect to instead of what the URL names.
    - `ca_file`: PEM file of the CAs to trust instead of the machine's.
    """

    kind = "http"
    default_conditions = ("status < 300",)
    values: ClassVar[Mapping[str, Unit]] = {
        "status": Unit.NUMBER,
        "response_time": Unit.DURATION,
        "dns_time": Unit.DURATION,
        "connect_time": Unit.DURATION,
        "tls_time": Unit.DURATION,
        "first_byte_time": Unit.DURATION,
        "body_time": Unit.DURATION,
        "body": Unit.TEXT,
        "body_bytes": Unit.SIZE,
        "body_is_cut": Unit.FLAG,
        "cert_expires_in": Unit.DURATION,
        "http_version": Unit.TEXT,
        "redirects_to": Unit.TEXT,
    }
    options: ClassVar[Mapping[str, Check]] = {
        "method": checks.one_of("GET", "HEAD", "OPTIONS", "POST"),
        "headers": lambda value: _check_headers(value),
        "host": lambda value: host_name(checks.text(value)),
        "connect": lambda value: Address.parse(checks.text(value)),
        "ca_file": checks.path,
    }

    def _prepare(self, target: str) -> None:
        self._is_tls = False
        if target.startswith("unix:"):
            path, _, where = target.removeprefix("unix:").partition(":")
            address, host, port, default_port = Address.of_unix(path), "localhost", 80, 80
        else:
            url = urlsplit(target)
            if url.scheme not in ("http", "https") or not url.hostname:
                raise ValueError("it should be http://..., https://... or unix:/path.sock:/path")
            if "@" in url.netloc:
                raise ValueError("it holds a name or password; put them into the option headers")
            self._is_tls = url.scheme == "https"
            default_port = 443 if self._is_tls else 80
            port = default_port if url.port is None else url.port
            if port == 0:
                raise ValueError("the port should be from 1 to 65535")
            host = host_name(f"[{url.hostname}]" if ":" in url.hostname else url.hostname)
            address = Address(host, port)
            where = f"{url.path}?{url.query}" if url.query else url.path
        if where and not where.startswith(("/", "?")):
            raise ValueError("the path should begin with /")
        self._address: Address = self._option("connect", address)
        self._name: str = self._option("host", host)
        self._method: str = self._option("method", "GET")
        shown = f"[{self._name}]" if ":" in self._name else self._name
        headers = {
            "Host": shown if port == default_port else f"{shown}:{port}",
            "User-Agent": "chittyops-probe",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
        if self._method == "POST":
            headers["Content-Length"] = "0"
        given: dict[str, str] = self._option("headers", {})
        names = {name.lower() for name in given}
        headers = {k: v for k, v in headers.items() if k.lower() not in names} | given
        where = quote(where if where.startswith("/") else f"/{where}", safe="/?#[]@!$&'()*+,;=:%~")
        lines = [f"{self._method} {where} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        self._request = "\r\n".join([*lines, "", ""]).encode("latin-1")
        self._wants_body = self._asks_for("body")

    def _look(self, values: Values, deadline: Deadline) -> None:
        began = time.monotonic()
        context = contexts.verified(self._option("ca_file")) if self._is_tls else None
        with open_line(self._address, deadline, values, context=context, name=self._name) as line:
            if context is not None:
                values["cert_expires_in"] = _expires_in(line, self.clock.now().timestamp())
            sent = time.monotonic()
            try:
                line.send(self._request)
            except TimeoutError:
                raise
            except OSError as error:
                raise LookError(f"the request could not be sent: {reason(error)}") from error
            response = read_response(line, is_head=self._method == "HEAD")
        values["status"] = response.status
        values["http_version"] = response.version
        values["first_byte_time"] = response.first_byte_at - sent
        values["body_time"] = response.end_at - response.first_byte_at
        values["response_time"] = response.end_at - began
        values["body_bytes"] = len(response.body)
        values["body_is_cut"] = response.is_cut
        if 300 <= response.status < 400 and "location" in response.headers:
            values["redirects_to"] = response.headers["location"][:500]
        if self._wants_body:
            values["body"] = response.body.decode("utf-8", errors="replace")


def _expires_in(line: Line, now: float) -> float:
    """Return the seconds until the server's own certificate expires."""
    assert isinstance(line.sock, ssl.SSLSocket)
    certificate = line.sock.getpeercert() or {}
    return ssl.cert_time_to_seconds(str(certificate["notAfter"])) - now


def _check_headers(value: Any) -> dict[str, str]:
    headers = checks.texts(value)
    for name, text in headers.items():
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"a mapping of header names; {name!r} is none")
        if name.lower() in _OWN:
            raise ValueError(f"without {name}: the probe sets it (there is an option host)")
        # RFC 9110, section 5.5: no line break may come in through a value.
        if any(ord(c) > 255 or (ord(c) < 32 and c != "\t") or ord(c) == 127 for c in text):
            raise ValueError(f"a mapping of texts on one line; {name} holds other characters")
    return headers
