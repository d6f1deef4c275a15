"""What the next sync says: of the state only what changed, of the samples' names only new ones."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from attrs import field, frozen

from chittyops_core._kit.logs import get_logger
from chittyops_core.bridge import bodies
from chittyops_core.bridge.consent import Grants
from chittyops_core.bridge.outbox import Batch, Item, Outbox
from chittyops_core.bridge.protocol import (
    MAX_BYTES,
    MAX_METRICS,
    MAX_SECTIONS,
    MAX_TEXT,
    VERSION,
    ItemKind,
)
from chittyops_core.errors import UsageError

__all__ = ["ITEM_BYTES", "Report", "SyncBuilder", "sample", "sdk"]

ITEM_BYTES = MAX_BYTES // 2
"""Of a request, for items; the state and the names of metrics have the other half."""
STATE_BYTES = MAX_BYTES // 4
SET_BYTES = MAX_BYTES // 8

log = get_logger("chittyops.bridge")


@frozen
class Report:
    """What a host tells about itself.

    Attributes:
        state: Section -> value, see `protocol.Section`; the latest, whole.
        metrics: Name -> value, None where there is none now. `NAME{service="SLUG"}` is one of
            a service, any other is the host's.
    """

    state: Mapping[str, Any] = field(factory=dict)
    metrics: Mapping[str, float | None] = field(factory=dict)


@cache
def sdk() -> str:
    """Return how this version calls itself."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"chittyops-core/{version('chittyops-core')}"
    except PackageNotFoundError:
        return "chittyops-core/0"


def sample(
    metrics: Mapping[str, float | None], at: float
) -> list[tuple[str, tuple[str, ...], dict[str, Any]]]:
    """Return (set id, names, item body) for each metric item that *metrics* make."""
    names = sorted(name for name in metrics if 0 < len(name) <= MAX_TEXT and "\n" not in name)
    made = []
    for start in range(0, len(names), MAX_METRICS):
        part = tuple(names[start : start + MAX_METRICS])
        values = [_number(metrics[name]) for name in part]
        set_id = _set_id(part)
        made.append((set_id, part, {"set": set_id, "at": round(at, 3), "v": values}))
    return made


class SyncBuilder:
    """Makes the bodies of syncs, and remembers what the parent has said that it has.

    Names of metric sets are kept in the outbox beside the items that need them.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._has_digests: dict[str, str] = {}
        self._has_sets: set[str] = set()
        self._wants_sets: set[str] = set()
        self._said: tuple[dict[str, str], set[str]] = ({}, set())

    def keep_names(self, set_id: str, names: Sequence[str]) -> None:
        """Keep the names of a metric set, before an item of it is put."""
        if self.names(set_id) != tuple(names):
            self._outbox.note(f"set.{set_id}", list(names))

    def names(self, set_id: str) -> tuple[str, ...]:
        """Return the names of a metric set; none where it is not known."""
        return tuple(self._outbox.noted(f"set.{set_id}") or ())

    def granted(self, batch: Batch, grants: Grants) -> tuple[Item, ...]:
        """Return the items of *batch* that may go out; the others are withdrawn for good."""
        kept: list[Item] = []
        withdrawn: list[Item] = []
        for item in batch.items:
            names = self.names(_set_of(item)) if item.kind == ItemKind.METRICS else ()
            is_granted = grants.item(item.kind, json.loads(item.body), names)
            (kept if is_granted else withdrawn).append(item)
        if withdrawn:
            self._outbox.withdraw(item.seq for item in withdrawn)
        return tuple(kept)

    def body(
        self, batch: Batch, items: Sequence[Item], state: Mapping[str, Any] | None, grants: Grants
    ) -> bytes:
        """Return the JSON text of a sync.

        Args:
            batch: Gives stream and numbers.
            items: Those of it that may go out.
            state: What may go out of the sections; None leaves all of it away, digests too.
            grants: What the parent may see.
        """
        texts = _texts(state or {})
        digests = {name: bodies.digest(text) for name, text in texts.items()}
        changed = {
            name: text for name, text in texts.items()
            if self._has_digests.get(name) != digests[name]
        }  # fmt: skip
        sets = self._sets(items)
        self._said = (digests if state is not None else {}, set(sets))
        head = {
            "v": VERSION, "stream": batch.stream, "n": batch.n, "after": batch.after,
            "gone": batch.gone, "sdk": sdk(), "caps": grants.caps(), "digests": digests,
            "sets": sets,
        }  # fmt: skip
        sections = ",".join(f"{json.dumps(name)}:{text}" for name, text in changed.items())
        rows = ",".join(f"[{each.seq},{json.dumps(each.kind)},{each.body}]" for each in items)
        text = json.dumps(head, separators=(",", ":"), ensure_ascii=False)
        whole = f'{text[:-1]},"state":{{{sections}}},"items":[{rows}]}}'
        return whole.encode("utf-8", "replace")

    def heard(self, answer: Mapping[str, Any]) -> bool:
        """Note what the parent has now; say whether it asks for something that can be given."""
        digests, sets = self._said
        self._has_digests.update(digests)
        self._has_sets |= sets
        self._wants_sets -= sets
        resend = _texts_of(answer.get("resend"))
        unknown = _texts_of(answer.get("unknown_sets"))
        for name in resend:
            self._has_digests.pop(name, None)
        self._has_sets -= unknown
        self._wants_sets |= {set_id for set_id in unknown if self.names(set_id)}
        return bool(resend & digests.keys() or self._wants_sets)

    def _sets(self, items: Sequence[Item]) -> dict[str, list[str]]:
        """Return the names that the parent needs for *items* or has asked for, within a limit."""
        needed = dict.fromkeys(
            [*sorted(self._wants_sets), *(_set_of(i) for i in items if i.kind == ItemKind.METRICS)]
        )
        found: dict[str, list[str]] = {}
        size = 0
        for set_id in needed:
            names = [] if set_id in self._has_sets else list(self.names(set_id))
            size += sum(map(len, names))
            if names and (not found or size <= SET_BYTES):
                found[set_id] = names
        return found


def _texts(state: Mapping[str, Any]) -> dict[str, str]:
    """Return each section as JSON; one that cannot be sent is left out and told in the log."""
    texts: dict[str, str] = {}
    left = STATE_BYTES
    for name, value in list(state.items())[:MAX_SECTIONS]:
        try:
            texts[name] = bodies.to_text(value, left)
        except UsageError as error:
            log.error("bridge.section_left_out", section=name, error=error.message)
            continue
        left -= len(texts[name].encode())
    return texts


def _set_id(names: Sequence[str]) -> str:
    text = "".join(f"{name}\n" for name in names)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def _set_of(item: Item) -> str:
    body = json.loads(item.body)
    return str(body.get("set", "")) if isinstance(body, dict) else ""


def _number(value: object) -> float | None:
    """Return a finite number; a metric that is none now, or none at all, is null."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def _texts_of(value: object) -> set[str]:
    return {each for each in value if isinstance(each, str)} if isinstance(value, list) else set()
