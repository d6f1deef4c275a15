"""What happened on a host comes into the outbox once, whenever the agent is killed."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chittyops_core._kit.clock import SystemClock
from chittyops_core.bridge.outbox import Item, Outbox
from chittyops_core.bridge.protocol import ItemKind
from chittyops_core.deploy.journal import Action, Journal, Phase
from chittyops_core.deploy.provenance import Provenance
from chittyops_core.deploy.targets.local import Layout
from chittyops_core.errors import StoreError
from chittyops_core.host.bridge_events import Collector, tell
from chittyops_core.model.monitoring import AlertState, Message, Severity
from chittyops_core.model.service import Service
from chittyops_core.monitor.buffer import BufferedStore
from conftest import IS_CHAOS_FULL

DRIVER = Path(__file__).with_name("bridge_driver.py")
SHOP = Service("shop")


class EnrolledHome:
    """The files of an enrolled host, as its processes see them."""

    def __init__(self, home: Path) -> None:
        self.layout = Layout.create(home)
        self.layout.bridge.mkdir(exist_ok=True)
        (self.layout.bridge / "membership.json").write_text("{}")
        self.store = BufferedStore(self.layout.monitor_store)
        self.outbox = Outbox(self.layout.bridge / "outbox.db")
        self.journal = Journal(self.layout.journal, SystemClock())
        self.collector = Collector(self.layout, self.store, self.outbox)

    def items(self) -> list[Item]:
        """Return all that is owed."""
        return list(self.outbox.take(10_000, 1 << 30).items)

    def told(self) -> list[str]:
        return [json.loads(item.body)["type"] for item in self.items()]

    def close(self) -> None:
        self.store.close()
        self.outbox.close()
        self.journal.close()

    def begin(self, release: str, action: Action = Action.DEPLOY) -> int:
        came_from = Provenance("c" * 40, False, "m" * 64, "0.1.0")
        return self.journal.begin(SHOP, "chitty-apps", action, release, None, came_from)

    def say(self, seq: int, state: AlertState, alert: str = "shop.production/web") -> None:
        """Let a message be recorded, as the agent does."""
        body = "the password is hunter2\n\nMonitor: x"
        message = Message(
            f"{alert}:{seq}", alert, state, Severity.PAGE, time.time(), "a title", body
        )
        self.store.record(messages=[message])


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path leaves room for the names of sockets."""
    with tempfile.TemporaryDirectory(prefix="ch-", dir="/tmp") as made:
        yield Path(made)


@pytest.fixture
def home(folder: Path) -> Iterator[EnrolledHome]:
    made = EnrolledHome(folder / "h")
    yield made
    made.close()


def test_deployments_are_told_when_they_have_ended(home: EnrolledHome) -> None:
    """Each once, in whatever order they end; what ended before the host enrolled is not told."""
    home.journal.end(home.begin("before"), Phase.DONE)
    home.collector.collect()
    slow, quick = home.begin("slow"), home.begin("quick")
    home.journal.end(quick, Phase.DONE)
    first = home.collector.collect()
    home.journal.end(home.begin("back", Action.ROLLBACK), Phase.DONE)
    home.journal.end(slow, Phase.UNDONE, "password=hunter2")
    second = home.collector.collect()

    assert [e.body["release"] for e in first] == ["quick"]
    assert {e.body["type"]: e.body["release"] for e in second} == {
        "deploy.undone": "slow", "deploy.rolled_back": "back",
    }  # fmt: skip
    assert home.collector.collect() == []
    assert first[0].body["commit"] == "c" * 40
    assert first[0].body["service"] == "shop.production"
    # Why it was undone may hold what an app said.
    assert "hunter2" not in str(home.items())


def test_alerts_are_told_as_incidents_and_reminders_are_not(home: EnrolledHome) -> None:
    """Whatever is repeated to people every four hours is one incident to a parent."""
    home.collector.collect()
    home.say(1, AlertState.FIRING)
    home.say(2, AlertState.FIRING)
    home.say(3, AlertState.RESOLVED)
    home.say(4, AlertState.NO_DATA, "host/disk")

    found = home.collector.collect()

    assert [(e.kind, e.body["type"], e.body["service"]) for e in found] == [
        (ItemKind.INCIDENT, "alert.firing", "shop.production"),
        (ItemKind.INCIDENT, "alert.resolved", "shop.production"),
        (ItemKind.INCIDENT, "alert.no-data", None),
    ]
    assert len({e.body["id"] for e in found}) == 3
    assert home.outbox.has_urgent()


def test_what_an_app_s_own_monitor_says_stays_here_attack(home: EnrolledHome) -> None:
    """A query's error may hold what was queried; only the monitor's name goes out."""
    home.collector.collect()
    home.say(1, AlertState.FIRING, "shop.production/orders")

    home.collector.collect()

    (item,) = home.items()
    assert "hunter2" not in item.body
    assert json.loads(item.body)["alert"] == "shop.production/orders"


def test_maintenance_is_told_when_it_begins_and_when_it_ends(home: EnrolledHome) -> None:
    """A window that lies ahead is not told yet; one that is ended early is over."""
    home.collector.collect()
    store = home.store.store
    assert store is not None
    now = time.time()
    number = store.add_maintenance("shop.production", now - 1, now + 3600, "new database")
    store.add_maintenance("*", now + 3600, now + 7200, "")
    home.collector.collect()
    home.collector.collect()
    store.end_maintenance(number, time.time())
    home.collector.collect()

    assert home.told() == ["maintenance.started", "maintenance.ended"]


def test_a_journal_or_a_store_that_begins_anew_is_read_from_its_beginning(
    home: EnrolledHome,
) -> None:
    """Somebody moved a damaged one away; numbers begin with 1 again."""
    for _ in range(3):
        home.journal.end(home.begin("old"), Phase.DONE)
        home.say(home.journal.last(), AlertState.FIRING)
    home.collector.collect()
    home.journal.close()
    home.store.close()
    for path in (home.layout.journal, home.layout.monitor_store):
        path.rename(path.with_suffix(".away"))
    home.journal = Journal(home.layout.journal, SystemClock())
    home.store = BufferedStore(home.layout.monitor_store)
    home.journal.end(home.begin("new"), Phase.DONE)
    home.say(9, AlertState.FIRING)

    Collector(home.layout, home.store, home.outbox).collect()

    assert home.told() == ["deploy.served", "alert.firing"]


def test_what_could_not_be_put_is_read_again(
    home: EnrolledHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk refuses the items and how far they were read alike."""
    home.collector.collect()
    home.journal.end(home.begin("one"), Phase.DONE)
    home.say(1, AlertState.FIRING)
    with monkeypatch.context() as full:
        full.setattr(home.outbox, "put_all", _refuse)
        with pytest.raises(StoreError):
            home.collector.collect()

    home.collector.collect()

    assert home.told() == ["deploy.served", "alert.firing"]


def _refuse(*args: object, **more: object) -> None:
    raise StoreError("the disk is full")


def test_an_event_of_the_host_itself_is_put_only_where_there_is_a_parent(
    home: EnrolledHome, folder: Path
) -> None:
    """And it cannot fail: what was done is done."""
    tell(home.layout, "secret.rotated", secret="shop/key")
    (folder / "alone").mkdir()
    alone = Layout.create(folder / "alone")
    tell(alone, "secret.rotated", secret="shop/key")
    damaged = Layout.create(folder / "damaged")
    damaged.bridge.mkdir()
    (damaged.bridge / "membership.json").touch()
    (damaged.bridge / "outbox.db").mkdir()
    tell(damaged, "secret.rotated", secret="shop/key")

    assert home.told() == ["secret.rotated"]
    assert not alone.bridge.exists()


@pytest.mark.chaos
def test_kills_between_an_alert_and_the_outbox_lose_and_repeat_nothing(folder: Path) -> None:
    """Killed at any moment: each message that was recorded is in the outbox once."""
    first = EnrolledHome(folder / "h")
    first.collector.collect()
    first.close()
    pauses, said = random.Random(5), 0
    for _ in range(30 if IS_CHAOS_FULL else 3):
        driver = subprocess.Popen(
            [sys.executable, DRIVER, str(folder / "h")], stdout=subprocess.PIPE, text=True
        )
        assert driver.stdout is not None
        driver.stdout.readline()  # It is at work.
        time.sleep(pauses.uniform(0.0, 0.1))
        driver.send_signal(signal.SIGKILL)
        said += 1 + len(driver.communicate()[0].splitlines())

    after = EnrolledHome(folder / "h")
    after.collector.collect()

    store = after.store.store
    assert store is not None
    ids = [json.loads(item.body)["id"] for item in after.items()]
    assert len(ids) == len(set(ids)) == store.last_message() >= said
    after.close()
