"""A parent of ChittyOps, on one core with its database."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from attrs import frozen
from machine import free_port, wait_for_port

from chittyops_core.parent import schema
from chittyops_core.parent.server import init
from support.cores import SERVER_CORE, running
from support.fleet import SimulatedChild, insert
from support.postgresql import PostgreSQL

__all__ = ["Serving", "missing", "prepare", "serving"]

SERVE = Path(__file__).with_name("serve.py")


@frozen
class Serving:
    """A parent that runs.

    Attributes:
        url: Where it listens.
        pids: It and its database.
        database: The database's URL.
    """

    url: str
    pids: Sequence[int]
    database: str


def prepare(
    data: Path, fleet: Sequence[SimulatedChild], server: PostgreSQL | None, name: str = "parent"
) -> str:
    """Make a parent whose children have enrolled; return its database's URL."""
    database = f"sqlite:///{data / 'parent.db'}"
    if server is not None:
        server.create(name)
        database = server.url(name)
    init(data, database_url=server.url(name) if server else "")
    insert(database, fleet)
    return database


@contextmanager
def serving(
    data: Path, database: str, server: PostgreSQL | None = None,
    tls: tuple[Path, Path] | None = None, port: int | None = None, core: int = SERVER_CORE,
) -> Iterator[Serving]:  # fmt: skip
    """Serve it.

    Args:
        data: Its folder.
        database: Its database's URL.
        server: Whose CPU counts, too.
        tls: Certificate and key, where it serves TLS itself.
        port: Where it listens; a free one by default.
        core: Where it runs.
    """
    port = port or free_port()
    command = [sys.executable, SERVE, data, f"127.0.0.1:{port}", *(tls or ())]
    with (data / "serve.log").open("ab") as log, running(command, core, stderr=log) as process:
        wait_for_port(port, process)
        pids = [process.pid, *([server.pid] if server else [])]
        yield Serving(f"{'https' if tls else 'http'}://127.0.0.1:{port}", pids, database)


def missing(database: str, acked: frozenset[int], sent: Mapping[int, tuple[str, int]]) -> int:
    """Return how many acknowledged samples the database does not have.

    Args:
        database: Its URL.
        acked: Numbers of items that were acknowledged.
        sent: Number of an item -> its child and its sample's time.
    """
    engine = sa.create_engine(database)
    with engine.connect() as connection:
        rows = connection.execute(sa.select(schema.sample.c.child, schema.sample.c.at))
        kept = {(child, at) for child, at in rows}
    engine.dispose()
    return sum(sent[number] not in kept for number in acked)
