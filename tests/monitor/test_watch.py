"""The rhythm of looking: what is due is looked at, judged and kept, whatever clocks do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from attrs import define, field

from chittyops_core._kit.clock import SystemClock
from chittyops_core._kit.retry import wait_until
from chittyops_core.model.monitoring import AlertState, Measurement, Monitor, Severity
from chittyops_core.monitor import watch as module
from chittyops_core.monitor.alerts import Rule
from chittyops_core.monitor.buffer import BufferedStore
from chittyops_core.monitor.outbox import Outbox
from chittyops_core.monitor.probes.base import Probe
from chittyops_core.monitor.watch import Judgement, Watch, judge

INTERVAL_S = 0.05
RULE = Rule(fail=3, clean=3, clean_s=0.1)


class JumpingClock(SystemClock):
    """The machine's clock, whose wall somebody sets."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.ahead


@define
class Running:
    """A watch under way in a thread, of monitors that are files: ill while there is no file."""

    folder: Path
    watch: Watch
    clock: JumpingClock
    told: list[str] = field(factory=list)

    def monitor(self, name: str, **more: object) -> Monitor:
        """Return a monitor that is well while the file *name* is there."""
        return Monitor(
            name, "disk", str(self.folder / name), interval_s=INTERVAL_S,
            conditions=("free_percent >= 0%",), **more,  # type: ignore[arg-type]
        )  # fmt: skip

    def messages(self) -> list[tuple[str, str]]:
        """Return (alert, state) of all that was ever to be told, in order."""
        outbox = Outbox(self.watch.store._path)
        found = []
        try:
            while (message := outbox.next("all")) is not None:
                outbox.mark_delivered(message.id, "all", time.time())
                found.append((message.alert, message.state.value))
        finally:
            outbox.close()
        self.told += [f"{alert} {state}" for alert, state in found]
        return found

    def state(self, name: str) -> AlertState | None:
        """Return where an alert stands on the disk, where its message is as well."""
        store = self.watch.store.store
        alert = store.alerts().get(name) if store is not None else None
        return alert.state if alert else None

    def total(self, name: str) -> int:
        return self.watch.looks(name)[1]


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr(module, "TICK_S", 0.05)
    monkeypatch.setattr(module, "TEND_S", 0.2)
    clock = JumpingClock()
    store = BufferedStore(tmp_path / "monitor.sqlite")
    watch = Watch(store, clock, lambda: None, rule=RULE)
    stop = threading.Event()
    thread = threading.Thread(target=watch.run, args=(stop,))
    thread.start()
    yield Running(tmp_path, watch, clock)
    stop.set()
    thread.join()
    store.close()


def soon(happens: Callable[[], object]) -> bool:
    return wait_until(happens, timeout_s=20)


def test_an_outage_is_one_message_and_its_end_another(running: Running) -> None:
    (running.folder / "a").touch()
    running.watch.set_monitors([running.monitor("a")])
    assert soon(lambda: running.total("a") > 5)

    (running.folder / "a").unlink()
    assert soon(lambda: running.state("a") is AlertState.FIRING)
    (running.folder / "a").touch()

    assert soon(lambda: running.state("a") is AlertState.OK)
    assert running.messages() == [("a", "firing"), ("a", "resolved")]


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_jumps_by_an_hour_alerts_nobody_and_loses_no_minute(
    running: Running, hours: int
) -> None:
    (running.folder / "a").touch()
    running.watch.set_monitors([running.monitor("a")])
    assert soon(lambda: running.total("a") > 5)
    begin = time.time() - 7200

    running.clock.ahead = timedelta(hours=hours)
    before = running.total("a")
    assert soon(lambda: running.total("a") > before + 10)
    running.clock.ahead = timedelta(0)
    before = running.total("a")
    assert soon(lambda: running.total("a") > before + 10)

    store = running.watch.store.store
    assert store is not None
    assert soon(lambda: store.counts("a", begin, begin + 4 * 3600).total >= before)
    assert running.messages() == []
    assert running.watch.alerts().get("a") is None


def test_what_depends_on_something_ill_is_silent_until_it_alone_is_ill(running: Running) -> None:
    """The edge is away: one message, not one for each app; an app that stays ill is told then."""
    (running.folder / "app").touch()
    (running.folder / "edge").touch()
    monitors = [running.monitor("edge"), running.monitor("app", depends_on=("edge",))]
    running.watch.set_monitors(monitors)
    assert soon(lambda: running.total("app") > 5)

    for name in ("edge", "app"):
        (running.folder / name).unlink()
    assert soon(lambda: running.state("app") is AlertState.FIRING)
    assert soon(lambda: running.state("edge") is AlertState.FIRING)
    assert running.messages() == [("edge", "firing")]
    (running.folder / "edge").touch()

    assert soon(lambda: running.state("edge") is AlertState.OK)
    assert soon(lambda: running.messages() or len(running.told) == 3)
    assert sorted(running.told) == ["app firing", "edge firing", "edge resolved"]


def test_a_prober_that_hangs_is_no_data_and_that_is_told(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dead prober is an alert, not silence (uptime-kuma#1219)."""
    (running.folder / "a").touch()
    running.watch.set_monitors([running.monitor("a", timeout_s=0.05)])
    assert soon(lambda: running.total("a") > 5)
    going_on = threading.Event()

    def hang(probe: Probe) -> Measurement:
        going_on.wait(30)
        return Measurement(0.0)

    with monkeypatch.context() as patch:
        patch.setattr(Probe, "look", hang)
        assert soon(lambda: running.messages() == [("a", "no-data")] or running.told)
        assert running.state("a") is AlertState.NO_DATA
    going_on.set()

    assert soon(lambda: running.state("a") is AlertState.OK)
    assert soon(lambda: running.messages() or len(running.told) == 2)
    assert running.told == ["a no-data", "a resolved"]


def test_a_maintenance_window_is_silent(running: Running) -> None:
    store = running.watch.store.store
    assert store is not None
    now = time.time()
    store.add_maintenance("shop.production", now, now + 3600, "Move")
    before = running.watch._tended
    assert soon(lambda: running.watch._tended > before)

    running.watch.set_monitors([running.monitor("a", service="shop.production")])

    assert soon(lambda: running.state("a") is AlertState.FIRING)
    assert running.messages() == []


def test_what_is_not_wanted_any_more_ends_without_a_word(running: Running) -> None:
    """A removed service is not told as resolved, and does not fire for ever."""
    running.watch.set_monitors([running.monitor("a")])
    assert soon(lambda: running.state("a") is AlertState.FIRING)
    running.messages()

    running.watch.set_monitors([])

    assert soon(lambda: running.state("a") is AlertState.OK)
    assert running.watch.monitors() == []
    assert running.messages() == []


def test_one_that_cannot_be_watched_leaves_the_others_alone(running: Running) -> None:
    (running.folder / "a").touch()
    wrong = running.watch.set_monitors(
        [
            running.monitor("a"),
            Monitor("b", "no-such-probe", "x"),
            Monitor("c", "disk", "/", conditions=("free_percent ~ 3",)),
        ]
    )

    assert sorted(wrong) == ["b", "c"]
    assert "no-such-probe" in wrong["b"].message
    assert soon(lambda: running.total("a") > 2)


def test_one_that_stays_as_it_is_goes_on_undisturbed(running: Running) -> None:
    (running.folder / "a").touch()
    running.watch.set_monitors([running.monitor("a")])
    probe = running.watch.probe("a")

    running.watch.set_monitors([running.monitor("a"), running.monitor("b")])

    assert running.watch.probe("a") is probe


def test_other_things_than_looks_can_alert_too(running: Running) -> None:
    """As burn rates of objectives do, once a minute."""
    rule = Rule(fail=1, clean=1, clean_s=0, severity=Severity.TICKET)
    is_good = False
    running.watch.every_tend = lambda now: [
        Judgement("shop/slo/x/ticket", "shop", rule, is_good, "burns")
    ]
    assert soon(lambda: running.messages() == [("shop/slo/x/ticket", "firing")] or running.told)
    is_good = True

    assert soon(lambda: running.messages() or len(running.told) == 2)
    assert running.told == ["shop/slo/x/ticket firing", "shop/slo/x/ticket resolved"]


def test_a_killed_agent_goes_on_where_it_was(tmp_path: Path) -> None:
    """What was told is not told again by the next one, and what fires still fires."""
    store = BufferedStore(tmp_path / "monitor.sqlite")
    first = Watch(store, JumpingClock(), lambda: None, rule=RULE)
    ill = Monitor("a", "disk", str(tmp_path / "none"), interval_s=INTERVAL_S)
    first.set_monitors([ill])
    for number in range(5):
        first._seen.put(
            module._Seen(first._watched["a"], judge("a", (), Measurement(0, {}, "gone"), number))
        )
    first.keep()
    store.close()

    again = BufferedStore(tmp_path / "monitor.sqlite")
    second = Watch(again, JumpingClock(), lambda: None, rule=RULE)
    second.set_monitors([ill])

    assert second.alerts()["a"].state is AlertState.FIRING
    second._seen.put(
        module._Seen(second._watched["a"], judge("a", (), Measurement(0, {}, "gone"), 9.0))
    )
    second.keep()
    outbox = Outbox(tmp_path / "monitor.sqlite")
    first_message = outbox.next("x")
    assert first_message is not None
    outbox.mark_delivered(first_message.id, "x", 0.0)
    assert outbox.next("x") is None
    outbox.close()
    again.close()


def test_a_body_is_for_conditions_and_is_not_kept() -> None:
    from chittyops_core.monitor.conditions import parse

    seen = judge("a", (parse('body contains "ok"'),), Measurement(0.1, {"body": "ok"}), 1.0)

    assert seen.is_good
    assert "body" not in seen.values
