"""What the commands of `chittyops parent` share."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import click

from chittyops_core.errors import UsageError

__all__ = ["NO_ENVIRONMENT", "data_option", "reason_option", "require_extra", "shown", "yes_option"]

F = TypeVar("F", bound=Callable[..., Any])

NEEDED = ("alembic", "argon2", "authlib", "granian", "jinja2", "litestar", "msgspec", "sqlalchemy")

NO_ENVIRONMENT = "PGPASSFILE, PGSSLMODE and their like, where it is on PostgreSQL"
"""What `chittyops parent` reads instead of a host's variables."""

_data_path = click.Path(file_okay=False, path_type=Path)
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
reason_option = click.option("--reason", default="", metavar="TEXT", help="Why, for the activity.")


def data_option(function: F) -> F:
    """Add --data: which parent."""
    return click.option(
        "--data", required=True, metavar="DIR", type=_data_path, help="The parent's folder."
    )(function)  # fmt: skip


def require_extra() -> None:
    """Raise UsageError unless what a parent needs is installed."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"a parent needs more than is installed here ({', '.join(missing)})",
            remedy="pip install 'chittyops-core[parent]'",
        )


def shown(at: float | None) -> str:
    """Return a time as a person reads it, in UTC."""
    return "-" if at is None else time.strftime("%Y-%m-%d %H:%M", time.gmtime(at))
