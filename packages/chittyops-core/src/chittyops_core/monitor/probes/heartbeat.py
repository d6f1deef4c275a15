"""`heartbeat`: something else calls us, and we notice when it does not.

The words are healthchecks.io's (docs: "Signaling failures", "Measuring script run time"): a job
pings when it is done, may ping `/start` before and `/fail` or its exit status instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar

from attrs import evolve, frozen

from chittyops_core._kit.clock import Clock
from chittyops_core.model.monitoring import Monitor
from chittyops_core.monitor.conditions import parse_duration
from chittyops_core.monitor.probes.base import Check, Deadline, LookError, Probe, Unit, Values
from chittyops_core.monitor.units import show_duration

__all__ = ["Heartbeat", "HeartbeatProbe", "HeartbeatState", "Ping"]

MAX_EXIT_STATUS = 255
"""What a process can return (wait(2))."""


class HeartbeatState(StrEnum):
    """How a job stands, in healthchecks.io's words."""

    NEW = "new"
    """It has never pinged; nobody is woken for that before its period and grace are over."""
    UP = "up"
    STARTED = "started"
    GRACE = "grace"
    """It is late, but not later than its grace time."""
    DOWN = "down"


@frozen
class Ping:
    """What a job says of itself.

    Attributes:
        at: Seconds since the epoch, by the wall clock.
        is_start: Whether it only begins.
        exit_status: 0 is success, 1 to 255 failure; a start has none.
    """

    at: float
    is_start: bool = False
    exit_status: int = 0

    @classmethod
    def parse(cls, word: str, at: float) -> Ping:
        """Read the last part of a ping's path: '', `start`, `fail` or an exit status.

        Raises:
            ValueError: It is none of them.
        """
        if word in ("", "start"):
            return cls(at, is_start=word == "start")
        if word == "fail":
            return cls(at, exit_status=1)
        if word.isascii() and word.isdigit() and len(word) < 4 and int(word) <= MAX_EXIT_STATUS:
            return cls(at, exit_status=int(word))
        raise ValueError(f"a ping is '', start, fail or 0 to {MAX_EXIT_STATUS}, not {word!r}")


@frozen
class Heartbeat:
    """All that is remembered of a job; a value, so that the agent can store and restore it.

    Attributes:
        ended_at: Seconds since the epoch of the last ping that was no start; None before it.
        started_at: Of the start that has no end yet; None when it does not run.
        exit_status: Of the last end.
        ran_s: Seconds between the last end and its start; None when there was no start.
    """

    ended_at: float | None = None
    started_at: float | None = None
    exit_status: int = 0
    ran_s: float | None = None

    def after(self, ping: Ping) -> Heartbeat:
        """Return what is to be remembered after *ping*. The last one that came counts."""
        if ping.is_start:
            return evolve(self, started_at=ping.at)
        ran = None if self.started_at is None else max(0.0, ping.at - self.started_at)
        return Heartbeat(ping.at, None, ping.exit_status, ran)

    def judge(self, now: float, period_s: float, grace_s: float) -> tuple[HeartbeatState, str]:
        """Return how the job stands at *now*, and why it is down ('' when it is not).

        A clock that was set back makes nobody late: a ping from the future counts as new.
        """
        is_running = self.started_at is not None
        if is_running and (ran := now - (self.started_at or 0.0)) > grace_s:
            return HeartbeatState.DOWN, (
                f"it started {show_duration(ran)} ago and has not ended, "
                f"should take at most {show_duration(grace_s)}"
            )
        if self.ended_at is None:
            return (HeartbeatState.STARTED if is_running else HeartbeatState.NEW), ""
        if self.exit_status:
            return HeartbeatState.DOWN, f"it said that it failed, with status {self.exit_status}"
        silent = now - self.ended_at
        if silent > period_s + grace_s:
            return HeartbeatState.DOWN, (
                f"no ping for {show_duration(silent)}, should come every "
                f"{show_duration(period_s)} and at most {show_duration(grace_s)} late"
            )
        if is_running:
            return HeartbeatState.STARTED, ""
        return (HeartbeatState.GRACE if silent > period_s else HeartbeatState.UP), ""


class HeartbeatProbe(Probe):
    """Say how a job stands by the pings that the agent has recorded.

    The target is the job's name; it is used for nothing. The agent sets `beat` (a value that it
    stores) after every ping: `probe.beat = probe.beat.after(ping)`. Options:

    - `period`: How often it should ping, such as `1h` or `1d`; one day when not given.
    - `grace`: How much later, and how long it may run; one hour when not given.
    """

    kind = "heartbeat"
    values: ClassVar[Mapping[str, Unit]] = {
        "state": Unit.TEXT,
        "exit_status": Unit.NUMBER,
        "silent_for": Unit.DURATION,
        "run_time": Unit.DURATION,
    }
    options: ClassVar[Mapping[str, Check]] = {"period": parse_duration, "grace": parse_duration}

    def __init__(self, monitor: Monitor, clock: Clock | None = None) -> None:
        super().__init__(monitor, clock)
        self.beat = Heartbeat()
        self._began = self.clock.monotonic()

    def _prepare(self, target: str) -> None:
        self._period_s: float = self._option("period", 86400.0)
        self._grace_s: float = self._option("grace", 3600.0)

    def _look(self, values: Values, deadline: Deadline) -> None:
        beat = self.beat
        now = self.clock.now().timestamp()
        state, why = beat.judge(now, self._period_s, self._grace_s)
        waited = self.clock.monotonic() - self._began
        if state is HeartbeatState.NEW and waited > self._period_s + self._grace_s:
            # healthchecks.io lets it be new for ever; a job that was set up wrongly never pings.
            state = HeartbeatState.DOWN
            why = f"it has never pinged, for {show_duration(waited)}"
        values["state"] = state.value
        if beat.ended_at is not None:
            values["exit_status"] = beat.exit_status
            values["silent_for"] = max(0.0, now - beat.ended_at)
        if beat.ran_s is not None:
            values["run_time"] = beat.ran_s
        if why:
            raise LookError(why)
