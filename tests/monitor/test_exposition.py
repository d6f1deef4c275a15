"""`/metrics`: valid by Prometheus's own tools and parser, whatever the names and values."""

from __future__ import annotations

import math
import shutil
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chittyops_core.model.monitoring import Monitor, Observation
from chittyops_core.monitor.exposition import (
    OPEN_METRICS,
    TEXT,
    Family,
    Sample,
    metric_name,
    render,
    sorted_labels,
)
from chittyops_core.monitor.probe_families import probe_families

# What Prometheus 2.42 and 3 send.
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;q=0.75,"
    "application/openmetrics-text;version=0.0.1;q=0.65,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
HTTP = Monitor(
    name="court.production/http",
    kind="http",
    target="https://me:secret@court.example/health?token=secret",
    service="court.production",
)
LOOK = Observation(
    monitor=HTTP.name,
    at=1_763_900_000.25,
    is_good=True,
    seconds=0.04,
    values={
        "status": 200, "response_time": 0.04, "dns_time": 0.001, "connect_time": 0.002,
        "tls_time": 0.01, "first_byte_time": 0.02, "body_time": 0.001, "body": "ok",
        "body_bytes": 2, "cert_expires_in": 86_400.1, "http_version": "1.1", "body_is_cut": False,
        "tls_version": "TLSv1.3", "redirects_to": None,
    },
)  # fmt: skip


def parse(content_type: str, body: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Read *body* by prometheus_client's own parsers."""
    pytest.importorskip("prometheus_client", reason="prometheus_client is not installed")
    from prometheus_client import parser
    from prometheus_client.openmetrics import parser as open_parser

    read: Any = open_parser if content_type == OPEN_METRICS else parser
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in read.text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def families() -> list[Family]:
    labels = sorted_labels({"http.route": '/a"b\\c\n', "client": "ümläut"})
    return [
        Family("orders", "counter", (Sample(3, labels), Sample(1)), help='say \\ "it"\nso'),
        Family(
            "t_seconds", "histogram", (Sample(0.7, labels, (1, 0, 2)),), "time", "seconds", (0.1, 1)
        ),
        Family("queue", "gauge", (Sample(math.inf), Sample(math.nan, labels))),
        *probe_families([(HTTP, LOOK)]),
    ]


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/html", TEXT),
        (PROMETHEUS, OPEN_METRICS),
        ("application/openmetrics-text", OPEN_METRICS),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", OPEN_METRICS),
        ("application/openmetrics-text;version=2.0.0", TEXT),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;q=0.1,text/plain;q=0.9", TEXT),
        ("application/openmetrics-text;q=x,,;;=", OPEN_METRICS),
        ("q=" * 100_000, TEXT),
    ],
)
def test_the_format_is_what_was_asked_for(accept: str, wanted: str) -> None:
    content_type, body = render(families(), accept)

    assert content_type == wanted
    assert body.endswith(b"# EOF\n") is (wanted == OPEN_METRICS)


@pytest.mark.parametrize("accept", ["", PROMETHEUS])
def test_prometheus_clients_parser_reads_what_was_meant(accept: str) -> None:
    found = parse(*render(families(), accept))

    labels = (("client", "ümläut"), ("http_route", '/a"b\\c\n'))
    assert found["orders_total", labels] == 3.0
    assert found["t_seconds_bucket", (*labels, ("le", "0.1"))] == 1.0
    assert found["t_seconds_bucket", (*labels, ("le", "+Inf"))] == 3.0
    assert found["t_seconds_count", labels] == 3.0
    assert found["t_seconds_sum", labels] == 0.7


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_promtool_reads_it_and_has_nothing_to_mend() -> None:
    run = subprocess.run(
        ["promtool", "check", "metrics"], input=render(families())[1], capture_output=True
    )

    mended = [
        line
        for line in run.stderr.decode().splitlines()
        # blackbox_exporter's own names, which are what we promise.
        if "no help text" not in line
    ]
    assert (run.returncode in (0, 3), mended) == (True, [])


def test_probes_have_blackbox_exporters_names_and_show_no_secret() -> None:
    content_type, body = render(probe_families([(HTTP, LOOK)]))
    found = {name: value for (name, _), value in parse(content_type, body).items()}

    assert found["probe_success"] == 1.0
    assert found["probe_duration_seconds"] == 0.04
    assert found["probe_http_status_code"] == 200.0
    assert found["probe_http_ssl"] == 1.0
    assert found["probe_http_version"] == 1.1
    assert found["probe_ssl_earliest_cert_expiry"] == 1_763_986_400.0
    assert body.count(b"probe_http_duration_seconds{") == 5
    assert b'phase="processing"' in body
    assert b'probe_tls_version_info{kind="http",' in body
    assert b"secret" not in body
    assert b'target="https://court.example/health"' in body


def test_what_blackbox_exporter_does_not_know_has_a_name_of_its_own() -> None:
    disk = Monitor(name="host/disk", kind="disk", target="/")
    look = Observation("host/disk", 1.0, False, 0.1, "full", {"free": 7, "full_in": math.inf})

    _, body = render(probe_families([(disk, look)]))

    assert (
        b'chittyops_probe_value{kind="disk",monitor="host/disk",name="free",target="/"} 7.0' in body
    )


@pytest.mark.parametrize(
    ("name", "unit", "kind", "wanted"),
    [
        ("http.server.request.duration", "s", "histogram", "http_server_request_duration_seconds"),
        ("orders", "{order}", "counter", "orders"),
        ("orders_total", "", "counter", "orders"),
        ("disk.io", "By", "counter", "disk_io_bytes"),
        ("disk.bytes", "By", "counter", "disk_bytes"),
        ("speed", "m/s", "gauge", "speed_meters_per_second"),
        ("load", "1", "gauge", "load_ratio"),
        ("load", "1", "counter", "load"),
        ("a--b..c", "", "gauge", "a_b_c"),
        ("9lives", "", "gauge", "_9lives"),
    ],
)
def test_names_follow_opentelemetrys_rules(name: str, unit: str, kind: str, wanted: str) -> None:
    assert metric_name(name, unit, kind)[0] == wanted


def test_label_names_that_become_one_are_joined() -> None:
    assert sorted_labels({"a.b": "1", "a_b": "2", "__x": "3"}) == (("_x", "3"), ("a_b", "1;2"))


def test_what_an_app_names_like_ours_does_not_replace_ours() -> None:
    """An app that counts `probe_success` or `orders_count` breaks no one's page."""
    ours = Family("probe_success", "gauge", (Sample(0.0, (("service", "a"),)),))
    fakes = [
        Family("probe_success", "gauge", (Sample(1.0, (("service", "a"),)),)),
        Family("probe_success", "counter", (Sample(1.0),)),
        Family("t", "histogram", (Sample(1.0, (), (1, 0)),), bounds=(1.0,)),
        Family("t", "histogram", (Sample(1.0, (("a", "b"),), (1, 0)),), bounds=(2.0,)),
        Family("t_count", "gauge", (Sample(9.0),)),
    ]

    _, body = render([ours, *fakes])

    assert b'probe_success{service="a"} 0.0\n' in body
    assert (body.count(b"probe_success"), body.count(b"t_count")) == (2, 1)


texts = st.text(max_size=10)


@given(
    st.lists(
        st.tuples(
            texts,
            st.sampled_from(["counter", "gauge"]),
            st.sampled_from(["", "s", "By", "1", "{x}", "x y", "m/s"]),
            st.dictionaries(texts.filter(bool), texts, max_size=3),
            st.floats(0),
            texts,
        ),
        max_size=4,
    ),
    st.sampled_from(["", PROMETHEUS]),
)
def test_whatever_is_in_it_can_be_parsed(made: list[tuple[Any, ...]], accept: str) -> None:
    shown = []
    for name, kind, unit, labels, value, text in made:
        full, suffix = metric_name(name, unit, kind)
        is_open_counter = kind == "counter" and (math.isnan(value) or math.isinf(value))
        if not is_open_counter:
            sample = Sample(value, sorted_labels(labels))
            shown.append(Family(full, kind, (sample,), text, suffix))

    found = parse(*render(shown, accept))

    assert len(found) <= len(shown)
