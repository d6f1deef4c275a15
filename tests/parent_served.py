"""A parent that serves in this process, and children that speak to it byte by byte."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from attrs import frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from granian.constants import Interfaces
from granian.server.embed import Server

from chittyops_core.bridge import signatures
from chittyops_core.bridge.protocol import ENROLMENTS, SYNC
from chittyops_core.parent import enrolment
from chittyops_core.parent.app import Parent, create_app
from chittyops_core.parent.database import Database
from conftest import free_port


class HandClock:
    """A clock that goes when it is told."""

    def __init__(self) -> None:
        self.at = time.time()

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.at, UTC)

    def monotonic(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


class ServedParent:
    """A parent on a loopback port; *clock* is the machine's unless another one is given."""

    def __init__(self, data: Path, database: Database, clock: HandClock | None = None) -> None:
        more: dict[str, Any] = {} if clock is None else {"clock": clock}
        self.parent = Parent(data, database, **more)
        self.database = database
        self.app = create_app(self.parent)
        self.port = free_port()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        deadline = time.monotonic() + 20
        while True:
            try:
                self.get("/healthz")
                return self
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._server.stop)
        self._thread.join(timeout=30)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = Server(
            self.app, port=self.port, interface=Interfaces.ASGI, websockets=False,
            log_enabled=False,
        )  # fmt: skip
        await self._server.serve()

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        """Ask without a signature."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path, headers=dict(headers or {}))
            return Reply.of(connection.getresponse())
        finally:
            connection.close()

    def token(self, **more: Any) -> str:
        """Make an enrolment token; return its secret part."""
        asked: dict[str, Any] = {
            "name": "tests", "labels": {}, "auto_accept": True, "uses": 1, "ttl_s": 3600,
            "by": "tests", "now": time.time(), "parent_thumbprint": self.parent.key.id, **more,
        }  # fmt: skip
        _, text = self.database.write(lambda found: enrolment.make_token(found, **asked))
        return text.split(".")[1]

    def child(self, **more: Any) -> RawChild:
        """Return a child that has enrolled by a token of its own."""
        child = RawChild(self)
        reply = child.enrol(self.token(**more))
        assert reply.status in (201, 202), reply
        return child

    def rows(self, statement: sa.Select[Any]) -> list[Any]:
        """Return what the database has."""
        with self.database.reading() as connection:
            return list(connection.execute(statement).all())


@frozen
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @classmethod
    def of(cls, response: http.client.HTTPResponse) -> Reply:
        headers = {name.lower(): value for name, value in response.getheaders()}
        return cls(response.status, headers, response.read())

    @property
    def value(self) -> Any:
        return json.loads(self.raw)

    @property
    def problem(self) -> str:
        """Name of the problem that was told."""
        assert self.headers["content-type"] == "application/problem+json", self
        assert self.value["status"] == self.status
        return str(self.value["type"]).removeprefix("urn:chittyops:problem:")


class RawChild:
    """A child that signs what it is told to, and proves every answer."""

    def __init__(self, served: ServedParent, key: Ed25519PrivateKey | None = None) -> None:
        self.served = served
        self.use(key or Ed25519PrivateKey.generate())
        self.stream = str(uuid.uuid4())
        self.n = 0
        self.id = ""
        self._connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)

    def use(self, key: Ed25519PrivateKey) -> None:
        """Sign with *key* from now on."""
        self.key = key
        self.key_id = signatures.thumbprint(signatures.public_bytes(key))

    @property
    def public_key(self) -> str:
        return signatures.encode(signatures.public_bytes(self.key))

    def enrol(self, secret: str, **more: Any) -> Reply:
        """Enrol by a token's secret."""
        asked = {"v": 1, "token": secret, "public_key": self.public_key, "name": "Host 1", **more}
        reply = self.post(ENROLMENTS, asked)
        if reply.status in (201, 202):
            self.id = reply.value["child"]
        return reply

    def sync(self, path: str = SYNC, *, created: float | None = None, **more: Any) -> Reply:
        """Send a sync of the present stream, numbered one higher than the last one."""
        self.n = more.get("n", self.n + 1)
        asked = {"v": 1, "stream": self.stream, "n": self.n, "after": 0, **more}
        return self.post(path, asked, created=created)

    def post(self, target: str, value: Any, *, created: float | None = None) -> Reply:
        """Send *value* in JSON."""
        return self.send("POST", target, json.dumps(value).encode(), created=created)

    def get(self, target: str) -> Reply:
        """Ask without a body."""
        return self.send("GET", target, b"", content_type="")

    def send(
        self, method: str, target: str, body: bytes, *, content_type: str = "application/json",
        created: float | None = None, headers: Mapping[str, str] | None = None,
        sent: bytes | None = None,
    ) -> Reply:  # fmt: skip
        """Sign and send; *headers* replace those that were signed, *sent* the body."""
        at = int(time.time() if created is None else created)
        signed = signatures.sign_request(
            self.key, self.key_id, method, target, body, content_type, at
        )
        if content_type:
            signed["Content-Type"] = content_type
        return self.deliver(
            method, target, body if sent is None else sent, signed | dict(headers or {})
        )

    def deliver(self, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send what was signed, and prove the answer."""
        self._connection.request(method, target, body, dict(headers))
        reply = Reply.of(self._connection.getresponse())
        asked = signatures.signature_of({name.lower(): text for name, text in headers.items()})
        if asked is not None:
            key = self.served.parent.key
            signatures.verify_response(
                key.private.public_key(), key.id, reply.status, reply.raw, reply.headers, asked
            )
        return reply
