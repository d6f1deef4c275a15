"""A proxy between two that talk HTTP, which loses, cuts, repeats and delays what they say."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from contextlib import suppress
from enum import StrEnum

__all__ = ["Deed", "HostileProxy"]

LONGEST_DELAY_S = 3.0
"""A request that is delivered again may come so late."""


class Deed(StrEnum):
    """What is done to one request."""

    PASSED = "passed on"
    LOST = "lost on the way"
    CUT = "cut in the middle"
    ANSWER_LOST = "answer lost"
    ANSWER_CUT = "answer cut in the middle"
    TWICE = "delivered twice at once"
    LATE = "delivered, and again later"
    HELD = "delivered later only"
    REFUSED = "nobody answered"


_CHANCES = {
    Deed.LOST: 0.06, Deed.CUT: 0.04, Deed.ANSWER_LOST: 0.18, Deed.ANSWER_CUT: 0.04,
    Deed.TWICE: 0.08, Deed.LATE: 0.08,
    Deed.HELD: 0.06,
}  # fmt: skip
_CHANCES[Deed.PASSED] = 1 - sum(_CHANCES.values())


class HostileProxy:
    """Listens on a port of this machine and forwards to another until it is closed.

    It takes HTTP/1.1 with bodies that say their length, one request a connection, and changes
    nothing in it but `Connection`.

    Attributes:
        deeds: What was done while it was hostile, and how often.
        is_hostile: Whether it does any harm; set it from any thread.
    """

    def __init__(self, target: int, seed: int) -> None:
        self.deeds: Counter[Deed] = Counter()
        self.is_hostile = True
        self._target = target
        self._chance = random.Random(seed)
        self._later: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 21), self._loop
        ).result()
        self.port = int(self._server.sockets[0].getsockname()[1])

    @property
    def answered(self) -> int:
        """How many requests reached the other side at once and had an answer from there."""
        return self.deeds.total() - sum(
            self.deeds[each] for each in (Deed.LOST, Deed.CUT, Deed.HELD, Deed.REFUSED)
        )

    @property
    def lost_answers(self) -> float:
        """The share of those whose answer did not come whole."""
        lost = self.deeds[Deed.ANSWER_LOST] + self.deeds[Deed.ANSWER_CUT]
        return lost / max(self.answered, 1)

    def calm_down(self, timeout_s: float = 30) -> None:
        """Do no more harm; return once what comes late has come."""
        self.is_hostile = False
        deadline = time.monotonic() + timeout_s
        while self._later:
            assert time.monotonic() < deadline, "a request is still to come"
            time.sleep(0.02)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        tasks = [each for each in asyncio.all_tasks() if each is not asyncio.current_task()]
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            request = await _read_request(reader)
            answer = await self._do(self._choose(), request)
            writer.write(answer)
            await writer.drain()
        writer.close()

    def _choose(self) -> Deed:
        if not self.is_hostile:
            return Deed.PASSED
        (deed,) = self._chance.choices(list(_CHANCES), list(_CHANCES.values()))
        return deed

    async def _do(self, deed: Deed, request: bytes) -> bytes:
        """Do *deed* to *request*; return what the asking side gets to read."""
        answer = b""
        try:
            if deed is Deed.CUT:
                await self._ask(request[: self._chance.randrange(len(request))], is_whole=False)
            elif deed not in (Deed.LOST, Deed.HELD):
                answer = await self._ask(request)
        except OSError:
            self._count(Deed.REFUSED)
            return b""
        if not answer and deed not in (Deed.CUT, Deed.LOST, Deed.HELD):
            self._count(Deed.REFUSED)  # It was killed while it was asked.
            return b""
        self._count(deed)
        if deed is Deed.ANSWER_LOST:
            return b""
        if deed is Deed.ANSWER_CUT:
            return answer[: self._chance.randrange(len(answer) or 1)]
        if deed is Deed.TWICE:
            with suppress(OSError):
                return self._chance.choice([answer, await self._ask(request)])
        if deed in (Deed.LATE, Deed.HELD):
            self._deliver_later(request)
        return answer

    def _count(self, deed: Deed) -> None:
        if self.is_hostile:
            self.deeds[deed] += 1

    def _deliver_later(self, request: bytes) -> None:
        delay = self._chance.uniform(0, LONGEST_DELAY_S)

        async def deliver() -> None:
            await asyncio.sleep(delay)
            with suppress(OSError):
                await self._ask(request)

        task = asyncio.create_task(deliver())
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def _ask(self, request: bytes, *, is_whole: bool = True) -> bytes:
        """Say *request* to the other side; return all that it answers."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            writer.write(request)
            if not is_whole:
                return b""
            async with asyncio.timeout(20):
                return await reader.read(-1)
        finally:
            writer.close()


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    lines = [
        line
        for line in head.removesuffix("\r\n\r\n").split("\r\n")
        if not line.lower().startswith(("connection:", "keep-alive:"))
    ]
    sizes = [int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length")]
    body = await reader.readexactly(sum(sizes))
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + body
