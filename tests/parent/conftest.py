"""Fixtures: a database on each engine, a parent that serves, and children that speak rawly."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chittyops_core.parent import migrations
from chittyops_core.parent.database import Database
from parent.databases import open_database
from parent.fleet_data import fill
from parent_served import HandClock, ServedParent
from postgresql import PostgreSQL

ENGINES = ["sqlite", "postgresql"]


class Templates:
    """Databases that are up to date, copied for each test: quicker than to make their tables."""

    def __init__(self, folder: Path, server: Callable[[], PostgreSQL]) -> None:
        self._folder = folder
        self._server = server
        self._made: dict[str, str] = {}

    def copy(self, engine: str, folder: Path) -> str:
        """Return the URL of a database of its own on *engine*, with all tables."""
        if engine not in self._made:
            url = self.empty(engine, self._folder)
            database = Database(url)
            migrations.upgrade(database)
            database.close()
            self._made[engine] = url
        if engine == "sqlite":
            path = folder / "parent.db"
            shutil.copyfile(self._folder / "parent.db", path)
            return f"sqlite:///{path}"
        name = self._made[engine].partition("?")[0].rpartition("/")[2]
        return self._server().new_database(template=name)

    def empty(self, engine: str, folder: Path) -> str:
        """Return the URL of an empty database."""
        if engine == "sqlite":
            return f"sqlite:///{folder}/parent.db"
        return self._server().new_database()


@pytest.fixture(scope="session")
def templates(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Templates:
    def server() -> PostgreSQL:
        found: PostgreSQL = request.getfixturevalue("postgresql_server")
        return found

    return Templates(tmp_path_factory.mktemp("template"), server)


@pytest.fixture(params=ENGINES)
def url(request: pytest.FixtureRequest, templates: Templates, tmp_path: Path) -> str:
    """A database that is still empty."""
    return templates.empty(request.param, tmp_path)


@pytest.fixture(params=ENGINES)
def database(
    request: pytest.FixtureRequest, templates: Templates, tmp_path: Path
) -> Iterator[Database]:
    """A database that is up to date, with its writer started."""
    with open_database(templates.copy(request.param, tmp_path)) as made:
        yield made


@pytest.fixture(scope="module", params=ENGINES)
def fleet_of_200(
    request: pytest.FixtureRequest, templates: Templates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """A database with 200 children that a module's tests only read."""
    folder = tmp_path_factory.mktemp("fleet")
    with open_database(templates.copy(request.param, folder)) as made:
        made.write(lambda connection: fill(connection, 200, sampled=1))
        yield made


@pytest.fixture
def clock() -> HandClock:
    """A clock that goes when it is told."""
    return HandClock()


@pytest.fixture
def served(database: Database, tmp_path: Path) -> Iterator[ServedParent]:
    """A parent that serves on a port of its own, by the machine's clock."""
    with ServedParent(tmp_path, database) as parent:
        yield parent


@pytest.fixture
def serve(templates: Templates, tmp_path: Path) -> Iterator[Callable[[], ServedParent]]:
    """Serve parents on SQLite, for what does not depend on the database."""
    started: list[ServedParent] = []

    def start() -> ServedParent:
        made = Database(templates.copy("sqlite", tmp_path))
        made.start()
        started.append(ServedParent(tmp_path, made).__enter__())
        return started[-1]

    yield start
    for parent in started:
        parent.__exit__()
        parent.database.close()
