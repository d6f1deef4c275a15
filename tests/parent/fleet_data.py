"""A plausible fleet, put into an empty database quickly: for tests, benchmarks and pages.

    from parent.fleet_data import fill

    fill(connection, 10_000, now=NOW)          # inside `engine.begin()` or `database.write`

The same arguments give the same fleet.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from chittyops_core.parent import inventory, packing, tally, terms
from chittyops_core.parent.schema import (
    METADATA,
    activity,
    child,
    child_section,
    child_state,
    event,
    metric_set,
    sample,
    service,
    stream,
    term,
)

__all__ = ["DAY", "NAMES", "NOW", "SET", "child_id", "fill", "make_tables", "readings"]

NOW = 1_795_600_000.0
"""When the fleet is looked at, unless said otherwise; 2026-11-25."""

DAY = 86_400
INTERVAL_S = 300
PIECE = 500
"""Children that are put in at once."""

NAMES = (
    "host.cpu.used.percent", "host.memory.used.percent", "host.load.1m", "host.load.5m",
    "host.load.15m", "host.memory.used.bytes", "host.disk.used.bytes", "host.cpus",
    "host.memory.bytes", "host.swap.used.bytes", "host.up", "net.received.bytes_total",
    "net.sent.bytes_total", "http.requests_total", "disk.written.bytes_total",
    "host.temperature.celsius", "http.open", "http.latency.p50.s", "host.disk.used.percent",
    "http.errors",
)  # fmt: skip
"""Twenty metrics: gauges that walk, that never change, sizes and counters."""

SET = hashlib.sha256("".join(f"{name}\n" for name in NAMES).encode()).hexdigest()[:16]

_CITIES = (
    "chicago", "cicero", "evanston", "oaklawn", "skokie", "elgin", "joliet", "aurora", "waukegan",
    "berwyn",
)  # fmt: skip
_APPS = {
    "cook-county": ("docket", "filings", "records", "hearings"),
    "digital-dossier": ("dossier", "intake", "review"),
    "chitty-apps": ("menu", "booking", "shop", "ledger", "notes", "board"),
}
_CLIENTS = ("acme", "birch & sons", "cedar", "delta", "elm", "fir", "grove")
_TYPES = ("deploy.served", "deploy.served", "alert.fired", "alert.resolved", "host.started")


def make_tables(url: str) -> None:
    """Make all tables in the empty database at *url*."""
    engine = sa.create_engine(url)
    METADATA.create_all(engine)
    engine.dispose()


def child_id(number: int) -> str:
    """Return the id of the child of that *number*, from 0 on."""
    return f"ch_{number:026d}"


def fill(
    connection: sa.Connection,
    children: int,
    *,
    now: float = NOW,
    seed: int = 5,
    events: int = 5,
    sampled: int = 0,
    days: int = 1,
) -> None:
    """Put *children* into an empty database, with all that pages show of them.

    Args:
        connection: In a transaction; the caller commits.
        children: How many.
        now: What time it is.
        seed: Of everything that is random.
        events: Of each child.
        sampled: How many of the children, the first ones, have samples.
        days: Of samples, every five minutes until *now*.
    """
    chance = random.Random(seed)
    connection.execute(metric_set.insert(), {"id": SET, "names": json.dumps(NAMES)})
    for start in range(0, children, PIECE):
        numbers = range(start, min(start + PIECE, children))
        _insert(connection, [_Child(number, now, chance) for number in numbers], events)
    tally.recount(connection)
    for number in range(min(sampled, children)):
        put_samples(connection, child_id(number), now - days * DAY, now, seed + number)
    connection.execute(activity.insert(), list(_activities(children, now)))


def put_samples(
    connection: sa.Connection, child: str, since: float, until: float, seed: int
) -> None:
    """Give *child* a sample of `NAMES` every five minutes."""
    rows = [
        {"child": child, "at": at, "metric_set": SET, "packed": packing.pack_row(values)}
        for at, values in readings(since, until, seed)
    ]
    connection.execute(sample.insert(), rows)


def readings(since: float, until: float, seed: int) -> Iterator[tuple[int, list[float]]]:
    """Yield times and values of `NAMES` as a host would have them."""
    chance = random.Random(seed)
    walks = {
        0: (30.0, 3.0, 1), 1: (55.0, 1.0, 1), 2: (0.7, 0.1, 2), 3: (0.6, 0.03, 2),
        4: (0.5, 0.01, 2), 15: (41.0, 0.5, 1), 16: (200.0, 4.0, 0),
        17: (0.031, 0.001, 6), 18: (70.0, 0.02, 2),
    }  # fmt: skip
    now = {place: start for place, (start, _, _) in walks.items()}
    counters = {11: 3e7, 12: 8e6, 13: 1e3, 14: 2e7}
    counted = {place: chance.random() * 1e10 for place in counters}
    used, kept = 3e9 + chance.random() * 1e9, 4e10
    for at in range(int(since), int(until), INTERVAL_S):
        for place, (_, step, _) in walks.items():
            now[place] = abs(now[place] + chance.gauss(0, step))
        for place, rate in counters.items():
            counted[place] += rate * (0.5 + chance.random())
        used, kept = used + chance.gauss(0, 2e6), kept + 5e5 * chance.random()
        values = [0.0] * len(NAMES)
        for place, (_, _, digits) in walks.items():
            values[place] = round(now[place], digits)
        for place, value in counted.items():
            values[place] = float(int(value))
        values[5], values[6] = used // 4096 * 4096, kept // 4096 * 4096
        values[7], values[8], values[10] = 4.0, 8_123_456_512.0, 1.0
        values[19] = float(chance.randrange(3))
        yield at + chance.randrange(2), values


class _Child:
    """One child before it is put in."""

    def __init__(self, number: int, now: float, chance: random.Random) -> None:
        self.id, self.now, self.chance = child_id(number), now, chance
        self.city = _CITIES[number % len(_CITIES)]
        self.name = f"web-{number:05d}.{self.city}.example"
        self.kind = chance.choices(tuple(_APPS), (1, 3, 6))[0]
        self.state = chance.choices(
            ("accepted", "pending", "rejected", "revoked", "left", "cloned"),
            (940, 20, 10, 15, 14, 1),
        )[0]  # fmt: skip
        is_heard = self.state == "accepted"
        self.status = chance.choices(
            ("operational", "degraded_performance", "partial_outage", "major_outage",
             "under_maintenance", "unknown"), (900, 40, 15, 5, 10, 30),
        )[0] if is_heard else "unknown"  # fmt: skip
        self.is_overdue = is_heard and chance.random() < 0.01
        self.labels = {"site": self.city, "ring": chance.choices(("broad", "early"), (9, 1))[0]}
        self.stream = f"00000000-0000-4000-8000-{number:012d}"
        self.services = list(self._services())

    def _services(self) -> Iterator[dict[str, Any]]:
        chance = self.chance
        for app in chance.sample(_APPS[self.kind], chance.choice((1, 1, 2, 3))):
            build = chance.randrange(200)
            commit = hashlib.sha256(f"{app} {build}".encode()).hexdigest()[:40]
            environment = chance.choices(("production", "staging"), (4, 1))[0]
            yield {
                "child": self.id, "slug": f"{app}-{environment}", "app": app,
                "environment": environment, "kind": self.kind,
                "client": chance.choice(_CLIENTS) if self.kind == "digital-dossier" else None,
                "release": f"2026{build % 12 + 1:02d}{build % 28 + 1:02d}T1200-{commit[:8]}",
                "commit_id": commit, "manifest": hashlib.sha256(app.encode()).hexdigest(),
                "sbom": None, "lite": f"0.{build // 50}.{build % 50}",
                "version": inventory.version_key(f"0.{build // 50}.{build % 50}"),
                "address": f"https://{app}.{self.city}.example", "status": self.status,
                "since": self.now - build * 3600.0, "seen_at": self.now - build * 3600.0,
            }  # fmt: skip

    def row(self) -> dict[str, Any]:
        enrolled = self.now - self.chance.randrange(1, 300) * DAY
        is_decided = self.state != "pending"
        return {
            "id": self.id, "name": self.name, "kind": self.kind, "state": self.state,
            "labels": json.dumps(self.labels), "facts": json.dumps(self.facts()),
            "enrolled_at": enrolled, "decided_at": enrolled + 60 if is_decided else None,
            "decided_by": "ada" if is_decided else None,
        }  # fmt: skip

    def facts(self) -> dict[str, Any]:
        return {
            "hostname": self.name, "os": "Debian GNU/Linux 12", "kernel": "6.1.0-40-amd64",
            "machine": "x86_64", "cpus": 4, "memory_bytes": 8_123_456_512, "python": "3.11.2",
            "caddy": "2.6.2", "supervisor": "4.2.5",
        }  # fmt: skip

    def state_row(self) -> dict[str, Any]:
        is_heard = self.state not in ("pending", "rejected")
        ago = 7200.0 if self.is_overdue else self.chance.random() * INTERVAL_S
        seen = self.now - ago if is_heard else None
        return {
            "child": self.id, "stream": self.stream if is_heard else None,
            "n": 288 if is_heard else 0, "acked": 400 if is_heard else 0,
            "first_seen": self.now - 40 * DAY if is_heard else None, "last_seen": seen,
            "deadline_at": seen + 330 if seen and self.state == "accepted" else None,
            "is_overdue": self.is_overdue,
            "overdue_since": seen + 330 if seen and self.is_overdue else None,
            "status": self.status, "status_since": seen and seen - 3600, "next_s": 300.0,
            "sdk": "chittyops-core/0.1.0", "caps": '["health","inventory","metrics","events"]',
            "lag": self.chance.choices((0, 3, 120), (96, 3, 1))[0],
        }  # fmt: skip

    def sections(self) -> Iterator[dict[str, Any]]:
        services = {each["slug"]: each for each in self.services}
        bodies: Mapping[str, Any] = {
            "health": {
                "status": self.status,
                "services": {
                    slug: {"status": self.status, "why": "", "since": self.now - 3600}
                    for slug in services
                },
            },
            "inventory": {
                "host": self.facts(),
                "services": {slug: _reported(each) for slug, each in services.items()},
            },
            "bridge": {"grants": {"health": True}, "lag": 0, "dropped": {}, "skew_s": 0.0},
        }
        for name, body in bodies.items():
            text = json.dumps(body)
            digest = hashlib.sha256(text.encode()).hexdigest()[:16]
            yield {
                "child": self.id, "section": name, "digest": digest, "body": text,
                "at": self.now - 3600,
            }  # fmt: skip

    def events(self, count: int) -> Iterator[dict[str, Any]]:
        for number in range(count):
            at = self.now - self.chance.random() * 30 * DAY
            kind = self.chance.choice(_TYPES)
            slug = self.services[0]["slug"]
            body = {"type": kind, "at": at, "service": slug, "title": f"{kind} of {slug}"}
            yield {
                "child": self.id, "stream": self.stream, "seq": number + 1,
                "kind": "incident" if kind.startswith("alert") else "event", "type": kind,
                "service": slug, "at": at, "received_at": at + 1, "body": json.dumps(body),
            }  # fmt: skip


def _reported(row: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("app", "environment", "client", "kind", "release", "since", "manifest", "sbom", "lite")
    more = {"commit": row["commit_id"], "health": row["status"], "address": row["address"]}
    return {name: row[name] for name in kept} | more


def _insert(connection: sa.Connection, all_: list[_Child], events: int) -> None:
    rows: dict[sa.Table, list[dict[str, Any]]] = {
        child: [each.row() for each in all_],
        child_state: [each.state_row() for each in all_],
        child_section: [section for each in all_ for section in each.sections()],
        service: [row for each in all_ for row in each.services],
        event: [row for each in all_ for row in each.events(events)],
        stream: [
            {"child": each.id, "id": each.stream, "acked": 400, "first_at": each.now - 40 * DAY,
             "first_created": int(each.now - 40 * DAY)} for each in all_
        ],
        term: [{"child": each.id, "word": word} for each in all_ for word in _words(each)],
    }  # fmt: skip
    for table, values in rows.items():
        if values:
            connection.execute(table.insert(), values)


def _words(one: _Child) -> set[str]:
    kept = ("slug", "app", "environment", "client", "kind", "release", "commit_id", "lite")
    texts = ([row[name] for name in kept] for row in one.services)
    return terms.child_words(one.name, one.labels, texts)


def _activities(children: int, now: float) -> Iterator[dict[str, Any]]:
    for number in range(max(1, min(children, 2000))):
        yield {
            "at": now - 2000 + number, "actor": ("ada", "grace", "parent")[number % 3],
            "action": "child.accept", "object": f"child/{child_id(number)}", "outcome": "done",
            "address": "127.0.0.1", "detail": "{}",
        }  # fmt: skip
