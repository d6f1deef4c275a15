"""What is asked about the fleet: page by page, by index only, whatever children are called."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from chittyops_core.errors import NotFoundError, UsageError
from chittyops_core.parent import fleet, samples, tally, terms
from chittyops_core.parent.database import Database
from chittyops_core.parent.fleet import Filter, Order, Page, ServiceFilter
from chittyops_core.parent.schema import (
    child,
    child_place,
    child_state,
    event,
    operator,
    service,
    term,
)
from chittyops_core.parent.schema import tally as tally_table
from chittyops_core.parent.tally import Place
from parent.databases import Statements
from parent.fleet_data import DAY, NOW, child_id, fill

CHILDREN = 200


@pytest.fixture
def filled(database: Database) -> Database:
    """Children that a test changes."""
    database.write(lambda connection: fill(connection, CHILDREN, events=1))
    return database


def all_rows(ask: Callable[[str | None], Page[Any]]) -> list[Any]:
    rows, page = [], ask(None)
    rows += page.rows
    while page.next is not None:
        page = ask(page.next)
        rows += page.rows
    return rows


def enrolled(database: Database, name: str, number: int, **more: Any) -> None:
    values = {
        "id": child_id(number), "name": name, "kind": "", "state": "accepted", "labels": "{}",
        "facts": "{}", "enrolled_at": NOW, **more,
    }  # fmt: skip
    database.write(lambda connection: connection.execute(child.insert().values(**values)))
    database.write(lambda connection: tally.settle(connection, [child_id(number)]))
    database.write(lambda connection: terms.refresh(connection, child_id(number)))


# --- children ---


@pytest.mark.parametrize(
    "chosen",
    [Filter(), Filter(kind="chitty-apps"), Filter(state="accepted", status="operational"),
     Filter(overdue=True), Filter(text="chicago"), Filter(text="web production"),
     Filter(label="site=elgin"), Filter(kind="digital-dossier", text="acme", label="ring=broad"),
     Filter(text="example", overdue=True), Filter(text="nowhere"), Filter(kind="none")],
)  # fmt: skip
def test_pages_hold_every_child_that_matches_once_and_in_order(
    fleet_of_200: Database, chosen: Filter
) -> None:
    """Whatever the filter; compared with a plain look at everything."""
    with fleet_of_200.reading() as connection:
        named, worst = (
            all_rows(lambda after, o=order: fleet.children(connection, chosen, after, 20, o))
            for order in Order
        )
        expected = _plain(connection, chosen)

    assert sorted(each.id for each in named) == sorted(expected)
    assert sorted(each.id for each in worst) == sorted(expected)
    assert [each.name for each in named] == sorted(each.name for each in named)
    states = [fleet._STATES.index(each.state) for each in worst]
    late = [each.is_overdue for each in worst if each.state == "accepted"]
    assert states == sorted(states)
    assert late == sorted(late, reverse=True)


def _plain(connection: sa.Connection, chosen: Filter) -> list[str]:
    found = []
    words: dict[str, set[str]] = defaultdict(set)
    for each, word in connection.execute(sa.select(term.c.child, term.c.word)):
        words[each].add(word)
    rows = connection.execute(sa.select(child, child_state).join(child_state)).mappings().all()
    for row in rows:
        one = row["id"]
        if chosen.kind not in (None, row["kind"]) or chosen.state not in (None, row["state"]):
            continue
        if chosen.status not in (None, row["status"]):
            continue
        if chosen.overdue not in (None, row["is_overdue"]):
            continue
        stored = words[one]
        asked = terms.words_of(chosen.text)
        is_label = not chosen.label or terms.label_word(chosen.label) in stored
        if is_label and all(any(has.startswith(word) for has in stored) for word in asked):
            found.append(one)
    return found


def test_a_frequent_word_is_looked_for_in_order_and_no_page_looks_for_ever(
    fleet_of_200: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short pages with a next one; together they hold all."""
    monkeypatch.setattr(fleet, "MAX_FOUND", 3)
    monkeypatch.setattr(fleet, "MAX_LOOKED", 40)
    chosen = Filter(text="aurora example")

    with fleet_of_200.reading() as connection:
        got = all_rows(lambda after: fleet.children(connection, chosen, after, 10))
        first = fleet.children(connection, chosen, None, 10)
        expected = _plain(connection, chosen)

    assert sorted(each.id for each in got) == sorted(expected)
    assert len(first.rows) < 10
    assert first.next is not None


def test_children_that_come_and_go_between_two_pages_neither_repeat_nor_hide_others(
    filled: Database,
) -> None:
    with filled.reading() as connection:
        first = fleet.children(connection, limit=50)
    gone = first.rows[-1].id
    filled.write(
        lambda connection: connection.execute(
            child_place.delete().where(child_place.c.child == gone)
        )
    )
    with filled.reading() as connection:
        rest = all_rows(lambda after: fleet.children(connection, None, after or first.next, 50))

    assert len({each.id for each in (*first.rows, *rest)}) == CHILDREN
    assert len(first.rows) + len(rest) == CHILDREN


@pytest.mark.parametrize(
    "cursor",
    ["x", "!", "a" * 5000, "bnVsbA", "WzEsMl0", "WzAsIlx1MDAwMCIsImEiXQ", "W05hTiwiYSIsImIiXQ",
     "WzAsIlx1ZDgwMCIsIiJd", "é", "W1tbW1tb"],
)  # fmt: skip
def test_a_made_up_cursor_is_refused_attack(fleet_of_200: Database, cursor: str) -> None:
    with fleet_of_200.reading() as connection:
        for ask in (
            lambda: fleet.children(connection, None, cursor),
            lambda: fleet.services(connection, None, cursor),
            lambda: fleet.events(connection, after=cursor),
            lambda: fleet.activities(connection, after=cursor),
            lambda: fleet.history(connection, child_id(0), "x", cursor),
        ):
            with pytest.raises(UsageError, match="no place in the list"):
                ask()


HOSTILE = (
    "'; DROP TABLE child; --", "<script>alert(1)</script>", "%", "_", "%' OR 1=1 --", "\\",
    "😀" * 50, "İstanbul", "ß", "../../etc/passwd", "a" * 200, "\u202eevil", "{{7*7}}",
    "\ufdd0\uffff",
)  # fmt: skip


def test_hostile_names_and_searches_are_text_attack(database: Database) -> None:
    """Each is found by itself and by nothing else's wildcard; the tables are still there."""
    for number, name in enumerate(HOSTILE):
        enrolled(database, name, number)

    with database.reading() as connection:
        listed = all_rows(lambda after: fleet.children(connection, None, after, 3))
        found = {
            text: {each.name for each in fleet.children(connection, Filter(text=text)).rows}
            for text in HOSTILE
        }
        odd = [
            fleet.children(connection, Filter(text=text, label=text, kind=text, state=text)).rows
            for text in (*HOSTILE, "x " * 5000)
        ]

    assert {each.name for each in listed} == set(HOSTILE)
    assert all(name in names for name, names in found.items())
    assert found["%"] == {"%", "%' OR 1=1 --"}
    assert found["_"] == {"_"}
    assert set(odd) == {()}


def test_a_name_is_found_from_any_of_its_parts_on(database: Database) -> None:
    enrolled(database, "Web-01.Loop.example", 1, labels='{"site": "Cook County"}')

    with database.reading() as connection:
        for text in ("web", "WEB-01", "01.loop", "loop.exa", "exam", "county", "web county"):
            assert fleet.children(connection, Filter(text=text)).rows, text
        assert fleet.children(connection, Filter(label="site=Cook County")).rows
        assert not fleet.children(connection, Filter(text="eb-01")).rows
        assert not fleet.children(connection, Filter(label="site=Cook")).rows


# --- counts ---


def test_the_tally_is_what_a_count_would_say_after_random_moves(filled: Database) -> None:
    chance = random.Random(7)
    for _ in range(20):
        ids = [child_id(chance.randrange(CHILDREN)) for _ in range(chance.randrange(1, 30))]
        state, status = chance.choice(fleet._STATES), chance.choice(list(fleet._STATUSES))
        filled.write(lambda c, ids=ids, s=state, t=status: _change(c, ids, s, t, chance))

    with filled.reading() as connection:
        counted = tally.places(connection)
        real = connection.execute(
            sa.select(child.c.state, child.c.kind, child_state.c.status,
                      child_state.c.is_overdue, sa.func.count())
            .select_from(child.join(child_state))
            .group_by(child.c.state, child.c.kind, child_state.c.status, child_state.c.is_overdue)
        ).all()  # fmt: skip

    assert counted == {Place(*row[:4]): row[4] for row in real}
    assert filled.write(tally.recount) is False


def _change(
    connection: sa.Connection, ids: list[str], state: str, status: str, chance: random.Random
) -> None:
    is_here = child_state.c.child.in_(ids)
    connection.execute(child.update().where(child.c.id.in_(ids)).values(state=state))
    connection.execute(
        child_state.update().where(is_here).values(status=status, is_overdue=chance.random() < 0.5)
    )
    tally.settle(connection, ids)
    tally.settle(connection, ids)


def test_a_tally_that_went_wrong_is_repaired_and_never_below_zero(filled: Database) -> None:
    with filled.reading() as connection:
        before = tally.places(connection)
    somewhere = next(iter(before))
    nowhere = Place("accepted", "never-seen", "unknown", False)
    filled.write(lambda connection: tally.move(connection, nowhere, None))
    filled.write(
        lambda connection: tally.move_all(connection, [(somewhere, None)] * (CHILDREN + 1))
    )
    with filled.reading() as connection:
        lowest = connection.scalar(sa.select(sa.func.min(tally_table.c.count)))

    assert lowest == 0
    assert filled.write(tally.recount) is True
    with filled.reading() as connection:
        assert tally.places(connection) == before
        counts = fleet.counts(connection)
    assert counts.total == CHILDREN
    assert sum(counts.statuses.values()) == counts.states["accepted"]


# --- services ---


def test_services_are_listed_by_what_they_run(fleet_of_200: Database) -> None:
    """By each filter and by two at once; all pages together hold what a plain look finds."""
    with fleet_of_200.reading() as connection:
        rows = connection.execute(sa.select(service)).all()
        some = next(row for row in rows if row.client and row.version)
        for chosen, matches in (
            (ServiceFilter(), lambda row: True),
            (ServiceFilter(app=some.app), lambda row: row.app == some.app),
            (ServiceFilter(app=some.app, environment="staging"),
             lambda row: (row.app, row.environment) == (some.app, "staging")),
            (ServiceFilter(client=some.client), lambda row: row.client == some.client),
            (ServiceFilter(kind="cook-county"), lambda row: row.kind == "cook-county"),
            (ServiceFilter(commit=some.commit_id[:12]),
             lambda row: row.commit_id.startswith(some.commit_id[:12])),
            (ServiceFilter(release="202603", kind="chitty-apps"),
             lambda row: row.release.startswith("202603") and row.kind == "chitty-apps"),
            (ServiceFilter(below="0.2"),
             lambda row: tuple(map(int, row.lite.split("."))) < (0, 2, 0)),
            (ServiceFilter(child=some.child), lambda row: row.child == some.child),
        ):  # fmt: skip
            got = all_rows(lambda after, c=chosen: fleet.services(connection, c, after, 9))
            assert sorted(each.id for each in got) == sorted(r.id for r in rows if matches(r))


def test_few_services_among_many_are_found_in_pages_that_end(
    fleet_of_200: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "MAX_LOOKED", 10)
    chosen = ServiceFilter(kind="chitty-apps", environment="staging")

    with fleet_of_200.reading() as connection:
        got = all_rows(lambda after: fleet.services(connection, chosen, after, 5))
        rows = connection.execute(
            sa.select(service.c.id).where(
                service.c.kind == "chitty-apps", service.c.environment == "staging"
            )
        ).all()

    assert sorted(each.id for each in got) == sorted(row.id for row in rows)


def test_a_question_that_no_index_answers_is_refused(fleet_of_200: Database) -> None:
    with fleet_of_200.reading() as connection:
        with pytest.raises(UsageError, match="by child, commit or release only"):
            fleet.services(connection, ServiceFilter(ever=True, app="docket"))
        with pytest.raises(UsageError, match="'new' is no version"):
            fleet.services(connection, ServiceFilter(below="new"))


# --- a child, events, activities, filters ---


def test_a_childs_page_has_all_that_is_known_of_it(fleet_of_200: Database) -> None:
    with fleet_of_200.reading() as connection:
        view = fleet.child_view(connection, child_id(3))
        with pytest.raises(NotFoundError, match="no child"):
            fleet.child_view(connection, "' OR 1=1 --")

    assert view.child.name == "web-00003.oaklawn.example"
    assert view.child.labels["site"] == "oaklawn"
    assert view.child.services == len(view.services) > 0
    assert set(view.sections) == {"health", "inventory", "bridge"}
    assert view.facts["cpus"] == 4
    assert len(view.streams) == 1


def test_a_child_that_never_spoke_has_a_page(database: Database) -> None:
    """And stored JSON that is none is nothing, not an error."""
    enrolled(database, "new", 1, labels="[", facts="[1]")

    with database.reading() as connection:
        view = fleet.child_view(connection, child_id(1))

    assert (view.child.status, view.child.last_seen, view.services) == ("unknown", None, ())
    assert (view.child.labels, view.facts) == ({}, {})


def test_events_are_listed_by_child_by_type_and_by_time(fleet_of_200: Database) -> None:
    """The latest first, each once."""
    with fleet_of_200.reading() as connection:
        rows = connection.execute(sa.select(event)).all()
        for asked, matches in (
            ({}, lambda row: True),
            ({"child_id": child_id(1)}, lambda row: row.child == child_id(1)),
            ({"types": ("alert.fired", "deploy.served")},
             lambda row: row.type in ("alert.fired", "deploy.served")),
            ({"child_id": child_id(1), "types": ("deploy.served",)},
             lambda row: row.child == child_id(1) and row.type == "deploy.served"),
            ({"since": NOW - 10 * DAY, "until": NOW - 5 * DAY},
             lambda row: NOW - 10 * DAY <= row.at < NOW - 5 * DAY),
        ):  # fmt: skip
            got = all_rows(
                lambda after, a=asked: fleet.events(connection, **a, after=after, limit=100)
            )
            expected = sorted((-row.at, -row.id) for row in rows if matches(row))
            assert [(-each.at, -each.id) for each in got] == expected


def test_activities_are_listed_by_object_and_actor(fleet_of_200: Database) -> None:
    with fleet_of_200.reading() as connection:
        every = all_rows(lambda after: fleet.activities(connection, after=after, limit=40))
        ada = all_rows(lambda after: fleet.activities(connection, actor="ada", after=after))
        one = fleet.activities(connection, object=f"child/{child_id(3)}", actor="ada").rows
        none = fleet.activities(connection, object=f"child/{child_id(3)}", actor="grace").rows

    assert [each.id for each in every] == sorted((each.id for each in every), reverse=True)
    assert len(every) == CHILDREN
    assert [each.id for each in ada] == [each.id for each in every if each.actor == "ada"]
    assert (len(one), none) == (1, ())


def test_filters_are_kept_shared_and_deleted_by_their_operator_only(database: Database) -> None:
    for name in ("ada", "grace"):
        values = {"id": name, "name": name, "role": "viewer", "created_at": NOW}
        database.write(lambda c, v=values: c.execute(operator.insert().values(**v)))
    mine = database.write(lambda c: fleet.save_filter(c, "ada", "bad", "status=x", is_shared=True))
    database.write(lambda c: fleet.save_filter(c, "ada", "own", "kind=<b>"))
    again = database.write(lambda c: fleet.save_filter(c, "ada", "bad", "q", is_shared=True))

    with pytest.raises(NotFoundError):
        database.write(lambda c: fleet.delete_filter(c, "grace", mine))
    with pytest.raises(UsageError):
        database.write(lambda c: fleet.save_filter(c, "ada", " ", "q"))
    with database.reading() as connection:
        ada, grace = (fleet.saved_filters(connection, each) for each in ("ada", "grace"))
    database.write(lambda c: fleet.delete_filter(c, "ada", mine))

    assert again == mine
    assert [(each.name, each.query) for each in ada] == [("bad", "q"), ("own", "kind=<b>")]
    assert [each.name for each in grace] == ["bad"]
    with database.reading() as connection:
        assert [each.name for each in fleet.saved_filters(connection, "ada")] == ["own"]


def test_facets_are_what_children_have(fleet_of_200: Database) -> None:
    with fleet_of_200.reading() as connection:
        found = fleet.facets(connection)

    assert found.kinds == ("chitty-apps", "cook-county", "digital-dossier")
    assert "site=chicago" in found.labels
    assert "docket" in found.apps
    assert "birch & sons" in found.clients
    assert sorted(found.labels) == list(found.labels)


# --- no scans ---


def questions(connection: sa.Connection) -> Iterator[object]:
    """Ask everything that a page asks."""
    for order in Order:
        for chosen in (
            Filter(), Filter(state="accepted", kind="chitty-apps"), Filter(text="docket 0.1"),
            Filter(label="ring=broad", text="web"),
        ):  # fmt: skip
            page = fleet.children(connection, chosen, None, 5, order)
            yield page
            if page.next:
                yield fleet.children(connection, chosen, page.next, 5, order)
    yield fleet.counts(connection)
    yield fleet.facets(connection)
    yield fleet.child_view(connection, child_id(0))
    for wanted in (
        ServiceFilter(), ServiceFilter(app="menu"), ServiceFilter(app="menu", environment="x"),
        ServiceFilter(client="acme"), ServiceFilter(kind="cook-county"), ServiceFilter(commit="ab"),
        ServiceFilter(release="2026"), ServiceFilter(below="0.2"), ServiceFilter(child=child_id(1)),
        ServiceFilter(child=child_id(1), ever=True), ServiceFilter(commit="a", ever=True),
    ):  # fmt: skip
        page = fleet.services(connection, wanted, None, 5)
        yield page
        if page.next:
            yield fleet.services(connection, wanted, page.next, 5)
    yield fleet.history(connection, child_id(0), "menu-production")
    for asked in (
        {}, {"child_id": child_id(0)}, {"types": ("alert.fired",)},
        {"child_id": child_id(0), "types": ("deploy.served", "alert.fired")},
        {"since": NOW - DAY, "until": NOW},
    ):  # fmt: skip
        yield fleet.events(connection, **asked)
    yield fleet.activities(connection)
    yield fleet.activities(connection, object="child/x")
    yield fleet.activities(connection, actor="ada")
    yield fleet.saved_filters(connection, "ada")
    yield samples.names(connection, child_id(0))
    yield samples.series(connection, child_id(0), ["host.up"], NOW - DAY, NOW, 100)
    yield samples.series(connection, child_id(0), ["host.up"], NOW - 90 * DAY, NOW, 100)


def test_no_question_scans_a_table_that_grows_with_the_fleet(fleet_of_200: Database) -> None:
    """As the database itself explains; also with few rows to look at before the bound."""
    with fleet_of_200.reading() as connection:
        statements = Statements(connection)
        for _ in questions(connection):
            pass

    assert len(statements.plans) > 50
    assert statements.scans() == []


def test_no_upkeep_scans_a_table_that_grows_with_the_fleet(filled: Database) -> None:
    def work(connection: sa.Connection) -> Statements:
        statements = Statements(connection)
        tally.settle(connection, [child_id(1), child_id(2)])
        tally.move(connection, None, Place("accepted", "x", "unknown", False))
        terms.refresh(connection, child_id(1))
        samples.put(connection, [(child_id(1), NOW, "0" * 16, [1])])
        return statements

    statements = filled.write(work)

    assert statements.plans
    assert statements.scans() == []
