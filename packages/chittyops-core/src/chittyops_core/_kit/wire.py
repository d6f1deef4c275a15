"""Values to JSON and back, in one place: the wire is not the model.

Durations travel as seconds, times as ISO 8601 in UTC, enums as their values. Unknown keys are
ignored here on purpose (a newer peer may send more); the manifest has a stricter reader.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeVar

from cattrs import Converter
from cattrs.strategies import configure_union_passthrough

__all__ = ["canonical", "digest", "from_wire", "to_wire"]

T = TypeVar("T")


@cache
def _converter() -> Converter:
    converter = Converter()
    configure_union_passthrough(str | int | float | bool | None, converter)
    converter.register_unstructure_hook(timedelta, lambda value: value.total_seconds())
    converter.register_structure_hook(timedelta, lambda value, _: timedelta(seconds=value))
    converter.register_unstructure_hook(datetime, lambda value: value.isoformat())
    converter.register_structure_hook(datetime, lambda value, _: datetime.fromisoformat(value))
    return converter


def to_wire(value: object) -> Any:
    """Return *value* (attrs classes, collections, scalars) as JSON-serialisable values."""
    return _converter().unstructure(value)


def from_wire(cls: type[T], data: Any) -> T:
    """Rebuild a *cls* from what `to_wire` returned. Raises what cattrs raises on a misfit."""
    return _converter().structure(data, cls)


def canonical(value: object) -> bytes:
    """Return the one JSON text of *value*: keys sorted, no spaces, UTF-8."""
    return json.dumps(
        to_wire(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    ).encode()


def digest(value: object) -> str:
    """Return the SHA-256 of `canonical(value)` as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(value)).hexdigest()
