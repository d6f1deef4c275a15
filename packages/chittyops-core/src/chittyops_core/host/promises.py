"""The objectives of what serves: read from the app's own `slo/*.yaml`, counted by this host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import evolve, frozen

from chittyops_core._kit.logs import get_logger
from chittyops_core.errors import ChittyOpsError
from chittyops_core.host.watched import objectives_of
from chittyops_core.model.monitoring import Severity
from chittyops_core.model.service import Service
from chittyops_core.monitor.alerts import Rule
from chittyops_core.monitor.burn_rates import ObjectiveState, evaluate
from chittyops_core.monitor.objectives import Metric, MetricEvents, MonitorEvents, Objective
from chittyops_core.monitor.store import Store
from chittyops_core.monitor.watch import Judgement

__all__ = ["Promise", "judged", "read_promises", "state_of"]

log = get_logger("chittyops.agent")


@frozen
class Promise:
    """One objective of one service."""

    service: Service
    objective: Objective

    def alert(self, severity: Severity) -> str:
        return f"{self.service.slug}/slo/{self.objective.name}/{severity}"


def read_promises(service: Service, app: Path) -> list[Promise]:
    """Return the objectives in *app*; none, and a line in the log, when one of them is wrong.

    A deploy has refused wrong ones; these are of a release of before. A name of a monitor without
    a slash is one of the service's own.
    """
    try:
        return [Promise(service, _own(service, each)) for each in objectives_of(app)]
    except (ChittyOpsError, OSError) as error:
        log.warning("agent.objectives_refused", service=service.slug, error=str(error))
        return []


def _own(service: Service, objective: Objective) -> Objective:
    indicator = objective.indicator
    if isinstance(indicator, MonitorEvents) and "/" not in indicator.monitor:
        indicator = MonitorEvents(f"{service.slug}/{indicator.monitor}")
    return evolve(objective, service=service.slug, indicator=indicator)


def state_of(promise: Promise, store: Store, now: float) -> ObjectiveState | None:
    """Return how it stands; None where only a Prometheus counts its events."""
    indicator = promise.objective.indicator
    if isinstance(indicator, MonitorEvents):
        monitor = indicator.monitor

        def looks(since: float, until: float) -> tuple[int, int]:
            counted = store.counts(monitor, since, until)
            return counted.good, counted.total

        return evaluate(promise.objective, looks, now)
    if isinstance(indicator, MetricEvents):
        events = indicator

        def counted(since: float, until: float) -> tuple[int, int]:
            total = _sum(store, promise, events.total, since, until)
            if events.good is not None:
                return _sum(store, promise, events.good, since, until), total
            assert events.bad is not None
            return max(0, total - _sum(store, promise, events.bad, since, until)), total

        return evaluate(promise.objective, counted, now)
    return None


def _sum(store: Store, promise: Promise, metric: Metric, since: float, until: float) -> int:
    series = store.events(promise.service.slug, metric.name, since, until)
    wanted = metric.labels.items()
    return round(sum(value for labels, value in series if wanted <= labels.items()))


def judged(promises: Sequence[Promise], store: Store, now: float) -> Iterator[Judgement]:
    """Yield, for each objective and severity that is wanted, whether its budget burns too fast."""
    for promise in promises:
        state = state_of(promise, store, now)
        if state is None:
            continue
        for severity, burns in ((Severity.PAGE, state.page), (Severity.TICKET, state.ticket)):
            if promise.objective.alerting.of(severity).is_on:
                # The windows themselves are the hysteresis (SRE workbook, chapter 5).
                rule = Rule(fail=1, clean=1, clean_s=0, severity=severity)
                why = state.why if burns else ""
                yield Judgement(promise.alert(severity), promise.service.slug, rule, not burns, why)
