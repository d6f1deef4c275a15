"""Writes the next revision of the parent's schema, from what `schema.py` says now.

    python tools/make_migration.py "What changes"

With `--first` it writes the first one anew, which is allowed until a version was released.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.runtime.migration import MigrationContext

from chittyops_core.parent import migrations
from chittyops_core.parent.database import Database
from chittyops_core.parent.schema import METADATA

VERSIONS = Path(migrations.__file__).parent / "versions"

TEXT = '''"""{message}"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = {revision!r}
down_revision = {before!r}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    {code}
'''


def main(words: list[str]) -> None:
    is_first = "--first" in words
    message = "The first tables." if is_first else words[0]
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/parent.db")
        if not is_first:
            migrations.upgrade(database)
        with database.alone() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            before = context.get_current_revision()
            steps = produce_migrations(context, METADATA).upgrade_ops
        database.close()
    if steps is None or steps.is_empty():
        sys.exit("schema.py has nothing new")
    number = f"{int(before or 0) + 1:04}"
    code = render_python_code(steps, migration_context=context).replace("# ###", "#")
    lines = [line for line in code.splitlines() if not line.strip().startswith("#")]
    text = TEXT.format(
        message=message, revision=number, before=before, code="\n".join(lines).strip()
    )
    path = VERSIONS / f"v{number}.py"
    path.write_text(text)
    print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
