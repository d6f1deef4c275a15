"""A load of raw HTTP/1.1 requests that are never retried.

Usual clients hide lost requests, because they send idempotent ones again (aiohttp and requests
do). This one opens sockets and reads bytes: what is lost is counted as lost.
"""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Self

from attrs import define, field

from chittyops_core.deploy.targets.base import Address

__all__ = ["Load", "Mode", "Tally"]

TIMEOUT_S = 60.0
"""An answer that takes longer counts as lost."""


@define(frozen=True)
class Mode:
    """How one worker asks.

    Attributes:
        method: GET or POST.
        keep_alive: One connection for all requests, or a new one for each.
    """

    method: str = "GET"
    keep_alive: bool = True

    def __str__(self) -> str:
        return f"{self.method} {'keep-alive' if self.keep_alive else 'new'}"


ALL_MODES = tuple(Mode(m, k) for m in ("GET", "POST") for k in (False, True))


@define
class Tally:
    """What a load came to.

    Attributes:
        answered: Requests with an answer of 200 to 399, by mode.
        failed: Requests without, by mode.
        reasons: Why, with how often.
        bodies: First line of answers, with how often: which releases answered.
        slowest_s: Longest time that one request took.
        streams: WebSockets and slow requests that were opened.
        cut: Those that ended before they should.
    """

    answered: Counter[str] = field(factory=Counter)
    failed: Counter[str] = field(factory=Counter)
    reasons: Counter[str] = field(factory=Counter)
    bodies: Counter[str] = field(factory=Counter)
    slowest_s: float = 0.0
    streams: int = 0
    cut: int = 0

    @property
    def total(self) -> int:
        return self.answered.total() + self.failed.total()


class Load:
    """Asks one address as fast as it answers, from a thread of its own.

    A context manager: the load runs inside it. `tally` may be read at any time.
    """

    def __init__(
        self,
        address: Address,
        *,
        path: str = "/",
        body: bytes = b"note=under+load",
        modes: tuple[Mode, ...] = ALL_MODES,
        workers: int = 1,
        pause_s: float = 0.0,
    ) -> None:
        """Make a load; it starts when it is entered.

        Args:
            address: Where.
            path: What to ask for.
            body: What a POST sends, as a form.
            modes: How to ask.
            workers: How many ask at once, for each mode.
            pause_s: Seconds that a worker rests after each answer or loss.
        """
        self.tally = Tally()
        self._address = address
        self._path = path
        self._body = body
        self._modes = modes
        self._workers = workers
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._is_ready.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def wait(self, requests: int) -> None:
        """Return once *requests* more have been answered or lost, or after TIMEOUT_S."""
        goal, deadline = self.tally.total + requests, time.monotonic() + TIMEOUT_S
        while self.tally.total < goal and time.monotonic() < deadline:
            time.sleep(0.01)

    def open_slow_request(self, path: str) -> None:
        """Send one request that takes its time; it must be answered whole."""
        self._start(lambda: self._slow(path))

    def open_websocket(self, path: str, *, hold_s: float) -> None:
        """Keep a WebSocket open for *hold_s*, with an echo every 100 ms; it must not be cut."""
        self._start(lambda: self._websocket(path, hold_s))

    # --- the thread ---

    def _start(self, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        assert self._loop is not None
        self.tally.streams += 1
        self._loop.call_soon_threadsafe(lambda: self._keep(make()))

    def _keep(self, job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        workers = [
            asyncio.create_task(self._work(mode))
            for mode in self._modes
            for _ in range(self._workers)
        ]
        self._is_ready.set()
        while not self._stop.is_set():
            await asyncio.sleep(0.01)
        await asyncio.gather(*workers, *self._tasks)

    async def _work(self, mode: Mode) -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self._stop.is_set():
            start = time.monotonic()
            try:
                if connection is None:
                    connection = await self._connect()
                async with asyncio.timeout(TIMEOUT_S):
                    status, body, is_last = await self._ask(connection, mode)
            except (OSError, EOFError, ValueError, TimeoutError) as error:
                self._lose(mode, f"{type(error).__name__}: {error}")
                await self._close(connection)
                connection = None
                # Refused at once is asked again at once, unless it rests here too.
                await asyncio.sleep(self._pause_s)
                continue
            self.tally.slowest_s = max(self.tally.slowest_s, time.monotonic() - start)
            if 200 <= status < 400:
                self.tally.answered[str(mode)] += 1
                self.tally.bodies[body.split(b"\n")[0][:60].decode(errors="replace")] += 1
            else:
                self._lose(mode, f"HTTP {status}")
            if is_last or not mode.keep_alive:
                await self._close(connection)
                connection = None
            if self._pause_s:
                await asyncio.sleep(self._pause_s)
        await self._close(connection)

    def _lose(self, mode: Mode, why: str) -> None:
        self.tally.failed[str(mode)] += 1
        self.tally.reasons[why] += 1

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        name, _, port = self._address.connect.rpartition(":")
        context = None
        if self._address.tls:
            context = ssl.create_default_context(cafile=self._address.ca_file)
        return await asyncio.open_connection(
            name, int(port), ssl=context,
            server_hostname=self._address.host if context else None,
        )  # fmt: skip

    @staticmethod
    async def _close(connection: tuple[Any, asyncio.StreamWriter] | None) -> None:
        if connection is not None:
            connection[1].close()
            with suppress(OSError, TimeoutError):
                await asyncio.wait_for(connection[1].wait_closed(), 1)

    async def _ask(
        self,
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        mode: Mode,
        path: str | None = None,
    ) -> tuple[int, bytes, bool]:
        reader, writer = connection
        body = self._body if mode.method == "POST" else b""
        head = (
            f"{mode.method} {path or self._path} HTTP/1.1\r\nHost: {self._address.host}\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\n"
            f"Content-Length: {len(body)}\r\n"
            f"Connection: {'keep-alive' if mode.keep_alive else 'close'}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
        return await _read_answer(reader)

    # --- long ones ---

    @asynccontextmanager
    async def _uncut(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                yield
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            self.tally.cut += 1
            self.tally.reasons[f"cut: {type(error).__name__}: {error}"] += 1

    async def _slow(self, path: str) -> None:
        async with self._uncut():
            connection = await self._connect()
            status, _, _ = await self._ask(connection, Mode("GET", keep_alive=False), path)
            await self._close(connection)
            if status != 200:
                raise ValueError(f"HTTP {status}")

    async def _websocket(self, path: str, hold_s: float) -> None:
        """Speak as much of RFC 6455 as an echo of short texts needs."""
        async with self._uncut():
            reader, writer = await self._connect()
            key = base64.b64encode(os.urandom(16)).decode()
            writer.write(
                (
                    f"GET {path} HTTP/1.1\r\nHost: {self._address.host}\r\nUpgrade: websocket\r\n"
                    f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
                    "Sec-WebSocket-Version: 13\r\n\r\n"
                ).encode()
            )
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 101 " not in head.split(b"\r\n")[0]:
                raise ValueError(head.split(b"\r\n")[0].decode())
            end = time.monotonic() + hold_s
            while time.monotonic() < end:
                await _echo(reader, writer, b"still there?")
                await asyncio.sleep(0.1)
            writer.close()


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """Read one response (RFC 9112); return status, body, and whether the connection ends."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    lines = head.split("\r\n")
    headers = {}
    for line in lines[1:]:
        name, _, text = line.partition(":")
        headers[name.strip().lower()] = text.strip()
    status = int(lines[0].split(" ")[1])
    if "chunked" in headers.get("transfer-encoding", ""):
        body = b""
        while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return status, body, headers.get("connection", "").lower() == "close"


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: bytes) -> None:
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(text))
    writer.write(bytes([0x81, 0x80 | len(text)]) + mask + masked)
    await writer.drain()
    first, size = await reader.readexactly(2)
    answer = await reader.readexactly(size & 0x7F)
    if first != 0x81 or answer != text:
        raise ValueError(f"expected an echo, got frame {first:#x} {answer!r}")
