"""The load: prepared requests, as fast as they are answered (wrk) or so many a second (asyncio)."""

from __future__ import annotations

import asyncio
import ssl
import statistics
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from attrs import field, frozen

from support.cores import LOAD_CORE, busy_s, cpu_s

__all__ = ["Connection", "Load", "closed_loop", "open_loop", "wire_bytes"]

CONNECTIONS = 64
SCRIPT = Path(__file__).with_name("prepared.lua")


@frozen
class Load:
    """What came of a load.

    Attributes:
        answered: Requests with an answer, whatever it was.
        seconds: From the first request to the last answer.
        p50_ms: Half of the answers took less.
        p99_ms: Of a hundred answers one took longer.
        statuses: HTTP status -> how often; -1 for no answer.
        acked: Numbers that answers of status 200 acknowledged.
        cpu_us: CPU of the servers for an answer, in microseconds.
        others: Share of the servers' core that other processes took.
    """

    answered: int
    seconds: float
    p50_ms: float
    p99_ms: float
    statuses: Counter[int]
    acked: frozenset[int] = field(repr=False)
    cpu_us: float
    others: float

    @property
    def per_s(self) -> float:
        """Answers a second of a core that does nothing else: what CPU time allows."""
        return 1e6 / self.cpu_us if self.cpu_us else 0.0

    @property
    def seen_per_s(self) -> float:
        """Answers a second as they came."""
        return self.answered / self.seconds


class _Meter:
    """CPU of some processes, and of all others on their core, from its making on."""

    def __init__(self, pids: Sequence[int], core: int = 0) -> None:
        self._pids, self._core = pids, core
        self._cpu_s, self._busy_s = cpu_s(pids), busy_s(core)

    def read(self, answered: int, seconds: float) -> tuple[float, float]:
        """Return CPU microseconds an answer, and the share that others took."""
        own = cpu_s(self._pids) - self._cpu_s
        others = busy_s(self._core) - self._busy_s - own
        return own / max(answered, 1) * 1e6, max(others, 0.0) / seconds


def closed_loop(
    url: str, requests: Iterable[bytes], pids: Sequence[int], folder: Path, seconds: float,
    connections: int = CONNECTIONS,
) -> Load:  # fmt: skip
    """Send *requests*, each once, over so many connections until they or *seconds* are used up."""
    prepared, answers = folder / "requests", folder / "answers"
    with prepared.open("wb") as file:
        for request in requests:
            file.write(struct.pack(">I", len(request)) + request)
    meter = _Meter(pids)
    done = subprocess.run(
        ["taskset", "-c", str(LOAD_CORE), "wrk", "-t", "1", "-c", str(connections),
         "-d", f"{seconds:.0f}s", "--timeout", "20s", "-s", SCRIPT, url, "--", prepared, answers],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    words = next(line for line in done.stdout.splitlines() if line.startswith("RESULT")).split()
    answered, took_us, p50_us, p99_us, failed = (int(word) for word in words[1:])
    cpu_us, others = meter.read(answered, took_us / 1e6)
    statuses, acked = _read_answers(answers)
    statuses[-1] += failed
    return Load(answered, took_us / 1e6, p50_us / 1000, p99_us / 1000, +statuses, acked,
                cpu_us, others)  # fmt: skip


def _read_answers(path: Path) -> tuple[Counter[int], frozenset[int]]:
    lines = [line.split() for line in path.read_text().splitlines()]
    acked = {int(number) for status, number in lines if status == "200" and number != "-"}
    return Counter(int(status) for status, _ in lines), frozenset(acked)


# --- open loop ---------------------------------------------------------------------------------


def open_loop(url: str, requests: Iterable[bytes], pids: Sequence[int], rate: float) -> Load:
    """Send *requests* at *rate* a second, whether answers come or not.

    A request is late from the moment at which it was due, so that a server which stalls is
    counted for all that waited. Connections are kept unless a request closes its own.
    """
    made = list(requests)
    meter = _Meter(pids)
    took, statuses, seconds = asyncio.run(_send_all(url, made, rate))
    cpu_us, others = meter.read(len(took), seconds)
    p50, p99 = (statistics.quantiles(took, n=100)[place] * 1000 for place in (49, 98))
    return Load(len(took), seconds, p50, p99, statuses, frozenset(), cpu_us, others)


async def _send_all(
    url: str, requests: Sequence[bytes], rate: float
) -> tuple[list[float], Counter[int], float]:
    loop = asyncio.get_running_loop()
    idle: list[Connection] = []
    statuses: Counter[int] = Counter()
    took: list[float] = []

    async def send(request: bytes, due: float) -> None:
        try:
            connection = idle.pop() if idle else await Connection.open(url)
            status, is_kept, _ = await connection.ask(request)
        except (OSError, asyncio.IncompleteReadError, ValueError):
            statuses[-1] += 1
            return
        took.append(loop.time() - due)
        statuses[status] += 1
        if is_kept:
            idle.append(connection)
        else:
            connection.close()

    began = loop.time() + 0.1
    async with asyncio.TaskGroup() as tasks:
        for place, request in enumerate(requests):
            due = began + place / rate
            await asyncio.sleep(max(0.0, due - loop.time()))
            tasks.create_task(send(request, due))
    seconds = loop.time() - began
    for connection in idle:
        connection.close()
    return took, statuses, seconds


class Connection:
    """One connection that asks one thing after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, url: str) -> Connection:
        parts = urlsplit(url)
        tls = _any_server() if parts.scheme == "https" else None
        return cls(*await asyncio.open_connection(parts.hostname, parts.port, ssl=tls))

    async def ask(self, request: bytes) -> tuple[int, bool, bytes]:
        """Return the status, whether the connection is kept, and the answer's body."""
        status, headers, body = await self.exchange(request)
        is_kept = headers.get("connection", "").lower() != "close"
        return status, is_kept and b"\r\nConnection: close" not in request, body

    async def exchange(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers by name in lower case, and the answer's body."""
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in
                   (line.partition(":") for line in lines)}  # fmt: skip
        if headers.get("transfer-encoding") == "chunked":
            body = await self._read_chunks()
        else:
            body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return int(first.split()[1]), headers, body

    async def _read_chunks(self) -> bytes:
        body = b""
        while size := int(await self._reader.readline(), 16):
            body += await self._reader.readexactly(size)
            await self._reader.readline()
        await self._reader.readline()
        return body

    def close(self) -> None:
        self._writer.transport.abort()


@cache
def _any_server() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # It is our own, of this run; wrk checks none either.
    return context


# --- bytes -------------------------------------------------------------------------------------


def wire_bytes(url: str, requests: Sequence[bytes]) -> tuple[int, int]:
    """Return bytes up and down of *requests* over one connection, without TCP and IP headers."""
    return asyncio.run(_count(url, requests))


async def _count(url: str, requests: Sequence[bytes]) -> tuple[int, int]:
    parts = urlsplit(url)
    counts = [0, 0]
    is_over = asyncio.Event()

    async def pump(place: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            counts[place] += len(data)
            writer.write(data)
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(pump(0, reader, there[1]), pump(1, there[0], writer),
                             return_exceptions=True)  # fmt: skip
        is_over.set()

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connection = await Connection.open(f"{parts.scheme}://127.0.0.1:{port}")
    for request in requests:
        status, _, _ = await connection.ask(request)
        if status >= 300:
            sys.exit(f"{url} answered {status}")
    connection.close()
    await is_over.wait()
    server.close()
    return counts[0], counts[1]
