"""What the agent shows of what it sees: the status page, its state, its metrics."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from chittyops_core.deploy.targets.local import Layout
from chittyops_core.host.app_link import AppLink
from chittyops_core.host.promises import Promise, state_of
from chittyops_core.model.monitoring import Monitor
from chittyops_core.monitor.buffer import BufferedStore
from chittyops_core.monitor.exposition import Family, Sample
from chittyops_core.monitor.probe_families import probe_families
from chittyops_core.monitor.prometheus_rules import MONITOR_COUNTER
from chittyops_core.monitor.watch import Watch

if TYPE_CHECKING:
    from chittyops_core.monitor.page import Page

__all__ = ["AgentView"]

FRESH_S = 2.0
"""A page is made anew after so long, however many look at it."""


class AgentView:
    """Everything that is shown; safe for many threads.

    Attributes:
        wrong: Mapping of the monitors that cannot be watched to why.
    """

    def __init__(
        self,
        layout: Layout,
        store: BufferedStore,
        watch: Watch,
        apps: AppLink,
        promises: Callable[[], list[Promise]],
        page_url: str,
    ) -> None:
        self._layout = layout
        self._store = store
        self._watch = watch
        self._apps = apps
        self._promises = promises
        self._page_url = page_url
        self._started = time.time()
        self._lock = threading.Lock()
        self._page: tuple[float, Page] | None = None
        self.wrong: Mapping[str, str] = {}

    # --- for operators ---

    def state(self) -> dict[str, Any]:
        """Return how everything stands, for JSON."""
        return {
            "pid": os.getpid(),
            "started": self._started,
            "trouble": self._store.trouble,
            "monitors": self._watch.seen(),
            "wrong": [{"monitor": n, "error": why} for n, why in sorted(self.wrong.items())],
            "objectives": list(self._objectives()),
        }

    def _objectives(self) -> Iterable[dict[str, Any]]:
        store = self._store.store
        for promise in self._promises():
            state = state_of(promise, store, time.time()) if store is not None else None
            yield {
                "service": promise.service.slug,
                "objective": promise.objective.name,
                "target": promise.objective.target,
                "period_days": promise.objective.period_days,
                "counted_here": promise.objective.is_counted_here,
                "budget_left": state.budget_left if state else None,
                "page": state.page if state else False,
                "ticket": state.ticket if state else False,
                "why": state.why if state else "",
            }

    def families(self) -> list[Family]:
        """Return all metrics of the host."""
        latest = self._store.latest()
        monitors = self._watch.monitors()
        seen = [(each, latest[each.name]) for each in monitors if each.name in latest]
        return [*probe_families(seen), self._observations(monitors), *self._apps.metrics.collect()]

    def _observations(self, monitors: Iterable[Monitor]) -> Family:
        """Count looks; what `chittyops slo rules` reads."""
        samples = []
        for monitor in monitors:
            good, total = self._watch.looks(monitor.name)
            for result, count in (("bad", total - good), ("good", good)):
                labels = (("monitor", monitor.name), ("result", result))
                samples.append(Sample(float(count), labels))
        name = MONITOR_COUNTER.removesuffix("_total")
        return Family(name, "counter", tuple(samples), "Looks since the agent started")

    # --- for visitors ---

    def page(self) -> Page:
        """Return the status page of now, or of a moment ago."""
        from chittyops_core.host.agent_page import make_page

        with self._lock:
            now = time.monotonic()
            if self._page is None or now >= self._page[0] + FRESH_S:
                made = make_page(
                    self._page_url,
                    self._store.store,
                    self._watch.monitors(),
                    self._watch.alerts(),
                    started=self._started,
                    now=time.time(),
                )
                self._page = now, made
            return self._page[1]
