"""What was seen is what is changed: entity tags (RFC 9110) of what the API shows."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from chittyops_core.parent.operators.problems import PreconditionFailed, PreconditionRequired
from chittyops_core.parent.operators.requests import Connection

__all__ = ["etag", "require_match"]


def etag(*facts: Any) -> str:
    """Return the strong tag of what these facts say."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def require_match(connection: Connection, tag: str, *, must: bool = False) -> None:
    """Compare the request's If-Match with what is there now; inside the changing transaction.

    Raises:
        PreconditionRequired: There is none, and it *must* be there.
        PreconditionFailed: It names something else.
    """
    sent = connection.headers.get("if-match")
    if sent is None:
        if must:
            raise PreconditionRequired
        return
    tags = {each.strip() for each in sent.split(",")}
    if "*" not in tags and tag not in tags:
        raise PreconditionFailed
