"""Brings a database to the schema that this version works with. Alembic, without its own files.

Every upgrade is one transaction: a database is as it was before, or up to date.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from chittyops_core.errors import ParentError
from chittyops_core.parent import activities
from chittyops_core.parent.database import Database
from chittyops_core.parent.schema import METADATA

__all__ = ["is_current", "require_current", "revision", "upgrade"]


def upgrade(database: Database) -> None:
    """Bring *database* up to date, also from nothing; do nothing where it is.

    Raises:
        ParentError: A newer version wrote it (fact `cause`: newer), or it cannot be written.
    """
    script = _script()

    def steps(found: Any, _: Any) -> Any:
        return script._upgrade_revs("head", found)

    with database.alone() as connection:
        _require_known(script, _found(connection))
        context = MigrationContext.configure(
            connection, opts={"target_metadata": METADATA, "fn": steps, "transactional_ddl": True}
        )
        with Operations.context(context):
            context.run_migrations()
        activities.protect(connection)


def is_current(database: Database) -> bool:
    """Whether *database* is as this version works with it. Raises ParentError: it is newer."""
    return revision(database) == _script().get_current_head()


def require_current(database: Database) -> None:
    """Raise ParentError unless *database* is as this version works with it."""
    if not is_current(database):
        raise ParentError(
            "the database is older than this version of chittyops-core",
            remedy="Make a backup, then: chittyops parent upgrade",
            cause="older",
        )


def revision(database: Database) -> str | None:
    """Return the revision of *database*; None where nothing is there yet. Raises ParentError."""
    with database.reading() as connection:
        found = _found(connection)
    _require_known(_script(), found)
    return found


def _found(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _require_known(script: ScriptDirectory, found: str | None) -> None:
    if found is not None and found not in {each.revision for each in script.walk_revisions()}:
        raise ParentError(
            f"the database was written by a newer version of chittyops-core (its revision is "
            f"{found}, this one reads up to {script.get_current_head()})",
            remedy="pip install --upgrade 'chittyops-core[parent]'",
            cause="newer",
        )


def _script() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)
