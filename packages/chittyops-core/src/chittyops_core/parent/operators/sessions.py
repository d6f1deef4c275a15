"""Sessions of browsers, kept on the server: only the hash of a cookie's secret is stored."""

from __future__ import annotations

import hashlib
import secrets

import sqlalchemy as sa
from attrs import frozen

from chittyops_core.errors import NotFoundError, RefusedError
from chittyops_core.parent.access import Operator, Role
from chittyops_core.parent.activities import plain
from chittyops_core.parent.schema import operator, session

__all__ = [
    "IDLE_S", "LIFETIME_S", "Session", "begin", "digest", "end", "end_others", "find",
    "sessions_of", "touch",
]  # fmt: skip

IDLE_S = 12 * 3600.0
"""A session ends when nobody used it for so long ..."""

LIFETIME_S = 7 * 86400.0
"""... and at the latest after this, seconds."""

TOUCH_S = 60.0
"""How exactly it is known when a session was last used."""

_ID_LENGTH = 16  # Hexadecimal digits of a hash that name a session: not enough to be it.


@frozen
class Session:
    """A session as its owner sees it.

    Attributes:
        id: The first digits of its hash.
        created_at: Seconds since the epoch, as the next two.
        seen_at: When it was last used, to the minute.
        expires_at: When it ends at the latest.
        address: Where it began.
        agent: Which browser it was, as it said itself.
        is_current: Whether it is the one that asks.
    """

    id: str
    created_at: float
    seen_at: float
    expires_at: float
    address: str
    agent: str
    is_current: bool = False


def digest(secret: str) -> str:
    """Return what is kept of a secret of 32 random bytes; a slow hash would add nothing."""
    return hashlib.sha256(secret.encode()).hexdigest()


def begin(
    connection: sa.Connection, operator_id: str, *, address: str, agent: str, now: float,
    instead_of: str | None = None,
) -> str:  # fmt: skip
    """Begin a session and return its secret; end the one whose secret was sent along.

    Raises:
        RefusedError: The operator was disabled meanwhile.
    """
    is_welcome = connection.execute(
        sa.select(operator.c.id).where(
            operator.c.id == operator_id, operator.c.disabled_at.is_(None)
        )
    ).scalar()
    if is_welcome is None:
        raise RefusedError("this operator is disabled")
    gone = sa.or_(session.c.expires_at <= now, session.c.seen_at <= now - IDLE_S)
    if instead_of is not None:
        gone = sa.or_(gone, session.c.hash == digest(instead_of))
    connection.execute(sa.delete(session).where(gone))
    secret = secrets.token_urlsafe(32)
    connection.execute(
        sa.insert(session).values(
            hash=digest(secret), operator=operator_id, created_at=now, seen_at=now,
            expires_at=now + LIFETIME_S, address=address[:64], agent=plain(agent)[:200],
        )
    )  # fmt: skip
    return secret


def find(connection: sa.Connection, secret: str, now: float) -> tuple[Operator, float] | None:
    """Return whose session this is and when it was last used; None when it is over or nobody's."""
    row = connection.execute(
        sa.select(operator.c.id, operator.c.name, operator.c.role, session.c.seen_at)
        .join(operator, operator.c.id == session.c.operator)
        .where(
            session.c.hash == digest(secret), session.c.expires_at > now,
            session.c.seen_at > now - IDLE_S, operator.c.disabled_at.is_(None),
        )
    ).one_or_none()  # fmt: skip
    return (Operator(row.id, row.name, Role(row.role)), row.seen_at) if row is not None else None


def touch(connection: sa.Connection, hash: str, now: float) -> None:
    """Keep that the session was used now."""
    connection.execute(
        sa.update(session)
        .where(session.c.hash == hash, session.c.seen_at < now)
        .values(seen_at=now)
    )


def sessions_of(
    connection: sa.Connection, operator_id: str, now: float, current: str | None = None
) -> list[Session]:
    """Return an operator's sessions, the one used last first; *current* is a hash."""
    rows = connection.execute(
        sa.select(session)
        .where(
            session.c.operator == operator_id, session.c.expires_at > now,
            session.c.seen_at > now - IDLE_S,
        )
        .order_by(session.c.seen_at.desc(), session.c.hash)
    )  # fmt: skip
    return [
        Session(
            row.hash[:_ID_LENGTH], row.created_at, row.seen_at, row.expires_at, row.address,
            row.agent, row.hash == current,
        )
        for row in rows
    ]  # fmt: skip


def end(connection: sa.Connection, operator_id: str, id: str) -> None:
    """End one of the operator's own sessions. Raises NotFoundError."""
    ended = connection.execute(
        sa.delete(session).where(
            session.c.operator == operator_id,
            sa.func.substr(session.c.hash, 1, _ID_LENGTH) == id[:_ID_LENGTH],
        )
    )
    if not ended.rowcount:
        raise NotFoundError("there is no such session of yours")


def end_others(connection: sa.Connection, operator_id: str, current: str) -> int:
    """End all of the operator's sessions but the one with this hash; return how many."""
    ended = connection.execute(
        sa.delete(session).where(session.c.operator == operator_id, session.c.hash != current)
    )
    return ended.rowcount
