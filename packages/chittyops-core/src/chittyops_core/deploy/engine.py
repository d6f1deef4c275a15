"""The engine: order, time and recovery of a deployment. Targets do, the journal remembers.

    planned -> built -> staged -> gated -> SERVED -> soaked -> drained -> done
                  \\________\\_______\\-> undone

`Target.serve` is the one commit point. What a crash left is settled by one rule, in `settle`:
if the target serves the new release, finish; else retire it and see that the old one runs.
Every method may be called again after a crash at any of its points.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from chittyops_core._kit.clock import Clock
from chittyops_core._kit.locks import FileLock, LockHeldError
from chittyops_core._kit.logs import get_logger
from chittyops_core.deploy import gate
from chittyops_core.deploy.journal import Action, Entry, Journal, Phase
from chittyops_core.deploy.plan import Plan
from chittyops_core.deploy.provenance import Provenance
from chittyops_core.deploy.targets.base import BuildInput, Target
from chittyops_core.errors import (
    ChittyOpsError,
    GateClosedError,
    HookError,
    NotFoundError,
    PlanStaleError,
    RefusedError,
    ServiceLockedError,
)
from chittyops_core.model.health import Health, Verdict
from chittyops_core.model.release import GateReceipt, Release, Strategy
from chittyops_core.model.service import Service

__all__ = ["Attempt", "DeployLite", "Event", "EventKind"]

log = get_logger("chittyops.deploy")

HOOK_TIMEOUT_S = 900.0
"""A migration may be long; a hook that hangs must not hold the service's lock for ever."""

STOP_GRACE_S = 10.0
"""Between SIGTERM and SIGKILL for a release that is drained: it has nothing left to answer."""


class EventKind(StrEnum):
    STARTED = "started"
    """A phase began."""
    REACHED = "reached"
    """A phase was reached; `seconds` says how long it took."""
    STEP = "step"
    """Something smaller happened."""
    NOTE = "note"
    """A person should read this."""


@frozen
class Event:
    """One thing that happened, for whoever watches. Also the points at which tests kill."""

    kind: EventKind
    text: str
    seconds: float | None = None


@define
class DeployLite:
    """Deploys services to one target.

    Attributes:
        target: Where releases run.
        journal: What is intended.
        lock_dir: Where each service's lock file lies.
        clock: Time.
        notify: Called with every event, in the engine's thread.
    """

    target: Target
    journal: Journal
    lock_dir: Path
    clock: Clock
    notify: Callable[[Event], None]

    @contextmanager
    def hold(self, service: Service, purpose: str, *, wait: bool) -> Iterator[None]:
        """Hold the service's lock and settle what a crash left.

        Raises:
            ServiceLockedError: Somebody holds it and *wait* is false.
        """
        lock = FileLock(self.lock_dir / f"{service.slug}.lock")
        told = False

        def sleep(holder: dict[str, Any]) -> None:
            nonlocal told
            if not told:
                self.notify(Event(EventKind.NOTE, f"waiting for {_describe(holder)}"))
                told = True
            self.clock.sleep(0.1)

        try:
            lock.acquire(purpose, wait=sleep if wait else None)
        except LockHeldError as error:
            raise ServiceLockedError(
                f"{service} is being changed by {_describe(error.holder)}",
                remedy="Wait for it to end, or leave out --no-wait.",
                **error.holder,
            ) from None
        with lock:
            self.settle(service)
            yield

    @contextmanager
    def attempt(self, plan: Plan, *, wait: bool = True) -> Iterator[Attempt]:
        """Hold the service's lock for one attempt to carry *plan* out.

        An attempt that is left before it served, by an exception or because the caller went
        away, is undone; one that served is finished.

        Raises:
            PlanStaleError: Something else serves than the plan was made from.
            ServiceLockedError: Somebody else changes the service and *wait* is false.
        """
        with self.hold(plan.service, "rollback" if plan.is_rollback else "deploy", wait=wait):
            serving = self.target.observe(plan.service).serving
            if serving != plan.base:
                raise PlanStaleError(
                    f"the plan is stale: it was made while {plan.base or 'nothing'} served, "
                    f"now {serving or 'nothing'} does",
                    remedy="Plan again.",
                )
            attempt = Attempt(self, plan, plan.release)
            try:
                yield attempt
            except BaseException as error:
                attempt.abandon(error)
                raise
            attempt.abandon(None)

    def settle(self, service: Service) -> list[str]:
        """Bring every unfinished deployment to its end; return what was done, a line each.

        The caller holds the service's lock.
        """
        done = []
        for entry in self.journal.unfinished(service):
            serves_new = self.target.observe(service).serving == entry.release
            log.info("deploy.recovering", service=service.slug, deployment=entry.id)
            if serves_new:
                # Again, for what follows from it: the crash may have come right after the rename.
                self.target.serve(service, entry.release)
                self.finish(entry)
                done.append(f"finished the {entry.action} of {entry.release}, which serves")
            else:
                self.undo(entry, f"interrupted while {entry.phase}")
                done.append(f"undid the {entry.action} of {entry.release}, which never served")
        self._retire_idle(service)
        return done

    def finish(self, entry: Entry) -> None:
        """Drain and stop all that no longer serves, prune, and close *entry* as done."""
        if entry.phase in (Phase.PLANNED, Phase.BUILT, Phase.STAGED, Phase.GATED):
            self.journal.mark_served(entry)
        self._keep_warm(entry)
        with self._phase(entry, Phase.DRAINED):
            self._drain(entry)
        self._prune(entry.service)
        self.journal.end(entry.id, Phase.DONE)
        self.notify(Event(EventKind.STEP, "closed"))

    def undo(self, entry: Entry, why: str) -> None:
        """Retire the release that did not come to serve, and see that the old one runs."""
        serving = self.target.observe(entry.service).serving
        if serving is not None:
            # After a recreate the old release is stopped; requests are waiting for it.
            self.target.stage(entry.service, serving)
            self.wait_serving(entry.service)
            self.notify(Event(EventKind.STEP, "old release runs"))
        if entry.release != serving:
            self.target.retire(entry.service, entry.release, grace_s=0)
        self.notify(Event(EventKind.STEP, "new release retired"))
        if serving is None and self.journal.previous_served(entry.service, None) is None:
            # Its first deploy: nothing may be left of a service that never was.
            self.target.remove(entry.service)
            self.journal.end(entry.id, Phase.UNDONE, why)
            self.journal.forget(entry.service)
            return
        self._prune(entry.service)
        self.journal.end(entry.id, Phase.UNDONE, why)

    def wait_serving(self, service: Service) -> None:
        """Wait until what serves is healthy again, as long as a deploy of it would."""
        serving = self.target.observe(service).serving
        if serving is not None:
            health = self.target.release(service, serving).config.health
            gate.wait_healthy(
                lambda: self.target.probe(service, serving),
                successes=1,
                timeout=health.timeout,
                clock=self.clock,
            )

    def remove(self, service: Service) -> None:
        """Take *service* out of service, off the target and out of the journal's present."""
        with self.hold(service, "remove", wait=True):
            self.target.remove(service)
            self.journal.forget(service)

    # --- pieces ---

    @contextmanager
    def _phase(self, entry: Entry, phase: Phase) -> Iterator[None]:
        self.notify(Event(EventKind.STARTED, phase))
        start = self.clock.monotonic()
        yield
        seconds = self.clock.monotonic() - start
        self.journal.mark(entry.id, phase, seconds)
        self.notify(Event(EventKind.REACHED, phase, round(seconds, 4)))

    def _keep_warm(self, entry: Entry) -> None:
        lifecycle = self.target.release(entry.service, entry.release).config.lifecycle
        if entry.base and lifecycle.warm_rollback and lifecycle.strategy is Strategy.BLUE_GREEN:
            until = self.clock.now() + lifecycle.warm_rollback
            self.journal.keep_warm(
                entry.service, entry.base, until.isoformat(timespec="milliseconds")
            )

    def _drain(self, entry: Entry) -> None:
        """Wait until the releases that neither serve nor stay warm are idle, then stop them."""
        limit = self.target.release(entry.service, entry.release).config.lifecycle.drain
        for release in sorted(self.idle(entry.service)):
            self.notify(Event(EventKind.STEP, f"draining {release}"))
            self._wait_idle(entry.service, release, limit)
            self.target.retire(entry.service, release, grace_s=STOP_GRACE_S)
            self.notify(Event(EventKind.STEP, f"retired {release}"))

    def _wait_idle(self, service: Service, release: str, limit: timedelta) -> None:
        deadline = self.clock.monotonic() + limit.total_seconds()
        quiet = 0
        # Two looks apart: a request may have read the old pointer and not yet have connected.
        while quiet < 2 and self.clock.monotonic() < deadline:
            quiet = quiet + 1 if self.target.in_flight(service, release) == 0 else 0
            self.clock.sleep(0.05)

    def idle(self, service: Service) -> set[str]:
        """Return the releases that run and need not."""
        observed = self.target.observe(service)
        return set(observed.running) - {observed.serving} - self.journal.warm(service)

    def _retire_idle(self, service: Service) -> None:
        for release in sorted(self.idle(service)):
            self.target.retire(service, release, grace_s=STOP_GRACE_S)

    def spare(self, service: Service) -> list[str]:
        """Return releases that nobody needs to go back, the last deployed first.

        That is all but what serves, served before, or stays warm; `deploy.keep` of them are kept.
        """
        observed = self.target.observe(service)
        if observed.serving is None:
            return []
        previous = self.journal.previous_served(service, observed.serving)
        needed = {observed.serving, previous} | observed.running | self.journal.warm(service)
        return [r["id"] for r in self.journal.releases(service) if r["id"] not in needed]

    def excess(self, service: Service) -> list[str]:
        """Return the spare releases beyond `deploy.keep`."""
        serving = self.target.observe(service).serving
        if serving is None:
            return []
        keep = self.target.release(service, serving).config.lifecycle.keep
        return self.spare(service)[keep:]

    def _prune(self, service: Service) -> None:
        self.delete(service, self.excess(service))

    def delete(self, service: Service, releases: Sequence[str]) -> None:
        """Delete spare *releases*. The caller holds the service's lock."""
        if self.target.observe(service).serving is None:
            return
        kept = {row["id"] for row in self.journal.releases(service)} - set(releases)
        self.target.prune(service, frozenset(kept))
        self.journal.forget_releases(service, kept)

    def over_budget(self, budget: int) -> list[tuple[Service, str]]:
        """Return which spare releases have to go, the longest unused first, to keep *budget*.

        Args:
            budget: Bytes that all artifacts together may take.
        """
        left = dict(self.target.disk_bytes())
        users: Counter[str] = Counter()
        spare: list[tuple[int, Service, str, str]] = []
        for service in self.journal.services():
            chosen = set(self.spare(service))
            for row in self.journal.releases(service):
                try:
                    artifact = self.target.release(service, row["id"]).artifact
                except NotFoundError:
                    continue
                users[artifact] += 1
                if row["id"] in chosen:
                    spare.append((row["deployment"], service, row["id"], artifact))
        doomed = []
        for _, service, release, artifact in sorted(spare, key=lambda each: each[0]):
            if sum(left.values()) <= budget:
                break
            doomed.append((service, release))
            users[artifact] -= 1
            if not users[artifact]:
                left.pop(artifact, None)
        return doomed

    def run_hook(self, service: Service, release: str, hook: str, command: str) -> None:
        """Run a manifest's command in *release*. Raises HookError."""
        self.notify(Event(EventKind.STEP, f"running {hook}: {command}"))
        result = self.target.run(service, release, command, timeout_s=HOOK_TIMEOUT_S)
        if result.status != 0:
            raise HookError(
                f"{hook} `{command}` failed with status {result.status}",
                remedy="Correct the command; `chittyops exec` runs it in the serving release.",
                detail=result.tail,
                hook=hook,
                status=result.status,
            )


@define
class Attempt:
    """One deployment under way: `build`, `stage`, `serve`, `finish`, in this order.

    Made by `DeployLite.attempt`, which holds the lock meanwhile.
    """

    engine: DeployLite
    plan: Plan
    release: Release
    _entry: Entry | None = field(default=None, init=False)
    _is_over: bool = field(default=False, init=False)

    @property
    def entry(self) -> Entry:
        assert self._entry is not None, "build comes first"
        return self.engine.journal.entry(self._entry.id)

    def build(self) -> None:
        """Record the intent, then make the release present. Raises BuildError, PlanStaleError."""
        engine, plan = self.engine, self.plan
        action = Action.ROLLBACK if plan.is_rollback else Action.DEPLOY
        deployment = engine.journal.begin(
            plan.service, plan.kind, action, self.release.id, plan.base, self._provenance()
        )
        self._entry = engine.journal.entry(deployment)
        engine.notify(Event(EventKind.REACHED, Phase.PLANNED))
        source = (
            BuildInput(plan.source, plan.builder, plan.python) if plan.source is not None else None
        )
        with self._phase(Phase.BUILT):
            engine.target.build(self.release, source)

    def stage(self) -> None:
        """Run the release command, start the release beside the old one, wait until it is healthy.

        With the strategy recreate the old one stops first, and requests wait.

        Raises:
            HookError: The release command, or `post_gate`, failed.
            UnhealthyError: It ended by itself, or was not healthy in time.
        """
        engine, service, release_id = self.engine, self.plan.service, self.release.id
        lifecycle, hooks = self.release.config.lifecycle, self.release.config.hooks
        with self._phase(Phase.STAGED):
            if lifecycle.strategy is Strategy.RECREATE and release_id != self.plan.base:
                engine.target.stop(service, grace_s=lifecycle.drain.total_seconds())
                engine.notify(Event(EventKind.STEP, "old release stopped"))
            self._run_release_command()
            engine.target.stage(service, release_id)
        with self._phase(Phase.GATED):
            self._pass_gate()
            if hooks.post_gate and not self.plan.is_rollback:
                engine.run_hook(service, release_id, "hooks.post_gate", hooks.post_gate)

    def serve(self, receipt: GateReceipt | None) -> None:
        """Switch to the release, if its kind's gate let it through; then watch it soak.

        Args:
            receipt: The gate's; None reuses the one that the release served with before.

        Raises:
            GateClosedError: There is no receipt of this kind for this release.
            UnhealthyError: It did not stay healthy; the old release serves again.
        """
        engine, service = self.engine, self.plan.service
        self._require_receipt(receipt)
        with self._phase(Phase.SERVED):
            engine.target.serve(service, self.release.id)
            engine.notify(Event(EventKind.STEP, "switched"))
            engine.journal.mark_served(self.entry)
        if soak := self.release.config.health.soak:
            with self._phase(Phase.SOAKED):
                self._soak(soak)

    def finish(self) -> None:
        """Drain and stop the old release; run `post_switch` or `on_rollback`."""
        hooks = self.release.config.hooks
        name = "on_rollback" if self.plan.is_rollback else "post_switch"
        command = hooks.on_rollback if self.plan.is_rollback else hooks.post_switch
        if command:
            self._report_hook(self.release.id, f"hooks.{name}", command)
        self.engine.finish(self.entry)
        self._is_over = True

    def abandon(self, why: BaseException | None) -> None:
        """Bring an attempt that nobody carries on to its end, by the rule of recovery."""
        if self._entry is None or self._is_over:
            return
        self._is_over = True
        engine, service = self.engine, self.plan.service
        if engine.target.observe(service).serving == self.release.id and (
            self.release.id != self.plan.base
        ):
            engine.finish(self.entry)
        else:
            engine.undo(self.entry, _explain(why))

    # --- pieces ---

    def _phase(self, phase: Phase) -> Any:
        return self.engine._phase(self.entry, phase)

    def _provenance(self) -> Provenance | None:
        """Return where the plan comes from; the renewal of a secret, where what it renews did."""
        plan = self.plan
        if plan.source is not None or plan.is_rollback or plan.base is None:
            return plan.provenance
        return self.engine.journal.provenance(plan.service, plan.base)

    def _run_release_command(self) -> None:
        engine, service, release_id = self.engine, self.plan.service, self.release.id
        command = self.release.config.lifecycle.release_command
        if not command or engine.journal.has_command_run(service, release_id):
            return
        engine.run_hook(service, release_id, "deploy.release", command)
        engine.journal.mark_command_run(service, release_id)

    def _look(self) -> Health:
        """Take one look; start what is not there at all, as when the process manager died."""
        target, service = self.engine.target, self.plan.service
        health = target.probe(service, self.release.id)
        if health.verdict is not Verdict.GONE:
            return health
        target.stage(service, self.release.id)
        again = target.probe(service, self.release.id)
        # What has to start anew is not taken for something that died.
        return again if again.verdict is Verdict.HEALTHY else health

    def _pass_gate(self) -> None:
        engine, health = self.engine, self.release.config.health
        failed = gate.wait_healthy(
            self._look,
            successes=health.successes,
            timeout=health.timeout,
            clock=engine.clock,
        )
        if failed is not None:
            tail = self._log_tail()
            raise gate.unhealthy(f"release {self.release.id}", failed, tail, health.timeout)

    def _soak(self, soak: timedelta) -> None:
        engine, service = self.engine, self.plan.service
        failed = gate.stays_healthy(self._look, soak=soak, clock=engine.clock)
        if failed is None:
            return
        error = gate.unhealthy(
            f"release {self.release.id} did not stay well", failed, self._log_tail(), soak
        )
        base = self.plan.base
        if base is None:
            # Nothing served before it, so nothing shall serve after it.
            engine.target.remove(service)
        elif base != self.release.id:
            engine.target.stage(service, base)
            engine.target.serve(service, base)
            engine.notify(Event(EventKind.STEP, "switched back"))
            on_rollback = engine.target.release(service, base).config.hooks.on_rollback
            if on_rollback:
                self._report_hook(base, "hooks.on_rollback", on_rollback)
        raise error

    def _require_receipt(self, receipt: GateReceipt | None) -> None:
        """The one guard between a release and its users."""
        engine, service, release_id = self.engine, self.plan.service, self.release.id
        held = receipt or engine.journal.receipt(service, release_id)
        kind = engine.journal.kind_of(service)
        if held is None or held.release != release_id or held.kind != kind:
            raise GateClosedError(
                f"release {release_id} has no receipt of the {kind} gate",
                remedy=f"Deploy it by the {kind} lite, which runs its gate.",
            )
        blocking = [finding for finding in held.findings if finding.is_blocking]
        if blocking:
            raise GateClosedError(f"the gate's receipt holds {len(blocking)} blocking findings")
        if receipt is not None:
            self._require_carried(receipt)
        if receipt is not None:
            engine.journal.keep_receipt(service, receipt)

    def _require_carried(self, receipt: GateReceipt) -> None:
        """Believe what was found before a build only where there was one, or of the same code.

        Raises:
            GateClosedError: Its findings were made neither for this release nor for one that
                differs from it in nothing but the values of secrets.
        """
        engine, service, source = self.engine, self.plan.service, receipt.carried_from
        if source is None:
            if self.plan.source is None and not self.plan.is_rollback:
                raise GateClosedError(
                    f"release {self.release.id} was not built, and its receipt does not say for "
                    "which release its code was looked at"
                )
            return
        held = engine.journal.receipt(service, source)
        other = engine.target.release(service, source)
        is_same = (
            other.artifact == self.release.artifact
            and other.config.without_fingerprints == self.release.config.without_fingerprints
        )
        if (
            not is_same
            or held is None
            or held.kind != receipt.kind
            or held.of_code is None
            or held.of_code != receipt.of_code
        ):
            raise GateClosedError(
                f"what the gate found about release {source} does not hold for {self.release.id}",
                remedy="Deploy the app, so that its gate runs as a whole.",
            )

    def _report_hook(self, release: str, hook: str, command: str) -> None:
        try:
            self.engine.run_hook(self.plan.service, release, hook, command)
        except (HookError, NotFoundError, RefusedError) as error:
            log.warning("deploy.hook_failed", hook=hook, error=str(error))
            self.engine.notify(Event(EventKind.NOTE, str(error)))

    def _log_tail(self) -> tuple[str, ...]:
        lines = self.engine.target.logs(self.plan.service, self.release.id, lines=15, follow=False)
        return tuple(f"{line.instance}: {line.text}" for line in lines if line is not None)


def _describe(holder: dict[str, Any]) -> str:
    if not holder:
        return "another process"
    return f"a {holder.get('purpose')} (pid {holder.get('pid')}, since {holder.get('since')})"


def _explain(error: BaseException | None) -> str:
    if error is None:
        return "the caller did not carry on"
    if isinstance(error, ChittyOpsError):
        return error.message
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
