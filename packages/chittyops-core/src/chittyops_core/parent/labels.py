"""Labels of children, by which operators sort them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import sqlalchemy as sa

from chittyops_core.errors import NotFoundError, UsageError
from chittyops_core.parent import terms
from chittyops_core.parent.schema import child

__all__ = ["checked", "set_labels"]

MAX_LABELS = 32
MAX_VALUE = 100
"""Characters."""

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}")


def checked(labels: Mapping[str, str]) -> dict[str, str]:
    """Return *labels* as they are kept. Raises UsageError."""
    if len(labels) > MAX_LABELS:
        raise UsageError(f"a child has at most {MAX_LABELS} labels")
    for key, value in labels.items():
        if not _KEY.fullmatch(key) or not 0 < len(value) <= MAX_VALUE or not value.isprintable():
            raise UsageError(
                f"{key[:80]!r} is no label",
                remedy="A key has letters, digits and . _ / - and at most 63; a value is plain "
                f"text of at most {MAX_VALUE} characters.",
            )
    return dict(labels)


def set_labels(connection: sa.Connection, child_id: str, labels: Mapping[str, str]) -> None:
    """Give a child these labels and no others. Raises UsageError, NotFoundError."""
    text = json.dumps(checked(labels))
    done = connection.execute(sa.update(child).where(child.c.id == child_id).values(labels=text))
    if done.rowcount != 1:
        raise NotFoundError(f"there is no child {child_id!r}")
    terms.refresh(connection, child_id)
