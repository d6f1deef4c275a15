"""What happened on a host, put into the outbox for its parent: once each, and never lost.

Most of it is read from where it is written down anyway: deployments from the journal, alerts from
the messages in the monitor store. How far they were read is noted in the outbox, in the
transaction that puts what was read, so that no kill loses or repeats any of it. What is written
down nowhere is put by whoever does it (`tell`).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from chittyops_core._kit import wire
from chittyops_core._kit.clock import SystemClock
from chittyops_core._kit.logs import get_logger
from chittyops_core.bridge.protocol import MAX_TEXT, ItemKind
from chittyops_core.deploy.journal import Action, Entry, Journal, Phase
from chittyops_core.deploy.targets.local import Layout
from chittyops_core.host.bridge_report import is_own
from chittyops_core.model.monitoring import AlertState, Message
from chittyops_core.monitor.buffer import BufferedStore
from chittyops_core.monitor.incidents import Maintenance

if TYPE_CHECKING:
    from chittyops_core.bridge.outbox import Outbox

__all__ = ["Collector", "HostEvent", "event_of", "is_enrolled", "tell"]

log = get_logger("chittyops.bridge")

NOTE = "read"
"""Of the outbox: how far everything was read."""

BATCH = 500
"""Messages that are read at once; the next look reads on."""


@frozen
class HostEvent:
    """One item for the outbox."""

    kind: ItemKind
    body: dict[str, Any]

    @property
    def is_urgent(self) -> bool:
        """Whether it should not wait for the next regular sync."""
        return self.kind is ItemKind.INCIDENT


def is_enrolled(layout: Layout) -> bool:
    """Say whether this host has a parent; costs one look at a file."""
    return (layout.bridge / "membership.json").exists()


def event_of(type_: str, at: float, **facts: Any) -> HostEvent:
    """Return an event with an id of its own."""
    body = {"id": str(uuid.uuid4()), "type": type_, "at": at, **facts}
    return HostEvent(ItemKind.EVENT, body)


def tell(layout: Layout, type_: str, **facts: Any) -> None:
    """Put an event of the host itself into the outbox of a host that has a parent.

    It never fails: what was done is done, whether a parent will hear of it or not.
    """
    if not is_enrolled(layout):
        return
    from chittyops_core.bridge.outbox import Outbox

    event = event_of(type_, time.time(), **facts)
    try:
        with closing(Outbox(layout.bridge / "outbox.db")) as outbox:
            outbox.put(event.kind, event.body)
    except Exception as error:
        log.warning("bridge.event_lost", type=type_, error=repr(error))


@define
class _Marks:
    """How far everything was read.

    Attributes:
        origin: Makes the ids of events of two hosts, and of two enrolments, differ.
        deployment: All deployments up to this number have ended, and were told.
        ended: Those above it that were told, while an older one is still under way.
        message: Number of the last message that was told.
        windows: Maintenance windows whose beginning was told.
    """

    origin: str
    deployment: int
    message: int
    ended: list[int] = field(factory=list)
    windows: list[int] = field(factory=list)


class Collector:
    """Reads what happened since the last time, and puts it. For one thread."""

    def __init__(self, layout: Layout, store: BufferedStore, outbox: Outbox) -> None:
        self._layout = layout
        self._store = store
        self._outbox = outbox
        self._stamp: object = None

    def collect(self) -> list[HostEvent]:
        """Put all that is new, and return it. The first call only notes where now is.

        Raises:
            ChittyOpsError: A file cannot be read or written; the next call reads again.
        """
        marks = self._read()
        before = wire.to_wire(marks)
        stamp = _stamp(self._layout.journal)
        # Where nobody wrote since the last time, there is no need to open the journal.
        deployments = self._deployments(marks) if stamp != self._stamp else []
        found = [*deployments, *self._of_monitors(marks)]
        after = wire.to_wire(marks)
        if after != before:
            items = [(each.kind, each.body, each.is_urgent) for each in found]
            self._outbox.put_all(items, note=(NOTE, after))
        self._stamp = stamp
        return found

    def _read(self) -> _Marks:
        noted = self._outbox.noted(NOTE)
        if noted is not None:
            return wire.from_wire(_Marks, noted)
        with closing(Journal(self._layout.journal, SystemClock())) as journal:
            deployment = journal.last()
        store = self._store.store
        message = store.last_message() if store is not None else 0
        marks = _Marks(str(uuid.uuid4()), deployment, message)
        self._outbox.put_all([], note=(NOTE, wire.to_wire(marks)))
        return marks

    # --- deployments ---

    def _deployments(self, marks: _Marks) -> list[HostEvent]:
        found = []
        with closing(Journal(self._layout.journal, SystemClock())) as journal:
            if journal.last() < marks.deployment:
                marks.deployment, marks.ended = 0, []  # Somebody began a new journal.
            entries = journal.entries(marks.deployment)
            for entry in entries:
                if entry.ended is not None and entry.id not in marks.ended:
                    found.append(_deployment(marks, journal, entry))
                    marks.ended.append(entry.id)
        open_ones = [entry.id - 1 for entry in entries if entry.ended is None]
        marks.deployment = min(open_ones, default=max(marks.ended, default=marks.deployment))
        marks.ended = [number for number in marks.ended if number > marks.deployment]
        return found

    # --- alerts and maintenance ---

    def _of_monitors(self, marks: _Marks) -> list[HostEvent]:
        store = self._store.store
        if store is None:
            return []  # What waits in memory is written, and read, when the disk is back.
        if store.last_message() < marks.message:
            marks.message = 0  # The store was damaged, and begun anew.
        found = []
        for each in store.messages(marks.message, BATCH):
            marks.message = each.seq
            is_reminder = each.before is each.message.state is AlertState.FIRING
            if not is_reminder:
                found.append(_incident(marks, each.message))
        now = time.time()
        active = [window for window in store.maintenance(now) if window.starts <= now]
        return [*found, *_windows(marks, active, now)]


def _stamp(database: Path) -> object:
    """Return what changes whenever SQLite's file *database* is written."""
    both = (database, database.with_name(database.name + "-wal"))
    return [(s.st_ino, s.st_mtime_ns, s.st_size) for s in (p.stat() for p in both if p.exists())]


def _deployment(marks: _Marks, journal: Journal, entry: Entry) -> HostEvent:
    came_from = journal.provenance(entry.service, entry.release)
    return _event(
        marks, f"deployment {entry.id}", _type_of(entry),
        datetime.fromisoformat(entry.ended or entry.started).timestamp(),
        service=entry.service.slug, kind=journal.kind_of(entry.service),
        release=entry.release, previous=entry.base,
        commit=came_from.commit if came_from else None,
        reached=list(entry.phases), seconds=round(sum(entry.phases.values()), 3),
    )  # fmt: skip


def _type_of(entry: Entry) -> str:
    if entry.phase is not Phase.DONE:
        return "deploy.undone"
    return "deploy.rolled_back" if entry.action is Action.ROLLBACK else "deploy.served"


def _incident(marks: _Marks, message: Message) -> HostEvent:
    owner, _, _ = message.alert.partition("/")
    event = _event(
        marks, f"message {message.id} {message.at}", f"alert.{message.state.value}", message.at,
        service=None if owner == "host" else owner,
        alert=message.alert[:MAX_TEXT], severity=message.severity.value,
        title=message.title[:MAX_TEXT],
        why=message.body.partition("\n")[0][:MAX_TEXT] if is_own(message.alert) else "",
    )  # fmt: skip
    return HostEvent(ItemKind.INCIDENT, event.body)


def _windows(marks: _Marks, active: Sequence[Maintenance], now: float) -> Iterator[HostEvent]:
    for window in active:
        if window.id not in marks.windows:
            marks.windows.append(window.id)
            yield _event(
                marks, f"window {window.id} began", "maintenance.started", window.starts,
                service=_service_of(window), scope=window.scope, until=window.ends,
                why=window.why[:MAX_TEXT],
            )  # fmt: skip
    for number in sorted(set(marks.windows) - {window.id for window in active}):
        marks.windows.remove(number)
        yield _event(
            marks, f"window {number} ended", "maintenance.ended", now, service=None, number=number
        )


def _service_of(window: Maintenance) -> str | None:
    owner = window.scope.partition("/")[0]
    return None if owner in ("*", "host") else owner


def _event(marks: _Marks, what: str, type_: str, at: float, **facts: Any) -> HostEvent:
    number = uuid.uuid5(uuid.UUID(marks.origin), what)
    return HostEvent(ItemKind.EVENT, {"id": str(number), "type": type_, "at": at, **facts})
