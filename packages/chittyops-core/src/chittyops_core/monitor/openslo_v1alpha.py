"""OpenSLO v1alpha files, as Sloth reads them: ratios of two PromQL queries.

From Sloth's `internal/storage/io/openslo.go` at 0e395d8. The format has no place for alerts: both
are on, as in v1 (`docs/adr/0011-slo-rules.md`).
"""

from __future__ import annotations

from functools import partial

from chittyops_core.monitor.objectives import Objective, require_query
from chittyops_core.monitor.openslo import (
    NO_SLICES,
    NO_THRESHOLD,
    good_of_total,
    list_objectives,
    require_occurrences,
)
from chittyops_core.monitor.yaml_reader import Table

__all__ = ["VERSION", "objectives_of"]

VERSION = "openslo/v1alpha"


def objectives_of(document: Table) -> list[Objective]:
    """Return the objectives of one document, numbered as Sloth does. Raises ObjectiveError."""
    document.only("apiVersion", "kind", "metadata", "spec")
    if document.text("kind") != "SLO":
        document.fail("expected SLO", "kind")
    metadata = document.table("metadata").only("name", "displayName")
    spec = document.table("spec").only(
        "service", "description", "budgetingMethod", "objectives", "timeWindows"
    )
    name, service = metadata.text("name"), spec.text("service")
    description = spec.text("description", "")
    require_occurrences(spec)
    period = _period_days(spec)
    made = []
    for number, each in enumerate(list_objectives(spec)):
        each.only(
            "displayName", "ratioMetrics", "target",
            refused={"value": NO_THRESHOLD, "op": NO_THRESHOLD, "timeSliceTarget": NO_SLICES},
        )  # fmt: skip
        ratio = each.table("ratioMetrics").only("good", "total", "counter")
        good, total = _query(ratio.table("good")), _query(ratio.table("total"))
        build = partial(
            Objective,
            name=f"{name}-{number}", service=service,
            indicator=good_of_total(good, total),
            target=each.number("target"), period_days=period, description=description,
            spec=VERSION,
        )  # fmt: skip
        made.append(each.make(build))
    return made


def _query(table: Table) -> str:
    table.only("source", "queryType", "query")
    if table.text("source") not in ("prometheus", "sloth"):
        table.fail("expected prometheus", "source")
    if table.text("queryType") != "promql":
        table.fail("expected promql", "queryType")
    return table.take("query", require_query)


def _period_days(spec: Table) -> int:
    windows = spec.tables("timeWindows")
    if not windows:
        return 30
    if len(windows) > 1:
        spec.fail("expected one time window", "timeWindows")
    window = windows[0].only(
        "unit", "count", "isRolling", refused={"calendar": "periods are rolling"}
    )
    if window.text("unit").lower() != "day":
        window.fail("expected Day", "unit")
    if not window.truth("isRolling", True):
        window.fail("expected true: periods are rolling", "isRolling")
    count = window.number("count")
    if count not in range(1000):
        window.fail(f"expected a whole number of days, got {count!r}", "count")
    return int(count)
