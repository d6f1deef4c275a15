"""What is watched, what was seen, and what follows: the words that all of monitor-lite shares."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from attrs import field, frozen

__all__ = [
    "AlertState",
    "Measurement",
    "Message",
    "Monitor",
    "Observation",
    "Scalar",
    "Severity",
]

Scalar = float | str | bool | None


@frozen
class Monitor:
    """One thing that is watched: a probe, asked again and again, and when its answer is good.

    Attributes:
        name: Unique on a host: `court.production/http`, or `host/disk`.
        kind: Which probe, by its name in the entry point group `chittyops.probes`.
        target: What the probe looks at: a URL, `host:port`, a path; what it is depends on *kind*.
        service: Slug of the service that it belongs to; None for the host's own.
        interval_s: Seconds between two looks.
        timeout_s: Seconds after which a look counts as failed.
        conditions: All must hold, such as `status < 300`; the probe's own when empty.
        options: What else the probe takes, by its own names.
        depends_on: Names of monitors without which this one cannot be well. While one of them is
            firing, this one tells nobody.
    """

    name: str
    kind: str
    target: str
    service: str | None = None
    interval_s: float = 30.0
    timeout_s: float = 10.0
    conditions: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(factory=dict)
    depends_on: tuple[str, ...] = ()


@frozen
class Measurement:
    """What one look showed. A probe never raises for what it looks at; it says so in *error*.

    Attributes:
        seconds: How long it took.
        values: What conditions may ask for, by name; durations in seconds, sizes in bytes.
        error: Why there is no answer, in one line for a person; empty when there is one.
    """

    seconds: float
    values: Mapping[str, Scalar] = field(factory=dict)
    error: str = ""


@frozen
class Observation:
    """A measurement, judged by its monitor's conditions.

    Attributes:
        monitor: Name of the monitor.
        at: Seconds since the epoch, by the wall clock, when the look began.
        is_good: Whether there was an answer and all conditions held.
        seconds: How long the look took.
        why: What did not hold, in one line; empty when all is well.
        values: See Measurement.
    """

    monitor: str
    at: float
    is_good: bool
    seconds: float
    why: str = ""
    values: Mapping[str, Scalar] = field(factory=dict)


class AlertState(StrEnum):
    """Where an alert stands."""

    OK = "ok"
    PENDING = "pending"
    """It failed, but not often enough to wake anybody."""
    FIRING = "firing"
    RESOLVED = "resolved"
    """It was firing and has been clean for long enough; the next good look makes it ok."""
    NO_DATA = "no-data"
    """Nobody looks any more: the prober itself is dead, or late by several intervals."""


class Severity(StrEnum):
    """How soon a person has to look (SRE workbook, chapter 5)."""

    PAGE = "page"
    TICKET = "ticket"


@frozen
class Message:
    """One thing to tell people, written in the transaction that changed the state.

    Attributes:
        id: Unique and stable, so that a receiver can tell a repetition.
        alert: Which alert: a monitor's name, or `SLUG/slo/NAME/page`.
        state: What it came to: firing, resolved or no-data.
        severity: How soon a person has to look.
        at: Seconds since the epoch of the change.
        title: One line, in plain words.
        body: What was seen, since when, and what to do next.
    """

    id: str
    alert: str
    state: AlertState
    severity: Severity
    at: float
    title: str
    body: str
