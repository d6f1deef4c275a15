"""Durations and sizes, as people write and read them."""

from __future__ import annotations

__all__ = ["DURATIONS", "SIZES", "show_duration"]

DURATIONS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
"""Mapping of unit to seconds."""

SIZES = {
    **{unit: 1000.0 ** (power + 1) for power, unit in enumerate("KMGT")},
    **{f"{unit}i": 1024.0 ** (power + 1) for power, unit in enumerate("KMGT")},
}
"""Mapping of unit to bytes."""


def show_duration(seconds: float) -> str:
    """Return *seconds* as a person reads it: `740ms`, `12.5s`, `3h`, `14d`."""
    size = abs(seconds)
    unit = next((u for u in ("d", "h", "m", "s") if size >= DURATIONS[u]), "ms")
    digits = 3 if unit == "ms" else 4
    return f"{seconds / DURATIONS[unit]:.{digits}g}{unit}"
