"""What every target can do.

Verbs are idempotent and keyed by release id: calling one twice, or after a crash in its middle,
ends where calling it once does. The engine owns order and time; a target never waits longer
than it is told to. `chittyops_core.testing.contracts.TargetContract` states what a target must
keep, as tests that a new one inherits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import ClassVar

from attrs import frozen

from chittyops_core.deploy.source import Source
from chittyops_core.model.health import Health
from chittyops_core.model.manifest import Builder
from chittyops_core.model.release import Release
from chittyops_core.model.service import Service

__all__ = ["Address", "BuildInput", "Capability", "CommandResult", "LogLine", "Observed", "Target"]


class Capability(StrEnum):
    """What only some targets can do."""

    EXEC = "exec"
    WARM = "warm"
    """A release can run beside the serving one for as long as wished."""
    STAGE_ROUTE = "stage-route"
    """The staged release can be reached through the real edge."""


@frozen
class Observed:
    """What is true on the target, whatever the journal says.

    Attributes:
        serving: The release that gets the requests; None when none does.
        running: Releases with anything that `retire` would take away.
        present: Releases that can be staged without a build.
    """

    serving: str | None
    running: frozenset[str]
    present: frozenset[str]


@frozen
class BuildInput:
    """How to make an artifact that is not there yet."""

    source: Source
    builder: Builder
    python: str | None


@frozen
class Address:
    """How to reach a service or its staged release.

    Attributes:
        url: For a person's browser on this machine.
        connect: `host:port` to dial.
        host: What `Host`, and with TLS the server name, must say.
        tls: Whether to speak TLS.
        ca_file: PEM file of the certificate authority to trust; None for the system's.
        plain_connect: `host:port` of the HTTP side, which redirects where `tls`.
    """

    url: str
    connect: str
    host: str
    tls: bool
    ca_file: str | None
    plain_connect: str


@frozen
class CommandResult:
    """How a command in a release ended. `tail`: its last output lines, oldest first."""

    status: int
    tail: tuple[str, ...]


@frozen
class LogLine:
    """One line of one instance's output."""

    instance: str
    text: str


class Target(ABC):
    """Where releases run."""

    kind: ClassVar[str]
    capabilities: ClassVar[frozenset[Capability]]

    @abstractmethod
    def observe(self, service: Service) -> Observed:
        """Return what is true now, without side effects."""

    @abstractmethod
    def release(self, service: Service, release_id: str) -> Release:
        """Return a present release. Raises NotFoundError."""

    @abstractmethod
    def build(self, release: Release, source: BuildInput | None) -> None:
        """Make *release* present; *source* is None when its artifact must be there already.

        Raises:
            BuildError: The builder failed.
            PlanStaleError: The source is no longer what the plan saw.
        """

    @abstractmethod
    def stage(self, service: Service, release_id: str) -> None:
        """Start every instance beside what serves; it gets no requests yet."""

    @abstractmethod
    def probe(self, service: Service, release_id: str) -> Health:
        """Take one look; never wait for anything to change."""

    @abstractmethod
    def serve(self, service: Service, release_id: str) -> None:
        """Send requests to a staged release: the commit point, atomic and durable."""

    @abstractmethod
    def in_flight(self, service: Service, release_id: str) -> int | None:
        """Return how many connections the release still has; None when unknown."""

    @abstractmethod
    def retire(self, service: Service, release_id: str, *, grace_s: float) -> None:
        """Stop every instance, by force after *grace_s*; the release stays present.

        Raises:
            RefusedError: The release serves. (`stop` is the verb for that.)
        """

    @abstractmethod
    def stop(self, service: Service, *, grace_s: float) -> None:
        """Let requests wait at the edge, then stop the serving release's instances.

        Those under way get *grace_s* to finish; the others go to the next release that serves.
        """

    @abstractmethod
    def prune(self, service: Service, keep: frozenset[str]) -> frozenset[str]:
        """Delete present releases but *keep*, what serves and what runs; return the deleted."""

    @abstractmethod
    def disk_bytes(self) -> Mapping[str, int]:
        """Return artifact digest -> bytes of every artifact that is present."""

    @abstractmethod
    def remove(self, service: Service) -> None:
        """Take the service off the target wholly, except for its state directory."""

    @abstractmethod
    def run(
        self, service: Service, release_id: str, command: str, *, timeout_s: float
    ) -> CommandResult:
        """Run a shell command in the release's environment, with its state, to its end."""

    @abstractmethod
    def exec_argv(
        self, service: Service, release_id: str, argv: Sequence[str]
    ) -> tuple[list[str], Mapping[str, str]]:
        """Return the command and environment that run *argv* inside the release, once."""

    @abstractmethod
    def logs(
        self, service: Service, release_id: str, *, lines: int, follow: bool
    ) -> Iterator[LogLine | None]:
        """Yield the last *lines* of each instance, then new ones while *follow* (None: a pause)."""

    @abstractmethod
    def address(self, service: Service, *, staged: bool = False) -> Address:
        """Return how to reach the serving or the staged release through the edge."""

    @abstractmethod
    def has_sqlite(self, service: Service) -> bool:
        """Say whether the service keeps a SQLite file in its state directory."""
