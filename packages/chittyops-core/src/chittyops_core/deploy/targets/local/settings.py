"""What a home was told to be like: `host.json`, whose keys belong to several modules."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from chittyops_core._kit import files
from chittyops_core.deploy.targets.local.layout import Layout
from chittyops_core.errors import HostError

__all__ = ["change_settings", "damaged", "read_settings"]


def read_settings(layout: Layout) -> dict[str, Any]:
    """Return all settings; empty before the first start. Raises HostError."""
    try:
        found = json.loads(layout.settings.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise damaged(layout) from error
    if not isinstance(found, dict):
        raise damaged(layout)
    return found


def change_settings(layout: Layout, changes: Mapping[str, Any]) -> None:
    """Keep *changes*, and whatever else is set."""
    files.write_durably(layout.settings, json.dumps({**read_settings(layout), **changes}))


def damaged(layout: Layout) -> HostError:
    return HostError(
        f"the host's settings are damaged: {layout.settings}",
        remedy="Delete the file; `chittyops host start --http-port N` writes it anew.",
    )
