"""Ctrl-C in every phase, and a caller that is killed: undone before the switch, finished after."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import psutil
import pytest

from chittyops_core.deploy.engine import Event, EventKind
from chittyops_core.errors import DeployInterruptedError
from chittyops_core.testing.load import Load
from chittyops_lite_chitty_apps import ChittyAppsOpsLite
from conftest import HostUnderTest, address_of, chessboard, write_app

pytestmark = pytest.mark.host

BEFORE = ["built", "staged", "gated"]
AFTER = ["soaked", "drained"]


@pytest.mark.chaos
@pytest.mark.parametrize(
    ("phase", "strategy"), chessboard(BEFORE + AFTER, ["blue-green", "recreate"])
)
def test_ctrl_c_undoes_before_the_switch_and_finishes_after_it(
    host: HostUnderTest, app: Path, monkeypatch: pytest.MonkeyPatch, phase: str, strategy: str
) -> None:
    """Under load nothing is lost, one release runs, and the caller is told which."""
    more = f'[health]\nsoak = "1s"\n[deploy]\nstrategy = "{strategy}"'
    monkeypatch.setenv("CHITTYOPS_HTTP_PORT", str(host.http))
    monkeypatch.setenv("CHITTYOPS_HTTPS_PORT", str(host.https))
    report = host.deploy(write_app(app, more=more))
    two = write_app(app, version="two", more=more, env='DELAY_S = "0.3"')

    def interrupt(event: Event) -> None:
        if event.kind is EventKind.STARTED and event.text == phase:
            raise KeyboardInterrupt

    with Load(address_of(report), pause_s=0.005) as load:
        with pytest.raises(DeployInterruptedError) as caught:
            ChittyAppsOpsLite(home=host.home, notify=interrupt).deploy(two)
        host.run("recover")
        load.wait(50)

    assert caught.value.facts["served"] == (phase in AFTER)
    expected = "two" if phase in AFTER else "one"
    assert load.tally.failed == {}, load.tally.reasons
    assert host.get(report) == expected
    status = host.status()[0]
    assert (status["health"], status["unfinished"]) == ("healthy", 0)
    apps = [p for p in host.processes() if any("serve.py" in word for word in p.cmdline())]
    assert len(apps) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_command_exits_130_when_it_is_told_to_end(
    host: HostUnderTest, app: Path, number: signal.Signals
) -> None:
    """Ctrl-C, `kill` and a closed terminal alike; the first deploy leaves no service behind."""
    running = host.start("deploy", str(write_app(app, env='DELAY_S = "20"')), "--yes", "-v")
    _wait_for(running.stderr, "processes started")

    running.send_signal(number)
    _, said = running.communicate(timeout=30)

    assert running.returncode == 130
    assert "undone" in said
    assert host.status() == []


def test_when_the_caller_is_killed_the_host_undoes_by_itself(
    host: HostUnderTest, app: Path
) -> None:
    """kill -9 of the command line: its host process notices and settles."""
    one = host.deploy(app)
    running = host.start(
        "deploy", str(write_app(app, version="two", env='DELAY_S = "20"')), "--yes", "-v"
    )
    _wait_for(running.stderr, "processes started")
    hosts = [
        p for p in psutil.Process(running.pid).children() if "chittyops_core.host" in p.cmdline()
    ]

    running.kill()
    running.communicate()
    psutil.wait_procs(hosts, timeout=20)

    assert host.get(one) == "one"
    status = host.status()[0]
    assert (status["serving"], status["unfinished"]) == (one["release"], 0)


def _wait_for(stream: object, text: str) -> None:
    """Read a pipe until *text* came by; a watchdog ends a test that would wait for ever."""
    watchdog = threading.Timer(60, lambda: pytest.fail(f"{text!r} never came"))
    watchdog.start()
    for line in stream:  # type: ignore[attr-defined]
        if text in line:
            break
    watchdog.cancel()
