"""The agent's side of the bridge: it runs while this host has a parent, and not otherwise.

Nothing is imported, started or opened before that: an agent without a parent is as small as if
there were no bridge. Enrolling and leaving are noticed by a look at one file.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from chittyops_core._kit.logs import get_logger
from chittyops_core.deploy.targets.local import Layout, LocalTarget
from chittyops_core.host.promises import Promise
from chittyops_core.monitor.buffer import BufferedStore
from chittyops_core.monitor.watch import Watch

if TYPE_CHECKING:
    from chittyops_core.host.bridge_run import BridgeRun

__all__ = ["BridgeLink"]

log = get_logger("chittyops.agent")

AGAIN_S = 60.0
"""A bridge that could not be started, or ended by an error, is started again after so long."""


class BridgeLink:
    """Starts and stops the bridge of one home; `look` and `close` are for one thread."""

    def __init__(
        self,
        layout: Layout,
        target: LocalTarget,
        store: BufferedStore,
        watch: Watch,
        promises: Callable[[], list[Promise]],
    ) -> None:
        self._layout = layout
        self._parts = layout, target, store, watch, promises
        self._membership = layout.bridge / "membership.json"
        self._run: BridgeRun | None = None
        self._began: float | None = time.time()
        """When the agent began; None once that is told."""
        self._tried_at = float("-inf")
        self._lock = threading.Lock()

    def look(self) -> None:
        """Notice whether there is a parent, and put what happened into the outbox."""
        with self._lock:
            if not self._membership.exists():
                self._end()
                return
            if self._run is not None and self._run.is_over:
                self._end()
            if self._run is None and not self._start():
                return
            assert self._run is not None
            self._run.look()

    def sync(self) -> bool:
        """Put what happened, and sync soon; return whether there is a parent. From any thread."""
        with self._lock:
            if self._run is None:
                return False
            self._run.look()
            self._run.wake()
            return True

    def close(self) -> None:
        """End the bridge, if it runs; what it could not send stays in the outbox."""
        with self._lock:
            self._end()

    def _start(self) -> bool:
        if time.monotonic() < self._tried_at + AGAIN_S:
            return False
        self._tried_at = time.monotonic()
        try:
            from chittyops_core.host.bridge_events import event_of
            from chittyops_core.host.bridge_run import BridgeRun

            self._run = BridgeRun(*self._parts)
            if self._began is not None:
                self._run.put(event_of("agent.started", self._began))
                self._began = None
        except Exception:
            # Such as a file that somebody edited. What is watched goes on being watched.
            log.exception("agent.bridge_not_started")
            return False
        log.info("agent.bridge_started")
        return True

    def _end(self) -> None:
        if self._run is not None:
            self._run.close()
            self._run = None
            self._tried_at = float("-inf")
            log.info("agent.bridge_ended")
