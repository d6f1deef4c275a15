"""Sloth's `prometheus/v1` files: objectives by PromQL, with what their alerts carry.

From https://github.com/slok/sloth/blob/0e395d8/pkg/prometheus/api/v1/v1.go. Its plugins are
programs in Go and are refused.
"""

from __future__ import annotations

from decimal import Decimal

from chittyops_core.monitor.objectives import (
    Alerting,
    AlertSwitch,
    EventQueries,
    Indicator,
    Objective,
    RatioQuery,
    require_query,
)
from chittyops_core.monitor.yaml_reader import Table

__all__ = ["VERSION", "objectives_of"]

VERSION = "prometheus/v1"

_PLUGINS = "Sloth's plugins are Go programs; write the queries"


def objectives_of(document: Table) -> list[Objective]:
    """Return the objectives of one document, in order. Raises ObjectiveError."""
    document.only("version", "service", "labels", "slos", refused={"slo_plugins": _PLUGINS})
    service, labels = document.text("service"), document.texts("labels")
    slos = document.tables("slos")
    if not slos:
        document.fail("expected at least one objective", "slos")
    return [_objective(each, service, labels) for each in slos]


def _objective(slo: Table, service: str, labels: dict[str, str]) -> Objective:
    slo.only(
        "name", "objective", "description", "labels", "sli", "alerting",
        refused={"plugins": _PLUGINS},
    )  # fmt: skip
    indicator, alerting = _indicator(slo.table("sli")), _alerting(slo.table("alerting"))
    name, percent = slo.text("name"), slo.number("objective")
    description, own_labels = slo.text("description", ""), slo.texts("labels")
    return slo.make(
        lambda: Objective(
            name=name,
            service=service,
            indicator=indicator,
            target=float(Decimal(repr(percent)) / 100),
            description=description,
            labels={**labels, **own_labels},
            alerting=alerting,
            spec=VERSION,
        )
    )


def _indicator(sli: Table) -> Indicator:
    sli.only("events", "raw", refused={"plugin": _PLUGINS})
    if ("events" in sli) == ("raw" in sli):
        sli.fail("expected either `events` or `raw`")
    if "raw" in sli:
        raw = sli.table("raw").only("error_ratio_query")
        return raw.take("error_ratio_query", RatioQuery)
    events = sli.table("events").only("error_query", "total_query")
    return EventQueries(
        events.take("error_query", require_query), events.take("total_query", require_query)
    )


def _alerting(table: Table) -> Alerting:
    table.only("name", "labels", "annotations", "page_alert", "ticket_alert")
    page, ticket = _switch(table.table("page_alert")), _switch(table.table("ticket_alert"))
    name = table.text("name", Alerting().name)
    labels, annotations = table.texts("labels"), table.texts("annotations")
    return table.make(lambda: Alerting(name, labels, annotations, page, ticket))


def _switch(table: Table) -> AlertSwitch:
    table.only("disable", "labels", "annotations")
    is_on = not table.truth("disable", False)
    labels, annotations = table.texts("labels"), table.texts("annotations")
    return table.make(lambda: AlertSwitch(is_on, labels, annotations))
