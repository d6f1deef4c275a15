"""Who asks, and whether they may: what stands before every handler that is not public."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, TypeAlias

from attrs import field, frozen
from litestar import Request
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler

from chittyops_core.errors import ParentError
from chittyops_core.parent.access import Operator, Role
from chittyops_core.parent.operators import api_tokens, csrf, sessions
from chittyops_core.parent.operators.problems import (
    CsrfFailed,
    Forbidden,
    Malformed,
    NotSignedIn,
    TooMany,
)  # fmt: skip
from chittyops_core.parent.operators.requests import (
    Connection,
    is_secure,
    now_of,
    parent_of,
    read,
)  # fmt: skip
from chittyops_core.parent.operators.signing_in import authentication

__all__ = [
    "Caller",
    "May",
    "SignedIn",
    "caller_of",
    "cookie_name",
    "identify",
    "may",
    "provide_operator",
]

SignedIn: TypeAlias = NamedDependency[Operator]
"""The type of the parameter `operator` of a handler behind a guard of `may`."""

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@frozen
class Caller:
    """Who asks, and by what.

    Attributes:
        operator: With the role that it has here and now.
        session: The hash of its session; None where it speaks by a token.
        secret: The cookie's secret, to bind forms to.
        token: The id of its API token; None where it is a browser.
    """

    operator: Operator
    session: str | None = None
    secret: str | None = field(default=None, repr=False)
    token: str | None = None


@frozen
class May:
    """Lets through who has a role, and means it.

    Attributes:
        role: What is needed at least.
        by_token: Whether an API token will do; not for what would outlive the token.
    """

    role: Role
    by_token: bool = True

    async def __call__(self, connection: Connection, handler: BaseRouteHandler) -> None:
        if "\0" in connection.scope["path"] or b"%00" in connection.scope["query_string"]:
            raise Malformed("No address here has a NUL in it.")  # PostgreSQL takes none in a text.
        caller, method = await identify(connection), str(connection.scope.get("method", ""))
        connection.state["caller"] = caller
        connection.state["csrf_secret"] = caller.secret
        try:
            if caller.secret is not None and method not in SAFE:
                await csrf.require(connection, caller.secret)
            self._require_role(caller)
        except (Forbidden, CsrfFailed) as error:
            await authentication(connection).record_refusal(
                connection, caller.operator.name, "access", connection.scope["path"],
                {"method": method, "role": str(caller.operator.role),
                 "token": caller.token, "why": error.detail},
            )  # fmt: skip
            raise

    def _require_role(self, caller: Caller) -> None:
        if caller.token is not None and not self.by_token:
            raise Forbidden("This is for people who are signed in; an API token may not.")
        if not caller.operator.role.includes(self.role):
            raise Forbidden(f"This needs the role {self.role}; yours is {caller.operator.role}.")


def may(role: Role, *, by_token: bool = True) -> May:
    """Return a guard for handlers that only *role* may use, and who may all that it may."""
    return May(role, by_token)


def cookie_name(connection: Connection) -> str:
    """Return the session cookie's name; over TLS no subdomain and no plain page can set it."""
    return "__Host-chittyops" if is_secure(connection) else "chittyops"


def caller_of(connection: Connection) -> Caller:
    """Return who asks, behind a guard of `may`."""
    caller: Caller = connection.state["caller"]
    return caller


def provide_operator(request: Request[Any, Any, Any]) -> Operator:
    """Return the dependency `operator` of handlers behind a guard of `may`."""
    return caller_of(request).operator


async def identify(connection: Connection) -> Caller:
    """Return who asks, by token or else by cookie.

    Raises:
        NotSignedIn: Nobody who is known.
        TooMany: Too many wrong tokens came from this address.
    """
    header = connection.headers.get("authorization")
    if header is not None:
        return await _by_token(connection, header)
    secret = connection.cookies.get(cookie_name(connection))
    if secret:
        now = now_of(connection)
        found = await read(connection, lambda reader: sessions.find(reader, secret, now))
        if found is not None:
            hash = sessions.digest(secret)
            if now - found[1] >= sessions.TOUCH_S:
                _later(connection, lambda writer: sessions.touch(writer, hash, now))
            return Caller(found[0], hash, secret)
    raise NotSignedIn


async def _by_token(connection: Connection, header: str) -> Caller:
    scheme, _, text = header.partition(" ")
    now = now_of(connection)
    found = None
    if scheme.lower() == "bearer":
        found = await read(connection, lambda reader: api_tokens.find(reader, text.strip(), now))
    if found is None:
        wait_s = authentication(connection).count_wrong_token(connection)
        await authentication(connection).record_refusal(
            connection, "unknown", "token.use", connection.scope["path"], {}
        )
        if wait_s:
            raise TooMany(retry_after_s=wait_s)
        raise NotSignedIn("This token is not valid: unknown, expired or withdrawn.")
    who, id, used_at = found
    if used_at is None or now - used_at >= sessions.TOUCH_S:
        _later(connection, lambda writer: api_tokens.touch(writer, id, now))
    return Caller(who, token=id)


def _later(connection: Connection, work: Any) -> None:
    """Write what is not worth waiting for, unless too much waits already."""
    with suppress(ParentError):
        parent_of(connection).database.submit(work)
