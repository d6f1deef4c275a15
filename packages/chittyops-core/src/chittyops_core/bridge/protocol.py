"""The wire between a child and its parent, as values. docs/protocol.md is normative.

Every value here travels as JSON. Unknown keys are ignored by who reads them, so that either side
may be newer; what is opaque to the wire (`body`, sections of `state`) is kept as it came.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from attrs import field, frozen

__all__ = [
    "ENROLMENTS",
    "FACTS",
    "HEALTH",
    "KEYS",
    "LEAVE",
    "MAX_BYTES",
    "MAX_ITEMS",
    "MAX_METRICS",
    "MAX_SECTIONS",
    "MAX_TEXT",
    "METRICS",
    "NEVER_DROPPED",
    "SYNC",
    "VERSION",
    "Answer",
    "ChildState",
    "Enrolled",
    "Enrolment",
    "ItemKind",
    "KeyRotation",
    "Leave",
    "Problem",
    "ProblemType",
    "Section",
    "Status",
    "Sync",
]

VERSION = 1
"""Of the protocol (section 2). It grows when an older peer would misread what is said."""

ENROLMENTS = "/v1/enrolments"
SYNC = "/v1/sync"
HEALTH = "/v1/sync/health"
METRICS = "/v1/sync/metrics"
KEYS = "/v1/keys/rotate"
LEAVE = "/v1/leave"

MAX_BYTES = 1 << 20
"""Of a body after decompression, either way (section 4)."""

MAX_ITEMS = 500
"""Of one sync."""

MAX_METRICS = 512
"""Names of one metric set."""

MAX_SECTIONS = 16
"""Of `state`."""

MAX_TEXT = 200
"""Characters of a name or a version in a field of its own."""


class ItemKind(StrEnum):
    """What an item of the outbox is (section 7.3)."""

    METRICS = "metrics"
    """`{"set": ID, "at": seconds, "v": [numbers or null]}`; the set's names are in `sets`."""
    EVENT = "event"
    """Something happened: `{"type": "deploy.served", "at": seconds, "service": SLUG, ...}`."""
    INCIDENT = "incident"
    """An alert fired or was resolved; shaped as an event."""
    CONFIG = "config"
    """What came of shared configuration; shaped as an event."""
    AUDIT = "audit"
    """A checkpoint of the trail; shaped as an event."""


NEVER_DROPPED = frozenset({ItemKind.INCIDENT, ItemKind.CONFIG, ItemKind.AUDIT})
"""Kinds that a full outbox keeps whatever happens."""


class Section(StrEnum):
    """Sections of `state`: the latest value only (section 7.2)."""

    HEALTH = "health"
    """`{"status": Status, "services": {SLUG: {"status": Status, "why": text, "since": s}}}`"""
    INVENTORY = "inventory"
    """`{"host": {...}, "services": {SLUG: {...}}}`: what runs where (section 7.4)."""
    CONFIG = "config"
    """`{"applied": n, "attempted": n, "failed": {"version": n, "reason": text}}`"""
    BRIDGE = "bridge"
    """`{"grants": {...}, "lag": items, "dropped": {kind: count}, "skew_s": seconds}`"""


class Status(StrEnum):
    """How a child or one of its services is: Statuspage's component states, and `unknown`."""

    OPERATIONAL = "operational"
    MAINTENANCE = "under_maintenance"
    DEGRADED = "degraded_performance"
    PARTIAL = "partial_outage"
    MAJOR = "major_outage"
    UNKNOWN = "unknown"
    """Nobody looks, or it has never said."""


class ChildState(StrEnum):
    """Where a child stands with its parent (section 5)."""

    PENDING = "pending"
    """It has enrolled, and an operator has not decided yet."""
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    REVOKED = "revoked"
    LEFT = "left"
    """Its own operator took it away."""
    CLONED = "cloned"
    """Two machines spoke with its key; it must enrol anew."""


@frozen
class Enrolment:
    """`POST /v1/enrolments`, signed with the key that it brings (section 5.1).

    Attributes:
        v: `VERSION`.
        token: The enrolment token's secret part; "" where the key is known already.
        public_key: The child's Ed25519 key, 32 bytes in base64url without padding.
        name: How the host calls itself, for people; not unique and no identity.
        sdk: `chittyops-core/0.1.0`.
        facts: Host facts as in the section `inventory`.
    """

    v: int
    token: str
    public_key: str
    name: str
    sdk: str = ""
    facts: Mapping[str, Any] = field(factory=dict)


@frozen
class Enrolled:
    """The answer to an enrolment and to `GET /v1/enrolments/ID` (section 5.2).

    Attributes:
        child: The id that the parent gave.
        state: Where it stands.
        parent: The parent's name, for people.
        next_s: Seconds after which to ask again, or to begin with syncs.
        time: Seconds since the epoch by the parent's clock.
    """

    child: str
    state: ChildState
    parent: str
    next_s: float
    time: float


@frozen
class Sync:
    """`POST /v1/sync` (section 7).

    Attributes:
        v: `VERSION`.
        stream: Id of the outbox that numbers the items: a UUID, made with it.
        n: Number of this request in its stream, from 1 on; never given twice.
        after: The child believes every item up to this one acknowledged.
        gone: Items up to this one exist no more on the child; 0 when none is missing.
        sdk: `chittyops-core/0.1.0`.
        caps: What the child's operator allows the parent, such as `metrics` (section 9).
        state: Section -> value; those that changed, or were asked for.
        digests: Section -> 16 hexadecimal digits of its value's SHA-256, for all sections.
        sets: Metric set id -> names, for the sets that the parent may not know.
        items: `[seq, kind, body]` each, in order of *seq*, which begins above *after*.
    """

    v: int
    stream: str
    n: int
    after: int
    gone: int = 0
    sdk: str = ""
    caps: tuple[str, ...] = ()
    state: Mapping[str, Any] = field(factory=dict)
    digests: Mapping[str, str] = field(factory=dict)
    sets: Mapping[str, tuple[str, ...]] = field(factory=dict)
    items: tuple[tuple[int, str, Any], ...] = ()


@frozen
class Answer:
    """The answer to a sync (section 7.5).

    Attributes:
        acked: Every item of this stream up to this one is on the parent's disk.
        next_s: Seconds until the next sync.
        time: Seconds since the epoch by the parent's clock.
        resend: Sections whose value the parent does not have.
        unknown_sets: Metric sets whose names the parent does not have.
        desired: What the parent wishes: configuration, updates, requests. Opaque so far.
    """

    acked: int
    next_s: float
    time: float
    resend: tuple[str, ...] = ()
    unknown_sets: tuple[str, ...] = ()
    desired: Mapping[str, Any] = field(factory=dict)


@frozen
class KeyRotation:
    """`POST /v1/keys/rotate`, signed with the present key (section 6).

    Attributes:
        v: `VERSION`.
        public_key: The new key, as in an enrolment.
        proof: The new key's signature over `signatures.rotation_text`, base64url.
    """

    v: int
    public_key: str
    proof: str


@frozen
class Leave:
    """`POST /v1/leave`: the child's operator takes it away (section 5.4)."""

    v: int
    reason: str = ""


class ProblemType(StrEnum):
    """Types of problem documents (RFC 9457), as `urn:chittyops:problem:NAME` (section 8)."""

    MALFORMED = "malformed"
    UNSIGNED = "signature"
    SKEW = "clock-skew"
    UNKNOWN_KEY = "unknown-key"
    TOKEN = "enrolment-token"
    NOT_ACCEPTED = "not-accepted"
    REVOKED = "revoked"
    CLONED = "child-cloned"
    STREAM = "stream-conflict"
    GAP = "sequence-gap"
    TOO_LARGE = "too-large"
    TOO_MANY = "too-many-requests"
    BUSY = "busy"
    VERSION = "version"
    NOT_FOUND = "not-found"
    FORBIDDEN = "forbidden"
    CONFLICT = "conflict"
    INTERNAL = "internal"

    @property
    def urn(self) -> str:
        return f"urn:chittyops:problem:{self.value}"


@frozen
class Problem:
    """An `application/problem+json` document (RFC 9457) with what this protocol adds.

    Attributes:
        type: `ProblemType.urn`.
        title: What is wrong, the same for all of its type.
        status: The HTTP status.
        detail: What is wrong this time, and what to do.
        time: Seconds since the epoch by the parent's clock.
        acked: With `sequence-gap`: the highest item that the parent has of the stream.
    """

    type: str
    title: str
    status: int
    detail: str = ""
    time: float = 0.0
    acked: int | None = None


FACTS = (
    "hostname", "os", "kernel", "machine", "cpus", "memory_bytes", "python", "caddy", "supervisor",
)  # fmt: skip
"""Host facts of the section `inventory` and of an enrolment; each is text or a number."""
