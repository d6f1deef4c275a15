"""The bridge while it runs in the agent: what is reported, what happened, and who sends it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from chittyops_core._kit.logs import get_logger
from chittyops_core.bridge.loop import ParentBridge, Report
from chittyops_core.bridge.outbox import Outbox
from chittyops_core.deploy.targets.local import Layout, LocalTarget
from chittyops_core.host.bridge_events import Collector, HostEvent
from chittyops_core.host.bridge_report import Reporter
from chittyops_core.host.promises import Promise
from chittyops_core.monitor.buffer import BufferedStore
from chittyops_core.monitor.watch import Watch

__all__ = ["BridgeRun"]

log = get_logger("chittyops.bridge")

END_S = 5.0
"""How long the agent waits for a request under way when it ends."""


class BridgeRun:
    """One membership's bridge, from its start to its end."""

    def __init__(
        self,
        layout: Layout,
        target: LocalTarget,
        store: BufferedStore,
        watch: Watch,
        promises: Callable[[], list[Promise]],
    ) -> None:
        self._reporter = Reporter(layout, target, store, watch, promises)
        self._bridge = ParentBridge(layout.bridge, self._report)
        self._outbox = Outbox(layout.bridge / "outbox.db")
        self._collector = Collector(layout, store, self._outbox)
        self._stop = threading.Event()
        self._statuses: dict[str, str] | None = None
        self._trouble = ""
        self._thread = threading.Thread(target=self._keep_syncing, name="bridge", daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether the bridge ended by itself, which it never should."""
        return not self._thread.is_alive()

    def put(self, event: HostEvent) -> None:
        """Put *event* into the outbox; one that is urgent is sent at once."""
        self._outbox.put(event.kind, event.body, urgent=event.is_urgent)

    def look(self) -> None:
        """Put what happened since the last look, and sync soon when a service changed its state.

        It never fails: what cannot be written now is read again by the next look.
        """
        try:
            found = self._collector.collect()
            statuses = self._reporter.statuses()
        except Exception as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                log.warning("bridge.look_failed", error=repr(error))
            return
        self._trouble = ""
        if self._statuses not in (None, statuses) or any(each.is_urgent for each in found):
            self.wake()
        self._statuses = statuses

    def wake(self) -> None:
        """Sync soon; the bridge itself sees to it that this is not too often."""
        self._bridge.wake()

    def close(self) -> None:
        """End; a request that is under way gets a moment."""
        self._stop.set()
        self._bridge.wake()
        self._thread.join(END_S)
        self._outbox.close()

    def _keep_syncing(self) -> None:
        try:
            self._bridge.run(self._stop)
        except Exception:
            log.exception("bridge.ended")

    def _report(self) -> Report:
        return Report(self._reporter.state(), self._reporter.metrics())
