"""What the parent itself notes about a child: counted (`tally`), and told as an event."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from chittyops_core.parent.schema import event

__all__ = ["STREAM", "event_row", "keep_events"]

STREAM = "parent"
"""Of events that the parent itself noted; a child's streams are UUIDs."""


class _Serial:
    """Numbers that rise, also over restarts: microseconds, or one more than the last one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def __call__(self) -> int:
        with self._lock:
            self._last = max(self._last + 1, time.time_ns() // 1000)
            return self._last


_serial = _Serial()


def event_row(
    child: str, type_: str, at: float, facts: Mapping[str, Any] | None = None, *,
    kind: str = "event",
) -> dict[str, Any]:  # fmt: skip
    """Return a row of `event` for what the parent noted about *child* at *at*."""
    body = {"type": type_, "at": at, **(facts or {})}
    return {
        "child": child, "stream": STREAM, "seq": _serial(), "kind": kind, "type": type_,
        "service": None, "at": at, "received_at": at, "body": json.dumps(body),
    }  # fmt: skip


def keep_events(connection: sa.Connection, *rows: Mapping[str, Any]) -> None:
    """Keep rows that `event_row` made."""
    connection.execute(sa.insert(event), list(rows))
