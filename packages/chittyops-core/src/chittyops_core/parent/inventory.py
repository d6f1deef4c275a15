"""What runs where, as children tell it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

__all__ = ["keep"]


def keep(connection: sa.Connection, child: str, inventory: Mapping[str, Any], now: float) -> None:
    """Keep what *child* says runs on it."""
