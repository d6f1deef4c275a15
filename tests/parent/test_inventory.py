"""What runs where: rows that begin and end, whatever a child says instead of an inventory."""

from __future__ import annotations

import random
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chittyops_core.parent import fleet, inventory, tally, terms
from chittyops_core.parent.database import Database
from chittyops_core.parent.fleet import Filter, ServiceFilter
from chittyops_core.parent.inventory import keep, keep_health, version_key
from chittyops_core.parent.schema import child, child_state, service, term
from parent.databases import Statements
from parent.fleet_data import NOW, child_id, fill

CHILD = child_id(1)


@pytest.fixture
def enrolled(database: Database) -> Database:
    """A database with one child that has said nothing."""
    values = {
        "id": CHILD, "name": "host-1", "kind": "", "state": "accepted", "labels": "{}",
        "facts": "{}", "enrolled_at": NOW,
    }  # fmt: skip
    database.write(lambda c: c.execute(child.insert().values(**values)))
    database.write(lambda c: c.execute(child_state.insert().values(child=CHILD)))
    database.write(lambda c: tally.settle(c, [CHILD]))
    return database


def said(**more: Any) -> dict[str, Any]:
    return {
        "app": "docket", "environment": "production", "client": None, "kind": "cook-county",
        "release": "r1", "since": NOW - 60, "commit": "ab" * 20, "manifest": "m", "sbom": None,
        "lite": "0.1.0", "health": "operational", "address": "https://docket.example", **more,
    }  # fmt: skip


def report(database: Database, services: object, now: float = NOW) -> None:
    database.write(lambda c: keep(c, CHILD, {"host": {}, "services": services}, now))


def running(database: Database) -> list[fleet.Service]:
    with database.reading() as connection:
        return list(fleet.services(connection, ServiceFilter(child=CHILD), limit=200).rows)


# --- bad input ---


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = {"services": [value], "app": value}
    return value


def test_what_is_no_inventory_is_no_service_and_no_error_attack(enrolled: Database) -> None:
    for bad in (
        None, 1, "x", [], {}, {"services": None}, {"services": [1]}, {"services": {"a": 1}},
        {"services": {"": said()}}, {"services": {"\x00": said()}}, {"services": {1: said()}},
        nested(900), {"services": {"a": [said()]}},
    ):  # fmt: skip
        enrolled.write(lambda c, bad=bad: keep(c, CHILD, bad, NOW))
        enrolled.write(lambda c, bad=bad: keep_health(c, CHILD, bad))

        assert running(enrolled) == []


def test_fields_of_wrong_types_and_sizes_are_left_out_attack(enrolled: Database) -> None:
    """What fits of the service is kept."""
    report(
        enrolled,
        {"a\x00b": said(app=["x"], client={"a": 1}, kind="<b>", release=9, commit="c" * 999,
                        since=float("nan"), lite="\ud800\x001.0", health="fine",
                        address="javascript:" + "x" * 9999),
         "t": said(since=True, kind="A", app="x" * 9999, health=["operational"]),
         "big": said(since=10**400), "inf": said(since=float("inf")), "neg": said(since=-1)},
    )  # fmt: skip

    by_slug = {each.slug: each for each in running(enrolled)}

    odd = by_slug["ab"]
    assert (odd.app, odd.client, odd.kind, odd.release) == ("", None, "other", "")
    assert (odd.commit, odd.since, odd.lite, odd.status) == ("c" * 64, None, "1.0", "unknown")
    assert len(odd.address or "") == inventory.MAX_ADDRESS
    assert (by_slug["t"].since, len(by_slug["t"].app)) == (None, 200)
    assert [by_slug[name].since for name in ("big", "inf", "neg")] == [None] * 3


def test_ten_thousand_services_are_bounded_and_changing_ones_fill_no_disk_attack(
    enrolled: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "MAX_ENDED", 300)
    for turn in range(5):
        report(enrolled, {f"s{n:05d}-{turn}": said(app=f"app{n}") for n in range(10_000)})

    with enrolled.reading() as connection:
        rows = connection.scalar(sa.select(sa.func.count()).select_from(service))
        words = connection.scalar(sa.select(sa.func.count()).select_from(term))
    assert len(running(enrolled)) == inventory.MAX_SERVICES
    assert rows == inventory.MAX_SERVICES + 300
    assert words is not None
    assert 0 < words <= terms.MAX_WORDS


def test_invented_kinds_do_not_make_the_tally_grow_attack(enrolled: Database) -> None:
    for number in range(50):
        report(enrolled, {"a": said(kind=f"kind-{number}")})
    report(enrolled, {f"a{n}": said(kind=f"kind-{n}") for n in range(100)})

    with enrolled.reading() as connection:
        assert set(tally.places(connection).values()) == {1}
        found = fleet.counts(connection)
    assert found.kinds == {"mixed": 1}
    assert len({each.kind for each in running(enrolled)}) <= inventory.MAX_KINDS + 1


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from((*said(), "services", "host")) | st.text(), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(max_examples=30, suppress_health_check=list(HealthCheck), deadline=None)
@given(value=_JSON)
def test_no_value_stops_a_sync_attack(enrolled: Database, value: Any) -> None:
    """Anything that JSON can say, as an inventory and as a service of one."""
    for inventory_ in (value, {"services": value}, {"services": {"a": value}}):
        enrolled.write(lambda c, v=inventory_: keep(c, CHILD, v, NOW))
        enrolled.write(lambda c, v=inventory_: keep_health(c, CHILD, v))


# --- begin and end ---


def test_a_new_release_ends_the_old_row_and_begins_another(enrolled: Database) -> None:
    """So that what ran before, and until when, has an answer."""
    report(enrolled, {"d": said()}, NOW)
    report(enrolled, {"d": said(release="r2", since=NOW)}, NOW + 10)
    report(enrolled, {}, NOW + 20)
    report(enrolled, {"d": said()}, NOW + 30)

    with enrolled.reading() as connection:
        rows = fleet.history(connection, CHILD, "d").rows
        ever = fleet.services(connection, ServiceFilter(commit="abab", ever=True)).rows
    assert [(row.release, row.seen_at - NOW, row.ended_at) for row in rows] == [
        ("r1", 30, None), ("r2", 10, NOW + 20), ("r1", 0, NOW + 10),
    ]  # fmt: skip
    assert len(ever) == 3


def test_what_did_not_change_is_not_written(enrolled: Database) -> None:
    report(enrolled, {"d": said(), "e": said(app="e")})

    def again(connection: sa.Connection) -> list[str]:
        statements = Statements(connection)
        keep(connection, CHILD, {"services": {"e": said(app="e"), "d": said()}}, NOW + 5)
        return [statement for statement, _ in statements.plans]

    assert all(each.lstrip().startswith("SELECT") for each in enrolled.write(again))
    assert {each.seen_at for each in running(enrolled)} == {NOW}


def test_health_and_address_change_in_place(enrolled: Database) -> None:
    report(enrolled, {"d": said(), "e": said()})
    before = {each.slug: each.id for each in running(enrolled)}
    report(enrolled, {"d": said(address="https://x", health="major_outage"), "e": said()})
    enrolled.write(
        lambda c: keep_health(
            c, CHILD, {"services": {"e": {"status": "degraded_performance"}, "f": {}, "d": 1}}
        )
    )

    after = {each.slug: each for each in running(enrolled)}

    assert {slug: each.id for slug, each in after.items()} == before
    assert (after["d"].address, after["d"].status) == ("https://x", "major_outage")
    assert after["e"].status == "degraded_performance"


def test_a_child_is_of_its_services_kind_and_found_by_their_words(enrolled: Database) -> None:
    report(enrolled, {"d": said()})
    with enrolled.reading() as connection:
        assert fleet.counts(connection).kinds == {"cook-county": 1}
        for text in ("docket", "abab", "r1", "0.1", "cook", "host-1 docket"):
            assert fleet.children(connection, Filter(text=text, kind="cook-county")).rows, text

    report(enrolled, {"d": said(), "m": said(kind="chitty-apps", app="menu")})
    with enrolled.reading() as connection:
        assert fleet.counts(connection).kinds == {"mixed": 1}
        assert fleet.children(connection, Filter(text="menu")).rows

    report(enrolled, {})
    with enrolled.reading() as connection:
        assert fleet.counts(connection).kinds == {"": 1}
        assert fleet.children(connection, Filter(text="docket")).rows == ()
        assert fleet.children(connection, Filter(text="host")).rows


def test_no_upkeep_of_services_scans(database: Database) -> None:
    database.write(lambda connection: fill(connection, 50))

    def work(connection: sa.Connection) -> Statements:
        statements = Statements(connection)
        for release in ("r1", "r2"):
            keep(connection, CHILD, {"services": {"d": said(release=release)}}, NOW)
        keep_health(connection, CHILD, {"services": {"d": {"status": "partial_outage"}}})
        return statements

    assert database.write(work).scans() == []


def test_versions_sort_as_versions_do() -> None:
    """What is no version has no key."""
    ordered = ["0.9", "0.10.dev1", "0.10rc1", "0.10", "0.10.1", "1", "1.0.1", "2.0", "10.0"]
    shuffled = random.Random(1).sample(ordered, len(ordered))

    assert sorted(shuffled, key=lambda each: version_key(each) or "") == ordered
    assert [version_key(each) for each in ("", "v1", None, 1, "x.1", "٣.١")] == [None] * 6
    assert len(version_key("1." + "9" * 300) or "") <= 64
