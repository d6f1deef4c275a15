"""Hashes of passwords: argon2id with the library's defaults (RFC 9106), off the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from attrs import field, frozen

from chittyops_core.errors import ParentError

__all__ = ["Hasher", "Verdict", "make_hash"]

T = TypeVar("T")

PARALLEL = 2
"""Hashes at a time: each takes 64 MiB and four threads."""

MAX_WAITING = 16
"""Hashes that may wait; beyond that whoever asks is told to come again."""


@frozen
class Verdict:
    """What came of a password.

    Attributes:
        is_right: Whether it is the one.
        renewed: A hash with today's parameters, where the kept one had older ones.
    """

    is_right: bool
    renewed: str | None = field(default=None, repr=False)


def make_hash(password: str) -> str:
    """Return the hash of a password; takes its time."""
    return PasswordHasher().hash(password)


class Hasher:
    """Makes and verifies hashes; safe for any thread.

    A name that nobody has costs one verification as well, against a hash of nothing, so that the
    time of an answer does not tell which names there are.
    """

    def __init__(self, engine: PasswordHasher | None = None) -> None:
        self._engine = engine or PasswordHasher()
        self._nobody = self._engine.hash("")
        self._threads = ThreadPoolExecutor(PARALLEL, thread_name_prefix="argon2")
        self._lock = threading.Lock()
        self._waiting = 0
        self.verified = 0

    def hash(self, password: str) -> str:
        """Return a new hash; takes its time."""
        return self._engine.hash(password)

    def verify(self, kept: str | None, password: str) -> Verdict:
        """Return whether *password* is the one of the hash *kept*; None is nobody's."""
        with self._lock:
            self.verified += 1
        try:
            self._engine.verify(kept or self._nobody, password)
        except (VerificationError, InvalidHashError):
            return Verdict(False)
        if kept is None:
            return Verdict(False)
        is_old = self._engine.check_needs_rehash(kept)
        return Verdict(True, self._engine.hash(password) if is_old else None)

    async def hash_soon(self, password: str) -> str:
        """Do what `hash` does in a thread. Raises ParentError (fact `cause`: busy)."""
        return await self._run(lambda: self.hash(password))

    async def verify_soon(self, kept: str | None, password: str) -> Verdict:
        """Do what `verify` does in a thread. Raises ParentError (fact `cause`: busy)."""
        return await self._run(lambda: self.verify(kept, password))

    async def _run(self, work: Callable[[], T]) -> T:
        with self._lock:
            if self._waiting >= MAX_WAITING:
                raise ParentError("too many passwords are being looked at", cause="busy")
            self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            with self._lock:
                self._waiting -= 1
