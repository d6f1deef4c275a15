"""What `AppMetrics` knows, as JSON, so that it outlives the agent."""

from __future__ import annotations

import json
from typing import Any

from attrs import asdict, define, field

from chittyops_core.monitor.app_report import Metric, Values
from chittyops_core.monitor.exposition import Labels

__all__ = ["Known", "Process", "Service", "dump", "load"]

FORMAT = 1


@define
class Process:
    """What one process said last, and when: monotonic seconds."""

    heard_at: float
    said: dict[tuple[str, Labels], Values] = field(factory=dict)


@define
class Known:
    """One metric of a service: what it is, its totals, and what of them was drained."""

    metric: Metric
    totals: dict[Labels, Values] = field(factory=dict)
    drained: dict[Labels, Values] = field(factory=dict)


@define
class Service:
    """What is known of one service: processes by start id, metrics by key."""

    processes: dict[str, Process] = field(factory=dict)
    metrics: dict[str, Known] = field(factory=dict)

    @property
    def series(self) -> int:
        return sum(len(known.totals) for known in self.metrics.values())

    @property
    def remembered(self) -> int:
        return sum(len(process.said) for process in self.processes.values())


def dump(services: dict[str, Service]) -> str:
    """Return *services* as JSON; `load` is its inverse but for when processes were heard."""
    return json.dumps(
        {
            "format": FORMAT,
            "services": {
                slug: {
                    "processes": {
                        start: [[key, labels, _packed(v)] for (key, labels), v in each.said.items()]
                        for start, each in service.processes.items()
                    },
                    "metrics": [
                        {
                            "metric": asdict(known.metric),
                            "totals": [[lb, _packed(v)] for lb, v in known.totals.items()],
                            "drained": [[lb, _packed(v)] for lb, v in known.drained.items()],
                        }
                        for known in service.metrics.values()
                    ],
                }
                for slug, service in services.items()
            },
        },
        separators=(",", ":"),
    )


def load(text: str, now: float) -> dict[str, Service]:
    """Return the services in *text*, all processes heard *now*. Raises ValueError for others."""
    try:
        said = json.loads(text)
        if said["format"] != FORMAT:
            raise ValueError(f"format {said['format']!r} is not {FORMAT}")
        return {slug: _service(each, now) for slug, each in said["services"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"these are no kept app metrics: {error!r}") from error


def _service(said: dict[str, Any], now: float) -> Service:
    made = Service()
    for start, series in said["processes"].items():
        heard = {(key, _labels(labels)): _values(packed) for key, labels, packed in series}
        made.processes[start] = Process(now, heard)
    for each in said["metrics"]:
        metric = Metric(**{**each["metric"], "bounds": tuple(each["metric"]["bounds"])})
        made.metrics[metric.key] = Known(
            metric,
            {_labels(labels): _values(packed) for labels, packed in each["totals"]},
            {_labels(labels): _values(packed) for labels, packed in each["drained"]},
        )
    return made


def _packed(values: Values) -> list[Any]:
    return [values.value, values.counts, values.at]


def _values(packed: list[Any]) -> Values:
    value, counts, at = packed
    return Values(value, tuple(counts), at)


def _labels(pairs: list[list[str]]) -> Labels:
    return tuple((name, value) for name, value in pairs)
