"""Export: remote-write that a real Prometheus takes, OTLP as JSON, retries, a bounded queue."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from chittyops_core.errors import UsageError
from chittyops_core.monitor import remote
from chittyops_core.monitor.exposition import Family, Sample
from chittyops_core.monitor.local_http import Answer, LocalServer
from chittyops_core.monitor.remote import OTLP_HEADERS, REMOTE_WRITE_HEADERS, RemoteSender
from chittyops_core.monitor.remote_formats import otlp_json, remote_write
from conftest import free_port

LABELS = (("client", "ümläut"), ("empty", ""), ("service", "shop.production"))
FAMILIES = [
    Family("orders", "counter", (Sample(3.0, LABELS),), "Orders"),
    Family("t_seconds", "histogram", (Sample(0.7, (), (1, 0, 2)),), "", "seconds", (0.1, 1.0)),
    Family("queue", "gauge", (Sample(math.inf),)),
    *(Family(f"many_{n}", "gauge", (Sample(float(n)),), "x" * 50) for n in range(2000)),
]


def wait_for(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not check():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


class Receiver:
    """Keeps what it is sent; answers with *statuses*, then with 200."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.bodies: list[bytes] = []

    def __call__(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200:
            self.bodies.append(body)
        return status, {}, b""


@pytest.mark.parametrize(
    "url", ["", "host", "ftp://host/", "http://", "http://u:p@host/", "http://host:x/", "http://["]
)
def test_a_url_that_cannot_be_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        RemoteSender(url, {})

    assert "u:p" not in str(caught.value)


def test_what_fails_is_sent_again_in_order_and_what_is_refused_is_left_out() -> None:
    receiver = Receiver(500, 429, 503, 200, 400)
    with LocalServer(receiver, ("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.port}/v1/metrics"
        with RemoteSender(url, OTLP_HEADERS, first_wait_s=0.01) as sender:
            for body in (b"1", b"refused", b"2", b"3"):
                sender.push(body)
            wait_for(lambda: sender.waiting == 0)

    assert receiver.bodies == [b"1", b"2", b"3"]


def test_a_receiver_that_is_away_gets_everything_when_it_is_back() -> None:
    receiver, port = Receiver(), free_port()
    with RemoteSender(f"http://127.0.0.1:{port}/", {}, first_wait_s=0.01) as sender:
        sender.push(b"1")
        sender.push(b"2")
        with LocalServer(receiver, ("127.0.0.1", port)):
            wait_for(lambda: sender.waiting == 0)

    assert receiver.bodies == [b"1", b"2"]


def test_the_queue_is_bounded_and_closing_does_not_wait() -> None:
    with RemoteSender(f"http://127.0.0.1:{free_port()}/", {}) as sender:
        for _ in range(remote.MAX_WAITING * 2):
            sender.push(b"x")
        assert sender.waiting == remote.MAX_WAITING
        for _ in range(3):
            sender.push(b"x" * remote.MAX_WAITING_BYTES)
        assert sender.waiting == 1


def test_otlp_is_what_the_specification_says() -> None:
    body = otlp_json(FAMILIES[:3], 1.5, since=1.0, resource={"service.name": "chittyops"})

    (sent,) = json.loads(body)["resourceMetrics"]
    counter, histogram, gauge = sent["scopeMetrics"][0]["metrics"]
    assert sent["resource"]["attributes"] == [
        {"key": "service.name", "value": {"stringValue": "chittyops"}}
    ]
    assert (counter["sum"]["isMonotonic"], counter["sum"]["aggregationTemporality"]) == (True, 2)
    assert counter["sum"]["dataPoints"][0]["asDouble"] == 3.0
    assert counter["sum"]["dataPoints"][0]["timeUnixNano"] == "1500000000"
    assert histogram["histogram"]["dataPoints"][0] == {
        "attributes": [], "startTimeUnixNano": "1000000000", "timeUnixNano": "1500000000",
        "count": "3", "sum": 0.7, "bucketCounts": ["1", "0", "2"], "explicitBounds": [0.1, 1.0],
    }  # fmt: skip
    assert gauge["gauge"]["dataPoints"][0]["asDouble"] == "Infinity"


def test_snappy_itself_reads_the_blocks() -> None:
    cramjam = pytest.importorskip("cramjam", reason="cramjam is not installed")

    raw = bytes(cramjam.snappy.decompress_raw(remote_write(FAMILIES, 1.0)))

    assert len(raw) > 65_536
    assert raw.count(b"__name__") == 1 + 3 + 2 + 1 + 2000


@pytest.mark.skipif(not shutil.which("prometheus"), reason="prometheus is not installed")
def test_a_real_prometheus_takes_remote_write(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "p.yml").write_text("global: {}\n")
    with (tmp_path / "log").open("wb") as out:
        prometheus = subprocess.Popen(
            ["prometheus", f"--config.file={tmp_path}/p.yml", f"--storage.tsdb.path={tmp_path}/d",
             f"--web.listen-address=127.0.0.1:{port}", "--web.enable-remote-write-receiver"],
            stdout=out, stderr=out,
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"

        def ask(query: str) -> Any:
            with urlopen(f"{url}/api/v1/query?query={quote(query)}", timeout=20) as answer:
                return json.load(answer)["data"]["result"]

        with RemoteSender(f"{url}/api/v1/write", REMOTE_WRITE_HEADERS, first_wait_s=0.1) as sender:
            sender.push(remote_write(FAMILIES, time.time()))
            wait_for(lambda: sender.waiting == 0)

        (orders,) = ask("orders_total")
        assert orders["value"][1] == "3"
        assert orders["metric"] == {
            "__name__": "orders_total", "client": "ümläut", "service": "shop.production"
        }  # fmt: skip
        assert {s["metric"]["le"]: s["value"][1] for s in ask("t_seconds_bucket")} == {
            "0.1": "1", "1.0": "1", "+Inf": "3"
        }  # fmt: skip
        assert ask('count({__name__=~"many_.*"})')[0]["value"][1] == "2000"
    finally:
        prometheus.kill()
        prometheus.wait()
