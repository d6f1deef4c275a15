"""How children come and go (docs/protocol.md sections 5 and 6)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chittyops_core.bridge import signatures
from chittyops_core.bridge.protocol import ENROLMENTS, KEYS, LEAVE, ChildState
from chittyops_core.errors import NotFoundError, RefusedError, UsageError
from chittyops_core.parent import enrolment
from chittyops_core.parent.limits import Attempts
from chittyops_core.parent.problems import ProblemError
from chittyops_core.parent.schema import child, child_key, child_state, enrol_token
from parent_served import RawChild, Reply, ServedParent

Serve = Callable[[], ServedParent]


def decide(served: ServedParent, one: RawChild, state: ChildState) -> ChildState:
    return served.database.write(
        lambda found: enrolment.decide(
            found, one.id, state, by="ada", reason="because", now=time.time()
        )
    )


def rotation(old: RawChild, new: Ed25519PrivateKey) -> dict[str, object]:
    raw = signatures.public_bytes(new)
    text = signatures.rotation_text(old.key_id, signatures.thumbprint(raw))
    return {
        "v": 1,
        "public_key": signatures.encode(raw),
        "proof": signatures.encode(new.sign(text)),
    }


# --- tokens (5.1) ---


def test_a_token_lets_in_as_many_as_it_is_for(served: ServedParent) -> None:
    """Those wait for a decision unless it accepts by itself (5.2)."""
    secret = served.token(uses=2, auto_accept=False, labels={"site": "north"})
    one, two, three = RawChild(served), RawChild(served), RawChild(served)

    replies = [each.enrol(secret) for each in (one, two, three)]

    assert [reply.status for reply in replies] == [202, 202, 403]
    assert replies[0].value["state"] == "pending"
    assert replies[2].problem == "enrolment-token"
    assert one.sync().problem == "not-accepted"
    assert decide(served, one, ChildState.ACCEPTED) is ChildState.PENDING
    assert one.get(f"/v1/enrolments/{one.id}").value["state"] == "accepted"
    assert one.sync().status == 200
    rows = served.rows(sa.select(child.c.labels, child.c.decided_by).where(child.c.id == one.id))
    assert [tuple(row) for row in rows] == [('{"site": "north"}', "ada")]


def test_the_same_key_is_the_same_child_and_uses_up_no_token(served: ServedParent) -> None:
    """Whichever token it brings, also none (5.2)."""
    secret = served.token(uses=1)
    one = RawChild(served)
    first = one.enrol(secret)

    again = [one.enrol(each) for each in (secret, served.token(), "", "x" * 43)]

    assert {reply.status for reply in [first, *again]} == {201}
    assert {reply.value["child"] for reply in [first, *again]} == {one.id}
    assert served.rows(sa.select(enrol_token.c.uses_left).order_by(enrol_token.c.created_at)) == [
        (0,), (1,)
    ]  # fmt: skip


def test_the_parent_keeps_no_secret(serve: Serve) -> None:
    """A hash only, which is what a stolen database has (5.1)."""
    served = serve()
    identity, text = served.database.write(
        lambda found: enrolment.make_token(
            found, name="x", labels={}, auto_accept=True, uses=1, ttl_s=60, by="ada",
            now=time.time(), parent_thumbprint=served.parent.key.id,
        )
    )  # fmt: skip

    prefix, secret, thumbprint = text.split(".")
    assert (prefix, thumbprint) == ("chittyops1", served.parent.key.id)
    assert len(signatures.decode(secret)) == 32
    kept = str(served.rows(sa.select(enrol_token).where(enrol_token.c.id == identity)))
    assert secret not in kept


def test_token_reuse_attack(served: ServedParent) -> None:
    """Unknown, used up, expired and withdrawn ones are told apart by nobody (5.1)."""
    now = time.time()
    used_up = served.token()
    RawChild(served).enrol(used_up)
    withdrawn = served.token()
    for (token,) in served.rows(sa.select(enrol_token.c.id).where(enrol_token.c.uses_left == 1)):
        served.database.write(
            lambda found, token=token: enrolment.withdraw_token(found, token, now=now)
        )
    secrets = [used_up, withdrawn, served.token(now=now - 7200), "x" * 43, "", "' OR 1=1 --"]

    replies = [RawChild(served).enrol(secret) for secret in secrets]

    def told(reply: Reply) -> tuple[int, dict[str, object]]:
        return reply.status, {**reply.value, "time": 0}

    assert {reply.problem for reply in replies} == {"enrolment-token"}
    assert all(told(reply) == told(replies[0]) for reply in replies)
    assert len(served.rows(sa.select(child.c.id))) == 1


def test_token_brute_force_attack(serve: Serve) -> None:
    """Who guesses is slowed down, and told when to come again; a known child is not."""
    served = serve()
    known = served.child()

    replies = [RawChild(served).enrol("x" * 43) for _ in range(25)]

    assert [reply.status for reply in replies] == [403] * 20 + [429] * 5
    assert replies[-1].problem == "too-many-requests"
    assert 1 <= int(replies[-1].headers["retry-after"]) <= 60
    assert known.sync().status == 200


def test_attempts_are_counted_by_address_and_in_total() -> None:
    """One that succeeds costs nothing; an IPv6 host has no end of addresses."""
    attempts = Attempts(by_address=2, in_total=4)

    for _ in range(10):
        attempts.require_left("192.0.2.1", 0)
    attempts.failed("2001:db8::1", 0)
    attempts.require_left("2001:db8::2", 0)
    attempts.failed("2001:db8::ffff:2", 0)
    with pytest.raises(ProblemError):
        attempts.require_left("2001:db8::3", 0)
    attempts.require_left("192.0.2.1", 0)
    for _ in range(3):  # Under way at once.
        attempts.failed("192.0.2.1", 0)
    with pytest.raises(ProblemError) as refused:
        attempts.require_left("192.0.2.2", 0)
    with pytest.raises(ProblemError) as longer:
        attempts.require_left("192.0.2.1", 0)
    attempts.require_left("2001:db8::3", 60)

    assert (refused.value.headers["Retry-After"], longer.value.headers["Retry-After"]) == (
        "30", "60",
    )  # fmt: skip


@pytest.mark.parametrize(
    "more", [{"uses": 0}, {"uses": 10**9}, {"ttl_s": 0}, {"ttl_s": 1e12}, {"name": " "}]
)
def test_a_token_out_of_bounds_is_not_made(serve: Serve, more: dict[str, object]) -> None:
    """One that is for everybody and ever is no token."""
    with pytest.raises(UsageError):
        serve().token(**more)


# --- enrolling ---


def test_an_enrolment_proves_its_own_key_attack(serve: Serve) -> None:
    """Nobody enrols a key that he does not have, or none (5.1)."""
    served = serve()
    one, other = RawChild(served), RawChild(served)
    secret = served.token()

    asked = {"v": 1, "token": secret, "public_key": other.public_key, "name": "x"}
    assert one.post(ENROLMENTS, asked).problem in ("unknown-key", "signature")
    for key in ("", "x" * 43, "AAAA", "\u0000", one.public_key + "="):
        assert one.post(ENROLMENTS, {**asked, "public_key": key}).problem in (
            "malformed", "unknown-key",
        )  # fmt: skip
    for more in ({"name": "x" * 201}, {"sdk": "x" * 201}, {"token": "x" * 201}, {"facts": []}):
        assert one.enrol(secret, **more).problem == "malformed"
    assert one.enrol(secret, facts={"x": "y" * 70_000}).problem == "too-large"
    assert one.enrol(secret).status == 201


# --- decisions ---


def test_what_an_operator_decides_holds_at_once(served: ServedParent) -> None:
    """A revoked child is told so, keeps what it owes, and may come back (5.5)."""
    one = served.child()
    one.sync(items=[[1, "event", {"type": "before"}]])

    decide(served, one, ChildState.REVOKED)
    refused = one.sync(after=1, items=[[2, "event", {"type": "meanwhile"}]])
    left = one.post(LEAVE, {"v": 1})
    decide(served, one, ChildState.ACCEPTED)
    taken = one.sync(after=1, items=[[2, "event", {"type": "meanwhile"}]])

    assert (refused.status, refused.problem) == (403, "revoked")
    assert left.value["state"] == "revoked"
    assert (taken.status, taken.value["acked"]) == (200, 2)
    with pytest.raises(RefusedError, match="accepted cannot be rejected"):
        decide(served, one, ChildState.REJECTED)
    one.id = "ch_none"
    with pytest.raises(NotFoundError):
        decide(served, one, ChildState.ACCEPTED)


def test_a_child_that_leaves_may_enrol_again(served: ServedParent) -> None:
    """What it said stays, and it is awaited no longer; coming back costs a token (5.4)."""
    one = served.child()
    one.sync()

    left = one.post(LEAVE, {"v": 1, "reason": "moved <away>"})
    again = one.post(LEAVE, {"v": 1})
    silent = one.sync()
    deadline = served.rows(sa.select(child_state.c.deadline_at))[0][0]
    guessed = one.enrol("x" * 43)
    back = one.enrol(served.token(auto_accept=False))

    assert [left.value["state"], again.value["state"]] == ["left", "left"]
    assert (silent.problem, deadline) == ("not-accepted", None)
    assert guessed.problem == "enrolment-token"
    assert (back.status, back.value["state"], back.value["child"]) == (202, "pending", one.id)


# --- keys (6) ---


def test_a_new_key_takes_over_when_it_is_used(served: ServedParent) -> None:
    """Until then both are taken; from then on the old one is unknown."""
    one = served.child()
    old, new = one.key, Ed25519PrivateKey.generate()
    asked = rotation(one, new)

    sent = [one.post(KEYS, asked), one.post(KEYS, asked)]
    still = one.sync()
    one.use(new)
    first = one.sync()
    one.use(old)
    retired = [one.sync(), one.get(f"/v1/enrolments/{one.id}"), one.enrol("")]

    assert [reply.status for reply in (*sent, still, first)] == [200] * 4
    assert sent[0].value["child"] == one.id
    assert {reply.problem for reply in retired} == {"unknown-key"}
    assert dict(map(tuple, served.rows(sa.select(child_key.c.state, child_key.c.child)))) == {
        "current": one.id, "retired": one.id,
    }  # fmt: skip


def test_a_new_key_that_does_not_prove_itself_attack(served: ServedParent) -> None:
    """Nobody takes over a key that another one has, or had."""
    one, other = served.child(), served.child()
    new = Ed25519PrivateKey.generate()
    good = rotation(one, new)

    stolen = one.post(KEYS, rotation(one, other.key))
    unproven = one.post(KEYS, {**good, "proof": rotation(other, new)["proof"]})
    same = one.post(KEYS, rotation(one, one.key))
    garbage = [one.post(KEYS, {**good, "proof": text}) for text in ("", "x", "A" * 86)]
    one.post(KEYS, good)
    replaced = one.post(KEYS, rotation(one, Ed25519PrivateKey.generate()))
    dropped = one.post(KEYS, good)

    assert (stolen.status, stolen.problem) == (409, "conflict")
    assert {reply.problem for reply in (unproven, same, *garbage)} == {"malformed"}
    assert (replaced.status, dropped.problem) == (200, "conflict")


def test_a_leaked_database_gives_no_credential(serve: Serve) -> None:
    """Of a child it has the public key only."""
    served = serve()
    one = served.child()

    kept = served.rows(sa.select(child_key))[0]

    assert kept.public_key == signatures.public_bytes(one.key)
    assert one.key.private_bytes_raw() not in bytes(json.dumps(str(kept)).encode())
