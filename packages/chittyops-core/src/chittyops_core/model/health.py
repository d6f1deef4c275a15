"""What one look at a release showed."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen

__all__ = ["Health", "InstanceState", "Look", "Verdict"]


class Verdict(StrEnum):
    """What a look says about a release as a whole."""

    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    DEAD = "dead"
    """A process ended by itself; waiting longer will not help."""
    GONE = "gone"
    """Nothing of the release runs."""


@frozen
class Look:
    """One health request and its answer, kept to be shown when a gate fails.

    Attributes:
        curl: The command that a person can type to see the same.
        status: HTTP status; None without an answer.
        headers: Answer's header lines, at most 20.
        body: First 400 characters of the answer's body.
        error: Why there was no answer, or why this one does not count.
    """

    curl: str
    status: int | None = None
    headers: tuple[str, ...] = ()
    body: str = ""
    error: str = ""


@frozen
class InstanceState:
    """One process or container.

    Attributes:
        name: `web.0`: process and index.
        verdict: What it looks like.
        pid: Its process id, None where it has none.
        explanation: Why it is not healthy.
        look: Its last health request; None for what has no health path.
    """

    name: str
    verdict: Verdict
    pid: int | None = None
    explanation: str = ""
    look: Look | None = None


@frozen
class Health:
    """One look at all instances of a release.

    Attributes:
        instances: Every instance that should run, in the manifest's order.
        in_flight: Connections that the release still serves; None when unknown.
    """

    instances: tuple[InstanceState, ...]
    in_flight: int | None = None

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of its instances; GONE without any."""
        order = [
            Verdict.DEAD, Verdict.GONE, Verdict.UNHEALTHY, Verdict.STARTING, Verdict.HEALTHY
        ]  # fmt: skip
        found = {instance.verdict for instance in self.instances}
        return next((verdict for verdict in order if verdict in found), Verdict.GONE)

    @property
    def worst(self) -> InstanceState | None:
        """The first instance that has the worst verdict."""
        verdict = self.verdict
        return next((i for i in self.instances if i.verdict is verdict), None)
