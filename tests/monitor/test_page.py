"""The status page: what it says, that nobody's name becomes markup, and what HTTP gets of it."""

from __future__ import annotations

import gzip
import itertools
import json
import re
from datetime import date
from fractions import Fraction
from html.parser import HTMLParser
from urllib.parse import quote
from xml.etree import ElementTree

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from chittyops_core.errors import UsageError
from chittyops_core.monitor.page import (
    Brand,
    Component,
    ComponentStatus,
    Day,
    Impact,
    Incident,
    IncidentStatus,
    Logo,
    Page,
    Response,
    overall,
    respond,
    uptime,
)
from chittyops_core.monitor.page.brand import MAX_LOGO_BYTES
from chittyops_core.monitor.page.colour import contrast, readable
from chittyops_core.monitor.page.markup import percent
from chittyops_core.monitor.page.style import hash_of, sheet
from status_page import NOW, days, hostile_page, page_in_trouble, page_that_is_well

VOID = {"meta", "link", "img"}
HOSTILE = [
    "<script>alert(1)</script>",
    "\" onmouseover='alert(1)' x=\"",
    "</title></style><img src=x onerror=alert(1)>",
    "{name}{0.__class__}%s&amp;",
    "\x00\x1b[31m\ud800\ufffe\r\n",
    "a/../b?c#d%2e",
    "\u202eecnadnopserroc",
]


class Structure(HTMLParser):
    """Reads a page, and fails where an element is not closed or closed by another's end tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), (tag, attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in self.open, f"only in SVG an element may close itself: {tag}"
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1]] = self.texts.get(self.open[-1], "") + data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def get(page: Page, path: str, query: str = "", method: str = "GET", **headers: str) -> Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return respond(method, path, query, sent, lambda: page)


def component(status: ComponentStatus, id_: str = "a") -> Component:
    return Component(id_, id_, status, NOW)


def page_of(*statuses: str) -> Page:
    components = [component(ComponentStatus(s), str(n)) for n, s in enumerate(statuses)]
    return evolve(page_that_is_well(), components=components)


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize("accent", ["red", "#fff", "#12345g", "#123456;}body{", "#123456\n"])
def test_a_colour_that_is_none_is_refused(accent: str) -> None:
    """What ends up in the style sheet is six digits, or an error that says what is expected."""
    with pytest.raises(UsageError, match="is not a colour such as"):
        Brand(accent)


def test_a_logo_of_another_kind_or_too_large_is_refused() -> None:
    """A logo is a picture, and small enough to be a part of every page."""
    with pytest.raises(UsageError, match="not 'text/html'"):
        Logo("text/html", b"<script>")
    with pytest.raises(UsageError, match="1 to 65536 bytes"):
        Logo("image/png", b"x" * (MAX_LOGO_BYTES + 1))
    with pytest.raises(UsageError, match="this one 0"):
        Logo("image/png", b"")


@pytest.mark.parametrize("url", ["javascript:alert(1)", "https://a b", 'https://a"', "https://a/"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    """The page's address becomes part of links."""
    with pytest.raises(UsageError, match="is not an http or https address"):
        Page("x", url, NOW)


def test_counts_that_cannot_be_are_refused() -> None:
    """More good looks than looks, or days in disorder, would show an uptime that is none."""
    with pytest.raises(UsageError, match="3 good looks of only 2"):
        Day(date(2026, 1, 1), 3, 2)
    one = Day(date(2026, 1, 1), 1, 2)
    with pytest.raises(UsageError, match="not in order, or one is there twice"):
        Component("a", "a", ComponentStatus.OPERATIONAL, NOW, days=(one, one))
    with pytest.raises(UsageError, match="twice among the components"):
        evolve(page_that_is_well(), components=[component(ComponentStatus.NO_DATA)] * 2)


# ------------------------------------------------------------------ what follows from the values


@pytest.mark.parametrize(
    ("statuses", "indicator", "description"),
    [
        ([], "none", "All Systems Operational"),
        (["operational"] * 3, "none", "All Systems Operational"),
        (["operational", "under_maintenance"], "maintenance", "Service Under Maintenance"),
        (["operational", "degraded_performance"], "minor", "Partially Degraded Service"),
        (["degraded_performance"] * 2, "minor", "Degraded System Service"),
        (["operational", "partial_outage"], "minor", "Minor Service Outage"),
        (["partial_outage"] * 2, "major", "Partial System Outage"),
        (["partial_outage", "major_outage"], "major", "Partial System Outage"),
        (["major_outage"], "critical", "Major System Outage"),
        (["operational", "no_data"], "minor", "No Data for Some Components"),
        (["no_data"], "minor", "No Data"),
        (["no_data", "degraded_performance"], "minor", "Partially Degraded Service"),
    ],
)
def test_the_state_of_all_follows_statuspages_rules(
    statuses: list[str], indicator: str, description: str
) -> None:
    """From "Top-level status and incident impact calculations"; no data never passes as good."""
    assert (indicator, description) == overall(page_of(*statuses))


def test_an_open_incident_counts_when_it_is_graver_than_the_components() -> None:
    """Until it is only watched any more: then its components say how they are."""
    incident = Incident("i", "i", IncidentStatus.IDENTIFIED, Impact.MAJOR, NOW, NOW)
    page = evolve(page_that_is_well(), incidents=[incident])

    assert overall(page) == ("major", "Partial System Outage")

    for status in (IncidentStatus.MONITORING, IncidentStatus.RESOLVED):
        calmer = evolve(incident, status=status)
        assert overall(evolve(page, incidents=[calmer])).indicator == "none"


def test_uptime_adds_counts_and_does_not_average_days() -> None:
    """A day with few looks weighs little: 1 of 2 and 999 of 1000 are not 75 %."""
    few, many = Day(date(2026, 1, 1), 1, 2), Day(date(2026, 1, 2), 999, 1000)

    assert uptime((few, many)) == Fraction(1000, 1002)
    assert uptime((Day(date(2026, 1, 1), 0, 0),)) is None


def test_a_percentage_is_cut_and_not_rounded() -> None:
    """One failed look of a million is not 100 %."""
    assert percent(Fraction(999_999, 1_000_000)) == "99.99%"
    assert percent(Fraction(1)) == "100%"
    assert percent(Fraction(0)) == "0.00%"
    assert percent(None) == "no data"


def test_a_day_without_looks_is_its_own_kind() -> None:
    """Neither good nor bad."""
    assert Day(date(2026, 1, 1), 0, 0).status is ComponentStatus.NO_DATA
    assert Day(date(2026, 1, 1), 0, 1).status is ComponentStatus.MAJOR_OUTAGE
    assert Day(date(2026, 1, 1), 999, 1000).status is ComponentStatus.OPERATIONAL


# ------------------------------------------------------------------ HTML


@pytest.mark.parametrize(
    "path", ["/", "/incidents/2026-11-25%20court%2F1", "/nowhere", "/incidents/none"]
)
def test_pages_are_well_formed_and_have_landmarks_headings_and_a_language(path: str) -> None:
    """WCAG 2.1: 1.3.1, 2.4.1, 2.4.2, 3.1.1, and ids that exist once."""
    text = get(page_in_trouble(), path).body.decode()
    page = Structure(text)

    assert text.startswith("<!doctype html>")
    assert page.all("html") == [{"lang": "en"}]
    assert [len(page.all(tag)) for tag in ("header", "main", "footer")] == [1, 1, 1]
    assert "– Chitty Works" in page.texts["title"]
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for name, attributes in page.elements:
        for reference in ("aria-labelledby", "href"):
            target = attributes.get(reference) or ""
            if reference == "aria-labelledby" and target:
                assert target in ids
            elif target.startswith("#"):
                assert target[1:] in ids, name
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_nothing_is_fetched_and_nothing_runs() -> None:
    """No script, no inline style, no handler, and no address of another host but links."""
    page = Structure(get(page_in_trouble(), "/").body.decode())

    assert not page.all("script")
    for tag, attributes in page.elements:
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        if "src" in attributes or tag == "link":
            address = attributes.get("src") or attributes["href"] or ""
            assert address.startswith("data:") or "//" not in address
    assert not [meta for meta in page.all("meta") if "http-equiv" in meta]


def test_the_page_loads_itself_again_only_when_the_visitor_wished_it() -> None:
    """And tells how to end that (WCAG 2.1, 2.2.2); another number is not taken."""
    page = page_that_is_well()

    for query in ("", "refresh=1", "refresh=60x", "refresh=%22%3E", "&=&;%"):
        assert b"http-equiv" not in get(page, "/", query).body
    wished = get(page, "/", "refresh=60").body.decode()
    assert '<meta http-equiv="refresh" content="60">' in wished
    assert "Stop refreshing" in wished


def test_bars_have_a_text_alternative_and_missing_days_are_drawn() -> None:
    """90 bars each; the label names the worst days, most of all."""
    page = Structure(get(page_in_trouble(), "/").body.decode())
    images = [a for a in page.all("svg") if a.get("role") == "img"]
    labels = [image["aria-label"] or "" for image in images]

    assert len(images) == 6
    assert "Court filing, uptime over 90 days: 99.85%." in labels[0]
    assert "3 days below 99.9%: 2026-11-25 90.27%, 2026-11-13 97.22%" in labels[0]
    assert "no data. 90 days without data." in labels[1]
    titled = re.findall(r"<title>(2026-[-0-9]+): ", get(page_in_trouble(), "/").body.decode())
    assert len(titled) == 6 * 90


def test_a_state_is_told_in_words_beside_its_colour() -> None:
    """WCAG 2.1, 1.4.1."""
    text = get(page_in_trouble(), "/").body.decode()

    for words in (
        "Major outage", "Partial outage", "Operational", "Degraded performance",
        "Under maintenance", "No data", "Partial System Outage", "Major impact",
    ):  # fmt: skip
        assert words in text


def test_a_component_stays_in_its_group_when_another_stands_between() -> None:
    """Each group is there once."""
    states = ComponentStatus
    components = [
        Component(i, i, states.OPERATIONAL, NOW, group)
        for i, group in zip("abc", "GHG", strict=True)
    ]
    text = get(evolve(page_that_is_well(), components=components), "/").body.decode()

    assert text.count('class="group"') == 2


def test_the_history_shows_fifteen_days_and_sums_up_the_quiet_ones() -> None:
    """An incident of the sixteenth day back is left to the feed."""
    page = page_in_trouble()
    old = evolve(page.incidents[1], id="old", name="Long ago", created_at=NOW - 15 * 86400)
    text = get(evolve(page, incidents=[*page.incidents, old]), "/").body.decode()

    assert "Long ago" not in text
    assert text.count(": no incidents</p>") == 2


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_stay_text(text: str) -> None:
    """Whatever a name is, the page has the same elements and attributes, and every feed parses."""
    plain, hostile = hostile_page("x"), hostile_page(text)
    id_ = quote(text, safe="", errors="replace")

    for path in ("/", "/incidents/{}1", "/nowhere"):
        expected, seen = (
            Structure(get(page, path.format(i)).body.decode())
            for page, i in ((plain, "x"), (hostile, id_))
        )
        if "\ud800" in text and path.startswith("/inc"):
            continue  # a lone surrogate cannot be asked for
        assert [(t, list(a)) for t, a in expected.elements] == [
            (t, list(a)) for t, a in seen.elements
        ]
    ElementTree.fromstring(get(hostile, "/history.atom").body)
    json.loads(get(hostile, "/api/v2/summary.json").body)
    if "\ud800" not in text:
        for kind in ("status", "uptime/7d"):
            badge = get(hostile, f"/badge/{id_}/{kind}.svg")
            assert badge.status == 200
            tags = [element.tag for element in ElementTree.fromstring(badge.body).iter()]
            assert len(tags) == 7


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1, max_size=60))
def test_any_name_stays_text(text: str) -> None:
    """The same, for whatever hypothesis thinks of."""
    seen = Structure(get(hostile_page(text), "/").body.decode())

    assert not seen.all("script")
    assert len(seen.elements) == len(Structure(get(hostile_page("x"), "/").body.decode()).elements)
    ElementTree.fromstring(get(hostile_page(text), "/history.atom").body)


# ------------------------------------------------------------------ colours


def palettes(accent: str = Brand().accent) -> list[dict[str, str]]:
    """Return the colours of both schemes, read from the style sheet as a browser would."""
    css = sheet(accent)
    light = re.match(r":root\{(.*?)\}", css)
    dark = re.search(r"@media \(prefers-color-scheme:dark\)\{:root\{(.*?)\}\}", css)
    assert light
    assert dark
    return [dict(re.findall(r"--([a-z-]+):(#[0-9a-f]{6});", m[1])) for m in (light, dark)]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_and_bars_keep_the_contrast_of_wcag_in_both_schemes(scheme: int) -> None:
    """1.4.3: text 4.5 to 1 on what it stands on; 1.4.11: bars and frames 3 to 1."""
    colours = palettes()[scheme]
    tones = ("ok", "info", "minor", "major", "bad", "none")
    texts = [(text, ground) for text in ("text", "soft", "accent") for ground in ("page", "card")]
    texts += [(tone, ground) for tone in tones for ground in ("page", "card", f"{tone}-tint")]
    texts += [("text", f"{tone}-tint") for tone in tones]

    assert len(colours) == 24
    for text, ground in texts:
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for tone in tones:
        for ground in ("card", "page"):
            assert contrast(colours[f"{tone}-bar"], colours[ground]) >= 3, (tone, ground)


def test_contrast_is_wcags() -> None:
    """Known values: black on white is 21, #777 on white 4.48."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.478, abs=0.001)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 0xFFFFFF))
def test_any_brands_colour_is_readable(accent: int) -> None:
    """Yellow on white and navy on black are moved until text in them can be read."""
    for colours in palettes(f"#{accent:06x}"):
        for ground in ("card", "page"):
            assert contrast(colours["accent"], colours[ground]) >= 4.5
    assert readable("#000000", "#ffffff") == "#000000"


def test_every_colour_of_the_rules_is_defined() -> None:
    """A misspelt variable would fall back to nothing."""
    css = sheet(Brand().accent)

    assert set(re.findall(r"var\(--([a-z-]+)", css)) <= set(re.findall(r"--([a-z-]+):", css))
    assert not re.findall(r"url\(|@import|expression", css)


def test_a_logo_is_inlined_and_its_name_not_said_twice() -> None:
    """White label without a request."""
    logo = Logo("image/png", b"\x89PNG")
    page = Structure(get(page_that_is_well(Brand(logo=logo)), "/").body.decode())

    assert page.all("img") == [{"src": "data:image/png;base64,iVBORw==", "alt": ""}]


# ------------------------------------------------------------------ HTTP


def test_a_page_is_kept_from_loading_anything_but_its_own_style() -> None:
    """The hash is of exactly what stands in the page."""
    response = get(page_in_trouble(), "/")
    style = re.search(r"<style>(.*?)</style>", response.body.decode(), re.DOTALL)
    assert style
    policy = response.headers["Content-Security-Policy"]

    assert policy == (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        f"style-src {hash_of(style[1])}; img-src data:"
    )
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("path", ["/", "/api/v2/summary.json", "/history.atom", "/healthz"])
def test_what_a_client_has_already_is_not_sent_again(path: str) -> None:
    """RFC 9110: 304 for a known ETag, weak or in a list, without a body; else all of it."""
    page = page_in_trouble()
    first = get(page, path)
    tag = first.headers["ETag"]

    for known in (tag, f'"other", W/{tag}', "*"):
        again = get(page, path, if_none_match=known)
        assert (again.status, again.body) == (304, b"")
        assert again.headers["ETag"] == tag
    assert get(page, path, if_none_match='"other"').status == 200
    if path != "/healthz":
        assert get(evolve(page, updated_at=NOW + 61), "/").headers["ETag"] != tag


def test_head_tells_what_get_would_and_sends_no_body() -> None:
    """RFC 9110, section 9.3.2."""
    page = page_in_trouble()
    full, head = get(page, "/"), get(page, "/", method="HEAD")

    assert full.headers == head.headers
    assert head.body == b""
    assert head.headers["Content-Length"] == str(len(full.body))


@pytest.mark.parametrize(
    ("accepted", "is_packed"),
    [
        ("gzip", True),
        ("br, gzip;q=0.5", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip;q=0.0, *", False),
        ("br", False),
        ("", False),
    ],
)
def test_gzip_is_used_where_it_is_accepted(accepted: str, is_packed: bool) -> None:
    """It unpacks to the same, and has a tag of its own (RFC 9110, section 8.8.1)."""
    page = page_in_trouble()
    plain, response = get(page, "/"), get(page, "/", accept_encoding=accepted)

    assert is_packed == ("Content-Encoding" in response.headers)
    body = gzip.decompress(response.body) if is_packed else response.body
    assert body == plain.body
    assert is_packed == (response.headers["ETag"] != plain.headers["ETag"])
    assert response.headers["Vary"] == "Accept-Encoding"
    tag = response.headers["ETag"]
    assert get(page, "/", accept_encoding=accepted, if_none_match=tag).status == 304


def test_other_methods_are_refused_and_told_which_are_not() -> None:
    """Nothing here can be changed."""
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "get", ""):
        response = get(page_in_trouble(), "/", method=method)
        assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "path",
    [
        "", "//", "/index.html", "/api/v2/summary", "/api/v2/../../etc/passwd.json",
        "/api/v1/status.json",
        "/badge/none/status.svg", "/badge/acme/uptime/0d.svg", "/badge/acme/uptime/91d.svg",
        "/badge/acme/uptime/7d.png", "/incidents/", "/incidents/%zz", "/incidents/%ff", "/%00",
    ],
)  # fmt: skip
def test_an_address_without_anything_is_not_found(path: str) -> None:
    """With the page's own look, or as JSON under `/api/`; it may be asked for again at once."""
    response = get(page_that_is_well(), path)

    assert response.status == 404
    assert "ETag" not in response.headers
    assert ("json" in response.headers["Content-Type"]) == path.startswith("/api/")


def test_health_does_not_look_at_the_page() -> None:
    """It answers also when the store does not."""

    def broken() -> Page:
        raise AssertionError

    assert respond("GET", "/healthz", "", {}, broken).body == b"ok\n"


# ------------------------------------------------------------------ JSON, feed, badges

PAGE_KEYS = {"id", "name", "url", "time_zone", "updated_at"}
COMPONENT_KEYS = {
    "id", "name", "status", "created_at", "updated_at", "position", "description", "showcase",
    "start_date", "group_id", "page_id", "group", "only_show_if_degraded",
}  # fmt: skip
INCIDENT_KEYS = {
    "id", "name", "status", "created_at", "updated_at", "monitoring_at", "resolved_at", "impact",
    "shortlink", "started_at", "page_id", "incident_updates", "components",
}  # fmt: skip
UPDATE_KEYS = {
    "id", "status", "body", "incident_id", "created_at", "updated_at", "display_at",
    "affected_components", "deliver_notifications", "custom_tweet", "tweet_id",
}  # fmt: skip
STATUSES = {
    "operational", "degraded_performance", "partial_outage", "major_outage", "under_maintenance"
}  # fmt: skip
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def fetched(page: Page, name: str) -> dict[str, object]:
    response = get(page, f"/api/v2/{name}.json")
    assert response.status == 200
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    answer: dict[str, object] = json.loads(response.body)
    assert set(answer["page"]) == PAGE_KEYS  # type: ignore[call-overload]
    return answer


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("summary", {"components", "incidents", "scheduled_maintenances", "status"}),
        ("status", {"status"}),
        ("components", {"components"}),
        ("incidents", {"incidents"}),
        ("incidents/unresolved", {"incidents"}),
        ("scheduled-maintenances", {"scheduled_maintenances"}),
        ("scheduled-maintenances/active", {"scheduled_maintenances"}),
        ("scheduled-maintenances/upcoming", {"scheduled_maintenances"}),
    ],
)
def test_the_json_has_statuspages_shape(name: str, keys: set[str]) -> None:
    """All names that their public documents show; words of theirs only; times in RFC 3339."""
    answer = fetched(page_in_trouble(), name)

    assert set(answer) == {"page", *keys}
    for entry in answer.get("components", []):  # type: ignore[attr-defined]
        assert set(entry) >= COMPONENT_KEYS
        assert entry["status"] in STATUSES
    for kind in ("incidents", "scheduled_maintenances"):
        for entry in answer.get(kind, []):  # type: ignore[attr-defined]
            more = {"scheduled_for", "scheduled_until"} if kind != "incidents" else set()
            assert set(entry) == INCIDENT_KEYS | more
            assert INSTANT.fullmatch(entry["created_at"])
            for update in entry["incident_updates"]:
                assert set(update) == UPDATE_KEYS
                assert update["incident_id"] == entry["id"]


def test_the_summary_says_what_is_so() -> None:
    """Open incidents only, groups with their members, and no data that does not pass for good."""
    answer = fetched(page_in_trouble(), "summary")
    components = {entry["name"]: entry for entry in answer["components"]}  # type: ignore[attr-defined]
    (incident,) = answer["incidents"]  # type: ignore[misc]

    assert answer["status"] == {"indicator": "major", "description": "Partial System Outage"}
    group = components["Cook County"]
    assert group["group"]
    assert (group["status"], group["components"]) == (
        "major_outage",
        ["court.production/http", "clerk"],
    )
    assert components["Court filing"]["group_id"] == group["id"]
    assert components["Court filing"]["uptime"] == {"good": 258825, "total": 259200}
    assert (components["Notes"]["status"], components["Notes"]["has_data"]) == (
        "degraded_performance",
        False,
    )
    assert incident["shortlink"] == "https://status.example.org/incidents/2026-11-25%20court%2F1"
    assert [c["id"] for c in incident["components"]] == ["court.production/http", "clerk"]
    assert (incident["impact"], incident["resolved_at"]) == ("major", None)


def test_lists_are_as_long_as_statuspages() -> None:
    """The 50 newest incidents."""
    page = page_in_trouble()
    many = [evolve(page.incidents[1], id=str(n)) for n in range(60)]

    assert len(fetched(evolve(page, incidents=many), "incidents")["incidents"]) == 50  # type: ignore[arg-type]


def test_the_feed_is_atom() -> None:
    """RFC 4287: what it must have; each entry's link leads to its page."""
    page = page_in_trouble()
    feed = ElementTree.fromstring(get(page, "/history.atom").body)
    atom = "{http://www.w3.org/2005/Atom}"
    entries = feed.findall(f"{atom}entry")

    for element in (feed, *entries):
        assert all(element.find(atom + name) is not None for name in ("id", "title", "updated"))
    assert feed.findtext(f"{atom}updated") == "2026-11-25T08:26:12.000Z"
    assert len(entries) == 2
    link = entries[0].find(f"{atom}link")
    assert link is not None
    path = link.attrib["href"].removeprefix(page.url)
    assert b"Court filing does not answer</h1>" in get(page, path).body
    assert "<p><strong>Identified</strong>" in (entries[0].findtext(f"{atom}content") or "")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("court.production%2Fhttp/status", "Court filing: major outage"),
        ("court.production%2Fhttp/uptime/7d", "Court filing: 98.61% / 7 d"),
        ("court.production%2Fhttp/uptime/90d", "Court filing: 99.85% / 90 d"),
        ("acme/uptime/1d", "Dossier for Acme: 100% / 1 d"),
        ("notes/uptime/30d", "Notes: no data / 30 d"),
    ],
)
def test_a_badge_says_in_its_title_what_it_shows(path: str, words: str) -> None:
    """An SVG with a name for screen readers, that other sites may show."""
    response = get(page_in_trouble(), f"/badge/{path}.svg")
    image = ElementTree.fromstring(response.body)

    assert response.headers["Content-Type"].startswith("image/svg+xml")
    assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert (image.attrib["role"], image.attrib["aria-label"]) == ("img", words)
    assert image.findtext("{http://www.w3.org/2000/svg}title") == words


def test_a_hundred_components_are_not_too_much_to_send() -> None:
    """A page of 100 components over 90 days: 9000 bars in less than 80 KB on the wire."""
    many = [
        Component(
            str(n), f"Component {n}", ComponentStatus.OPERATIONAL, NOW, days=days(_3=2700 + n)
        )
        for n in range(100)
    ]
    response = get(evolve(page_that_is_well(), components=many), "/", accept_encoding="gzip")

    assert len(response.body) < 80_000
