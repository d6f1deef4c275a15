"""What the engine intends and what came of it: one SQLite file, every commit durable.

The journal is intent. What serves is what the target observes; where the two differ, the
target is right, and recovery brings the journal in line.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from attrs import frozen

from chittyops_core._kit import wire
from chittyops_core._kit.clock import Clock
from chittyops_core.deploy.provenance import Provenance
from chittyops_core.errors import HostError
from chittyops_core.model.release import GateReceipt
from chittyops_core.model.service import Service

__all__ = ["Action", "Entry", "Journal", "Phase"]


class Phase(StrEnum):
    """Where a deployment is. `SERVED` is the commit point."""

    PLANNED = "planned"
    BUILT = "built"
    STAGED = "staged"
    GATED = "gated"
    SERVED = "served"
    SOAKED = "soaked"
    DRAINED = "drained"
    DONE = "done"
    UNDONE = "undone"


class Action(StrEnum):
    DEPLOY = "deploy"
    ROLLBACK = "rollback"


@frozen
class Entry:
    """One deployment as the journal has it.

    Attributes:
        id: Its number, growing.
        service: What it changes.
        action: Deploy or rollback.
        release: What it leads to.
        base: What served when it began.
        phase: The last phase that it reached.
        started: ISO 8601, UTC.
        ended: ISO 8601, UTC; None while it is unfinished.
        error: Why it was undone.
        phases: Mapping of phase to seconds it took.
    """

    id: int
    service: Service
    action: Action
    release: str
    base: str | None
    phase: Phase
    started: str
    ended: str | None
    error: str | None
    phases: Mapping[str, float]


_SCHEMA = """
CREATE TABLE IF NOT EXISTS service (
    slug TEXT PRIMARY KEY, kind TEXT NOT NULL, created TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS setting (
    slug TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (slug, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS release (
    slug TEXT NOT NULL, id TEXT NOT NULL, created TEXT NOT NULL, served TEXT,
    command_ran INTEGER NOT NULL DEFAULT 0, warm_until TEXT, receipt TEXT,
    PRIMARY KEY (slug, id)
) STRICT;
CREATE TABLE IF NOT EXISTS deployment (
    id INTEGER PRIMARY KEY, slug TEXT NOT NULL, action TEXT NOT NULL, release TEXT NOT NULL,
    base TEXT, phase TEXT NOT NULL, started TEXT NOT NULL, ended TEXT, error TEXT,
    phases TEXT NOT NULL DEFAULT '{}'
) STRICT;
CREATE INDEX IF NOT EXISTS deployment_unfinished ON deployment (slug) WHERE ended IS NULL;
CREATE INDEX IF NOT EXISTS deployment_slug ON deployment (slug, id);
CREATE INDEX IF NOT EXISTS deployment_release ON deployment (slug, release, id);
CREATE TABLE IF NOT EXISTS user (slug TEXT PRIMARY KEY, id INTEGER NOT NULL UNIQUE) STRICT;
PRAGMA user_version = 2;
"""

VERSION = 2
"""Of the schema. One that an older core could not read is a higher one."""

_LATER = """
CREATE TABLE IF NOT EXISTS provenance (
    deployment INTEGER PRIMARY KEY, value TEXT NOT NULL
) STRICT;
"""
"""What came later, and an older core has no need to know of."""

MIN_FREE_BYTES = 1 << 16
"""SQLite's shared memory beside the journal takes 32 KiB."""

WARM_AT_MOST = timedelta(days=1)
"""What a manifest may ask for; a clock that was set back must not keep a release warm for ever."""


class Journal:
    """The journal in *path*; safe for many processes, each with its own object."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._clock = clock
        try:
            self._open(path)
        except sqlite3.OperationalError as error:
            # Not the file's fault but the disk's, or the permissions'.
            full = shutil.disk_usage(path.parent).free < MIN_FREE_BYTES
            raise HostError(
                f"the disk is full: there is no room for the journal {path}"
                if full
                else f"the journal {path} cannot be opened: {error}",
                remedy="Free some space (old logs, caches, other programs' files), or mend the "
                "permissions. What serves goes on serving.",
            ) from error
        except sqlite3.DatabaseError as error:
            raise HostError(
                f"the journal {path} cannot be read: {error}",
                remedy="Restore it from a backup, or move it away: what serves goes on serving, "
                "and its next deploy begins a new history.",
            ) from error

    def _open(self, path: Path) -> None:
        self._db = sqlite3.connect(path, timeout=30, isolation_level=None)
        path.chmod(0o600)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        # FULL: a commit is on disk before it returns, also across a power cut.
        self._db.execute("PRAGMA synchronous = FULL")
        found = self._db.execute("PRAGMA user_version").fetchone()[0]
        if found > VERSION:
            raise HostError(
                f"the journal {path} was written by a newer version of chittyops-core "
                f"(its schema is {found}, this one reads {VERSION})",
                remedy="pip install --upgrade chittyops-core",
            )
        if found < VERSION:
            self._db.executescript(_SCHEMA)
        self._db.execute(_LATER)

    def close(self) -> None:
        """Close the file; the last one to do so leaves no WAL beside it."""
        self._db.close()

    # --- services and settings ---

    def kind_of(self, service: Service) -> str | None:
        row = self._one("SELECT kind FROM service WHERE slug = ?", service.slug)
        return row["kind"] if row else None

    def services(self) -> list[Service]:
        """Return every service that was not removed, sorted."""
        rows = self._all("SELECT slug FROM service ORDER BY slug")
        return [Service.from_slug(row["slug"]) for row in rows]

    def forget(self, service: Service) -> None:
        """Drop the service, its releases and settings; its deployments stay as history."""
        with self._transaction():
            self._run("DELETE FROM service WHERE slug = ?", service.slug)
            self._run("DELETE FROM release WHERE slug = ?", service.slug)
            self._run("DELETE FROM setting WHERE slug = ?", service.slug)

    def settings(self, service: Service) -> dict[str, str]:
        """Return the variables set for *service* on this host."""
        rows = self._all("SELECT name, value FROM setting WHERE slug = ?", service.slug)
        return {row["name"]: row["value"] for row in rows}

    def change_setting(self, service: Service, name: str, value: str | None) -> None:
        """Set a variable; None takes it away."""
        if value is None:
            self._run("DELETE FROM setting WHERE slug = ? AND name = ?", service.slug, name)
        else:
            self._run("INSERT OR REPLACE INTO setting VALUES (?, ?, ?)", service.slug, name, value)

    # --- OS users ---

    def keep_user(self, service: Service, candidates: Iterable[int]) -> int:
        """Return the id of *service*'s own OS user, the same for ever.

        It outlives the service, as the state directory does. One that has none yet gets the
        first of *candidates* that no other service has; they are not asked for otherwise.

        Raises:
            HostError: None is left.
        """
        known = "SELECT id FROM user WHERE slug = ?"
        if (row := self._one(known, service.slug)) is not None:
            return int(row["id"])
        with self._transaction():
            if (row := self._one(known, service.slug)) is not None:
                return int(row["id"])
            taken = {row["id"] for row in self._all("SELECT id FROM user")}
            chosen = next((user for user in candidates if user not in taken), None)
            if chosen is None:
                raise HostError(
                    f"there is no OS user id left for {service}: {len(taken)} services of this "
                    "host have one, other programs the rest",
                    remedy="Use a second CHITTYOPS_HOME on another machine.",
                )
            self._run("INSERT INTO user VALUES (?, ?)", service.slug, chosen)
            return chosen

    # --- deployments ---

    def begin(
        self,
        service: Service,
        kind: str,
        action: Action,
        release: str,
        base: str | None,
        provenance: Provenance | None = None,
    ) -> int:
        """Record the intent to serve *release*; return the deployment's id."""
        now = self._now()
        with self._transaction():
            self._db.execute(
                "INSERT OR IGNORE INTO service VALUES (?, ?, ?)", (service.slug, kind, now)
            )
            self._db.execute(
                "INSERT OR IGNORE INTO release (slug, id, created) VALUES (?, ?, ?)",
                (service.slug, release, now),
            )
            cursor = self._db.execute(
                "INSERT INTO deployment (slug, action, release, base, phase, started) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (service.slug, action, release, base, Phase.PLANNED, now),
            )
            if provenance is not None:
                self._db.execute(
                    "INSERT INTO provenance VALUES (?, ?)",
                    (cursor.lastrowid, json.dumps(wire.to_wire(provenance))),
                )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def mark(self, deployment: int, phase: Phase, seconds: float) -> None:
        """Record that *deployment* reached *phase*, which took *seconds*."""
        self._run(
            "UPDATE deployment SET phase = ?, phases = json_set(phases, '$.' || ?, ?) WHERE id = ?",
            phase, phase, round(seconds, 4), deployment,
        )  # fmt: skip

    def mark_served(self, entry: Entry) -> None:
        """Record that *entry*'s release serves; the order of these is what rollback goes by."""
        with self._transaction():
            self._db.execute(
                "UPDATE release SET served = ?, warm_until = NULL WHERE slug = ? AND id = ?",
                (self._now(), entry.service.slug, entry.release),
            )
            self._db.execute(
                "UPDATE deployment SET phase = ? WHERE id = ?", (Phase.SERVED, entry.id)
            )

    def end(self, deployment: int, phase: Phase, error: str | None = None) -> None:
        """Close *deployment* as done or undone."""
        self._run(
            "UPDATE deployment SET phase = ?, ended = ?, error = ? WHERE id = ?",
            phase, self._now(), error, deployment,
        )  # fmt: skip

    def entry(self, deployment: int) -> Entry:
        row = self._one("SELECT * FROM deployment WHERE id = ?", deployment)
        assert row is not None
        return _entry(row)

    def provenance(self, service: Service, release: str) -> Provenance | None:
        """Return where *release* came from when it was last built; None when nobody said."""
        row = self._one(
            "SELECT value FROM deployment JOIN provenance ON deployment = id "
            "WHERE slug = ? AND release = ? ORDER BY id DESC LIMIT 1",
            service.slug, release,
        )  # fmt: skip
        return wire.from_wire(Provenance, json.loads(row["value"])) if row else None

    def entries(self, above: int) -> list[Entry]:
        """Return the deployments of all services with a higher number, oldest first."""
        rows = self._all("SELECT * FROM deployment WHERE id > ? ORDER BY id", above)
        return [_entry(row) for row in rows]

    def last(self) -> int:
        """Return the number of the last deployment; 0 before the first."""
        row = self._one("SELECT max(id) AS last FROM deployment")
        return int(row["last"] or 0) if row is not None else 0

    def unfinished(self, service: Service) -> list[Entry]:
        """Return deployments whose process ended before they did, oldest first."""
        rows = self._all(
            "SELECT * FROM deployment WHERE slug = ? AND ended IS NULL ORDER BY id", service.slug
        )
        return [_entry(row) for row in rows]

    def history(self, service: Service, limit: int = 20) -> list[Entry]:
        """Return the last deployments, newest first."""
        rows = self._all(
            "SELECT * FROM deployment WHERE slug = ? ORDER BY id DESC LIMIT ?",
            service.slug, limit,
        )  # fmt: skip
        return [_entry(row) for row in rows]

    # --- releases ---

    def previous_served(self, service: Service, serving: str | None) -> str | None:
        """Return the release that last served before *serving* did."""
        row = self._one(
            "SELECT release FROM deployment JOIN release USING (slug) WHERE slug = ? "
            "AND deployment.phase = ? AND release.id = deployment.release "
            "AND deployment.release IS NOT ? ORDER BY deployment.id DESC LIMIT 1",
            service.slug, Phase.DONE, serving,
        )  # fmt: skip
        return row["release"] if row else None

    def releases(self, service: Service) -> list[Mapping[str, Any]]:
        """Return rows `id, created, served, warm_until, deployment`, the last deployed first.

        By the deployments' numbers: times are the wall clock's, which jumps.
        """
        rows = self._all(
            "SELECT id, created, served, warm_until, (SELECT max(d.id) FROM deployment d "
            "WHERE d.slug = release.slug AND d.release = release.id) AS deployment "
            "FROM release WHERE slug = ? ORDER BY deployment DESC",
            service.slug,
        )
        return [dict(row) for row in rows]

    def forget_releases(self, service: Service, kept: set[str]) -> None:
        """Drop the rows of all releases but *kept*."""
        for row in self.releases(service):
            if row["id"] not in kept:
                self._run("DELETE FROM release WHERE slug = ? AND id = ?", service.slug, row["id"])

    def keep_warm(self, service: Service, release: str, until: str | None) -> None:
        self._run(
            "UPDATE release SET warm_until = ? WHERE slug = ? AND id = ?",
            until, service.slug, release,
        )  # fmt: skip

    def warm(self, service: Service) -> set[str]:
        """Return the releases that may run without serving, their time not yet over."""
        latest = (self._clock.now() + WARM_AT_MOST).isoformat(timespec="milliseconds")
        rows = self._all(
            "SELECT id FROM release WHERE slug = ? AND warm_until > ? AND warm_until <= ?",
            service.slug, self._now(), latest,
        )  # fmt: skip
        return {row["id"] for row in rows}

    def has_command_run(self, service: Service, release: str) -> bool:
        row = self._one(
            "SELECT command_ran FROM release WHERE slug = ? AND id = ?", service.slug, release
        )
        return bool(row and row["command_ran"])

    def mark_command_run(self, service: Service, release: str) -> None:
        self._run(
            "UPDATE release SET command_ran = 1 WHERE slug = ? AND id = ?", service.slug, release
        )

    def keep_receipt(self, service: Service, receipt: GateReceipt) -> None:
        self._run(
            "UPDATE release SET receipt = ? WHERE slug = ? AND id = ?",
            json.dumps(wire.to_wire(receipt)), service.slug, receipt.release,
        )  # fmt: skip

    def receipt(self, service: Service, release: str) -> GateReceipt | None:
        row = self._one(
            "SELECT receipt FROM release WHERE slug = ? AND id = ?", service.slug, release
        )
        if row is None or row["receipt"] is None:
            return None
        return wire.from_wire(GateReceipt, json.loads(row["receipt"]))

    # --- SQL ---

    def _now(self) -> str:
        return self._clock.now().isoformat(timespec="milliseconds")

    def _run(self, sql: str, *values: Any) -> None:
        self._db.execute(sql, values)

    def _one(self, sql: str, *values: Any) -> sqlite3.Row | None:
        with closing(self._db.execute(sql, values)) as cursor:
            row: sqlite3.Row | None = cursor.fetchone()
            return row

    def _all(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        return self._db.execute(sql, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def _entry(row: sqlite3.Row) -> Entry:
    return Entry(
        id=row["id"],
        service=Service.from_slug(row["slug"]),
        action=Action(row["action"]),
        release=row["release"],
        base=row["base"],
        phase=Phase(row["phase"]),
        started=row["started"],
        ended=row["ended"],
        error=row["error"],
        phases=json.loads(row["phases"]),
    )
