"""OpsLite: the template that every distribution subclasses.

Public methods are final and hold the order and the guarantees. The four hooks are where a kind
differs; each does one thing:

    _configure(plan)       while planning, pure: the plan as this kind wants it
    _preflight(plan)       before anything is built: findings; one that blocks stops the deploy
    _inspect(staged)       the release runs, without requests: one that blocks undoes it
    _served(deployment)    after the switch; can report, cannot fail
"""

from __future__ import annotations

import os
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Self, final

from attrs import evolve

from chittyops_core._kit.logs import get_logger
from chittyops_core.current import Current
from chittyops_core.deploy import plan as plans
from chittyops_core.deploy.app import App
from chittyops_core.deploy.engine import Event, EventKind
from chittyops_core.deploy.journal import Phase
from chittyops_core.deploy.plan import Plan
from chittyops_core.deploy.provenance import read_provenance
from chittyops_core.deploy.source import read_source
from chittyops_core.errors import (
    DeployInterruptedError,
    GateClosedError,
    HookError,
    NotAnOperatorError,
    NotFoundError,
    PlanStaleError,
    UsageError,
)
from chittyops_core.host.client import HostClient
from chittyops_core.host.protocol import Deployment, Staged
from chittyops_core.host.reach import require_reach
from chittyops_core.host.watched import require_monitors, require_objectives
from chittyops_core.model.finding import Finding
from chittyops_core.model.release import GateReceipt
from chittyops_core.model.service import DEFAULT_ENVIRONMENT, Service

__all__ = ["OpsLite"]

log = get_logger("chittyops.lite")

AppOrFolder = App | str | PathLike[str]


class OpsLite(ABC):
    """Operates apps of one kind on one host.

    Class attributes say what the kind is; they drive behaviour and are shown by `chittyops doctor`.
    """

    kind: ClassVar[str]
    """Name in manifests and journals, equal to the entry point's."""
    compliance_level: ClassVar[str] = "none"
    audit_required: ClassVar[bool] = False
    """Whether a release whose gate reported nothing is refused."""
    encryption: ClassVar[str] = "secrets"
    multi_tenant: ClassVar[bool] = False
    """Whether every service belongs to one client."""
    custom_branding: ClassVar[bool] = False
    sla_monitoring: ClassVar[bool] = False
    simplicity_mode: ClassVar[bool] = False
    cost_optimized: ClassVar[bool] = False
    auto_scaling: ClassVar[bool] = False

    def __init__(
        self,
        *,
        client: str | None = None,
        home: str | PathLike[str] | None = None,
        notify: Callable[[Event], None] | None = None,
    ) -> None:
        """Make an operator.

        Args:
            client: The one client that it operates for; needed where the kind is `multi_tenant`.
            home: CHITTYOPS_HOME of the host; the default one when left out.
            notify: Called with every event of a deploy, in the caller's thread.

        Raises:
            UsageError: A client is missing, or given to a kind that has none.
        """
        if self.multi_tenant and client is None:
            raise UsageError(
                f"{self.kind} runs every client by itself, and no client is named",
                remedy="Name one: --client NAME.",
            )
        if client is not None and not self.multi_tenant:
            raise UsageError(
                f"{self.kind} knows no clients, but the client {client!r} is named",
                remedy="Leave --client out, or use a kind that has clients.",
            )
        self.client = client
        self.home = Path(home) if home is not None else None
        self._notify = notify or (lambda event: None)

    @classmethod
    def operator(
        cls,
        *,
        client: str | None,
        home: str | PathLike[str] | None,
        notify: Callable[[Event], None] | None,
    ) -> Self:
        """Return an instance whatever arguments the kind's own constructor takes."""
        return cls(client=client, home=home, notify=notify)

    @staticmethod
    def current() -> Current:
        """Return what app code may ask of its host; for use inside a release.

        Raises:
            UsageError: This process is no part of a release.
        """
        return Current()

    # --- verbs ---

    @final
    def plan(self, app: AppOrFolder, *, environment: str = DEFAULT_ENVIRONMENT) -> Plan:
        """Return what a deploy of *app* would change. Changes nothing that runs.

        Secrets that a command gives are asked for, and kept; what serves keeps its own.

        Raises:
            ManifestError: The manifest or the folder is wrong.
            SecretError: A secret has no value.
            KindMismatchError: The service belongs to another kind.
        """
        with self._host() as host:
            return self._plan(host, self.load(app, environment=environment))

    @final
    def deploy(
        self,
        app: AppOrFolder,
        *,
        environment: str = DEFAULT_ENVIRONMENT,
        plan: Plan | None = None,
        wait: bool = True,
    ) -> Deployment:
        """Plan, check, build, stage, inspect and serve *app*; undo on failure.

        Args:
            app: An App, or the path of its folder.
            environment: Which overlay of the manifest; not used when *app* is an App.
            plan: Carry out exactly this plan, or raise PlanStaleError.
            wait: Wait for another deploy of this service to end, rather than be refused.

        Raises:
            GateClosedError: A finding blocks the release.
            DeployError: It could not be built, or did not become healthy, and was undone.
            PlanStaleError: The world moved since *plan* was made.
            ServiceLockedError: Another deploy is under way and *wait* is false.
            DeployInterruptedError: KeyboardInterrupt; undone unless it had served.
            NotAnOperatorError: Called from inside a release.
        """
        loaded = self.load(app, environment=environment)
        with self._session() as host:
            fresh = self._plan(host, loaded)
            if plan is not None and _promise(plan) != _promise(fresh):
                raise PlanStaleError(
                    "the plan is stale: what it was made from has changed", remedy="Plan again."
                )
            if fresh.is_unchanged:
                return self._unchanged(host, fresh)
            findings = self._open_gate("before the build", self._preflight(fresh))
            preflight = len(findings)
            # Before a hook of the app makes files of its own.
            came_from = read_provenance(loaded.folder, self.kind)
            self._run_pre_build(loaded)
            release = host.build(evolve(fresh, provenance=came_from), wait=wait)
            staged = host.stage()
            findings += self._open_gate("on the staged release", self._inspect(staged))
            self._require_audit(findings)
            host.serve(GateReceipt(self.kind, release, tuple(findings), preflight))
            done = evolve(host.finish(), notes=fresh.notes)
        return self._report_served(done)

    @final
    def rollback(
        self,
        app: str,
        *,
        environment: str = DEFAULT_ENVIRONMENT,
        to: str | None = None,
        wait: bool = True,
    ) -> Deployment:
        """Let an earlier release of *app* serve again, without a build.

        Its gate's receipt is used again. A secret has the value that it was deployed with, or
        the one of today where that was forgotten.

        Args:
            app: The app's name.
            environment: In which environment.
            to: Id, or its beginning, of a kept release; the previously served one when left out.
            wait: Wait for another deploy of this service to end, rather than be refused.

        Raises:
            NotFoundError: There is no such release.
            DeployError: It did not become healthy; what served still serves.
        """
        service = self.service(app, environment)
        with self._session() as host:
            plan = self.plan_rollback(host, service, to)
            host.build(plan, wait=wait)
            host.stage()
            host.serve(None)
            done = evolve(host.finish(), notes=plan.notes)
        return self._report_served(done)

    @final
    def renew_secret(
        self, app: str, name: str, *, environment: str = DEFAULT_ENVIRONMENT, wait: bool = True
    ) -> Deployment:
        """Let the code of *app* that serves serve with today's value of a secret; no build.

        A deploy like any other, but for the build: the gate looks at the staged release. What it
        found before the build is carried from the receipt of the release that serves.

        Args:
            app: The app's name.
            name: The secret's name on this host.
            environment: In which environment.
            wait: Wait for another deploy of this service to end, rather than be refused.

        Raises:
            GateClosedError: A finding blocks the release, or there is no receipt to carry.
            DeployError: It did not become healthy; what served still serves, with its own value.
            PlanStaleError: The service or the secret was changed meanwhile.
        """
        service = self.service(app, environment)
        with self._session() as host:
            view = host.observe(service)
            plan = plans.complete(plans.draft_renewal(view, name), view)
            if plan.is_unchanged:
                return self._unchanged(host, plan)
            of_code = self._carried(host, plan)
            release = host.build(plan, wait=wait)
            staged = host.stage()
            found = self._open_gate("on the staged release", self._inspect(staged))
            findings = (*of_code, *found)
            self._require_audit(findings)
            host.serve(GateReceipt(self.kind, release, findings, len(of_code), plan.base))
            done = evolve(host.finish(), notes=plan.notes)
        return self._report_served(done)

    @final
    def sync_to_parent(self, kind: str, app: str) -> bool:
        """Let the parent know at once of what changed, instead of with the next regular sync.

        Every verb that let something else serve ends with this. It asks the host's agent, waits
        for no parent, and cannot fail; without a parent it does nothing.

        Args:
            kind: Which lite did something.
            app: With which app.

        Returns:
            Whether an agent that has a parent was told.
        """
        from chittyops_core.host.home import default_home
        from chittyops_core.host.wake import wake_bridge

        try:
            is_told = wake_bridge(self.home or default_home())
        except Exception as error:  # Whatever it is, the deploy is done.
            log.info("lite.parent_not_told", kind=kind, app=app, error=repr(error))
            return False
        log.debug("lite.parent_told", kind=kind, app=app, told=is_told)
        return is_told

    @final
    def plan_rollback(self, host: HostClient, service: Service, to: str | None) -> Plan:
        """Return the plan that lets *to* (None: the previously served release) serve again."""
        view = host.observe(service)
        chosen = to or view.previous
        if view.serving is None or chosen is None:
            raise NotFoundError(
                f"{service} has no earlier release to go back to",
                remedy="`chittyops releases` lists those that are kept.",
            )
        release = host.release(service, chosen)
        if release.id == view.serving.id:
            raise NotFoundError(
                f"release {release.id} serves already",
                remedy="`chittyops releases` lists the others.",
            )
        return plans.complete(plans.draft_rollback(view, release), view)

    @final
    def load(
        self,
        app: AppOrFolder,
        *,
        environment: str = DEFAULT_ENVIRONMENT,
        health_path: str | None = None,
        overlay: Mapping[str, Any] | None = None,
    ) -> App:
        """Read an app's folder, with its client's overlay where this kind has clients."""
        if isinstance(app, App):
            return app
        return App.load(
            app,
            environment=environment,
            client=self.client,
            health_path=health_path,
            overlay=overlay,
        )

    @final
    def service(self, app: str, environment: str = DEFAULT_ENVIRONMENT) -> Service:
        """Return the key of *app* in *environment*, for this client. Raises UsageError."""
        try:
            return Service(app, environment, self.client)
        except ValueError as error:
            raise UsageError(str(error)) from error

    # --- hooks ---

    @abstractmethod
    def _configure(self, plan: Plan) -> Plan:
        """Return *plan* as this kind wants it. Pure: no I/O."""

    @abstractmethod
    def _preflight(self, plan: Plan) -> Sequence[Finding]:
        """Return what is found before anything is built; one that blocks stops the deploy."""

    @abstractmethod
    def _inspect(self, staged: Staged) -> Sequence[Finding]:
        """Return what is found on the staged release; one that blocks undoes it."""

    @abstractmethod
    def _served(self, deployment: Deployment) -> None:
        """Do what follows a switch. An error here is reported and fails nothing."""

    # --- pieces ---

    def _host(self, on_event: Callable[[Event], None] | None = None) -> HostClient:
        if "CHITTYOPS_RELEASE" in os.environ:
            raise NotAnOperatorError(
                f"this is release {os.environ['CHITTYOPS_RELEASE']} itself: app code may not "
                "deploy, roll back or remove anything",
                remedy="Run it from an operator's shell or from CI.",
            )
        return HostClient(self.home, on_event or self._notify)

    def _plan(self, host: HostClient, app: App) -> Plan:
        if app.kind not in (None, self.kind):
            raise UsageError(
                f"the manifest says kind {app.kind!r}, this is {self.kind!r}",
                remedy=f"Use the {app.kind} lite, or change app.kind.",
            )
        service = self.service(app.name, app.environment)
        require_monitors(service, app.manifest.monitor)
        require_objectives(app.folder, app.manifest.monitor)
        source = read_source(app.folder, app.manifest.build.exclude)
        if names := plans.secret_names(app.manifest, service.client):
            host.refresh_secrets(names)
        view = host.observe(service)
        draft = plans.draft(app, service, self.kind, view, source)
        plan = self._configure(draft)
        require_reach(plan.config)
        return plans.complete(plan, view)

    def _open_gate(self, when: str, findings: Sequence[Finding]) -> list[Finding]:
        blocking = [finding for finding in findings if finding.is_blocking]
        for finding in findings:
            if not finding.is_blocking:
                self._notify(Event(EventKind.STEP, f"{finding.check}: {finding.summary}"))
        if blocking:
            count = f"{len(blocking)} finding" + ("s" if len(blocking) > 1 else "")
            raise GateClosedError(
                f"the {self.kind} gate is closed {when}: {count}",
                remedy="Deal with each finding, then deploy again.",
                detail=tuple(
                    line
                    for finding in blocking
                    for line in (f"{finding.check}: {finding.summary}", f"  -> {finding.remedy}")
                ),
                findings=[
                    {"check": f.check, "summary": f.summary, "remedy": f.remedy} for f in blocking
                ],
            )
        return list(findings)

    def _carried(self, host: HostClient, plan: Plan) -> tuple[Finding, ...]:
        """Return what the gate found before the build of the release that serves."""
        assert plan.base is not None, "a renewal is one of what serves"
        held = host.receipt(plan.service, plan.base)
        if held is None or held.kind != self.kind or held.of_code is None:
            raise GateClosedError(
                f"the {self.kind} gate kept no findings about the code of release {plan.base}",
                remedy="Deploy the app once; after that its secrets can be rotated.",
            )
        return held.of_code

    def _require_audit(self, findings: Sequence[Finding]) -> None:
        if self.audit_required and not findings:
            raise GateClosedError(
                f"the {self.kind} gate reported nothing, and this kind serves nothing unaudited",
                remedy="A check that passes reports it; see OpsLite._preflight and _inspect.",
            )

    def _run_pre_build(self, app: App) -> None:
        command = app.manifest.hooks.pre_build
        if command is None:
            return
        self._notify(Event(EventKind.STEP, f"running hooks.pre_build: {command}"))
        done = subprocess.run(
            ["/bin/sh", "-c", command], cwd=app.folder, stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace", check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise HookError(
                f"hooks.pre_build `{command}` failed with status {done.returncode}",
                remedy="Nothing was built. Correct what it complains about.",
                detail=tuple(done.stdout.splitlines()[-20:]),
                hook="hooks.pre_build",
                status=done.returncode,
            )

    def _unchanged(self, host: HostClient, plan: Plan) -> Deployment:
        return Deployment(
            service=plan.service,
            kind=self.kind,
            release=plan.release.id,
            previous=plan.base,
            outcome="unchanged",
            address=host.address(plan.service),
            notes=("this very release serves already; nothing was done",),
        )

    def _report_served(self, deployment: Deployment) -> Deployment:
        """Do what follows a switch: the kind's own hook, and a word to the parent."""
        try:
            self._served(deployment)
        except Exception as error:  # The promise of this hook: it cannot fail a deploy.
            log.error("lite.served_failed", kind=self.kind, error=repr(error))
            self._notify(Event(EventKind.NOTE, f"after the switch: {error}"))
        self.sync_to_parent(deployment.kind, deployment.service.app)
        return deployment

    @contextmanager
    def _session(self) -> Iterator[HostClient]:
        """Talk to the host; turn KeyboardInterrupt into an undo, or after the switch a leave."""
        has_served = False

        def watch(event: Event) -> None:
            nonlocal has_served
            has_served |= event.kind is EventKind.REACHED and event.text == Phase.SERVED
            self._notify(event)

        with self._host(watch) as host:
            try:
                yield host
            except KeyboardInterrupt:
                if has_served:
                    host.leave()
                    message, remedy = "interrupted; the new release serves, the host finishes", ""
                else:
                    host.interrupt()
                    message, remedy = "interrupted; the deploy was undone", "Deploy again."
                raise DeployInterruptedError(message, remedy=remedy, served=has_served) from None


def _promise(plan: Plan) -> tuple[object, ...]:
    """Return what a plan promises: all but the words for people."""
    digest = plan.source.digest if plan.source else None
    return plan.service, plan.kind, plan.base, digest, plan.artifact, plan.config
