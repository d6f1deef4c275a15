"""Belonging to a parent: enrol, rotate the key, leave. What an operator of the host asks for."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from chittyops_core._kit import files, wire
from chittyops_core.bridge import identity, membership, signatures
from chittyops_core.bridge.bodies import to_text
from chittyops_core.bridge.client import Answered, Outcome, ParentClient, Refused, Unheard
from chittyops_core.bridge.identity import Key, Keys
from chittyops_core.bridge.membership import OUTBOX, Membership
from chittyops_core.bridge.outbox import Outbox
from chittyops_core.bridge.protocol import (
    ENROLMENTS,
    KEYS,
    LEAVE,
    MAX_BYTES,
    MAX_TEXT,
    VERSION,
    ChildState,
    Enrolled,
    Enrolment,
    KeyRotation,
    Leave,
    ProblemType,
)
from chittyops_core.bridge.syncs import sdk
from chittyops_core.errors import BridgeError, ParentRefusedError, UsageError

__all__ = [
    "OUTBOX",
    "Token",
    "bring_key",
    "client_of",
    "enrol",
    "leave",
    "read_enrolled",
    "rotate_key",
]

_TOKEN = re.compile(r"chittyops1\.([A-Za-z0-9_-]{43})\.([A-Za-z0-9_-]{43})")


@frozen
class Token:
    """An enrolment token: what proves the invitation, and whom it lets believe."""

    secret: str
    parent: str

    @classmethod
    def parse(cls, text: str) -> Token:
        """Read one. Raises UsageError, without the text."""
        found = _TOKEN.fullmatch(text.strip())
        if found is None:
            raise UsageError(
                "this is no enrolment token",
                remedy="One begins with chittyops1. and was printed by `chittyops parent token`.",
            )
        return cls(found[1], found[2])


def enrol(
    folder: Path, url: str, token: str, name: str, facts: Mapping[str, Any], *,
    ca_file: str = "", now: Callable[[], float] = time.time,
) -> Membership:  # fmt: skip
    """Ask the parent at *url* to take this host; return where it stands, accepted or pending.

    May be done again with the same key and any token: it stays the same child. A child that was
    cloned gets a new key, and so becomes another.

    Args:
        folder: The bridge's, made when it is not there.
        url: Of the parent.
        token: As its operator gave it; the parent is pinned by it.
        name: How this host calls itself.
        facts: See `protocol.FACTS`.
        ca_file: Certificates to trust instead of the machine's; "" for none.
        now: Seconds since the epoch.

    Raises:
        UsageError: *url* or *token* is none.
        BridgeError: The parent was not reached, or it could not be proven that it is the one of
            the token; ParentRefusedError: it refused. Nothing was changed but the key made.
    """
    url, parsed = membership.require_url(url), Token.parse(token)
    files.ensure_private_dir(folder)
    before = membership.read(folder)
    if before is not None and before.parent != parsed.parent:
        raise UsageError(
            f"this host belongs to the parent {before.parent_name or before.url} already",
            remedy="`chittyops bridge leave` first.",
        )
    keys = identity.read(folder)
    if keys is None or (before is not None and before.state is ChildState.CLONED):
        keys = Keys(Key.generate())
        identity.write(folder, keys)
    client = ParentClient(url, parsed.parent, keys.present, ca_file=ca_file, now=now)
    request = Enrolment(
        VERSION, parsed.secret, keys.present.public, name[:MAX_TEXT], sdk(), dict(facts)
    )
    body = to_text(wire.to_wire(request), MAX_BYTES).encode()
    found = _require_enrolled(_ask_twice(lambda: client.post(ENROLMENTS, body)))
    made = Membership(
        url, found.child, parsed.parent, client.parent_key, name, found.state, found.parent,
        ca_file, now(),
    )  # fmt: skip
    if (before is None or before.child != made.child) and (folder / OUTBOX).exists():
        _with_outbox(folder, Outbox.renew_stream)
    membership.write(folder, made)
    return made


def rotate_key(folder: Path) -> str:
    """Give this host a new key; return its id. May be done again when it failed halfway.

    Raises:
        BridgeError: The host has no parent, or that was not reached; the former key stays.
        ParentRefusedError: The parent refused.
    """
    member, keys = _require_member(folder)
    following = keys.next or Key.generate()
    keys = evolve(keys, next=following)
    identity.write(folder, keys)
    client = client_of(member, keys.present)
    _require_answer(_ask_twice(lambda: bring_key(client, keys.present, following)))
    identity.write(folder, keys.rotated())
    return following.id


def bring_key(client: ParentClient, old: Key, new: Key) -> Outcome:
    """Ask the parent to take *new* in the place of *old*, which *client* signs with."""
    proof = signatures.encode(new.private.sign(signatures.rotation_text(old.id, new.id)))
    return client.post(KEYS, wire.to_wire(KeyRotation(VERSION, new.public, proof)))


def leave(folder: Path, reason: str = "", *, force: bool = False) -> None:
    """Leave the parent, and forget what it has not got. The key stays.

    Args:
        folder: The bridge's.
        reason: For the parent's operators.
        force: Whether to leave although the parent cannot be told.

    Raises:
        BridgeError: The host has no parent, or it cannot be told and *force* is false.
    """
    member, keys = _require_member(folder)
    client = client_of(member, keys.present)
    body = wire.to_wire(Leave(VERSION, reason[:MAX_TEXT]))
    outcome = _ask_twice(lambda: client.post(LEAVE, body))
    if isinstance(outcome, Refused) and outcome.status == 403:
        force = True  # It is none of the parent's children any more.
    if not force:
        _require_answer(outcome)
    (folder / membership.FILE_NAME).unlink(missing_ok=True)
    files.sync_dir(folder)
    if (folder / OUTBOX).exists():
        _with_outbox(folder, Outbox.clear)


def client_of(member: Membership, key: Key, skew_s: float = 0.0) -> ParentClient:
    """Return a client that signs with *key* and believes the parent of *member*."""
    return ParentClient(
        member.url, member.parent, key, parent_key=member.parent_key, ca_file=member.ca_file,
        skew_s=skew_s,
    )  # fmt: skip


def _require_member(folder: Path) -> tuple[Membership, Keys]:
    member = membership.read(folder)
    keys = identity.read(folder)
    if member is None or keys is None:
        raise BridgeError(
            "this host has no parent, or its key is gone",
            remedy="`chittyops enroll URL TOKEN` gives it one.",
        )
    return member, keys


def _ask_twice(ask: Callable[[], Outcome]) -> Outcome:
    """Ask; and once more when the parent said by how much the clock is wrong."""
    outcome = ask()
    if isinstance(outcome, Refused) and outcome.problem == ProblemType.SKEW:
        return ask()
    return outcome


def _require_enrolled(outcome: Outcome) -> Enrolled:
    found = read_enrolled(_require_answer(outcome))
    if isinstance(found, Unheard):
        raise BridgeError(found.why, remedy="The parent may be newer: upgrade chittyops-core.")
    return found


def _require_answer(outcome: Outcome) -> Answered:
    if isinstance(outcome, Answered):
        return outcome
    if isinstance(outcome, Unheard):
        raise BridgeError(
            outcome.why, remedy="Nothing was changed. Look at the address, and at what is between."
        )
    if outcome.problem == ProblemType.TOKEN:
        raise ParentRefusedError(
            "the parent does not take this token: it is used up, expired, withdrawn or another's",
            remedy="Ask its operator for a new one (`chittyops parent token`).",
            problem=outcome.problem, status=outcome.status,
        )  # fmt: skip
    raise ParentRefusedError(
        f"the parent refused: {outcome.detail or outcome.problem or outcome.status}",
        remedy="Ask its operator.", problem=outcome.problem, status=outcome.status,
    )  # fmt: skip


def read_enrolled(answer: Answered) -> Enrolled | Unheard:
    """Read an answer of `/v1/enrolments` (docs/protocol.md section 5.2)."""
    try:
        found = wire.from_wire(Enrolled, dict(answer.body))
    except Exception as error:  # What cattrs raises has many types.
        return Unheard(f"the parent's answer is not understood ({type(error).__name__})")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", found.child):
        return Unheard("the parent gave an id that is none")
    return found


def _with_outbox(folder: Path, work: Callable[[Outbox], object]) -> None:
    outbox = Outbox(folder / OUTBOX)
    try:
        work(outbox)
    finally:
        outbox.close()
