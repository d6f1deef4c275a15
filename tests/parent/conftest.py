"""Fixtures of the parent's tests: the same database on both engines."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from chittyops_core.parent.database import Database
from parent.databases import open_database, postgresql_server
from parent.fleet_data import fill, make_tables


@pytest.fixture(scope="session")
def postgresql_folder() -> Iterator[Path]:
    """The folder with the socket of a PostgreSQL server that runs for the session."""
    with postgresql_server() as folder:
        url = f"postgresql+psycopg://parent@/{{}}?host={folder}"
        engine = sa.create_engine(url.format("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {TEMPLATE}"))
        engine.dispose()
        make_tables(url.format(TEMPLATE))
        yield folder


TEMPLATE = "with_tables"
"""A database on the server that new ones are copied from, which is quicker than to make tables."""


@contextmanager
def new_url(
    engine_name: str, request: pytest.FixtureRequest, folder: Path, template: str
) -> Iterator[str]:
    """Give the URL of a new database, which is gone afterwards where it is on a server."""
    if engine_name == "sqlite":
        yield f"sqlite:///{folder}/parent.db"
        return
    socket = request.getfixturevalue("postgresql_folder")
    name = f"t{uuid.uuid4().hex}"
    engine = sa.create_engine(
        f"postgresql+psycopg://parent@/postgres?host={socket}", isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield f"postgresql+psycopg://parent@/{name}?host={socket}"
    with engine.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    with new_url(request.param, request, tmp_path, "template1") as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database with all tables, and its writer."""
    with new_url(request.param, request, tmp_path, TEMPLATE) as url, open_database(url) as database:
        yield database


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def fleet_of_200(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """A database with 200 children that a module's tests only read."""
    with new_url(request.param, request, tmp_path_factory.mktemp("fleet"), TEMPLATE) as url:
        with open_database(url) as database:
            database.write(lambda connection: fill(connection, 200, sampled=1))
            yield database
