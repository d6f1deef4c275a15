"""What counting costs an app, beside prometheus_client in the same run.

    python benchmarks/metrics.py

Rounds of ours and of the peer's alternate, and the medians are compared. The peer's fastest way is
measured too: it is handed the series (`labels(...)` called once), where ours finds it each time.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

from chittyops_core.metrics import Registry
from chittyops_core.metrics.web import Wsgi

ROUNDS = 15
CALLS = 10_000


def main() -> None:
    registry = Registry()
    orders = registry.counter("orders")
    latency = registry.histogram("latency", unit="s")
    rows: dict[str, tuple[Callable[[], object], Callable[[], object] | None]] = {
        "counter, no label": (lambda: orders.add(1), None),
        "counter, one label": (lambda: orders.add(1, client="acme"), None),
        "counter, three labels": (lambda: orders.add(1, client="acme", kind="a", at="b"), None),
        "histogram, one label": (lambda: latency.record(0.2, client="acme"), None),
    }
    try:
        import prometheus_client as peer
    except ImportError:
        print("prometheus_client is not installed: no peer, no ratio")
    else:
        own = peer.CollectorRegistry()
        plain = peer.Counter("plain", "-", registry=own)
        one = peer.Counter("one", "-", ["client"], registry=own)
        three = peer.Counter("three", "-", ["client", "kind", "at"], registry=own)
        spread = peer.Histogram("spread", "-", ["client"], registry=own)
        held = one.labels(client="acme")
        theirs: list[Callable[[], object]] = [
            plain.inc,
            lambda: one.labels(client="acme").inc(),
            lambda: three.labels(client="acme", kind="a", at="b").inc(),
            lambda: spread.labels(client="acme").observe(0.2),
        ]
        rows = {
            name: (ours, their)
            for (name, (ours, _)), their in zip(rows.items(), theirs, strict=True)
        }
        rows["counter, one label, held"] = (lambda: orders.add(1, client="acme"), held.inc)
    app = Wsgi(_app, registry)
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}
    rows["WSGI request (peer: bare)"] = (
        lambda: app(environ, _start),
        lambda: _app(environ, _start),
    )
    print(f"{'microseconds a call':28} {'ours':>8} {'peer':>8} {'ratio':>8}   load")
    for name, (ours, their) in rows.items():
        mine, others = _measure(ours, their)
        ratio = f"{mine / others:7.2f}x" if others else f"{'-':>8}"
        print(f"{name:28} {mine:8.2f} {others or 0:8.2f} {ratio} {os.getloadavg()[0]:6.1f}")


def _app(environ: dict[str, str], start: Callable[..., object]) -> list[bytes]:
    start("200 OK", [])
    return [b"ok"]


def _start(*_: object) -> None:
    pass


def _measure(
    ours: Callable[[], object], their: Callable[[], object] | None
) -> tuple[float, float | None]:
    """Return the medians of CPU microseconds a call."""
    mine, others = [], []
    for _ in range(ROUNDS):
        mine.append(_round(ours))
        if their is not None:
            others.append(_round(their))
    return statistics.median(mine), statistics.median(others) if others else None


def _round(call: Callable[[], object]) -> float:
    began = time.thread_time()
    for _ in range(CALLS):
        call()
    return (time.thread_time() - began) / CALLS * 1e6


if __name__ == "__main__":
    main()
