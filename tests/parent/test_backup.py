"""A parent in one file, and from it again."""

from __future__ import annotations

import io
import json
import sqlite3
import tarfile
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from chittyops_core.errors import ParentError
from chittyops_core.parent import administration, backup, fleet, server
from chittyops_core.parent.access import Role
from chittyops_core.parent.operators import accounts, sessions
from chittyops_core.parent.schema import activity, session, setting
from parent.fleet_data import fill

NOW = 1_800_000_000.0


@pytest.fixture
def data(url: str, tmp_path: Path) -> Path:
    """A parent with 30 children, an operator and a session."""
    folder = tmp_path / "parent"
    is_own = url.startswith("sqlite")
    server.init(folder, database_url="" if is_own else url)
    with administration.opened(folder) as parent:
        parent.database.write(_populate)
    return folder


@pytest.fixture
def sqlite_data(tmp_path: Path) -> Path:
    """The same on SQLite."""
    folder = tmp_path / "parent"
    server.init(folder)
    with administration.opened(folder) as parent:
        parent.database.write(_populate)
    return folder


def _populate(writer: sa.Connection) -> None:
    fill(writer, 30, sampled=0)
    made = accounts.add(writer, name="ada", role=Role.ADMIN, password="x", now=NOW)
    sessions.begin(writer, made.id, address="local", agent="", now=NOW)


def seen(data: Path) -> tuple[object, ...]:
    """Return what a parent knows."""
    with administration.opened(data) as parent, parent.database.reading() as reader:
        return (
            parent.key.id, fleet.counts(reader).total,
            [each.id for each in fleet.children(reader).rows],
            [each.name for each in accounts.accounts(reader)],
        )  # fmt: skip


def test_a_restored_parent_knows_what_it_knew_and_nobody_is_signed_in(
    data: Path, tmp_path: Path
) -> None:
    """Key, children and operators are there; sessions are over; both are activities."""
    before, file = seen(data), tmp_path / "one.backup"

    made = backup.back_up(data, file, by="cli:ada", now=NOW)
    assert file.stat().st_mode & 0o777 == 0o600
    assert backup.inspect(file) == made and made.children == 30
    if made.engine == "postgresql":
        with pytest.raises(ParentError, match="not empty"):
            backup.restore(file, tmp_path / "again", by="cli:ada", now=NOW)
        assert not (tmp_path / "again").exists()
        _empty(data)
    backup.restore(file, tmp_path / "again", by="cli:ada", now=NOW)
    assert seen(tmp_path / "again") == before
    with administration.opened(tmp_path / "again") as parent:
        with parent.database.reading() as reader:
            assert reader.scalar(sa.select(sa.func.count()).select_from(session)) == 0
            last = reader.execute(sa.select(activity.c.action).order_by(activity.c.id.desc()))
            assert last.first() == ("restore",)
    leftovers = [each.name for each in tmp_path.iterdir() if each.name.endswith(".tmp")]
    assert leftovers == []


def _empty(data: Path) -> None:
    database = server.open_database(data)
    try:
        with database.alone() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
    finally:
        database.close()


def test_a_backup_made_while_it_is_written_to_is_one_state_of_it(
    sqlite_data: Path, tmp_path: Path
) -> None:
    """Two rows that are always changed together are never apart in it."""
    with administration.opened(sqlite_data) as parent:
        done, ready = threading.Event(), threading.Event()

        def write_on() -> None:
            number = 0
            while not done.is_set():
                number += 1
                parent.database.write(lambda writer, n=number: _pair(writer, n))
                ready.set()

        writer = threading.Thread(target=write_on)
        writer.start()
        try:
            assert ready.wait(10)
            for number in range(3):
                file = tmp_path / f"{number}.backup"
                backup.back_up(sqlite_data, file, by="cli:ada", now=NOW)
        finally:
            done.set()
            writer.join()
    for number in range(3):
        backup.restore(
            tmp_path / f"{number}.backup", tmp_path / f"r{number}", by="cli:ada", now=NOW
        )
        with sqlite3.connect(tmp_path / f"r{number}" / "parent.db") as db:
            rows = db.execute("SELECT value FROM setting WHERE name IN ('a', 'b')").fetchall()
        db.close()
        assert len(rows) == 2 and rows[0] == rows[1]


def _pair(writer: sa.Connection, number: int) -> None:
    for name in ("a", "b"):
        writer.execute(sa.delete(setting).where(setting.c.name == name))
        writer.execute(sa.insert(setting).values(name=name, value=str(number)))


def test_nothing_is_overwritten(sqlite_data: Path, tmp_path: Path) -> None:
    """Neither a file by a backup nor a folder by a restore."""
    file = tmp_path / "one.backup"
    file.write_text("mine")
    with pytest.raises(ParentError, match="there already"):
        backup.back_up(sqlite_data, file, by="cli:ada", now=NOW)
    assert file.read_text() == "mine"
    file.unlink()
    backup.back_up(sqlite_data, file, by="cli:ada", now=NOW)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for place in (sqlite_data, tmp_path / "link", file):
        with pytest.raises(ParentError):
            backup.restore(file, place, by="cli:ada", now=NOW)
    (tmp_path / "empty").mkdir()
    backup.restore(file, tmp_path / "empty", by="cli:ada", now=NOW)


def rewritten(file: Path, to: Path, change: object) -> Path:
    """Write a backup anew with its members changed by *change*(name, raw)."""
    with tarfile.open(file) as old, tarfile.open(to, "w") as new:
        for info in old:
            source = old.extractfile(info)
            assert source is not None
            name, raw = change(info.name, source.read())  # type: ignore[operator]
            if raw is not None:
                told = tarfile.TarInfo(name)
                told.size = len(raw)
                new.addfile(told, io.BytesIO(raw))
    return to


def test_a_damaged_or_altered_backup_is_refused_whole_altered_backup_attack(
    sqlite_data: Path, tmp_path: Path
) -> None:
    """A flipped byte, a missing member, a path that leads out, a foreign file, half a file."""
    good = tmp_path / "good.backup"
    backup.back_up(sqlite_data, good, by="cli:ada", now=NOW)

    def escape(name: str, raw: bytes) -> tuple[str, bytes]:
        if name == "manifest.json":
            table = json.loads(raw)
            table["members"][0]["name"] = "../../evil"
            raw = json.dumps(table).encode()
        return name.replace("parent.toml", "../../evil"), raw

    changes = {
        "flipped": lambda name, raw: (name, raw[:-1] + b"?" if name == "database" else raw),
        "missing": lambda name, raw: (name, None if name == "parent.key" else raw),
        "escape": escape,
        "newer": lambda name, raw: (name, raw.replace(b'"format": 1', b'"format": 2')),
        "list": lambda name, raw: (name, b"[]" if name == "manifest.json" else raw),
    }
    bad = [rewritten(good, tmp_path / name, change) for name, change in changes.items()]
    (tmp_path / "half").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    (tmp_path / "none").write_bytes(b"")
    (tmp_path / "text").write_bytes(b"hello" * 1000)
    for file in (*bad, tmp_path / "half", tmp_path / "none", tmp_path / "text", tmp_path / "-"):
        with pytest.raises(ParentError):
            backup.restore(file, tmp_path / "new", by="cli:ada", now=NOW)
        assert not (tmp_path / "new").exists(), file
    assert not (tmp_path.parent / "evil").exists()
    assert [each for each in tmp_path.iterdir() if each.name.endswith(".tmp")] == []


def test_a_full_disk_leaves_no_half_backup(
    sqlite_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be written whole is not there, and neither is what was collected for it."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup, "_add", full)
    with pytest.raises(ParentError, match="No space left"):
        backup.back_up(sqlite_data, tmp_path / "one.backup", by="cli:ada", now=NOW)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["parent"]


def test_an_upgrade_of_what_is_current_does_nothing_and_waits_for_no_server(
    sqlite_data: Path, tmp_path: Path
) -> None:
    """No backup is written for it."""
    before, after = administration.upgrade(sqlite_data, to=tmp_path / "x.backup")

    assert before == after != ""
    assert not (tmp_path / "x.backup").exists()
