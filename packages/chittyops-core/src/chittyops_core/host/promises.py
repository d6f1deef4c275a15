"""The objectives of what serves: read from the app's own `slo/*.yaml`, counted by this host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import evolve, frozen

from chittyops_core._kit.logs import get_logger
from chittyops_core.errors import ChittyOpsError
from chittyops_core.host.watched import MAX_OBJECTIVES, objective_files, read_objectives
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
    """Return the objectives in *app*; a file that is wrong is logged and left out.

    A deploy refuses such files; this one may be of a release of before. A name of a monitor is
    one of the service's own.
    """
    found: dict[str, Promise] = {}
    try:
        for path in objective_files(app):
            try:
                for each in read_objectives(path, app):
                    if len(found) < MAX_OBJECTIVES:
                        found.setdefault(each.name, Promise(service, _own(service, each)))
            except ChittyOpsError as error:
                log.warning("agent.objectives_refused", service=service.slug, error=error.message)
    except ChittyOpsError as error:
        log.warning("agent.objectives_refused", service=service.slug, error=error.message)
    return list(found.values())


def _own(service: Service, objective: Objective) -> Objective:
    indicator = objective.indicator
    if isinstance(indicator, MonitorEvents):
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
