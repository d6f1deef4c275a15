"""A release: an immutable build of an app with everything it runs by."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum

from attrs import evolve, field, frozen

from chittyops_core._kit import wire
from chittyops_core.model.finding import Finding
from chittyops_core.model.manifest import Health, Hooks, MonitorSection, Process
from chittyops_core.model.service import Service

__all__ = [
    "EdgePolicy",
    "GateReceipt",
    "Lifecycle",
    "Release",
    "ReleaseConfig",
    "SecretRef",
    "Strategy",
    "Variable",
]

ID_DIGITS = 16
"""64 bits: two of a service's releases collide with less than one in 10^12 at 5,000 of them."""


class Strategy(StrEnum):
    """How a release takes over."""

    BLUE_GREEN = "blue-green"
    RECREATE = "recreate"


@frozen
class SecretRef:
    """A secret by name.

    Attributes:
        name: Its name in the host's store.
        fingerprint: A keyed digest of its value when the release was made; None when it is to
            be generated. It makes a changed secret a changed release, and tells nothing else.
        as_file: Whether the variable holds the path of a 0600 file instead of the value.
        generate: How to make the value when there is none, such as `hex64`.
    """

    name: str
    fingerprint: str | None = None
    as_file: bool = False
    generate: str | None = None


@frozen
class Variable:
    """One environment variable of a release: a plain value or a secret, never both."""

    value: str | None = None
    secret: SecretRef | None = None


@frozen
class EdgePolicy:
    """How the edge proxy treats a release.

    Attributes:
        hosts: Names that reach it, without the local one.
        tls: Whether it is served by HTTPS, with HTTP redirected to it.
        headers: Response headers set where the app itself sets none.
    """

    hosts: tuple[str, ...] = ()
    tls: bool = False
    headers: Mapping[str, str] = field(factory=dict)


@frozen
class Lifecycle:
    """Times and commands around the switch.

    Attributes:
        strategy: Beside the serving release, or after it stopped.
        drain: How long requests on the old release may take to finish.
        keep: How many releases to keep besides the serving and the previous one.
        warm_rollback: How long the previous release keeps running after the switch.
        release_command: Runs once per release before it starts, such as migrations.
    """

    strategy: Strategy = Strategy.BLUE_GREEN
    drain: timedelta = timedelta(seconds=30)
    keep: int = 5
    warm_rollback: timedelta = timedelta(0)
    release_command: str | None = None


@frozen
class ReleaseConfig:
    """All that a release runs by, apart from its artifact. Its digest is half of the release id.

    Attributes:
        own_user: Whether it runs as an OS user that no other service has.
        monitors: What is looked at besides its health, by name.
    """

    processes: Mapping[str, Process]
    variables: Mapping[str, Variable]
    health: Health
    lifecycle: Lifecycle
    hooks: Hooks
    edge: EdgePolicy
    own_user: bool = False
    monitors: Mapping[str, MonitorSection] = field(factory=dict)

    @property
    def secrets(self) -> tuple[SecretRef, ...]:
        """The secrets that its variables refer to."""
        return tuple(v.secret for v in self.variables.values() if v.secret is not None)

    @property
    def is_complete(self) -> bool:
        """Whether every secret is known, so that the release has an id."""
        return all(secret.fingerprint for secret in self.secrets)

    @property
    def without_fingerprints(self) -> ReleaseConfig:
        """The same configuration, whatever the values of its secrets are."""
        return self.with_fingerprints({secret.name: None for secret in self.secrets})

    def with_fingerprints(self, fingerprints: Mapping[str, str | None]) -> ReleaseConfig:
        """Return the same configuration with what is now known of its secrets."""

        def fill(variable: Variable) -> Variable:
            if variable.secret is None or variable.secret.name not in fingerprints:
                return variable
            known = evolve(variable.secret, fingerprint=fingerprints[variable.secret.name])
            return evolve(variable, secret=known)

        return evolve(self, variables={k: fill(v) for k, v in self.variables.items()})


@frozen
class Release:
    """One immutable build.

    Attributes:
        service: What it is a release of.
        artifact: Digest of source, builder and interpreter.
        config: What it runs by.
    """

    service: Service
    artifact: str
    config: ReleaseConfig

    @property
    def id(self) -> str:
        """Digest of artifact and configuration, `ID_DIGITS` hexadecimal digits."""
        config = wire.to_wire(self.config)
        for late in ("own_user", "monitors"):
            # They came later: releases from before them keep their ids.
            if not config[late]:
                del config[late]
        return wire.digest({"artifact": self.artifact, "config": config})[:ID_DIGITS]

    @property
    def canonical_host(self) -> str:
        """The host name as which the app knows itself: its first public one, else the local."""
        return (*self.config.edge.hosts, self.service.local_host)[0]


@frozen
class GateReceipt:
    """Says that a kind's gate let one release through; the host serves nothing without it.

    Attributes:
        kind: Which lite's gate.
        release: Id of the release it is for, and for no other.
        findings: All that the gate's checks found; none is blocking. A check that passed has
            an INFO finding, so the receipt says what ran.
        preflight: How many of them, the first ones, were found before the build; None when the
            caller did not say.
        carried_from: The release whose receipt those were taken from, because this one differs
            from it in nothing but the values of secrets; None when they were found for this one.
    """

    kind: str
    release: str
    findings: tuple[Finding, ...] = ()
    preflight: int | None = None
    carried_from: str | None = None

    @property
    def of_code(self) -> tuple[Finding, ...] | None:
        """What was found before the build, of code and configuration; None if that is unknown."""
        return None if self.preflight is None else self.findings[: self.preflight]
