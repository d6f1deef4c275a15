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
    "Deployment",
    "HostReport",
    "Rotation",
    "SecretUser",
    "ServiceReport",
    "Staged",
    "StatusReport",
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
    """

    service: Service
    release: str
    address: Address
    instances: tuple[InstanceState, ...]


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
        supervisor_pid: None when supervisord does not answer.
        is_edge_running: Whether Caddy answers.
        http_port: TCP port of the edge.
        https_port: TCP port of the edge.
        bind: Addresses on which the edge listens.
        runtime: Path of the host runtime.
        acme: Where public names are certified; None for Caddy's own authority.
    """

    home: str
    supervisor_pid: int | None
    is_edge_running: bool
    http_port: int
    https_port: int
    bind: tuple[str, ...]
    runtime: str
    acme: str | None = None


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


Message = dict[str, Any]
