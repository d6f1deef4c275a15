"""How each status and state is said and shown: words, a shape and a colour, never one alone.

The status page's looks, shapes and colours are the family's; here are only those that a fleet has
beyond them.
"""

from __future__ import annotations

from markupsafe import Markup

from chittyops_core.bridge.protocol import ChildState, Status
from chittyops_core.monitor.page.snapshot import ComponentStatus
from chittyops_core.monitor.page.words import SPRITE as FAMILY_SPRITE
from chittyops_core.monitor.page.words import Look, look_of

__all__ = ["ORDER", "OVERDUE", "SPRITE", "Look", "icon", "kind_words", "state_look", "status_look"]

ORDER = (
    Status.MAJOR, Status.PARTIAL, Status.DEGRADED, Status.MAINTENANCE, Status.UNKNOWN,
    Status.OPERATIONAL,
)  # fmt: skip
"""Statuses by how soon somebody should look."""

OVERDUE = Look("Overdue", "bad", "clock")

_STATES = {
    ChildState.PENDING: Look("Asks to join", "info", "ask"),
    ChildState.ACCEPTED: Look("Accepted", "ok", "ok"),
    ChildState.REJECTED: Look("Rejected", "none", "minus"),
    ChildState.REVOKED: Look("Revoked", "none", "cross"),
    ChildState.LEFT: Look("Left", "none", "left"),
    ChildState.CLONED: Look("Cloned", "bad", "alert"),
}
_SHAPES = {
    "clock": '<circle cx="10" cy="10" r="9"/><path class="g" d="M10 5v5.3l3.4 2.2"/>',
    "ask": '<circle cx="10" cy="10" r="9"/><path class="g" d="M10 5.8v8.4M5.8 10h8.4"/>',
    "left": '<path class="r" d="M8 3H3v14h5M8 10h10M14 6l4 4-4 4"/>',
    "fleet": '<path class="r" d="M2 5h16M2 10h16M2 15h16"/>',
    "search": '<circle class="r" cx="8.5" cy="8.5" r="6"/><path class="r" d="M13 13l5.5 5.5"/>',
}
SPRITE = Markup(  # noqa: S704 - literals of this package
    str(FAMILY_SPRITE).removesuffix("</svg>")
    + "".join(
        f'<symbol id="i-{name}" viewBox="0 0 20 20">{shape}</symbol>'
        for name, shape in _SHAPES.items()
    )
    + "</svg>"
)
"""All icons, once a page."""


def status_look(status: str) -> Look:
    """Return how a `Status` appears; what a newer child says appears as it says it."""
    if status == Status.UNKNOWN:
        return Look("Unknown", "none", "unknown")
    try:
        return look_of(ComponentStatus(status))
    except ValueError:
        return _unheard_of(status)


def state_look(state: str) -> Look:
    """Return how a `ChildState` appears."""
    try:
        return _STATES[ChildState(state)]
    except ValueError:
        return _unheard_of(state)


def kind_words(kind: str) -> str:
    """Return how the kind of a child's services is said."""
    return kind or "no service"


def icon(shape: str) -> Markup:
    """Return an icon. It is hidden from screen readers: the words beside it say the same."""
    return Markup(
        '<svg class="i" aria-hidden="true" focusable="false"><use href="#i-{}"/></svg>'
    ).format(shape)


def _unheard_of(text: str) -> Look:
    """Return a look for what a newer version said: any text."""
    return Look(text.replace("_", " ").capitalize() or "Unknown", "none", "unknown")
