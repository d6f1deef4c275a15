"""What an app counts about itself: bounded, forgiving, safe with threads, forks, lost agents."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chittyops_core.errors import UsageError
from chittyops_core.metrics import Registry
from chittyops_core.metrics.reporter import Reporter
from chittyops_core.monitor.app_metrics import AppMetrics
from chittyops_core.monitor.app_socket import AppSocket

SERVICE = "shop.production"


def values(registry: Registry) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {(name, frozenset(labels.items())): v for name, labels, v in registry.read()}


def total(apps: AppMetrics, name: str) -> float:
    """Sum of a counter, or the number of values of a histogram, over all its series."""
    for family in apps.collect():
        if family.name == name:
            return sum(sum(s.counts) if s.counts else s.value for s in family.samples)
    return 0.0


def wait_for(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not check():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


@pytest.fixture
def apps() -> AppMetrics:
    return AppMetrics()


@pytest.fixture
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s") / "a.sock"


@pytest.fixture
def agent(apps: AppMetrics, path: Path) -> Iterator[AppSocket]:
    with AppSocket(path, SERVICE, apps.handle_line, os.geteuid()) as started:
        yield started


class TestInstruments:
    @pytest.mark.parametrize("name", ["", "1st", "a b", "ünder", "x" * 256, None, "a\n", 3])
    def test_a_name_that_cannot_be_is_refused(self, name: Any) -> None:
        with pytest.raises(UsageError, match="is no name of a metric"):
            Registry().counter(name)

    @pytest.mark.parametrize("bounds", [[], [2, 1], [1, 1], [float("nan")], ["x"], [1e400], [None]])
    def test_bounds_that_cannot_be_are_refused(self, bounds: Any) -> None:
        with pytest.raises(UsageError, match="bounds"):
            Registry().histogram("h", bounds=bounds)

    def test_one_name_is_one_metric(self) -> None:
        registry = Registry()
        first = registry.counter("orders")

        assert registry.counter("orders") is first
        with pytest.raises(UsageError, match="is a counter in no unit already"):
            registry.gauge("orders")
        with pytest.raises(UsageError, match="is a counter"):
            registry.counter("orders", unit="s")

    @pytest.mark.parametrize(
        "amount", [-1, float("nan"), float("inf"), 10**400, "1", None, [1], object()]
    )
    def test_what_cannot_be_counted_is_left_out_and_told_once(
        self, amount: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A wrong value never breaks the app."""
        registry = Registry()
        orders = registry.counter("orders")

        for _ in range(3):
            orders.add(amount)
        orders.add(2)

        assert values(registry) == {("orders", frozenset()): 2.0}
        assert len(caplog.records) == 1

    def test_labels_are_texts_and_their_order_does_not_matter(self) -> None:
        registry = Registry()
        orders = registry.counter("orders")

        orders.add(1, a="x", b="y")
        orders.add(1, b="y", a="x")
        for one in (1, True, 1.0):
            orders.add(1, n=one)

        assert values(registry) == {
            ("orders", frozenset({("a", "x"), ("b", "y")})): 2.0,
            ("orders", frozenset({("n", "1")})): 1.0,
            ("orders", frozenset({("n", "True")})): 1.0,
            ("orders", frozenset({("n", "1.0")})): 1.0,
        }

    def test_strange_labels_break_nothing(self) -> None:
        class Rude:
            def __str__(self) -> str:
                raise RuntimeError

        registry = Registry()
        orders = registry.counter("orders")

        orders.add(1, rude=Rude())
        orders.add(1, unhashable=[1])
        orders.add(1, surrogate="\ud800")
        orders.add(1, long="x" * 10_000)
        orders.add(1, **{"bad name": "x"})

        assert sum(values(registry).values()) == 5.0
        assert all(len(v) <= 200 for _, labels, _ in registry.read() for v in labels.values())

    def test_series_are_bounded_and_nothing_is_lost(self, caplog: pytest.LogCaptureFixture) -> None:
        registry = Registry(max_series=10)
        orders, others = registry.counter("orders"), registry.counter("others")

        for user in range(1000):
            orders.add(1, user=str(user))
        others.add(5)

        found = values(registry)
        assert len(found) == 12
        assert found["orders", frozenset({("otel.metric.overflow", "true")})] == 990.0
        assert found["others", frozenset({("otel.metric.overflow", "true")})] == 5.0
        assert [r.levelno for r in caplog.records] == [logging.WARNING]

    def test_a_histogram_counts_a_bound_in_its_bucket(self) -> None:
        """Bounds are upper and inclusive, as `le` is."""
        registry = Registry()
        latency = registry.histogram("t", unit="s", bounds=[0.1, 1])

        for value in (0.1, 0.10001, 1, 7):
            latency.record(value)

        assert [cell.counts for cell in latency.cells()] == [[1, 2, 1]]

    def test_threads_lose_nothing(self) -> None:
        registry = Registry()
        orders = registry.counter("orders")
        sizes = registry.histogram("sizes")

        def work() -> None:
            for number in range(5000):
                orders.add(1, client=str(number % 7))
                sizes.record(number)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sum(cell.value for cell in orders.cells()) == 20_000
        assert sum(sum(cell.counts) for cell in sizes.cells()) == 20_000

    def test_a_forked_child_starts_at_zero(self) -> None:
        """Else what the parent counted would count once for each child."""
        registry = Registry()
        orders = registry.counter("orders")
        orders.add(7)
        read, write = os.pipe()

        with orders.lock:  # As when another thread holds it at that moment.
            pid = os.fork()
            if pid == 0:
                orders.add(2)
                os.write(write, str(values(registry)["orders", frozenset()]).encode())
                os._exit(0)
        os.waitpid(pid, 0)

        assert os.read(read, 100) == b"2.0"
        assert values(registry)["orders", frozenset()] == 7.0

    def test_importing_it_loads_only_the_standard_library(self) -> None:
        code = (
            "from chittyops_core import metrics; metrics.wsgi(None); metrics.counter('x').add(1)\n"
            "import sys; print(*{name.partition('.')[0] for name in sys.modules}, *sys.modules)"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        loaded = set(run.stdout.split())

        assert loaded, run.stderr
        assert loaded & {"attr", "attrs", "requests", "structlog", "cattrs", "click"} == set()
        assert [name for name in loaded if name.startswith("chittyops_core.monitor")] == []


class TestReporting:
    def test_without_a_socket_values_stay_in_the_process(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("CHITTYOPS_SOCKET", raising=False)
        registry = Registry()
        reporter = Reporter(registry)

        registry.counter("orders").add(3)

        assert reporter.flush() is False
        assert values(registry) == {("orders", frozenset()): 3.0}

    def test_what_is_sent_twice_counts_once(
        self, agent: AppSocket, apps: AppMetrics, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CHITTYOPS_SOCKET", str(path))
        registry = Registry()
        reporter = Reporter(registry, interval_s=3600)
        orders = registry.counter("orders")
        orders.add(3, client="acme")
        assert reporter.flush()

        reporter._hang_up()  # A new connection sends all again.
        orders.add(1, client="acme")
        assert reporter.flush()

        assert total(apps, "orders") == 4.0

    def test_an_agent_that_was_away_or_restarted_gets_everything(
        self, apps: AppMetrics, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CHITTYOPS_SOCKET", str(path))
        registry = Registry()
        reporter = Reporter(registry, interval_s=3600)
        orders = registry.counter("orders")
        uid = os.geteuid()

        orders.add(1)
        assert reporter.flush() is False
        with AppSocket(path, SERVICE, apps.handle_line, uid):
            assert reporter.flush()
        told = sum(event.delta for event in apps.drain_events())
        kept = apps.dump()
        orders.add(1)
        assert reporter.flush() is False
        orders.add(1)
        restarted = AppMetrics()
        restarted.load(kept)
        with AppSocket(path, SERVICE, restarted.handle_line, uid):
            assert reporter.flush()

        told += sum(event.delta for event in restarted.drain_events())
        assert (told, total(restarted, "orders")) == (3.0, 3.0)

    def test_an_agent_that_hangs_delays_nobody(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It accepts and never answers: the app counts on, and ends."""
        with socket.socket(socket.AF_UNIX) as hung:
            hung.bind(str(path))
            hung.listen()
            code = (
                "from chittyops_core import metrics\n"
                "for n in range(100): metrics.counter('orders').add(1)\n"
                "print(next(iter(metrics.registry.read()))[2])"
            )
            run = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, timeout=30,
                env={**os.environ, "CHITTYOPS_SOCKET": str(path)},
            )  # fmt: skip

        assert (run.stdout, run.stderr, run.returncode) == ("100.0\n", "", 0)

    @pytest.mark.parametrize("answer", [b"\n", b"[]\n", b"\xff\n", b"{}\n", b"x" * 70_000, b""])
    def test_an_agent_that_talks_nonsense_breaks_nothing(
        self, answer: bytes, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CHITTYOPS_SOCKET", str(path))
        registry = Registry()
        reporter = Reporter(registry, interval_s=3600)
        registry.counter("orders").add(1)
        with socket.socket(socket.AF_UNIX) as odd:
            odd.bind(str(path))
            odd.listen()

            def speak() -> None:
                with odd.accept()[0] as peer:
                    peer.recv(65_536)
                    peer.sendall(answer)

            thread = threading.Thread(target=speak)
            thread.start()

            assert reporter.flush() is False
            thread.join()

    def test_a_long_report_takes_several_lines(
        self, path: Path, apps: AppMetrics, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CHITTYOPS_SOCKET", str(path))
        lines: list[bytes] = []

        def keep(service: str, line: bytes) -> bytes | None:
            lines.append(line)
            return apps.handle_line(service, line)

        registry = Registry()
        reporter = Reporter(registry, interval_s=3600)
        for number in range(450):
            registry.counter("orders").add(1, n=str(number))
            registry.histogram("t", unit="s").record(1, n=str(number))
        with AppSocket(path, SERVICE, keep, os.geteuid()):
            assert reporter.flush()
            whole = len(lines)
            registry.counter("orders").add(1, n="7")
            assert reporter.flush()

        assert whole == 9
        assert [s["value"] for s in json.loads(lines[-1])["metrics"][0]["series"]] == [2.0]
        assert (total(apps, "orders"), total(apps, "t_seconds")) == (451.0, 450.0)

    def test_many_processes_are_one_total(
        self, agent: AppSocket, apps: AppMetrics, path: Path, tmp_path: Path
    ) -> None:
        """Forked workers, pools, a killed one: each counts once, and its end keeps its total."""
        program = tmp_path / "app.py"
        program.write_text(
            "import multiprocessing, os, signal, sys, time\n"
            "from chittyops_core import metrics\n"
            "orders = metrics.counter('orders')\n"
            "def work(n):\n"
            "    for _ in range(100): orders.add(1, worker=str(n))\n"
            "orders.add(1, worker='parent')\n"
            "metrics.flush()\n"
            "context = multiprocessing.get_context('fork')\n"
            "workers = [context.Process(target=work, args=(n,)) for n in range(3)]\n"
            "[w.start() for w in workers]; [w.join() for w in workers]\n"
            "if os.fork() == 0:\n"
            "    work('killed'); metrics.flush(5); os.kill(os.getpid(), signal.SIGKILL)\n"
            "os.wait()\n"
            "if os.fork() == 0:\n"
            "    work('forked'); sys.exit(0)\n"
            "os.wait()\n"
            "orders.add(1, worker='parent')\n"
        )

        run = subprocess.run(
            [sys.executable, "-W", "ignore", str(program)], capture_output=True, text=True,
            env={**os.environ, "CHITTYOPS_SOCKET": str(path)}, timeout=60,
        )  # fmt: skip

        assert run.stderr == ""
        assert total(apps, "orders") == 502.0

    def test_it_reports_by_itself(self, agent: AppSocket, apps: AppMetrics, path: Path) -> None:
        code = (
            "import time; from chittyops_core import metrics\n"
            "metrics.counter('orders').add(2); print('up', flush=True); time.sleep(60)"
        )
        app = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE,
            env={**os.environ, "CHITTYOPS_SOCKET": str(path)},
        )  # fmt: skip
        try:
            wait_for(lambda: total(apps, "orders") == 2.0)
        finally:
            app.send_signal(signal.SIGKILL)
            app.communicate()


def test_spawned_processes_report_too(
    agent: AppSocket, apps: AppMetrics, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHITTYOPS_SOCKET", str(path))
    context = multiprocessing.get_context("spawn")

    worker = context.Process(target=exec, args=(
        "from chittyops_core import metrics; metrics.counter('orders').add(5)",
    ))  # fmt: skip
    worker.start()
    worker.join()

    assert total(apps, "orders") == 5.0
