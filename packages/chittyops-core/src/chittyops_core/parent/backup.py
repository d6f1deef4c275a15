"""Backups of a parent: made while it serves, verified as they are written, restored elsewhere.

A backup is one file, a tar archive for its owner's eyes only (mode 0600):

    manifest.json   what it holds, with lengths and SHA-256 digests
    parent.toml     the settings
    parent.key      the parent's private key, as it is: who has it can speak as this parent
    NAME            the secret of the OpenID provider, where parent.toml names one beside it
    database        parent.db (SQLite), or a dump in PostgreSQL's custom format

The password of a PostgreSQL database is never in it. Sessions end with a restore.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import tarfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from attrs import asdict, field, frozen

from chittyops_core._kit.files import ensure_private_dir, file_digest, sync_dir
from chittyops_core.errors import ParentError
from chittyops_core.parent import activities, migrations
from chittyops_core.parent.activities import Outcome
from chittyops_core.parent.database import Database
from chittyops_core.parent.keys import ParentKey
from chittyops_core.parent.schema import child, session
from chittyops_core.parent.server import DATABASE, KEY, SETTINGS, open_database

__all__ = ["AFTER_A_RESTORE", "Backup", "Member", "back_up", "inspect", "restore"]

FORMAT = 1
"""Of the archive; it grows when an older version would misread one."""

MANIFEST, DUMP = "manifest.json", "database"
MAX_SMALL = 1 << 20
"""Bytes of everything but the database."""

_CHUNK = 1 << 20

AFTER_A_RESTORE = (
    "Children go on by themselves: each sends again what is missing here, as far as it keeps it.",
    "What a child keeps no more is recorded as gone (docs/protocol.md 7.6).",
    "Children that enrolled after this backup are unknown here, and have to enrol anew.",
    "What was revoked, withdrawn or disabled after this backup is so no more: do it again.",
    "Everybody has to sign in again.",
    "Take the other parent with this key out of service: two of them would contradict each other.",
)
"""What who restores has to know."""


@frozen
class Member:
    """A file in a backup."""

    name: str
    length: int
    sha256: str


@frozen
class Backup:
    """What a backup holds.

    Attributes:
        format: `FORMAT`.
        made_at: Seconds since the epoch.
        parent: The thumbprint of the parent's key.
        engine: `sqlite` or `postgresql`.
        revision: Of the database's schema.
        children: How many there are.
        members: Its files, but the manifest itself.
    """

    format: int
    made_at: float
    parent: str
    engine: str
    revision: str
    children: int
    members: tuple[Member, ...] = field(factory=tuple)


def back_up(data: Path, to: Path, *, by: str, now: float) -> Backup:
    """Write a backup of the parent in *data*, which may serve meanwhile, and read it again.

    Args:
        data: The parent's folder.
        to: A file that is not there yet.
        by: Who asked, for the activities.
        now: Seconds since the epoch.

    Raises:
        ParentError: It cannot be made, or is not what was written; then there is no such file.
    """
    if to.exists() or to.is_symlink():
        raise ParentError(f"{to} is there already; nothing was written")
    if not to.parent.is_dir():
        raise ParentError(f"{to.parent} is no folder")
    database = open_database(data)
    try:
        with _scratch(to.parent) as folder:
            found = _collect(data, database, folder, now)
            archive = folder / "archive"
            _pack(found, folder, archive)
            _require_same(archive, found)
            archive.rename(to)
            sync_dir(to.parent)
        _record(database, "backup", by, now, {"to": str(to), "children": found.children})
    except (OSError, sqlite3.Error, tarfile.TarError) as error:
        raise ParentError(f"the backup cannot be written: {error}") from error
    finally:
        database.close()
    return found


def inspect(file: Path) -> Backup:
    """Return what a backup holds, once all of it was read and compared. Raises ParentError."""
    with _told(file):
        with tarfile.open(file, "r:") as archive:
            found = _manifest(archive)
            for member in found.members:
                _compare(archive, member, None)
        return found


def restore(file: Path, data: Path, *, by: str, now: float) -> Backup:
    """Make the parent in *data* that a backup holds; all of it, or nothing.

    Args:
        file: What `back_up` wrote.
        data: A folder that is not there, or empty.
        by: Who asked, for the activities.
        now: Seconds since the epoch.

    Raises:
        ParentError: Something is there already, or the backup is damaged or too new.
    """
    if data.is_symlink() or (data.exists() and (not data.is_dir() or any(data.iterdir()))):
        raise ParentError(
            f"{data} is not empty; nothing was changed", remedy="Name a folder that is not there."
        )
    data.parent.mkdir(parents=True, exist_ok=True)
    with _told(file), _scratch(data.parent) as folder:
        found = _unpack(file, folder)
        _require_usable(found, folder)
        if found.engine == "sqlite":
            (folder / DUMP).rename(folder / DATABASE)
        database = open_database(folder)
        try:
            if found.engine == "postgresql":
                _load_postgresql(database, folder / DUMP)
                (folder / DUMP).unlink()
            migrations.revision(database)
            _record(
                database, "restore", by, now, {"made_at": found.made_at, "from": str(file)},
                end_sessions=True,
            )  # fmt: skip
        finally:
            database.close()
        folder.rename(data)
        sync_dir(data.parent)
    return found


# --- making ---


def _collect(data: Path, database: Database, folder: Path, now: float) -> Backup:
    names = [SETTINGS, KEY, *_secret_beside(data)]
    for name in names:
        raw = (data / name).read_bytes()
        if len(raw) > MAX_SMALL:
            raise ParentError(f"{data / name} is too long for what it should be")
        (folder / name).write_bytes(raw)
    if database.is_sqlite:
        _copy_sqlite(Path(str(database.url.database)), folder / DUMP)
    else:
        _dump_postgresql(database, folder / DUMP)
    with database.reading() as reader:
        children = reader.scalar(sa.select(sa.func.count()).select_from(child)) or 0
    members = tuple(
        Member(name, (folder / name).stat().st_size, file_digest(folder / name))
        for name in (*names, DUMP)
    )
    engine = "sqlite" if database.is_sqlite else "postgresql"
    parent, revision = ParentKey.read(data / KEY).id, migrations.revision(database) or ""
    return Backup(FORMAT, now, parent, engine, revision, children, members)


def _secret_beside(data: Path) -> list[str]:
    """Return the name of the OpenID provider's secret, where it lies in the parent's folder."""
    section = tomllib.loads((data / SETTINGS).read_text()).get("oidc")
    named = section.get("client_secret_file") if isinstance(section, dict) else None
    is_beside = isinstance(named, str) and Path(named).name == named
    return [named] if is_beside and (data / str(named)).is_file() else []  # type: ignore[list-item]


def _copy_sqlite(source: Path, target: Path) -> None:
    """Copy a database by SQLite's own online backup: one state of it, whoever writes meanwhile."""
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as here,
        closing(sqlite3.connect(target)) as there,
    ):
        here.backup(there)
        there.execute("PRAGMA journal_mode = DELETE")
        _require_whole(there)


def _require_whole(connection: sqlite3.Connection) -> None:
    said = connection.execute("PRAGMA integrity_check").fetchall()
    if said != [("ok",)]:
        raise ParentError(f"the database is damaged: {said[0][0]}")


def _dump_postgresql(database: Database, target: Path) -> None:
    _run(
        "pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={target}",
        f"--dbname={_url(database)}", database=database,
    )  # fmt: skip
    _run("pg_restore", "--list", str(target), database=database)


def _load_postgresql(database: Database, dump: Path) -> None:
    with database.reading() as reader:
        if sa.inspect(reader).get_table_names():
            raise ParentError(
                "the database that parent.toml names is not empty; nothing was changed",
                remedy="Make an empty one of that name, or restore on another server.",
            )
    _run(
        "pg_restore", "--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges",
        f"--dbname={_url(database)}", str(dump), database=database,
    )  # fmt: skip


def _run(*words: str, database: Database) -> None:
    """Run a tool of PostgreSQL; the password is in its environment, for its owner's eyes."""
    tool = words[0]
    if shutil.which(tool) is None:
        raise ParentError(
            f"{tool} is not installed", remedy="apt-get install postgresql-client, or your system's"
        )
    done = subprocess.run(
        words, env={**os.environ, **database.libpq_environment()}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        lines = tuple(done.stderr.strip().splitlines()[-5:])
        raise ParentError(f"{tool} failed", detail=lines)


def _url(database: Database) -> str:
    return database.url.set(drivername="postgresql").render_as_string(hide_password=True)


def _pack(found: Backup, folder: Path, archive: Path) -> None:
    with os.fdopen(os.open(archive, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as raw:
        with tarfile.open(fileobj=raw, mode="w:") as tar:
            text = json.dumps(asdict(found), indent=2).encode()
            _add(tar, MANIFEST, io.BytesIO(text), len(text), found.made_at)
            for member in found.members:
                with (folder / member.name).open("rb") as file:
                    _add(tar, member.name, file, member.length, found.made_at)
        raw.flush()
        os.fsync(raw.fileno())


def _add(tar: tarfile.TarFile, name: str, file: Any, length: int, at: float) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = length, 0o600, int(at)
    tar.addfile(info, file)


def _require_same(archive: Path, expected: Backup) -> None:
    if inspect(archive) != expected:
        raise ParentError("the backup is not what was written; the disk may be damaged")


# --- reading ---


def _unpack(file: Path, folder: Path) -> Backup:
    with tarfile.open(file, "r:") as archive:
        found = _manifest(archive)
        for member in found.members:
            _compare(archive, member, folder / member.name)
    return found


def _manifest(archive: tarfile.TarFile) -> Backup:
    """Return the manifest, which says what else is read; nothing else is."""
    first = archive.next()
    if first is None or first.name != MANIFEST or not first.isfile() or first.size > MAX_SMALL:
        raise ValueError("it has no manifest")
    file = archive.extractfile(first)
    table = json.loads(file.read() if file else b"")
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        raise ValueError("it is of a form that this version does not know")
    found = Backup(
        **{
            **table,
            "members": tuple(Member(**each) for each in table["members"]),
        }
    )
    names = [each.name for each in found.members]
    if (
        not all(map(_is_plain, names))
        or len(set(names)) != len(names)
        or not {SETTINGS, KEY, DUMP} <= set(names)
    ):
        raise ValueError("its manifest names other files than a backup has")
    return found


def _is_plain(name: object) -> bool:
    """Whether it names a file of the folder itself."""
    if not isinstance(name, str) or "\0" in name:
        return False
    return Path(name).name == name and name not in (".", "..", MANIFEST)


def _compare(archive: tarfile.TarFile, member: Member, to: Path | None) -> None:
    """Read the next file, compare it, and write it where that is wanted."""
    info = archive.next()
    if info is None or info.name != member.name or not info.isfile() or info.size != member.length:
        raise ValueError(f"{member.name} is missing, or has another length")
    file, digest = archive.extractfile(info), hashlib.sha256()
    if file is None:
        raise ValueError(f"{member.name} is no file")
    out = None
    if to is not None:
        out = os.fdopen(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    try:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            if out is not None:
                out.write(chunk)
        if out is not None:
            out.flush()
            os.fsync(out.fileno())
    finally:
        if out is not None:
            out.close()
    if digest.hexdigest() != member.sha256:
        raise ValueError(f"{member.name} was altered or damaged")


def _require_usable(found: Backup, folder: Path) -> None:
    key = ParentKey.read(folder / KEY)
    if key.id != found.parent:
        raise ValueError("its key is another one than its manifest says")
    settings = tomllib.loads((folder / SETTINGS).read_text())
    if found.engine == "sqlite":
        if settings.get("database"):
            raise ParentError(
                "this parent kept its database elsewhere, in a file that parent.toml names",
                remedy="Take parent.db out of the archive (tar -xf), and put it there.",
            )
        with closing(sqlite3.connect(folder / DUMP)) as connection:
            _require_whole(connection)
    elif not settings.get("database"):
        raise ValueError("parent.toml names no PostgreSQL database")


@contextmanager
def _told(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError) as error:
        raise ParentError(f"{file} cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError, tarfile.TarError, sqlite3.Error) as error:
        raise ParentError(f"{file} is no whole backup: {error}") from error


@contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    """Give a folder beside the goal, for its owner only, that is gone afterwards."""
    folder = ensure_private_dir(parent / f".chittyops-{secrets.token_hex(6)}.tmp")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _record(
    database: Database, action: str, by: str, now: float, detail: Mapping[str, Any],
    *, end_sessions: bool = False,
) -> None:  # fmt: skip
    with database.alone() as writer:
        if end_sessions:
            writer.execute(sa.delete(session))
        activities.record(
            writer, actor=by, action=action, object="parent", outcome=Outcome.DONE,
            address="local", detail=detail, now=now,
        )  # fmt: skip
