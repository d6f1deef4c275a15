"""Sending metrics to other systems: one thread, a bounded queue, retries; never in the way."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections import deque
from collections.abc import Mapping
from typing import Self
from urllib.parse import urlsplit

from chittyops_core._kit.logs import get_logger
from chittyops_core.errors import UsageError

__all__ = ["OTLP_HEADERS", "REMOTE_WRITE_HEADERS", "RemoteSender"]

REMOTE_WRITE_HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
OTLP_HEADERS = {"Content-Type": "application/json"}

MAX_WAITING = 100
"""Requests kept while the receiver is away: 25 minutes of one each 15 s."""
MAX_WAITING_BYTES = 16 << 20
TIMEOUT_S = 10.0
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
GIVE_UP_S = 1800.0

log = get_logger("chittyops.monitor.remote")


class _TryAgainError(Exception):
    """The receiver is away or busy."""


class RemoteSender:
    """Posts bodies to *url*, in order, from a thread of its own, from `start` to `close`.

    What the receiver refuses for good (4xx but 429) is left out and told in the log; all else is
    tried again, with growing waits. When too much waits, the oldest is left out.

    Args:
        url: Of the receiver: `http://host:9090/api/v1/write`, `https://host:4318/v1/metrics`.
        headers: `REMOTE_WRITE_HEADERS` or `OTLP_HEADERS`, and credentials; never logged.
        first_wait_s: Seconds before the first repetition; each further wait is twice as long.

    Raises:
        UsageError: The URL is none, or holds credentials.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str], *, first_wait_s: float = FIRST_WAIT_S
    ) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise UsageError(
                "the URL to send metrics to is no http(s) URL, or holds a user",
                remedy="Give https://HOST/PATH, and credentials as a header.",
            )
        self._host, self._port = parts.hostname, port
        self._is_secure = parts.scheme == "https"
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._headers = {"User-Agent": "chittyops", **headers}
        self._first_wait_s = first_wait_s
        self._waiting: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """How many bodies were not taken yet."""
        with self._changed:
            return len(self._waiting)

    def push(self, body: bytes) -> None:
        """Queue *body*; returns at once."""
        left_out = 0
        with self._changed:
            self._waiting.append(body)
            while len(self._waiting) > MAX_WAITING or (
                len(self._waiting) > 1 and sum(map(len, self._waiting)) > MAX_WAITING_BYTES
            ):
                self._waiting.popleft()
                left_out += 1
            self._changed.notify()
        if left_out:
            log.warning("remote.left_out", host=self._host, why="too much waits", bodies=left_out)

    def start(self) -> None:
        """Send what is queued until `close`."""
        self._thread = threading.Thread(target=self._run, name="remote", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; what was not sent is lost."""
        self._ended.set()
        with self._changed:
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ended.is_set())
                if self._ended.is_set():
                    return
                body = self._waiting[0]
            try:
                self._send_until_taken(body)
            except Exception as error:  # The thread outlives whatever one body brings about.
                # Not its text: of a header that HTTP cannot carry it quotes the value, a token.
                log.warning("remote.left_out", host=self._host, why=type(error).__name__)
            with self._changed:
                if self._waiting and self._waiting[0] is body:
                    self._waiting.popleft()

    def _send_until_taken(self, body: bytes) -> None:
        import tenacity

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_TryAgainError),
            wait=tenacity.wait_exponential(multiplier=self._first_wait_s, max=LONGEST_WAIT_S)
            + tenacity.wait_random(0, self._first_wait_s),
            stop=tenacity.stop_after_delay(GIVE_UP_S) | tenacity.stop_when_event_set(self._ended),
            sleep=tenacity.sleep_using_event(self._ended),
            reraise=True,
        )
        retrying(self._send, body)

    def _send(self, body: bytes) -> None:
        try:
            status, said = self._post(body)
        except (OSError, http.client.HTTPException) as error:
            log.debug("remote.away", host=self._host, why=repr(error))
            raise _TryAgainError(repr(error)) from error
        if status == 429 or status >= 500:
            raise _TryAgainError(f"status {status}: {said}")
        if not 200 <= status < 300:
            log.warning("remote.refused", host=self._host, status=status, said=said)

    def _post(self, body: bytes) -> tuple[int, str]:
        connection: http.client.HTTPConnection
        if self._is_secure:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=TIMEOUT_S, context=self._context()
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        try:
            connection.request("POST", self._path, body=body, headers=self._headers)
            answer = connection.getresponse()
            return answer.status, answer.read(500).decode("utf-8", "replace")
        finally:
            connection.close()

    def _context(self) -> ssl.SSLContext:
        if not hasattr(self, "_kept_context"):
            self._kept_context = ssl.create_default_context()  # Once: it costs 20 ms of CPU.
        return self._kept_context
