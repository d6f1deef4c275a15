"""How often children speak: the parent says it with every answer."""

from __future__ import annotations

import sqlalchemy as sa

from chittyops_core.parent.database import MAX_WAITING, Database
from chittyops_core.parent.schema import setting

__all__ = ["INTERVAL", "Pace"]

INTERVAL = "sync_interval_s"
"""Name of the setting: seconds between two syncs of a child."""

DEFAULT_S = 300.0
MIN_S, MAX_S = 0.1, 86_400.0

EASY = 0.25
"""Share of the writer's queue up to which nobody is asked to come later."""

MAX_STRETCH = 4.0
"""How many times the interval may be when the queue is full."""


class Pace:
    """The interval, stretched while the writer has much to do."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._interval_s = DEFAULT_S

    def reread(self) -> None:
        """Take over what the settings say now; what is no such number stays without effect."""
        with self._database.reading() as connection:
            found = connection.execute(
                sa.select(setting.c.value).where(setting.c.name == INTERVAL)
            ).scalar()
        try:
            wanted = DEFAULT_S if found is None else float(found)
        except ValueError:
            return
        if MIN_S <= wanted <= MAX_S:
            self._interval_s = wanted

    def next_s(self) -> float:
        """Return the seconds after which the next sync is wished."""
        filled = self._database.waiting / MAX_WAITING
        if filled <= EASY:
            return self._interval_s
        stretch = 1 + (MAX_STRETCH - 1) * (filled - EASY) / (1 - EASY)
        return round(self._interval_s * stretch, 3)
