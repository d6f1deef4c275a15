"""How many children there are of each sort, counted when it changes."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

__all__ = ["settle"]


def settle(connection: sa.Connection, children: Iterable[str]) -> None:
    """Bring what is counted up to date with what is stored of *children*."""
