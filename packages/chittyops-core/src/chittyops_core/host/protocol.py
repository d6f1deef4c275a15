"""What caller and host say to each other: JSON lines over stdin and stdout.

    caller                                            host
    {"id": 1, "step": "observe", "params": {...}} ->
                                                   <- {"id": 1, "event": {...}}      any number
                                                   <- {"id": 1, "result": ...}  or
                                                   <- {"id": 1, "error": {...}}
    {"cancel": true} ->                               the step under way ends with an error
    end of input ->                                   an attempt under way is settled; it exits

A deploy is `observe`, `build`, `stage`, `serve`, `finish` on one connection, which holds the
service's lock from `build` to `finish`; `undo` instead of `serve` takes it back. One step at a
time. `VERSION` grows with every change that an older peer would misread; unknown keys are
ignored, so that adding one is no such change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from chittyops_core.deploy.targets.base import Address
from chittyops_core.model.finding import Finding
from chittyops_core.model.health import InstanceState
from chittyops_core.model.service import Service

__all__ = [
    "VERSION",
    "BootPlan",
    "Deployment",
    "HostReport",
    "PruneReport",
    "PrunedRelease",
    "Rotation",
    "SecretUser",
    "ServiceReport",
    "Staged",
    "StatusReport",
    "UpgradeReport",
]

VERSION = 1


@frozen
class Staged:
    """A release that runs beside the serving one, or in its place for a recreate.

    Attributes:
        service: Which service.
        release: Its id.
        address: How to reach it through the real edge, from this machine only.
        instances: What runs.
        user: Id of the OS user that is its service's own; None where it runs as the host's.
    """

    service: Service
    release: str
    address: Address
    instances: tuple[InstanceState, ...]
    user: int | None = None


@frozen
class Deployment:
    """A deploy or rollback that came to its end.

    Attributes:
        service: What was deployed.
        kind: By which lite.
        release: What serves now.
        previous: What served before.
        outcome: `served`, or `unchanged` when it served already.
        address: How to reach it.
        phases: Mapping of phase to seconds, in order.
        findings: All that the gate found; none is blocking.
        notes: What a person should know.
    """

    service: Service
    kind: str
    release: str
    previous: str | None
    outcome: str
    address: Address
    phases: Mapping[str, float] = field(factory=dict)
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()


@frozen
class ServiceReport:
    """How one service is.

    Attributes:
        service: Which.
        kind: Which lite operates it.
        serving: The release that the edge sends requests to; None when none.
        since: When it began to serve, ISO 8601 in UTC.
        health: Verdict over its instances.
        address: How to reach it; None when nothing serves.
        instances: What runs of the serving release.
        warm: Releases that run without serving.
        unfinished: Deployments that a crash left; `recover` settles them.
    """

    service: Service
    kind: str
    serving: str | None
    since: str | None
    health: str
    address: Address | None
    instances: tuple[InstanceState, ...]
    warm: tuple[str, ...]
    unfinished: int


@frozen
class HostReport:
    """How the host is.

    Attributes:
        home: Its CHITTYOPS_HOME.
        supervisor_pid: The process manager's pid; None while the host is stopped.
        is_edge_running: Whether Caddy answers.
        http_port: TCP port of the edge.
        https_port: TCP port of the edge.
        bind: Addresses on which the edge listens.
        runtime: Path of the newest host runtime, which carries out steps.
        running: Path of the one that supervisord runs from; None when it is stopped.
        acme: Where public names are certified; None for Caddy's own authority.
        manager: Which process manager.
    """

    home: str
    supervisor_pid: int | None
    is_edge_running: bool
    http_port: int
    https_port: int
    bind: tuple[str, ...]
    runtime: str
    running: str | None = None
    acme: str | None = None
    manager: str = "supervisor"

    @property
    def is_outdated(self) -> bool:
        """Whether what runs was started by an older version than the newest that is there."""
        return self.running not in (None, self.runtime)


@frozen
class BootPlan:
    """What would start the host with its machine, and what does now.

    Attributes:
        how: `systemd` or `cron`.
        place: Where it is written, for a person.
        text: What `host enable` writes.
        written: What is written now; None when nothing is.
        notes: What else has to be so.
    """

    how: str
    place: str
    text: str
    written: str | None
    notes: tuple[str, ...] = ()

    @property
    def is_enabled(self) -> bool:
        """Whether just what should be written is."""
        return self.written == self.text


@frozen
class StatusReport:
    """The host and all its services, sorted."""

    host: HostReport
    services: tuple[ServiceReport, ...]


@frozen
class SecretUser:
    """A service whose serving release uses a secret.

    Attributes:
        service: Which.
        kind: Which lite operates it.
        release: What serves.
        variables: Those of its variables that hold the secret.
        generate: How its manifest lets the value be made; None when it does not.
        is_current: Whether it was deployed with today's value.
    """

    service: Service
    kind: str
    release: str
    variables: tuple[str, ...]
    generate: str | None
    is_current: bool


@frozen
class Rotation:
    """A secret and those who use it.

    Attributes:
        name: The secret's.
        app: The one app that is meant; None for all.
        is_begun: Whether a new value is kept, to which services have still to be brought.
        users: Every service that uses it, sorted.
        is_provided: Whether a command gives the value.
    """

    name: str
    app: str | None
    is_begun: bool
    users: tuple[SecretUser, ...]
    is_provided: bool = False

    @property
    def meant(self) -> tuple[SecretUser, ...]:
        """Those of the app that is meant."""
        return tuple(u for u in self.users if self.app in (None, u.service.app))

    @property
    def generate(self) -> str | None:
        """How the value is made, where all who say so agree and no command gives it; else None."""
        if self.is_provided:
            return None
        ways = {user.generate for user in self.users if user.generate}
        return ways.pop() if len(ways) == 1 else None


@frozen
class UpgradeReport:
    """What `host upgrade` did.

    Attributes:
        before: Path of the runtime that supervisord ran from; None when it was stopped.
        after: The one that it runs from now.
        connections: How many the edge had when another Caddy took over; None when its Caddy
            is the same and went on. Their requests were finished, WebSockets ended.
        deleted: Runtimes that nothing uses any more.
    """

    before: str | None
    after: str
    connections: int | None
    deleted: tuple[str, ...]


@frozen
class PrunedRelease:
    """One release that was, or would be, deleted."""

    service: Service
    release: str


@frozen
class PruneReport:
    """What a prune deleted or would delete.

    Attributes:
        releases: Those that nothing needs.
        bytes_before: Of all artifacts on disk.
        bytes_after: The same afterwards; None for a dry run.
        budget: Bytes that they may take; None for no limit.
    """

    releases: tuple[PrunedRelease, ...]
    bytes_before: int
    bytes_after: int | None
    budget: int | None


Message = dict[str, Any]
