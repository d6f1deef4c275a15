"""Words by which a child is found."""

from __future__ import annotations

import sqlalchemy as sa

__all__ = ["refresh"]


def refresh(connection: sa.Connection, child_id: str) -> None:
    """Write the words of a child anew."""
