"""A parent that is served on a port of this machine, with a fleet to look at."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import sqlalchemy as sa
from attrs import frozen
from granian.server.embed import Server

from chittyops_core.parent import enrolment, inventory, samples, tally, terms
from chittyops_core.parent.access import Role
from chittyops_core.parent.app import Parent, create_app
from chittyops_core.parent.database import Database
from chittyops_core.parent.operators import accounts, sessions
from chittyops_core.parent.schema import (
    child,
    child_key,
    child_section,
    child_state,
    event,
    metric_set,
)
from parent.fleet_data import child_id, fill, make_tables

__all__ = ["HOSTILE", "HOSTILE_CHILD", "Site", "put_hostile_child", "site"]

HOSTILE = "<script>hacked=1</script>'\"&{{7*7}}\u202egnp.exe\u2066" + "W" * 200
"""Markup, a template, marks that turn the reading direction, and no place to break a line."""

HOSTILE_CHILD = "ch_hostile"


@frozen(eq=False)
class Site:
    """A parent that answers.

    Attributes:
        url: Where.
        parent: The same in this process.
        cookies: Secrets of sessions, by role.
    """

    url: str
    parent: Parent
    cookies: dict[str, str]

    def cookie(self, role: Role = Role.ADMIN) -> dict[str, str]:
        """Return the cookie of an operator with *role*, as Playwright takes it."""
        return {"name": "chittyops", "value": self.cookies[role], "url": self.url}


@contextmanager
def site(folder: Path, children: int = 0, sampled: int = 0) -> Iterator[Site]:
    """Serve a parent with *children*, and with an operator of each role who is signed in."""
    url = f"sqlite:///{folder / 'parent.db'}"
    make_tables(url)
    database = Database(url)
    database.start()
    parent = Parent(folder, database, name="Cook County")
    now = time.time()
    if children:
        database.write(lambda writer: fill(writer, children, now=now, sampled=sampled))
        database.write(lambda writer: put_hostile_child(writer, now))
        database.write(lambda writer: _put_keys(writer, children, now))
    cookies = {role.value: database.write(lambda w, r=role: _signed_in(w, r, now)) for role in Role}
    with _served(parent) as address:
        yield Site(address, parent, cookies)
    database.close()


def put_hostile_child(writer: sa.Connection, now: float) -> None:
    """Add a child that says something hostile wherever it can say anything."""
    text, name = HOSTILE, HOSTILE[:200]
    writer.execute(
        child.insert().values(
            id=HOSTILE_CHILD, name=name, kind="", state="accepted", enrolled_at=now - 9e4,
            labels=json.dumps({text: text}), decided_at=now, decided_by=name, reason=text,
            facts=json.dumps({"hostname": text, "os": text}),
        )
    )  # fmt: skip
    writer.execute(
        child_state.insert().values(
            child=HOSTILE_CHILD, last_seen=now, status=HOSTILE[:24], status_since=now, sdk=name,
            caps=json.dumps([text, "health"]), lag=2**40, skew_s=-1e9, next_s=300,
        )
    )  # fmt: skip
    said = {
        "health": {"status": text, "services": {text[:200]: {"status": text, "why": text}}},
        "inventory": {"host": {"os": text, "cpus": text, "memory_bytes": 1e300}},
        "bridge": {"dropped": {text: 10**18}},
    }
    for section, body in said.items():
        writer.execute(
            child_section.insert().values(
                child=HOSTILE_CHILD, section=section, digest="0" * 16, body=json.dumps(body), at=now
            )
        )
    body = {text: text, "at": now, "type": text, "nested": {text: text}}
    writer.execute(
        event.insert().values(
            child=HOSTILE_CHILD, stream="s", seq=1, kind=text[:64], type=name, service=name,
            at=now, received_at=now, body=json.dumps(body),
        )
    )  # fmt: skip
    service = {
        "app": text, "environment": text, "client": text, "kind": text, "release": text,
        "commit": text, "lite": text, "address": f"javascript:{text}", "since": now - 3600,
    }  # fmt: skip
    inventory.keep(writer, HOSTILE_CHILD, {"services": {name: service}}, now)
    for kind, names in {"bad": [name, name[:-1]], "odd": ["a.percent"]}.items():
        _put_set(writer, kind, names)
        samples.put(
            writer,
            [
                (HOSTILE_CHILD, now - 300 * back, kind, [value] * len(names))
                for back, value in enumerate([1e38, -1e38, 0.0, None, 1e-40])
            ],
        )
    terms.refresh(writer, HOSTILE_CHILD)
    tally.settle(writer, [HOSTILE_CHILD])
    enrolment.make_token(
        writer, name=name, labels={"a": text}, auto_accept=True, uses=5, ttl_s=3600, by=name,
        now=now, parent_thumbprint="x",
    )  # fmt: skip


def _put_set(writer: sa.Connection, set_id: str, names: list[str]) -> None:
    writer.execute(metric_set.insert().values(id=set_id, names=json.dumps(names)))


def _put_keys(writer: sa.Connection, children: int, now: float) -> None:
    writer.execute(
        child_key.insert(),
        [
            {"thumbprint": f"{n:043d}", "child": child_id(n), "public_key": b"", "state": "current",
             "created_at": now} for n in range(children)
        ],
    )  # fmt: skip


def _signed_in(writer: sa.Connection, role: Role, now: float) -> str:
    made = accounts.add(writer, name=role.value, role=role, now=now)
    return sessions.begin(writer, made.id, address="127.0.0.1", agent="a test", now=now)


@contextmanager
def _served(parent: Parent) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Server(
        create_app(parent), port=port, interface="asgi", log_enabled=False, backlog=1024
    )
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=lambda: loop.run_until_complete(server.serve()))
    thread.start()
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{url}/login")
        yield url
    finally:
        parent.live.close()
        loop.call_soon_threadsafe(server.stop)
        thread.join()
        loop.close()


def _wait_for(url: str) -> None:
    for _ in range(200):
        try:
            with urlopen(url) as answer:
                answer.read()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"nothing answers at {url}")
