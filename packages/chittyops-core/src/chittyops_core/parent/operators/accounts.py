"""Accounts of operators: their names, roles and passwords.

Functions that change something run inside `Database.write`; each checks what it needs in the very
transaction that changes it.
"""

from __future__ import annotations

import re
import secrets
import unicodedata

import sqlalchemy as sa
from attrs import field, frozen

from chittyops_core.errors import NotFoundError, RefusedError, UsageError
from chittyops_core.parent.access import Role
from chittyops_core.parent.schema import operator, session

__all__ = [
    "MAX_PASSWORD",
    "MIN_PASSWORD",
    "Account",
    "accounts",
    "add",
    "as_typed",
    "by_id",
    "by_name",
    "by_subject",
    "disable",
    "enable",
    "end_sessions",
    "follow_role",
    "normal_name",
    "normal_password",
    "renew_hash",
    "set_password",
    "set_role",
]

MIN_PASSWORD = 12
"""Characters (NIST SP 800-63B asks for 8, and for 15 where nothing else is asked for)."""

MAX_PASSWORD = 1024
"""Characters; a longer one only costs time."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")


@frozen
class Account:
    """An operator as kept.

    Attributes:
        id: Its id, `op_` and 20 hexadecimal digits.
        name: In lower case; unique.
        role: What it may do.
        password: The argon2id hash; None for who signs in elsewhere only.
        subject: `ISSUER SUBJECT` of an OpenID provider, or None.
        created_at: Seconds since the epoch.
        disabled_at: None while it may sign in.
    """

    id: str
    name: str
    role: Role = field(converter=Role)
    password: str | None = field(repr=False)
    subject: str | None
    created_at: float
    disabled_at: float | None


def normal_name(text: str) -> str:
    """Return a name as it is kept. Raises UsageError.

    One alphabet and one case, so that no two names look alike.
    """
    name = text.strip().lower()
    if not _NAME.fullmatch(name):
        raise UsageError(
            "an operator's name has 1 to 64 of a-z, 0-9 and . _ @ + -, and begins with a letter "
            "or a digit"
        )
    return name


def normal_password(text: str, *, name: str) -> str:
    """Return a password as it is hashed, NFKC (RFC 8265). Raises UsageError for a bad one."""
    password = as_typed(text)
    if len(password) < MIN_PASSWORD:
        raise UsageError(f"a password has {MIN_PASSWORD} characters or more")
    if len(password) > MAX_PASSWORD:
        raise UsageError(f"a password has at most {MAX_PASSWORD} characters")
    if password.strip().casefold() in (name, name[::-1]) or len(set(password)) < 4:
        raise UsageError("this password is guessed first: take another one")
    return password


def as_typed(text: str) -> str:
    """Return what was typed as a password, to be compared; never longer than one can be."""
    return unicodedata.normalize("NFKC", text)[: MAX_PASSWORD + 1]


def accounts(connection: sa.Connection) -> list[Account]:
    """Return all accounts by name, also those that are disabled."""
    rows = connection.execute(sa.select(operator).order_by(operator.c.name))
    return [Account(**row) for row in rows.mappings()]


def by_id(connection: sa.Connection, id: str) -> Account | None:
    return _one(connection, operator.c.id == id)


def by_name(connection: sa.Connection, name: str) -> Account | None:
    return _one(connection, operator.c.name == name)


def by_subject(connection: sa.Connection, subject: str) -> Account | None:
    return _one(connection, operator.c.subject == subject)


def add(
    connection: sa.Connection, *, name: str, role: Role, now: float,
    password: str | None = None, subject: str | None = None,
) -> Account:  # fmt: skip
    """Add an account; *password* is a hash. Raises RefusedError when the name is taken."""
    if by_name(connection, name) is not None:
        raise RefusedError(f"there is an operator {name} already")
    made = Account(f"op_{secrets.token_hex(10)}", name, role, password, subject, now, None)
    connection.execute(
        sa.insert(operator).values(
            id=made.id, name=made.name, role=str(made.role), password=password, subject=subject,
            created_at=now,
        )
    )  # fmt: skip
    return made


def set_password(
    connection: sa.Connection, id: str, hash: str, *, keep_session: str | None = None
) -> None:
    """Give an account the password whose hash this is, and end its sessions but *keep_session*."""
    _change(connection, id, password=hash)
    ended = sa.delete(session).where(session.c.operator == id)
    if keep_session is not None:
        ended = ended.where(session.c.hash != keep_session)
    connection.execute(ended)


def renew_hash(connection: sa.Connection, id: str, old: str | None, new: str) -> None:
    """Keep the same password's hash with today's parameters, unless it was changed meanwhile."""
    connection.execute(
        sa.update(operator)
        .where(operator.c.id == id, operator.c.password == old)
        .values(password=new)
    )


def set_role(connection: sa.Connection, id: str, role: Role) -> None:
    """Change what an account may do, from its next request on.

    Raises:
        RefusedError: It is the last admin.
    """
    if role is not Role.ADMIN:
        _require_another_admin(connection, id)
    _change(connection, id, role=str(role))


def follow_role(connection: sa.Connection, id: str, role: Role) -> None:
    """Change what an account may do because its provider says so, were it the last admin."""
    _change(connection, id, role=str(role))


def end_sessions(connection: sa.Connection, id: str) -> None:
    """End all sessions of an account."""
    connection.execute(sa.delete(session).where(session.c.operator == id))


def disable(connection: sa.Connection, id: str, *, now: float) -> None:
    """Let an account in no more, and end its sessions; its tokens end with it.

    Raises:
        RefusedError: It is the last admin.
    """
    _require_another_admin(connection, id)
    _change(connection, id, disabled_at=now)
    end_sessions(connection, id)


def enable(connection: sa.Connection, id: str) -> None:
    """Let an account in again."""
    _change(connection, id, disabled_at=None)


def _one(connection: sa.Connection, where: sa.ColumnElement[bool]) -> Account | None:
    row = connection.execute(sa.select(operator).where(where)).mappings().one_or_none()
    return Account(**row) if row is not None else None


def _change(connection: sa.Connection, id: str, **values: object) -> None:
    done = connection.execute(sa.update(operator).where(operator.c.id == id).values(**values))
    if done.rowcount != 1:
        raise NotFoundError("there is no such operator")


def _require_another_admin(connection: sa.Connection, id: str) -> None:
    """Raise RefusedError where nobody would be left who may manage operators."""
    admins = connection.execute(
        sa.select(operator.c.id)
        .where(operator.c.role == str(Role.ADMIN), operator.c.disabled_at.is_(None))
        .with_for_update()
    ).scalars()
    if set(admins) == {id}:
        raise RefusedError("this is the last admin", remedy="Make another operator an admin first.")
