"""How a child stands with its parent, from its files; nobody is asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from chittyops_core.bridge import membership
from chittyops_core.bridge.consent import NOTHING, Grants
from chittyops_core.bridge.membership import OUTBOX, PAUSED
from chittyops_core.bridge.outbox import Backlog, Outbox
from chittyops_core.errors import BridgeError

__all__ = ["BridgeStatus", "status"]


@frozen
class BridgeStatus:
    """See `status`; times are seconds since the epoch, None for never.

    Attributes:
        url: The parent's address.
        parent: How the parent calls itself.
        parent_key: The thumbprint that is believed.
        child: The id that the parent gave.
        name: How the host calls itself.
        state: Where it stands (`protocol.ChildState`), as last heard.
        is_paused: Whether an operator of the host paused it.
        heard_at: When the parent last said anything that could be believed.
        last_at: When it was last asked.
        next_at: When it will be asked again, unless something urgent happens.
        outcome: What came of the last question: answered, refused, unheard, or "".
        why: Why it was not answered.
        owed: Items that the parent has not acknowledged.
        owed_bytes: Of those.
        oldest_at: When the oldest of them was put.
        dropped: Kind -> how many were dropped.
        dead: How many items the parent could not take.
        skew_s: What this machine's clock is behind the parent's.
        caps: What the parent may see.
        trouble: Why nothing goes out: settings that cannot be read; "" for none.
    """

    url: str
    parent: str
    parent_key: str
    child: str
    name: str
    state: str
    is_paused: bool
    heard_at: float | None = None
    last_at: float | None = None
    next_at: float | None = None
    outcome: str = ""
    why: str = ""
    owed: int = 0
    owed_bytes: int = 0
    oldest_at: float | None = None
    dropped: Mapping[str, int] = field(factory=dict)
    dead: int = 0
    skew_s: float = 0.0
    caps: tuple[str, ...] = ()
    trouble: str = ""


def status(folder: Path) -> BridgeStatus | None:
    """Return how the child in *folder* stands; None where it has no parent.

    Raises:
        BridgeError: The membership is damaged.
        StoreError: The outbox cannot be read.
    """
    member = membership.read(folder)
    if member is None:
        return None
    trouble = ""
    try:
        grants = Grants.read(folder)
    except BridgeError as error:
        grants, trouble = NOTHING, error.message
    backlog, notes = _outbox(folder)
    last = notes["last"] if isinstance(notes["last"], dict) else {}
    return BridgeStatus(
        member.url, member.parent_name, member.parent, member.child, member.name,
        member.state.value, (folder / PAUSED).exists(), notes["heard_at"], last.get("at"),
        last.get("next_at"), str(last.get("outcome", "")), str(last.get("why", "")),
        backlog.items, backlog.bytes, backlog.oldest_at, backlog.dropped, backlog.dead,
        notes["skew_s"] or 0.0, grants.caps(), trouble,
    )  # fmt: skip


def _outbox(folder: Path) -> tuple[Backlog, dict[str, Any]]:
    names = ("last", "heard_at", "skew_s")
    if not (folder / OUTBOX).exists():
        return Backlog("", 0, 0, 0, None, {}, 0), dict.fromkeys(names)
    outbox = Outbox(folder / OUTBOX)
    try:
        return outbox.backlog(), {name: outbox.noted(name) for name in names}
    finally:
        outbox.close()
