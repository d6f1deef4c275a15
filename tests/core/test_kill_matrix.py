"""kill -9 of every process of a host in every phase of a deploy, under load.

`-s` prints the matrix: how each deploy ended, what was lost, how long until all was well.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from attrs import frozen

from chittyops_core._kit.retry import wait_until
from chittyops_core.deploy.engine import Event, EventKind
from chittyops_core.deploy.journal import Phase
from chittyops_core.errors import ChittyOpsError
from chittyops_core.testing.load import Load, Mode, Tally
from chittyops_lite_chitty_apps import ChittyAppsOpsLite
from conftest import IS_CHAOS_FULL, HostUnderTest, address_of, require_nothing_left, write_app

pytestmark = [pytest.mark.chaos, pytest.mark.host, pytest.mark.long]

PHASES = (Phase.BUILT, Phase.STAGED, Phase.GATED, Phase.SERVED, Phase.SOAKED, Phase.DRAINED)
GET = (Mode("GET", keep_alive=False), Mode("GET"))


def _named(word: str) -> Callable[[HostUnderTest], list[psutil.Process]]:
    def find(host: HostUnderTest) -> list[psutil.Process]:
        return [p for p in host.processes() if any(word in part for part in p.cmdline())]

    return find


def _apps(host: HostUnderTest, *, serving: bool) -> list[psutil.Process]:
    now = (host.home / "services/hello.production/live").readlink().parent.name
    return [
        p
        for p in _named("serve.py")(host)
        if (p.environ().get("CHITTYOPS_RELEASE") == now) == serving
    ]


VICTIMS: dict[str, Callable[[HostUnderTest], list[psutil.Process]]] = {
    "supervisord": _named("supervisor.supervisord"),
    "caddy": _named("caddy.json"),
    "app that serves": lambda host: _apps(host, serving=True),
    "app that does not": lambda host: _apps(host, serving=False),
}

MAY_LOSE = {"supervisord": 0, "app that does not": 0, "app that serves": len(GET)}
"""An app that is killed cuts what it was answering, at most one request for each who asks.

When the edge itself is killed, what it held is gone with it.
"""


@frozen
class Cell:
    """One kill: in which phase, how the deploy ended, what was lost, seconds until all was well."""

    phase: Phase
    killed: int
    outcome: str
    lost: int
    seconds: float


@pytest.mark.parametrize("strategy", ["blue-green", "recreate"])
@pytest.mark.parametrize("victim", VICTIMS)
def test_whatever_is_killed_whenever_the_next_command_finds_all_well(
    host: HostUnderTest,
    app: Path,
    monkeypatch: pytest.MonkeyPatch,
    victim: str,
    strategy: str,
) -> None:
    """The deploy is finished or undone, one release serves, nothing stays or needs a hand."""
    monkeypatch.setenv("CHITTYOPS_HTTP_PORT", str(host.http))
    monkeypatch.setenv("CHITTYOPS_HTTPS_PORT", str(host.https))
    more = f'[deploy]\nstrategy = "{strategy}"\n[health]\nsoak = "300ms"\ntimeout = "5s"'
    report = host.deploy(write_app(app, version="0", more=more))
    cells = []

    for phase in PHASES * 5 if IS_CHAOS_FULL else PHASES[strategy == "recreate" :: 2]:
        folder = write_app(app, version=f"{phase} {len(cells)}", more=more)
        with Load(address_of(report), modes=GET, pause_s=0.003) as load:
            cells.append(_kill(host, folder, victim, phase, load.tally))
            load.wait(40)
        cells[-1] = _with_loss(cells[-1], load.tally)
        services = host.status()
        where = f"{victim} in {phase}: {cells[-1]}, {load.tally.reasons}"
        assert len(services) == 1, where
        assert (services[0]["health"], services[0]["unfinished"]) == ("healthy", 0), where
        require_nothing_left(host, services[0]["serving"], where)
        assert cells[-1].lost <= MAY_LOSE.get(victim, cells[-1].lost), where

    for cell in cells:
        print(
            f"{victim:18} {strategy:10} {cell.phase:8} {cell.killed} killed: {cell.outcome:40} "
            f"{cell.lost:4} lost, well after {cell.seconds:.2f} s"
        )


def test_what_waits_for_an_orphan_waits_again_when_it_is_staged_and_killed(
    host: HostUnderTest, app: Path
) -> None:
    """A deploy that is undone stages the old release, whose launcher may still be starting."""
    host.deploy(app)
    for process in VICTIMS["supervisord"](host):
        process.kill()
    assert host.run("recover").returncode == 0
    dies = write_app(app, behaviour="die")
    assert host.run("deploy", str(dies), "--yes").returncode == 1

    waiting = [p for p in _named("launcher.py")(host) if p.cmdline()[-1].endswith("-web-0.launch")]
    assert len(waiting) == 1
    waiting[0].kill()

    assert not wait_until(lambda: len(_named("serve.py")(host)) > 1, timeout_s=1.5)
    require_nothing_left(host, host.status()[0]["serving"], "staged again")


def _kill(host: HostUnderTest, folder: Path, victim: str, phase: Phase, tally: Tally) -> Cell:
    killed, at = 0, 0.0

    def kill(event: Event) -> None:
        nonlocal killed, at
        if event.kind is EventKind.STARTED and event.text == phase:
            at = time.monotonic()
            for process in VICTIMS[victim](host):
                process.send_signal(signal.SIGKILL)
                killed += 1

    try:
        ChittyAppsOpsLite(home=host.home, notify=kill).deploy(folder)
        outcome = "served"
    except ChittyOpsError as error:
        outcome = f"{type(error).__name__}"
    # The next command, whatever it is.
    assert wait_until(lambda: all(s["health"] == "healthy" for s in host.status()), timeout_s=20), (
        victim,
        phase,
        outcome,
    )
    return Cell(phase, killed, outcome, 0, time.monotonic() - at)


def _with_loss(cell: Cell, tally: Tally) -> Cell:
    return Cell(cell.phase, cell.killed, cell.outcome, tally.failed.total(), cell.seconds)
