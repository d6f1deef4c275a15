"""Fixtures: a database of each sort, a parent that serves, and children that speak rawly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chittyops_core.parent import migrations
from chittyops_core.parent.database import Database
from parent_served import HandClock, ServedParent


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that is still empty."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/parent.db"
    made: str = request.getfixturevalue("postgresql_server").new_database()
    return made


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """A database that is up to date, with its writer started."""
    made = Database(url)
    migrations.upgrade(made)
    made.start()
    yield made
    made.close()


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
def serve(tmp_path: Path) -> Iterator[Callable[[], ServedParent]]:
    """Serve parents on SQLite, for what does not depend on the database."""
    started: list[ServedParent] = []

    def start() -> ServedParent:
        made = Database(f"sqlite:///{tmp_path}/served.db")
        migrations.upgrade(made)
        made.start()
        started.append(ServedParent(tmp_path, made).__enter__())
        return started[-1]

    yield start
    for parent in started:
        parent.__exit__()
        parent.database.close()
