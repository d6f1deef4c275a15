"""What the command line does to a parent, in its folder, whether it serves or not.

Each change is one transaction with its activity, whose actor is `cli:USER`. A server that runs
meanwhile reads operators, tokens and children's states from the database, so it knows at once or
within the seconds for which it remembers a child's key.
"""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from chittyops_core.errors import NotFoundError, UsageError
from chittyops_core.parent import activities, backup, migrations
from chittyops_core.parent.access import Role
from chittyops_core.parent.activities import Outcome
from chittyops_core.parent.app import Parent
from chittyops_core.parent.operators import accounts
from chittyops_core.parent.operators.accounts import Account
from chittyops_core.parent.operators.passwords import make_hash
from chittyops_core.parent.schema import child
from chittyops_core.parent.server import open_database, open_parent

__all__ = ["actor", "add_operator", "change", "child_named", "named", "opened", "upgrade"]

T = TypeVar("T")


def actor() -> str:
    """Return who types, as activities tell it."""
    return f"cli:{getpass.getuser()}"


@contextmanager
def opened(data: Path) -> Iterator[Parent]:
    """Give the parent in *data*, ready to be changed. Raises ParentError."""
    parent = open_parent(data)
    parent.database.start()
    try:
        yield parent
    finally:
        parent.database.close()


def change(
    parent: Parent, action: str, object: str, work: Callable[[sa.Connection], T],
    detail: Mapping[str, Any] | None = None,
) -> T:  # fmt: skip
    """Do *work* and record it, in one transaction."""
    now = time.time()

    def both(writer: sa.Connection) -> T:
        result = work(writer)
        activities.record(
            writer, actor=actor(), action=action, object=object, outcome=Outcome.DONE,
            address="local", detail=detail or {}, now=now,
        )  # fmt: skip
        return result

    return parent.database.write(both)


def add_operator(parent: Parent, name: str, role: Role, password: str) -> Account:
    """Add an operator with a password. Raises UsageError, RefusedError."""
    name = accounts.normal_name(name)
    hash = make_hash(accounts.normal_password(password, name=name))
    return change(
        parent, "operator.add", f"operator/{name}",
        lambda writer: accounts.add(
            writer, name=name, role=role, password=hash, now=time.time()
        ),
        {"role": str(role)},
    )  # fmt: skip


def named(connection: sa.Connection, name: str) -> Account:
    """Return the operator with a name. Raises NotFoundError."""
    found = accounts.by_name(connection, name.strip().lower())
    if found is None:
        raise NotFoundError(
            f"there is no operator {name!r}", remedy="`chittyops parent operator list` has them."
        )
    return found


def child_named(connection: sa.Connection, word: str) -> str:
    """Return the id of a child, by its id or by its name where only one has it.

    Raises:
        NotFoundError: None has it.
        UsageError: Several have it.
    """
    rows = connection.execute(
        sa.select(child.c.id).where(sa.or_(child.c.id == word, child.c.name == word)).limit(10)
    ).scalars()
    found = list(rows)
    if not found:
        raise NotFoundError(
            f"there is no child {word!r}", remedy="`chittyops parent children` lists them."
        )
    if len(found) > 1 and word not in found:
        raise UsageError(f"several children are called {word!r}: {', '.join(sorted(found))}")
    return word if word in found else found[0]


def upgrade(data: Path, *, to: Path) -> tuple[str, str]:
    """Bring the database up to date after a backup to *to*; return the revisions before and after.

    Raises:
        ParentError: It serves, the backup cannot be made, or the database not be changed.
    """
    database = open_database(data)
    try:
        before = migrations.revision(database) or ""
        if migrations.is_current(database):
            return before, before
        database.start(exclusive=True)
        backup.back_up(data, to, by=actor(), now=time.time())
        migrations.upgrade(database)
        return before, migrations.revision(database) or ""
    finally:
        database.close()
