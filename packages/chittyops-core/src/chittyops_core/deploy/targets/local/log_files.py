"""Reading logs that others write: their last lines, then what is new."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from chittyops_core.deploy.targets.base import LogLine

__all__ = ["read_logs"]


def read_logs(logs: Mapping[str, Path], *, lines: int, follow: bool) -> Iterator[LogLine | None]:
    """Yield the last *lines* of each log, then new ones while *follow* (None: a pause).

    Args:
        logs: Mapping of an instance's name to its file, which need not be there yet.
        lines: Of each.
        follow: Go on for ever.
    """
    offsets: dict[str, int] = {}
    for name, path in logs.items():
        tail, offsets[name] = _tail(path, lines)
        yield from (LogLine(name, text) for text in tail)
    while follow:
        yield None
        for name, path in logs.items():
            new, offsets[name] = _read_on(path, offsets[name])
            yield from (LogLine(name, text) for text in new)


def _tail(path: Path, lines: int) -> tuple[list[str], int]:
    """Return the last *lines* of a log and how far it was read; at most its last 256 KiB."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 256 * 1024))
            found = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return [], 0
    return found[-lines:] if lines else [], end


def _read_on(path: Path, offset: int) -> tuple[list[str], int]:
    """Return the whole lines after *offset*; begin anew when the log was rotated."""
    try:
        with path.open("rb") as file:
            if file.seek(0, os.SEEK_END) < offset:
                offset = 0
            file.seek(offset)
            data = file.read(1 << 20)
    except FileNotFoundError:
        return [], 0
    whole = data[: data.rfind(b"\n") + 1]
    return whole.decode(errors="replace").splitlines(), offset + len(whole)
