"""A deploy on a host with two hundred services, beside one on a host with one."""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path

from machine import SMALL, app, home

from chittyops_lite_chitty_apps import ChittyAppsOpsLite
from rows.base import Row, by_turns

SERVICES = 200
ROUNDS = 15


def measure(folder: Path) -> Row:
    numbers = count()
    with home(folder, "many") as many, home(folder, "one") as one:
        large, small = ChittyAppsOpsLite(home=many), ChittyAppsOpsLite(home=one)
        for number in range(SERVICES):
            large.deploy(app(SMALL, f"service-{number}", "first"))
        small.deploy(app(SMALL, "service-0", "first"))

        def deploy_ms(lite: ChittyAppsOpsLite) -> float:
            start = time.monotonic()
            lite.deploy(app(SMALL, "service-0", f"version {next(numbers)}"))
            return (time.monotonic() - start) * 1000

        figures = by_turns(ROUNDS, lambda: deploy_ms(large), lambda: deploy_ms(small))
    return Row(f"deploy among {SERVICES} services", "among 1", "ms", *figures, 1.1)
