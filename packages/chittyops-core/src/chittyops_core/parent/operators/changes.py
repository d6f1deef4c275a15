"""Changes that operators make: each with its activity, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import sqlalchemy as sa

from chittyops_core.errors import ChittyOpsError, ParentError
from chittyops_core.parent import activities
from chittyops_core.parent.activities import Outcome
from chittyops_core.parent.operators.guards import caller_of
from chittyops_core.parent.operators.problems import Refused
from chittyops_core.parent.operators.requests import Connection, address_of, now_of, write
from chittyops_core.parent.operators.signing_in import authentication

__all__ = ["change"]

T = TypeVar("T")


async def change(
    connection: Connection, action: str, object: str, work: Callable[[sa.Connection], T],
    detail: Mapping[str, Any] | None = None,
) -> T:  # fmt: skip
    """Do *work* for who asks, and record it in the same transaction; record a refusal as well.

    Args:
        connection: A request behind a guard of `may`.
        action: Such as `operator.role`.
        object: Such as `operator/op_...`.
        work: What is to be done; what it raises takes all of it back.
        detail: What else is worth knowing of it; never a secret.
    """
    caller, now, address = caller_of(connection), now_of(connection), address_of(connection)
    told = {**(detail or {}), **({"token": caller.token} if caller.token else {})}

    def both(writer: sa.Connection) -> T:
        result = work(writer)
        activities.record(
            writer, actor=caller.operator.name, action=action, object=object,
            outcome=Outcome.DONE, address=address, detail=told, now=now,
        )  # fmt: skip
        return result

    try:
        return await write(connection, both)
    except (ChittyOpsError, Refused) as error:
        if not isinstance(error, ParentError):
            why = error.detail if isinstance(error, Refused) else error.message
            await authentication(connection).record_refusal(
                connection, caller.operator.name, action, object, {**told, "why": why}
            )
        raise
