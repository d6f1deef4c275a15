"""The installed lites: entry point group `chittyops.lites`, a kind's name to its OpsLite class."""

from __future__ import annotations

import difflib
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from chittyops_core.errors import UsageError

if TYPE_CHECKING:
    from chittyops_core.lite import OpsLite

__all__ = ["DEFAULT_KIND", "installed", "lite_of"]

OURS = ("cook-county", "digital-dossier", "chitty-apps")
"""Kinds whose distributions are this project's own."""

DEFAULT_KIND = "chitty-apps"
"""For folders that name none: the kind that asks nothing of them."""


def installed() -> list[str]:
    """Return the kinds that can be used here, sorted."""
    return sorted(entry.name for entry in entry_points(group="chittyops.lites"))


def lite_of(kind: str | None) -> type[OpsLite]:
    """Return the class that operates *kind*. Raises UsageError with how to install it."""
    name = kind or DEFAULT_KIND
    found = [entry for entry in entry_points(group="chittyops.lites") if entry.name == name]
    if not found:
        here = ", ".join(installed()) or "none"
        nearest = difflib.get_close_matches(name, {*OURS, *installed()}, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest and nearest[0] != name else ""
        raise UsageError(
            f"the kind {name!r} is not installed here; installed: {here}{hint}",
            # Never a name as somebody typed it: who knows what it would install.
            remedy=f"pip install chittyops-lite-{name}, or choose one with --kind."
            if name in OURS
            else "Choose one with --kind, or app.kind in chittyops.toml.",
        )
    lite: type[OpsLite] = found[0].load()
    return lite
