"""CPU of our edge for each request, beside the same Caddy with one fixed upstream."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil
from machine import UVICORN, app, artifact_of, home, two_upstreams
from peers import Caddy

from chittyops_core._kit.process import find_marked
from chittyops_core.deploy.targets.base import Address
from chittyops_core.host import HostClient
from chittyops_core.testing.load import Load, Mode
from chittyops_lite_chitty_apps import ChittyAppsOpsLite
from rows.base import Row, by_turns

ROUNDS = 7
REQUESTS = 4000


def measure(folder: Path) -> Row:
    with home(folder) as made:
        address = ChittyAppsOpsLite(home=made).deploy(app(UVICORN, "cpu", "same")).address
        with HostClient(made) as host:
            # As after a restart: names that the host started with stand in its configuration.
            host.stop_host()
            host.start_host()
        edge = next(p for p in find_marked({"CHITTYOPS_INSTANCE": "edge"}) if _is_caddy(p, made))
        with (
            two_upstreams(artifact_of(made)) as ports,
            Caddy(folder / "caddy", ports[0]) as fixed,
        ):
            figures = by_turns(
                ROUNDS,
                _cpu_us(edge, address),
                _cpu_us(psutil.Process(fixed.pid), fixed.address),
            )
    return Row("proxy CPU a request", "same Caddy, fixed upstream", "us", *figures, 1.25)


def _is_caddy(process: psutil.Process, made: Path) -> bool:
    return process.name() == "caddy" and str(made) in " ".join(process.cmdline())


def _cpu_us(process: psutil.Process, address: Address) -> Callable[[], float]:
    def measured() -> float:
        before = process.cpu_times()
        with Load(address, modes=(Mode(),), workers=16) as load:
            load.wait(REQUESTS)
        after = process.cpu_times()
        assert not load.tally.failed, load.tally.reasons
        used = after.user + after.system - before.user - before.system
        return used / load.tally.total * 1e6

    return measured
