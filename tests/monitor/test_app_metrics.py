"""The agent's side of what apps count: hostile input, ends, resets, caps, restarts."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chittyops_core.monitor.app_metrics import MAX_METRICS, MAX_PROCESSES, AppMetrics
from chittyops_core.monitor.app_report import MAX_LINE_BYTES
from chittyops_core.monitor.app_socket import AppSocket
from chittyops_core.monitor.exposition import render

SERVICE = "shop.production"
START = "a" * 16
OK = b'{"v":1,"ok":true}\n'


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def counter(value: Any, name: str = "orders", **labels: Any) -> dict[str, Any]:
    return {"name": name, "kind": "counter", "series": [{"labels": labels, "value": value}]}


def gauge(value: float, combine: str, at: float = 0.0) -> dict[str, Any]:
    series = [{"labels": {}, "value": value, "at": at}]
    return {"name": "queue", "kind": "gauge", "combine": combine, "series": series}


def histogram(counts: Any, total: Any = 0.0, bounds: Any = (0.1, 1)) -> dict[str, Any]:
    series = [{"labels": {}, "counts": counts, "sum": total}]
    return {
        "name": "t", "kind": "histogram", "unit": "s", "bounds": list(bounds), "series": series
    }  # fmt: skip


def line(*metrics: Any, start: str = START, end: bool = False, **more: Any) -> bytes:
    said = {"v": 1, "type": "metrics", "pid": 1, "start": start, "end": end, "metrics": metrics}
    return json.dumps({**said, **more}).encode()


def error(answer: bytes | None) -> str:
    assert answer is not None
    said = json.loads(answer)
    assert said["ok"] is False
    assert answer.endswith(b"\n")
    return str(said["error"])


def totals(apps: AppMetrics) -> dict[str, float]:
    found: Counter[str] = Counter()
    for family in apps.collect():
        for sample in family.samples:
            found[family.name] += sum(sample.counts) if sample.counts else sample.value
    return dict(found)


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"{" * 100_000, "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no JSON object"),
        (b"7", "no JSON object"),
        (b"1" * 10_000, "no JSON"),
        (b"x" * (MAX_LINE_BYTES + 1), "longer than"),
        (line(v=2), "version 1"),
        (line(v=True), "version 1"),
        (line(start="short"), "'start'"),
        (line(start="x" * 65), "'start'"),
        (line(start=None), "'start'"),  # type: ignore[arg-type]
        (line(metrics={}), "'metrics'"),
        (line(7), "no JSON object"),
        (line(counter(-1)), "negative"),
        (line(counter("1")), "no finite number"),
        (line(counter(True)), "no finite number"),
        (line(counter(10**400)), "no finite number"),
        (line(counter(1e305)), "no finite number"),
        (line(counter(1)).replace(b"1}]", b"NaN}]"), "no JSON"),
        (line(counter(1)).replace(b"1}]", b"1e999}]"), "no finite number"),
        (line(counter(1, name="")), "name"),
        (line(counter(1, name="x" * 256)), "name"),
        (line(counter(1, name="1x")), "name"),
        (line(counter(1, name="ü")), "name"),
        (line(counter(1, le="1")), "'le'"),
        (line(counter(1, a=1)), "label"),
        (line(counter(1, a="x" * 257)), "label"),
        (line(counter(1, **{f"l{n}": "" for n in range(30)})), "labels"),
        (line({"name": "x", "kind": "summary"}), "'kind'"),
        (line({"name": "x", "kind": ["counter"]}), "'kind'"),
        (line({"name": "x", "kind": "counter", "series": {}}), "'series'"),
        (line({"name": "x", "kind": "counter", "series": [1]}), "series"),
        (line({"name": "x", "kind": "counter", "unit": 1, "series": []}), "'unit'"),
        (line({"name": "x", "kind": "gauge", "combine": [], "series": []}), "'combine'"),
        (line(histogram([1, 2])), "'counts'"),
        (line(histogram([1, 2, -3])), "count"),
        (line(histogram([1, 2, 1.5])), "count"),
        (line(histogram([1, 2, 1 << 60])), "count"),
        (line(histogram([1, 2, 3], "x")), "'sum'"),
        (line(histogram([1, 2, 3], bounds=[1, 0.1])), "'bounds'"),
        (line(histogram([1], bounds=[])), "'bounds'"),
        (line(histogram([1] * 102, bounds=range(101))), "'bounds'"),
    ],
)
def test_what_is_malformed_gets_an_error_and_changes_nothing(sent: bytes, why: str) -> None:
    apps = AppMetrics()

    assert why in error(apps.handle_line(SERVICE, sent))
    assert totals(apps) == {}


def test_what_is_right_beside_what_is_wrong_counts() -> None:
    apps = AppMetrics()

    assert "negative" in error(apps.handle_line(SERVICE, line(counter(2), counter(-1, "bad"))))
    assert totals(apps) == {"orders": 2.0}


def test_lines_of_another_type_are_left_to_others() -> None:
    assert AppMetrics().handle_line(SERVICE, b'{"v":1,"type":"current"}') is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(
    st.binary(max_size=200)
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(
        st.sampled_from(["name", "kind", "unit", "bounds", "series", "combine", "description"]),
        json_values
        | st.sampled_from(["counter", "gauge", "histogram", "orders", [1, 2]])
        | st.lists(
            st.fixed_dictionaries(
                {"labels": st.dictionaries(st.text(max_size=3), st.text(max_size=3))},
                optional={"value": json_values, "counts": json_values, "sum": json_values},
            ),
            max_size=3,
        ),
    ).map(line)
)
def test_no_line_ever_raises_or_breaks_the_page(sent: bytes) -> None:
    apps = AppMetrics()

    answer = apps.handle_line(SERVICE, sent)

    assert answer is None or isinstance(json.loads(answer)["ok"], bool)
    render(apps.collect())
    apps.drain_events()
    AppMetrics().load(apps.dump())


def test_totals_outlive_processes_and_each_counts_once() -> None:
    apps = AppMetrics()
    for start, values in (("a" * 16, (1, 5, 5)), ("b" * 16, (2, 2, 9))):
        for value in values:
            assert apps.handle_line(SERVICE, line(counter(value), start=start)) == OK
        assert apps.handle_line(SERVICE, line(start=start, end=True)) == OK

    assert totals(apps) == {"orders": 14.0}


def test_a_counter_that_falls_began_anew() -> None:
    apps = AppMetrics()
    for value in (5, 3, 4):
        apps.handle_line(SERVICE, line(counter(value)))
    for counts in ([5, 0, 0], [1, 1, 0]):
        apps.handle_line(SERVICE, line(histogram(counts)))

    assert totals(apps) == {"orders": 9.0, "t_seconds": 7.0}


def test_services_do_not_mix() -> None:
    apps = AppMetrics()
    apps.handle_line("a.production", line(counter(1, service="liar")))
    apps.handle_line("b.production", line(counter(2)))

    (family,) = apps.collect()[:1]
    _, body = render(apps.collect())
    apps.forget("a.production")

    assert family.samples[0].labels == (
        ("exported_service", "liar"),
        ("service", "a.production"),
    )
    assert b'orders_total{service="b.production"} 2.0' in body
    assert totals(apps) == {"orders": 2.0}


@pytest.mark.parametrize(
    ("combine", "wanted"), [("last", 2.0), ("sum", 9.0), ("min", 2.0), ("max", 7.0)]
)
def test_gauges_are_combined_over_the_processes_that_live(combine: str, wanted: float) -> None:
    clock = Clock()
    apps = AppMetrics(monotonic=clock)
    apps.handle_line(SERVICE, line(gauge(100, combine, at=9), start="d" * 16))
    clock.now = 61
    apps.handle_line(SERVICE, line(gauge(7, combine, at=1), start="a" * 16))
    apps.handle_line(SERVICE, line(gauge(2, combine, at=2), start="b" * 16))
    apps.handle_line(SERVICE, line(gauge(50, combine, at=8), start="c" * 16))
    apps.handle_line(SERVICE, line(start="c" * 16, end=True))

    assert totals(apps) == {"queue": wanted}
    assert apps.drain_events() == []


def test_series_are_bounded_and_nothing_is_lost() -> None:
    apps = AppMetrics(max_series=10)
    many = [{"labels": {"user": str(n)}, "value": 1} for n in range(500)]

    for _ in range(2):
        apps.handle_line(SERVICE, line({"name": "orders", "kind": "counter", "series": many}))

    (family,) = apps.collect()
    assert len(family.samples) == 11
    assert sum(sample.value for sample in family.samples) == 500.0


def test_metrics_and_processes_are_bounded() -> None:
    apps = AppMetrics()
    for number in range(MAX_METRICS + 10):
        empty = {"name": f"m{number}", "kind": "counter", "series": []}
        answer = apps.handle_line(SERVICE, line(empty))
    assert "more than" in error(answer)

    for number in range(MAX_PROCESSES + 10):
        answer = apps.handle_line("other", line(counter(1), start=f"{number:016d}"))
    assert "processes" in error(answer)
    assert totals(apps)["orders"] == MAX_PROCESSES


def test_a_new_release_may_change_what_a_metric_is_once_the_old_one_ended() -> None:
    """What the new one counted meanwhile is not lost: it is told to try again."""
    apps = AppMetrics()
    apps.handle_line(SERVICE, line(histogram([1, 0, 0])))
    other = line(histogram([2, 0], bounds=[5]), start="b" * 16)
    assert "in use" in error(apps.handle_line(SERVICE, other))

    apps.handle_line(SERVICE, line(end=True))

    assert apps.handle_line(SERVICE, other) == OK
    assert totals(apps) == {"t_seconds": 2.0}


def test_events_are_what_grew_under_the_names_of_the_page() -> None:
    apps = AppMetrics()
    apps.handle_line(SERVICE, line(counter(2, client="acme"), histogram([1, 1, 0], 0.7)))

    events = apps.drain_events()
    again = apps.drain_events()
    apps.handle_line(SERVICE, line(counter(5, client="acme")))

    assert {(e.name, e.labels): e.delta for e in events} == {
        ("orders_total", (("client", "acme"),)): 2.0,
        ("t_seconds_count", ()): 2.0,
        ("t_seconds_sum", ()): 0.7,
        ("t_seconds_bucket", (("le", "0.1"),)): 1.0,
        ("t_seconds_bucket", (("le", "1.0"),)): 2.0,
        ("t_seconds_bucket", (("le", "+Inf"),)): 2.0,
    }
    assert again == []
    assert apps.drain_events() == [(SERVICE, "orders_total", (("client", "acme"),), 3.0)]


def test_a_restart_counts_exactly_once() -> None:
    apps = AppMetrics()
    apps.handle_line(SERVICE, line(counter(2), histogram([1, 1, 0], 0.7), gauge(3, "last")))
    drained = apps.drain_events()
    apps.handle_line(SERVICE, line(counter(3)))  # Not drained before the end.

    restarted = AppMetrics()
    restarted.load(apps.dump())
    restarted.handle_line(SERVICE, line(counter(7), histogram([1, 1, 0], 0.7)))

    later = restarted.drain_events()
    assert sum(e.delta for e in [*drained, *later] if e.name == "orders_total") == 7.0
    assert [e.name for e in later] == ["orders_total"]
    assert totals(restarted) == {"orders": 7.0, "t_seconds": 2.0, "queue": 3.0}


@pytest.mark.parametrize("kept", ["", "{}", "[]", '{"format":2}', '{"format":1,"services":[]}'])
def test_a_kept_state_that_is_none_is_refused(kept: str) -> None:
    with pytest.raises(ValueError):
        AppMetrics().load(kept)


class TestSocket:
    @pytest.fixture
    def path(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("s") / "a.sock"

    def ask(self, path: Path, data: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(path))
            with suppress(BrokenPipeError):  # It may hang up before, and says why first.
                client.sendall(data)
            answer = b""
            while not answer.endswith(b"\n"):
                chunk = client.recv(65_536)
                if not chunk:
                    break
                answer += chunk
            return answer

    def test_it_is_private_from_its_first_moment_and_removed(self, path: Path) -> None:
        before = os.umask(0)
        try:
            with AppSocket(path, SERVICE, AppMetrics().handle_line, os.geteuid()):
                assert path.stat().st_mode & 0o777 == 0o600
                assert [p.name for p in path.parent.iterdir()] == [path.name]
        finally:
            os.umask(before)
        assert not path.exists()

    def test_a_dead_ones_socket_is_replaced_and_a_successors_is_kept(self, path: Path) -> None:
        first = AppSocket(path, SERVICE, AppMetrics().handle_line, os.geteuid())
        first.start()
        with AppSocket(path, SERVICE, AppMetrics().handle_line, os.geteuid()):
            first.close()
            first.close()
            assert self.ask(path, line(counter(1)) + b"\n") == OK

    def test_another_user_is_refused(self, path: Path) -> None:
        """The kernel says who it is, whatever the mode of the socket came to."""
        apps = AppMetrics()
        allowed = os.geteuid() if os.geteuid() else 0
        with AppSocket(path, SERVICE, apps.handle_line, allowed) as server:
            server._uid = allowed + 1
            assert "another user" in error(self.ask(path, b""))
        assert totals(apps) == {}

    def test_lines_come_in_pieces_and_many_at_once(self, path: Path) -> None:
        apps = AppMetrics()
        with AppSocket(path, SERVICE, apps.handle_line, os.geteuid()):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(20)
                client.connect(str(path))
                for byte in line(counter(1)) + b"\n\n":
                    client.sendall(bytes([byte]))
                client.sendall(b"".join(line(counter(n)) + b"\n" for n in range(2, 100)))
                answers = b""
                while answers.count(b"\n") < 99:
                    answers += client.recv(65_536)
        assert answers == OK * 99
        assert totals(apps) == {"orders": 99.0}

    def test_an_endless_line_is_refused(self, path: Path) -> None:
        with AppSocket(path, SERVICE, AppMetrics().handle_line, os.geteuid()):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(20)
                client.connect(str(path))
                with pytest.raises(OSError):
                    for _ in range(1000):
                        client.sendall(b"x" * 65_536)

    def test_who_sends_and_never_reads_does_not_delay_others(self, path: Path) -> None:
        with AppSocket(path, SERVICE, AppMetrics().handle_line, os.geteuid()):
            deaf = socket.socket(socket.AF_UNIX)
            deaf.connect(str(path))

            def flood() -> None:
                try:
                    while True:
                        deaf.sendall(b"{}\n" * 1000)
                except OSError:
                    pass

            thread = threading.Thread(target=flood)
            thread.start()
            try:
                assert self.ask(path, line(counter(1)) + b"\n") == OK
                thread.join(20)
                assert not thread.is_alive(), "it was not hung up on"
            finally:
                deaf.close()

    def test_silent_and_too_many_connections_are_closed(self, path: Path) -> None:
        apps = AppMetrics()
        with AppSocket(
            path, SERVICE, apps.handle_line, os.geteuid(), idle_s=0.2, max_connections=2
        ):
            silent = [socket.socket(socket.AF_UNIX) for _ in range(2)]
            for each in silent:
                each.settimeout(20)
                each.connect(str(path))
            assert "too many" in error(self.ask(path, b""))
            silent[0].sendall(b"x")
            assert [each.recv(100) for each in silent] == [b"", b""]
            for each in silent:
                each.close()
            assert self.ask(path, line(counter(1)) + b"\n") == OK

    def test_a_handler_that_fails_is_an_error_for_that_line_only(self, path: Path) -> None:
        def handle(service: str, sent: bytes) -> bytes | None:
            if sent == b"bug":
                raise RuntimeError(service)
            return None if sent == b"unknown" else OK

        with AppSocket(path, SERVICE, handle, os.geteuid()):
            assert "could not" in error(self.ask(path, b"bug\n"))
            assert "no such type" in error(self.ask(path, b"unknown\n"))
            assert self.ask(path, b"x\n") == OK
