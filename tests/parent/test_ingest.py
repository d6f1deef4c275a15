"""What children say, over real HTTP, on both databases. Cites docs/protocol.md."""

from __future__ import annotations

import gzip
import json
import math
import os
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from chittyops_core.bridge import signatures
from chittyops_core.bridge.protocol import HEALTH, METRICS, SYNC
from chittyops_core.errors import ParentError
from chittyops_core.parent import migrations
from chittyops_core.parent.database import Database
from chittyops_core.parent.pace import INTERVAL
from chittyops_core.parent.reader import set_id
from chittyops_core.parent.schema import (
    child,
    child_section,
    child_state,
    event,
    metric_set,
    sample,
    setting,
    stream,
)
from parent_served import RawChild, Reply, ServedParent, wait_for

Serve = Callable[[], ServedParent]


def happened(seq: int, type_: str = "deploy.served", **more: Any) -> list[Any]:
    return [seq, "event", {"type": type_, "at": time.time(), **more}]


def own_events(served: ServedParent) -> list[str]:
    """Return the types of what children sent, in their order."""
    rows = served.rows(
        sa.select(event.c.type).where(event.c.stream != "parent").order_by(event.c.seq)
    )
    return [row[0] for row in rows]


def noted(served: ServedParent) -> list[str]:
    """Return the types of what the parent itself noted, oldest first."""
    rows = served.rows(
        sa.select(event.c.type).where(event.c.stream == "parent").order_by(event.c.seq)
    )
    return [row[0] for row in rows]


def state_of(served: ServedParent, one: RawChild) -> Any:
    return served.rows(sa.select(child_state).where(child_state.c.child == one.id))[0]


# --- order (7.1) ---


def test_what_is_acknowledged_is_stored_once(served: ServedParent) -> None:
    """However often and in whatever order requests arrive (1.1, 1.2, 7.1)."""
    one = served.child()
    first = one.sync(items=[happened(1, "a"), happened(3, "b")])
    again = one.sync(items=[happened(1, "a"), happened(3, "b"), happened(4, "c")])
    nothing = one.sync(after=4)

    assert [reply.status for reply in (first, again, nothing)] == [200, 200, 200]
    assert [reply.value["acked"] for reply in (first, again, nothing)] == [3, 4, 4]
    assert own_events(served) == ["a", "b", "c"]


def test_a_replayed_or_late_request_changes_nothing_attack(served: ServedParent) -> None:
    """It is answered with what is acknowledged (3.4, 7.1)."""
    one = served.child()
    body = json.dumps(
        {
            "v": 1, "stream": one.stream, "n": 1, "after": 0, "items": [happened(1, "first")],
            "state": {"health": {"status": "operational"}}, "digests": {"health": "a" * 16},
        }
    ).encode()  # fmt: skip
    headers = signatures.sign_request(
        one.key, one.key_id, "POST", SYNC, body, "application/json", int(time.time())
    ) | {"Content-Type": "application/json"}
    one.deliver("POST", SYNC, body, headers)
    one.sync(
        n=3, after=1, items=[happened(2, "second")],
        state={"health": {"status": "major_outage"}}, digests={"health": "b" * 16},
    )  # fmt: skip
    before = state_of(served, one)

    replayed = one.deliver("POST", SYNC, body, headers)
    late = one.sync(n=2, created=time.time() - 10, items=[happened(1), happened(2), happened(9)])

    assert (replayed.status, replayed.value["acked"]) == (200, 2)
    assert (late.status, late.value["acked"]) == (200, 2)
    assert own_events(served) == ["first", "second"]
    assert state_of(served, one) == before
    assert before.status == "major_outage"


def test_many_syncs_at_once_are_judged_in_their_order(served: ServedParent) -> None:
    """Also when one transaction has several requests of one child, and refusals between them."""
    one, other = served.child(), served.child()
    gate = threading.Event()
    served.database.submit(lambda _: gate.wait(20))
    wait_for(lambda: served.database.waiting == 0)
    replies: dict[str, Reply] = {}

    def ask(name: str, speaker: RawChild, **more: Any) -> threading.Thread:
        asking = RawChild(served, speaker.key)
        asking.stream = speaker.stream
        before = served.database.waiting
        thread = threading.Thread(target=lambda: replies.__setitem__(name, asking.sync(**more)))
        thread.start()
        wait_for(lambda: served.database.waiting > before)
        return thread

    threads = [
        ask("first", one, n=1, items=[happened(1, "a")]),
        ask("other", other, n=1, items=[happened(1, "b")]),
        ask("gap", one, n=2, after=7),
        ask("second", one, n=3, items=[happened(1, "a"), happened(2, "c")]),
    ]
    gate.set()
    for thread in threads:
        thread.join()

    assert replies["first"].value["acked"] == replies["other"].value["acked"] == 1
    assert (replies["gap"].problem, replies["gap"].value["acked"]) == ("sequence-gap", 1)
    assert replies["second"].value["acked"] == 2
    assert sorted(own_events(served)) == ["a", "b", "c"]


# --- state (7.2), metric sets (7.3), answer (7.5) ---


def test_a_section_is_asked_for_until_the_parent_has_it(served: ServedParent) -> None:
    """And kept as it came, with keys that nobody knows."""
    one = served.child()
    health = {"status": "degraded_performance", "services": {}, "new": [1, {"x": None}]}
    first = one.sync(digests={"health": "a" * 16, "later": "c" * 16})
    second = one.sync(state={"health": health}, digests={"health": "a" * 16, "later": "c" * 16})
    third = one.sync(digests={"health": "b" * 16})

    assert first.value["resend"] == ["health", "later"]
    assert second.value["resend"] == ["later"]
    assert third.value["resend"] == ["health"]
    kept = served.rows(sa.select(child_section.c.body, child_section.c.digest))
    assert [(json.loads(body), digest) for body, digest in kept] == [(health, "a" * 16)]
    assert state_of(served, one).status == "degraded_performance"
    assert noted(served) == ["child.enrolled", "child.status"]


def test_samples_are_kept_and_unknown_names_asked_for(served: ServedParent) -> None:
    """Whichever comes first, the values or the names."""
    names = ("cpu", "memory")
    name = set_id(names)
    one = served.child()
    item = {"set": name, "at": 1_700_000_000.4, "v": [0.5, None]}
    first = one.sync(items=[[1, "metrics", item]])
    second = one.sync(
        after=1, sets={name: names}, items=[[2, "metrics", {**item, "at": 1_700_000_060}]]
    )
    third = one.sync(after=2, items=[[3, "metrics", {**item, "at": 1_700_000_120}]])

    assert first.value["unknown_sets"] == [name]
    assert second.value["unknown_sets"] == third.value["unknown_sets"] == []
    assert len(served.rows(sa.select(sample.c.at))) == 3
    assert [json.loads(row[0]) for row in served.rows(sa.select(metric_set.c.names))] == [
        list(names)
    ]


def test_an_item_of_a_kind_that_nobody_knows_is_stored(served: ServedParent) -> None:
    """As is one whose body is no object (7.3)."""
    one = served.child()
    reply = one.sync(items=[[1, "prophecy", {"type": "x.y", "at": "soon"}], [2, "audit", [1, 2]]])

    assert reply.value["acked"] == 2
    rows = served.rows(
        sa.select(event.c.kind, event.c.type, event.c.body)
        .where(event.c.stream == one.stream)
        .order_by(event.c.seq)
    )
    assert [tuple(row) for row in rows] == [
        ("prophecy", "x.y", '{"type":"x.y","at":"soon"}'), ("audit", "audit", "[1,2]"),
    ]  # fmt: skip


def test_the_parent_sets_the_pace_and_stores_the_deadline(serve: Serve) -> None:
    """By a setting, stretched while the writer has much to do (7.5, 10)."""
    served = serve()
    served.database.write(
        lambda found: found.execute(sa.insert(setting).values(name=INTERVAL, value="60"))
    )
    one, pace = served.child(), served.app.state.wire.pace
    pace.reread()
    reply = one.sync()
    for said in ("nan", "-1", "often"):
        served.database.write(
            lambda found, said=said: found.execute(sa.update(setting).values(value=said))
        )
        pace.reread()

    row = state_of(served, one)
    assert reply.value["next_s"] == pace.next_s() == 60
    assert row.deadline_at == pytest.approx(row.last_seen + 60 + 15)
    assert row.last_seen == pytest.approx(reply.value["time"])


def test_aliases_take_only_what_they_are_for(serve: Serve) -> None:
    """`/sync/health` takes health, `/sync/metrics` metrics (7)."""
    served = serve()
    one = served.child()
    health = {"state": {"health": {"status": "operational"}}, "digests": {"health": "a" * 16}}
    metrics = [1, "metrics", {"set": "0" * 16, "at": 1, "v": []}]

    assert one.sync(HEALTH, **health).status == 200
    assert one.sync(METRICS, items=[metrics]).status == 200
    for path, more in (
        (HEALTH, {"items": [metrics]}), (HEALTH, {"state": {"inventory": {}}}),
        (METRICS, health), (METRICS, {"items": [happened(2)]}),
    ):  # fmt: skip
        assert one.sync(path, **more).problem == "malformed"


# --- gaps (7.6) ---


def test_a_parent_from_an_older_backup_asks_for_what_it_lost(served: ServedParent) -> None:
    """The child goes back, and says what it no longer has; the parent records what is gone."""
    one = served.child()
    one.sync(items=[happened(1), happened(2)])

    gap = one.sync(after=9, items=[happened(10)])
    kept = one.sync(after=2, gone=5, items=[happened(6, "found"), happened(10, "new")])

    assert (gap.status, gap.problem, gap.value["acked"]) == (409, "sequence-gap", 2)
    assert kept.value["acked"] == 10
    assert own_events(served)[2:] == ["found", "new"]
    told = served.rows(sa.select(event.c.body).where(event.c.type == "child.items-gone"))
    assert json.loads(told[0][0]) | {"at": 0} == {
        "type": "child.items-gone", "at": 0, "stream": one.stream, "first": 3, "last": 5,
    }  # fmt: skip


def test_an_unknown_stream_begins_where_the_child_has_everything(served: ServedParent) -> None:
    """Provided that the child says what is gone; else it is asked to go back (7.6)."""
    one = served.child()

    gap = one.sync(after=40, items=[happened(41)])
    begun = one.sync(after=40, gone=40, items=[happened(41)])

    assert (gap.problem, gap.value["acked"]) == ("sequence-gap", 0)
    assert begun.value["acked"] == 41
    assert noted(served)[-1] == "child.items-gone"


# --- two writers (7.7) ---


def test_a_child_restored_from_a_backup_makes_a_new_stream(served: ServedParent) -> None:
    """Its numbers come again although they are of a later time."""
    one = served.child()
    now = time.time()
    one.sync(created=now - 20)
    one.sync(created=now - 10, items=[happened(1, "before")])

    conflict = one.sync(n=2, created=now, items=[happened(1, "restored")])
    one.stream = str(uuid.uuid4())
    renewed = one.sync(n=1, created=now, items=[happened(1, "restored")])

    assert (conflict.status, conflict.problem) == (409, "stream-conflict")
    assert renewed.value["acked"] == 1
    assert own_events(served) == ["before", "restored"]
    ended = served.rows(
        sa.select(stream.c.acked, stream.c.superseded_at).order_by(stream.c.first_at)
    )
    assert ended[0].acked == 1 and ended[0].superseded_at is not None
    assert ended[1].superseded_at is None


def test_two_writers_in_the_same_second_attack(served: ServedParent) -> None:
    """A clone asks in the very moments of the other, since both have one phase: a number that comes
    again with other words tells it, also when it is one behind."""
    one = served.child()
    now = time.time()
    one.sync(n=1, created=now, items=[happened(1, "first")])
    one.sync(n=2, created=now, items=[happened(2, "second")])

    same = one.sync(n=2, created=now, items=[happened(2, "of the clone")])
    behind = one.sync(n=1, created=now, items=[happened(1, "of the clone")])

    assert (same.status, same.problem) == (409, "stream-conflict")
    assert (behind.status, behind.problem) == (409, "stream-conflict")
    assert own_events(served) == ["first", "second"]


def test_a_cloned_child_attack(served: ServedParent) -> None:
    """Two machines with one outbox: neither is believed until an operator decides."""
    one = served.child()
    now = time.time()
    one.sync(created=now - 30, items=[happened(1, "before")])
    old = one.stream
    one.stream = str(uuid.uuid4())
    one.sync(n=1, created=now - 20)

    late = RawChild(served, one.key)
    late.stream = old
    harmless = late.sync(n=9, created=now - 25, items=[happened(2, "late")])
    cloned = late.sync(n=10, created=now, items=[happened(2, "clone")])
    after = one.sync(n=2, created=now, items=[happened(1, "after")])

    assert (harmless.status, harmless.value["acked"]) == (200, 1)
    assert (cloned.status, cloned.problem) == (409, "child-cloned")
    assert (after.status, after.problem) == (409, "child-cloned")
    assert own_events(served) == ["before"]
    assert served.rows(sa.select(child.c.state))[0][0] == "cloned"
    told = served.rows(sa.select(event.c.kind).where(event.c.type == "child.cloned"))
    assert [row[0] for row in told] == ["incident"]
    assert state_of(served, one).deadline_at is None


def test_a_request_older_than_the_present_stream_replaces_nothing_attack(
    served: ServedParent,
) -> None:
    """A request that somebody held back cannot make a stream that the parent then prefers."""
    one = served.child()
    now = time.time()
    one.sync(created=now - 10, items=[happened(1)])
    held_back = RawChild(served, one.key)

    late = held_back.sync(n=1, created=now - 100, items=[happened(5, "old")])
    on = one.sync(created=now, after=1, items=[happened(2)])

    assert (late.status, late.value["acked"]) == (200, 0)
    assert (on.status, on.value["acked"]) == (200, 2)
    assert "old" not in own_events(served)


# --- who speaks (3) ---


def test_an_altered_body_attack(serve: Serve) -> None:
    """The digest is another one, and nothing is kept."""
    served = serve()
    one = served.child()
    body = json.dumps({"v": 1, "stream": one.stream, "n": 1, "after": 0}).encode()

    reply = one.send("POST", SYNC, body, sent=body.replace(b'"n": 1', b'"n": 2'))

    assert (reply.status, reply.problem) == (401, "signature")
    assert "WWW-Authenticate".lower() in reply.headers
    assert state_of(served, one).n == 0


def test_a_signature_for_another_request_attack(serve: Serve) -> None:
    """Method, path, query and content type are covered (3.1)."""
    served = serve()
    one = served.child()
    body = json.dumps({"v": 1, "stream": one.stream, "n": 1, "after": 0}).encode()
    signed = signatures.sign_request(
        one.key, one.key_id, "POST", SYNC, body, "application/json", int(time.time())
    )
    headers = {**signed, "Content-Type": "application/json"}

    assert one.deliver("POST", HEALTH, body, headers).problem == "signature"
    assert one.deliver("POST", f"{SYNC}?x=1", body, headers).problem == "signature"
    other = {**headers, "Content-Type": "application/json; charset=utf-8"}
    assert one.deliver("POST", SYNC, body, other).problem == "signature"
    assert one.deliver("POST", SYNC, body, headers).status == 200


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"@method" "@path" "@query" "content-type" "content-digest"', '"@method" "@path"'),
        ("ed25519", "hmac-sha256"),
        ("chittyops=", "sig1="),
        (";created=", ";expires=99;created="),
    ],
)
def test_a_downgraded_signature_attack(serve: Serve, old: str, new: str) -> None:
    """Nothing about a signature is negotiated (3.1)."""
    served = serve()
    one = served.child()
    body = json.dumps({"v": 1, "stream": one.stream, "n": 1, "after": 0}).encode()
    signed = signatures.sign_request(
        one.key, one.key_id, "POST", SYNC, body, "application/json", int(time.time())
    )
    text = signed["Signature-Input"].replace(old, new)
    assert text != signed["Signature-Input"]

    reply = one.send("POST", SYNC, body, headers={"Signature-Input": text})

    assert (reply.status, reply.problem) == (401, "signature")


def test_another_childs_key_and_an_unknown_one_attack(serve: Serve) -> None:
    """A key speaks for its own child only; who is unknown is told so."""
    served = serve()
    one, other = served.child(), served.child()
    stranger = RawChild(served)
    body = json.dumps({"v": 1, "stream": one.stream, "n": 1, "after": 0}).encode()
    signed = signatures.sign_request(
        other.key, one.key_id, "POST", SYNC, body, "application/json", int(time.time())
    )

    forged = one.send("POST", SYNC, body, headers=signed)
    unknown = stranger.sync()
    peeped = other.get(f"/v1/enrolments/{one.id}")

    assert (forged.status, forged.problem) == (401, "signature")
    assert (unknown.status, unknown.problem) == (401, "unknown-key")
    assert (peeped.status, peeped.problem) == (404, "not-found")


@pytest.mark.parametrize("off_s", [-301, 302])
def test_a_stale_date_attack(serve: Serve, off_s: int) -> None:
    """The parent tells its time, by which a child corrects itself (3.2)."""
    served = serve()
    one = served.child()

    reply = one.sync(created=time.time() + off_s)

    assert (reply.status, reply.problem) == (401, "clock-skew")
    assert reply.value["time"] == pytest.approx(time.time(), abs=30)
    assert one.sync(created=time.time() + off_s * 0.9).status == 200


def test_every_answer_to_a_signed_request_is_signed(serve: Serve) -> None:
    """Also those that nobody wrote a handler for; `RawChild` proves each (3.3)."""
    served = serve()
    one = served.child()

    assert one.get("/v1/nothing/here").status == 404
    assert one.get(SYNC).status == 405
    assert one.send("POST", SYNC, b"{").problem == "malformed"
    assert one.send("POST", SYNC, b"x" * 1_200_000).problem == "too-large"
    unsigned = served.get("/v1/nothing/here")
    assert "signature" not in unsigned.headers
    assert unsigned.problem == "not-found"


# --- limits (4) ---


def test_a_gigabyte_of_zeros_attack(serve: Serve) -> None:
    """It is not expanded beyond the limit: 1 MB as sent, refused at once."""
    served = serve()
    one = served.child()
    bomb = gzip.compress(b"\0" * 64_000_000, 1) * 16
    assert len(bomb) > 1 << 20
    small = gzip.compress(b"\0" * 200_000_000, 9)

    for body in (bomb, small):
        reply = one.send("POST", SYNC, body, headers={"Content-Encoding": "gzip"})
        assert (reply.status, reply.problem) == (413, "too-large")
    assert one.sync().status == 200


def test_compression_is_taken_and_given(serve: Serve) -> None:
    """A request may be gzip; a long answer is, for who says that it reads it (2)."""
    served = serve()
    one = served.child()
    digests = {f"section-{number}": os.urandom(8).hex() for number in range(16)}
    items = [
        [number, "metrics", {"set": os.urandom(8).hex(), "at": 1, "v": []}]
        for number in range(1, 40)
    ]
    body = gzip.compress(
        json.dumps(
            {"v": 1, "stream": one.stream, "n": 1, "after": 0, "digests": digests, "items": items}
        ).encode()
    )

    reply = one.send(
        "POST", SYNC, body, headers={"Content-Encoding": "gzip", "Accept-Encoding": "gzip"}
    )

    assert (reply.status, reply.headers["content-encoding"]) == (200, "gzip")
    assert len(json.loads(gzip.decompress(reply.raw))["unknown_sets"]) == 39
    for encoding in ("br", "gzip, gzip", "deflate"):
        refused = one.send("POST", SYNC, body, headers={"Content-Encoding": encoding})
        assert refused.problem == "malformed"
    cut = one.send("POST", SYNC, body[:-9], headers={"Content-Encoding": "gzip"})
    assert cut.problem == "malformed"


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"v": 2}, "version"),
        ({"v": True}, "malformed"),
        ({"n": 0}, "malformed"),
        ({"n": 2**70}, "malformed"),
        ({"n": 1.5}, "malformed"),
        ({"after": -1}, "malformed"),
        ({"gone": 2**60}, "malformed"),
        ({"stream": "../../etc/passwd"}, "malformed"),
        ({"stream": None}, "malformed"),
        ({"sdk": "x" * 201}, "malformed"),
        ({"caps": ["x"] * 300}, "malformed"),
        ({"state": {f"s{n}": 1 for n in range(17)}}, "malformed"),
        ({"digests": {"health": "short"}}, "malformed"),
        ({"items": [happened(n) for n in range(1, 502)]}, "too-large"),
        ({"items": [happened(2), happened(1)]}, "malformed"),
        ({"items": [happened(1), happened(1)]}, "malformed"),
        ({"items": [happened(2**60)]}, "malformed"),
        ({"items": [[1, "x" * 65, {}]]}, "malformed"),
        ({"items": [[1, "e\n", {}]]}, "malformed"),
        ({"items": [[1, "event"]]}, "malformed"),
        ({"sets": {"0" * 16: [str(n) for n in range(10_000)]}}, "too-large"),
        ({"sets": {"0" * 16: ["cpu"]}}, "malformed"),
        ({"items": [[1, "metrics", {"set": "0" * 16, "at": 1, "v": [1] * 10_000}]]}, "malformed"),
        ({"items": [[1, "metrics", {"set": "0" * 16, "at": 1e300, "v": [1]}]]}, "malformed"),
        ({"items": [[1, "metrics", {"set": "0" * 16, "at": 1, "v": ["1"]}]]}, "malformed"),
        ({"items": [[1, "metrics", {"set": "0" * 16, "at": 1, "v": [True]}]]}, "malformed"),
        ({"items": [[1, "metrics", {"set": "' OR 1=1", "at": 1, "v": []}]]}, "malformed"),
        ({"items": [[1, "metrics", {"set": "0" * 16, "at": math.nan, "v": []}]]}, "malformed"),
        ({"items": [[1, "metrics", None]]}, "malformed"),
    ],
)  # fmt: skip
def test_what_is_beyond_the_limits_is_refused(
    limited: RawChild, more: dict[str, Any], problem: str
) -> None:
    """With a problem that says what, and the next one is taken."""
    refused = limited.post(SYNC, {"v": 1, "stream": limited.stream, "n": 1, "after": 0} | more)

    assert refused.problem == problem
    assert refused.status == (413 if problem == "too-large" else 400)


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One child for many bodies, of which none is taken."""
    folder = tmp_path_factory.mktemp("limited")
    database = Database(f"sqlite:///{folder}/parent.db")
    migrations.upgrade(database)
    database.start()
    with ServedParent(folder, database) as served:
        one = served.child()
        yield one
        assert one.sync(n=1).status == 200
    database.close()


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe{}", b"[" * 100_000, b'{"a":' * 50_000,
        b'{"v":1,"stream":"s","n":1,"after":0,"items":[[1,"event",1e999]]}',
        b'{"v":1,"stream":"s","n":1,"after":0,"items":[[1,"event","\\ud800"]]}',
        b'{"v":1,"stream":"s","n":1,"after":0,"state":{"x":' + b"[" * 400 + b"]" * 400 + b"}}",
    ],
)  # fmt: skip
def test_a_body_that_is_no_sync_is_refused(limited: RawChild, body: bytes) -> None:
    """Whatever it is; the server does not fail over it."""
    reply = limited.send("POST", SYNC, body)

    assert (reply.status, reply.problem) == (400, "malformed")


HOSTILE = (
    "'; DROP TABLE child; --", "<script>alert(1)</script>", "../../../etc/passwd", "%s%s%n{0}",
    "nul\0here", "\u202e\ufeff😀", "a\r\nSet-Cookie: x=1", "\\u0000",
)  # fmt: skip


def test_hostile_text_is_text_attack(served: ServedParent) -> None:
    """In every field that a child may fill; a NUL becomes U+FFFD, the rest stays as it came."""
    one = served.child()
    renamed = RawChild(served)
    renamed.enrol(served.token(), name=HOSTILE[0] + HOSTILE[4], facts={HOSTILE[4]: HOSTILE[1]})
    items = [[n, "event", {"type": text, "service": text}] for n, text in enumerate(HOSTILE, 1)]
    reply = one.sync(
        sdk=HOSTILE[0], caps=list(HOSTILE), items=items, gone=0,
        state={text[:64]: {text: [text]} for text in HOSTILE} | {"health": {"status": HOSTILE[1]}},
    )  # fmt: skip

    assert (reply.status, reply.value["acked"]) == (200, len(HOSTILE))
    cleaned = [text.replace("\0", "\ufffd") for text in HOSTILE]
    rows = served.rows(
        sa.select(event.c.type, event.c.service, event.c.body)
        .where(event.c.stream == one.stream)
        .order_by(event.c.seq)
    )
    assert [(row.type, row.service) for row in rows] == [(text, text) for text in cleaned]
    assert [json.loads(row.body)["type"] for row in rows] == cleaned
    assert state_of(served, one).status == "unknown"
    found = served.rows(sa.select(child.c.name).where(child.c.id == renamed.id))
    assert found[0][0] == cleaned[0] + cleaned[4]


def test_a_busy_parent_says_when_to_come_again(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 with `Retry-After`, signed; what was owed is taken then (8)."""
    served = serve()
    one = served.child()

    def refuse(_: object) -> None:
        raise ParentError("too much", cause="busy")

    with monkeypatch.context() as patch:
        patch.setattr(served.database, "put", refuse)
        busy = one.sync(items=[happened(1)])
    taken = one.sync(items=[happened(1)])

    assert (busy.status, busy.problem, busy.headers["retry-after"]) == (503, "busy", "5")
    assert taken.value["acked"] == 1


# --- watching ---


def test_metrics_health_and_headers(served: ServedParent) -> None:
    """For Prometheus and whoever restarts it; the same headers on everything."""
    one = served.child()
    one.sync(items=[happened(1)])
    one.sync(items=[happened(1), happened(2)])
    RawChild(served).sync()

    text = served.get("/metrics").raw.decode()
    for line in (
        "chittyops_parent_syncs_total 2", "chittyops_parent_items_total 2",
        "chittyops_parent_duplicates_total 1",
        'chittyops_parent_refused_total{type="unknown-key"} 1',
    ):  # fmt: skip
        assert line in text
    for path in ("/healthz", "/readyz", "/metrics", "/nothing", "/v1/openapi/openapi.json"):
        headers = served.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
    assert [served.get(path).raw for path in ("/healthz", "/readyz")] == [b"ok\n", b"ok\n"]
