"""How whoever changed something lets the agent tell the parent at once."""

from __future__ import annotations

import http.client
from pathlib import Path

from chittyops_core._kit.unix_http import UnixHTTPConnection

__all__ = ["SYNC_PATH", "wake_bridge"]

SYNC_PATH = "/v1/bridge/sync"
"""Of the agent's socket for operators."""

WAIT_S = 1.0
"""The agent answers from memory. One that does not is told by its own look, two seconds later."""


def wake_bridge(home: Path) -> bool:
    """Ask the agent of *home* to sync with the parent now; return whether it has one.

    It returns at once where there is no parent, no agent, or an agent that does not answer.
    """
    if not (home / "bridge" / "membership.json").exists():
        return False
    agent = UnixHTTPConnection(str(home / "run" / "agent.sock"), timeout_s=WAIT_S)
    try:
        agent.request("POST", SYNC_PATH, headers={"Host": "agent", "Content-Length": "0"})
        return agent.getresponse().status == 202
    except (OSError, http.client.HTTPException):
        return False
    finally:
        agent.close()
