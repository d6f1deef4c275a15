"""A parent whose clock goes five times as fast: DATA HOST:PORT BEGAN_AT.

So that a deadline is not waited for in full. BEGAN_AT is when its clock was right: a parent that
is started again goes on where it would be by now.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import attrs

from chittyops_core._kit.clock import SystemClock
from chittyops_core.parent.server import Bind, open_parent, serve

SPEED = 5


class FastClock(SystemClock):
    """The machine's clock, but faster since a moment."""

    def __init__(self, began_at: float) -> None:
        self._began_at = began_at

    def now(self) -> datetime:
        passed = time.time() - self._began_at
        return datetime.fromtimestamp(self._began_at + SPEED * passed, UTC)


def main() -> None:
    data, bind, began_at = Path(sys.argv[1]), Bind.parse(sys.argv[2]), float(sys.argv[3])
    serve(attrs.evolve(open_parent(data), clock=FastClock(began_at)), bind)


if __name__ == "__main__":
    main()
