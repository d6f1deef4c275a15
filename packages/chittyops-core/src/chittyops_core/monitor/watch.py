"""Looks at every monitor when it is due, judges what was seen, and keeps it.

One thread, `Watch.run`, holds the schedule and all alerts; a pool of threads only looks. Once a
tick everything that was seen is judged and kept in one transaction, together with the messages
that follow from it. Due times are of a clock that never goes back: when the wall clock jumps,
nothing is looked at more or less often.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from attrs import define, evolve, field, frozen

from chittyops_core._kit.clock import Clock
from chittyops_core._kit.logs import get_logger
from chittyops_core.errors import ChittyOpsError, StoreError
from chittyops_core.model.monitoring import (
    AlertState,
    Measurement,
    Message,
    Monitor,
    Observation,
    Scalar,
)
from chittyops_core.monitor.alerts import Alert, NoData, Rule, step
from chittyops_core.monitor.buffer import BufferedStore
from chittyops_core.monitor.conditions import Condition
from chittyops_core.monitor.incidents import Maintenance
from chittyops_core.monitor.probes import Probe, conditions_of, probe_for

__all__ = ["Judgement", "Watch", "judge"]

log = get_logger("chittyops.monitor")

TICK_S = 1.0
"""How long what was seen waits to be kept; what a kill loses at most."""

WORKERS = 32
"""Looks at once. 100 targets that all time out after 10 s, every 30 s, keep 33 threads busy."""

OF_ONE_SERVICE = 8
"""Looks at once of one service, so that its slow targets are no other service's trouble."""

LATER_S = 0.25
"""A look for which there is no room is tried again so soon."""

TEND_S = 60.0
"""Between two roll-ups, and two looks at the maintenance windows that others may have added."""

_ILL = (AlertState.PENDING, AlertState.FIRING, AlertState.NO_DATA)


@frozen
class Judgement:
    """Something else than a look that an alert follows from, such as a burn rate.

    Attributes:
        alert: The alert's name.
        service: Slug of the service it belongs to, for maintenance windows.
        rule: When it speaks.
        is_good: Whether all is well.
        why: What is not, in one line.
    """

    alert: str
    service: str | None
    rule: Rule
    is_good: bool
    why: str = ""


@define(eq=False)
class _Watched:
    """One monitor under way."""

    monitor: Monitor
    probe: Probe
    conditions: tuple[Condition, ...]
    seen_at: float
    """When it was last seen or missed, by the monotonic clock."""
    is_looking: bool = False
    is_gone: bool = False
    good: int = 0
    total: int = 0


@define(eq=False)
class _Seen:
    watched: _Watched
    observation: Observation


def judge(
    monitor: str, conditions: Sequence[Condition], measured: Measurement, at: float
) -> Observation:
    """Return what *measured* comes to under *conditions*."""
    why = measured.error
    if not why:
        values: Mapping[str, Scalar] = {"response_time": measured.seconds, **measured.values}
        why = "; ".join(filter(None, (each.explain(values) for each in conditions)))
    # A body is there for conditions only: it is large, and nobody's to keep.
    kept = {name: value for name, value in measured.values.items() if name != "body"}
    return Observation(monitor, at, not why, measured.seconds, why, kept)


@define(eq=False)
class Watch:
    """Watches monitors and keeps what it sees in *store*.

    Attributes:
        store: Where everything goes.
        clock: Time.
        on_messages: Called, in the thread of `run`, when something is to be told.
        every_tend: Called once a minute in the thread of `run`, with the wall-clock time; what it
            returns is judged like a look. None when it cannot tell now.
        rule: When monitors' alerts speak.
        words: Gives a message the words that people read.
    """

    store: BufferedStore
    clock: Clock
    on_messages: Callable[[], None]
    every_tend: Callable[[float], Sequence[Judgement] | None] = lambda now: ()
    rule: Rule = field(factory=Rule)
    words: Callable[[Message], Message] = lambda message: message
    _watched: dict[str, _Watched] = field(factory=dict, init=False)
    _due: list[tuple[float, int, _Watched]] = field(factory=list, init=False)
    _count: itertools.count[int] = field(factory=itertools.count, init=False)
    _seen: queue.SimpleQueue[_Seen] = field(factory=queue.SimpleQueue, init=False)
    _alerts: dict[str, Alert] = field(init=False)
    _stepped: dict[str, float] = field(factory=dict, init=False)
    """When each alert last made a step, by the monotonic clock."""
    _looking: Counter[str] = field(factory=Counter, init=False)
    """How many looks of each service are under way."""
    _windows: Sequence[Maintenance] = field(default=(), init=False)
    _tended: float = field(default=float("-inf"), init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def __attrs_post_init__(self) -> None:
        self._alerts = dict(self.store.alerts())

    # --- what is watched ---

    def set_monitors(self, monitors: Sequence[Monitor]) -> dict[str, ChittyOpsError]:
        """Watch exactly *monitors*; those that stay as they are go on undisturbed.

        Returns:
            Mapping of the names of those that cannot be watched to why; they are left out.
        """
        wrong: dict[str, ChittyOpsError] = {}
        wanted = {monitor.name: monitor for monitor in monitors}
        with self._lock:
            for name in [n for n, w in self._watched.items() if wanted.get(n) != w.monitor]:
                gone = self._watched.pop(name)
                gone.is_gone = True
                gone.probe.close()
            for name, monitor in wanted.items():
                if name in self._watched:
                    continue
                try:
                    probe, conditions = probe_for(monitor, self.clock), conditions_of(monitor)
                except ChittyOpsError as error:
                    wrong[name] = error
                    continue
                now = self.clock.monotonic()
                self._watched[name] = _Watched(monitor, probe, conditions, now)
                # The first look comes soon, but not all of them at once.
                spread = zlib.crc32(name.encode()) % 1000 / 1000
                self._schedule(self._watched[name], now + spread * min(monitor.interval_s, 2.0))
        return wrong

    def probe(self, name: str) -> Probe | None:
        """Return the probe of a monitor, for who knows more than its target says."""
        with self._lock:
            watched = self._watched.get(name)
        return watched.probe if watched else None

    def looks(self, name: str) -> tuple[int, int]:
        """Return how many looks of a monitor were good, and how many there were, since it began."""
        with self._lock:
            watched = self._watched.get(name)
            return (watched.good, watched.total) if watched else (0, 0)

    def monitors(self) -> list[Monitor]:
        """Return what is watched, sorted by name."""
        with self._lock:
            return [self._watched[name].monitor for name in sorted(self._watched)]

    def alerts(self) -> dict[str, Alert]:
        """Return where every alert stands, by name."""
        with self._lock:
            return dict(self._alerts)

    def seen(self, service: str | None = None) -> list[dict[str, Any]]:
        """Return how monitors stand, all or those of *service*, as values for JSON."""
        latest, alerts = self.store.latest(), self.alerts()
        found = []
        for monitor in self.monitors():
            if service not in (None, monitor.service):
                continue
            seen = latest.get(monitor.name)
            alert = alerts.get(monitor.name, Alert(monitor.name))
            found.append(
                {
                    "monitor": monitor.name,
                    "kind": monitor.kind,
                    "service": monitor.service,
                    "state": alert.state.value if seen else "unseen",
                    "since": alert.since or None,
                    "at": seen.at if seen else None,
                    "good": seen.is_good if seen else None,
                    "seconds": seen.seconds if seen else None,
                    "why": seen.why if seen else "",
                }
            )
        return found

    # --- the loop ---

    def run(self, stop: threading.Event) -> None:
        """Watch until *stop* is set; what was seen by then is kept."""
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="look") as pool:
            tick = self.clock.monotonic()
            while not stop.is_set():
                self._start_due(pool)
                now = self.clock.monotonic()
                if now >= tick + TICK_S:
                    tick = now
                    self.keep()
                stop.wait(max(0.01, min(tick + TICK_S, self._next_due()) - now))
            with self._lock:
                for watched in self._watched.values():
                    watched.probe.close()
        self.keep()

    def keep(self) -> None:
        """Judge and keep what was seen since the last call. For `run`, and for tests."""
        now = self.clock.monotonic()
        observations: list[Observation] = []
        changed: dict[str, Alert] = {}
        messages: list[Message] = []
        with self._lock:
            while not self._seen.empty():
                seen = self._seen.get()
                if seen.watched.is_gone:
                    continue
                seen.watched.seen_at = now
                seen.watched.total += 1
                seen.watched.good += seen.observation.is_good
                observations.append(seen.observation)
                self._step(seen.watched, seen.observation, now, changed, messages)
            for watched in self._watched.values():
                self._step_missed(watched, now, changed, messages)
            if now >= self._tended + TEND_S:
                self._tended = now
                judged = self._tend()
                for judgement in judged or ():
                    self._step_judged(judgement, now, changed, messages)
                if judged is not None:
                    self._forget({*self._watched, *(each.alert for each in judged)}, changed)
        if observations or changed or messages:
            self.store.record(observations, changed.values(), messages)
        if messages:
            self.on_messages()

    # --- pieces ---

    def _schedule(self, watched: _Watched, at: float) -> None:
        heapq.heappush(self._due, (at, next(self._count), watched))

    def _next_due(self) -> float:
        with self._lock:
            return self._due[0][0] if self._due else float("inf")

    def _start_due(self, pool: ThreadPoolExecutor) -> None:
        now = self.clock.monotonic()
        with self._lock:
            while self._due and self._due[0][0] <= now:
                at, _, watched = heapq.heappop(self._due)
                if watched.is_gone:
                    continue
                service = watched.monitor.service
                if service is not None and self._looking[service] >= OF_ONE_SERVICE:
                    self._schedule(watched, now + LATER_S)
                    continue
                # From when it was due, so that the rhythm holds; never to catch up in a burst.
                interval = watched.monitor.interval_s
                self._schedule(watched, max(at + interval, now + interval / 2))
                if not watched.is_looking:
                    watched.is_looking = True
                    self._looking[service or ""] += 1
                    pool.submit(self._look, watched)

    def _look(self, watched: _Watched) -> None:
        at = self.clock.now().timestamp()
        try:
            measured = watched.probe.look()
            seen = judge(watched.monitor.name, watched.conditions, measured, at)
            self._seen.put(_Seen(watched, seen))
        except Exception:
            log.exception("monitor.look_failed", monitor=watched.monitor.name)
        finally:
            with self._lock:
                watched.is_looking = False
                self._looking[watched.monitor.service or ""] -= 1

    def _step_missed(
        self, watched: _Watched, now: float, changed: dict[str, Alert], messages: list[Message]
    ) -> None:
        """Count an interval in which nothing was seen, though a look would have had its time."""
        monitor = watched.monitor
        if now - watched.seen_at <= monitor.interval_s + monitor.timeout_s + 2 * TICK_S:
            return
        watched.seen_at = now - monitor.timeout_s - 2 * TICK_S
        self._step(watched, NoData(self.clock.now().timestamp()), now, changed, messages)

    def _step(
        self,
        watched: _Watched,
        seen: Observation | NoData,
        now: float,
        changed: dict[str, Alert],
        messages: list[Message],
    ) -> None:
        monitor = watched.monitor
        self._make_step(
            monitor.name, self.rule, seen, now, changed, messages,
            silenced=any(
                alert.state in _ILL
                for alert in map(self._alerts.get, monitor.depends_on)
                if alert is not None
            ),
            scopes=(monitor.name, monitor.service or ""),
        )  # fmt: skip

    def _step_judged(
        self,
        judgement: Judgement,
        now: float,
        changed: dict[str, Alert],
        messages: list[Message],
    ) -> None:
        at = self.clock.now().timestamp()
        seen = Observation(judgement.alert, at, judgement.is_good, 0.0, judgement.why)
        scopes = (judgement.alert, judgement.service or "")
        self._make_step(
            judgement.alert, judgement.rule, seen, now, changed, messages,
            silenced=False, scopes=scopes,
        )  # fmt: skip

    def _make_step(
        self,
        name: str,
        rule: Rule,
        seen: Observation | NoData,
        now: float,
        changed: dict[str, Alert],
        messages: list[Message],
        *,
        silenced: bool,
        scopes: Sequence[str],
    ) -> None:
        before = self._alerts.get(name) or Alert(name)
        alert, message = step(
            before,
            rule,
            seen,
            elapsed_s=now - self._stepped.get(name, now),
            silenced=silenced,
            maintenance=any(window.covers(seen.at, *scopes) for window in self._windows),
        )
        self._stepped[name] = now
        if alert != before:
            self._alerts[name] = changed[name] = alert
        if message is not None:
            messages.append(self.words(message))

    def _tend(self) -> Sequence[Judgement] | None:
        at = self.clock.now().timestamp()
        self.store.tend(at)
        try:
            if self.store.store is not None:
                self._windows = self.store.store.maintenance(at)
        except StoreError as error:
            log.warning("monitor.maintenance_unread", error=error.message)
        return self.every_tend(at)

    def _forget(self, wanted: set[str], changed: dict[str, Alert]) -> None:
        """End, without a word, the alerts of what nobody wants to know any more."""
        at = self.clock.now().timestamp()
        for name, alert in self._alerts.items():
            if alert.state is not AlertState.OK and name not in wanted:
                changed[name] = evolve(
                    alert, state=AlertState.OK, since=at, is_open=False, told=AlertState.RESOLVED,
                    failures=0, clean=0, clean_s=0.0, clean_since=None,
                )  # fmt: skip
        self._alerts |= changed
