"""Memory of supervisord over two hundred deploys: its second half beside its first."""

from __future__ import annotations

from pathlib import Path

import psutil
from machine import SMALL, app, home

from chittyops_core.host import HostClient
from chittyops_lite_chitty_apps import ChittyAppsOpsLite
from rows.base import Row

DEPLOYS = 200
LOOKS = 20
"""How many deploys at the end of each half are looked at."""


def measure(folder: Path) -> Row:
    sizes = []
    with home(folder) as made:
        lite = ChittyAppsOpsLite(home=made)
        with HostClient(made) as host:
            pid = host.status().host.supervisor_pid
        manager = psutil.Process(pid)
        for number in range(DEPLOYS):
            lite.deploy(app(SMALL, "memory", f"version {number}"))
            sizes.append(manager.memory_info().rss / 2**20)
    half = DEPLOYS // 2
    return Row(
        f"supervisord after {DEPLOYS} deploys", f"after {half}", "MiB",
        sizes[-LOOKS:], sizes[half - LOOKS : half], 1.05,
    )  # fmt: skip
