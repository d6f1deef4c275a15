"""What an app counts about itself: counters, histograms, gauges, and its requests.

    from chittyops_core import metrics

    orders = metrics.counter("orders", unit="{order}", description="Orders taken")
    orders.add(1, client="acme")
    metrics.histogram("checkout.duration", unit="s").record(0.2)
    app = metrics.wsgi(app)          # or metrics.asgi(app)

Inside a release each process reports its own totals to the host's agent over `$CHITTYOPS_SOCKET`,
once a second and at its end. They only grow, so an agent that is away, slow or restarted loses
nothing, and nothing here waits for it. Elsewhere, as in development, values stay in the process;
`registry.read()` shows them. Names and units follow OpenTelemetry's semantic conventions.

This package imports the standard library only: it lives in the processes of apps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from chittyops_core.metrics.instruments import Combine, Counter, Gauge, Histogram, Registry
from chittyops_core.metrics.reporter import Reporter

if TYPE_CHECKING:
    from chittyops_core.metrics.web import Asgi, Wsgi

__all__ = [
    "Counter",
    "Gauge",
    "Histogram",
    "Registry",
    "asgi",
    "counter",
    "flush",
    "gauge",
    "histogram",
    "registry",
    "wsgi",
]

registry = Registry()
"""The instruments of this process."""

_reporter = Reporter(registry)


def counter(name: str, *, unit: str = "", description: str = "") -> Counter:
    """Return the counter *name*, the same one each time. Raises UsageError for a bad name.

    Args:
        name: As in OpenTelemetry: `orders`, `checkout.emails.sent`.
        unit: By UCUM: `s`, `By`, `{order}`.
        description: One line for whoever reads the dashboard.
    """
    return registry.counter(name, unit=unit, description=description)


def histogram(
    name: str, *, unit: str = "", description: str = "", bounds: Sequence[float] | None = None
) -> Histogram:
    """Return the histogram *name*, the same one each time. Raises UsageError for bad arguments.

    Args:
        name: See `counter`.
        unit: See `counter`.
        description: See `counter`.
        bounds: Upper bounds of the buckets, ascending, in *unit*; OpenTelemetry's when None.
    """
    return registry.histogram(name, unit=unit, description=description, bounds=bounds)


def gauge(name: str, *, unit: str = "", description: str = "", combine: Combine = "last") -> Gauge:
    """Return the gauge *name*, the same one each time. Raises UsageError for bad arguments.

    Args:
        name: See `counter`.
        unit: See `counter`.
        description: See `counter`.
        combine: What several processes amount to: the value set `last` (a temperature), their
            `sum` (connections open), `min` or `max`.
    """
    return registry.gauge(name, unit=unit, description=description, combine=combine)


def wsgi(app: Any) -> Wsgi:
    """Return the WSGI *app* with its requests counted; see `chittyops_core.metrics.web`."""
    from chittyops_core.metrics.web import Wsgi

    return Wsgi(app, registry)


def asgi(app: Any) -> Asgi:
    """Return the ASGI *app* with its requests counted; see `chittyops_core.metrics.web`."""
    from chittyops_core.metrics.web import Asgi

    return Asgi(app, registry)


def flush(timeout_s: float = 1.0) -> bool:
    """Report now; return whether the agent has everything. False where there is no agent."""
    return _reporter.flush(timeout_s=timeout_s)
