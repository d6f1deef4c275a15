"""What a host reports of itself: by the status page's rules, in a stable form, within limits."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chittyops_core._kit.clock import SystemClock
from chittyops_core.bridge.protocol import FACTS, MAX_METRICS, MAX_TEXT
from chittyops_core.deploy.targets.local import Layout, LocalTarget
from chittyops_core.host.bridge_report import Reporter
from chittyops_core.host.facts import host_facts
from chittyops_core.host.promises import Promise
from chittyops_core.model.monitoring import AlertState, Monitor, Observation
from chittyops_core.model.service import Service
from chittyops_core.monitor.alerts import Alert
from chittyops_core.monitor.buffer import BufferedStore
from chittyops_core.monitor.watch import Watch


def _no_secret(name: str, fingerprint: str | None) -> str:
    raise AssertionError(f"a report asked for the secret {name}")


def _no_user(service: Service, candidates: object) -> int:
    raise AssertionError("a report asked for a user")


class Reported:
    """A reporter over a real store and a real watch that looks at nothing by itself."""

    def __init__(self, home: Path) -> None:
        self.layout = Layout.create(home)
        self.store = BufferedStore(self.layout.monitor_store)
        self.promises: list[Promise] = []

    def reporter(self, *slugs: str, more: tuple[str, ...] = ()) -> Reporter:
        self.watch = Watch(self.store, SystemClock(), lambda: None)
        monitors = [Monitor(f"{slug}/{name}", "tcp", "127.0.0.1:1", slug)
                    for slug in slugs for name in ("web", "processes", *more)]  # fmt: skip
        assert self.watch.set_monitors(monitors) == {}
        target = LocalTarget(self.layout, _no_secret, lambda text: None, _no_user)
        return Reporter(self.layout, target, self.store, self.watch, lambda: self.promises)

    def fire(self, *names: str, why: str = "") -> None:
        fired = [Alert(n, AlertState.FIRING, time.time(), is_open=True, why=why) for n in names]
        self.store.record(alerts=fired)


@pytest.fixture
def reported() -> Iterator[Reported]:
    with tempfile.TemporaryDirectory(prefix="ch-", dir="/tmp") as folder:
        made = Reported(Path(folder) / "h")
        yield made
        made.store.close()


def test_health_is_what_the_status_page_would_say(reported: Reported) -> None:
    """One service down of two is a partial outage of the host; both, a major one."""
    reported.fire("court.production/web", why="status was 503")
    one = reported.reporter("court.production", "shop.production").health()
    reported.fire("shop.production/web", why="connection refused")
    both = reported.reporter("court.production", "shop.production").health()

    assert one["services"]["court.production"]["status"] == "major_outage"
    assert one["services"]["court.production"]["why"] == "web: status was 503"
    assert one["services"]["shop.production"] | {"since": 0} == {
        "status": "operational", "why": "", "since": 0,
    }  # fmt: skip
    assert (one["status"], both["status"]) == ("partial_outage", "major_outage")


def test_maintenance_and_a_sick_host_are_seen_in_its_health(reported: Reported) -> None:
    assert reported.reporter().health()["status"] == "operational"
    reported.fire("host/disk", why="free_percent was 3 %")
    sick = reported.reporter("shop.production").health()
    store = reported.store.store
    assert store is not None
    store.add_maintenance("shop.production", time.time() - 1, time.time() + 60, "")
    covered = reported.reporter("shop.production").health()

    assert sick["status"] == "degraded_performance"
    assert sick["host"] == {"status": sick["status"], "why": "disk: free_percent was 3 %"}
    assert covered["services"]["shop.production"]["status"] == "under_maintenance"


def test_the_words_of_an_app_s_own_monitor_are_not_reported_attack(reported: Reported) -> None:
    """Its error may quote data or a password; that it fails, and which one, is said."""
    reported.fire("shop.production/orders", why="password=hunter2 <script>")
    found = reported.reporter("shop.production", more=("orders",)).state()

    assert "hunter2" not in json.dumps(found)
    assert found["health"]["services"]["shop.production"]["why"] == "orders"
    assert found["health"]["services"]["shop.production"]["status"] == "partial_outage"


def test_figures_are_of_the_last_minutes_and_have_names_that_stay(reported: Reported) -> None:
    """Names stay the same, whether a value is known or not; that is what makes a set of them."""
    reporter = reported.reporter("shop.production")
    before = reporter.metrics()
    now = time.time()
    looks = [Observation("shop.production/web", now, True, 0.25) for _ in range(3)]
    usage = Observation("shop.production/processes", now, True, 0.0, "", {
        "processes": 2, "rss": 5e7, "restarts": 1, "cpu_percent": 50.0,
    })  # fmt: skip
    reported.store.record([*looks, usage])
    after = reporter.metrics()

    assert list(before) == list(after)
    of_service = {name.partition("{")[0]: value for name, value in after.items()}
    assert of_service["chittyops_service_instances"] == 2
    assert of_service["chittyops_service_memory_bytes"] == 5e7
    assert of_service["chittyops_service_cpu_ratio"] == 0.5
    assert of_service["chittyops_service_response_p95_seconds"] == pytest.approx(0.25, rel=0.02)
    assert 0 <= (after["chittyops_host_memory_used_ratio"] or 0) <= 1
    assert 10 <= len(after) <= 20


def test_no_more_figures_than_a_set_may_have_attack(reported: Reported) -> None:
    """With hundreds of services, each still has its share of good looks."""
    longest = f"{'a' * 29}{{}}.{'b' * 20}.{'c' * 40}"
    slugs = [longest.format(f"{number:03}") for number in range(300)]

    found = reported.reporter(*slugs).metrics()

    assert len(found) == MAX_METRICS
    assert all(len(name) <= MAX_TEXT for name in found)
    assert sum("up_ratio" in name for name in found) == len(slugs)


def test_a_host_of_many_services_reports_them_in_order(
    reported: Reported, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also clients of one app, whose keys have no order of their own."""
    reporter = reported.reporter()
    serving = {Service("b"): "2", Service("a", client="z"): "3", Service("a", client="y"): "1"}
    monkeypatch.setattr(reporter._target, "serving", lambda: serving)
    monkeypatch.setattr(reporter, "_service", lambda journal, service, release, health: release)

    found = reporter.inventory({})["services"]

    assert list(found.items()) == [
        ("a.production.y", "1"), ("a.production.z", "3"), ("b.production", "2"),
    ]  # fmt: skip


def test_a_host_without_a_journal_to_read_reports_its_facts(reported: Reported) -> None:
    """Whatever is broken, a parent still hears what it can."""
    reported.layout.journal.write_bytes(b"no database" * 100)

    found = reported.reporter().inventory({})

    assert found["services"] == {}
    assert tuple(found["host"]) == FACTS == tuple(host_facts())
    assert all(value is None or isinstance(value, str | int) for value in found["host"].values())
