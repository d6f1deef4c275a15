"""What a host tells its parent: how it is, what runs on it, and about twenty figures.

It is made from what the agent knows anyway, and says nothing that is a secret's, a visitor's or a
log's. What an app's own monitors say in words stays here, since it may hold anything.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from attrs import frozen

from chittyops_core._kit import files
from chittyops_core._kit.clock import SystemClock
from chittyops_core._kit.logs import get_logger
from chittyops_core.bridge.protocol import MAX_METRICS, MAX_TEXT, Section, Status
from chittyops_core.deploy.journal import Journal
from chittyops_core.deploy.targets.local import Layout, LocalTarget
from chittyops_core.deploy.targets.local.materials import NAME as MATERIALS
from chittyops_core.errors import ChittyOpsError, HostError, StoreError
from chittyops_core.host.agent_page import since_of, status_of
from chittyops_core.host.facts import host_facts
from chittyops_core.host.promises import Promise, state_of
from chittyops_core.host.watched import HOST_DISK, HOST_EDGE, HOST_HISTORY, PROCESSES, WEB
from chittyops_core.model.monitoring import AlertState, Monitor, Observation, Scalar
from chittyops_core.model.service import Service
from chittyops_core.monitor.alerts import Alert
from chittyops_core.monitor.buffer import BufferedStore
from chittyops_core.monitor.incidents import Maintenance
from chittyops_core.monitor.page import ComponentStatus
from chittyops_core.monitor.page.snapshot import Indicator, overall_of, worst
from chittyops_core.monitor.store import Store
from chittyops_core.monitor.watch import Watch

__all__ = ["Reporter", "is_own", "why_of"]

log = get_logger("chittyops.bridge")

SPAN_S = 300.0
"""What figures of looks are of; rounded out to whole minutes. As long as the usual rhythm."""

Metrics = dict[str, float | None]

_OF_HOST = {
    Indicator.NONE: Status.OPERATIONAL,
    Indicator.MAINTENANCE: Status.MAINTENANCE,
    Indicator.MINOR: Status.DEGRADED,
    Indicator.MAJOR: Status.PARTIAL,
    Indicator.CRITICAL: Status.MAJOR,
}
"""What the page's state as a whole means for the host."""

_HOST_MONITORS = (HOST_EDGE, HOST_DISK, HOST_HISTORY)

_OF_SERVICE = (
    "up_ratio", "looks_good", "looks", "response_p50_seconds", "response_p95_seconds",
    "instances", "memory_bytes", "cpu_ratio", "restarts",
)  # fmt: skip


class Reporter:
    """Reports of one host; part of its agent. For one thread."""

    def __init__(
        self,
        layout: Layout,
        target: LocalTarget,
        store: BufferedStore,
        watch: Watch,
        promises: Callable[[], list[Promise]],
    ) -> None:
        self._layout = layout
        self._target = target
        self._store = store
        self._watch = watch
        self._promises = promises
        self._started = time.time()
        self._cpu = _CpuMeter()
        self._materials: dict[str, str | None] = {}

    # --- sections of state ---

    def state(self) -> dict[str, Any]:
        """Return the sections `health` and `inventory` (docs/protocol.md, section 7)."""
        health = self.health()
        return {
            Section.HEALTH.value: health,
            Section.INVENTORY.value: self.inventory(health["services"]),
        }

    def health(self) -> dict[str, Any]:
        """Return how the host and each of its services is, by the status page's own rules."""
        now = time.time()
        alerts, windows = self._watch.alerts(), self._windows(now)
        watched: dict[str, list[Monitor]] = {}
        for monitor in self._watch.monitors():
            if monitor.service is not None:
                watched.setdefault(monitor.service, []).append(monitor)
        statuses: list[ComponentStatus] = []
        services: dict[str, Any] = {}
        for slug, monitors in sorted(watched.items()):
            is_covered = any(window.covers(now, slug) for window in windows)
            found = status_of(slug, monitors, alerts, is_covered=is_covered)
            statuses.append(found)
            services[slug] = {
                "status": _status(found).value,
                "why": _why(f"{slug}/", alerts),
                "since": since_of(monitors, alerts) or self._started,
            }
        ill = any(name in alerts and _fires(alerts[name]) for name in _HOST_MONITORS)
        own = {
            "status": (Status.DEGRADED if ill else Status.OPERATIONAL).value,
            "why": _why("host/", alerts),
        }
        status = _of_host(statuses, is_ill=ill).value
        return {"status": status, "host": own, "services": services}

    def statuses(self) -> dict[str, str]:
        """Return the Status of each service, and of the host under the empty name."""
        health = self.health()
        of_services = {slug: str(each["status"]) for slug, each in health["services"].items()}
        return {"": str(health["status"]), **of_services}

    def _windows(self, now: float) -> Sequence[Maintenance]:
        store = self._store.store
        try:
            return store.maintenance(now) if store is not None else ()
        except StoreError:
            return ()

    def inventory(self, health: Mapping[str, Any]) -> dict[str, Any]:
        """Return what runs on this host, by service (section 7.4).

        Args:
            health: What `health` says of each service, by slug.
        """
        services: dict[str, Any] = {}
        try:
            journal = Journal(self._layout.journal, SystemClock())
        except HostError as error:
            log.warning("bridge.journal_unread", error=error.message)
            return {"host": host_facts(), "services": services}
        with closing(journal):
            serving = self._target.serving()
            for service in sorted(serving, key=lambda each: each.slug):
                # One that is removed at this moment is not there any more.
                with suppress(ChittyOpsError, OSError):
                    services[service.slug] = self._service(
                        journal, service, serving[service], health
                    )
        return {"host": host_facts(), "services": services}

    def _service(
        self, journal: Journal, service: Service, release_id: str, health: Mapping[str, Any]
    ) -> dict[str, Any]:
        release = self._target.release(service, release_id)
        served = {row["id"]: row["served"] for row in journal.releases(service)}.get(release_id)
        came_from = journal.provenance(service, release_id)
        return {
            "app": service.app,
            "environment": service.environment,
            "client": service.client,
            "kind": journal.kind_of(service) or "",
            "release": release_id,
            "since": datetime.fromisoformat(served).timestamp() if served else None,
            "commit": came_from.commit if came_from else None,
            "dirty": came_from.is_dirty if came_from else None,
            "manifest": came_from.manifest if came_from else None,
            "sbom": self._materials_of(release.artifact),
            "lite": came_from.lite[:MAX_TEXT] if came_from else "",
            "health": health.get(service.slug, {}).get("status", Status.UNKNOWN.value),
            "address": self._target.address(service).url,
        }

    def _materials_of(self, artifact: str) -> str | None:
        """Return the digest of an artifact's bill of materials; those of before it have none."""
        if artifact not in self._materials:
            path = self._layout.artifact(artifact) / MATERIALS
            self._materials[artifact] = files.file_digest(path) if path.is_file() else None
        return self._materials[artifact]

    # --- metrics ---

    def metrics(self) -> Metrics:
        """Return gauges of the last `SPAN_S`, at most `MAX_METRICS`, in a stable order.

        They are of a span of their own, so that it does not matter how often anybody asks.
        Names follow from what is watched, never from values: what is not known is None.
        """
        now = time.time()
        latest = self._store.latest()
        slugs = sorted({m.service for m in self._watch.monitors() if m.service is not None})
        measured = {slug: self._measure(slug, latest, now) for slug in slugs}
        found: Metrics = self._host(latest)
        # By figure, then by service: where there are too many, each service keeps the first ones.
        for name in _OF_SERVICE:
            for slug in slugs:
                found[f'chittyops_service_{name}{{service="{slug}"}}'] = measured[slug].get(name)
        found |= dict(self._budgets(now))
        return dict([(n, v) for n, v in found.items() if len(n) <= MAX_TEXT][:MAX_METRICS])

    def _host(self, latest: Mapping[str, Observation]) -> Metrics:
        disk = latest.get(HOST_DISK)
        used = _number(disk.values.get("used_percent")) if disk is not None else None
        return {
            "chittyops_host_load1": os.getloadavg()[0],
            "chittyops_host_cpu_ratio": self._cpu.read(),
            "chittyops_host_memory_used_ratio": _memory_used(),
            "chittyops_host_disk_used_ratio": None if used is None else used / 100,
        }

    def _measure(self, slug: str, latest: Mapping[str, Observation], now: float) -> Metrics:
        seen = latest.get(f"{slug}/{PROCESSES}")
        values = seen.values if seen is not None else {}
        cpu = _number(values.get("cpu_percent"))
        return {
            **self._looks(f"{slug}/{WEB}", now),
            "instances": _number(values.get("processes")),
            "memory_bytes": _number(values.get("rss")),
            "cpu_ratio": None if cpu is None else cpu / 100,
            "restarts": _number(values.get("restarts")),
        }

    def _looks(self, monitor: str, now: float) -> Metrics:
        store = self._store.store
        if store is None:
            return {}
        try:
            counts = store.counts(monitor, now - SPAN_S, now)
            p50, p95 = (store.quantile(monitor, q, now - SPAN_S, now) for q in (0.5, 0.95))
        except StoreError:
            return {}
        return {
            "up_ratio": counts.ratio,
            "looks_good": counts.good,
            "looks": counts.total,
            "response_p50_seconds": p50,
            "response_p95_seconds": p95,
        }

    def _budgets(self, now: float) -> Iterator[tuple[str, float | None]]:
        store = self._store.store
        for promise in sorted(
            self._promises(), key=lambda each: (each.service.slug, each.objective.name)
        ):
            labels = f'service="{promise.service.slug}",objective="{promise.objective.name}"'
            yield f"chittyops_objective_budget_left{{{labels}}}", _budget(promise, store, now)


def _budget(promise: Promise, store: Store | None, now: float) -> float | None:
    if store is None:
        return None
    try:
        state = state_of(promise, store, now)
    except StoreError:
        return None
    return state.budget_left if state is not None else None


def _status(found: ComponentStatus) -> Status:
    return Status.UNKNOWN if found is ComponentStatus.NO_DATA else Status(found.value)


def _of_host(statuses: Sequence[ComponentStatus], *, is_ill: bool) -> Status:
    if worst(statuses) is ComponentStatus.NO_DATA:
        return Status.UNKNOWN
    status = _OF_HOST[overall_of(statuses).indicator]
    return Status.DEGRADED if is_ill and status is Status.OPERATIONAL else status


def is_own(alert: str) -> bool:
    """Say whether *alert* is of what the host itself watches, whose words are the host's own."""
    owner, _, what = alert.partition("/")
    return owner == "host" or what in (WEB, PROCESSES) or what.startswith("slo/")


def why_of(alert: str, why: str) -> str:
    """Return what a parent is told of a failure: our own words, never those of an app."""
    return why[:MAX_TEXT] if is_own(alert) else ""


def _why(prefix: str, alerts: Mapping[str, Alert]) -> str:
    """Return what fires, in one line; empty when all is well."""
    firing = [a for n, a in sorted(alerts.items()) if _fires(a) and n.startswith(prefix)]
    texts = (f"{a.name.removeprefix(prefix)}: {why_of(a.name, a.why)}".rstrip(": ") for a in firing)
    return "; ".join(texts)[:MAX_TEXT]


def _fires(alert: Alert) -> bool:
    return alert.state is AlertState.FIRING and not alert.clean


def _number(value: Scalar) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _memory_used() -> float | None:
    """Return the share of memory that is not available (proc_meminfo(5)); None elsewhere."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = {name: int(rest.split()[0]) for name, _, rest in (ln.partition(":") for ln in lines)}
    total, available = found.get("MemTotal"), found.get("MemAvailable")
    return 1 - available / total if total and available is not None else None


@frozen
class _Ticks:
    busy: int
    total: int


class _CpuMeter:
    """The share of all processors that was busy of late (proc_stat(5))."""

    LEAST_S = 30.0
    """A share of less time than this says nothing; until it is over, the last one holds."""

    def __init__(self) -> None:
        self._last, self._at = self._ticks(), time.monotonic()
        self._ratio: float | None = None

    def read(self) -> float | None:
        if time.monotonic() < self._at + self.LEAST_S:
            return self._ratio
        last, self._last, self._at = self._last, self._ticks(), time.monotonic()
        if last is not None and self._last is not None and self._last.total > last.total:
            self._ratio = (self._last.busy - last.busy) / (self._last.total - last.total)
        return self._ratio

    @staticmethod
    def _ticks() -> _Ticks | None:
        try:
            fields = Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
        except OSError:
            return None
        user, nice, system, idle, wait, *others = (int(field) for field in fields)
        busy = user + nice + system + sum(others)
        return _Ticks(busy, busy + idle + wait)
