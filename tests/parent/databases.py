"""Databases for tests of the parent: opened, and watched for scans."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from chittyops_core.parent.database import Database
from chittyops_core.parent.schema import METADATA

__all__ = ["GROWING", "Statements", "open_database"]


GROWING = set(METADATA.tables) - {"tally", "setting"}
"""Tables that no statement may read as a whole."""


@contextmanager
def open_database(url: str) -> Iterator[Database]:
    """Open the database at *url*, which has all tables, and start its writer."""
    database = Database(url)
    database.start()
    try:
        yield database
    finally:
        database.close()


class Statements:
    """What is asked of a connection, each with the plan that the database makes for it."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._is_sqlite = connection.dialect.name == "sqlite"
        self.plans: list[tuple[str, list[str]]] = []
        if not self._is_sqlite:  # Tables are small here: it would rather scan them.
            connection.exec_driver_sql("SET enable_seqscan = off")
        sa.event.listen(connection, "after_cursor_execute", self._explain)

    def scans(self) -> list[tuple[str, str]]:
        """Return statements that read a whole table, with the line of the plan that says so."""
        reads = r"^SCAN (\w+)" if self._is_sqlite else r"Seq Scan on (\w+)"
        return [
            (statement, line)
            for statement, plan in self.plans
            for line in plan
            if (found := re.search(reads, line)) and found[1] in GROWING
        ]

    def _explain(self, connection: Any, cursor: Any, statement: str, values: Any, *_: Any) -> None:
        if not statement.lstrip().upper().startswith(("SELECT", "WITH", "UPDATE", "DELETE")):
            return
        if isinstance(values, list):
            values = values[0]
        how = "EXPLAIN QUERY PLAN " if self._is_sqlite else "EXPLAIN "
        asked = cursor.connection.cursor()
        asked.execute(how + statement, values)
        self.plans.append((statement, [str(row[-1]) for row in asked.fetchall()]))
        asked.close()
