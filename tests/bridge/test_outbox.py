"""What is owed survives everything but its limits (docs/protocol.md sections 7.1, 7.6, 7.7)."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chittyops_core._kit.locks import LockHeldError
from chittyops_core.bridge import outbox as outbox_module
from chittyops_core.bridge.outbox import SPARE_NUMBERS, Limits, Outbox
from chittyops_core.bridge.protocol import ItemKind
from chittyops_core.errors import StoreError, UsageError

EVENT, METRICS, INCIDENT = ItemKind.EVENT, ItemKind.METRICS, ItemKind.INCIDENT


class Time:
    """Seconds since the epoch, as the test says."""

    def __init__(self) -> None:
        self.at = 1_000_000_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def now() -> Time:
    return Time()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def box(path: Path, now: Time) -> Iterator[Outbox]:
    made = Outbox(path, now=now)
    yield made
    made.close()


def put(box: Outbox, count: int = 1, kind: ItemKind = EVENT) -> list[int]:
    return [box.put(kind, {"type": "x", "number": number}) for number in range(count)]


def seqs(box: Outbox, max_items: int = 500, max_bytes: int = 1 << 20) -> list[int]:
    return [item.seq for item in box.take(max_items, max_bytes).items]


def sent(box: Outbox, count: int, kind: ItemKind = EVENT) -> list[int]:
    """Put items and have them sent and acknowledged."""
    found = put(box, count, kind)
    box.take(500, 1 << 20)
    box.acknowledge(found[-1])
    return found


# --- order ---------------------------------------------------------------------------------------


def test_items_come_in_order_and_stay_until_they_are_acknowledged(box: Outbox) -> None:
    """Sent is not acknowledged: what was taken comes again."""
    first, second, third = put(box, 3)

    assert seqs(box) == seqs(box) == [first, second, third]
    box.acknowledge(second)

    batch = box.take(500, 1 << 20)
    assert [item.seq for item in batch.items] == [third]
    assert batch.after == second
    assert json.loads(batch.items[0].body) == {"type": "x", "number": 2}


def test_a_batch_keeps_its_limits_and_has_one_item_at_least(box: Outbox) -> None:
    """In number and in bytes; one item that is larger than the limit comes alone."""
    put(box, 5)

    assert len(box.take(2, 1 << 20).items) == 2
    assert box.take(2, 1 << 20).has_more
    assert len(box.take(500, 1).items) == 1
    assert not box.take(500, 1 << 20).has_more


def test_a_requests_number_is_never_given_twice(box: Outbox, path: Path, now: Time) -> None:
    """Not after a restart either, nor when whoever took it never came to send it."""
    numbers = [box.take(1, 1).n for _ in range(3)]
    again = Outbox(path, now=now)
    numbers += [again.take(1, 1).n, again.take(1, 1).n]
    again.close()

    assert numbers == sorted(set(numbers))


def test_an_answer_cannot_acknowledge_what_was_never_sent(box: Outbox) -> None:
    """A parent that is wrong, or another's, makes the child forget nothing."""
    one, two = put(box, 2)
    box.take(1, 1 << 20)

    box.acknowledge(1 << 60)

    assert seqs(box) == [two]
    box.acknowledge(-5)
    box.acknowledge(one)
    assert seqs(box) == [two]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.sampled_from([EVENT, METRICS, INCIDENT])),
            st.tuples(st.just("take"), st.integers(1, 5)),
            st.tuples(st.just("ack"), st.integers(0, 40)),
            st.tuples(st.just("rewind"), st.integers(0, 40)),
            st.tuples(st.just("renew"), st.just(0)),
            st.tuples(st.just("reopen"), st.just(0)),
        ),
        max_size=30,
    )
)
def test_whatever_happens_in_whatever_order_nothing_unacknowledged_is_missing(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int | ItemKind]]
) -> None:
    """The outbox against a model of three lines."""
    path = tmp_path_factory.mktemp("box") / "outbox.db"
    box = Outbox(path)
    owed: list[int] = []
    numbers: list[tuple[str, int]] = []
    seen = 0
    for verb, value in steps:
        if verb == "put":
            assert isinstance(value, ItemKind)
            owed.append(box.put(value, {}))
        elif verb == "take":
            assert isinstance(value, int)
            batch = box.take(value, 1 << 20)
            assert [item.seq for item in batch.items] == owed[:value]
            numbers.append((batch.stream, batch.n))
            seen = max([seen, *(item.seq for item in batch.items)])
        elif verb == "ack":
            assert isinstance(value, int)
            box.acknowledge(value)
            owed = [each for each in owed if each > min(value, seen)]
        elif verb == "rewind":
            assert isinstance(value, int)
            before = set(owed)
            box.rewind(value)
            owed = [item.seq for item in box.take(500, 1 << 20).items]
            assert before <= set(owed)
            seen = max([seen, *owed])
        elif verb == "renew":
            box.renew_stream()
            seen = 0
        else:
            box.close()
            box = Outbox(path)
    assert seqs(box) == owed
    assert len(numbers) == len(set(numbers))
    box.close()


# --- gaps and streams ----------------------------------------------------------------------------


def test_a_restored_parent_gets_again_what_it_had_acknowledged(box: Outbox) -> None:
    """Section 7.6: acknowledged items are kept for a while."""
    found = sent(box, 5)
    put(box, 1)

    box.rewind(found[1])

    batch = box.take(500, 1 << 20)
    assert [item.seq for item in batch.items] == [*found[2:], found[-1] + 1]
    assert (batch.after, batch.gone) == (found[1], 0)


def test_a_restored_parent_is_told_what_is_gone(path: Path, now: Time) -> None:
    """Section 7.6: kept is the newest, within the limits."""
    box = Outbox(path, limits=Limits(kept_bytes=100), now=now)
    found = sent(box, 20)

    box.rewind(0)

    batch = box.take(500, 1 << 20)
    kept = [item.seq for item in batch.items]
    assert kept == found[-len(kept) :]
    assert 0 < len(kept) < 20
    assert (batch.after, batch.gone) == (0, kept[0] - 1)
    box.close()


def test_acknowledged_items_are_forgotten_after_a_while(box: Outbox, now: Time) -> None:
    """The while begins with the acknowledgement, not with the item."""
    first = sent(box, 2)
    now.at += 6 * 86_400
    second = sent(box, 2)
    now.at += 2 * 86_400
    third = sent(box, 1)

    box.rewind(0)

    assert seqs(box) == [*second, *third]
    assert box.take(1, 1).gone == first[-1]


def test_a_new_stream_has_everything_that_is_owed_and_nothing_else(box: Outbox) -> None:
    """Section 7.7: it begins after what the former one had acknowledged."""
    found = sent(box, 3)
    owed = put(box, 2)
    former = box.take(500, 1 << 20)

    box.renew_stream()

    batch = box.take(500, 1 << 20)
    assert batch.stream != former.stream
    assert batch.n < former.n
    assert [item.seq for item in batch.items] == owed
    assert (batch.after, batch.gone) == (found[-1], found[-1])
    box.rewind(0)
    assert (box.take(1, 1).after, box.take(1, 1).gone) == (found[-1], found[-1])


# --- limits --------------------------------------------------------------------------------------


def fill(box: Outbox, now: Time, samples: int) -> None:
    """Put a sample each 5 minutes."""
    for number in range(samples):
        box.put(METRICS, {"set": "a", "at": now.at, "v": [number] * 10})
        now.at += 300


def test_a_full_outbox_thins_metrics_before_it_drops_an_event(path: Path, now: Time) -> None:
    """From one each 5 minutes to one an hour; the counts say what was dropped."""
    box = Outbox(path, limits=Limits(owed_bytes=20_000, owed_s=1e9), now=now)
    events = put(box, 20)
    fill(box, now, 600)

    owed = box.take(5000, 1 << 30).items

    assert [item.seq for item in owed if item.kind == "event"] == events
    times = [json.loads(item.body)["at"] for item in owed if item.kind == "metrics"]
    assert max(later - sooner for sooner, later in pairwise(times)) <= 2 * 3600
    assert box.backlog().dropped == {"metrics": 600 - len(times)}
    assert box.backlog().bytes <= 20_000
    box.close()


def test_metrics_are_thinned_to_a_day_and_then_dropped_oldest_first(path: Path, now: Time) -> None:
    """When an hour's is too much as well."""
    box = Outbox(path, limits=Limits(owed_bytes=2_000, owed_s=1e9), now=now)
    fill(box, now, 2000)

    times = [json.loads(item.body)["at"] for item in box.take(5000, 1 << 30).items]

    assert now.at - times[0] > 3 * 86_400
    assert now.at - times[-1] <= 86_400
    box.close()


def test_events_are_dropped_oldest_first_and_incidents_never(path: Path, now: Time) -> None:
    """However small the limit is."""
    box = Outbox(path, limits=Limits(owed_bytes=1_000), now=now)
    kept = [put(box, 1, kind)[0] for kind in (INCIDENT, ItemKind.CONFIG, ItemKind.AUDIT) * 40]
    events = put(box, 50)

    items = box.take(5000, 1 << 30).items

    assert [item.seq for item in items if item.kind != "event"] == kept
    left = [item.seq for item in items if item.kind == "event"]
    assert left == events[50 - len(left) :]
    assert box.backlog().dropped == {"event": 50 - len(left)}
    box.close()


def test_what_is_owed_for_a_week_is_dropped(box: Outbox, now: Time) -> None:
    """But for what is never dropped."""
    put(box, 3)
    fill(box, now, 3)
    (incident,) = put(box, 1, INCIDENT)
    now.at += 8 * 86_400
    (fresh,) = put(box, 1)

    assert seqs(box) == [incident, fresh]
    assert box.backlog().dropped == {"event": 3, "metrics": 3}


@pytest.mark.parametrize(
    "body",
    [float("nan"), float("inf"), object(), {1: {2: b"x"}}, "x" * 300_000, "\u00e9" * 200_000],
)
def test_what_no_parent_could_take_is_refused_at_once(box: Outbox, body: object) -> None:
    """Else it would hold up everything behind it."""
    with pytest.raises(UsageError):
        box.put(INCIDENT, body)
    assert not box.owes()


def test_deep_nesting_attack(box: Outbox) -> None:
    """Lists in lists, by thousands, stop no reader."""
    deep: list[object] = []
    for _ in range(500):
        deep = [deep]
    for _ in range(2):
        with pytest.raises(UsageError):
            box.put(EVENT, deep)
        deep = [deep] * 3


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=30))
def test_hostile_text_attack(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever text is: it is kept as Unicode and comes back as JSON."""
    box = Outbox(tmp_path_factory.getbasetemp() / "hostile.db")
    seq = box.put(EVENT, {"type": text, text: 1})
    (item,) = [item for item in box.take(5000, 1 << 30).items if item.seq == seq]
    box.close()

    item.body.encode()
    assert json.loads(item.body)["type"] == text.encode("utf-8", "replace").decode()


# --- set apart, urgent, notes --------------------------------------------------------------------


def test_an_item_that_is_set_apart_holds_up_no_other_and_is_kept(box: Outbox) -> None:
    """Section 8: its operator sees it, and why."""
    bad, good = put(box, 2)

    assert box.set_apart(bad, "malformed: not an object")

    assert seqs(box) == [good]
    (dead,) = box.dead()
    assert (dead.seq, dead.kind, dead.why) == (bad, "event", "malformed: not an object")
    assert box.backlog().dead == 1


@pytest.mark.parametrize("kind", [INCIDENT, ItemKind.CONFIG, ItemKind.AUDIT])
def test_what_is_never_dropped_is_never_set_apart(box: Outbox, kind: ItemKind) -> None:
    """Section 8, last sentence."""
    (seq,) = put(box, 1, kind)

    assert not box.set_apart(seq, "malformed")
    assert seqs(box) == [seq]


def test_urgent_is_what_is_not_acknowledged(box: Outbox) -> None:
    """Another process puts it, the sender sees it."""
    put(box, 1)
    assert not box.has_urgent()

    seq = box.put(INCIDENT, {}, urgent=True)
    assert box.has_urgent()
    box.take(500, 1 << 20)
    box.acknowledge(seq)
    assert not box.has_urgent()
    box.rewind(0)
    assert not box.has_urgent()


def test_notes_survive(box: Outbox, path: Path) -> None:
    """Such as the last answer, whole."""
    box.note("answer", {"desired": {"from": "a newer parent"}})
    again = Outbox(path)

    assert again.noted("answer") == {"desired": {"from": "a newer parent"}}
    assert again.noted("nothing") is None
    again.close()


# --- processes, threads, disks -------------------------------------------------------------------


def test_one_sender_at_a_time(box: Outbox, path: Path) -> None:
    """An agent that is started twice does not send twice."""
    other = Outbox(path)
    with box.sender_lock().acquire("sync", wait=None):
        with pytest.raises(LockHeldError):
            other.sender_lock().acquire("sync", wait=None)
    with other.sender_lock().acquire("sync", wait=None):
        pass
    other.close()


def test_processes_and_threads_put_at_once(path: Path) -> None:
    """Nothing is lost and no number is given twice."""
    box = Outbox(path)
    code = (
        "import sys; from pathlib import Path\n"
        "from chittyops_core.bridge.outbox import Outbox\n"
        "from chittyops_core.bridge.protocol import ItemKind\n"
        "box = Outbox(Path(sys.argv[1]))\n"
        "for number in range(50): print(box.put(ItemKind.EVENT, {'n': number}))\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.extend(put(box, 50))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for process in processes:
        found += map(int, process.communicate(timeout=30)[0].split())

    assert len(found) == 200
    assert seqs(box) == sorted(found)
    box.close()


def test_the_file_is_its_owners_alone(path: Path, box: Outbox) -> None:
    """What is owed may name clients."""
    put(box)

    for each in path.parent.glob("outbox.db*"):
        assert stat.S_IMODE(each.stat().st_mode) == 0o600, each


def full_disk(box: Outbox) -> int:
    """Let the file grow no more, as on a full disk; return what undoes it."""
    db = box._db
    assert db is not None
    before: int = db.execute("PRAGMA max_page_count").fetchone()[0]
    db.execute("PRAGMA max_page_count = 1")
    return before


def test_on_a_full_disk_put_says_so_and_what_was_kept_stays(box: Outbox) -> None:
    """The caller goes on; the parent still hears how the host is, in requests without items."""
    (kept,) = put(box)
    before_full = box.take(500, 1 << 20)
    db = box._db
    assert db is not None
    before = full_disk(box)

    with pytest.raises(StoreError, match="full") as full:
        for _ in range(100):
            box.put(EVENT, "x" * 100_000)
    assert full.value.facts["cause"] == "full"

    db.execute(f"PRAGMA max_page_count = {before}")
    assert kept in seqs(box)
    assert box.take(1, 1).n > before_full.n


def test_while_nothing_can_be_written_requests_have_numbers_and_no_items(
    box: Outbox, path: Path, now: Time
) -> None:
    """Section 7.1: numbers noted ahead are never given twice, not after a restart either."""
    put(box)
    first = box.take(500, 1 << 20)
    db = box._db
    assert db is not None
    db.execute("PRAGMA query_only = ON")  # Nothing can be written, as on a full disk.

    spare = [box.take(500, 1 << 20) for _ in range(SPARE_NUMBERS)]
    with pytest.raises(StoreError):
        box.take(500, 1 << 20)

    assert [batch.n for batch in spare] == [first.n + 1 + k for k in range(SPARE_NUMBERS)]
    assert {batch.items for batch in spare} == {()}
    again = Outbox(path, now=now)
    assert again.take(500, 1 << 20).n > spare[-1].n
    again.close()


def test_a_damaged_file_is_moved_aside_and_a_new_stream_begins(
    path: Path, now: Time, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is deleted, the log says where it is."""
    box = Outbox(path, now=now)
    former = box.take(1, 1).stream
    box.close()
    path.write_bytes(b"no database at all" * 1000)

    again = Outbox(path, now=now)

    assert again.take(1, 1).stream != former
    put(again)
    again.close()
    (aside,) = path.parent.glob("outbox.db.damaged-*")
    assert aside.read_bytes().startswith(b"no database")
    assert str(aside) in str(caplog.records[0].__dict__)


def test_damage_that_is_met_later_moves_the_file_aside_for_every_process(
    path: Path, now: Time
) -> None:
    """The work that met it fails; who comes next, here or elsewhere, has the new file."""
    one, two = Outbox(path, now=now), Outbox(path, now=now)
    put(one, 50)
    db = sqlite3.connect(path)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))

    with pytest.raises(StoreError, match="damaged"):
        for _ in range(3):
            put(one)
    assert put(one) == [1]
    assert put(two) == [2]
    assert seqs(one) == [1, 2]
    one.close()
    two.close()


def test_a_newer_cores_file_is_left_alone(path: Path, box: Outbox) -> None:
    """It is neither read wrongly nor moved aside."""
    box.close()
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {outbox_module.VERSION + 1}")
    db.close()

    with pytest.raises(StoreError, match="newer") as newer:
        Outbox(path)
    assert newer.value.facts["cause"] == "newer"
    assert path.exists()
