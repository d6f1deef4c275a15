"""API tokens of operators: shown once, kept as a hash, never above their owner's role."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from attrs import frozen

from chittyops_core.errors import NotFoundError, RefusedError, UsageError
from chittyops_core.parent.access import Operator, Role
from chittyops_core.parent.activities import plain
from chittyops_core.parent.operators.sessions import digest
from chittyops_core.parent.schema import api_token, operator

__all__ = ["MAX_DAYS", "PREFIX", "ApiToken", "find", "make", "tokens_of", "touch", "withdraw"]

PREFIX = "chittyops_"
"""What a token begins with, so that scanners for leaked secrets know one."""

MAX_DAYS = 366
"""For which a token may be made."""

MAX_TOKENS = 100
"""Of an operator that are neither withdrawn nor expired."""


@frozen
class ApiToken:
    """A token as its owner sees it; times are seconds since the epoch."""

    id: str
    name: str
    role: Role
    created_at: float
    expires_at: float | None
    used_at: float | None
    withdrawn_at: float | None


def make(
    connection: sa.Connection, owner: Operator, *, name: str, role: Role, days: float, now: float
) -> tuple[ApiToken, str]:
    """Make a token; return it and its text, which is nowhere else.

    Raises:
        UsageError: Name or duration are out of bounds.
        RefusedError: The role is above the owner's, or there are too many tokens.
    """
    if not 0 < len(name.strip()) <= 200:
        raise UsageError("a token's name has 1 to 200 characters")
    if not 0 < days <= MAX_DAYS:
        raise UsageError(f"a token lives for more than 0 and at most {MAX_DAYS} days")
    if not owner.role.includes(role):
        raise RefusedError(f"{owner.name} is {owner.role}, so no token of theirs can be {role}")
    if sum(_is_alive(each, now) for each in tokens_of(connection, owner.id)) >= MAX_TOKENS:
        raise RefusedError(f"{owner.name} has {MAX_TOKENS} tokens", remedy="Withdraw some.")
    text = PREFIX + secrets.token_urlsafe(32)
    made = ApiToken(
        f"at_{secrets.token_hex(10)}",
        plain(name.strip()),
        role,
        now,
        now + days * 86400,
        None,
        None,
    )
    connection.execute(
        sa.insert(api_token).values(
            id=made.id, hash=digest(text), operator=owner.id, name=made.name, role=str(role),
            created_at=now, expires_at=made.expires_at,
        )
    )  # fmt: skip
    return made, text


def find(
    connection: sa.Connection, text: str, now: float
) -> tuple[Operator, str, float | None] | None:
    """Return who speaks by a token, its id, and when it was last used; None for a bad one.

    The role is the token's, or less where its owner has become less since.
    """
    if not text.startswith(PREFIX):
        return None
    row = connection.execute(
        sa.select(
            operator.c.id, operator.c.name, operator.c.role, api_token.c.role.label("granted"),
            api_token.c.id.label("token"), api_token.c.used_at,
        )
        .join(operator, operator.c.id == api_token.c.operator)
        .where(
            api_token.c.hash == digest(text), api_token.c.withdrawn_at.is_(None),
            sa.or_(api_token.c.expires_at.is_(None), api_token.c.expires_at > now),
            operator.c.disabled_at.is_(None),
        )
    ).one_or_none()  # fmt: skip
    if row is None:
        return None
    role = _lesser(Role(row.granted), Role(row.role))
    return Operator(row.id, row.name, role), row.token, row.used_at


def touch(connection: sa.Connection, id: str, now: float) -> None:
    """Keep that the token was used now."""
    connection.execute(sa.update(api_token).where(api_token.c.id == id).values(used_at=now))


def tokens_of(connection: sa.Connection, operator_id: str) -> list[ApiToken]:
    """Return an operator's tokens, the newest first, also those that are over."""
    rows = connection.execute(
        sa.select(api_token)
        .where(api_token.c.operator == operator_id)
        .order_by(api_token.c.created_at.desc(), api_token.c.id)
        .limit(2 * MAX_TOKENS)
    )
    return [
        ApiToken(
            row.id, row.name, Role(row.role), row.created_at, row.expires_at, row.used_at,
            row.withdrawn_at,
        )
        for row in rows
    ]  # fmt: skip


def withdraw(connection: sa.Connection, operator_id: str, id: str, now: float) -> None:
    """Take one of the operator's own tokens back; again does nothing. Raises NotFoundError."""
    its = sa.and_(api_token.c.id == id, api_token.c.operator == operator_id)
    if connection.execute(sa.select(api_token.c.id).where(its)).scalar() is None:
        raise NotFoundError("there is no such token of yours")
    connection.execute(
        sa.update(api_token).where(its, api_token.c.withdrawn_at.is_(None)).values(withdrawn_at=now)
    )


def _is_alive(token: ApiToken, now: float) -> bool:
    is_over = token.expires_at is not None and token.expires_at <= now
    return token.withdrawn_at is None and not is_over


def _lesser(granted: Role, owned: Role) -> Role:
    if owned.includes(granted):
        return granted
    return owned if granted.includes(owned) else Role.VIEWER
