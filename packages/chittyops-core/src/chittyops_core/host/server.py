"""The host's end: reads steps from stdin, carries them out, answers on stdout."""

from __future__ import annotations

import json
import os
import queue
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

from attrs import evolve

from chittyops_core._kit import files, logs, wire
from chittyops_core._kit.clock import SystemClock
from chittyops_core._kit.locks import FileLock, LockHeldError
from chittyops_core._kit.logs import get_logger
from chittyops_core._kit.process import is_in_use
from chittyops_core.deploy.engine import Attempt, DeployLite, Event, EventKind
from chittyops_core.deploy.journal import Journal
from chittyops_core.deploy.plan import Plan, ReleaseSummary, ServiceView
from chittyops_core.deploy.targets.local import Acme, HostSettings, Layout, LocalTarget, users
from chittyops_core.deploy.targets.local.target import interpreter
from chittyops_core.errors import (
    ChittyOpsError,
    DeployInterruptedError,
    HostError,
    NotFoundError,
    PlanStaleError,
    ProtocolError,
    RefusedError,
    ServiceLockedError,
    UsageError,
)
from chittyops_core.host import protocol
from chittyops_core.host.agent_process import agent_of
from chittyops_core.host.boot import boot_of
from chittyops_core.host.bridge_events import tell
from chittyops_core.host.bridge_steps import BridgeSteps
from chittyops_core.host.monitor_steps import MonitorSteps
from chittyops_core.host.runtime import enter_current, old_runtimes
from chittyops_core.model.health import Verdict
from chittyops_core.model.manifest import require_free_variable
from chittyops_core.model.release import GateReceipt, Release, SecretRef, Variable
from chittyops_core.model.service import Service
from chittyops_core.secrets import Command, Providers, Reference, SecretStore, make_value

__all__ = ["Host", "Server", "main"]

log = get_logger("chittyops.host")


class Host(MonitorSteps, BridgeSteps):
    """One home and all that can be done on it; each public method is a step.

    Parameters and results are wire values; `Server` calls methods by their names.
    """

    def __init__(self, home: Path, notify: Callable[[Event], None]) -> None:
        self._notify = notify
        self._layout = Layout.create(home)
        self._clock = SystemClock()
        self._journal = Journal(self._layout.journal, self._clock)
        self._secrets = SecretStore(self._layout.secrets, self._secrets_in_use)
        self._providers = Providers(self._layout.secrets, self._secrets)
        self._target = LocalTarget(
            self._layout,
            self._secrets.get,
            lambda text: notify(Event(EventKind.STEP, text)),
            self._journal.keep_user,
            companions=(agent_of(self._layout),),
        )
        self._engine = DeployLite(
            self._target, self._journal, self._layout.locks, self._clock, notify
        )
        self._attempt: Attempt | None = None
        self._stack = ExitStack()
        self._rotating = ExitStack()

    def close(self) -> None:
        """Settle an attempt that nobody carries on, and close the journal."""
        self.drop_attempt(None)
        self._rotating.close()
        self._journal.close()

    @property
    def has_served(self) -> bool:
        """Whether the attempt under way is past its commit point."""
        attempt = self._attempt
        if attempt is None:
            return False
        serving = self._target.observe(attempt.plan.service).serving
        return serving == attempt.release.id != attempt.plan.base

    def drop_attempt(self, why: BaseException | None) -> None:
        """End the attempt by the rule of recovery: undo it, or finish it when it served."""
        stack, self._stack, self._attempt = self._stack, ExitStack(), None
        if why is None:
            stack.close()
        else:
            with suppress(type(why)):
                stack.__exit__(type(why), why, why.__traceback__)

    # --- a deploy, step by step ---

    def step_observe(self, *, service: Any) -> Any:
        return wire.to_wire(self._view(_service(service)))

    def step_release(self, *, service: Any, release: str) -> Any:
        """Return a kept release by its id or the beginning of it."""
        which = _service(service)
        known = [row["id"] for row in self._journal.releases(which)]
        found = [known_id for known_id in known if known_id.startswith(release)]
        if len(found) > 1:
            raise NotFoundError(f"{release} could be {', '.join(found)}", remedy="Give more of it.")
        return wire.to_wire(self._target.release(which, found[0] if found else release))

    def step_receipt(self, *, service: Any, release: str) -> Any:
        return wire.to_wire(self._journal.receipt(_service(service), release))

    def step_build(self, *, plan: Any, wait: bool) -> Any:
        agreed = wire.from_wire(Plan, plan)
        agreed = evolve(agreed, config=self._with_secrets(agreed))
        attempt = self._stack.enter_context(self._engine.attempt(agreed, wait=wait))
        self._attempt = attempt
        attempt.build()
        if not agreed.is_rollback:
            self._require_values(attempt.release)
        return attempt.release.id

    def step_stage(self) -> Any:
        attempt = self._current()
        attempt.stage()
        service = attempt.plan.service
        is_serving = attempt.release.id == attempt.plan.base
        staged = protocol.Staged(
            service,
            attempt.release.id,
            self._target.address(service, staged=not is_serving),
            self._target.probe(service, attempt.release.id).instances,
            self._target.user(attempt.release),
        )
        return wire.to_wire(staged)

    def step_serve(self, *, receipt: Any) -> Any:
        attempt = self._current()
        attempt.serve(wire.from_wire(GateReceipt, receipt) if receipt else None)
        return wire.to_wire(self._target.address(attempt.plan.service))

    def step_finish(self) -> Any:
        attempt = self._current()
        attempt.finish()
        entry = attempt.entry
        receipt = self._journal.receipt(entry.service, entry.release)
        done = protocol.Deployment(
            service=entry.service,
            kind=attempt.plan.kind,
            release=entry.release,
            previous=entry.base,
            outcome="served",
            address=self._target.address(entry.service),
            phases=entry.phases,
            findings=receipt.findings if receipt else (),
        )
        self.drop_attempt(None)
        self._keep_budget()
        self._secrets.prune()
        return wire.to_wire(done)

    def step_undo(self, *, why: str) -> None:
        self.drop_attempt(DeployInterruptedError(why))

    # --- reports ---

    def step_status(self) -> Any:
        report = protocol.StatusReport(
            self._host_report(), tuple(self._report(s) for s in self._journal.services())
        )
        return wire.to_wire(report)

    def step_address(self, *, service: Any) -> Any:
        return wire.to_wire(self._target.address(_service(service)))

    def step_history(self, *, service: Any, limit: int) -> Any:
        return wire.to_wire(self._journal.history(_service(service), limit))

    def step_logs(self, *, service: Any, release: str | None, lines: int, follow: bool) -> None:
        """Send log lines as events until there are no more, or until cancelled."""
        which = _service(service)
        chosen = release or self._serving(which)
        for line in self._target.logs(which, chosen, lines=lines, follow=follow):
            if line is None:
                self._clock.sleep(0.2)
            else:
                self._notify(Event(EventKind.STEP, f"{line.instance} | {line.text}"))

    # --- changes ---

    def step_recover(self, *, service: Any) -> Any:
        """Settle what crashes left, for one service or all; return lines of what was done."""
        chosen = [_service(service)] if service else self._journal.services()
        done: dict[str, list[str]] = {}
        if self._target.services() and self._target.start_host():
            done["host"] = ["started what serves"]
        for each in chosen:
            settled = [
                f"{entry.action} of {entry.release}" for entry in self._journal.unfinished(each)
            ]
            with self._engine.hold(each, "recover", wait=True):
                done[each.slug] = settled
        return done

    def step_remove(self, *, service: Any) -> None:
        which = _service(service)
        if self._journal.kind_of(which) is None:
            raise self._unknown(which)
        self._engine.remove(which)
        tell(self._layout, "deploy.removed", service=which.slug)
        self._secrets.prune()

    def step_prune(self, *, dry_run: bool) -> Any:
        """Delete what nothing needs, or only say what that is."""
        doomed = self._doomed()
        before = self._target.disk_bytes()
        if not dry_run:
            doomed = self._delete(doomed)
            self._target.clear_leftovers()
            list(self._prune_runtimes())
        return wire.to_wire(
            protocol.PruneReport(
                releases=tuple(protocol.PrunedRelease(s, r) for s, r in doomed),
                bytes_before=sum(before.values()),
                bytes_after=None if dry_run else sum(self._target.disk_bytes().values()),
                budget=self._target.edge.settings.disk_budget,
            )
        )

    def step_erase(self) -> None:
        """Take everything off the host but the journal and the state directories."""
        for service in self._journal.services():
            self._engine.remove(service)
        boot_of(self._layout).disable()
        self._target.erase()

    def step_exec(self, *, service: Any, argv: list[str]) -> Any:
        """Return what the caller has to run, with its own terminal, to be inside the release."""
        which = _service(service)
        command, env = self._target.exec_argv(which, self._serving(which), argv)
        return {"argv": command, "env": dict(env)}

    def step_settings(self, *, service: Any, changes: Mapping[str, str | None]) -> Any:
        """Change variables of a service (None takes one away); return those it has."""
        which = _service(service)
        for name, value in changes.items():
            if value is not None:
                try:
                    require_free_variable(name)
                except ValueError as error:
                    raise UsageError(str(error)) from error
            self._journal.change_setting(which, name, value)
        return self._journal.settings(which)

    def step_secrets(self) -> Any:
        return self._secrets.names()

    def step_secret_set(self, *, name: str, value: str) -> None:
        self._providers.require_free([name])
        self._secrets.set(name, value)

    def step_secrets_compare(self, *, values: Mapping[str, str]) -> Any:
        return self._secrets.compare(values)

    def step_secrets_set(self, *, values: Mapping[str, str], agreed: Mapping[str, str]) -> None:
        """Keep all values or none, if setting them is still what was *agreed* to."""
        self._providers.require_free(values)
        self._secrets.set_all(values, agreed)

    def step_rotation(self, *, name: str, app: str | None) -> Any:
        self._secrets.get(name)  # Raises when there is none.
        begun = self._secrets.rotations()
        is_begun = name in begun
        meant = begun[name] if is_begun else app
        users = tuple(self._secret_users(name))
        is_provided = name in self._providers.commands()
        return wire.to_wire(protocol.Rotation(name, meant, is_begun, users, is_provided))

    def step_rotations(self) -> Any:
        return list(self._secrets.rotations())

    def step_rotation_begin(
        self, *, name: str, app: str | None, value: str | None, generate: str | None
    ) -> Any:
        """Keep a new value, marked; or go on with the one of a rotation that was cut off.

        Raises:
            RefusedError: Another process rotates.
        """
        self._hold_rotation()
        if value is not None or generate is not None:
            self._providers.require_free([name])
        is_begun = name in self._secrets.rotations()
        if value is None and generate is None:
            value = self._providers.ask(name)
        if value is None and not is_begun:
            if generate is None:
                raise RefusedError(f"there is no rotation of {name} to carry on")
            value = make_value(generate)
        if value is not None and not (is_begun and value == self._secrets.get(name)):
            self._secrets.begin_rotation(name, value, app)
        return self.step_rotation(name=name, app=app)

    def step_rotation_end(self, *, name: str, forget: bool) -> None:
        self._secrets.end_rotation(name, forget=forget)
        tell(self._layout, "secret.rotated", secret=name)
        self._rotating.close()

    def step_secret_unset(self, *, name: str) -> None:
        self._providers.require_free([name])
        self._secrets.unset(name)

    def step_secrets_refresh(self, *, names: list[str]) -> None:
        """Ask the commands that are bound to some of *names* for their values of today."""
        self._providers.refresh(names)

    def step_providers(self) -> Any:
        return wire.to_wire(self._providers.commands())

    def step_provider_bind(
        self, *, name: str, argv: list[str], timeout_s: float, env: Mapping[str, str]
    ) -> None:
        self._providers.bind(name, Command.of(argv, timeout_s, env))

    def step_provider_unbind(self, *, name: str) -> None:
        self._providers.unbind(name)

    def step_host_start(
        self,
        *,
        http: int | None,
        https: int | None,
        bind: list[str],
        acme: Any = None,
        no_acme: bool = False,
        disk_budget: int | None = None,
        manager: str | None = None,
        agent: bool | None = None,
        metrics: int | None = None,
    ) -> Any:
        """Start what serves, as after a reboot; but for the budget, settings need a stopped host.

        *disk_budget*: bytes; 0 takes the limit away. *metrics*: a port; 0 closes it.
        """
        if manager is not None:
            self._target.choose_manager(manager)
        edge = self._target.edge
        now = edge.settings
        chosen = wire.from_wire(Acme, acme) if acme else None if no_acme else now.acme
        wanted = HostSettings(
            http or now.http, https or now.https, tuple(bind) or now.bind, chosen,
            now.disk_budget if disk_budget is None else disk_budget or None,
            now.agent if agent is None else agent,
            now.metrics if metrics is None else metrics or None,
        )  # fmt: skip
        if wanted.http == wanted.https:
            raise HostError(
                f"HTTP and HTTPS cannot both be on port {wanted.http}",
                remedy="Choose another: --http-port N, --https-port N.",
            )
        if wanted != now:
            is_edge_same = evolve(wanted, disk_budget=now.disk_budget) == now
            if not is_edge_same and self._target.manager.pid is not None:
                raise HostError(
                    "the edge runs already; its settings change only while it is stopped",
                    remedy="`chittyops host stop`, then start with the new ones.",
                )
            edge.save_settings(wanted)
        self.start()
        return self.step_status()

    def start(self) -> None:
        """Start what serves, and wait until all of it is healthy."""
        if self._target.start_host():
            tell(self._layout, "host.started")
        for service in self._journal.services():
            with self._engine.hold(service, "host start", wait=True):
                self._engine.wait_serving(service)

    def step_host_upgrade(self) -> Any:
        """Let this runtime carry what an older one started; then delete runtimes without use."""
        before = self._target.manager.runtime
        connections = None
        if before != sys.prefix and self._target.manager.pid is not None:
            connections = self._target.renew_host()
            tell(self._layout, "host.upgraded", version=version("chittyops-core"))
        report = protocol.UpgradeReport(
            before, sys.prefix, connections, tuple(self._prune_runtimes())
        )
        return wire.to_wire(report)

    def _prune_runtimes(self) -> Iterator[str]:
        for folder in old_runtimes(self._layout.home):
            if not is_in_use(folder):
                files.remove_tree(folder)
                yield str(folder)

    def step_host_stop(self, *, grace_s: float) -> None:
        self._target.stop_host(grace_s=grace_s)
        tell(self._layout, "host.stopped")

    def step_boot(self) -> Any:
        return wire.to_wire(boot_of(self._layout).plan())

    def step_boot_enable(self) -> Any:
        boot = boot_of(self._layout)
        boot.enable()
        return wire.to_wire(boot.plan())

    def step_boot_disable(self) -> Any:
        boot = boot_of(self._layout)
        boot.disable()
        return wire.to_wire(boot.plan())

    # --- pieces ---

    def _doomed(self) -> list[tuple[Service, str]]:
        excess = [(s, r) for s in self._journal.services() for r in self._engine.excess(s)]
        budget = self._target.edge.settings.disk_budget
        over = self._engine.over_budget(budget) if budget is not None else []
        return [*excess, *(each for each in over if each not in excess)]

    def _keep_budget(self) -> None:
        budget = self._target.edge.settings.disk_budget
        if budget is None:
            return
        for service, release in self._delete(self._engine.over_budget(budget)):
            self._notify(Event(EventKind.STEP, f"deleted {release} of {service}: disk budget"))
        used = sum(self._target.disk_bytes().values())
        if used > budget:
            text = f"artifacts take {used // 2**20} MB, the disk budget is {budget // 2**20} MB"
            self._notify(Event(EventKind.NOTE, f"{text}, and all of them are needed"))

    def _delete(self, doomed: list[tuple[Service, str]]) -> list[tuple[Service, str]]:
        """Delete releases of services that nobody is at work on; return which."""
        done = []
        for service in sorted({service for service, _ in doomed}):
            mine = [release for each, release in doomed if each == service]
            with suppress(ServiceLockedError), self._engine.hold(service, "prune", wait=False):
                spare = set(self._engine.spare(service))
                self._engine.delete(service, [release for release in mine if release in spare])
                done += [(service, release) for release in mine if release in spare]
        return done

    def _current(self) -> Attempt:
        if self._attempt is None:
            raise ProtocolError("there is no deploy under way on this connection")
        return self._attempt

    def _serving(self, service: Service) -> str:
        serving = self._target.observe(service).serving
        if serving is None:
            raise self._unknown(service)
        return serving

    def _unknown(self, service: Service) -> NotFoundError:
        known = ", ".join(s.slug for s in self._journal.services()) or "none"
        return NotFoundError(
            f"nothing serves under the name {service} on this host; known: {known}",
            remedy="`chittyops deploy` in the app's folder puts it into service.",
        )

    def _with_secrets(self, plan: Plan) -> Any:
        """Make the secrets that may be generated, and fill in what is now known of them."""
        if plan.is_rollback:
            return plan.config
        pending = set()
        for secret in plan.config.secrets:
            if secret.fingerprint is None:
                pending.add(secret.name)
                if secret.generate:
                    self._secrets.generate(secret.name, secret.generate)
        known = self._secrets.fingerprints() if pending else {}
        return plan.config.with_fingerprints({n: known[n] for n in pending})

    def _hold_rotation(self) -> None:
        """Let nobody else rotate until this one ends; a crash gives the lock back."""
        lock = FileLock(self._layout.locks / "rotation.lock")
        try:
            self._rotating.enter_context(lock.acquire("rotation", wait=None))
        except LockHeldError as error:
            raise RefusedError(
                f"another rotation is under way (pid {error.holder.get('pid')})",
                remedy="Wait for it to end.",
            ) from None

    def _secret_users(self, name: str) -> Iterator[protocol.SecretUser]:
        today = self._secrets.fingerprints().get(name)
        for service in self._journal.services():
            self._settle_if_free(service)
            serving = self._target.observe(service).serving
            if serving is None:
                continue
            variables = self._target.release(service, serving).config.variables
            uses = {v: s for v, s in _named_secrets(variables) if s.name == name}
            if uses:
                yield protocol.SecretUser(
                    service=service,
                    kind=self._journal.kind_of(service) or "",
                    release=serving,
                    variables=tuple(uses),
                    generate=next((s.generate for s in uses.values() if s.generate), None),
                    is_current=all(s.fingerprint == today for s in uses.values()),
                )

    def _secrets_in_use(self) -> set[Reference]:
        return _references(self._target.secrets_in_use())

    def _require_values(self, release: Release) -> None:
        """Refuse a release whose secrets changed since its plan was made.

        Only now that it is recorded: from here on its values stay.
        """
        gone = self._secrets.lacking(_references(release.config.secrets))
        if gone:
            raise PlanStaleError(
                f"the plan is stale: {', '.join(gone)} changed since it was made",
                remedy="Plan again.",
            )

    def _view(self, service: Service) -> ServiceView:
        self._settle_if_free(service)
        observed = self._target.observe(service)
        serving = observed.serving
        is_running = serving is not None and serving in observed.running
        if is_running and serving is not None:
            health = self._target.probe(service, serving)
            is_running = health.verdict in (Verdict.HEALTHY, Verdict.UNHEALTHY)
        previous = self._journal.previous_served(service, serving)
        return ServiceView(
            service=service,
            kind=self._journal.kind_of(service),
            serving=self._target.release(service, serving) if serving else None,
            previous=previous if previous in observed.present else None,
            releases=tuple(self._summaries(service, serving, previous, observed.present)),
            fingerprints=self._secrets.fingerprints(),
            settings=self._journal.settings(service),
            has_sqlite=self._target.has_sqlite(service),
            hosts_taken=self._target.hosts_taken(besides=service),
            interpreter=interpreter(),
            running=is_running,
            own_users=users.are_possible(),
        )

    def _settle_if_free(self, service: Service) -> None:
        """Recover at the next command, whatever it is, unless somebody is at work."""
        with suppress(ChittyOpsError):
            self._target.revive()
        if self._journal.unfinished(service) or self._engine.idle(service):
            with suppress(ChittyOpsError):
                with self._engine.hold(service, "recover", wait=False):
                    pass

    def _summaries(
        self, service: Service, serving: str | None, previous: str | None, present: frozenset[str]
    ) -> list[ReleaseSummary]:
        warm = self._journal.warm(service)

        def state(release: str) -> str:
            if release == serving:
                return "serving"
            if release in warm:
                return "warm"
            return "previous" if release == previous else "kept"

        return [
            ReleaseSummary(row["id"], row["created"], row["served"], state(row["id"]))
            for row in self._journal.releases(service)
            if row["id"] in present
        ]

    def _report(self, service: Service) -> protocol.ServiceReport:
        self._settle_if_free(service)
        observed = self._target.observe(service)
        serving = observed.serving
        health = self._target.probe(service, serving) if serving else None
        served = {row["id"]: row["served"] for row in self._journal.releases(service)}
        return protocol.ServiceReport(
            service=service,
            kind=self._journal.kind_of(service) or "",
            serving=serving,
            since=served.get(serving) if serving else None,
            health=health.verdict if health else Verdict.GONE,
            address=self._target.address(service) if serving else None,
            instances=health.instances if health else (),
            warm=tuple(sorted(self._journal.warm(service) & observed.running)),
            unfinished=len(self._journal.unfinished(service)),
        )

    def _host_report(self) -> protocol.HostReport:
        ports = self._target.edge.settings
        return protocol.HostReport(
            home=str(self._layout.home),
            supervisor_pid=self._target.manager.pid,
            manager=self._target.manager.name,
            is_edge_running=self._target.edge.is_running,
            http_port=ports.http,
            https_port=ports.https,
            bind=ports.bind,
            runtime=sys.prefix,
            running=self._target.manager.runtime,
            acme=(ports.acme.directory or "Let's Encrypt") if ports.acme else None,
        )


def _named_secrets(variables: Mapping[str, Variable]) -> list[tuple[str, SecretRef]]:
    return [(name, v.secret) for name, v in variables.items() if v.secret is not None]


def _references(secrets: Iterable[SecretRef]) -> set[Reference]:
    return {Reference(s.name, s.fingerprint) for s in secrets if s.fingerprint is not None}


def _service(data: Any) -> Service:
    return wire.from_wire(Service, data)


class Server:
    """Reads requests in a thread of its own, so that a cancel or a lost caller is noticed."""

    def __init__(self, home: Path, lines: TextIO, out: TextIO) -> None:
        self._home = home
        self._lines = lines
        self._out = out
        self._requests: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._current: int | None = None
        self._host: Host | None = None
        self._main = threading.get_ident()

    def run(self) -> None:
        """Serve until the input ends."""
        threading.Thread(target=self._read, daemon=True).start()
        while (request := self._next()) is not None:
            self._answer(request)
        if self._host is not None:
            self._host.close()

    def _next(self) -> dict[str, Any] | None:
        while True:
            # An interrupt that comes after its step has ended means nothing any more.
            with suppress(KeyboardInterrupt):
                return self._requests.get()

    def _read(self) -> None:
        for line in self._lines:
            message = json.loads(line)
            if message.get("cancel"):
                self._interrupt()
            else:
                self._requests.put(message)
        self._requests.put(None)
        self._interrupt()

    def _interrupt(self) -> None:
        """End the step under way; past the commit point that means to finish without waiting."""
        if self._current is not None:
            signal.pthread_kill(self._main, signal.SIGINT)

    def _answer(self, request: Mapping[str, Any]) -> None:
        number = request.get("id")
        try:
            self._current = number
            result = self._step(request)
        except (ChittyOpsError, KeyboardInterrupt, OSError, sqlite3.Error) as error:
            # From here on nothing interrupts: what was begun is brought to its end.
            self._current = None
            served = self._host is not None and self._host.has_served
            self._drop_attempt(error)
            self._send({"id": number, "error": _named(error, served=served).to_wire()})
        else:
            self._current = None
            self._send({"id": number, "result": result})

    def _drop_attempt(self, why: BaseException) -> None:
        try:
            if self._host is not None:
                self._host.drop_attempt(why)
        except (ChittyOpsError, OSError, sqlite3.Error) as error:
            # As on a full disk: the next command settles it.
            log.warning("host.attempt_left", error=str(error))

    def _step(self, request: Mapping[str, Any]) -> Any:
        name = str(request.get("step"))
        if name == "hello":
            return self._hello(request.get("params", {}))
        if self._host is None:
            self._host = Host(self._home, self._notify)
        method = getattr(self._host, f"step_{name}", None)
        if method is None:
            raise ProtocolError(f"this host knows no step {name!r}", remedy="Upgrade the host.")
        return method(**request.get("params", {}))

    def _hello(self, params: Mapping[str, Any]) -> Any:
        if params.get("version") != protocol.VERSION:
            raise ProtocolError(
                f"the caller speaks protocol {params.get('version')}, this host {protocol.VERSION}",
                remedy="Upgrade whichever is older: pip install --upgrade chittyops-core",
            )
        return {"version": protocol.VERSION}

    def _notify(self, event: Event) -> None:
        self._send({"id": self._current, "event": wire.to_wire(event)})

    def _send(self, message: Mapping[str, Any]) -> None:
        # A caller that is gone must not stop a deploy that has served.
        with suppress(BrokenPipeError):
            self._out.write(json.dumps(message) + "\n")
            self._out.flush()


def _named(error: BaseException, *, served: bool) -> ChittyOpsError:
    """Return *error* as one that the caller can show."""
    if isinstance(error, ChittyOpsError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return DeployInterruptedError("interrupted", served=served)
    return HostError(
        f"the machine refuses: {error}",
        remedy="Free disk space or mend the permissions, then try again.",
    )


def start_all(home: Path) -> int:
    """Start what serves, as when the machine has started; return the exit status."""
    host = None
    try:
        host = Host(home, lambda event: None)
        host.start()
    except (ChittyOpsError, OSError, sqlite3.Error) as error:
        shown = _named(error, served=False)
        print(*shown.detail, f"chittyops: {shown.message}", shown.remedy, sep="\n", file=sys.stderr)
        return 1
    finally:
        if host is not None:
            host.close()
    return 0


def main(argv: list[str]) -> None:
    """Run as `python -m chittyops_core.host HOME [--start]`."""
    home = Path(argv[0])
    is_start = argv[1:] == ["--start"]
    if is_start:
        enter_current(home)
    logs.configure()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    files.ensure_private_dir(home, passable=True)
    if is_start:
        sys.exit(start_all(home))
    # The protocol has stdout to itself; whatever else prints goes to stderr.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    Server(home, sys.stdin, out).run()
