"""A parent that stands in for the real one, in memory, with a network that misbehaves on request.

The real parent has tests of its own and is slower to start; what is tested here is the child, and
what it must survive no real parent does on request.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from attrs import define, field
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chittyops_core.bridge import signatures
from chittyops_core.errors import SignatureError

Body = dict[str, Any]
Reply = tuple[int, Body]


@define
class Stream:
    """What a parent has of a child's stream."""

    acked: int = 0
    n: int = 0
    created: int = 0
    signature: bytes = b""
    is_superseded: bool = False
    items: list[tuple[int, str, Any]] = field(factory=list)


class ParentDouble:
    """Listens on a port of this machine until it is closed.

    Attributes:
        syncs: Bodies of all syncs whose signature was good, in order, duplicates too.
        fault: Called with each request's path; names what the network does to it: "" nothing,
            `lost` the request does not arrive, `unanswered` its answer does not, `twice` it
            arrives twice, `late` also once more after the next, `cut` half an answer, `forged`
            signed by another key, `altered` another body under the parent's signature.
        refuse: Called with a sync; returns (status, problem, more) instead of taking it, or None.
        state: Where the child stands.
        next_s: What it answers.
        extra: Laid over each answer to a sync.
        retry_after: Sent with each refusal, when it is not "".
        clock_s: How far its clock is ahead of this machine's.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.id = signatures.thumbprint(signatures.public_bytes(self.key))
        self.secret = signatures.encode(secrets.token_bytes(32))
        self.uses = 1
        self.children: dict[str, bytes] = {}  # thumbprint -> public key
        self.child = "ch_1"
        self.state = "accepted"
        self.streams: dict[str, Stream] = {}
        self.current = ""
        self.syncs: list[Body] = []
        self.requests: list[tuple[float, str]] = []
        self.sections: dict[str, Any] = {}
        self.names: dict[str, list[str]] = {}
        self.next_s = 0.2
        self.extra: Body = {}
        self.retry_after = ""
        self.clock_s = 0.0
        self.fault: Callable[[str], str] = lambda _: ""
        self.refuse: Callable[[Body], tuple[int, str, Body] | None] = lambda _: None
        self.change: Callable[[int, dict[str, str], bytes], tuple[int, dict[str, str], bytes]] = (
            lambda status, headers, body: (status, headers, body)
        )
        self._late: tuple[str, str, bytes, dict[str, str]] | None = None
        self._turn = threading.RLock()
        parent = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                with suppress(OSError):  # The child was killed meanwhile.
                    answer = parent._through_network(self.command, self.path, body, headers)
                    if answer is None:
                        self.close_connection = True
                        self.connection.close()
                        return
                    status, given, raw = answer
                    self.send_response(status)
                    for name, value in given.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(raw)
                    self.close_connection = True

            do_GET = do_POST

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        return f"chittyops1.{self.secret}.{self.id}"

    @property
    def items(self) -> list[tuple[int, str, Any]]:
        """All items of all streams, as they were stored."""
        return [item for stream in self.streams.values() for item in stream.items]

    @property
    def events(self) -> list[Any]:
        """The bodies of all items that are no metrics."""
        return [body for _, kind, body in self.items if kind != "metrics"]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    # --- the network ---

    def _through_network(
        self, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes] | None:
        with self._turn:
            fault = self.fault(path)
            if fault == "lost":
                return None
            late, self._late = self._late, None
            answer = self._answer(method, path, body, headers)
            if late is not None:
                self._answer(*late)
            if fault == "twice":
                answer = self._answer(method, path, body, headers)
            if fault == "late":
                self._late = (method, path, body, headers)
            if fault == "unanswered":
                return None
            status, given, raw = self.change(*answer)
            if fault == "cut":
                return status, {**given, "Content-Length": str(len(raw))}, raw[: len(raw) // 2]
            if fault == "forged":
                other = Ed25519PrivateKey.generate()
                ours = signatures.signature_of(headers) or bytes(64)
                given = given | signatures.sign_response(
                    other, self.id, status, raw, "application/json", int(time.time()), ours
                )
            if fault == "altered":
                raw = raw.replace(b'"acked":', b'"acked":99')
            return status, {**given, "Content-Length": str(len(raw))}, raw

    def _answer(
        self, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        now = time.time() + self.clock_s
        self.requests.append((time.monotonic(), path))
        signature = signatures.signature_of(headers)
        more: dict[str, str] = {}
        try:
            status, said = self._handle(method, path, body, headers, now)
        except SignatureError as error:
            problem = "unknown-key" if "unknown" in error.message else "signature"
            status, said = _problem(401, problem, now)
        kind = "application/json" if status < 300 else "application/problem+json"
        if status >= 300 and self.retry_after:
            more["Retry-After"] = self.retry_after
        raw = json.dumps(said, separators=(",", ":")).encode()
        if "gzip" in headers.get("accept-encoding", ""):
            raw, more["Content-Encoding"] = gzip.compress(raw), "gzip"
        signed = signatures.sign_response(
            self.key, self.id, status, raw, kind, int(now), signature or bytes(64)
        )
        return status, {"Content-Type": kind, **signed, **more}, raw

    # --- the protocol ---

    def _handle(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], now: float
    ) -> Reply:
        encoded = headers.get("content-encoding") == "gzip"
        said = json.loads(gzip.decompress(body) if encoded else body) if body else {}
        keys = {
            each: signatures.load_public_key(raw) for each, raw in self.children.items()
        }  # fmt: skip
        if path == "/v1/enrolments":
            raw = signatures.decode(said["public_key"])
            keys[signatures.thumbprint(raw)] = signatures.load_public_key(raw)
        signed = signatures.verify_request(keys, method, path, body, headers)
        if abs(signed.created - now) > 300:
            return _problem(401, "clock-skew", now)
        if path == "/v1/enrolments":
            return self._enrol(said, signed.key_id, now)
        if path == f"/v1/enrolments/{self.child}":
            return 200, self._enrolled(now)
        if path == "/v1/keys/rotate":
            raw = signatures.decode(said["public_key"])
            new = signatures.thumbprint(raw)
            signatures.load_public_key(raw).verify(
                signatures.decode(said["proof"]), signatures.rotation_text(signed.key_id, new)
            )
            self.children[new] = raw
            return 200, {"time": now}
        if path == "/v1/leave":
            self.state = "left"
            return 200, {"time": now}
        if path == "/v1/sync":
            return self._sync(said, signed, now)
        return _problem(404, "not-found", now)

    def _enrol(self, said: Body, key_id: str, now: float) -> Reply:
        if key_id not in self.children:
            if said["token"] != self.secret or not self.uses:
                return _problem(403, "enrolment-token", now)
            self.uses -= 1
            self.children[key_id] = signatures.decode(said["public_key"])
        return (201 if self.state == "accepted" else 202), self._enrolled(now)

    def _enrolled(self, now: float) -> Body:
        return {
            "child": self.child, "state": self.state, "parent": "the double",
            "next_s": self.next_s, "time": now, "from_a_newer_parent": [1],
        }  # fmt: skip

    def _sync(self, said: Body, signed: signatures.Signed, now: float) -> Reply:
        self.syncs.append(said)
        if self.state != "accepted":
            return _problem(403, "revoked" if self.state == "revoked" else "not-accepted", now)
        if refused := self.refuse(said):
            status, problem, more = refused
            return _problem(status, problem, now, **more)
        name = said["stream"]
        stream = self.streams.get(name)
        if stream is None:
            if said["gone"] < said["after"]:
                return _problem(409, "sequence-gap", now, acked=0)
            stream = self.streams[name] = Stream(said["after"])
            if self.current:
                self.streams[self.current].is_superseded = True
            self.current = name
        elif signed.signature != stream.signature:
            if said["n"] <= stream.n and signed.created > stream.created:
                return _problem(409, "stream-conflict", now)
            if said["after"] > max(stream.acked, said["gone"]):
                return _problem(409, "sequence-gap", now, acked=stream.acked)
        new = [item for item in said["items"] if item[0] > stream.acked]
        stream.items += [(seq, kind, body) for seq, kind, body in new]
        stream.acked = max([stream.acked, *(seq for seq, _, _ in new)])
        if said["n"] > stream.n:
            stream.n, stream.created, stream.signature = (
                said["n"], signed.created, signed.signature,
            )  # fmt: skip
            self.sections |= said["state"]
        self.names |= said["sets"]
        for set_id, names in said["sets"].items():
            text = "".join(f"{each}\n" for each in names)
            assert set_id == hashlib.sha256(text.encode()).hexdigest()[:16]
        return 200, {"acked": stream.acked, "next_s": self.next_s, "time": now, **self.extra}


def _problem(status: int, name: str, now: float, **more: Any) -> Reply:
    return status, {
        "type": f"urn:chittyops:problem:{name}", "title": name, "status": status,
        "detail": f"{name}, says the double", "time": now, **more,
    }  # fmt: skip
