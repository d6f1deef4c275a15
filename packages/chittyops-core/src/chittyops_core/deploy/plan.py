"""What a deploy would change. Pure: values in, values out.

`draft` makes a plan from an app and a look at the host, a lite's `_configure` changes it, and
`complete` says what it changes against what serves now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import evolve, frozen

from chittyops_core._kit import wire
from chittyops_core.deploy.app import App
from chittyops_core.deploy.provenance import Provenance
from chittyops_core.deploy.source import Source
from chittyops_core.errors import KindMismatchError, ManifestError, NotFoundError, SecretError
from chittyops_core.model.manifest import Builder, EnvVar, Manifest, StrategyChoice
from chittyops_core.model.release import (
    EdgePolicy,
    Lifecycle,
    Release,
    ReleaseConfig,
    SecretRef,
    Strategy,
    Variable,
)
from chittyops_core.model.service import Service

__all__ = [
    "Change",
    "Plan",
    "ReleaseSummary",
    "ServiceView",
    "complete",
    "draft",
    "draft_renewal",
    "draft_rollback",
    "secret_names",
]


@frozen
class ReleaseSummary:
    """One retained release, newest first where there are several.

    Attributes:
        id: Its id.
        created: When it was first built, ISO 8601 in UTC.
        served: When it last began to serve; None if it never did.
        state: `serving`, `previous`, `warm` (runs, ready to serve again) or `kept`.
    """

    id: str
    created: str
    served: str | None
    state: str


@frozen
class ServiceView:
    """What the host knows about one service: all that a plan is made from.

    Attributes:
        service: Which.
        kind: Which lite operates it; None before its first deploy.
        serving: The release that the edge sends requests to, as the target observes it.
        previous: The release that served before; what `rollback` means without an argument.
        releases: All retained ones.
        fingerprints: Mapping of every secret's name to the fingerprint of its value.
        settings: Variables set by `chittyops config set`.
        has_sqlite: Whether the state directory holds a SQLite file.
        hosts_taken: Mapping of host names of other services to their slugs.
        interpreter: What the host builds with unless a manifest says otherwise, such as
            `cpython-3.11.7-linux-x86_64`.
        running: Whether every instance of the serving release runs.
        own_users: Whether the host can run each service as an OS user of its own.
    """

    service: Service
    kind: str | None
    serving: Release | None
    previous: str | None
    releases: tuple[ReleaseSummary, ...]
    fingerprints: Mapping[str, str]
    settings: Mapping[str, str]
    has_sqlite: bool
    hosts_taken: Mapping[str, str]
    interpreter: str
    running: bool
    own_users: bool = False


@frozen
class Change:
    """One difference between what serves and what would. `before` or `after` None: not there."""

    what: str
    before: str | None
    after: str | None


@frozen
class Plan:
    """One deploy, not yet carried out.

    Attributes:
        service: What would change.
        kind: Which lite's gate must let it through.
        base: The release serving when the plan was made; another one makes the plan stale.
        source: What to build from; None when the release exists (a rollback).
        builder: How to build.
        python: Interpreter asked for; None for the host's own.
        artifact: Digest of source, builder and interpreter.
        config: What the release runs by.
        changes: Against what serves now.
        notes: What a person should know before saying yes.
        is_rollback: Whether an existing release is to serve again.
        is_unchanged: Whether what it leads to serves already, and all of it runs.
        own_users: Whether the host can run each service as an OS user of its own, which
            `config.own_user` then asks for.
        provenance: Where the source comes from; None where an older caller did not say, and
            for a plan that builds nothing.
    """

    service: Service
    kind: str
    base: str | None
    source: Source | None
    builder: Builder
    python: str | None
    artifact: str
    config: ReleaseConfig
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    is_rollback: bool = False
    is_unchanged: bool = False
    own_users: bool = False
    provenance: Provenance | None = None

    @property
    def release(self) -> Release:
        """The release it leads to; its id is final once `config.is_complete`."""
        return Release(self.service, self.artifact, self.config)


def draft(app: App, service: Service, kind: str, view: ServiceView, source: Source) -> Plan:
    """Return the plan that the manifest asks for, before the lite has had its say.

    Raises:
        ManifestError: The web process listens nowhere, a required variable has no value, or a
            host name is taken.
        SecretError: A secret has no value and none may be generated.
        KindMismatchError: The service belongs to another kind.
    """
    if view.kind not in (None, kind):
        raise KindMismatchError(
            f"{service} is a {view.kind} service and cannot be deployed as {kind}",
            remedy=(
                f"Deploy it with kind {view.kind}, or remove it first "
                f"(`chittyops remove --app {service.app}`): its gate cannot be sidestepped."
            ),
            kind=view.kind,
        )
    manifest = app.manifest
    notes = list(_listening_notes(manifest))
    _require_free_hosts(manifest, view)
    strategy = _strategy(manifest, view)
    if strategy is Strategy.RECREATE and manifest.deploy.strategy is StrategyChoice.AUTO:
        notes.append(
            "the state directory holds a SQLite file, so the old release stops before the new "
            "one starts; requests wait meanwhile"
        )
    deploy = manifest.deploy
    config = ReleaseConfig(
        processes=manifest.process,
        variables=dict(_variables(manifest, view)),
        health=manifest.health,
        lifecycle=Lifecycle(
            strategy=strategy,
            drain=deploy.drain,
            keep=deploy.keep,
            warm_rollback=deploy.warm_rollback,
            release_command=deploy.release,
        ),
        hooks=manifest.hooks,
        edge=EdgePolicy(hosts=manifest.app.hosts, headers=manifest.edge.headers),
        monitors=manifest.monitor,
    )
    return Plan(
        service=service,
        kind=kind,
        base=view.serving.id if view.serving else None,
        source=source,
        builder=manifest.build.builder,
        python=manifest.build.python,
        artifact=artifact_digest(source, manifest, view.interpreter),
        config=config,
        notes=tuple(notes),
        own_users=view.own_users,
    )


def secret_names(manifest: Manifest, client: str | None) -> set[str]:
    """Return every secret that *manifest* may mean: by its name, and the client's own."""
    names = {declared.secret for declared in manifest.env.values() if declared.secret}
    return names | ({f"{name}/{client}" for name in names} if client else set())


def artifact_digest(source: Source, manifest: Manifest, interpreter: str) -> str:
    """Return the digest of all that goes into a build."""
    python = manifest.build.python or interpreter
    return wire.digest(
        {"source": source.digest, "builder": manifest.build.builder, "python": python}
    )


def draft_rollback(view: ServiceView, to: Release) -> Plan:
    """Return the plan that lets the retained release *to* serve again; it needs no build."""
    notes = []
    if to.config.lifecycle.release_command:
        notes.append(
            f"`{to.config.lifecycle.release_command}` is not undone: the data stays as it is"
        )
    for name in sorted({s.name for s in to.config.secrets if _has_changed(s, view)}):
        notes.append(f"{name} has another value today; the release gets back the one it had")
    return Plan(
        service=view.service,
        kind=view.kind or "",
        base=view.serving.id if view.serving else None,
        source=None,
        builder=Builder.NONE,
        python=None,
        artifact=to.artifact,
        config=to.config,
        notes=tuple(notes),
        is_rollback=True,
    )


def draft_renewal(view: ServiceView, name: str) -> Plan:
    """Return the plan that changes nothing but the secret *name*, to the value of today.

    Raises:
        NotFoundError: Nothing serves.
        SecretError: There is no such secret.
    """
    serving = view.serving
    if serving is None or view.kind is None:
        raise NotFoundError(f"{view.service} serves nothing")
    if name not in view.fingerprints:
        raise SecretError(f"there is no secret named {name!r} on this host", secret=name)
    return Plan(
        service=view.service,
        kind=view.kind,
        base=serving.id,
        source=None,
        builder=Builder.NONE,
        python=None,
        artifact=serving.artifact,
        config=serving.config.with_fingerprints({name: view.fingerprints[name]}),
    )


def complete(plan: Plan, view: ServiceView) -> Plan:
    """Return *plan* with its changes against what serves now."""
    is_same = plan.config.is_complete and plan.release.id == plan.base
    return evolve(
        plan, changes=tuple(_changes(plan, view.serving)), is_unchanged=is_same and view.running
    )


# --- what the manifest means on this host -------------------------------------------------------


def _strategy(manifest: Manifest, view: ServiceView) -> Strategy:
    if manifest.deploy.strategy is StrategyChoice.AUTO:
        return Strategy.RECREATE if view.has_sqlite else Strategy.BLUE_GREEN
    return Strategy(manifest.deploy.strategy.value)


def _listening_notes(manifest: Manifest) -> Iterator[str]:
    web = manifest.process.get("web")
    if web is None:
        raise ManifestError(
            f"there is no process named web, only {', '.join(manifest.process) or 'none'}",
            remedy="Name the one that answers requests `web`.",
        )
    if "SOCKET" in web.command:
        return
    if "PORT" not in web.command:
        raise ManifestError(
            f"process.web.command: {web.command!r} names neither $SOCKET nor $PORT to listen on",
            remedy=(
                "Tell the server to listen on the unix socket $SOCKET, for example "
                "`gunicorn app:app --bind unix:$SOCKET` or `uvicorn app:app --uds $SOCKET`. "
                "One that reads PORT itself: `env PORT=$PORT python app.py`."
            ),
        )
    yield (
        "web listens on a TCP port ($PORT), which every program on this machine can reach: "
        "not isolated. $SOCKET is."
    )


def _require_free_hosts(manifest: Manifest, view: ServiceView) -> None:
    for host in manifest.app.hosts:
        if host in view.hosts_taken:
            raise ManifestError(
                f"app.hosts: {host} is the address of {view.hosts_taken[host]} already",
                remedy="Give each service host names of its own.",
            )


def _variables(manifest: Manifest, view: ServiceView) -> Iterator[tuple[str, Variable]]:
    for name, declared in manifest.env.items():
        if declared.secret is not None:
            yield name, Variable(secret=_secret(name, declared, view))
            continue
        value = view.settings.get(name, declared.value)
        if value is None:
            if declared.required:
                about = f" ({declared.description})" if declared.description else ""
                raise ManifestError(
                    f"env.{name}{about} is required and has no value",
                    remedy=f"chittyops config set {name}=VALUE",
                )
            continue
        try:
            yield name, Variable(declared.require_type(value))
        except ValueError as error:
            raise ManifestError(f"env.{name}: {error}") from error
    for name, value in view.settings.items():
        if name not in manifest.env:
            yield name, Variable(value)


def _secret(variable: str, declared: EnvVar, view: ServiceView) -> SecretRef:
    """Return the secret that *declared* means for this service.

    A client's own, `NAME/CLIENT`, goes before the one that all clients share; one that is
    generated is always the client's own.
    """
    name = str(declared.secret)
    client = view.service.client
    own = f"{name}/{client}" if client else name
    if own in view.fingerprints or declared.generate:
        name = own
    fingerprint = view.fingerprints.get(name)
    if fingerprint is None and not declared.generate:
        raise SecretError(
            f"env.{variable}: there is no secret named {own!r} on this host",
            remedy=f"chittyops secrets set {own}",
            secret=own,
        )
    return SecretRef(name, fingerprint, declared.file, declared.generate)


def _has_changed(secret: SecretRef, view: ServiceView) -> bool:
    return secret.fingerprint != view.fingerprints.get(secret.name)


# --- what would change ---------------------------------------------------------------------------


def _changes(plan: Plan, serving: Release | None) -> Iterator[Change]:
    if serving is None:
        yield Change("service", None, str(plan.service))
    elif serving.artifact != plan.artifact:
        yield Change("code", serving.artifact[:12], plan.artifact[:12])
    before = _flatten(wire.to_wire(serving.config)) if serving else {}
    after = _flatten(wire.to_wire(plan.config))
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if old == new or (serving is None and not key.startswith(("processes.", "variables."))):
            continue
        if key.endswith(".secret.fingerprint"):
            name = key.removesuffix(".secret.fingerprint").removeprefix("variables.")
            yield Change(
                f"env {name} (secret)",
                None if old is None else "set",
                PENDING
                if new == PENDING
                else ("changed" if old and new else "set" if new else None),
            )
        elif ".secret." not in key:
            yield Change(_spoken(key), old, new)


def _spoken(key: str) -> str:
    for prefix, word in (("variables.", "env "), ("processes.", "process ")):
        if key.startswith(prefix):
            return word + key.removeprefix(prefix).removesuffix(".value")
    return key


PENDING = "to be generated"


def _flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """Return the leaves of nested mappings, keyed by dotted path; what is not set is left out.

    But for the fingerprint of a secret: one that is not there yet is to be generated.
    """
    leaves: dict[str, str] = {}
    for key, entry in value.items():
        path = f"{prefix}{key}"
        if entry is None and key == "fingerprint":
            entry = PENDING
        if isinstance(entry, Mapping):
            leaves |= _flatten(entry, path + ".")
        elif entry not in (None, [], ()):
            text = ", ".join(map(str, entry)) if isinstance(entry, list | tuple) else str(entry)
            leaves[path] = text if len(text) <= 200 else f"{text[:200]}... ({len(text)} characters)"
    return leaves
