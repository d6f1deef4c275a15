"""The host's steps that are about its parent: enrol, look, pause, leave."""

from __future__ import annotations

from typing import Any

from chittyops_core._kit import files, wire
from chittyops_core.deploy.journal import Journal
from chittyops_core.deploy.targets.local import Layout
from chittyops_core.errors import NotFoundError
from chittyops_core.host.bridge_events import is_enrolled, tell
from chittyops_core.host.facts import host_facts
from chittyops_core.host.wake import wake_bridge

__all__ = ["BridgeSteps"]


class BridgeSteps:
    """What `Host` does about the parent; each public method is a step."""

    _layout: Layout
    _journal: Journal

    def step_enrol(self, *, url: str, token: str, name: str) -> Any:
        """Ask the parent to take this host; what came of it is kept, and reported from now on."""
        from chittyops_core.bridge.enrol import enrol

        files.ensure_private_dir(self._layout.bridge)
        membership = enrol(self._layout.bridge, url, token, name, host_facts())
        wake_bridge(self._layout.home)
        return wire.to_wire(membership)
