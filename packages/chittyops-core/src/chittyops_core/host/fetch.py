"""One HTTP request to a service through its edge, whatever the machine's resolver thinks.

Names below `.localhost` mean this machine (RFC 6761 6.3), but not every resolver knows that, and
a staged release's name stands in no DNS. So this dials the edge's address and says the name.
"""

from __future__ import annotations

import http.client
import socket
import ssl

from attrs import frozen

from chittyops_core.deploy.targets.base import Address

__all__ = ["Answer", "fetch"]

TIMEOUT_S = 20.0
MAX_BODY = 1 << 20


@frozen
class Answer:
    """What came back.

    Attributes:
        status: HTTP status.
        headers: (name, text) as sent, repeated ones too.
        body: At most 1 MiB.
        tls_version: Such as `TLSv1.3`; None for plain HTTP.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    tls_version: str | None

    def header(self, name: str) -> str | None:
        """Return the first header of that name, in whatever case."""
        return next((text for key, text in self.headers if key.lower() == name.lower()), None)


def fetch(address: Address, path: str = "/", *, method: str = "GET", plain: bool = False) -> Answer:
    """Send one request to *address*, never retried, redirects not followed.

    Args:
        address: Of a serving or staged release.
        path: Path and query.
        method: HTTP method.
        plain: Ask the HTTP side, even of a service that wants TLS.

    Raises:
        OSError: No connection, or TLS failed (`ssl.SSLError`).
        http.client.HTTPException: What came back is no HTTP.
    """
    is_tls = address.tls and not plain
    name, _, port = (address.connect if is_tls or not plain else address.plain_connect).rpartition(
        ":"
    )
    raw = socket.create_connection((name, int(port)), timeout=TIMEOUT_S)
    connection = http.client.HTTPConnection(address.host, int(port), timeout=TIMEOUT_S)
    try:
        connection.sock = raw
        version = None
        if is_tls:
            context = ssl.create_default_context(cafile=address.ca_file)
            secure = context.wrap_socket(raw, server_hostname=address.host)
            connection.sock, version = secure, secure.version()
        connection.request(method, path, headers={"Host": address.host, "Connection": "close"})
        answer = connection.getresponse()
        return Answer(answer.status, tuple(answer.getheaders()), answer.read(MAX_BODY), version)
    finally:
        connection.close()
        raw.close()
