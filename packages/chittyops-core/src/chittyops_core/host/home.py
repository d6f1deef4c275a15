"""Where a host keeps everything."""

from __future__ import annotations

import os
from pathlib import Path

from chittyops_core.errors import HostError

__all__ = ["default_home"]


def default_home() -> Path:
    """Return `CHITTYOPS_HOME`, else /var/lib/chittyops for root, else the XDG state directory.

    (XDG Base Directory Specification 0.8: `$XDG_STATE_HOME`, default `~/.local/state`.)
    """
    if chosen := os.environ.get("CHITTYOPS_HOME"):
        path = Path(chosen)
        if not path.is_absolute():
            raise HostError(
                f"CHITTYOPS_HOME={chosen!r} is not absolute", remedy="Give a path that is."
            )
        return path
    if os.geteuid() == 0:
        return Path("/var/lib/chittyops")
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "chittyops"
