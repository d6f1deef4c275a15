"""The dashboard without a browser: what it says, to whom, and what it costs to stay open."""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
import threading
from collections.abc import Iterator
from importlib import resources

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chittyops_core.bridge.protocol import ChildState, Status
from chittyops_core.errors import UsageError
from chittyops_core.monitor.page.colour import contrast
from chittyops_core.monitor.page.style import DARK, LIGHT
from chittyops_core.parent import dashboard
from chittyops_core.parent.access import Role
from chittyops_core.parent.dashboard import assets, numbers
from chittyops_core.parent.dashboard.numbers import ago, duration, measured, number
from chittyops_core.parent.dashboard.queries import filter_of, href, normal_query, query_of
from chittyops_core.parent.dashboard.requests import labels_from
from chittyops_core.parent.dashboard.sparkline import Curve, Point, sparkline
from chittyops_core.parent.dashboard.words import SPRITE, state_look, status_look
from chittyops_core.parent.live import Change, Live
from parent.dashboard_site import HOSTILE_CHILD, Site, site
from parent.fleet_data import child_id

ONE = f"/children/{child_id(1)}"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A parent with 60 children."""
    with site(tmp_path_factory.mktemp("served"), children=60, sampled=2) as made:
        yield made


def browse(served: Site, role: Role = Role.ADMIN) -> httpx.Client:
    """Return a client that is signed in, as a browser asks."""
    return httpx.Client(
        base_url=served.url, cookies={"chittyops": served.cookies[role]},
        headers={"Accept": "text/html", "Sec-Fetch-Site": "same-origin"},
    )  # fmt: skip


# --- what things are called, and how they look ---


def test_every_status_and_state_has_words_and_a_shape_of_its_own() -> None:
    """So nothing is told by colour alone; what a newer child says appears as it says it."""
    looks = [status_look(each) for each in Status] + [state_look(each) for each in ChildState]

    for look in looks:
        assert look.words
        assert f'id="i-{look.shape}"' in SPRITE
    shapes = [status_look(each).shape for each in Status]
    assert len(set(shapes)) == len(shapes)
    assert status_look("on_fire").words == "On fire"
    assert state_look("adopted").tone == "none"


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_what_is_new_here_keeps_the_familys_contrast(palette: dict[str, str]) -> None:
    """Lines of a graph on the card, and words on buttons (WCAG 1.4.3, 1.4.11)."""
    variables = dict(re.findall(r"--([a-z-]+):(#[0-9a-f]{6});", assets._variables(palette)))

    assert contrast(variables["accent"], variables["card"]) >= 4.5
    assert contrast(variables["bad"], variables["card"]) >= 4.5
    assert contrast(variables["soft"], variables["none-tint"]) >= 4.5


@pytest.mark.parametrize(
    ("value", "name", "expected"),
    [
        (8_123_456_512.0, "host.memory.bytes", "8.12 GB"),
        (41.5, "host.temperature.celsius", "41.5 °C"),
        (0.031, "http.latency.p50.s", "31 ms"),
        (12.25, "host.cpu.used.percent", "12.2 %"),
        (300.0, "http.requests_total", "300/s"),
        (0.0, "host.swap.used.bytes", "0 B"),
        (1e-40, "odd", "1.00e-40"),
        (None, "gone", "–"),
    ],
)
def test_a_metric_is_said_in_the_unit_of_its_name(
    value: float | None, name: str, expected: str
) -> None:
    """As a person would read it."""
    assert measured(value, name) == expected


@given(st.floats(), st.text())
def test_any_number_and_name_can_be_said(value: float, name: str) -> None:
    """Values and names are a child's to choose."""
    assert number(value)
    assert measured(value, name)
    assert duration(value) if value == value else True


@given(st.one_of(st.none(), st.floats()), st.floats(0, 4e9))
def test_any_time_can_be_said(at: float | None, now: float) -> None:
    """It is a `time` element with the moment in words, or says that there is none."""
    said = ago(at, now)

    assert said.startswith(("<time datetime=", '<span class="soft">never'))


@given(st.lists(st.tuples(st.floats(0, 4e9), st.floats(allow_nan=False, allow_infinity=False))))
def test_any_values_can_be_drawn(values: list[tuple[float, float]]) -> None:
    """A path has only finite numbers within the picture, whatever the values are."""
    points = tuple(Point(at, v, v, v) for at, v in sorted(values))
    drawn = sparkline(Curve("<b>", points, 300.0), 0.0, 4e9, [1e9])

    assert "<b>" not in drawn
    assert "nan" not in drawn and "inf" not in drawn.replace("infinity", "")
    heights = re.findall(r"[ML]?-?[\d.]+ (-?[\d.]+)", drawn.partition(">")[2])
    assert all(-1 <= float(height) <= 49 for height in heights)


def test_a_gap_in_a_metric_is_a_gap_in_its_line() -> None:
    """One point that is missing alone is none: clocks waver."""
    times = [0, 300, 900, 1200, 3000]
    curve = Curve("m", tuple(Point(at, 1, at, 1) for at in times), 300.0)

    assert [[point.at for point in run] for run in curve.runs()] == [[0, 300, 900, 1200], [3000]]


def test_a_counter_is_shown_as_what_it_grew_by() -> None:
    """A restart that sets it back to 0 is no growth below zero."""
    values = [(0, 0.0), (10, 50.0), (20, 5.0), (30, 25.0)]
    curve = Curve("c_total", tuple(Point(at, v, v, v) for at, v in values), 10.0)

    assert [point.mean for point in curve.rate().points] == [5.0, 2.0]


# --- addresses ---


def test_a_filter_is_its_address_and_back() -> None:
    """In one order, without what filters nothing."""
    query = query_of({"q": "web", "status": "unknown", "evil": "x", "kind": ""})

    assert href(query) == "/?status=unknown&q=web"
    assert normal_query("?q=web&status=unknown&evil=1") == "?status=unknown&q=web"
    assert filter_of({}).state == "accepted"
    assert filter_of(query).state is None
    assert filter_of({"state": "any"}).state is None


@pytest.mark.parametrize(
    "text", ["//evil.example", "javascript:alert(1)", "https://evil.example/?q=1#", "", "&" * 99]
)
def test_a_saved_filter_leads_nowhere_else_open_redirect_attack(text: str) -> None:
    """Only the fields of a filter are kept of what was sent."""
    assert re.fullmatch(r"(\?q=1%23)?", normal_query(text).replace("?q=1", "?q=1"))


@pytest.mark.parametrize("line", ["ring", "=x", "a b=c", "ring=", "x=" + "y" * 101, "-a=b"])
def test_a_label_that_is_none_is_refused_with_its_form(line: str) -> None:
    """The message says how a label is written."""
    with pytest.raises(UsageError, match="no label") as caught:
        labels_from(f"good=1\n{line}")

    assert "key=value" in caught.value.remedy


# --- files ---


def test_what_others_wrote_is_what_they_published() -> None:
    """Every vendored file has its version, licence and SHA-256 beside it, and is unchanged."""
    folder = resources.files(dashboard).joinpath("static/vendor")
    listed = dict(
        re.findall(
            r"^\| `([^`]+)` .*`([0-9a-f]{64})` \|$",
            folder.joinpath("VENDORED.md").read_text(),
            re.M,
        )
    )
    found = {
        each.name: hashlib.sha256(each.read_bytes()).hexdigest()
        for each in folder.iterdir() if each.name.endswith((".js", ".css"))
    }  # fmt: skip

    assert listed == found
    assert {"LICENSE.htmx", "LICENSE.uPlot"} <= {each.name for each in folder.iterdir()}


def test_a_file_is_kept_for_ever_under_a_name_that_changes_with_it(served: Site) -> None:
    """And nothing else is below /static."""
    with httpx.Client(base_url=served.url) as web:
        answer = web.get(assets.address("app.css"))
        others = [
            web.get(path).status_code
            for path in ("/static/app.css", "/static/..%2fassets.py", "/static/%2e%2e/engine.py")
        ]

    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.text == assets.style_sheet()
    assert others == [404, 404, 404]


# --- pages ---


@pytest.mark.parametrize(
    "path",
    ["/", ONE, f"/children/{HOSTILE_CHILD}", "/services", "/activity", "/tokens", "/nowhere"],
)
def test_every_page_has_a_policy_a_title_and_one_heading(served: Site, path: str) -> None:
    """Nothing inline, nothing foreign, nothing stored."""
    with browse(served) as web:
        answer = web.get(path)

    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.text.count("<h1>") == 1
    assert re.search(r"<title>[^<]+ – Cook County</title>", answer.text)
    assert not re.search(r"<[^>]*\s(style|on[a-z]+)=|<script(?! src=)|<style", answer.text)


def test_nobody_sees_a_page_or_a_stream_without_signing_in(served: Site) -> None:
    """A browser is led to the form, a script is refused."""
    with httpx.Client(base_url=served.url) as web:
        page = web.get(ONE, headers={"Accept": "text/html"})
        stream = web.get("/v1/events", headers={"Accept": "text/event-stream"})

    assert (page.status_code, page.headers["location"]) == (
        303,
        f"/login?next=%2Fchildren%2F{child_id(1)}",
    )
    assert stream.status_code == 401


def test_who_may_only_look_is_shown_no_form_that_would_be_refused(served: Site) -> None:
    """And what an operator may not decide either."""
    with browse(served, Role.VIEWER) as viewer, browse(served, Role.OPERATOR) as operator:
        fleet, child, tokens = (viewer.get(path).text for path in ("/", ONE, "/tokens"))
        revoke = viewer.get(f"{ONE}/revoke")
        accepted = operator.get(ONE).text

    for text in (fleet, child, tokens):
        assert "/accept" not in text and "/revoke" not in text and 'action="/tokens"' not in text
    assert revoke.status_code == 403
    assert f"{ONE}/revoke" not in accepted and f"{ONE}/labels" in accepted


@pytest.mark.parametrize(
    "path",
    ["/?after=%00", "/services?after=xx", "/activity?after=bm8", f"{ONE}?events=AAAA",
     "/v1/events?page=other", "/v1/events?children=a'b"],
)  # fmt: skip
def test_an_address_that_was_made_up_is_refused_and_breaks_nothing(served: Site, path: str) -> None:
    """With 400 and a sentence, never with a failure."""
    with browse(served) as web:
        answer = web.get(path)

    assert answer.status_code == 400
    assert served.url not in answer.text


@pytest.mark.parametrize(
    "path", [f"{ONE}/accept", f"{ONE}/revoke", f"{ONE}/labels", "/tokens", "/filters"]
)
def test_a_form_of_another_site_does_nothing_csrf_attack(served: Site, path: str) -> None:
    """The session's cookie alone is not enough."""
    with browse(served) as web:
        answer = web.post(path, data={"name": "x", "labels": "a=b"})

    assert answer.status_code == 403


def test_services_are_found_by_app_commit_and_release(served: Site) -> None:
    """By their beginning, so that what a log shows is enough."""
    with browse(served) as web:
        all_ = web.get("/services").text
        commit = re.findall(r'<code title="([0-9a-f]{40})">', all_)[0]
        by_commit = web.get("/services", params={"q": commit[:10]}).text
        nothing = web.get("/services", params={"q": "no-such-app"}).text

    assert commit in by_commit
    assert set(re.findall(r'<code title="([0-9a-f]{40})">', by_commit)) == {commit}
    assert "Nothing matches" in nothing


def test_a_mistake_in_a_form_is_explained_beside_it(served: Site) -> None:
    """And no token is made."""
    with browse(served) as web:
        csrf = re.findall(r'name="csrf" value="([^"]+)"', web.get("/tokens").text)[0]
        form = {"csrf": csrf, "name": "x", "uses": "many", "hours": "24"}
        answer = web.post("/tokens", data=form)

    assert answer.status_code == 400
    assert "whole number" in answer.text and "chittyops1." not in answer.text


# --- staying open ---


def test_a_page_hears_of_its_own_children_only_and_is_woken_once() -> None:
    """However much changes; counts are everybody's."""

    async def scene() -> None:
        live = Live()
        with live.following(["a", "b"]) as one, live.following(["c"]) as other:
            threading.Thread(
                target=lambda: [live.publish([Change("a", "metrics")]) for _ in range(1000)]
            ).start()
            seen = await one.wait(5)
            assert (seen.children, seen.is_fleet_changed) == ({"a"}, False)
            assert not await other.wait(0.01)
            live.publish([Change("x", "status")])
            assert (await other.wait(5)).is_fleet_changed
            live.publish([Change("", "all")])
            assert (await other.wait(5)).children == {"c"}
            live.close()
            assert (await one.wait(5)).is_over
        live.publish([Change("a", "all")])

    asyncio.run(scene())


def test_500_pages_stay_open_and_each_is_told(served: Site) -> None:
    """One change reaches all that show the child; those that do not are left alone."""
    address = served.url.removeprefix("http://").split(":")
    ask = (
        "GET /v1/events?page=fleet&children={} HTTP/1.1\r\nHost: {}\r\nCookie: chittyops={}\r\n\r\n"
    )
    host, secret = served.url.removeprefix("http://"), served.cookies[Role.ADMIN]
    pages = []
    for number_ in range(500):
        page = socket.create_connection((address[0], int(address[1])), timeout=60)
        page.sendall(ask.format(child_id(1 if number_ % 2 else 2), host, secret).encode())
        pages.append(page)
    for page in pages:
        _read_until(page, b": open")
    served.parent.live.publish([Change(child_id(1), "metrics")])

    for page in pages[1::2]:
        _read_until(page, child_id(1).encode())
    pages[0].settimeout(0.05)
    with pytest.raises(TimeoutError):
        pages[0].recv(100)
    for page in pages:
        page.close()


def _read_until(page: socket.socket, wanted: bytes) -> None:
    got = b""
    while wanted not in got:
        piece = page.recv(65536)
        assert piece, got
        got += piece


@pytest.mark.parametrize(
    ("name", "value", "title", "of", "words"),
    [
        ('chittyops_service_up_ratio{service="a.production"}', 0.9995, "Up ratio", "a.production",
         "100 %"),
        ("chittyops_host_load1", 0.5, "Load1", "", "0.5"),
        ('chittyops_service_memory_bytes{service="a"}', 2e6, "Memory bytes", "a", "2 MB"),
        ('x_seconds{a="1",b="say \\"hi\\""}', 0.0042, "X seconds", '1 · say \\"hi\\"', "4.2 ms"),
        ("{", 1.0, "{", "", "1"),
    ],
)  # fmt: skip
def test_a_metric_is_called_by_words_and_by_what_it_is_of(
    name: str, value: float, title: str, of: str, words: str
) -> None:
    """Labels hide no unit."""
    assert (numbers.title_of(name), numbers.labels_of(name)) == (title, of)
    assert numbers.measured(value, name) == words
