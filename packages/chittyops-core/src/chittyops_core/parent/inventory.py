"""What runs where, as children tell it."""

from __future__ import annotations

import sqlalchemy as sa

__all__ = ["keep", "keep_health"]


def keep(connection: sa.Connection, child_id: str, inventory: object, now: float) -> None:
    """Keep what a child says runs on it."""


def keep_health(connection: sa.Connection, child_id: str, health: object) -> None:
    """Bring the status of a child's services in line with its section `health`."""
