"""Checks of options, each a function of what a person wrote. Each raises ValueError."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["environment", "flag", "one_of", "path", "text", "texts"]


def text(value: Any) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError(f"a printable text, not {value!r}")
    return value


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"true or false, not {value!r}")
    return value


def path(value: Any) -> Path:
    """Check for an absolute path: the agent's working folder is nobody's business."""
    found = Path(text(value))
    if not found.is_absolute():
        raise ValueError(f"an absolute path, not {value!r}")
    return found


def texts(value: Any) -> dict[str, str]:
    """Check for a mapping of text to text."""
    if not isinstance(value, Mapping) or not all(
        isinstance(part, str) for pair in value.items() for part in pair
    ):
        raise ValueError(f"a mapping of names to texts, not {value!r}")
    return dict(value)


def environment(value: Any) -> dict[str, str]:
    """Check for variables that execve(2) can pass on."""
    found = texts(value)
    for name, text_ in found.items():
        if not name or "=" in name or "\0" in name + text_:
            raise ValueError(f"a mapping of variables; {name!r} cannot be one")
    return found


class one_of:
    """A check for one of *words*."""

    def __init__(self, *words: str) -> None:
        self._words = words

    def __call__(self, value: Any) -> str:
        if value not in self._words:
            raise ValueError(f"one of {', '.join(self._words)}, not {value!r}")
        return str(value)
