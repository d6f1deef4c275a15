"""Contrast as WCAG 2.1 defines it, and a colour that keeps it."""

from __future__ import annotations

__all__ = ["contrast", "readable"]

MIN_TEXT_CONTRAST = 4.5
"""WCAG 2.1, success criterion 1.4.3."""


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours `#rrggbb`, 1 to 21 (WCAG 2.1, "contrast ratio")."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def readable(colour: str, *backgrounds: str) -> str:
    """Return *colour*, moved towards black or white until text in it can be read.

    It moves away from the first background: towards black from a light one, else towards white.
    """
    target = 0 if _luminance(backgrounds[0]) > 0.18 else 255
    channels = _channels(colour)
    for step in range(101):
        mixed = [round(c + (target - c) * step / 100) for c in channels]
        candidate = "#{:02x}{:02x}{:02x}".format(*mixed)
        if all(contrast(candidate, b) >= MIN_TEXT_CONTRAST for b in backgrounds):
            return candidate
    return candidate


def _channels(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def _luminance(colour: str) -> float:
    """Return the relative luminance, 0 to 1."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (channel / 255 for channel in _channels(colour))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
