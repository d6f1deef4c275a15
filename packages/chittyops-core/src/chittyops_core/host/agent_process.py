"""How the agent is kept running beside the edge."""

from __future__ import annotations

import sys

from chittyops_core.deploy.targets.local import Companion, Layout

__all__ = ["PAGE_HOST", "agent_of"]

PAGE_HOST = "status.localhost"
"""Where the edge shows the status page, to this machine only; see `names.RESERVED_APPS`."""


def agent_of(layout: Layout) -> Companion:
    """Return the agent of a home, from this very environment."""
    return Companion(
        name="agent",
        argv=(sys.executable, "-I", "-m", "chittyops_core.host.agent", str(layout.home)),
        folder=layout.monitor,
        host=PAGE_HOST,
        socket=layout.page_socket,
    )
