"""How each status is said and shown: words, a shape and a colour, never a colour alone."""

from __future__ import annotations

from attrs import frozen

from chittyops_core.monitor.page.markup import Safe
from chittyops_core.monitor.page.snapshot import (
    ComponentStatus,
    Impact,
    IncidentStatus,
    Indicator,
    MaintenanceStatus,
)

__all__ = ["SPRITE", "Look", "icon", "look_of", "said"]


@frozen
class Look:
    """How a status appears.

    Attributes:
        words: What a person reads.
        tone: Class `s-TONE` of the style sheet, which sets the colours.
        shape: Name of the icon.
    """

    words: str
    tone: str
    shape: str


_COMPONENT = {
    ComponentStatus.OPERATIONAL: Look("Operational", "ok", "ok"),
    ComponentStatus.UNDER_MAINTENANCE: Look("Under maintenance", "info", "pause"),
    ComponentStatus.NO_DATA: Look("No data", "none", "unknown"),
    ComponentStatus.DEGRADED_PERFORMANCE: Look("Degraded performance", "minor", "minus"),
    ComponentStatus.PARTIAL_OUTAGE: Look("Partial outage", "major", "alert"),
    ComponentStatus.MAJOR_OUTAGE: Look("Major outage", "bad", "cross"),
}
_INDICATOR = {
    Indicator.NONE: Look("", "ok", "ok"),
    Indicator.MAINTENANCE: Look("", "info", "pause"),
    Indicator.MINOR: Look("", "minor", "minus"),
    Indicator.MAJOR: Look("", "major", "alert"),
    Indicator.CRITICAL: Look("", "bad", "cross"),
}
_IMPACT = {
    Impact.NONE: Look("No impact", "none", "unknown"),
    Impact.MINOR: Look("Minor impact", "minor", "minus"),
    Impact.MAJOR: Look("Major impact", "major", "alert"),
    Impact.CRITICAL: Look("Critical impact", "bad", "cross"),
}

_SHAPES = {
    "ok": '<circle cx="10" cy="10" r="9"/><path class="g" d="M6 10.4l2.8 2.8L14.2 7.4"/>',
    "minus": '<circle cx="10" cy="10" r="9"/><path class="g" d="M6.2 10h7.6"/>',
    "alert": (
        '<path d="M8.5 2.2a1.7 1.7 0 0 1 3 0l7.2 13.2a1.7 1.7 0 0 1-1.5 2.6H2.8a1.7 1.7 0 0 1-1.5'
        '-2.6z"/><path class="g" d="M10 7.2v4.4M10 14.8v.1"/>'
    ),
    "cross": (
        '<path d="M6.3 1h7.4L19 6.3v7.4L13.7 19H6.3L1 13.7V6.3z"/>'
        '<path class="g" d="M7 7l6 6M13 7l-6 6"/>'
    ),
    "pause": '<rect x="1" y="1" width="18" height="18" rx="4"/>'
    '<path class="g" d="M7.5 6.5v7M12.5 6.5v7"/>',
    "unknown": '<circle class="r" cx="10" cy="10" r="8" stroke-dasharray="3.2 3.083"/>',
}
SPRITE = Safe(
    '<svg width="0" height="0" aria-hidden="true" focusable="false">'
    + "".join(
        f'<symbol id="i-{name}" viewBox="0 0 20 20">{shape}</symbol>'
        for name, shape in _SHAPES.items()
    )
    + "</svg>"
)
"""All icons, once a page; `icon` refers to them."""


def icon(shape: str) -> Safe:
    """Return an icon. It is hidden from screen readers: the words beside it say the same."""
    return Safe(
        f'<svg class="i" aria-hidden="true" focusable="false"><use href="#i-{shape}"/></svg>'
    )


def look_of(status: ComponentStatus | Indicator | Impact) -> Look:
    """Return how *status* appears."""
    if isinstance(status, ComponentStatus):
        return _COMPONENT[status]
    if isinstance(status, Impact):
        return _IMPACT[status]
    return _INDICATOR[status]


def said(status: IncidentStatus | MaintenanceStatus) -> str:
    """Return *status* as a person would say it: `In progress`."""
    return status.value.replace("_", " ").capitalize()
