"""What children say, judged and kept: section 7 of docs/protocol.md.

Many syncs are one piece of work: their children are read by one statement, judged in memory one
after the other, and written by one statement for each table.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from attrs import define, field, frozen

from chittyops_core.bridge.protocol import (
    Answer,
    ChildState,
    ItemKind,
    ProblemType,
    Section,
    Status,
    Sync,
)
from chittyops_core.parent import bulk, enrolment, inventory, samples
from chittyops_core.parent.live import Change
from chittyops_core.parent.problems import ProblemError
from chittyops_core.parent.reader import is_time, text_of
from chittyops_core.parent.records import event_row
from chittyops_core.parent.schema import child_section, child_state, event, metric_set, stream
from chittyops_core.parent.tally import settle

__all__ = ["Ingest", "Outcome", "Received", "grace_s"]

MIN_GRACE_S = 15.0
"""How much later than asked a sync may come at least (section 10)."""

KNOWN_REQUESTS = 8
"""Of each child: by which a request that came before is known again, and one of a clone told."""

_MARK_BYTES = 8
_REQUEST = f">q{_MARK_BYTES}s"

MAX_SKEW_S = 1e9
MAX_LAG = 1 << 53

_STATUSES = frozenset(status.value for status in Status)


def grace_s(next_s: float) -> float:
    """Return how late a sync may be before its child is overdue (section 10)."""
    return max(MIN_GRACE_S, next_s / 10)


@frozen
class Received:
    """A sync whose signature is proven, and which is within all limits.

    Attributes:
        key: Thumbprint of the key that signed it.
        created: When, by the child's clock.
        signature: By which it is known again.
        sync: What it says.
    """

    key: str
    created: int
    signature: bytes
    sync: Sync


@frozen
class Outcome:
    """What came of a sync: an answer or a problem, and what to tell once it is on the disk.

    Attributes:
        answer: Where it was taken.
        problem: Where it was not.
        changes: For open pages.
        items: How many items were stored.
        duplicates: How many were there already.
    """

    answer: Answer | None = None
    problem: ProblemError | None = None
    changes: tuple[Change, ...] = ()
    items: int = 0
    duplicates: int = 0


@define
class _Child:
    """A child as its syncs find and leave it; one object a child and transaction."""

    id: str
    state: str
    stream: str | None
    n: int
    created: int
    signature: bytes | None
    acked: int
    first_seen: float | None
    last_seen: float | None
    deadline_at: float | None
    is_overdue: bool
    overdue_since: float | None
    status: str
    status_since: float | None
    next_s: float | None
    sdk: str
    caps: str
    skew_s: float
    lag: int
    digests: str
    is_changed: bool = False


_COLUMNS = (
    "stream", "n", "created", "signature", "acked", "first_seen", "last_seen", "deadline_at",
    "is_overdue", "overdue_since", "status", "status_since", "next_s", "sdk", "caps", "skew_s",
    "lag", "digests",
)  # fmt: skip
"""Of `child_state`, in the order of `_Child`."""

_LOAD = (
    "SELECT k.thumbprint, k.state, c.id, c.state, "
    + ", ".join(f"s.{name}" for name in _COLUMNS)
    + " FROM child_key k JOIN child c ON c.id = k.child JOIN child_state s ON s.child = c.id "
    "WHERE k.thumbprint IN :values"
)
_EVENT = ("child", "stream", "seq", "kind", "type", "service", "at", "received_at", "body")
_SECTION = ("child", "section", "digest", "body", "at")


@define
class _Page:
    """What one transaction will write."""

    now: float
    events: list[bulk.Row] = field(factory=list)
    samples: list[samples.Row] = field(factory=list)
    sections: dict[tuple[str, str], bulk.Row] = field(factory=dict)
    inventories: dict[str, Any] = field(factory=dict)
    healths: dict[str, Any] = field(factory=dict)
    sets: dict[str, tuple[str, ...]] = field(factory=dict)
    moved: set[str] = field(factory=set)


class Ingest:
    """Takes syncs, many in one transaction: a `Batch` of the database.

    Args:
        now: Says the time.
        next_s: Says after how many seconds the next sync is wished.
        committed: Called with outcomes once they are on the disk.
    """

    def __init__(
        self, now: Callable[[], float], next_s: Callable[[], float],
        committed: Callable[[Sequence[Outcome]], None],
    ) -> None:  # fmt: skip
        self._now = now
        self._next_s = next_s
        self._committed = committed
        self._sets: set[str] = set()
        self._seen: set[str] = set()

    def run(self, connection: sa.Connection, items: Sequence[Received]) -> list[Outcome]:
        """Judge and keep all of *items*. See `Batch`."""
        page = _Page(self._now())
        next_s = self._next_s()
        self._seen = set()
        self._learn_sets(connection, items)
        keys, children = _load(connection, items)
        outcomes = []
        for received in items:
            try:
                answered = self._take(connection, page, keys, children, received, next_s)
            except ProblemError as problem:
                answered = Outcome(problem=problem)
            outcomes.append(answered)
        _write(connection, page, children.values())
        return outcomes

    def committed(self, items: Sequence[Received], results: Sequence[Any]) -> None:
        """Tell what is on the disk now. See `Batch`."""
        self._sets |= self._seen
        self._committed([each for each in results if isinstance(each, Outcome)])

    def _learn_sets(self, connection: sa.Connection, items: Sequence[Received]) -> None:
        """Find out which of the sets that come up here the database knows."""
        asked = {
            body["set"]
            for received in items
            for _, kind, body in received.sync.items
            if kind == ItemKind.METRICS.value
        }
        unknown = sorted(asked - self._sets)
        if unknown:
            rows = bulk.select_in(
                connection, "SELECT id FROM metric_set WHERE id IN :values", unknown
            )
            self._seen.update(row[0] for row in rows)

    def _take(
        self, connection: sa.Connection, page: _Page, keys: dict[str, tuple[str, str]],
        children: dict[str, _Child], received: Received, next_s: float,
    ) -> Outcome:  # fmt: skip
        key_state, identity = keys.get(received.key, ("retired", ""))
        if key_state == "retired":
            raise ProblemError(ProblemType.UNKNOWN_KEY, "This key was given up for another one.")
        child = children[identity]
        if key_state == "next":
            enrolment.take_into_use(connection, child.id, received.key, now=page.now)
            for key, (_, owner) in list(keys.items()):
                if owner == child.id:
                    keys[key] = ("current" if key == received.key else "retired", owner)
        require_accepted(child.state)
        late = _place(connection, page, child, received)
        if late is not None:
            return Outcome(Answer(late, child.next_s or next_s, page.now))
        return self._keep(page, child, received, next_s)

    def _keep(self, page: _Page, child: _Child, received: Received, next_s: float) -> Outcome:
        """Take what *received* brings; it is the next of its stream."""
        sync = received.sync
        _require_gapless(child, sync)
        if sync.gone > child.acked:
            facts = {"stream": sync.stream, "first": child.acked + 1, "last": sync.gone}
            page.events.append(_event(child.id, "child.items-gone", page.now, facts))
            child.acked = sync.gone
        fresh = [item for item in sync.items if item[0] > child.acked]
        told = _keep_state(page, child, sync)
        _keep_items(page, child, fresh)
        for name, names in sync.sets.items():
            if name not in self._sets:
                page.sets[name] = names
        self._seen |= sync.sets.keys()
        if child.is_overdue:
            facts = {"since": child.overdue_since}
            page.events.append(_event(child.id, "child.returned", page.now, facts))
            page.moved.add(child.id)
            told.add("status")
        _mark(child, received, page.now, next_s)
        if fresh:
            child.acked = fresh[-1][0]
            told |= {"metrics" if kind == "metrics" else "event" for _, kind, _ in fresh}
        answer = Answer(
            child.acked, next_s, page.now, _resend(child, sync), self._unknown_sets(fresh)
        )
        changes = tuple(Change(child.id, what) for what in sorted(told))
        return Outcome(
            answer, changes=changes, items=len(fresh), duplicates=len(sync.items) - len(fresh)
        )

    def _unknown_sets(self, items: Sequence[tuple[int, str, Any]]) -> tuple[str, ...]:
        asked = {body["set"] for _, kind, body in items if kind == "metrics"}
        return tuple(sorted(asked - self._sets - self._seen))


def require_accepted(state: str) -> None:
    """Raise ProblemError unless a child in *state* may speak (section 5.5)."""
    if state == ChildState.ACCEPTED:
        return
    if state == ChildState.REVOKED:
        raise ProblemError(ProblemType.REVOKED, "The parent's operator revoked this child.")
    if state == ChildState.CLONED:
        raise _cloned()
    raise ProblemError(ProblemType.NOT_ACCEPTED, f"The child is {state}.")


def _load(
    connection: sa.Connection, items: Sequence[Received]
) -> tuple[dict[str, tuple[str, str]], dict[str, _Child]]:
    """Return the keys (state and child's id) and the children of *items*."""
    keys: dict[str, tuple[str, str]] = {}
    children: dict[str, _Child] = {}
    wanted = sorted({received.key for received in items})
    for thumbprint, key_state, identity, *values in bulk.select_in(connection, _LOAD, wanted):
        keys[thumbprint] = (key_state, identity)
        if identity not in children:
            children[identity] = _Child(identity, *values)
    return keys, children


# --- order (7.1, 7.6, 7.7) ---


def _place(connection: sa.Connection, page: _Page, child: _Child, received: Received) -> int | None:
    """Let *child* be where *received* continues; return what to acknowledge if it comes late."""
    sync = received.sync
    if sync.stream != child.stream:
        return _change_stream(connection, page, child, received)
    if sync.n > child.n:
        return None
    known = _known_requests(child.signature).get(sync.n)
    is_other = known is not None and known != _mark_of(received)
    if not is_other and (known is not None or received.created <= child.created):
        return child.acked
    raise ProblemError(
        ProblemType.STREAM,
        f"Request {sync.n} of this stream came before: make a new stream for what is owed.",
    )


def _known_requests(kept: bytes | None) -> dict[int, bytes]:
    """Return number -> mark of the last requests of a child, as `child_state.signature` has them.

    A number is never given twice, so another request with a known one has another writer, also
    where both wrote in the same second.
    """
    return dict(struct.iter_unpack(_REQUEST, kept or b""))


def _with_request(kept: bytes | None, received: Received) -> bytes:
    """Return *kept* with one request more, the latest `KNOWN_REQUESTS` of them."""
    made = (kept or b"") + struct.pack(_REQUEST, received.sync.n, _mark_of(received))
    return made[-KNOWN_REQUESTS * struct.calcsize(_REQUEST) :]


def _mark_of(received: Received) -> bytes:
    return received.signature[:_MARK_BYTES]


def _change_stream(
    connection: sa.Connection, page: _Page, child: _Child, received: Received
) -> int | None:
    sync = received.sync
    known = connection.execute(
        sa.select(stream).where(stream.c.child == child.id)
    ).all()  # fmt: skip
    by_id = {row.id: row for row in known}
    found, current = by_id.get(sync.stream), by_id.get(child.stream)
    if found is not None:
        successor = _successor(found, known)
        if received.created > successor.first_created:
            _tell_clone(connection, page, child, received)
        return int(found.acked)
    if current is not None and received.created < current.first_created:
        return 0  # It is older than the present one; its own successor may have come already.
    if sync.after > sync.gone:
        raise _gap(0)
    if child.stream is not None:
        connection.execute(
            sa.update(stream)
            .where(stream.c.child == child.id, stream.c.id == child.stream)
            .values(acked=child.acked, superseded_at=page.now)
        )
    connection.execute(
        sa.insert(stream).values(
            child=child.id, id=sync.stream, acked=0, first_at=page.now,
            first_created=received.created,
        )
    )  # fmt: skip
    child.stream, child.n, child.acked, child.signature = sync.stream, 0, 0, None
    return None


def _successor(found: sa.Row[Any], known: Sequence[sa.Row[Any]]) -> sa.Row[Any]:
    """Return the stream that took the place of *found*: the first that began after its end."""
    later = [row for row in known if row.id != found.id and row.first_at >= found.superseded_at]
    return min(later, key=lambda row: row.first_at)


def _tell_clone(connection: sa.Connection, page: _Page, child: _Child, received: Received) -> None:
    """Take nothing more from *child*, and raise ProblemError: two machines have its key."""
    enrolment.set_state(
        connection, child.id, ChildState.CLONED, by="parent",
        reason="two machines spoke with its key", now=page.now,
    )  # fmt: skip
    facts = {"streams": [child.stream, received.sync.stream], "severity": "critical"}
    page.events.append(_event(child.id, "child.cloned", page.now, facts, kind="incident"))
    child.state, child.deadline_at = ChildState.CLONED.value, None
    child.is_overdue, child.overdue_since = False, None
    raise _cloned()


def _require_gapless(child: _Child, sync: Sync) -> None:
    if sync.after > child.acked and sync.gone < sync.after:
        raise _gap(child.acked)


def _gap(acked: int) -> ProblemError:
    return ProblemError(
        ProblemType.GAP, "Send what is after `acked`; `gone` says what there is no more.",
        acked=acked,
    )  # fmt: skip


def _cloned() -> ProblemError:
    return ProblemError(
        ProblemType.CLONED, "Two machines speak with this key: enrol one of them anew."
    )


# --- what a sync brings ---


def _mark(child: _Child, received: Received, now: float, next_s: float) -> None:
    """Note that *child* was heard, and by when it is to be heard again (section 10)."""
    sync = received.sync
    child.n, child.created = sync.n, received.created
    child.signature = _with_request(child.signature, received)
    child.first_seen = now if child.first_seen is None else child.first_seen
    child.last_seen, child.next_s = now, next_s
    child.deadline_at = now + next_s + grace_s(next_s)
    child.is_overdue, child.overdue_since = False, None
    child.sdk = sync.sdk
    child.caps = _json(sync.caps)
    child.is_changed = True


def _keep_state(page: _Page, child: _Child, sync: Sync) -> set[str]:
    """Keep the sections that came; return what changed, for open pages (section 7.2)."""
    if not sync.state:
        return set()
    have = msgspec.json.decode(child.digests)
    told = set()
    for section, value in sync.state.items():
        digest = sync.digests.get(section, "")
        if digest and have.get(section) == digest:
            continue
        have[section] = digest
        page.sections[child.id, section] = (child.id, section, digest, _json(value), page.now)
        told.add(section)
    child.digests = _json(have)
    if Section.HEALTH.value in told:
        page.healths[child.id] = sync.state[Section.HEALTH.value]
        told |= _keep_status(page, child, sync.state[Section.HEALTH.value])
    if Section.INVENTORY.value in told:
        page.inventories[child.id] = sync.state[Section.INVENTORY.value]
    if Section.BRIDGE.value in told:
        _keep_bridge(child, sync.state[Section.BRIDGE.value])
    return told


def _keep_status(page: _Page, child: _Child, health: Any) -> set[str]:
    status = text_of(health, "status")
    if status not in _STATUSES:
        status = Status.UNKNOWN.value
    if status == child.status:
        return set()
    facts = {"before": child.status, "status": status}
    page.events.append(_event(child.id, "child.status", page.now, facts))
    child.status, child.status_since = status, page.now
    page.moved.add(child.id)
    return {"status"}


def _keep_bridge(child: _Child, said: Any) -> None:
    if not isinstance(said, dict):
        return
    lag, skew = said.get("lag"), said.get("skew_s")
    child.lag = lag if type(lag) is int and 0 <= lag <= MAX_LAG else 0
    child.skew_s = 0.0
    if isinstance(skew, int | float) and abs(skew) <= MAX_SKEW_S:
        child.skew_s = float(skew)


def _keep_items(page: _Page, child: _Child, items: Iterable[tuple[int, str, Any]]) -> None:
    assert child.stream is not None
    for seq, kind, body in items:
        if kind == "metrics":
            page.samples.append((child.id, body["at"], body["set"], body["v"]))
            continue
        said = body.get("at") if isinstance(body, dict) else None
        # The bridge corrects the times that it takes itself, of samples; others are the host's.
        at = page.now if said is None or not is_time(said) else max(0.0, said + child.skew_s)
        page.events.append(
            (
                child.id, child.stream, seq, kind, text_of(body, "type") or kind,
                text_of(body, "service") or None, at, page.now, _json(body),
            )
        )  # fmt: skip


def _resend(child: _Child, sync: Sync) -> tuple[str, ...]:
    """Return the sections of which the child has another value than we."""
    if not sync.digests:
        return ()
    have = msgspec.json.decode(child.digests)
    return tuple(section for section, digest in sync.digests.items() if have.get(section) != digest)


def _event(
    child: str, type_: str, now: float, facts: Mapping[str, Any], *, kind: str = "event"
) -> bulk.Row:
    row = event_row(child, type_, now, facts, kind=kind)
    return tuple(row[name] for name in _EVENT)


def _write(connection: sa.Connection, page: _Page, children: Iterable[_Child]) -> None:
    changed = [child for child in children if child.is_changed]
    bulk.update(
        connection, child_state, (*_COLUMNS, "child"),
        [(*(getattr(child, name) for name in _COLUMNS), child.id) for child in changed],
    )  # fmt: skip
    sets = [(name, _json(names)) for name, names in page.sets.items()]
    bulk.insert(connection, metric_set, ("id", "names"), sets)
    bulk.insert(connection, event, _EVENT, page.events)
    bulk.upsert(connection, child_section, _SECTION, list(page.sections.values()))
    if page.samples:
        samples.put(connection, page.samples)
    for child, said in page.inventories.items():
        inventory.keep(connection, child, said, page.now)
    for child, said in page.healths.items():
        inventory.keep_health(connection, child, said)
    if page.moved:
        settle(connection, page.moved)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
