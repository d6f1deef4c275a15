"""What names, labels and bounds of an app's metrics may be."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from chittyops_core.errors import UsageError

__all__ = ["Labels", "check_name", "check_text", "read_bounds", "read_labels"]

Labels = tuple[tuple[str, str], ...]
"""Names and values, by name."""

MAX_LABELS = 16
MAX_LABEL_CHARS = 200

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_./-]{0,254}\Z", re.ASCII)
"""OpenTelemetry metrics API, instrument name syntax."""
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,99}\Z", re.ASCII)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""OpenTelemetry semantic conventions, http.server.request.duration."""
_PLAIN = (0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1e3, 2.5e3, 5e3, 7.5e3, 1e4)
"""OpenTelemetry metrics SDK, explicit bucket histogram."""


def check_name(name: object) -> None:
    """Raise UsageError unless *name* can be a metric's."""
    if not isinstance(name, str) or not _NAME.match(name):
        raise UsageError(
            f"{name!r} is no name of a metric",
            remedy="Use letters, digits and _ . - / (255 at most), with a letter first.",
        )


def check_text(name: str, what: str, text: object, longest: int) -> None:
    """Raise UsageError unless *text*, a metric's unit or description, is one short line."""
    if not isinstance(text, str) or len(text) > longest or not text.isprintable():
        raise UsageError(f"the {what} of {name!r} is no line of at most {longest} letters")


def read_bounds(name: str, unit: str, bounds: Sequence[float] | None) -> tuple[float, ...]:
    """Return the upper bounds of a histogram's buckets. Raises UsageError for what cannot be."""
    if bounds is None:
        return _SECONDS if unit == "s" else _PLAIN
    try:
        made = tuple(float(bound) for bound in bounds)
    except (TypeError, ValueError, OverflowError):
        made = ()
    is_rising = all(low < high for low, high in pairwise(made))
    if not 0 < len(made) <= 100 or not is_rising or not all(map(math.isfinite, made)):
        raise UsageError(f"the bounds of {name!r} are not 1 to 100 finite numbers that rise")
    return made


def read_labels(written: Mapping[str, object]) -> Labels | None:
    """Return *written* by name and as texts; None for what cannot be."""
    if len(written) > MAX_LABELS or not all(map(_LABEL.match, written)):
        return None
    try:
        return tuple(sorted((key, _text(value)) for key, value in written.items()))
    except Exception:  # Whatever a value's __str__ raises.
        return None


def _text(value: object) -> str:
    text = str(value)[:MAX_LABEL_CHARS]
    return text.encode("utf-8", "replace").decode()
