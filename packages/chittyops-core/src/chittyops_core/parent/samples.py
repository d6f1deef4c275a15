"""Metrics, packed."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from chittyops_core.parent import bulk
from chittyops_core.parent.schema import sample

__all__ = ["put"]

Row = tuple[str, float, str, Sequence[float | None]]


def put(connection: sa.Connection, rows: Iterable[Row]) -> None:
    """Keep (child, at, set id, values) of each; one that is there already stays."""
    bulk.insert(
        connection, sample, ("child", "at", "metric_set", "packed"),
        [(child, round(at), name, _pack(values)) for child, at, name, values in rows],
    )  # fmt: skip


def _pack(values: Sequence[float | None]) -> bytes:
    clamped = [
        float("nan") if value is None else max(-3.4e38, min(3.4e38, value)) for value in values
    ]
    return struct.pack(f"<{len(clamped)}f", *clamped)
