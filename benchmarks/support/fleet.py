"""Simulated children: keys and rows as if they had enrolled, and the requests that they send."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from attrs import define, field
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chittyops_core.bridge.protocol import SYNC, VERSION, ChildState, Status
from chittyops_core.bridge.signatures import public_bytes, sign_request, thumbprint
from chittyops_core.parent import schema

__all__ = [
    "INTERVAL_S",
    "NAMES",
    "SET_ID",
    "Numbered",
    "SimulatedChild",
    "children",
    "http_request",
    "insert",
    "values",
]

INTERVAL_S = 300
SERVICES = ("court", "dossier", "apps", "archive")
NAMES = (
    *(f"cpu.{each}" for each in ("user", "system", "iowait", "load1", "load5")),
    *(f"memory.{each}" for each in ("used", "cached", "free", "swap")),
    *(f"disk.{each}" for each in ("used", "free", "inodes", "read", "written")),
    *(f"service.{slug}.{each}" for slug in SERVICES[:2] for each in ("up", "requests", "p95_ms")),
)
SET_ID = hashlib.sha256("".join(f"{name}\n" for name in NAMES).encode()).hexdigest()[:16]


@define(eq=False)
class SimulatedChild:
    """A child that has enrolled and keeps count of what it sent.

    Attributes:
        id: As the parent gave it.
        key: Its key.
        key_id: The key's thumbprint.
        stream: Id of its outbox.
        at: The time of its next sample, seconds since the epoch.
        n: Requests so far.
        now: Its gauges.
    """

    id: str
    key: Ed25519PrivateKey
    key_id: str
    stream: str
    at: int
    n: int = 0
    now: list[float] = field(factory=list)

    def sync(self, seq: int, *, packed: bool = True, close: bool = False) -> bytes:
        """Return its next request, signed, with one item of the number *seq*, as HTTP/1.1."""
        self.at += INTERVAL_S
        return self.sync_of([(seq, self.at)], packed=packed, close=close)

    def sync_of(
        self, samples: Sequence[tuple[int, int]], *, packed: bool = True, close: bool = False
    ) -> bytes:
        """Return its next request with samples of those numbers and times.

        It claims nothing about what came before, since that may have been prepared only.
        """
        self.n += 1
        body: dict[str, Any] = {
            "v": VERSION, "stream": self.stream, "n": self.n, "after": 0,
            "sdk": "chittyops-core/0.1.0", "caps": ["health", "inventory", "metrics", "events"],
            "state": {"health": health(self.n, samples[-1][1])},
            "items": [
                [seq, "metrics", {"set": SET_ID, "at": at, "v": values(self.now)}]
                for seq, at in samples
            ],
        }  # fmt: skip
        body["digests"] = {name: digest(value) for name, value in body["state"].items()}
        if self.n == 1:
            body["sets"] = {SET_ID: NAMES}
        return self.request(json.dumps(body, separators=(",", ":")).encode(), packed, close)

    def request(self, body: bytes, packed: bool, close: bool) -> bytes:
        sent = gzip.compress(body, 6, mtime=0) if packed else body
        headers = {"Content-Type": "application/json"}
        if packed:
            headers["Content-Encoding"] = "gzip"
        headers |= sign_request(
            self.key, self.key_id, "POST", SYNC, sent, "application/json", int(time.time())
        )
        return http_request(SYNC, sent, headers, close)


def http_request(path: str, body: bytes, headers: dict[str, str], close: bool) -> bytes:
    """Return a POST as it goes over the wire."""
    lines = [
        f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]  # fmt: skip
    if close:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode() + body


def values(now: list[float]) -> list[float]:
    """Return twenty gauges after those of before: counters, walks and constants, as hosts have."""
    if not now:
        now[:] = [round(random.uniform(0, 100), 2) for _ in NAMES]
    for place in range(len(now)):
        if place % 3 == 0:
            now[place] = round(now[place] + random.gauss(0, 1), 2)
        elif place % 3 == 1:
            now[place] += random.randrange(100)
    return list(now)


def health(turn: int, at: int) -> dict[str, Any]:
    """Return the section `health`: four services, one of which degrades now and then."""
    worst = Status.DEGRADED if turn % 20 == 0 else Status.OPERATIONAL
    why = "p95 of /filings is 912 ms, expected below 500 ms" if turn % 20 == 0 else ""
    services = {
        slug: {"status": Status.OPERATIONAL, "why": "", "since": at - 86_400} for slug in SERVICES
    }
    services[SERVICES[0]] = {"status": worst, "why": why, "since": at - turn % 20 * INTERVAL_S}
    return {"status": worst, "services": services}


def digest(value: object) -> str:
    text = json.dumps(value, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def children(count: int, history_s: int = 0) -> list[SimulatedChild]:
    """Make *count* children, whose first sample is *history_s* old."""
    began = int(time.time()) - history_s
    made = []
    for number in range(count):
        key = Ed25519PrivateKey.generate()
        key_id = thumbprint(public_bytes(key))
        made.append(SimulatedChild(f"ch_{number:026d}", key, key_id, str(uuid.uuid4()), began))
    return made


def insert(url: str, fleet: Sequence[SimulatedChild]) -> None:
    """Write children into a parent's database as if they had enrolled and synced once."""
    engine = sa.create_engine(url)
    now = time.time()
    with engine.begin() as connection:
        for part in _parts(fleet, 5_000):
            connection.execute(sa.insert(schema.child), [
                {"id": each.id, "name": f"host-{each.id[-8:]}", "kind": "",
                 "state": ChildState.ACCEPTED, "labels": "{}", "facts": "{}", "enrolled_at": now,
                 "decided_at": now, "decided_by": "bench"} for each in part
            ])  # fmt: skip
            connection.execute(sa.insert(schema.child_key), [
                {"thumbprint": each.key_id, "child": each.id, "public_key": public_bytes(each.key),
                 "state": "current", "created_at": now} for each in part
            ])  # fmt: skip
            connection.execute(
                sa.insert(schema.child_state),
                [{"child": each.id, "stream": each.stream} for each in part],
            )
            connection.execute(sa.insert(schema.stream), [
                {"child": each.id, "id": each.stream, "acked": 0, "first_at": now,
                 "first_created": int(now)} for each in part
            ])  # fmt: skip
        connection.execute(sa.insert(schema.tally), [
            {"state": ChildState.ACCEPTED, "kind": "", "status": Status.UNKNOWN,
             "is_overdue": False, "count": len(fleet)}
        ])  # fmt: skip
    engine.dispose()


def _parts(fleet: Sequence[SimulatedChild], size: int) -> Iterator[Sequence[SimulatedChild]]:
    for start in range(0, len(fleet), size):
        yield fleet[start : start + size]


@define(eq=False)
class Numbered:
    """A fleet whose children take turns; every item of the whole fleet has a number of its own.

    So what an answer acknowledges tells which request it answered.

    Attributes:
        children: Who takes turns.
        sent: Number of an item -> its child and its sample's time.
    """

    children: Sequence[SimulatedChild]
    sent: dict[int, tuple[str, int]] = field(factory=dict, repr=False)

    def requests(self, count: int, *, packed: bool = True, close: bool = False) -> Iterator[bytes]:
        """Yield the next *count* requests, signed as they are asked for."""
        for _ in range(count):
            number = len(self.sent) + 1
            child = self.children[number % len(self.children)]
            request = child.sync(number, packed=packed, close=close)
            self.sent[number] = (child.id, child.at)
            yield request
