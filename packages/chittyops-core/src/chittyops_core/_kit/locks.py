"""A lock that the kernel frees when its holder dies, and that says who holds it."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

__all__ = ["FileLock", "LockHeldError", "pause"]


class LockHeldError(Exception):
    """Another process holds the lock; `holder` is what it wrote into it."""

    def __init__(self, holder: dict[str, Any]) -> None:
        super().__init__(f"held by {holder}")
        self.holder = holder


class FileLock:
    """An exclusive `flock` on *path*; re-entrant within one object.

    The descriptor is close-on-exec, so that no child keeps the lock of a dead parent
    (os-santiago/homedir#255).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    @property
    def is_held(self) -> bool:
        return self._fd is not None

    def acquire(
        self, purpose: str | None, *, wait: Callable[[dict[str, Any]], None] | None
    ) -> Self:
        """Take the lock.

        Args:
            purpose: What for; shown to whoever waits. None writes nothing down, for a lock that
                is held so shortly that nobody asks.
            wait: Called with the holder before each further try, and expected to sleep;
                None fails at once.

        Raises:
            LockHeldError: It is held and *wait* is None.
        """
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    holder = self._read_holder()
                    if wait is None:
                        raise LockHeldError(holder) from None
                    wait(holder)
            if purpose is not None:
                self._describe(fd, purpose)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        return self

    def release(self) -> None:
        """Give the lock back; do nothing when it is not held."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    @staticmethod
    def _describe(fd: int, purpose: str) -> None:
        holder_text = json.dumps(
            {
                "pid": os.getpid(),
                "purpose": purpose,
                "since": datetime.now(UTC).isoformat(timespec="seconds"),
            }
        )
        os.ftruncate(fd, 0)
        os.pwrite(fd, holder_text.encode(), 0)

    def _read_holder(self) -> dict[str, Any]:
        try:
            holder = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        return holder if isinstance(holder, dict) else {}


def pause(_: dict[str, Any]) -> None:
    """Wait a moment before the next try; for `acquire` where the lock is soon free."""
    time.sleep(0.02)
