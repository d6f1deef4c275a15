"""The endpoints that children speak to, and those that watch the parent itself.

A request is read up to its limit, proven, expanded, decoded and judged, in that order. Whatever
comes of it is signed (docs/protocol.md section 3.3).
"""

from __future__ import annotations

import asyncio
import gzip
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa
from attrs import frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse

from chittyops_core._kit.logs import get_logger
from chittyops_core.bridge import signatures
from chittyops_core.bridge.protocol import (
    ENROLMENTS,
    HEALTH,
    KEYS,
    LEAVE,
    MAX_BYTES,
    METRICS,
    SYNC,
    Answer,
    ChildState,
    Enrolled,
    Enrolment,
    KeyRotation,
    Leave,
    ProblemType,
    Sync,
)
from chittyops_core.errors import ParentError, SignatureError
from chittyops_core.monitor.exposition import Family, Sample, render
from chittyops_core.parent import enrolment
from chittyops_core.parent.addresses import client_address
from chittyops_core.parent.enrolment import Standing
from chittyops_core.parent.ingest import Ingest, Outcome, Received
from chittyops_core.parent.limits import Attempts
from chittyops_core.parent.pace import Pace
from chittyops_core.parent.problems import MEDIA_TYPE, ProblemError, document
from chittyops_core.parent.reader import expand, read, read_sync
from chittyops_core.parent.schema import child_key, tally
from chittyops_core.parent.wire_docs import described

if TYPE_CHECKING:
    from chittyops_core.parent.app import Parent

__all__ = ["Wire", "handlers", "refuse"]

JSON = "application/json"

MAX_SENT = MAX_BYTES + 64 * 1024
"""Bytes of a body as sent; what cannot be compressed grows a little by it."""

MAX_DRAINED = 8 * MAX_BYTES
"""Bytes of a body that is too large that are still read."""

MAX_ENROLMENT = 64 * 1024
"""Bytes of an enrolment, which nobody has vouched for."""

BODY_S = 30.0
"""How long a body may take to come."""

MIN_GZIP = 512
"""Bytes from which on an answer is worth compressing."""

BUSY_S = 5
"""`Retry-After` where the writer has too much to do or the database is away."""

MAX_KEYS = 200_000
"""Keys that are remembered. A key and whose it is never change; what may is read with each sync."""

READY_S = 5.0
"""How long the database may take to say that it is there."""

FAILED_BY_ADDRESS = 20
FAILED_IN_TOTAL = 300
"""Enrolments that may fail in a minute."""

_LOG = get_logger("chittyops.parent.wire")


@frozen
class _Signer:
    """Who signed a request.

    Attributes:
        child: Its id; "" for a key that is not known yet.
        key: Thumbprint.
        signed: What was proven.
    """

    child: str
    key: str
    signed: signatures.Signed


@frozen
class _Sealed:
    """An answer as it is sent, signed where the request was."""

    status: int
    body: bytes
    media_type: str
    headers: dict[str, str]


Told = tuple[int, Any]
"""Status and body of an answer."""


class Wire:
    """The parent's end of the wire: what its handlers share.

    Args:
        parent: Whose it is.
    """

    def __init__(self, parent: Parent) -> None:
        self.parent = parent
        self.pace = Pace(parent.database)
        self.counts: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.attempts = Attempts(FAILED_BY_ADDRESS, FAILED_IN_TOTAL)
        self._keys: dict[str, tuple[str, Ed25519PublicKey]] = {}
        self._ingest = parent.database.group(Ingest(self.now, self.pace.next_s, self._committed))

    def now(self) -> float:
        """Return seconds since the epoch by the parent's clock."""
        return self.parent.clock.now().timestamp()

    # --- in and out ---

    async def answer(
        self, request: Request[Any, Any, Any], handle: Callable[[bytes], Awaitable[Told]],
        limit: int = MAX_SENT,
    ) -> ASGIResponse:  # fmt: skip
        """Read a request, let *handle* answer, and sign that, whatever it is."""
        try:
            status, value = await handle(await _body(request, limit))
        except ProblemError as problem:
            return self.refused_with(request, problem)
        except ParentError as error:
            return self.refused_with(request, _busy(error))
        sent = self._sealed(request, status, msgspec.json.encode(value), JSON, {})
        return _response(sent)

    def refused_with(self, request: Request[Any, Any, Any], problem: ProblemError) -> ASGIResponse:
        """Return the answer that tells *problem*."""
        return _response(self.problem(request, problem))

    def problem(self, request: Request[Any, Any, Any], problem: ProblemError) -> _Sealed:
        """Count *problem* and put it into words, signed where the request was."""
        self.refused[problem.kind.value] += 1
        body = document(problem, self.now())
        return self._sealed(request, problem.status, body, MEDIA_TYPE, problem.headers)

    def _sealed(
        self, request: Request[Any, Any, Any], status: int, body: bytes, media_type: str,
        headers: Mapping[str, str],
    ) -> _Sealed:  # fmt: skip
        told = dict(headers)
        if len(body) >= MIN_GZIP and "gzip" in request.headers.get("accept-encoding", ""):
            body = gzip.compress(body, 6, mtime=0)
            told["Content-Encoding"] = "gzip"
        asked = signatures.signature_of(request.headers)
        if asked is not None:
            told |= self.parent.key.sign(status, body, media_type, int(self.now()), asked)
        return _Sealed(status, body, media_type, told)

    # --- who speaks ---

    async def prove(self, request: Request[Any, Any, Any], body: bytes) -> _Signer:
        """Return who signed *request*. Raises ProblemError."""
        headers = _headers(request)
        key = signatures.key_id_of(headers)
        if key is not None and key not in self._keys:
            await asyncio.to_thread(self._learn_key, key)
        keys = {} if key is None else {key: self._keys[key][1]} if key in self._keys else {}
        signed = self._verified(keys, request, body, headers)
        return _Signer(self._keys[signed.key_id][0], signed.key_id, signed)

    def prove_new(self, request: Request[Any, Any, Any], body: bytes, raw: bytes) -> _Signer:
        """Return the signer of an enrolment that brings its key itself. Raises ProblemError."""
        key = signatures.load_public_key(raw)
        signed = self._verified({signatures.thumbprint(raw): key}, request, body, _headers(request))
        return _Signer("", signed.key_id, signed)

    def _verified(
        self, keys: Mapping[str, Ed25519PublicKey], request: Request[Any, Any, Any], body: bytes,
        headers: Mapping[str, str],
    ) -> signatures.Signed:  # fmt: skip
        try:
            signed = signatures.verify_request(
                keys, request.method, _target(request), body, headers
            )
        except SignatureError as error:
            kind = ProblemType.UNKNOWN_KEY if "key" in error.facts else ProblemType.UNSIGNED
            raise ProblemError(kind, str(error)) from error
        if abs(signed.created - self.now()) > signatures.WINDOW_S:
            raise ProblemError(
                ProblemType.SKEW, f"It may be {signatures.WINDOW_S:.0f} seconds from `time`."
            )
        return signed

    def _learn_key(self, key: str) -> None:
        with self.parent.database.reading() as connection:
            found = connection.execute(
                sa.select(child_key.c.child, child_key.c.public_key).where(
                    child_key.c.thumbprint == key, child_key.c.state != "retired"
                )
            ).first()
        if found is not None:
            if len(self._keys) >= MAX_KEYS:
                self._keys.clear()
            self._keys[key] = (found.child, signatures.load_public_key(found.public_key))

    # --- endpoints ---

    async def sync(self, request: Request[Any, Any, Any]) -> ASGIResponse:
        async def handle(body: bytes) -> Told:
            signer = await self.prove(request, body)
            sync = read_sync(_plain(request, body), request.scope["path"])
            received = Received(signer.key, signer.signed.created, signer.signed.signature, sync)
            outcome: Outcome = await self._ingest.ask(received)
            if outcome.problem is not None:
                raise outcome.problem
            return 200, outcome.answer

        return await self.answer(request, handle)

    async def enrol(self, request: Request[Any, Any, Any]) -> ASGIResponse:
        async def handle(body: bytes) -> Told:
            _require_signature(request)
            asked = read(Enrolment, _plain(request, body))
            try:
                raw = signatures.decode(asked.public_key)
                self.prove_new(request, body, raw)
            except SignatureError as error:
                raise ProblemError(ProblemType.MALFORMED, f"public_key: {error}") from error
            _require_short(asked)
            address, now = self._address(request), self.now()
            self.attempts.require_left(address, now)
            try:
                standing = await self._write(
                    lambda found: enrolment.enrol(found, asked, raw, now=now)
                )
            except ProblemError:
                self.attempts.failed(address, now)
                raise
            return _status(standing), self._enrolled(standing)

        return await self.answer(request, handle, MAX_ENROLMENT)

    async def standing(self, request: Request[Any, Any, Any], child: str) -> ASGIResponse:
        async def handle(body: bytes) -> Told:
            signer = await self.prove(request, body)
            standing = await asyncio.to_thread(self._standing, signer.key)
            if standing.child != child:
                raise ProblemError(ProblemType.NOT_FOUND, "A child may ask about itself only.")
            return 200, self._enrolled(standing)

        return await self.answer(request, handle)

    async def rotate(self, request: Request[Any, Any, Any]) -> ASGIResponse:
        async def handle(body: bytes) -> Told:
            signer = await self.prove(request, body)
            asked, now = read(KeyRotation, _plain(request, body)), self.now()
            standing = await self._write(
                lambda found: enrolment.rotate(found, asked, signer.child, signer.key, now=now)
            )
            return 200, self._enrolled(standing)

        return await self.answer(request, handle, MAX_ENROLMENT)

    async def leave(self, request: Request[Any, Any, Any]) -> ASGIResponse:
        async def handle(body: bytes) -> Told:
            signer = await self.prove(request, body)
            asked, now = read(Leave, _plain(request, body)), self.now()
            standing = await self._write(
                lambda found: enrolment.leave(found, signer.child, asked.reason, now=now)
            )
            return 200, self._enrolled(standing)

        return await self.answer(request, handle, MAX_ENROLMENT)

    def _standing(self, key: str) -> Standing:
        with self.parent.database.reading() as connection:
            return enrolment.standing(connection, key)

    async def _write(self, work: Callable[[sa.Connection], Standing]) -> Standing:
        return await asyncio.wrap_future(self.parent.database.submit(work))

    def _enrolled(self, standing: Standing) -> Enrolled:
        next_s = self.pace.next_s()
        return Enrolled(standing.child, standing.state, self.parent.name, next_s, self.now())

    def _address(self, request: Request[Any, Any, Any]) -> str:
        peer = request.scope["client"]
        forwarded = request.headers.get("x-forwarded-for", "")
        return client_address(peer[0] if peer else "", forwarded, self.parent.trusted)

    def _committed(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if outcome.answer is not None:
                self.counts["syncs"] += 1
                self.counts["items"] += outcome.items
                self.counts["duplicates"] += outcome.duplicates
        changes = [change for outcome in outcomes for change in outcome.changes]
        if changes:
            self.parent.live.publish(changes)

    # --- watching the parent ---

    def require_ready(self) -> None:
        """Raise ParentError unless the database can be read and written."""
        self.parent.database.submit(lambda found: found.execute(sa.select(1)).scalar()).result(
            READY_S
        )

    def families(self) -> list[Family]:
        """Return the parent's own metrics."""
        database = self.parent.database
        with database.reading() as connection:
            states = connection.execute(
                sa.select(tally.c.state, sa.func.sum(tally.c.count)).group_by(tally.c.state)
            ).all()
            overdue = connection.execute(
                sa.select(sa.func.sum(tally.c.count)).where(tally.c.is_overdue)
            ).scalar()
        refused = tuple(
            Sample(count, (("type", kind),)) for kind, count in sorted(self.refused.items())
        )
        children = tuple(Sample(float(count), (("state", state),)) for state, count in states)
        return [
            _counter("syncs", self.counts["syncs"], "Syncs that were taken."),
            _counter("items", self.counts["items"], "Items that were stored."),
            _counter("duplicates", self.counts["duplicates"], "Items that were there already."),
            Family("chittyops_parent_refused", "counter", refused, "Problems told, by type."),
            _gauge("queue_length", database.waiting, "Pieces of work that wait for the writer."),
            _counter("commits", database.commits, "Transactions of the writer."),
            Family(
                "chittyops_parent_commit_seconds", "counter", (Sample(database.commit_seconds),),
                "Time in the writer's transactions.", "seconds",
            ),
            Family("chittyops_parent_children", "gauge", children, "Children, by state."),
            _gauge("children_overdue", float(overdue or 0), "Children that are silent."),
        ]  # fmt: skip


def _counter(name: str, value: float, what: str) -> Family:
    return Family(f"chittyops_parent_{name}", "counter", (Sample(value),), what)


def _gauge(name: str, value: float, what: str) -> Family:
    return Family(f"chittyops_parent_{name}", "gauge", (Sample(value),), what)


def refuse(request: Request[Any, Any, Any], problem: ProblemError) -> Response[bytes]:
    """Return the answer that tells *problem*, signed where the request was."""
    sent = _wire(request).problem(request, problem)
    return Response(
        sent.body, status_code=sent.status, media_type=sent.media_type, headers=sent.headers
    )


def _response(sent: _Sealed) -> ASGIResponse:
    return ASGIResponse(
        body=sent.body, status_code=sent.status, media_type=sent.media_type, headers=sent.headers
    )


def _status(standing: Standing) -> int:
    return 202 if standing.state is ChildState.PENDING else 201


def _busy(error: ParentError) -> ProblemError:
    if error.facts.get("cause") not in ("busy", "closed"):
        _LOG.warning("parent.unavailable", why=str(error))
    # What is wrong with the database is for its operator, not for who asks.
    return ProblemError(ProblemType.BUSY, "Nothing was kept; send it again.", retry_after_s=BUSY_S)


def _plain(request: Request[Any, Any, Any], body: bytes) -> bytes:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise ProblemError(ProblemType.MALFORMED, f"Content-Type: {JSON} is expected")
    return expand(body, request.headers.get("content-encoding", "").strip().lower())


def _require_signature(request: Request[Any, Any, Any]) -> None:
    """Refuse what is not signed at all, before anything of it is read."""
    headers = _headers(request)
    if signatures.key_id_of(headers) is None or signatures.signature_of(headers) is None:
        raise ProblemError(ProblemType.UNSIGNED, "An enrolment is signed by the key it brings.")


def _require_short(asked: Enrolment) -> None:
    if len(asked.name) > 200 or len(asked.sdk) > 200 or len(asked.token) > 200:
        raise ProblemError(ProblemType.MALFORMED, "name, sdk, token: more than 200 characters")


def _headers(request: Request[Any, Any, Any]) -> dict[str, str]:
    """Return the headers as a signature sees them: those that came twice are joined."""
    found: dict[str, str] = {}
    for raw_name, raw_value in request.scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1").strip()
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _target(request: Request[Any, Any, Any]) -> str:
    scope = request.scope
    path = scope["raw_path"].decode("latin-1").partition("?")[0]
    query = scope["query_string"].decode("latin-1")
    return f"{path}?{query}"


async def _body(request: Request[Any, Any, Any], limit: int) -> bytes:
    """Return a body of up to *limit* bytes. Raises ProblemError.

    What is more is read and thrown away, up to `MAX_DRAINED`: who is still sending would not
    read the answer.
    """
    found = bytearray()
    count = 0
    try:
        async with asyncio.timeout(BODY_S):
            more = True
            while more and count <= MAX_DRAINED:
                message = await request.receive()
                if message["type"] != "http.request":
                    raise ProblemError(ProblemType.MALFORMED, "the body is cut short")
                count += len(message["body"])
                if count <= limit:
                    found += message["body"]
                more = message.get("more_body", False)
    except TimeoutError as error:
        raise ProblemError(
            ProblemType.MALFORMED, f"the body did not come within {BODY_S:.0f} seconds"
        ) from error
    if count > limit:
        raise ProblemError(ProblemType.TOO_LARGE, f"A body may have {limit} bytes as sent.")
    return bytes(found)


# --- routes ---

_SIGNED = (400, 401, 403, 409, 413, 503)


def handlers() -> list[HTTPRouteHandler]:
    """Return the handlers of all endpoints of the wire."""
    return [
        sync,
        sync_health,
        sync_metrics,
        enrol,
        standing,
        rotate,
        leave,
        healthz,
        readyz,
        metrics,
    ]


_sync = described(takes=Sync, answers={200: Answer}, refuses=_SIGNED)


@post(SYNC, operation_class=_sync, status_code=200, summary="Report and ask")
async def sync(request: Request[Any, Any, Any]) -> ASGIResponse:
    """Take what a child reports, and answer what is asked of it (section 7)."""
    return await _wire(request).sync(request)


@post(HEALTH, operation_class=_sync, status_code=200, summary="Report health")
async def sync_health(request: Request[Any, Any, Any]) -> ASGIResponse:
    """Take a sync that carries health only."""
    return await _wire(request).sync(request)


@post(METRICS, operation_class=_sync, status_code=200, summary="Report metrics")
async def sync_metrics(request: Request[Any, Any, Any]) -> ASGIResponse:
    """Take a sync that carries metrics only."""
    return await _wire(request).sync(request)


@post(
    ENROLMENTS,
    operation_class=described(
        takes=Enrolment, answers={201: Enrolled, 202: Enrolled},
        refuses=(400, 401, 403, 413, 429, 503),
    ),
    status_code=201, summary="Enrol",
)  # fmt: skip
async def enrol(request: Request[Any, Any, Any]) -> ASGIResponse:
    """Let a child in by a token (section 5.1)."""
    return await _wire(request).enrol(request)


@get(
    ENROLMENTS + "/{child:str}",
    operation_class=described(
        answers={200: Enrolled}, refuses=(400, 401, 404, 413, 503), child_in_path=True
    ),
    summary="Where a child stands",
)
async def standing(request: Request[Any, Any, Any]) -> ASGIResponse:
    """Tell a child where it stands (section 5.3)."""
    return await _wire(request).standing(request, request.path_params["child"])


@post(
    KEYS,
    operation_class=described(takes=KeyRotation, answers={200: Enrolled}, refuses=_SIGNED),
    status_code=200, summary="Rotate the key",
)  # fmt: skip
async def rotate(request: Request[Any, Any, Any]) -> ASGIResponse:
    """Take a child's new key (section 6)."""
    return await _wire(request).rotate(request)


@post(
    LEAVE,
    operation_class=described(takes=Leave, answers={200: Enrolled}, refuses=_SIGNED),
    status_code=200, summary="Leave",
)  # fmt: skip
async def leave(request: Request[Any, Any, Any]) -> ASGIResponse:
    """Let a child go (section 5.4)."""
    return await _wire(request).leave(request)


@get("/healthz", sync_to_thread=False, media_type="text/plain", summary="Whether it runs")
def healthz() -> str:
    """Tell that the process answers."""
    return "ok\n"


_TEXT = described(answers={200: str}, refuses=(503,), is_signed=False)


@get("/readyz", operation_class=_TEXT, summary="Whether it can work")
async def readyz(request: Request[Any, Any, Any]) -> ASGIResponse:
    """Tell whether the database can be read and written."""
    wire = _wire(request)
    try:
        await asyncio.to_thread(wire.require_ready)
    except ParentError as error:
        return wire.refused_with(request, _busy(error))
    return ASGIResponse(body=b"ok\n", media_type="text/plain")


@get("/metrics", operation_class=_TEXT, summary="Metrics of the parent itself")
async def metrics(request: Request[Any, Any, Any]) -> ASGIResponse:
    """Return the parent's own metrics for Prometheus."""
    wire = _wire(request)
    try:
        families = await asyncio.to_thread(wire.families)
    except ParentError as error:
        return wire.refused_with(request, _busy(error))
    media_type, body = render(families, request.headers.get("accept", ""))
    # As a header: Litestar adds a second charset to a media type that is text.
    return ASGIResponse(body=body, headers={"Content-Type": media_type})


def _wire(request: Request[Any, Any, Any]) -> Wire:
    wire: Wire = request.app.state.wire
    return wire
