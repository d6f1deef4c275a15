"""What just changed, told to whoever looks: from the writer's thread to pages that are open."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress

from attrs import frozen

__all__ = ["Change", "Live"]

MAX_WAITING = 1000
"""Changes that a slow page may have before it; then it is told to look anew."""


@frozen
class Change:
    """One thing that changed.

    Attributes:
        child: Whose; "" where a page has to look anew at everything.
        what: `state`, `status`, `event`, `metrics`, `inventory` or `all`.
    """

    child: str
    what: str


class Live:
    """The changes of one server process; safe for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pages: dict[asyncio.Queue[Change], asyncio.AbstractEventLoop] = {}

    def publish(self, changes: Iterable[Change]) -> None:
        """Tell all open pages; returns at once."""
        told = list(changes)
        with self._lock:
            pages = list(self._pages.items())
        for page, loop in pages:
            with suppress(RuntimeError):  # Its loop has ended meanwhile.
                loop.call_soon_threadsafe(_put, page, told)

    async def follow(self) -> AsyncIterator[Change]:
        """Yield what changes from now on, until the caller stops."""
        page: asyncio.Queue[Change] = asyncio.Queue(MAX_WAITING)
        with self._lock:
            self._pages[page] = asyncio.get_running_loop()
        try:
            while True:
                yield await page.get()
        finally:
            with self._lock:
                del self._pages[page]


def _put(page: asyncio.Queue[Change], changes: list[Change]) -> None:
    for change in changes:
        if page.full():
            while not page.empty():
                page.get_nowait()
            page.put_nowait(Change("", "all"))
            return
        page.put_nowait(change)
