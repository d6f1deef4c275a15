"""The parent's database: one writer, many readers, and what can go wrong with it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from chittyops_core.errors import ParentError
from chittyops_core.parent import bulk, migrations
from chittyops_core.parent.database import MAX_WAITING, Database
from chittyops_core.parent.schema import METADATA, metric_set, setting
from postgresql import PostgreSQL


def put(name: str, value: str = "x") -> Callable[[sa.Connection], Any]:
    return lambda connection: connection.execute(sa.insert(setting).values(name=name, value=value))


def names(database: Database) -> set[str]:
    with database.reading() as connection:
        return set(connection.execute(sa.select(setting.c.name)).scalars())


class Sets:
    """Inserts metric sets, many at once; refuses what it is told to."""

    def __init__(self) -> None:
        self.runs: list[int] = []
        self.told: list[str] = []

    def run(self, connection: sa.Connection, items: Sequence[str]) -> list[str]:
        self.runs.append(len(items))
        bulk.insert(connection, metric_set, ("id", "names"), [(item, "[]") for item in items])
        if "bad" in items:
            raise ValueError("bad")
        return [item.upper() for item in items]

    def committed(self, items: Sequence[str], results: Sequence[Any]) -> None:
        self.told += items


# --- one writer ---


def test_work_that_raises_is_taken_back_alone(database: Database) -> None:
    """The rest of its transaction is kept, and everybody gets an answer of their own."""

    def fail(connection: sa.Connection) -> None:
        put("half")(connection)
        raise ValueError("no")

    futures = [database.submit(work) for work in (put("a"), fail, put("a"), put("b"))]

    assert isinstance(futures[1].exception(10), ValueError)
    assert isinstance(futures[2].exception(10), sa.exc.IntegrityError)
    assert (futures[0].exception(10), futures[3].exception(10)) == (None, None)
    assert names(database) == {"a", "b"}


def test_a_batch_is_one_piece_of_work_until_one_of_it_fails(database: Database) -> None:
    """Then they are tried alone, so that one spoils no other."""
    sets = Sets()
    group = database.group(sets)
    gate = threading.Event()
    held = database.submit(lambda _: gate.wait(10))
    futures = [group.submit(name) for name in ("one", "bad", "two")]
    gate.set()

    assert held.result(10)
    assert [future.exception(10) is None for future in futures] == [True, False, True]
    assert futures[2].result() == "TWO"
    assert sets.runs == [3, 1, 1, 1]
    with database.reading() as connection:
        assert set(connection.execute(sa.select(metric_set.c.id)).scalars()) == {"one", "two"}


def test_a_writer_with_too_much_to_do_says_so(database: Database) -> None:
    """And does all that it took on."""
    gate = threading.Event()
    database.submit(lambda _: gate.wait(30))
    while database.waiting:
        time.sleep(0.001)

    futures = [database.submit(lambda _: 1) for _ in range(MAX_WAITING)]
    with pytest.raises(ParentError) as refused:
        database.submit(lambda _: 1)
    gate.set()

    assert refused.value.facts["cause"] == "busy"
    assert sum(future.result(30) for future in futures) == MAX_WAITING


def test_what_waits_at_the_end_is_done_and_nothing_after(url: str) -> None:
    """Closing loses nothing that was taken on."""
    database = Database(url)
    migrations.upgrade(database)
    database.start()
    futures = [database.submit(put(f"n{number}")) for number in range(50)]

    database.close()

    assert all(future.exception(0) is None for future in futures)
    with pytest.raises(ParentError, match="ending"):
        database.submit(put("late"))


def test_readers_see_one_state_and_change_nothing(database: Database) -> None:
    """However much is written meanwhile."""
    with database.reading() as connection:
        before = connection.execute(sa.select(sa.func.count()).select_from(setting)).scalar()
        database.write(put("new"))
        after = connection.execute(sa.select(sa.func.count()).select_from(setting)).scalar()
    with pytest.raises(ParentError):
        with database.reading() as connection:
            put("not")(connection)

    assert before == after
    assert names(database) == {"new"}


# --- migrations ---


def test_the_migrated_schema_is_the_one_in_the_code(database: Database) -> None:
    """Else a revision is missing: `python tools/make_migration.py`."""
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
    assert migrations.is_current(database)


def test_an_upgrade_that_fails_leaves_the_database_as_it_was(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it is one transaction; the next one succeeds."""
    database = Database(url)
    with monkeypatch.context() as patch:
        patch.setattr("alembic.op.create_index", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            migrations.upgrade(database)

    assert migrations.revision(database) is None
    migrations.upgrade(database)
    migrations.upgrade(database)
    assert migrations.is_current(database)
    database.close()


def test_a_newer_database_is_refused_and_left_alone(url: str) -> None:
    """It says which revision it is, and what to do."""
    database = Database(url)
    migrations.upgrade(database)
    with database.alone() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    for act in (migrations.upgrade, migrations.is_current):
        with pytest.raises(ParentError, match="9999") as refused:
            act(database)
        assert refused.value.facts["cause"] == "newer"
        assert "pip install --upgrade" in refused.value.remedy
    database.close()


# --- what can go wrong ---


def test_only_one_server_has_a_database(url: str) -> None:
    """The second one says who has it; others may write beside it, such as a command."""
    first, second, command = Database(url), Database(url), Database(url)
    migrations.upgrade(first)
    first.start(exclusive=True)

    with pytest.raises(ParentError, match=str(os.getpid())) as refused:
        second.start(exclusive=True)
    command.start()
    command.write(put("by hand"))
    first.write(put("served"))
    first.close()
    third = Database(url)
    third.start(exclusive=True)

    assert refused.value.facts["cause"] == "held"
    assert names(third) == {"by hand", "served"}
    for each in (second, command, third):
        each.close()


def test_a_full_disk_loses_nothing_and_the_writer_goes_on(tmp_path: Path) -> None:
    """SQLite on a disk that has room again later; `ulimit -f` is the disk."""
    url = f"sqlite:///{tmp_path}/parent.db"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, url], capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip

    assert done.stdout.split() == ["full", "written"], done.stderr


FULL_DISK = """
import resource, signal, sys
from chittyops_core.errors import ParentError
from chittyops_core.parent import migrations
from chittyops_core.parent.database import Database
from chittyops_core.parent.schema import setting
import sqlalchemy as sa
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
database = Database(sys.argv[1])
migrations.upgrade(database)
database.start()
def put(name, size):
    database.write(lambda c: c.execute(sa.insert(setting).values(name=name, value="x" * size)))
put("before", 10)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
try:
    put("large", 1_000_000)
except ParentError as error:
    print(error.facts["cause"])
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
put("after", 10)
with database.reading() as c:
    found = set(c.execute(sa.select(setting.c.name)).scalars())
assert found == {"before", "after"}, found
database.close()
print("written")
"""


def test_a_damaged_file_is_told_as_such(tmp_path: Path) -> None:
    """Whether it is no database at all, or torn in the middle."""
    path = tmp_path / "parent.db"
    database = Database(f"sqlite:///{path}")
    migrations.upgrade(database)
    database.start()
    database.write(put("a"))
    database.close()
    raw = bytearray(path.read_bytes())
    raw[4096:] = b"\xff" * (len(raw) - 4096)
    path.write_bytes(raw)
    none = tmp_path / "none.db"
    none.write_bytes(b"no database " * 1000)

    for file in (path, none):
        broken = Database(f"sqlite:///{file}")
        broken.start()
        with pytest.raises(ParentError) as told:
            broken.write(put("b"))
        assert told.value.facts["cause"] == "damaged"
        assert str(file) in str(told.value)
        broken.close()


def test_another_process_that_writes_is_waited_for(tmp_path: Path) -> None:
    """Such as `chittyops parent`, beside the server."""
    path = tmp_path / "parent.db"
    database = Database(f"sqlite:///{path}")
    migrations.upgrade(database)
    database.start()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO setting VALUES ('theirs', 'x')")

    ours = database.submit(put("ours"))
    with pytest.raises(TimeoutError):
        ours.result(0.2)
    other.execute("COMMIT")

    ours.result(10)
    assert names(database) == {"ours", "theirs"}
    other.close()
    database.close()


def test_a_url_that_is_no_database_is_told() -> None:
    """With what would be one."""
    for url in ("nonsense", "mysql://x/y", "sqlite:////no/such/folder/parent.db"):
        with pytest.raises(ParentError) as told:
            database = Database(url)
            with database.reading():
                pass
        assert "sqlite:///" in told.value.remedy or "/no/such" in str(told.value)


def test_postgresql_may_restart_and_nothing_acknowledged_is_lost(
    postgresql_server: PostgreSQL,
) -> None:
    """By a crash of it, while a writer writes; the writer goes on by itself, still alone."""
    url = postgresql_server.new_database()
    database = Database(url)
    migrations.upgrade(database)
    database.start(exclusive=True)
    acknowledged, refused = set(), []
    stop = threading.Event()

    def write_on() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            try:
                database.write(put(f"n{number}"))
                acknowledged.add(f"n{number}")
            except ParentError as error:
                refused.append(error)
                stop.wait(0.02)

    thread = threading.Thread(target=write_on)
    thread.start()
    try:
        for how in (signal.SIGQUIT, signal.SIGINT):
            before = len(acknowledged)
            wait_for(lambda before=before: len(acknowledged) > before + 20)
            postgresql_server.stop(how)
            down = len(refused)
            wait_for(lambda down=down: len(refused) > down)
            postgresql_server.start()
        before = len(acknowledged)
        wait_for(lambda: len(acknowledged) > before + 20)
    finally:
        stop.set()
        thread.join()

    assert acknowledged <= names(database)
    assert {error.facts["cause"] for error in refused} == {"unreachable"}
    second = Database(url)
    with pytest.raises(ParentError, match="another parent serves"):
        second.start(exclusive=True)
    second.close()
    database.close()


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
