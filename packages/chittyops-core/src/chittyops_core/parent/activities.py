"""What operators did and what was refused to them: only ever added to.

An activity says what happened (action), when, where it came from (address), to what (object), how
it ended (outcome) and who it was (actor), as NIST SP 800-53 AU-3 asks. A row is written in the
transaction of the change that it tells of, so neither is there without the other. The database
itself refuses to change or delete one.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from chittyops_core.parent.schema import activity

__all__ = ["PROTECTION", "Outcome", "RefusalBudget", "plain", "protect", "record"]

MAX_NAME = 200
"""Characters of an actor and of an object."""

MAX_DETAIL = 4000
"""Characters of the detail as JSON; what is longer is told by its keys only."""

MAX_REFUSALS = 60
"""Refusals a minute that are written; beyond that they are counted."""

_SPAN_S = 60.0

_SAY = "activities are only added to"

PROTECTION = {
    "sqlite": tuple(
        f"CREATE TRIGGER IF NOT EXISTS activity_no_{verb.lower()} BEFORE {verb} ON activity "
        f"BEGIN SELECT RAISE(ABORT, '{_SAY}'); END"
        for verb in ("UPDATE", "DELETE")
    ),
    "postgresql": (
        f"""CREATE OR REPLACE FUNCTION activity_is_append_only() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN RAISE EXCEPTION '{_SAY}'; END $$""",
        """CREATE OR REPLACE TRIGGER activity_append_only BEFORE UPDATE OR DELETE OR TRUNCATE
            ON activity FOR EACH STATEMENT EXECUTE FUNCTION activity_is_append_only()""",
    ),
}
"""Statements by which a database keeps its activities, by dialect; each may run again."""


class Outcome(StrEnum):
    """How it ended."""

    DONE = "done"
    REFUSED = "refused"
    """A rule said no."""
    FAILED = "failed"
    """It was allowed, and did not come about."""


def protect(connection: sa.Connection) -> None:
    """Let the database refuse to change or delete activities."""
    for statement in PROTECTION[connection.dialect.name]:
        connection.exec_driver_sql(statement)


@sa.event.listens_for(activity, "after_create")
def _protect_new(_: sa.Table, connection: sa.Connection, **__: object) -> None:
    protect(connection)


def record(
    connection: sa.Connection, *, actor: str, action: str, object: str, outcome: Outcome | str,
    address: str, detail: Mapping[str, Any], now: float,
) -> None:  # fmt: skip
    """Add an activity to the transaction of *connection*.

    Args:
        connection: The writer's.
        actor: An operator's name, `parent`, or `cli:USER`.
        action: What was done or tried, such as `child.accept`.
        object: To what, such as `child/ch_...`.
        outcome: An `Outcome`.
        address: Where the request came from; `local` for the command line.
        detail: What else is worth knowing; never a secret.
        now: Seconds since the epoch.
    """
    text = json.dumps(plain(dict(detail)), sort_keys=True, default=str)
    if len(text) > MAX_DETAIL:
        text = json.dumps({"too_long": sorted(plain(str(key))[:64] for key in detail)[:32]})
    connection.execute(
        sa.insert(activity).values(
            at=now, actor=plain(actor)[:MAX_NAME], action=action, object=plain(object)[:MAX_NAME],
            outcome=str(outcome), address=plain(address)[:64], detail=text,
        )
    )  # fmt: skip


def plain(value: Any) -> Any:
    """Return *value* with texts that any database takes: neither NUL nor half a character."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


class RefusalBudget:
    """How many refusals may be written, so that nobody fills the disk with them.

    Safe for any thread. What is left out is counted, and told with the next that is written.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since = 0.0
        self._written = 0
        self._left_out = 0

    def admit(self, now: float) -> int | None:
        """Return how many were left out since the last one that was written; None to leave it out.

        Args:
            now: Seconds of a clock that does not go back.
        """
        with self._lock:
            if now - self._since >= _SPAN_S:
                self._since, self._written = now, 0
            if self._written >= MAX_REFUSALS:
                self._left_out += 1
                return None
            self._written += 1
            left_out, self._left_out = self._left_out, 0
            return left_out
