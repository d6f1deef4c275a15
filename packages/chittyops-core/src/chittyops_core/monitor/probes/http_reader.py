"""Reading one HTTP/1.1 response (RFC 9112), whatever the server sends."""

from __future__ import annotations

import re
import time

from attrs import define, field

from chittyops_core.monitor.probes.base import LookError
from chittyops_core.monitor.probes.net import Line, reason

__all__ = ["MAX_BODY_BYTES", "Response", "read_response"]

MAX_BODY_BYTES = 64 * 1024
"""A health answer is small; an endless one must not fill the agent's memory."""

MAX_HEAD_BYTES = 32 * 1024
"""Status line and headers together; nginx and Caddy send at most about so many."""

MAX_INTERIM = 8
"""Responses 1xx before the real one (RFC 9110, section 15.2)."""

_STATUS = re.compile(rb"HTTP/(1\.[01]) ([1-9][0-9]{2})(?: [^\r\n]*)?")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?")


@define
class Response:
    """What a server answered.

    Attributes:
        status: Three digits.
        version: `1.0` or `1.1`.
        headers: By name in small letters; of several with one name the last.
        body: At most `MAX_BODY_BYTES`.
        is_cut: Whether there was more.
        first_byte_at, end_at: By the monotonic clock, in seconds.
    """

    status: int
    version: str
    headers: dict[str, str] = field(factory=dict)
    body: bytes = b""
    is_cut: bool = False
    first_byte_at: float = 0.0
    end_at: float = 0.0


class _Buffer:
    """What came and is not read yet."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._bytes = bytearray()
        self.first_byte_at: float | None = None
        self.total = 0

    def more(self) -> bool:
        """Wait for more; False when the other side has closed. Raises LookError, TimeoutError."""
        try:
            data = self._line.receive()
        except TimeoutError:
            raise TimeoutError(
                f"no full answer ({self.total} bytes came)" if self.total else "no answer"
            ) from None
        except OSError as error:
            raise LookError(
                f"the connection broke after {self.total} bytes: {reason(error)}"
            ) from error
        if data and self.first_byte_at is None:
            self.first_byte_at = time.monotonic()
        self.total += len(data)
        self._bytes += data
        return bool(data)

    def line(self, most: int, what: str) -> bytes:
        """Return one line without its end, of at most *most* bytes."""
        start = 0
        while (end := self._bytes.find(b"\n", start)) < 0 and len(self._bytes) <= most:
            start = len(self._bytes)
            if not self.more():
                raise LookError(
                    f"the server closed the connection within {what}" if self.total
                    else "the server closed the connection without an answer"
                )  # fmt: skip
        if end < 0 or end > most:
            raise LookError(f"{what} is longer than {most} bytes")
        found = bytes(self._bytes[:end]).removesuffix(b"\r")
        del self._bytes[: end + 1]
        return found

    def take(self, count: int) -> bytes:
        """Return *count* bytes, or fewer when the other side closed before."""
        while len(self._bytes) < count and self.more():
            pass
        found = bytes(self._bytes[:count])
        del self._bytes[:count]
        return found


def read_response(line: Line, *, is_head: bool) -> Response:
    """Read what *line* answers.

    Args:
        line: An open connection, the request sent.
        is_head: Whether the request was HEAD, whose response has no body.

    Raises:
        LookError: It is no HTTP/1.x response, or was broken off.
        TimeoutError: The deadline is over.
    """
    buffer = _Buffer(line)
    for _ in range(MAX_INTERIM):
        response = _read_head(buffer)
        if response.status >= 200:
            break
        if response.status == 101:
            raise LookError("the server switched protocols, which nobody asked for")
    else:
        raise LookError(f"the server sent {MAX_INTERIM} interim responses and no final one")
    response.first_byte_at = buffer.first_byte_at or 0.0
    if not is_head and response.status not in (204, 304):
        _read_body(buffer, response)
    response.end_at = time.monotonic()
    return response


def _read_head(buffer: _Buffer) -> Response:
    first = buffer.line(MAX_HEAD_BYTES, "the status line")
    status = _STATUS.fullmatch(first)
    if status is None:
        raise LookError(f"this is no HTTP/1.x answer: it begins with {first[:40]!r}")
    response = Response(int(status[2]), status[1].decode())
    left = MAX_HEAD_BYTES - len(first)
    while text := buffer.line(max(left, 0), "the header"):
        left -= len(text)
        header = _HEADER.fullmatch(text)
        if header is None:
            raise LookError(f"a header line is malformed: {text[:40]!r}")
        response.headers[header[1].decode().lower()] = header[2].decode("latin-1")
    return response


def _read_body(buffer: _Buffer, response: Response) -> None:
    """Read the body by RFC 9112, section 6.3."""
    coding = response.headers.get("transfer-encoding")
    length = response.headers.get("content-length")
    if coding is not None:
        if coding.lower() != "chunked":
            raise LookError(f"the transfer coding {coding!r} is unknown")
        _read_chunks(buffer, response)
    elif length is None:
        response.body = buffer.take(MAX_BODY_BYTES + 1)
        response.is_cut = len(response.body) > MAX_BODY_BYTES
        response.body = response.body[:MAX_BODY_BYTES]
    elif not (length.isascii() and length.isdigit()):
        raise LookError(f"the Content-Length {length[:40]!r} is no number")
    else:
        # Compared as text first: int() of very many digits is slow.
        whole = int(length) if len(length) < 19 else MAX_BODY_BYTES + 1
        response.is_cut = whole > MAX_BODY_BYTES
        response.body = buffer.take(min(whole, MAX_BODY_BYTES))
        if len(response.body) < min(whole, MAX_BODY_BYTES):
            raise LookError(
                f"the server closed the connection after {len(response.body)} of {length} bytes"
            )


def _read_chunks(buffer: _Buffer, response: Response) -> None:
    body = bytearray()
    while True:
        text = buffer.line(1024, "a chunk's size")
        size = _CHUNK.fullmatch(text)
        if size is None:
            raise LookError(f"a chunk's size is malformed: {text[:40]!r}")
        count = int(size[1], 16)
        if count == 0:
            break
        room = MAX_BODY_BYTES - len(body)
        body += (data := buffer.take(min(count, room)))
        if len(data) < min(count, room):
            raise LookError("the server closed the connection within a chunk")
        if count > room:
            response.is_cut = True
            break
        if buffer.line(2, "a chunk's end"):
            raise LookError("a chunk is longer than its size says")
    response.body = bytes(body)
