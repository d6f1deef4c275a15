"""The rhythm of a child: when it speaks to its parent, and what it does with what came back.

One thread runs it. It takes turns: sample, sync, and wait for the next turn that the parent paced,
or for something urgent. Whatever happens in a turn, the next one comes; nothing that is owed is
given up because a parent refused, was away or made no sense (docs/protocol.md section 8).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum, auto
from functools import partial
from pathlib import Path
from typing import Any

from attrs import frozen

from chittyops_core._kit import wire
from chittyops_core._kit.clock import Clock, SystemClock
from chittyops_core._kit.locks import FileLock, LockHeldError
from chittyops_core._kit.logs import get_logger
from chittyops_core.bridge import enrol, identity, membership, pace
from chittyops_core.bridge.client import Answered, Outcome, ParentClient, Refused, Unheard
from chittyops_core.bridge.consent import NOTHING, Grants
from chittyops_core.bridge.identity import Keys
from chittyops_core.bridge.membership import OUTBOX, PAUSED, Membership
from chittyops_core.bridge.outbox import Batch, Outbox
from chittyops_core.bridge.pace import Rhythm
from chittyops_core.bridge.protocol import (
    ENROLMENTS,
    MAX_ITEMS,
    SYNC,
    Answer,
    ChildState,
    ItemKind,
    ProblemType,
    Section,
)
from chittyops_core.bridge.syncs import ITEM_BYTES, Report, SyncBuilder, sample
from chittyops_core.errors import BridgeError, ChittyOpsError, StoreError

__all__ = ["ParentBridge", "Report"]

LOOK_S = 0.5
"""Between two looks for what other processes did: an urgent item, a pause, an enrolment."""
FLUSH_S = 2.0
"""What the end may take."""
TROUBLE_S = 30.0
"""Until the next turn, after one that failed by itself: a full disk, a damaged file."""
MAX_UNWRITTEN = 288
"""Samples that are kept in memory while the disk is full: a day of one each 5 minutes."""

log = get_logger("chittyops.bridge")


class _Doubt(Enum):
    """What is being found out about a request that the parent cannot take."""

    NONE = auto()
    ALONE = auto()
    """The first item is sent with nothing else; if that is refused too ..."""
    EMPTY = auto()
    """... nothing at all is sent. If that is taken, the item may be at fault; else it is not."""
    AGAIN = auto()
    """The item is sent alone once more, to a parent that takes requests: now it is certain."""


@frozen
class _Sent:
    """A request under way.

    Attributes:
        batch: What was taken for it.
        items: How many of that went out.
        first: Number of the first of them; None for none.
    """

    batch: Batch
    items: int
    first: int | None


class ParentBridge:
    """Keeps the parent informed, from `run` to its end.

    Args:
        folder: The bridge's: its key, membership, outbox and grants.
        report: Returns what the host tells; called in the thread of `run`. What it raises is
            logged, and the last state that it gave is told on.
        clock: The time.
        rhythm: The bounds of the pace.
    """

    def __init__(
        self, folder: Path, report: Callable[[], Report], clock: Clock | None = None, *,
        rhythm: Rhythm | None = None,
    ) -> None:  # fmt: skip
        self._folder = folder
        self._report = report
        self._clock = clock or SystemClock()
        self._rhythm = rhythm or Rhythm()
        self._awake = threading.Event()
        self._stop = threading.Event()
        self._is_asked = False
        self._outbox: Outbox | None = None
        self._builder: SyncBuilder | None = None
        self._call: _Call | None = None
        self._state: Mapping[str, Any] = {}
        self._unwritten: deque[tuple[str, tuple[str, ...], dict[str, Any]]] = deque(
            maxlen=MAX_UNWRITTEN
        )
        self._interval_s = self._rhythm.usual_s
        self._next_sync = self._next_sample = 0.0
        self._last_sync = self._sampled_at = self._trouble_until = float("-inf")
        self._failed = 0
        self._size = MAX_ITEMS
        self._doubt = _Doubt.NONE
        self._suspect: int | None = None
        self._held_until = float("-inf")
        self._skew_s = 0.0
        self._has_corrected = self._has_followed_up = False
        self._who: tuple[str, str, float] | None = None

    def wake(self) -> None:
        """Sync soon: at once, but not within 15 s of the last sync, nor during a back-off."""
        self._is_asked = True
        self._awake.set()

    def run(self, stop: threading.Event) -> None:
        """Speak with the parent until *stop*; then flush what is owed, in at most 2 s.

        Another bridge of the same folder waits until this one has ended. It raises nothing.
        """
        self._stop = stop
        lock: FileLock | None = None
        try:
            while not stop.is_set():
                wait_s = LOOK_S
                if self._clock.monotonic() >= self._trouble_until:
                    lock = lock or self._lock()
                    wait_s = self._try_turn() if lock else LOOK_S
                self._awake.wait(min(max(wait_s, 0.0), LOOK_S))
                self._awake.clear()
            self._flush(lock)
        except Exception:
            log.exception("bridge.end_failed")
        finally:
            self._close(lock)

    # --- turns ---

    def _try_turn(self) -> float:
        """Do what is due; return the seconds until something may be due again."""
        try:
            return self._turn()
        except ChittyOpsError as error:
            log.error("bridge.turn_failed", error=error.message, remedy=error.remedy)
        except Exception:
            log.exception("bridge.turn_failed")
        self._trouble_until = self._clock.monotonic() + min(TROUBLE_S, self._rhythm.usual_s)
        return LOOK_S

    def _turn(self) -> float:
        member = membership.read(self._folder)
        if member is None:
            self._forget()
            return LOOK_S
        self._require_same(member)
        if self._clock.monotonic() >= self._next_sample:
            self._sample(member)
        left_s = self._due() - self._clock.monotonic()
        if left_s > 0 or (self._folder / PAUSED).exists():
            return (
                min(left_s, self._next_sample - self._clock.monotonic()) if left_s > 0 else LOOK_S
            )
        keys = identity.read(self._folder)
        if keys is None:
            raise BridgeError(
                f"the key is gone from {self._folder}",
                remedy="Restore it from a backup, or `chittyops enroll` as a new child.",
            )
        self._is_asked = False
        if member.state is ChildState.ACCEPTED:
            self._sync(member, keys)
        else:
            self._ask_state(member, keys)
        return self._due() - self._clock.monotonic()

    def _due(self) -> float:
        """Return when to ask the parent, by the clock that never goes back."""
        is_held = self._clock.monotonic() < self._held_until
        if self._failed or not (self._is_asked or (self._open().has_urgent() and not is_held)):
            return self._next_sync
        return min(self._next_sync, self._last_sync + self._rhythm.urgent_s)

    def _sample(self, member: Membership) -> None:
        """Ask the host how it is, and keep what it measured."""
        at = self._clock.now().timestamp() + self._skew_s
        wait_s = pace.next_aligned_s(at, self._interval_s, member.child)
        self._next_sample = self._clock.monotonic() + wait_s
        self._sampled_at = self._clock.monotonic()
        try:
            report = self._report()
        except Exception:
            log.exception("bridge.report_failed")
            return
        self._state = dict(report.state)
        grants = self._grants()
        granted = {name: value for name, value in report.metrics.items() if grants.metric(name)}
        self._unwritten.extend(sample(granted, at))
        self._write_samples()

    def _write_samples(self) -> None:
        """Put what was measured; on a full disk it stays in memory, the newest of it."""
        outbox, builder = self._open(), self._built()
        try:
            while self._unwritten:
                set_id, names, body = self._unwritten[0]
                builder.keep_names(set_id, names)
                outbox.put(ItemKind.METRICS, body)
                self._unwritten.popleft()
        except StoreError as error:
            log.warning("bridge.not_written", error=error.message, waiting=len(self._unwritten))

    def _sync(self, member: Membership, keys: Keys) -> None:
        if self._clock.monotonic() - self._sampled_at > self._rhythm.least_s:
            self._sample(member)  # Asked between two turns, it tells how things are now.
        sent, body = self._prepare()
        client = self._client(member, keys)
        outcome = self._exchange(lambda: client.post(SYNC, body))
        if outcome is not None:
            self._settle(member, keys, client, sent, outcome)

    def _prepare(self) -> tuple[_Sent, bytes]:
        """Take what the next request brings, and write it."""
        outbox, builder, grants = self._open(), self._built(), self._grants()
        is_held = self._clock.monotonic() < self._held_until
        if is_held or grants is NOTHING or self._doubt is _Doubt.EMPTY:
            most = 0
        else:
            most = self._size if self._doubt is _Doubt.NONE else 1
        state = None
        if self._doubt is _Doubt.NONE:
            state = grants.state({**self._state, Section.BRIDGE.value: self._own(grants)})
        batch = outbox.take(most, ITEM_BYTES)
        items = builder.granted(batch, grants)
        sent = _Sent(batch, len(items), items[0].seq if items else None)
        return sent, builder.body(batch, items, state, grants)

    def _own(self, grants: Grants) -> dict[str, Any]:
        """Return the section that tells of the bridge itself."""
        backlog = self._open().backlog()
        return {
            "grants": dict.fromkeys(grants.caps(), True),
            "lag": max(0, backlog.items - self._size),
            "dropped": dict(backlog.dropped),
            "dead": backlog.dead,
            "skew_s": round(self._skew_s),
        }

    def _exchange(self, ask: Callable[[], Outcome], most_s: float | None = None) -> Outcome | None:
        """Let a thread of its own ask; None when the end came first.

        So that a parent that trickles holds up neither the end nor more than one request.
        """
        if self._call is not None and not self._call.is_done.is_set():
            return Unheard("the request before is still under way")
        self._last_sync = self._clock.monotonic()
        self._call = _Call(ask)
        until = None if most_s is None else self._clock.monotonic() + most_s
        while not self._call.is_done.wait(0.05):
            if until is None and self._stop.is_set():
                until = self._clock.monotonic() + FLUSH_S
            if until is not None and self._clock.monotonic() >= until:
                return None
        return self._call.outcome

    # --- what came back ---

    def _settle(
        self, member: Membership, keys: Keys, client: ParentClient, sent: _Sent, outcome: Outcome
    ) -> None:
        """Do what docs/protocol.md section 8 says, and note when to ask again."""
        self._skew_s = client.skew_s
        if isinstance(outcome, Answered):
            outcome = self._settle_answer(member, sent, outcome)
        if isinstance(outcome, Unheard):
            self._size = max(1, self._size // 2)  # A line that is too slow for much takes little.
            self._wait_after_failure()
        elif isinstance(outcome, Refused):
            self._settle_refusal(member, keys, client, sent, outcome)
        self._note(outcome)

    def _settle_answer(
        self, member: Membership, sent: _Sent, answered: Answered
    ) -> Answered | Unheard:
        try:
            answer = wire.from_wire(Answer, dict(answered.body))
        except Exception as error:  # What cattrs raises has many types.
            return Unheard(f"the parent's answer is not understood ({type(error).__name__})")
        self._failed = 0
        self._has_corrected = False
        self._interval_s = self._rhythm.next_s(answer.next_s)
        was_in_doubt = self._doubt is not _Doubt.NONE
        self._settle_doubt()
        outbox = self._open()
        self._tolerate_full_disk(lambda: outbox.acknowledge(answer.acked))
        self._tolerate_full_disk(lambda: outbox.note("answer", dict(answered.body)))
        has_asked = self._built().heard(answered.body) and not self._has_followed_up
        self._has_followed_up = has_asked
        self._size = min(MAX_ITEMS, self._size * 2)
        has_moved = answer.acked > sent.batch.after or len(sent.batch.items) > sent.items
        if has_asked or was_in_doubt or (sent.batch.has_more and has_moved):
            self._wait(self._rhythm.backlog_s)
        else:
            at = self._clock.now().timestamp() + self._skew_s
            self._wait(pace.next_aligned_s(at, self._interval_s, member.child))
        return answered

    def _settle_doubt(self) -> None:
        """Go on after a request that the parent took."""
        if self._doubt is _Doubt.EMPTY:
            self._doubt = _Doubt.AGAIN
            return
        if self._doubt is not _Doubt.NONE:
            self._size = 1
        self._doubt, self._suspect = _Doubt.NONE, None

    def _settle_refusal(
        self, member: Membership, keys: Keys, client: ParentClient, sent: _Sent, refused: Refused
    ) -> None:
        problem = refused.problem
        log.warning("bridge.refused", problem=problem, status=refused.status, detail=refused.detail)
        if problem in (ProblemType.MALFORMED, ProblemType.TOO_LARGE):
            self._suspect_items(sent, problem)
        elif problem == ProblemType.GAP and self._rewind(sent.batch, refused.acked):
            self._retry_soon()
        elif problem == ProblemType.STREAM:
            self._open().renew_stream()
            log.warning("bridge.new_stream", why="another writer used the former one")
            self._retry_soon()
        elif problem in _STATES:
            self._note_state(member, _STATES[ProblemType(problem)])
            self._wait(self._rhythm.slow_s)
        elif problem == ProblemType.SKEW and not self._has_corrected:
            self._has_corrected = True
            log.warning("bridge.clock_corrected", skew_s=round(self._skew_s, 1))
            self._wait(0.0)
        elif problem == ProblemType.UNKNOWN_KEY and self._rotate_again(member, keys):
            self._retry_soon()
        elif problem == ProblemType.VERSION:
            self._wait(self._rhythm.slow_s)
        elif refused.retry_after_s is not None:
            self._failed += 1
            self._wait(pace.retry_s(self._rhythm, refused.retry_after_s))
        else:
            self._wait_after_failure()

    def _suspect_items(self, sent: _Sent, problem: str) -> None:
        """Find the item that the parent cannot take, if it is one."""
        if sent.items > 1 and problem == ProblemType.TOO_LARGE:
            self._size = max(1, sent.items // 2)
            self._retry_soon()
        elif self._doubt is _Doubt.NONE and sent.items:
            self._doubt = _Doubt.ALONE
            self._retry_soon()
        elif self._doubt is _Doubt.ALONE and sent.items:
            self._doubt, self._suspect = _Doubt.EMPTY, sent.first
            self._retry_soon()
        elif self._doubt is _Doubt.AGAIN and sent.first == self._suspect:
            self._set_apart(sent.first, problem)
            self._doubt, self._suspect = _Doubt.NONE, None
            self._retry_soon()
        else:
            self._doubt, self._suspect = _Doubt.NONE, None
            self._wait_after_failure()

    def _set_apart(self, seq: int | None, problem: str) -> None:
        """Put an item aside that the parent cannot take; wait with one that must stay."""
        if seq is not None and self._open().set_apart(seq, f"the parent refused it: {problem}"):
            log.error("bridge.item_set_apart", seq=seq, problem=problem)
            return
        self._held_until = self._clock.monotonic() + self._rhythm.slow_s
        log.error(
            "bridge.item_refused", seq=seq, problem=problem,
            remedy="It is of a kind that is never dropped. Until the parent takes it, nothing "
            "behind it is sent: upgrade the parent, or ask its operator.",
        )  # fmt: skip

    def _rewind(self, batch: Batch, acked: int | None) -> bool:
        """Go back to what a restored parent has; false where that is no step back."""
        if acked is None or not 0 <= acked < batch.after:
            return False
        log.warning("bridge.parent_restored", acked=acked, before=batch.after)
        self._open().rewind(acked)
        return True

    def _rotate_again(self, member: Membership, keys: Keys) -> bool:
        """Bring the present key by a former one: the parent was restored from before a rotation."""
        for former in keys.former:
            client = enrol.client_of(member, former, self._skew_s)
            outcome = self._exchange(partial(enrol.bring_key, client, former, keys.present))
            if isinstance(outcome, Answered):
                log.warning("bridge.key_rotated_again", key=keys.present.id, former=former.id)
                return True
        return False

    def _ask_state(self, member: Membership, keys: Keys) -> None:
        """Ask where this child stands, as long as it may not sync."""
        client = self._client(member, keys)
        outcome = self._exchange(lambda: client.get(f"{ENROLMENTS}/{member.child}"))
        if outcome is None:
            return
        self._skew_s = client.skew_s
        self._note(outcome)
        if isinstance(outcome, Unheard):
            self._wait_after_failure()
            return
        found = enrol.read_enrolled(outcome) if isinstance(outcome, Answered) else outcome
        if isinstance(found, Refused) and found.problem == ProblemType.SKEW:
            self._wait(self._rhythm.backlog_s)
        elif isinstance(found, Unheard | Refused):
            self._wait(self._rhythm.slow_s)
        else:
            self._failed = 0
            self._note_state(member, found.state)
            is_pending = found.state is ChildState.PENDING
            is_accepted = found.state is ChildState.ACCEPTED
            asked_s = self._rhythm.next_s(found.next_s) if is_pending else self._rhythm.slow_s
            self._wait(0.0 if is_accepted else asked_s)

    def _note_state(self, member: Membership, state: ChildState) -> None:
        """Keep where the child stands; it is the parent's to say, and never the end of anything."""
        if state is member.state:
            return
        membership.write(self._folder, member.with_state(state))
        level = log.info if state is ChildState.ACCEPTED else log.error
        level("bridge.state_changed", before=member.state.value, now=state.value)

    # --- when ---

    def _wait(self, seconds: float) -> None:
        self._next_sync = self._clock.monotonic() + seconds

    def _retry_soon(self) -> None:
        """Ask again as soon as a backlog would; after the third time in a row as after failures."""
        self._failed += 1
        if self._failed <= 3:
            self._wait(self._rhythm.backlog_s)
        else:
            self._wait(self._rhythm.backlog_s + pace.backoff_s(self._rhythm, self._failed - 3))

    def _wait_after_failure(self) -> None:
        self._failed += 1
        self._wait(pace.backoff_s(self._rhythm, self._failed))

    # --- files ---

    def _lock(self) -> FileLock | None:
        """Take the sender's lock; None while another process has it."""
        if not (self._folder / membership.FILE_NAME).exists():
            return None
        try:
            return self._open().sender_lock().acquire("sync", wait=None)
        except LockHeldError:
            return None
        except ChittyOpsError as error:
            log.error("bridge.outbox_failed", error=error.message, remedy=error.remedy)
            return None

    def _open(self) -> Outbox:
        if self._outbox is None:
            self._outbox = Outbox(self._folder / OUTBOX)
            self._builder = SyncBuilder(self._outbox)
            skew_s = self._outbox.noted("skew_s")
            self._skew_s = float(skew_s) if isinstance(skew_s, int | float) else 0.0
        return self._outbox

    def _built(self) -> SyncBuilder:
        self._open()
        assert self._builder is not None
        return self._builder

    def _client(self, member: Membership, keys: Keys) -> ParentClient:
        return enrol.client_of(member, keys.present, self._skew_s)

    def _grants(self) -> Grants:
        try:
            return Grants.read(self._folder)
        except BridgeError as error:
            log.error("bridge.grants_unread", error=error.message, remedy=error.remedy)
            return NOTHING

    def _require_same(self, member: Membership) -> None:
        """Begin anew when the host was enrolled with another parent, or as another child."""
        who = (member.parent, member.child, member.enrolled_at)
        if who != self._who:
            self._who = who
            self._builder = SyncBuilder(self._open())
            self._next_sync = self._next_sample = self._clock.monotonic()
            self._failed = 0
            self._doubt, self._suspect = _Doubt.NONE, None

    def _forget(self) -> None:
        self._who = None
        self._unwritten.clear()

    def _note(self, outcome: Outcome) -> None:
        """Keep what came of the last request, for `status`."""
        at = self._clock.now().timestamp()
        said: dict[str, Any] = {"at": at, "next_at": at + self._next_sync - self._clock.monotonic()}
        if isinstance(outcome, Answered):
            said |= {"outcome": "answered", "why": ""}
        elif isinstance(outcome, Refused):
            said |= {"outcome": "refused", "why": outcome.detail or outcome.problem}
        else:
            said |= {"outcome": "unheard", "why": outcome.why}
            log.info("bridge.unheard", why=outcome.why, failed=self._failed)
        outbox = self._open()
        self._tolerate_full_disk(lambda: outbox.note("last", said))
        if not isinstance(outcome, Unheard):
            self._tolerate_full_disk(lambda: outbox.note("heard_at", at))
        if abs((outbox.noted("skew_s") or 0.0) - self._skew_s) > 1.0:
            self._tolerate_full_disk(lambda: outbox.note("skew_s", self._skew_s))

    def _tolerate_full_disk(self, write: Callable[[], object]) -> None:
        """Go on without a note that cannot be written; what it says comes again."""
        try:
            write()
        except StoreError as error:
            log.warning("bridge.not_written", error=error.message)

    # --- the end ---

    def _flush(self, lock: FileLock | None) -> None:
        """Send once what is owed, if the parent was there the last time."""
        member, keys = membership.read(self._folder), identity.read(self._folder)
        if lock is None or member is None or keys is None or self._failed:
            return
        is_busy = self._call is not None and not self._call.is_done.is_set()
        if is_busy or member.state is not ChildState.ACCEPTED or (self._folder / PAUSED).exists():
            return
        if not self._open().owes():
            return
        sent, body = self._prepare()
        client = self._client(member, keys)
        outcome = self._exchange(lambda: client.post(SYNC, body), FLUSH_S)
        if outcome is not None:
            self._settle(member, keys, client, sent, outcome)

    def _close(self, lock: FileLock | None) -> None:
        if lock is not None:
            lock.release()
        if self._outbox is not None:
            self._outbox.close()


_STATES = {
    ProblemType.NOT_ACCEPTED: ChildState.PENDING,
    ProblemType.REVOKED: ChildState.REVOKED,
    ProblemType.CLONED: ChildState.CLONED,
}


class _Call:
    """A question in a thread of its own, which ends with the process."""

    def __init__(self, ask: Callable[[], Outcome]) -> None:
        self.is_done = threading.Event()
        self.outcome: Outcome = Unheard("the request was not made")
        self._ask = ask
        threading.Thread(target=self._run, name="parent", daemon=True).start()

    def _run(self) -> None:
        try:
            self.outcome = self._ask()
        except ChittyOpsError as error:
            self.outcome = Unheard(error.message)
        except Exception as error:
            log.exception("bridge.request_failed")
            self.outcome = Unheard(f"the request failed ({type(error).__name__})")
        finally:
            self.is_done.set()
