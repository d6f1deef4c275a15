"""Many rows by one statement, the way each database does that fastest.

SQLite takes one prepared statement with many parameters; PostgreSQL takes one statement with an
array for each column. Names come from `schema`, values are always parameters.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa

__all__ = ["Row", "insert", "select_in", "update", "upsert"]

Row = tuple[Any, ...]


def insert(
    connection: sa.Connection, table: sa.Table, columns: tuple[str, ...], rows: Sequence[Row]
) -> None:
    """Insert *rows*; one whose key is there already is left out."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_sqlite_insert(table, columns), list(rows))
    else:
        connection.exec_driver_sql(_postgresql_insert(table, columns), _by_column(rows))


def upsert(
    connection: sa.Connection, table: sa.Table, columns: tuple[str, ...], rows: Sequence[Row]
) -> None:
    """Insert *rows*, or replace those that have their keys; no key may come twice."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_sqlite_insert(table, columns, _replace(table)), list(rows))
    else:
        text = _postgresql_insert(table, columns, _replace(table))
        connection.exec_driver_sql(text, _by_column(rows))


def update(
    connection: sa.Connection, table: sa.Table, columns: tuple[str, ...], rows: Sequence[Row]
) -> None:
    """Set all *columns* but the last, which is the key."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_sqlite_update(table, columns), list(rows))
    else:
        connection.exec_driver_sql(_postgresql_update(table, columns), _by_column(rows))


def select_in(connection: sa.Connection, statement: str, values: Sequence[str]) -> Sequence[Any]:
    """Run *statement*, whose `:values` stands for a list that a column may be `IN`."""
    if connection.dialect.name == "sqlite":
        text = statement.replace(":values", "(SELECT value FROM json_each(?))")
        return connection.exec_driver_sql(text, (json.dumps(list(values)),)).fetchall()
    text = statement.replace("IN :values", "= ANY(%s::text[])")
    return connection.exec_driver_sql(text, (list(values),)).fetchall()


def _by_column(rows: Sequence[Row]) -> Row:
    return tuple(list(column) for column in zip(*rows, strict=True))


_LEAVE = "ON CONFLICT DO NOTHING"


@cache
def _replace(table: sa.Table) -> str:
    keys = [column.name for column in table.primary_key]
    values = ", ".join(f'"{c.name}" = excluded."{c.name}"' for c in table.c if c.name not in keys)
    return f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {values}"


@cache
def _sqlite_insert(table: sa.Table, columns: tuple[str, ...], conflict: str = _LEAVE) -> str:
    marks = ", ".join("?" for _ in columns)
    return f"INSERT INTO {_names(table, columns)} VALUES ({marks}) {conflict}"


@cache
def _postgresql_insert(table: sa.Table, columns: tuple[str, ...], conflict: str = _LEAVE) -> str:
    return (
        f"INSERT INTO {_names(table, columns)} SELECT * FROM {_arrays(table, columns)} {conflict}"
    )


@cache
def _sqlite_update(table: sa.Table, columns: tuple[str, ...]) -> str:
    *changed, key = columns
    values = ", ".join(f'"{name}" = ?' for name in changed)
    return f'UPDATE "{table.name}" SET {values} WHERE "{key}" = ?'


@cache
def _postgresql_update(table: sa.Table, columns: tuple[str, ...]) -> str:
    *changed, key = columns
    values = ", ".join(f'"{name}" = new."{name}"' for name in changed)
    names = ", ".join(f'"{name}"' for name in columns)
    return (
        f'UPDATE "{table.name}" SET {values} FROM {_arrays(table, columns)} AS new ({names}) '
        f'WHERE "{table.name}"."{key}" = new."{key}"'
    )


def _names(table: sa.Table, columns: tuple[str, ...]) -> str:
    return f'"{table.name}" ({", ".join(columns)})'


def _arrays(table: sa.Table, columns: tuple[str, ...]) -> str:
    """Return `unnest(%s::TYPE[], ...)` with the columns' own types."""
    types = [_array_type(table.c[name].type) for name in columns]
    return f"unnest({', '.join(f'%s::{name}[]' for name in types)})"


def _array_type(found: sa.types.TypeEngine[Any]) -> str:
    for kind, name in _ARRAY_TYPES:
        if isinstance(found, kind):
            return name
    raise TypeError(f"no array type for {found!r}")


_ARRAY_TYPES: tuple[tuple[type[sa.types.TypeEngine[Any]], str], ...] = (
    (sa.BigInteger, "bigint"), (sa.Integer, "integer"), (sa.Float, "double precision"),
    (sa.Boolean, "boolean"), (sa.LargeBinary, "bytea"), (sa.String, "text"),
)  # fmt: skip
