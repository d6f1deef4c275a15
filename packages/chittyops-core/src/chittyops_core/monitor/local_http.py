"""A small HTTP server for this machine: on a 0600 unix socket, or on loopback TCP when asked.

One thread for each connection, with limits for slow, endless and many clients. It is meant for
what the agent shows (`/metrics`, the status page), behind nothing or behind the edge.
"""

from __future__ import annotations

import io
import ipaddress
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self, cast
from urllib.parse import urlsplit

from chittyops_core._kit.logs import get_logger
from chittyops_core._kit.private_socket import bind_private, remove_own
from chittyops_core.errors import UsageError

__all__ = ["Answer", "Handler", "LocalServer"]

Answer = tuple[int, Mapping[str, str], bytes]
"""Status, headers and body. `Content-Length` is added."""
Handler = Callable[[str, str, str, Mapping[str, str], bytes], Answer]
"""Takes method (GET, HEAD or POST), path as it was sent (percent-encoded), query without `?`,
headers by lower-case name, and body. Called in many threads at once."""

MAX_HEADER_BYTES = 16_384
MAX_BODY_BYTES = 1 << 20
MAX_CONNECTIONS = 64
REQUEST_S = 10.0
"""A request must be whole after so long, however it trickles in; an answer must be taken in it."""
IDLE_S = 30.0
"""How long a connection may wait between requests."""
LINGER_S = 0.5
LINGER_CHUNKS = 64

log = get_logger("chittyops.monitor.http")


class LocalServer:
    """Serves *handler* in threads of its own, from `start` to `close`.

    Args:
        handler: See `Handler`. What it raises is logged and answered with 500.
        at: Path of the unix socket, or address and port; port 0 takes a free one.
        max_body_bytes: A longer body is answered with 413.
        max_connections: Further ones are answered with 503.
        request_s: Seconds in which a request must be whole, and an answer taken.
        idle_s: Seconds that a connection may wait between requests.

    Raises:
        UsageError: The address is not loopback.
    """

    def __init__(
        self,
        handler: Handler,
        at: Path | tuple[str, int],
        *,
        max_body_bytes: int = MAX_BODY_BYTES,
        max_connections: int = MAX_CONNECTIONS,
        request_s: float = REQUEST_S,
        idle_s: float = IDLE_S,
    ) -> None:
        if not isinstance(at, Path) and not ipaddress.ip_address(at[0]).is_loopback:
            raise UsageError(
                f"{at[0]} is not this machine's own address",
                remedy="Use 127.0.0.1 or ::1, and the edge or a tunnel to be seen from outside.",
            )
        self.handler = handler
        self.at = at
        self.max_body_bytes = max_body_bytes
        self.max_connections = max_connections
        self.request_s = request_s
        self.idle_s = idle_s
        self._server: _Server | None = None

    @property
    def port(self) -> int:
        """The TCP port that was taken; 0 on a unix socket."""
        if self._server is None or isinstance(self.at, Path):
            return 0
        return int(self._server.socket.getsockname()[1])

    def start(self) -> None:
        """Listen and serve. Raises OSError when the address cannot be had."""
        if isinstance(self.at, Path):
            listener = bind_private(self.at)
            self._inode = self.at.lstat().st_ino
        else:
            family = socket.AF_INET6 if ":" in self.at[0] else socket.AF_INET
            listener = socket.create_server(self.at, family=family)
        self._server = _Server(self, listener)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="local-http", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening and hang up. May be called again."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        self._thread.join()
        if isinstance(self.at, Path):
            remove_own(self.at, self._inode)
        server.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def may_be_asked_as(self, host: str) -> bool:
        """Return whether a request for *host* is meant for us.

        On TCP a browser can be led here by a name of somebody else's (DNS rebinding); a unix
        socket is out of its reach, and the edge in front of it asks by the name that it has.
        """
        if isinstance(self.at, Path):
            return True
        try:
            name = urlsplit(f"//{host}").hostname or ""
            return name == "localhost" or ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False


class _Server(socketserver.ThreadingMixIn, socketserver.BaseServer):
    """Threads over a socket that listens already."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, owner: LocalServer, listener: socket.socket) -> None:
        super().__init__(listener.getsockname(), cast("Any", _Request))
        self.owner = owner
        self.socket = listener
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def fileno(self) -> int:
        return self.socket.fileno()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = self.socket.accept()
        return connection, address or ("", 0)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            is_welcome = len(self._open) < self.owner.max_connections
            if is_welcome:
                self._open.add(request)
        if is_welcome:
            super().process_request(request, client_address)
            return
        try:
            request.settimeout(0)
            request.send(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n"
                         b"Connection: close\r\n\r\n")  # fmt: skip
        except OSError:
            pass
        request.close()

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        try:
            request.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        import sys

        error = sys.exc_info()[1]
        if not isinstance(error, OSError):  # Clients that go away are no news.
            log.error("http.failed", why=repr(error))

    def server_close(self) -> None:
        self.socket.close()
        with self._lock:
            left, self._open = list(self._open), set()
        for connection in left:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class _TooLargeError(Exception):
    """The request line and headers are longer than they may be."""


class _Timed(io.RawIOBase):
    """Reads a socket until *deadline* (monotonic) and at most *left* bytes, not a bit longer."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.deadline = 0.0
        self.left = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.left <= 0:
            raise _TooLargeError
        seconds = self.deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the request takes too long")
        self._connection.settimeout(seconds)
        count = self._connection.recv_into(memoryview(buffer)[: self.left])
        self.left -= count
        return count


class _Request(BaseHTTPRequestHandler):
    """One connection. `http.server` parses; what is done with it stands here."""

    protocol_version = "HTTP/1.1"
    server_version = "chittyops"
    sys_version = ""
    server: _Server

    def setup(self) -> None:
        self.connection = self.request
        self._timed = _Timed(self.connection)
        self._reader = io.BufferedReader(self._timed, 4096)
        self.rfile = self._reader
        self.wfile = cast("Any", self.connection.makefile("wb", buffering=0))

    def finish(self) -> None:
        self.rfile.close()
        self.wfile.close()

    def handle_one_request(self) -> None:
        owner = self.server.owner
        self.close_connection = True
        self.requestline, self.request_version, self.command = "", "HTTP/1.1", ""
        try:
            self._allow(owner.idle_s, MAX_HEADER_BYTES)
            first = self._reader.peek(1)
            if not first:
                return
            self._timed.deadline = time.monotonic() + owner.request_s
            self.raw_requestline = self.rfile.readline(MAX_HEADER_BYTES)
            if not self.parse_request():
                return
            self._serve(owner)
        except _TooLargeError:
            self._say(431, close=True)
        except TimeoutError:
            self.close_connection = True

    def _serve(self, owner: LocalServer) -> None:
        if self.command not in ("GET", "HEAD", "POST"):
            self._say(405, {"Allow": "GET, HEAD, POST"}, close=True)
            return
        if not owner.may_be_asked_as(self.headers.get("Host", "localhost")):
            self._say(421, close=True)
            return
        length = _length(self.headers)
        if length is None:
            self._say(400 if "Transfer-Encoding" not in self.headers else 501, close=True)
            return
        if length > owner.max_body_bytes:
            self._say(413, close=True)
            return
        self._timed.left = length
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        target = urlsplit(self.path) if self.path.startswith("/") else None
        if target is None:
            self._say(400, close=True)
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        path = self.path.partition("?")[0]
        try:
            status, said, answer = owner.handler(self.command, path, target.query, headers, body)
        except Exception as error:
            log.error("http.failed", path=path, why=repr(error))
            self._say(500)
            return
        self._say(status, said, answer)

    def _say(
        self,
        status: int,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        *,
        close: bool = False,
    ) -> None:
        if body is None:
            body = f"{_phrase(status)}\n".encode()
            headers = {"Content-Type": "text/plain; charset=utf-8", **(headers or {})}
        self.close_connection = self.close_connection or close
        lines = [f"HTTP/1.1 {status} {_phrase(status)}", f"Date: {self.date_time_string()}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if status >= 200 and status not in (204, 304):
            lines.append(f"Content-Length: {len(body)}")
        if self.close_connection:
            lines.append("Connection: close")
        # A handler's value with a line end in it would be a header, or an answer, of its own.
        head = "".join(" ".join(line.splitlines()) + "\r\n" for line in lines) + "\r\n"
        self.connection.settimeout(self.server.owner.request_s)
        without_body = self.command == "HEAD" or status in (204, 304)
        self.connection.sendall(head.encode("latin-1", "replace") + (b"" if without_body else body))
        if close:
            self._let_them_read()

    def _let_them_read(self) -> None:
        """Take what is still coming: closing before that would take the answer away from them."""
        deadline = time.monotonic() + LINGER_S
        self.connection.shutdown(socket.SHUT_WR)
        for _ in range(LINGER_CHUNKS):
            self.connection.settimeout(max(0.001, deadline - time.monotonic()))
            if not self.connection.recv(65_536):
                return

    def _allow(self, seconds: float, count: int) -> None:
        self._timed.deadline = time.monotonic() + seconds
        self._timed.left = count

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what `http.server` found wrong in the request's head."""
        self._say(code, close=True)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: whoever asks is asked to count."""


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in _STATUSES else ""


_STATUSES = frozenset(map(int, HTTPStatus))


def _length(headers: Message) -> int | None:
    """Return the body's length; None when it is not told in one plain number (RFC 9112, 6.3)."""
    told = headers.get_all("Content-Length", ["0"])
    if "Transfer-Encoding" in headers or len(set(told)) != 1:
        return None
    text = told[0].strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None
