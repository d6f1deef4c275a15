"""The host's steps that are about its parent: enrol, look, pause, leave."""

from __future__ import annotations

import os
from typing import Any

from chittyops_core._kit import files, wire
from chittyops_core.deploy.journal import Journal
from chittyops_core.deploy.targets.local import Layout, LocalTarget
from chittyops_core.errors import NotFoundError
from chittyops_core.host.bridge_events import is_enrolled, tell
from chittyops_core.host.facts import host_facts
from chittyops_core.host.wake import wake_bridge

__all__ = ["BridgeSteps"]


class BridgeSteps:
    """What `Host` does about its parent; each public method is a step."""

    _layout: Layout
    _journal: Journal
    _target: LocalTarget

    def step_bridge(self) -> Any:
        """Return how it stands with the parent; None for a host that has none."""
        if not is_enrolled(self._layout):
            return None
        from chittyops_core.bridge.status import status

        return wire.to_wire(status(self._layout.bridge))

    def step_bridge_grants(self) -> Any:
        """Return what a parent may see, and of which services."""
        from chittyops_core.bridge.consent import Grants

        grants = Grants.read(self._layout.bridge)
        slugs = [service.slug for service in self._journal.services()]
        return {
            "file": str(self._layout.bridge / "grants.toml"),
            "caps": list(grants.caps()),
            "services": {slug: grants.covers(slug) for slug in slugs},
        }

    def step_enrol(self, *, url: str, token: str, name: str) -> Any:
        """Ask a parent to take this host, and report to it from now on.

        Whoever answers is believed only when it holds the key that the token names.
        """
        from requests.utils import get_environ_proxies

        from chittyops_core.bridge.enrol import enrol
        from chittyops_core.bridge.membership import require_url

        url = require_url(url)
        files.ensure_private_dir(self._layout.bridge)
        facts = host_facts()
        member = enrol(
            self._layout.bridge, url, token, name or str(facts["hostname"]), facts,
            # The agent's environment is not that of whoever enrols.
            ca_file=os.environ.get("REQUESTS_CA_BUNDLE", ""),
            proxy=get_environ_proxies(url).get(url.partition(":")[0], ""),
        )  # fmt: skip
        wake_bridge(self._layout.home)
        told = wire.to_wire(member)
        del told["proxy"]  # It may hold a password.
        return told

    def step_bridge_pause(self) -> None:
        """Send nothing until `bridge_resume`; what happens meanwhile is kept."""
        self._require_parent()
        files.write_durably(self._layout.bridge / "paused", "")

    def step_bridge_resume(self) -> None:
        self._require_parent()
        (self._layout.bridge / "paused").unlink(missing_ok=True)
        wake_bridge(self._layout.home)

    def step_bridge_sync(self) -> Any:
        """Ask the agent to sync now; say whether one was there to be asked."""
        self._require_parent()
        return wake_bridge(self._layout.home)

    def step_bridge_rotate(self) -> Any:
        """Give this host a new key; return its id."""
        self._require_parent()
        from chittyops_core.bridge.enrol import rotate_key

        key = rotate_key(self._layout.bridge)
        tell(self._layout, "bridge.key_rotated", key=key)
        return key

    def step_bridge_leave(self, *, reason: str, force: bool) -> None:
        """Report no more. With *force* also where the parent cannot be told."""
        self._require_parent()
        from chittyops_core.bridge.enrol import leave

        leave(self._layout.bridge, reason, force=force)

    def _require_parent(self) -> None:
        if not is_enrolled(self._layout):
            raise NotFoundError(
                "this host has no parent",
                remedy="`chittyops enroll URL TOKEN` gives it one; the token comes from there.",
            )
