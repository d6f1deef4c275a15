"""Signing in: one way for every name, whether somebody has it or not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from chittyops_core.errors import ParentError, RefusedError
from chittyops_core.parent import activities
from chittyops_core.parent.activities import Outcome, RefusalBudget
from chittyops_core.parent.operators import accounts, sessions
from chittyops_core.parent.operators.limits import Limiter, network_of
from chittyops_core.parent.operators.passwords import Hasher
from chittyops_core.parent.operators.problems import Busy, NotSignedIn, TooMany
from chittyops_core.parent.operators.requests import (
    Connection,
    address_of,
    agent_of,
    now_of,
    parent_of,
    read,
    write,
)  # fmt: skip

__all__ = ["Authentication", "WrongCredentials", "authentication"]

NAME_BURST, NAME_REFILL_S = 10, 60.0
"""Attempts for a name: ten at once, then one a minute. Some 1,450 a day; no lock for good."""

ADDRESS_BURST, ADDRESS_REFILL_S = 30, 10.0
"""Attempts from an address."""

TOKEN_BURST, TOKEN_REFILL_S = 60, 1.0
"""Wrong API tokens from an address."""


class WrongCredentials(NotSignedIn):
    """Name and password do not belong together; which of them is wrong is not said."""

    title = "Name or password is wrong"


class Authentication:
    """What one server process remembers of attempts to sign in; safe for any thread."""

    def __init__(self, hasher: Hasher | None = None) -> None:
        self.hasher = hasher or Hasher()
        self._by_name = Limiter(NAME_BURST, NAME_REFILL_S)
        self._by_address = Limiter(ADDRESS_BURST, ADDRESS_REFILL_S)
        self._tokens = Limiter(TOKEN_BURST, TOKEN_REFILL_S)
        self._refusals = RefusalBudget()

    async def sign_in(
        self, connection: Connection, name: str, password: str, old_secret: str | None
    ) -> str:
        """Begin a session and return its secret; *old_secret* is the cookie that was sent.

        Raises:
            WrongCredentials: No such name, a wrong password, or a disabled account.
            TooMany: Too many attempts for this name or from this address.
            Busy: Too many passwords are being looked at.
        """
        name = activities.plain(name.strip().lower())[:64]
        account = await read(connection, lambda reader: accounts.by_name(reader, name))
        await self.count_attempt(connection, name, account)
        kept = account.password if account and account.disabled_at is None else None
        text = accounts.as_typed(password)
        try:
            verdict = await self.hasher.verify_soon(kept, text)
        except ParentError as error:
            raise Busy(retry_after_s=2) from error
        if account is None or not verdict.is_right:
            await self._record_failure(connection, account, "wrong name or password")
            raise WrongCredentials

        def renew(writer: sa.Connection) -> None:
            if verdict.renewed is not None:
                accounts.renew_hash(writer, account.id, kept, verdict.renewed)

        secret = await self.begin(connection, account, old_secret, "password", first=renew)
        self.forgive(connection, name)
        return secret

    async def begin(
        self, connection: Connection, account: accounts.Account, old_secret: str | None,
        by: str, first: Callable[[sa.Connection], None] | None = None,
    ) -> str:  # fmt: skip
        """Begin a session of who has proven to be *account*, by a way that is named."""
        now, address, agent = now_of(connection), address_of(connection), agent_of(connection)

        def work(writer: sa.Connection) -> str:
            if first is not None:
                first(writer)
            secret = sessions.begin(
                writer, account.id, address=address, agent=agent, now=now, instead_of=old_secret
            )
            activities.record(
                writer, actor=account.name, action="sign-in", object=f"operator/{account.id}",
                outcome=Outcome.DONE, address=address, detail={"by": by, "agent": agent}, now=now,
            )  # fmt: skip
            return secret

        try:
            return await write(connection, work)
        except RefusedError:
            raise WrongCredentials from None

    async def count_attempt(
        self, connection: Connection, name: str | None, account: accounts.Account | None = None
    ) -> None:
        """Count an attempt to sign in as *name*; None while that is not known.

        Raises:
            TooMany: Also where nobody has that name.
        """
        now = parent_of(connection).clock.monotonic()
        wait_s = self._by_address.take(network_of(address_of(connection)), now)
        if not wait_s and name is not None:
            wait_s = self._by_name.take(name, now)
        if wait_s:
            await self._record_failure(connection, account, "too many attempts")
            raise TooMany(
                "Too many attempts to sign in. Wait, and try again.", retry_after_s=wait_s
            )

    def forgive(self, connection: Connection, name: str | None) -> None:
        """Uncount the attempt that was right."""
        if name is not None:
            self._by_name.give_back(name)
        self._by_address.give_back(network_of(address_of(connection)))

    def count_wrong_token(self, connection: Connection) -> float:
        """Count a wrong API token; return the seconds to wait where there were too many."""
        now = parent_of(connection).clock.monotonic()
        return self._tokens.take(network_of(address_of(connection)), now)

    async def _record_failure(
        self, connection: Connection, account: accounts.Account | None, why: str
    ) -> None:
        """Record it without the name where nobody has it: it may be a password, mistyped there."""
        name = account.name if account else "unknown"
        id = account.id if account else "unknown"
        await self.record_refusal(connection, name, "sign-in", f"operator/{id}", {"why": why})

    async def record_refusal(
        self, connection: Connection, actor: str, action: str, object: str,
        detail: Mapping[str, Any],
    ) -> None:  # fmt: skip
        """Keep that something was refused, as far as the budget goes."""
        parent, now = parent_of(connection), now_of(connection)
        left_out = self._refusals.admit(parent.clock.monotonic())
        if left_out is None:
            return
        told = {**detail, "agent": agent_of(connection)}
        if left_out:
            told["left_out_before"] = left_out
        address = address_of(connection)
        await write(
            connection,
            lambda writer: activities.record(
                writer, actor=actor, action=action, object=object, outcome=Outcome.REFUSED,
                address=address, detail=told, now=now,
            ),
        )  # fmt: skip


_LOCK = threading.Lock()


def authentication(connection: Connection) -> Authentication:
    """Return what the server remembers of attempts; made when it is first asked for."""
    state = connection.app.state
    with _LOCK:
        if "authentication" not in state:
            state["authentication"] = Authentication()
    found: Authentication = state["authentication"]
    return found
