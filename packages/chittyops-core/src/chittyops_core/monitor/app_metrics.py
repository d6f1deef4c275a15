"""What apps count about themselves, put together: many processes, one total for each service.

Each process reports its own totals (`chittyops_core.metrics.reporter` has the protocol). The
agent keeps what each process said last, by (service, start id), and adds the differences to the
service's totals, which therefore outlive processes and releases.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from chittyops_core.monitor import app_state
from chittyops_core.monitor.app_report import BadReportError, Metric, Report, Values, read_report
from chittyops_core.monitor.app_state import Known, Process, Service
from chittyops_core.monitor.exposition import Family, Labels, Sample, metric_name, sorted_labels

__all__ = ["AppMetrics", "Event"]

MAX_SERIES = 2_000
"""Series of one service, over all its processes. More are counted in one for each metric."""
MAX_METRICS = 500
MAX_PROCESSES = 256
MAX_REMEMBERED = 20_000
"""Series of one service's processes, which are remembered apart to know the differences."""
QUIET_S = 60.0
"""A process that was not heard for so long is dead to gauges; it says it lives every 10 s."""
FORGET_S = 3_600.0
"""A process that was not heard for so long is forgotten. One that was stopped for longer and goes
on counts twice what it had counted before."""
OVERFLOW: Labels = (("otel_metric_overflow", "true"),)


class Event(NamedTuple):
    """How much one number of a service grew since events were last drained.

    Names and labels are those that `/metrics` shows: a counter is `orders_total`, a histogram is
    `checkout_duration_seconds_count`, `_sum` and `_bucket` with `le`, cumulative as there.
    """

    service: str
    name: str
    labels: Labels
    delta: float


class AppMetrics:
    """The totals of all services of a host. Safe with threads.

    Args:
        monotonic: Seconds since an arbitrary start.
        max_series: Of one service.
    """

    def __init__(
        self, *, monotonic: Callable[[], float] = time.monotonic, max_series: int = MAX_SERIES
    ) -> None:
        self._monotonic = monotonic
        self._max_series = max_series
        self._services: dict[str, Service] = {}
        self._lock = threading.Lock()

    def handle_line(self, service: str, line: bytes) -> bytes | None:
        """Take in one report of a process of *service*; return the answer, a line.

        None when *line* is JSON of another type, for whoever else speaks on the same socket.
        Never raises for what *line* holds: the answer says what is wrong with it, and what was
        right in it counts.
        """
        try:
            report = read_report(line)
            if report is None:
                return None
            with self._lock:
                problems = [*report.problems, *self._take(service, report)]
        except BadReportError as error:
            problems = [str(error)]
        if not problems:
            return b'{"v":1,"ok":true}\n'
        said = "; ".join(problems[:5])[:1000]
        return json.dumps({"v": 1, "ok": False, "error": said}).encode() + b"\n"

    def collect(self) -> list[Family]:
        """Return what all services counted, with the label `service`, for `exposition.render`."""
        with self._lock:
            now = self._monotonic()
            return [
                _family(name, slug, known, self._gauges(service, known, now))
                for slug, service in sorted(self._services.items())
                for name, known in sorted(service.metrics.items())
            ]

    def drain_events(self) -> list[Event]:
        """Return what grew since the last call, which then counts as told."""
        events = []
        with self._lock:
            for slug, service in self._services.items():
                for known in service.metrics.values():
                    if known.metric.kind == "gauge":
                        continue
                    for labels, total in known.totals.items():
                        grown = total.since(known.drained.get(labels))
                        if not grown.is_nothing:
                            known.drained[labels] = total
                            events += _events(slug, known.metric, labels, grown)
        return events

    def dump(self) -> str:
        """Return all that is known, as JSON for `load`.

        Written in the transaction that stores drained events, it makes them count exactly once
        over a restart of the agent, even by `kill -9`: processes go on from what was drained.
        """
        with self._lock:
            return app_state.dump(self._services)

    def load(self, text: str) -> None:
        """Go on from what `dump` returned. Raises ValueError for what it did not return."""
        services = app_state.load(text, self._monotonic())
        with self._lock:
            self._services = services

    def forget(self, service: str) -> None:
        """Drop all that *service* counted, as when it was removed."""
        with self._lock:
            self._services.pop(service, None)

    def _take(self, slug: str, report: Report) -> Iterable[str]:
        now = self._monotonic()
        service = self._services.setdefault(slug, Service())
        process = service.processes.get(report.start)
        if process is None:
            if not _make_room(service, now):
                return [f"more than {MAX_PROCESSES} processes report"]
            process = service.processes[report.start] = Process(now)
        process.heard_at = now
        problems = []
        for metric, series in report.metrics:
            if metric.key not in service.metrics and len(service.metrics) >= MAX_METRICS:
                problems.append(f"{metric.name}: more than {MAX_METRICS} metrics")
                continue
            known = self._known(service, metric, now)
            if known is None:
                problems.append(
                    f"{metric.name}: it is in use as another metric, unit or with other bounds"
                )
                continue
            room = self._max_series - service.series
            left = MAX_REMEMBERED - service.remembered
            for labels, values in series.items():
                key = (metric.key, labels)
                if key not in process.said:
                    if left <= 0:
                        problems.append(f"{metric.name}: too many series")
                        break
                    left -= 1
                grown = values.since(process.said.get(key))
                process.said[key] = values
                if metric.kind == "gauge":
                    continue
                if labels not in known.totals:
                    room -= 1
                place = labels if room >= 0 or labels in known.totals else OVERFLOW
                known.totals[place] = grown.plus(known.totals.get(place))
        if report.is_end:
            del service.processes[report.start]
        return problems

    def _known(self, service: Service, metric: Metric, now: float) -> Known | None:
        """Return what is known of *metric*; None while a live process means something else by it.

        A new release may change kind or bounds: once no old process lives, the metric starts anew.
        """
        known = service.metrics.get(metric.key)
        if known is not None and not known.metric.is_like(metric):
            for process in service.processes.values():
                is_alive = now - process.heard_at < QUIET_S
                if is_alive and any(key == metric.key for key, _ in process.said):
                    return None
            for process in service.processes.values():
                process.said = {k: v for k, v in process.said.items() if k[0] != metric.key}
            known = None
        if known is None:
            known = service.metrics[metric.key] = Known(metric)
        return known

    def _gauges(self, service: Service, known: Known, now: float) -> dict[Labels, float]:
        """Return a gauge's values over the processes that live."""
        if known.metric.kind != "gauge":
            return {}
        found: dict[Labels, list[Values]] = {}
        for process in service.processes.values():
            if now - process.heard_at < QUIET_S:
                for (key, labels), values in process.said.items():
                    if key == known.metric.key:
                        found.setdefault(labels, []).append(values)
        room = self._max_series
        return {
            labels: _COMBINE[known.metric.combine](values)
            for labels, values in list(found.items())[:room]
        }


_COMBINE: Mapping[str, Callable[[list[Values]], float]] = {
    "last": lambda values: max(values, key=lambda each: each.at).value,
    "sum": lambda values: sum(each.value for each in values),
    "min": lambda values: min(each.value for each in values),
    "max": lambda values: max(each.value for each in values),
}


def _make_room(service: Service, now: float) -> bool:
    """Forget what was quiet for long; with too many processes, the one that was quiet longest."""
    for start, process in list(service.processes.items()):
        if now - process.heard_at > FORGET_S:
            del service.processes[start]
    if len(service.processes) < MAX_PROCESSES and service.remembered < MAX_REMEMBERED:
        return True
    start = min(service.processes, key=lambda key: service.processes[key].heard_at)
    if now - service.processes[start].heard_at < QUIET_S:
        return False
    del service.processes[start]
    return True


def _family(name: str, slug: str, known: Known, gauges: Mapping[Labels, float]) -> Family:
    metric = known.metric
    if metric.kind == "gauge":
        samples = [Sample(value, _owned(slug, labels)) for labels, value in gauges.items()]
    else:
        samples = [
            Sample(total.value, _owned(slug, labels), total.counts)
            for labels, total in known.totals.items()
        ]
    unit = metric_name(metric.name, metric.unit, metric.kind)[1]
    return Family(name, metric.kind, tuple(samples), metric.description, unit, metric.bounds)


def _owned(slug: str, labels: Labels) -> Labels:
    """Add `service`; an app's own becomes `exported_service`, as when Prometheus scrapes."""
    theirs = {("exported_service" if name == "service" else name): v for name, v in labels}
    return sorted_labels({**theirs, "service": slug})


def _events(slug: str, metric: Metric, labels: Labels, grown: Values) -> list[Event]:
    if metric.kind == "counter":
        return [Event(slug, f"{metric.key}_total", labels, grown.value)]
    events = [
        Event(slug, f"{metric.key}_count", labels, float(sum(grown.counts))),
        Event(slug, f"{metric.key}_sum", labels, grown.value),
    ]
    below = 0
    for bound, count in zip((*map(repr, metric.bounds), "+Inf"), grown.counts, strict=True):
        below += count
        if below:
            at = tuple(sorted((*labels, ("le", bound))))
            events.append(Event(slug, f"{metric.key}_bucket", at, float(below)))
    return events
