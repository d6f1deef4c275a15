"""The rhythm and what a child does with each answer (docs/protocol.md sections 5.5, 6, 7, 8)."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from bridge.conftest import QUICK, Child
from bridge.parent_double import Body, ParentDouble
from chittyops_core._kit.retry import wait_until
from chittyops_core.bridge import loop as loop_module
from chittyops_core.bridge import membership
from chittyops_core.bridge.consent import Grants
from chittyops_core.bridge.enrol import enrol, leave, rotate_key
from chittyops_core.bridge.loop import Report
from chittyops_core.bridge.pace import Rhythm
from chittyops_core.bridge.protocol import MAX_ITEMS, ChildState, ItemKind
from chittyops_core.bridge.status import status
from chittyops_core.errors import BridgeError, StoreError

EVENT, INCIDENT = ItemKind.EVENT, ItemKind.INCIDENT


def until(check: Callable[[], object]) -> None:
    assert wait_until(check, timeout_s=20)


def put(child: Child, count: int = 1, kind: ItemKind = EVENT) -> None:
    for number in range(count):
        child.outbox.put(kind, {"type": "x", "number": number})


def numbers(parent: ParentDouble) -> list[int]:
    return [body["number"] for body in parent.events]


# --- what is said --------------------------------------------------------------------------------


def test_a_child_tells_its_state_its_samples_and_what_it_owes(
    child: Child, parent: ParentDouble
) -> None:
    """Sections 7.2 and 7.3: positional samples, whose names come along."""
    put(child, 3)
    child.start()
    until(lambda: len(parent.items) >= 5)

    assert parent.sections["health"] == {"status": "operational"}
    assert set(parent.sections) == {"health", "inventory", "bridge"}
    assert numbers(parent) == [0, 1, 2]
    sample = next(body for _, kind, body in parent.items if kind == "metrics")
    assert parent.names[sample["set"]] == ["load", "memory"]
    assert sample["v"] == [0.5, None]
    assert parent.syncs[0]["caps"] == ["health", "inventory", "metrics", "events"]
    assert parent.syncs[0]["sdk"].startswith("chittyops-core/")


def test_what_did_not_change_is_not_said_again(child: Child, parent: ParentDouble) -> None:
    """Section 7.2: digests of all sections, values of those that changed; names once."""
    child.start()
    until(lambda: len(parent.syncs) >= 4)
    child.end()

    assert set(parent.syncs[0]["state"]) == {"health", "inventory", "bridge"}
    assert parent.syncs[0]["sets"]
    for sync in parent.syncs[2:]:
        assert (sync["state"], sync["sets"]) == ({}, {})
        assert set(sync["digests"]) == {"health", "inventory", "bridge"}
        assert sync["digests"]["health"] == parent.syncs[0]["digests"]["health"]


def test_a_parent_that_lacks_a_section_or_names_gets_them_again(
    child: Child, parent: ParentDouble
) -> None:
    """Section 7.5, soon and not in a loop."""
    child.start()
    until(lambda: len(parent.syncs) >= 3)
    set_id = next(iter(parent.names))
    parent.extra = {"resend": ["health", "none"], "unknown_sets": [set_id, "none"]}
    before = len(parent.syncs)
    until(lambda: len(parent.syncs) >= before + 3)
    child.end()

    later = parent.syncs[before + 1 :]
    assert any("health" in sync["state"] for sync in later)
    assert any(set_id in sync["sets"] for sync in later)
    assert len(later) < 100


def test_a_section_that_is_no_json_or_too_large_stops_no_other(
    child: Child, parent: ParentDouble
) -> None:
    """Nor the samples."""
    child.report = lambda: Report(
        {"health": {"status": "operational", "why": "\ud800"}, "inventory": "x" * (1 << 20)},
        {"ok": 1.0, "nan": float("nan"), "": 1.0, "x\ny": 1.0, "n" * 201: 1.0},
    )
    child.start()
    until(lambda: parent.items)

    assert parent.sections["health"] == {"status": "operational", "why": "?"}
    assert "inventory" not in parent.sections
    (names,) = parent.names.values()
    assert names == ["nan", "ok"]


def test_a_report_that_raises_stops_nothing(child: Child, parent: ParentDouble) -> None:
    """The last state is told on, and what is owed is sent."""
    child.start()
    until(lambda: parent.sections)
    child.report = lambda: 1 / 0  # type: ignore[assignment, return-value]
    put(child, 1)
    until(lambda: numbers(parent) == [0])

    assert parent.syncs[-1]["digests"]["health"] == parent.syncs[0]["digests"]["health"]


def test_more_metrics_than_a_set_may_have_are_several_sets(
    child: Child, parent: ParentDouble
) -> None:
    """Section 4: 512 names."""
    child.report = lambda: Report({}, {f"m{n:04}": float(n) for n in range(1200)})
    child.start()
    until(lambda: len(parent.names) >= 3)

    assert sorted(len(names) for names in parent.names.values()) == [176, 512, 512]


def test_the_last_answer_is_kept_whole(child: Child, parent: ParentDouble) -> None:
    """What a newer parent desires is there for a newer child."""
    parent.extra = {"desired": {"future": {"x": [1]}}, "unheard_of": "y"}
    child.start()
    until(lambda: child.outbox.noted("answer"))

    answer = child.outbox.noted("answer")
    assert (answer["desired"], answer["unheard_of"]) == ({"future": {"x": [1]}}, "y")


def test_only_what_is_granted_goes_out(child: Child, parent: ParentDouble) -> None:
    """Section 9: also not what was put before a grant was taken back."""
    child.report = lambda: Report(
        {
            "health": {
                "status": "major_outage",
                "services": {
                    "shop": {"status": "operational"}, "court": {"status": "major_outage"}
                },
            },
            "inventory": {"host": {"os": "x"}, "services": {"shop": {}, "court": {}}},
        },
        {'up{service="shop"}': 1.0, 'up{service="court"}': 0.0, "load": 1.0},
    )  # fmt: skip
    child.outbox.put(EVENT, {"type": "x", "number": 1, "service": "court"})
    child.outbox.put(INCIDENT, {"type": "x", "number": 2, "service": "court"})
    child.outbox.put(EVENT, {"type": "x", "number": 3, "service": "shop"})
    Grants(exclude=("cou*",)).write(child.folder)
    child.start()
    until(lambda: numbers(parent) == [3] and parent.names)

    assert "court" not in json.dumps(parent.syncs)
    assert parent.sections["health"]["status"] == "operational"
    assert child.outbox.backlog().dropped == {"event": 1, "incident": 1}


def test_grants_that_cannot_be_read_let_nothing_out(child: Child, parent: ParentDouble) -> None:
    """The parent hears that the child is there, no more; and what is owed is not thrown away."""
    put(child, 1)
    (child.folder / "grants.toml").write_text("[report]\nhealth = maybe\n")
    child.start()
    until(lambda: len(parent.syncs) >= 2)

    assert set(parent.sections) == {"bridge"}
    assert parent.items == []
    assert parent.syncs[0]["caps"] == []
    Grants().write(child.folder)
    until(lambda: numbers(parent) == [0])


# --- when ----------------------------------------------------------------------------------------


def test_urgent_items_go_at_once_and_then_wait(child: Child, parent: ParentDouble) -> None:
    """Section 7.5: whichever process put them."""
    parent.next_s = 5.0
    child.rhythm = Rhythm(usual_s=5.0, urgent_s=1.0, backlog_s=0.02)
    child.start()
    until(lambda: parent.syncs)
    child.outbox.put(INCIDENT, {"number": 1}, urgent=True)
    until(lambda: numbers(parent) == [1])
    child.outbox.put(INCIDENT, {"number": 2}, urgent=True)
    until(lambda: numbers(parent) == [1, 2])

    times = [at for at, path in parent.requests if path == "/v1/sync"]
    assert 0.9 <= times[1] - times[0] < 4
    assert 0.9 <= times[2] - times[1] < 4


def test_wake_is_urgent(child: Child, parent: ParentDouble) -> None:
    """A service changed its state: no item, but worth saying."""
    parent.next_s = 60.0
    child.rhythm = Rhythm(urgent_s=0.1)
    child.start()
    until(lambda: parent.syncs)
    until(lambda: child.outbox.noted("last"))
    assert child.bridge is not None
    child.bridge.wake()

    until(lambda: len(parent.syncs) == 2)


def test_a_backlog_comes_in_order_one_batch_at_a_time(child: Child, parent: ParentDouble) -> None:
    """Newest state in the very first request; at most 500 items each."""
    put(child, 1200)
    child.start()
    until(lambda: len(parent.events) == 1200)

    assert numbers(parent) == list(range(1200))
    assert parent.syncs[0]["state"]
    assert max(len(sync["items"]) for sync in parent.syncs) == MAX_ITEMS


@pytest.mark.parametrize("said", [0, -5, 1e300, "soon", None, [], True])
def test_a_parent_that_paces_nonsense_is_asked_within_bounds(
    child: Child, parent: ParentDouble, said: Any
) -> None:
    """Neither in a loop nor never again."""
    parent.next_s = said
    child.start()
    until(lambda: len(parent.syncs) >= 1)
    child.end()

    assert len(parent.syncs) < 50
    last = child.outbox.noted("last")
    assert last["next_at"] - last["at"] <= QUICK.most_s


def test_retry_after_is_waited_for(child: Child, parent: ParentDouble) -> None:
    """Section 8; urgent or not."""
    parent.refuse = lambda _: (503, "busy", {}) if len(parent.syncs) == 1 else None
    parent.retry_after = "1"
    child.outbox.put(INCIDENT, {"number": 1}, urgent=True)
    child.start()
    until(lambda: numbers(parent) == [1])

    times = [at for at, path in parent.requests if path == "/v1/sync"]
    assert times[1] - times[0] >= 1.0


# --- what came back ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", ["lost", "unanswered", "cut", "forged", "altered", "twice", "late"]
)
def test_whatever_the_network_does_items_arrive_once_and_in_order(
    child: Child, parent: ParentDouble, fault: str
) -> None:
    """Promise 2: to every second request."""
    put(child, 40)
    turn = itertools.count()
    parent.fault = lambda _: fault if next(turn) % 2 else ""
    child.start()
    until(lambda: (len(parent.syncs) >= 4 and not child.outbox.owes()) or len(parent.syncs) > 200)
    child.end()

    assert numbers(parent) == list(range(40))


def test_a_parent_restored_from_a_backup_gets_again_what_it_lost(
    child: Child, parent: ParentDouble
) -> None:
    """Section 7.6."""
    put(child, 10)
    child.start()
    until(lambda: len(parent.events) == 10)
    with parent._turn:
        stream = parent.streams[parent.current]
        stream.items = [item for item in stream.items if item[0] <= 4]
        stream.acked = 4
    until(lambda: len(parent.events) == 10)

    assert numbers(parent) == list(range(10))


def test_a_parent_restored_from_before_the_stream_gets_all_that_is_kept(
    child: Child, parent: ParentDouble
) -> None:
    """Section 7.6, last sentence."""
    put(child, 10)
    child.start()
    until(lambda: len(parent.events) == 10)
    with parent._turn:
        parent.streams.clear()
        parent.current = ""
    until(lambda: len(parent.events) == 10)

    assert numbers(parent) == list(range(10))


def test_a_child_restored_from_a_backup_begins_a_new_stream(
    child: Child, parent: ParentDouble
) -> None:
    """Section 7.7: its old numbers are taken; what it owes comes in the new one."""
    child.start()
    until(lambda: len(parent.syncs) >= 3)
    child.end()
    with parent._turn:
        stream = parent.streams[parent.current]
        stream.n, stream.created = 1 << 40, int(time.time()) - 10
    put(child, 2)
    child.start()
    until(lambda: numbers(parent) == [0, 1])

    assert len(parent.streams) == 2


def test_a_clone_stops_and_waits_for_its_operator(child: Child, parent: ParentDouble) -> None:
    """Section 7.7: it keeps what it owes, and asks slowly."""
    put(child, 1)
    parent.refuse = lambda _: (409, "child-cloned", {})
    parent.state = "accepted"
    child.start()
    until(lambda: _state(child) is ChildState.CLONED)

    assert child.outbox.owes()
    assert len(parent.syncs) == 1


def _state(child: Child) -> ChildState | None:
    member = membership.read(child.folder)
    return member.state if member else None


def test_a_pending_child_begins_when_it_is_accepted(tmp_path: Path, parent: ParentDouble) -> None:
    """Section 5.3; what happened meanwhile is there."""
    parent.state = "pending"
    folder = tmp_path / "bridge"
    enrol(folder, parent.url, parent.token, "x", {})
    child = Child(folder)
    put(child, 1)
    child.start()
    until(lambda: len(parent.requests) >= 3)
    assert parent.syncs == []

    parent.state = "accepted"
    until(lambda: numbers(parent) == [0])
    child.end()
    child.outbox.close()
    assert _state(child) is ChildState.ACCEPTED


@pytest.mark.parametrize("state", ["revoked", "rejected", "pending"])
def test_a_refused_child_keeps_what_it_owes_and_asks_again(
    child: Child, parent: ParentDouble, state: str
) -> None:
    """Promise 4 and section 5.5."""
    put(child, 1)
    parent.state = state
    child.start()
    until(lambda: len(parent.requests) >= 4)
    assert _state(child) == state
    assert len(parent.syncs) == 1

    parent.state = "accepted"
    until(lambda: numbers(parent) == [0])


def test_a_refused_child_asks_once_an_hour() -> None:
    """Section 5.5, by the real bounds."""
    assert Rhythm().slow_s == 3600.0


def test_a_wrong_clock_is_corrected_and_kept(child: Child, parent: ParentDouble) -> None:
    """Section 3.2; the section `bridge` tells of it."""
    parent.clock_s = 5000.0
    child.start()
    until(lambda: len(parent.syncs) >= 2)
    child.end()

    assert abs(child.outbox.noted("skew_s") - 5000.0) < 2
    assert parent.sections["bridge"]["skew_s"] in (4999, 5000, 5001)


def test_a_parent_restored_from_before_a_rotation_gets_the_key_again(
    child: Child, parent: ParentDouble
) -> None:
    """Section 6: by the former key."""
    before = dict(parent.children)
    rotate_key(child.folder)
    parent.children = before
    put(child, 1)
    child.start()

    until(lambda: numbers(parent) == [0])
    assert len(parent.children) == 2


# --- items that a parent cannot take -------------------------------------------------------------


def _refuses(bad: int, problem: str, status: int) -> Callable[[Body], tuple[int, str, Body] | None]:
    def refuse(sync: Body) -> tuple[int, str, Body] | None:
        has_it = any(item[2].get("number") == bad for item in sync["items"])
        return (status, problem, {}) if has_it else None

    return refuse


@pytest.mark.parametrize(("problem", "status"), [("malformed", 400), ("too-large", 413)])
def test_an_item_that_the_parent_cannot_take_is_set_apart_alone(
    child: Child, parent: ParentDouble, problem: str, status: int
) -> None:
    """Section 8: all others arrive, and its operator can read it."""
    put(child, 30)
    parent.refuse = _refuses(17, problem, status)
    child.start()
    until(lambda: len(parent.events) == 29)

    assert [json.loads(dead.body)["number"] for dead in child.outbox.dead()] == [17]


def test_an_incident_that_the_parent_cannot_take_stays_and_the_state_is_told_on(
    child: Child, parent: ParentDouble
) -> None:
    """Section 8, last sentence; once the parent can take it, all is there in order."""
    child.outbox.put(INCIDENT, {"number": 0}, urgent=True)
    child.outbox.put(EVENT, {"number": 1})
    parent.refuse = _refuses(0, "malformed", 400)
    child.start()
    until(lambda: parent.sections)
    assert child.outbox.dead() == []

    parent.refuse = lambda _: None
    until(lambda: numbers(parent) == [0, 1])


@pytest.mark.parametrize("problem", ["malformed", "version", "too-large"])
def test_a_parent_that_takes_nothing_at_all_sets_nothing_apart(
    child: Child, parent: ParentDouble, problem: str
) -> None:
    """It is not an item's fault when a request without any is refused too."""
    put(child, 3)
    parent.refuse = lambda _: (400, problem, {})
    child.rhythm = Rhythm(
        usual_s=0.2, backlog_s=0.01, slow_s=0.1, first_s=0.02, backoff_s=0.05
    )  # fmt: skip
    child.start()
    until(lambda: len(parent.syncs) >= 8)
    assert child.outbox.dead() == []

    parent.refuse = lambda _: None
    until(lambda: numbers(parent) == [0, 1, 2])


# --- the end, pauses, other processes, disks -----------------------------------------------------


def test_a_paused_bridge_says_nothing_and_goes_on_when_it_is_resumed(
    child: Child, parent: ParentDouble
) -> None:
    (child.folder / "paused").touch()
    asked = len(parent.requests)
    put(child, 1)
    child.start()
    until(lambda: child.outbox.backlog().items >= 3)  # It goes on to measure.
    assert len(parent.requests) == asked

    (child.folder / "paused").unlink()
    until(lambda: numbers(parent) == [0])


def test_the_end_flushes_what_is_owed(child: Child, parent: ParentDouble) -> None:
    """Once, in a moment."""
    parent.next_s = 60.0
    child.rhythm = Rhythm()
    child.start()
    until(lambda: child.outbox.noted("last"))
    put(child, 1)
    child.end()

    assert numbers(parent) == [0]


def test_the_end_does_not_wait_for_a_silent_parent(
    child: Child, parent: ParentDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it lose what is under way: that stays owed."""
    monkeypatch.setattr(loop_module, "FLUSH_S", 0.3)
    put(child, 1)
    go_on = threading.Event()
    asked = threading.Event()

    def fault(_: str) -> str:
        asked.set()
        go_on.wait(20)
        return "lost"

    parent.fault = fault
    child.start()
    assert asked.wait(20)
    seconds = child.end()
    go_on.set()

    assert seconds < 3
    assert child.outbox.owes()


def test_two_bridges_of_one_host_do_not_send_twice(child: Child, parent: ParentDouble) -> None:
    """The second waits, and goes on when the first has ended."""
    other = Child(child.folder)
    child.start()
    until(lambda: parent.syncs)
    other.start()
    put(child, 20)
    until(lambda: len(parent.events) == 20)
    child.end()
    put(child, 1)
    until(lambda: len(parent.events) == 21)
    other.end()
    other.outbox.close()

    assert len(parent.streams) == 1
    counted = [sync["n"] for sync in parent.syncs]
    assert counted == sorted(set(counted))


def test_leaving_and_enrolling_again_are_noticed(child: Child, parent: ParentDouble) -> None:
    """By a bridge that runs; and nothing of before is told to the next parent."""
    child.start()
    until(lambda: parent.syncs)
    leave(child.folder)
    put(child, 1)
    child.outbox.clear()
    other = ParentDouble()
    enrol(child.folder, other.url, other.token, "x", {})
    child.outbox.put(EVENT, {"number": 7})
    until(lambda: numbers(other) == [7])
    child.end()
    other.close()

    assert {sync["stream"] for sync in other.syncs}.isdisjoint(parent.streams)


def test_on_a_full_disk_the_parent_still_hears_and_samples_wait_in_memory(
    child: Child, parent: ParentDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When there is space again they come, with their own times."""
    child.start()
    until(lambda: len(parent.syncs) >= 2)
    outbox_class = type(child.outbox)
    real = outbox_class._writing

    def full(self: Any, *, durable: bool = False) -> Any:
        raise StoreError("the disk is full", cause="full")

    monkeypatch.setattr(outbox_class, "_writing", full)
    syncs = len(parent.syncs)
    until(lambda: len(parent.syncs) >= syncs + 4)
    kept = len(parent.items)
    monkeypatch.setattr(outbox_class, "_writing", real)
    until(lambda: len(parent.items) >= kept + 4)

    times = [body["at"] for _, kind, body in parent.items if kind == "metrics"]
    assert times == sorted(times)
    assert len(set(times)) == len(times)


@pytest.mark.parametrize("name", ["membership.json", "key", "grants.toml", "outbox.db"])
def test_damaged_files_never_end_the_bridge(
    child: Child, parent: ParentDouble, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so in the log, and goes on when the file is mended."""
    path = child.folder / name
    good = path.read_bytes() if path.exists() else b""
    path.write_bytes(b"\x00nonsense\xff" * 500)
    child.start()
    time.sleep(0.3)  # There is nothing to wait for: it must not do anything.
    if name != "outbox.db":
        path.write_bytes(good)
    until(lambda: parent.syncs)


# --- status --------------------------------------------------------------------------------------


def test_status_tells_how_it_stands_without_asking_anybody(
    child: Child, parent: ParentDouble
) -> None:
    child.start()
    until(lambda: child.outbox.noted("heard_at"))
    child.end()
    parent.fault = lambda _: "lost"
    put(child, 2)
    found = status(child.folder)

    assert found is not None
    assert (found.child, found.state, found.parent) == ("ch_1", "accepted", "the double")
    assert (found.outcome, found.owed, found.is_paused) == ("answered", 2, False)
    assert found.caps == ("health", "inventory", "metrics", "events")
    (child.folder / "grants.toml").write_text("nonsense = 1")
    (child.folder / "paused").touch()
    found = status(child.folder)
    assert found is not None
    assert (found.caps, found.is_paused) == ((), True)
    assert "nonsense" in found.trouble


def test_status_says_why_the_parent_is_not_heard(child: Child, parent: ParentDouble) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    member = membership.read(child.folder)
    assert member is not None
    membership.write(child.folder, evolve(member, url=f"http://127.0.0.1:{port}"))
    child.start()
    until(lambda: child.outbox.noted("last"))
    found = status(child.folder)

    assert found is not None
    assert (found.outcome, found.why) == (
        "unheard",
        "the parent cannot be reached: Connection refused",
    )


def test_a_host_without_a_parent_has_no_status(tmp_path: Path) -> None:
    assert status(tmp_path) is None
    with pytest.raises(BridgeError, match="no parent"):
        rotate_key(tmp_path)
