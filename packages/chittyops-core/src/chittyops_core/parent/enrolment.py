"""How children come and go: tokens, enrolment, decisions, leaving, and new keys.

Everything here runs in the writer's transaction, so two requests for the last use of a token, or
an operator and a child who speak at once, come one after the other.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from attrs import frozen
from cryptography.exceptions import InvalidSignature

from chittyops_core.bridge.protocol import MAX_TEXT, ChildState, Enrolment, KeyRotation, ProblemType
from chittyops_core.bridge.signatures import (
    decode,
    encode,
    load_public_key,
    rotation_text,
    thumbprint,
)
from chittyops_core.errors import NotFoundError, RefusedError, SignatureError, UsageError
from chittyops_core.parent import terms
from chittyops_core.parent.problems import ProblemError
from chittyops_core.parent.records import event_row, keep_events
from chittyops_core.parent.schema import child, child_key, child_state, enrol_token
from chittyops_core.parent.tally import settle

__all__ = [
    "TOKEN_PREFIX",
    "Standing",
    "decide",
    "enrol",
    "leave",
    "make_token",
    "rotate",
    "set_state",
    "standing",
    "take_into_use",
    "withdraw_token",
]

TOKEN_PREFIX = "chittyops1"
MAX_USES = 100_000
MAX_TTL_S = 366 * 86_400.0

_ALLOWED: Mapping[ChildState, frozenset[ChildState]] = {
    ChildState.ACCEPTED: frozenset(
        {ChildState.PENDING, ChildState.REJECTED, ChildState.REVOKED, ChildState.CLONED}
    ),
    ChildState.REJECTED: frozenset({ChildState.PENDING}),
    ChildState.REVOKED: frozenset(
        {ChildState.ACCEPTED, ChildState.CLONED, ChildState.LEFT, ChildState.PENDING}
    ),
}
"""What an operator may decide -> where the child may stand before."""

_VERBS = {
    ChildState.ACCEPTED: "accepted", ChildState.REJECTED: "rejected", ChildState.REVOKED: "revoked"
}  # fmt: skip


@frozen
class Standing:
    """Where a child stands.

    Attributes:
        child: Its id.
        state: Where it stands.
        is_new: Whether it was not known before.
    """

    child: str
    state: ChildState
    is_new: bool = False


# --- tokens ---


def make_token(
    connection: sa.Connection, *, name: str, labels: Mapping[str, str], auto_accept: bool,
    uses: int, ttl_s: float, by: str, now: float, parent_thumbprint: str,
) -> tuple[str, str]:  # fmt: skip
    """Make an enrolment token; return its id, and the text that nobody can read here again.

    Args:
        connection: The writer's.
        name: What for, for people.
        labels: What its children begin with.
        auto_accept: Whether its children need no decision.
        uses: How many children it is for.
        ttl_s: Seconds after which it is worth nothing.
        by: Who makes it.
        now: Seconds since the epoch.
        parent_thumbprint: Id of the parent's key, which the children pin.

    Raises:
        UsageError: One of them is out of bounds.
    """
    if not 1 <= uses <= MAX_USES:
        raise UsageError(f"a token is for 1 to {MAX_USES} children, not {uses}")
    if not 0 < ttl_s <= MAX_TTL_S:
        raise UsageError("a token is valid for more than 0 seconds and at most 366 days")
    if not 0 < len(name.strip()) <= MAX_TEXT:
        raise UsageError(f"a token's name has 1 to {MAX_TEXT} characters")
    identity, secret = f"et_{secrets.token_hex(8)}", encode(secrets.token_bytes(32))
    connection.execute(
        sa.insert(enrol_token).values(
            id=identity, hash=_hash(secret), name=_clean(name), labels=json.dumps(dict(labels)),
            auto_accept=auto_accept, uses_left=uses, created_at=now, created_by=by,
            expires_at=now + ttl_s,
        )
    )  # fmt: skip
    return identity, f"{TOKEN_PREFIX}.{secret}.{parent_thumbprint}"


def withdraw_token(connection: sa.Connection, token: str, *, now: float) -> None:
    """Make a token worthless; do nothing when it is already. Raises NotFoundError."""
    found = connection.execute(sa.select(enrol_token.c.id).where(enrol_token.c.id == token))
    if found.first() is None:
        raise NotFoundError(f"there is no enrolment token {token!r}")
    connection.execute(
        sa.update(enrol_token)
        .where(enrol_token.c.id == token, enrol_token.c.withdrawn_at.is_(None))
        .values(withdrawn_at=now)
    )


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _use_token(connection: sa.Connection, secret: str, now: float) -> sa.Row[Any]:
    """Use *secret* once. Raises ProblemError, the same whatever is wrong with it (section 5.1)."""
    c = enrol_token.c
    found = connection.execute(sa.select(enrol_token).where(c.hash == _hash(secret))).first()
    is_good = (
        found is not None
        and found.uses_left > 0
        and found.expires_at > now
        and found.withdrawn_at is None
    )
    if found is None or not is_good:
        raise ProblemError(
            ProblemType.TOKEN, "It is unknown, used up, expired or withdrawn: ask for another one."
        )
    connection.execute(
        sa.update(enrol_token).where(c.id == found.id).values(uses_left=c.uses_left - 1)
    )
    return found


# --- children ---


def enrol(
    connection: sa.Connection, request: Enrolment, public_key: bytes, *, now: float
) -> Standing:
    """Let a child in, or tell where one that is known stands (sections 5.1 and 5.2).

    A child that left comes back with a new token, under its old id.

    Raises:
        ProblemError: The token is worth nothing, or the key was given up.
    """
    key = thumbprint(public_key)
    known = connection.execute(
        sa.select(child.c.id, child.c.state, child_key.c.state.label("key_state"))
        .join(child_key, child_key.c.child == child.c.id)
        .where(child_key.c.thumbprint == key)
    ).first()
    if known is None:
        return _enrol_new(connection, request, public_key, key, now)
    if known.key_state == "retired":
        raise ProblemError(ProblemType.UNKNOWN_KEY, "This key was given up for another one.")
    if known.state == ChildState.LEFT and request.token:
        token = _use_token(connection, request.token, now)
        state = ChildState.ACCEPTED if token.auto_accept else ChildState.PENDING
        set_state(connection, known.id, state, by=f"token {token.name}", reason="", now=now)
        keep_events(connection, event_row(known.id, "child.enrolled", now, {"token": token.name}))
        return Standing(known.id, state)
    return Standing(known.id, ChildState(known.state))


def _enrol_new(
    connection: sa.Connection, request: Enrolment, public_key: bytes, key: str, now: float
) -> Standing:
    token = _use_token(connection, request.token, now)
    state = ChildState.ACCEPTED if token.auto_accept else ChildState.PENDING
    identity = f"ch_{secrets.token_hex(12)}"
    name = _clean(request.name) or identity
    is_decided = state is ChildState.ACCEPTED
    connection.execute(
        sa.insert(child).values(
            id=identity, name=name, kind="", state=state.value, labels=token.labels,
            facts=json.dumps(dict(request.facts)), token=token.id, enrolled_at=now,
            decided_at=now if is_decided else None,
            decided_by=f"token {token.name}"[:MAX_TEXT] if is_decided else None,
        )
    )  # fmt: skip
    connection.execute(
        sa.insert(child_key).values(
            thumbprint=key, child=identity, public_key=public_key, state="current", created_at=now
        )
    )
    connection.execute(sa.insert(child_state).values(child=identity, sdk=_clean(request.sdk)))
    terms.refresh(connection, identity)
    settle(connection, [identity])
    facts = {"token": token.name, "state": state.value}
    keep_events(connection, event_row(identity, "child.enrolled", now, facts))
    return Standing(identity, state, is_new=True)


def decide(
    connection: sa.Connection, child_id: str, state: ChildState, *, by: str, reason: str,
    now: float,
) -> ChildState:  # fmt: skip
    """Accept, reject or revoke a child; return where it stood before.

    One that stands there already stays so. Accepted may be again who was rejected, revoked or
    cloned; what it said meanwhile is still in its outbox.

    Raises:
        NotFoundError: There is no such child.
        RefusedError: From where it stands this cannot be decided.
    """
    found = connection.execute(sa.select(child.c.state).where(child.c.id == child_id)).first()
    if found is None:
        raise NotFoundError(f"there is no child {child_id!r}")
    before = ChildState(found.state)
    if before is state:
        return before
    if before not in _ALLOWED.get(state, ()):
        raise RefusedError(
            f"a child that is {before.value} cannot be {_VERBS.get(state, state.value)}",
            remedy="Let it enrol anew." if before is ChildState.LEFT else "",
        )
    set_state(connection, child_id, state, by=by, reason=reason, now=now)
    facts = {"by": by, "reason": reason, "before": before.value}
    keep_events(connection, event_row(child_id, f"child.{_VERBS[state]}", now, facts))
    return before


def leave(connection: sa.Connection, child_id: str, reason: str, *, now: float) -> Standing:
    """Let a child go (section 5.4); one that a parent's operator revoked stays revoked."""
    found = connection.execute(sa.select(child.c.state).where(child.c.id == child_id)).one()
    before = ChildState(found.state)
    if before in (ChildState.LEFT, ChildState.REVOKED):
        return Standing(child_id, before)
    set_state(connection, child_id, ChildState.LEFT, by="the child", reason=_clean(reason), now=now)
    facts = {"reason": _clean(reason), "before": before.value}
    keep_events(connection, event_row(child_id, "child.left", now, facts))
    return Standing(child_id, ChildState.LEFT)


def standing(connection: sa.Connection, key: str) -> Standing:
    """Return where the child with this key stands. Raises ProblemError: the key is unknown."""
    found = connection.execute(
        sa.select(child.c.id, child.c.state)
        .join(child_key, child_key.c.child == child.c.id)
        .where(child_key.c.thumbprint == key, child_key.c.state != "retired")
    ).first()
    if found is None:
        raise ProblemError(ProblemType.UNKNOWN_KEY)
    return Standing(found.id, ChildState(found.state))


def set_state(
    connection: sa.Connection, child_id: str, state: ChildState, *, by: str, reason: str,
    now: float,
) -> None:  # fmt: skip
    """Move a child in all that knows its state; whoever is not accepted is not awaited."""
    connection.execute(
        sa.update(child)
        .where(child.c.id == child_id)
        .values(
            state=state.value, decided_at=now, decided_by=by[:MAX_TEXT], reason=_clean(reason, 2000)
        )
    )
    connection.execute(
        sa.update(child_state)
        .where(child_state.c.child == child_id)
        .values(deadline_at=None, is_overdue=False, overdue_since=None)
    )
    settle(connection, [child_id])


# --- keys ---


def rotate(
    connection: sa.Connection, request: KeyRotation, child_id: str, old: str, *, now: float
) -> Standing:
    """Take a new key beside the present one, until it is used (section 6).

    Raises:
        ProblemError: The new key is none, does not prove itself, or is another child's.
    """
    raw, new = _proven(request, old)
    state = connection.execute(sa.select(child.c.state).where(child.c.id == child_id)).scalar_one()
    where = Standing(child_id, ChildState(state))
    c = child_key.c
    known = connection.execute(sa.select(c.child, c.state).where(c.thumbprint == new)).first()
    if known is not None and (known.child != child_id or known.state == "retired"):
        raise ProblemError(ProblemType.CONFLICT, "This key was used before; make another one.")
    if known is not None:
        return where
    connection.execute(
        sa.update(child_key)
        .where(c.child == child_id, c.state == "next")
        .values(state="retired", retired_at=now)
    )
    connection.execute(
        sa.insert(child_key).values(
            thumbprint=new, child=child_id, public_key=raw, state="next", created_at=now
        )
    )
    keep_events(connection, event_row(child_id, "child.key-rotated", now, {"key": new}))
    return where


def take_into_use(connection: sa.Connection, child_id: str, key: str, *, now: float) -> None:
    """Make *key*, which was used for the first time, the child's only one."""
    c = child_key.c
    connection.execute(
        sa.update(child_key)
        .where(c.child == child_id, c.thumbprint != key, c.state == "current")
        .values(state="retired", retired_at=now)
    )
    connection.execute(sa.update(child_key).where(c.thumbprint == key).values(state="current"))


def _proven(request: KeyRotation, old: str) -> tuple[bytes, str]:
    try:
        raw = decode(request.public_key)
        key, new = load_public_key(raw), thumbprint(raw)
        proof = decode(request.proof)
    except SignatureError as error:
        raise ProblemError(ProblemType.MALFORMED, f"public_key, proof: {error}") from error
    if new == old:
        raise ProblemError(ProblemType.MALFORMED, "public_key: this is the present key")
    try:
        key.verify(proof, rotation_text(old, new))
    except InvalidSignature as error:
        raise ProblemError(
            ProblemType.MALFORMED, "proof: it is no signature by the new key"
        ) from error
    return raw, new


def _clean(text: str, limit: int = MAX_TEXT) -> str:
    """Return *text* as every database keeps it."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").strip()[:limit]
