"""What goes over the wire as JSON that every reader takes: Unicode, and of limited depth."""

from __future__ import annotations

import hashlib
import json

from chittyops_core.errors import UsageError

__all__ = ["digest", "to_text"]

MAX_DEPTH = 32
"""Of lists and objects in each other, so that no reader has to give up."""


def to_text(value: object, max_bytes: int) -> str:
    """Return *value* as JSON with sorted keys; characters that are no Unicode text become `?`.

    Raises:
        UsageError: It is no JSON, deeper than `MAX_DEPTH`, or has more than *max_bytes*.
    """
    if _depth(value) > MAX_DEPTH:
        raise UsageError(f"a body may have {MAX_DEPTH} levels")
    try:
        text = json.dumps(
            value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"a body is no JSON: {error}") from error
    raw = text.encode("utf-8", "replace")
    if len(raw) > max_bytes:
        raise UsageError(
            f"a body has {len(raw)} bytes, and may have {max_bytes}",
            remedy="Say less in it, and where the rest is to be found.",
        )
    return raw.decode()


def digest(text: str) -> str:
    """Return what `digests` of a sync says of a section with this text (section 7.2)."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _depth(value: object) -> int:
    """Return how deep lists and objects lie in each other, without recursion."""
    level: list[object] = [value]
    depth = 0
    while level and depth <= MAX_DEPTH:
        inner: list[object] = []
        for each in level:
            if isinstance(each, dict):
                inner += each.values()
            elif isinstance(each, list | tuple):
                inner += each
        level, depth = inner, depth + 1
    return depth
