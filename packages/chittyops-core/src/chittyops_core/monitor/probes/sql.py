"""`sql`: one statement that only reads, with a time limit."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Generator, Mapping
from contextlib import closing
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, cast
from urllib.parse import quote, urlsplit, urlunsplit

from chittyops_core.errors import MonitorError
from chittyops_core.model.monitoring import Scalar
from chittyops_core.monitor.probes import blocking, checks
from chittyops_core.monitor.probes.base import Check, Deadline, LookError, Probe, Unit, Values

__all__ = ["SqlProbe"]

MAX_ROWS = 1000
"""So many are counted; a probe asks for one number, not for a table."""

MAX_TEXT = 500
"""Characters of the first value that are kept."""

MAX_BYTES = 1 << 20
"""Of one value, in SQLite: a probe must not fill the agent's memory."""

_LOCKED_S = 0.005
"""How long to wait before a locked database is asked again."""

_STEPS = 1000
"""SQLite's instructions between two looks at the clock: well below a millisecond."""

_READS = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}


class SqlProbe(Probe):
    """Ask a database.

    The target is `sqlite:/absolute/path` or `postgresql://...` (which needs psycopg). `value` is
    the first column of the first row, `rows` how many rows came, at most 1000. Nothing can be
    written: SQLite opens the file read-only and refuses all but reading, PostgreSQL runs it in a
    read-only transaction. Options:

    - `statement`: One SQL statement; `SELECT 1` when not given.
    """

    kind = "sql"
    values: ClassVar[Mapping[str, Unit]] = {"rows": Unit.NUMBER, "response_time": Unit.DURATION}
    has_other_values = True
    options: ClassVar[Mapping[str, Check]] = {"statement": lambda value: _statement(value)}

    def _prepare(self, target: str) -> None:
        self._statement: str = self._option("statement", "SELECT 1")
        self._path: Path | None = None
        if target.startswith("sqlite:"):
            self._path = checks.path(target.removeprefix("sqlite:"))
        elif target.startswith(("postgresql://", "postgres://")):
            try:
                from psycopg import ProgrammingError, conninfo
            except ImportError as error:
                raise MonitorError(
                    f"the monitor {self.monitor.name!r}: PostgreSQL needs psycopg",
                    remedy="pip install 'chittyops-core[postgres]'",
                    monitor=self.monitor.name,
                ) from error
            try:
                known = conninfo.conninfo_to_dict(target)
            except ProgrammingError:
                # Without libpq's words and without the cause: they hold the whole URL.
                raise ValueError("it is no URL that libpq can read") from None
            self._password = str(known.get("password") or "")
        else:
            raise ValueError("it should be sqlite:/absolute/path or postgresql://...")

    def _shown_target(self) -> str:
        """Leave out what may hold a password: the part before the @, and the query."""
        try:
            parts = urlsplit(self.monitor.target)
        except ValueError:
            return "(no URL)"
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))

    def _look(self, values: Values, deadline: Deadline) -> None:
        began = time.monotonic()
        if self._path is not None:
            rows = _ask_sqlite(self._path, self._statement, deadline)
        else:
            rows = self._ask_postgresql(deadline)
        values["response_time"] = time.monotonic() - began
        values["rows"] = len(rows)
        if rows and rows[0]:
            values["value"] = _scalar(rows[0][0])

    def _ask_postgresql(self, deadline: Deadline) -> list[tuple[Any, ...]]:
        # libpq's own limits are whole seconds and per address, and the server's does not help when
        # the network is gone.
        left = deadline.left()
        try:
            return self._wait_for_postgresql(deadline, left)
        except LookError as error:
            if not self._password or self._password not in str(error):
                raise
            raise LookError(str(error).replace(self._password, "***")) from None

    def _wait_for_postgresql(self, deadline: Deadline, left: float) -> list[tuple[Any, ...]]:
        return blocking.call(
            ("sql", self.monitor.target, self._statement),
            lambda: _ask_postgresql(self.monitor.target, self._statement, left),
            deadline,
            waiting="no answer from PostgreSQL",
        )


def _statement(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("one SQL statement")
    return value


def _ask_sqlite(path: Path, statement: str, deadline: Deadline) -> list[tuple[Any, ...]]:
    while True:
        try:
            return _ask_sqlite_once(path, statement, deadline)
        except (sqlite3.Error, sqlite3.Warning, UnicodeError) as error:
            code = getattr(error, "sqlite_errorcode", None)
            if code == sqlite3.SQLITE_INTERRUPT:
                raise TimeoutError("the statement did not end") from error
            if code != sqlite3.SQLITE_BUSY:
                raise LookError(f"the database said: {error}") from error
            if _is_over(deadline):
                raise TimeoutError("the database was locked and did not answer") from error
            # SQLite gives up before its time is over where another wait would take it past that.
            time.sleep(min(_LOCKED_S, deadline.left()))


def _ask_sqlite_once(path: Path, statement: str, deadline: Deadline) -> list[tuple[Any, ...]]:
    with closing(
        sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=deadline.left())
    ) as database:
        database.set_authorizer(
            lambda action, *_: sqlite3.SQLITE_OK if action in _READS else sqlite3.SQLITE_DENY
        )
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_BYTES)
        database.set_progress_handler(lambda: _is_over(deadline), _STEPS)
        with closing(database.execute(statement)) as cursor:
            return cursor.fetchmany(MAX_ROWS)


def _is_over(deadline: Deadline) -> bool:
    try:
        deadline.left()
    except TimeoutError:
        return True
    return False


def _ask_postgresql(url: str, statement: str, left_s: float) -> list[tuple[Any, ...]]:
    import psycopg

    try:
        with psycopg.connect(url, connect_timeout=max(2, math.ceil(left_s))) as database:
            database.read_only = True
            database.execute(
                "SELECT set_config('statement_timeout', %s, true)", (str(round(left_s * 1000)),)
            )
            # Row by row, so that a whole table never comes here; and by the extended protocol,
            # which takes one statement only.
            with (
                database.cursor() as cursor,
                closing(
                    cast(
                        "Generator[tuple[Any, ...], None, None]", cursor.stream(statement.encode())
                    )
                ) as rows,
            ):
                found = list(islice(rows, MAX_ROWS))
            database.rollback()
            return found
    except psycopg.errors.QueryCanceled as error:
        raise TimeoutError("the statement did not end") from error
    except psycopg.Error as error:
        raise LookError(f"the database said: {error}") from error


def _scalar(value: Any) -> Scalar:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float | Decimal):
        return float(value)
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return str(value)[:MAX_TEXT]
