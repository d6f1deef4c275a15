"""What just changed, told to whoever looks: from the writer's thread to pages that are open.

A page says which children it shows and hears of no other. However much changes, a page is woken
once until it has looked: 500 open pages cost a writer what 500 sets cost.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from attrs import frozen

__all__ = ["Change", "Follower", "Live", "Seen"]

FLEET_WIDE = frozenset({"state", "status", "all"})
"""Changes that may move a count, so that whoever shows the whole fleet hears of them."""


@frozen
class Change:
    """One thing that changed.

    Attributes:
        child: Whose; "" where a page has to look anew at everything.
        what: `state`, `status`, `event`, `metrics`, `inventory` or `all`.
    """

    child: str
    what: str


@frozen
class Seen:
    """What changed since a page last asked.

    Attributes:
        children: Those that it shows and that changed.
        is_fleet_changed: Whether counts may have moved.
        is_over: Whether the server ends, and the page is to be let go.
    """

    children: frozenset[str] = frozenset()
    is_fleet_changed: bool = False
    is_over: bool = False

    def __bool__(self) -> bool:
        return bool(self.children) or self.is_fleet_changed


class Follower:
    """One open page; made by `Live.following`, and asked by its own event loop only."""

    def __init__(self, children: frozenset[str], lock: threading.Lock) -> None:
        self.children = children
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._lock = lock
        self._changed: set[str] = set()
        self._is_fleet_changed = False
        self._is_woken = False
        self._is_over = False

    async def wait(self, timeout_s: float) -> Seen:
        """Return what changed since the last call; wait for something, at most *timeout_s*."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        with self._lock:
            seen = Seen(frozenset(self._changed), self._is_fleet_changed, self._is_over)
            self._changed.clear()
            self._is_fleet_changed = self._is_woken = False
            self._event.clear()
        return seen

    def note(self, *children: str, is_fleet_wide: bool = False, is_over: bool = False) -> None:
        """Keep what changed. Under the lock of `Live`, from any thread."""
        self._changed.update(children)
        self._is_over = self._is_over or is_over
        self._is_fleet_changed = self._is_fleet_changed or is_fleet_wide
        if not self._is_woken:
            with suppress(RuntimeError):  # Its loop has ended meanwhile.
                self._loop.call_soon_threadsafe(self._event.set)
                self._is_woken = True


class Live:
    """The changes of one server process; safe for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_child: dict[str, set[Follower]] = {}
        self._all: set[Follower] = set()
        self._is_over = False

    def publish(self, changes: Iterable[Change]) -> None:
        """Tell the open pages; returns at once."""
        told = list(changes)
        with self._lock:
            for change in told:
                if change.child:
                    for follower in self._by_child.get(change.child, ()):
                        follower.note(change.child)
                else:
                    for follower in self._all:
                        follower.note(*follower.children, is_fleet_wide=True)
            if any(change.what in FLEET_WIDE for change in told):
                for follower in self._all:
                    follower.note(is_fleet_wide=True)

    def close(self) -> None:
        """Let all open pages go, and those that still come: the server ends."""
        with self._lock:
            self._is_over = True
            for follower in self._all:
                follower.note(is_over=True)

    @contextmanager
    def following(self, children: Iterable[str]) -> Iterator[Follower]:
        """Follow *children*, and counts of the whole fleet, until the caller is done."""
        follower = Follower(frozenset(children), self._lock)
        with self._lock:
            self._all.add(follower)
            for child in follower.children:
                self._by_child.setdefault(child, set()).add(follower)
            if self._is_over:
                follower.note(is_over=True)
        try:
            yield follower
        finally:
            with self._lock:
                self._all.discard(follower)
                for child in follower.children:
                    self._by_child[child].discard(follower)
                    if not self._by_child[child]:
                        del self._by_child[child]
