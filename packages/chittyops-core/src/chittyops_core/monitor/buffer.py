"""Monitoring goes on when the disk does not: what cannot be written waits in memory.

A batch waits whole, in order, so that an alert's state and its message still come to the disk in
one transaction. What may wait is bounded: beyond it the oldest observations are dropped, and
counted; states and messages never are.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import define, evolve

from chittyops_core._kit.logs import get_logger
from chittyops_core.errors import StoreError
from chittyops_core.model.monitoring import Message, Observation
from chittyops_core.monitor.alerts import Alert
from chittyops_core.monitor.events import require_countable
from chittyops_core.monitor.store import DEFAULT_BUDGET, Store, require_recordable

__all__ = ["MAX_HELD", "BufferedStore"]

_log = get_logger("chittyops.monitor")

MAX_HELD = 50_000
"""Observations in memory, about 10 MB: 100 monitors every 10 s for 83 minutes."""

MAX_DAMAGED = 3
"""Damaged files that are kept aside; the last one is replaced then."""

_NOTHING: Mapping[str, float] = {}


@define
class _Batch:
    observations: list[Observation]
    alerts: tuple[Alert, ...]
    messages: tuple[Message, ...]


@define
class _Count:
    """What one counter grew by while nothing could be written."""

    value: float
    at: float


class BufferedStore:
    """A store for the one who watches: `record` never fails because of the disk.

    Attributes:
        dropped: Observations that were given up because too many waited.
        moved_aside: Where a damaged file was put; None when there was none.
    """

    def __init__(
        self, path: Path, *, budget: int = DEFAULT_BUDGET, max_held: int = MAX_HELD
    ) -> None:
        """Open *path*, or go on without it; a damaged file is moved aside and told.

        Raises:
            StoreError: A newer core wrote it. Waiting does not mend that.
        """
        self.dropped = 0
        self.moved_aside: Path | None = None
        self._path, self._budget, self._max_held = path, budget, max_held
        self._store: Store | None = None
        self._waiting: deque[_Batch] = deque()
        self._counts: dict[tuple[str, str, tuple[tuple[str, str], ...], int], _Count] = {}
        self._held = 0
        self._trouble = ""
        self._alerts: dict[str, Alert] = {}
        self._latest: dict[str, Observation] = {}
        self._has_read = False
        self._lock = threading.RLock()
        """Two that write what waits would write one batch twice, and drop the next."""
        self.flush()

    @property
    def store(self) -> Store | None:
        """The store under it; None while it cannot be opened."""
        return self._store

    @property
    def trouble(self) -> str:
        """What is wrong with the disk, for a person; empty when all is well."""
        if not self._trouble:
            return ""
        lost = f"; {self.dropped} older ones were dropped" if self.dropped else ""
        return f"{self._trouble} ({self._held} observations wait in memory{lost})"

    def alerts(self) -> dict[str, Alert]:
        """Return every alert by its name, as last recorded, also when it is not written yet."""
        return dict(self._alerts)

    def latest(self) -> dict[str, Observation]:
        """Return the last observation of every monitor, also when it is not written yet."""
        return dict(self._latest)

    def record(
        self,
        observations: Iterable[Observation] = (),
        alerts: Iterable[Alert] = (),
        messages: Iterable[Message] = (),
    ) -> None:
        """Keep all of it, in one transaction: on the disk, or in memory until that works.

        Raises:
            UsageError: See `Store.record`; nothing of it is kept then.
        """
        with self._lock:
            kept = list(observations)
            require_recordable(kept)
            batch = _Batch(kept, tuple(alerts), tuple(messages))
            self._latest |= {seen.monitor: seen for seen in batch.observations}
            self._alerts |= {alert.name: alert for alert in batch.alerts}
            self._waiting.append(batch)
            self._held += len(batch.observations)
            self.flush()

    def count_event(
        self, service: str, name: str, labels: Mapping[str, str], value: float, at: float
    ) -> None:
        """Add *value* to a counter of an app. Raises UsageError (`events.add_event`)."""
        with self._lock:
            require_countable(service, name, labels, value)
            if self._store is not None and not self._trouble:
                try:
                    self._store.count_event(service, name, labels, value, at)
                    return
                except StoreError as error:
                    self._give_up(error)
            key = (service, name, tuple(sorted(labels.items())), int(at // 60))
            if key in self._counts:
                self._counts[key].value += value
            elif len(self._counts) < self._max_held:
                self._counts[key] = _Count(value, at)
            else:
                self.dropped += 1

    def tend(self, now: float) -> None:
        """Write what waits, roll up, and forget what is too old; once a minute."""
        with self._lock:
            self.flush()
            if self._store is not None and not self._trouble:
                try:
                    self._store.tend(now)
                except StoreError as error:
                    self._give_up(error)

    def flush(self) -> bool:
        """Try to write what waits; return whether nothing waits any more."""
        with self._lock:
            try:
                self._write()
            except StoreError as error:
                if error.facts.get("cause") == "newer":
                    raise
                self._give_up(error)
                if self.moved_aside is None or error.facts.get("cause") != "damaged":
                    return False
                try:
                    self._write()
                except StoreError as again:
                    self._give_up(again)
                    return False
            if self._trouble:
                _log.info("monitor.store_written", dropped=self.dropped)
            self._trouble = ""
            return True

    def close(self) -> None:
        """Write what waits, if that works, and close the file."""
        with self._lock:
            self.flush()
            if self._store is not None:
                self._store.close()
                self._store = None

    def _write(self) -> None:
        store = self._store
        if store is None:
            store = self._store = Store(self._path, budget=self._budget)
            if not self._has_read:
                self._alerts = store.alerts() | self._alerts
                self._latest = store.latest() | self._latest
                self._has_read = True
        while self._waiting:
            batch = self._waiting[0]
            store.record(batch.observations, batch.alerts, batch.messages)
            self._waiting.popleft()
            self._held -= len(batch.observations)
        while self._counts:
            key = next(iter(self._counts))
            service, name, labels, _ = key
            count = self._counts[key]
            store.count_event(service, name, dict(labels), count.value, count.at)
            del self._counts[key]

    def _give_up(self, error: StoreError) -> None:
        if not self._trouble:
            _log.warning("monitor.store_failed", error=error.message)
        self._trouble = error.message
        if error.facts.get("cause") == "damaged":
            self._move_aside()
        self._bound()

    def _bound(self) -> None:
        """Drop the oldest observations beyond the limit; what they would show is in `latest`."""
        for batch in self._waiting:
            if self._held <= self._max_held:
                break
            gone = min(len(batch.observations), self._held - self._max_held)
            del batch.observations[:gone]
            self._held -= gone
            self.dropped += gone
        while self._waiting and not any(
            (self._waiting[0].observations, self._waiting[0].alerts, self._waiting[0].messages)
        ):
            self._waiting.popleft()
        if self._waiting:  # Only the newest batch can be untrimmed.
            last = self._waiting[-1]
            last.observations[:] = [evolve(seen, values=_NOTHING) for seen in last.observations]

    def _move_aside(self) -> None:
        """Put the damaged file out of the way, and write all that is known into a new one."""
        if self._store is not None:
            self._store.close()
            self._store = None
        names = [self._path.with_name(f"{self._path.name}.damaged-{n + 1}")
                 for n in range(MAX_DAMAGED)]  # fmt: skip
        target = next((name for name in names if not name.exists()), names[-1])
        try:
            self._path.replace(target)
            for end in ("-wal", "-shm"):
                side = self._path.with_name(self._path.name + end)
                if side.exists():
                    side.replace(target.with_name(target.name + end))
        except OSError:
            return  # The disk is at fault as well; the next flush tries again.
        self.moved_aside = target
        self._waiting.appendleft(_Batch([], tuple(self._alerts.values()), ()))
        _log.error("monitor.store_damaged", moved_to=target.name)
