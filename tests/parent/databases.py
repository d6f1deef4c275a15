"""Databases for tests of the parent: a SQLite file, and a PostgreSQL server of one's own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from chittyops_core.parent.database import Database
from chittyops_core.parent.schema import METADATA
from parent.fleet_data import make_tables

__all__ = ["GROWING", "Statements", "open_database", "postgresql_server"]


GROWING = set(METADATA.tables) - {"tally", "setting"}
"""Tables that no statement may read as a whole."""


@contextmanager
def postgresql_server() -> Iterator[Path]:
    """Run a server on a unix socket in a folder of its own; skip where there is none."""
    pytest.importorskip("psycopg")
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not places:
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    more: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if os.geteuid() == 0:  # It refuses to run as root.
        shutil.chown(folder, "nobody")
        more["user"] = "nobody"
    make = [places[-1] / "initdb", "-D", folder / "data", "-U", "parent", "-A", "trust", "-N"]
    subprocess.run([*make, "-E", "UTF8"], check=True, cwd=folder, **more)
    run = [places[-1] / "postgres", "-D", folder / "data", "-k", folder, "-h", "", "-F"]
    server = subprocess.Popen(run, cwd=folder, **more)
    try:
        _wait_for(f"postgresql+psycopg://parent@/postgres?host={folder}")
        yield folder
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=60)
        shutil.rmtree(folder)


@contextmanager
def open_database(url: str) -> Iterator[Database]:
    """Open the empty database at *url* with all tables, and its writer."""
    make_tables(url)
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


def _wait_for(url: str) -> None:
    engine = sa.create_engine(url)
    deadline = time.monotonic() + 60
    while True:
        try:
            engine.connect().close()
        except sa.exc.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            break
    engine.dispose()
