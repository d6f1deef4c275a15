"""The caller's end: starts the host runtime and asks it for steps."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from chittyops_core._kit import wire
from chittyops_core.deploy.engine import Event
from chittyops_core.deploy.journal import Entry
from chittyops_core.deploy.plan import Plan, ServiceView
from chittyops_core.deploy.targets.base import Address
from chittyops_core.errors import ChittyOpsError, HostDiedError
from chittyops_core.host import protocol
from chittyops_core.host.home import default_home
from chittyops_core.host.protocol import (
    BootPlan,
    Deployment,
    PruneReport,
    Rotation,
    Staged,
    StatusReport,
    UpgradeReport,
)
from chittyops_core.host.runtime import ensure_runtime, erase_runtimes
from chittyops_core.model.release import GateReceipt, Release
from chittyops_core.model.service import Service

__all__ = ["HostClient"]


class HostClient:
    """One conversation with one host.

    A context manager: leaving it ends the conversation, and the host settles an attempt that
    was left unfinished. Every method raises the ChittyOpsError that the host raised, and
    HostDiedError when it is gone.
    """

    def __init__(
        self, home: Path | None = None, on_event: Callable[[Event], None] | None = None
    ) -> None:
        self.home = home or default_home()
        self._on_event = on_event or (lambda event: None)
        self._process: subprocess.Popen[str] | None = None
        self._last = 0

    def __enter__(self) -> Self:
        python = self.python = ensure_runtime(self.home)
        self._process = subprocess.Popen(
            [str(python), "-I", "-m", "chittyops_core.host", str(self.home)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
            # Of its own session: Ctrl-C in a terminal reaches the caller, who decides.
            start_new_session=True, cwd="/",
        )  # fmt: skip
        self.call("hello", version=protocol.VERSION)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end(wait=True)

    @property
    def pid(self) -> int:
        """The host process's id."""
        return self._running.pid

    def call(self, step: str, **params: Any) -> Any:
        """Ask for one step; return its result. Events go to `on_event` meanwhile."""
        self._last += 1
        self._write({"id": self._last, "step": step, "params": params})
        answer = self._read_answer()
        if "error" in answer:
            raise ChittyOpsError.from_wire(answer["error"])
        return answer.get("result")

    def interrupt(self) -> None:
        """Tell the host to end the step under way, and wait until what it did is undone."""
        with suppress(HostDiedError):
            self._write({"cancel": True})
        self._end(wait=True)

    def leave(self) -> None:
        """End the conversation without waiting; the host finishes what has served."""
        self._end(wait=False)

    # --- steps, typed ---

    def observe(self, service: Service) -> ServiceView:
        return wire.from_wire(ServiceView, self.call("observe", service=wire.to_wire(service)))

    def release(self, service: Service, release: str) -> Release:
        answer = self.call("release", service=wire.to_wire(service), release=release)
        return wire.from_wire(Release, answer)

    def receipt(self, service: Service, release: str) -> GateReceipt | None:
        answer = self.call("receipt", service=wire.to_wire(service), release=release)
        return wire.from_wire(GateReceipt, answer) if answer else None

    def build(self, plan: Plan, *, wait: bool) -> str:
        return str(self.call("build", plan=wire.to_wire(plan), wait=wait))

    def stage(self) -> Staged:
        return wire.from_wire(Staged, self.call("stage"))

    def serve(self, receipt: GateReceipt | None) -> Address:
        answer = self.call("serve", receipt=wire.to_wire(receipt) if receipt else None)
        return wire.from_wire(Address, answer)

    def finish(self) -> Deployment:
        return wire.from_wire(Deployment, self.call("finish"))

    def undo(self, why: str) -> None:
        self.call("undo", why=why)

    def status(self) -> StatusReport:
        return wire.from_wire(StatusReport, self.call("status"))

    def address(self, service: Service) -> Address:
        return wire.from_wire(Address, self.call("address", service=wire.to_wire(service)))

    def history(self, service: Service, *, limit: int = 20) -> list[Entry]:
        answer = self.call("history", service=wire.to_wire(service), limit=limit)
        return wire.from_wire(list[Entry], answer)

    def logs(self, service: Service, *, release: str | None, lines: int, follow: bool) -> None:
        """Send log lines to `on_event`, each as the text of an event."""
        self.call(
            "logs", service=wire.to_wire(service), release=release, lines=lines, follow=follow
        )

    def recover(self, service: Service | None) -> dict[str, list[str]]:
        answer = self.call("recover", service=wire.to_wire(service) if service else None)
        return dict(answer)

    def remove(self, service: Service) -> None:
        self.call("remove", service=wire.to_wire(service))

    def prune(self, *, dry_run: bool) -> PruneReport:
        return wire.from_wire(PruneReport, self.call("prune", dry_run=dry_run))

    def erase(self) -> None:
        """Leave nothing of the host but the journal and the state directories."""
        self.call("erase")
        self._end(wait=True)
        erase_runtimes(self.home)

    def exec_argv(self, service: Service, argv: list[str]) -> tuple[list[str], dict[str, str]]:
        answer = self.call("exec", service=wire.to_wire(service), argv=argv)
        return answer["argv"], answer["env"]

    def settings(
        self, service: Service, changes: Mapping[str, str | None] | None = None
    ) -> dict[str, str]:
        answer = self.call("settings", service=wire.to_wire(service), changes=dict(changes or {}))
        return dict(answer)

    def secrets(self) -> dict[str, str]:
        """Return name -> when it was set."""
        return dict(self.call("secrets"))

    def set_secret(self, name: str, value: str) -> None:
        self.call("secret_set", name=name, value=value)

    def compare_secrets(self, values: Mapping[str, str]) -> dict[str, str]:
        """Return name -> `new`, `changed` or `same`: what setting each would be."""
        return dict(self.call("secrets_compare", values=dict(values)))

    def set_secrets(self, values: Mapping[str, str], *, agreed: Mapping[str, str]) -> None:
        """Keep all *values* or none, provided that `compare_secrets` still says *agreed*."""
        self.call("secrets_set", values=dict(values), agreed=dict(agreed))

    def refresh_secrets(self, names: Collection[str]) -> None:
        """Let the commands that are bound to some of *names* give their values of today."""
        self.call("secrets_refresh", names=sorted(names))

    def providers(self) -> dict[str, dict[str, Any]]:
        """Return name -> `argv`, `timeout_s` and `env` of the command that gives its value."""
        return dict(self.call("providers"))

    def bind_provider(
        self, name: str, argv: Collection[str], *, timeout_s: float, env: Mapping[str, str]
    ) -> None:
        self.call("provider_bind", name=name, argv=list(argv), timeout_s=timeout_s, env=dict(env))

    def unbind_provider(self, name: str) -> None:
        self.call("provider_unbind", name=name)

    def rotation(self, name: str, app: str | None) -> Rotation:
        """Return who uses the secret *name*, and whether a rotation of it was cut off."""
        return wire.from_wire(Rotation, self.call("rotation", name=name, app=app))

    def rotations(self) -> list[str]:
        """Return the secrets whose rotation was begun and not ended."""
        return list(self.call("rotations"))

    def begin_rotation(
        self, name: str, *, app: str | None, value: str | None = None, generate: str | None = None
    ) -> Rotation:
        """Keep a new value of *name*, or carry on with that of a rotation that was cut off.

        The right to rotate is held until this conversation ends.
        """
        answer = self.call("rotation_begin", name=name, app=app, value=value, generate=generate)
        return wire.from_wire(Rotation, answer)

    def end_rotation(self, name: str, *, forget: bool) -> None:
        """Say that nothing more is to be brought to the new value."""
        self.call("rotation_end", name=name, forget=forget)

    def unset_secret(self, name: str) -> None:
        self.call("secret_unset", name=name)

    def start_host(
        self,
        *,
        http: int | None = None,
        https: int | None = None,
        bind: tuple[str, ...] = (),
        acme: Mapping[str, str | None] | None = None,
        no_acme: bool = False,
        disk_budget: int | None = None,
        manager: str | None = None,
        agent: bool | None = None,
        metrics: int | None = None,
    ) -> StatusReport:
        """Start what serves; None or empty leaves a setting as it is.

        Args:
            http: TCP port of HTTP.
            https: TCP port of HTTPS.
            bind: Addresses to listen on.
            acme: `directory`, `email` and `root` of the authority for public names.
            no_acme: Go back to Caddy's own authority.
            disk_budget: Bytes that all artifacts may take; 0 for no limit.
            manager: `supervisor` or `systemd`.
            agent: Whether an agent watches what serves.
            metrics: TCP port of its metrics, for this machine only; 0 for none.
        """
        answer = self.call(
            "host_start", http=http, https=https, bind=list(bind), acme=acme, no_acme=no_acme,
            disk_budget=disk_budget, manager=manager, agent=agent, metrics=metrics,
        )  # fmt: skip
        return wire.from_wire(StatusReport, answer)

    def channels(self) -> list[str]:
        """Return the names of those whom the agent tells."""
        return list(self.call("channels"))

    def set_channel(self, name: str, address: str) -> None:
        self.call("channel_set", name=name, address=address)

    def unset_channel(self, name: str) -> None:
        self.call("channel_unset", name=name)

    def test_channel(self, name: str) -> None:
        self.call("channel_test", name=name)

    def watch(self) -> dict[str, Any] | None:
        """Return what the agent says, as its `/v1/state` has it; None where none answers."""
        found: dict[str, Any] | None = self.call("watch")
        return found

    def metrics(self) -> str:
        """Return the agent's metrics as Prometheus text."""
        return str(self.call("metrics"))

    def export_metrics(
        self, path: Path, format: str, *, step: str, since: float, until: float
    ) -> None:
        self.call(
            "metrics_export", path=str(path), format=format, by=step, since=since, until=until
        )

    def exports(self) -> list[dict[str, Any]]:
        """Return where metrics are sent."""
        return list(self.call("exports"))

    def set_export(self, name: str, url: str, format: str, secret: str | None) -> None:
        export = {"name": name, "url": url, "format": format, "secret": secret}
        self.call("export_set", export=export)

    def unset_export(self, name: str) -> None:
        self.call("export_unset", name=name)

    def ping(self, monitor: str, word: str) -> None:
        self.call("ping", monitor=monitor, word=word)

    def incidents(self, limit: int) -> dict[str, Any]:
        """Return `incidents`, newest first, and `undelivered` messages."""
        return dict(self.call("incidents", limit=limit))

    def maintenance(self) -> list[dict[str, Any]]:
        """Return the windows that are not over."""
        return list(self.call("maintenance"))

    def add_maintenance(self, scope: str, starts: float, ends: float, why: str) -> dict[str, Any]:
        """Plan a window; return its `number`, and its `scope` by its whole name."""
        return dict(self.call("maintenance_add", scope=scope, starts=starts, ends=ends, why=why))

    def end_maintenance(self, number: int) -> None:
        self.call("maintenance_end", number=number)

    def bridge(self) -> dict[str, Any] | None:
        """Return how it stands with the parent; None for a host that has none."""
        found: dict[str, Any] | None = self.call("bridge")
        return found

    def bridge_grants(self) -> dict[str, Any]:
        """Return the grants' `file`, the `caps` that they come to, and `services` covered."""
        return dict(self.call("bridge_grants"))

    def enrol(self, url: str, token: str, name: str) -> dict[str, Any]:
        """Enrol with a parent; return the membership."""
        return dict(self.call("enrol", url=url, token=token, name=name))

    def pause_bridge(self) -> None:
        self.call("bridge_pause")

    def resume_bridge(self) -> None:
        self.call("bridge_resume")

    def sync_bridge(self) -> bool:
        """Ask the agent to sync with the parent now; return whether there was one to ask."""
        return bool(self.call("bridge_sync"))

    def rotate_bridge_key(self) -> str:
        """Give this host a new key; return its id."""
        return str(self.call("bridge_rotate"))

    def leave_parent(self, reason: str, *, force: bool) -> None:
        self.call("bridge_leave", reason=reason, force=force)

    def upgrade_host(self) -> UpgradeReport:
        return wire.from_wire(UpgradeReport, self.call("host_upgrade"))

    def stop_host(self, *, grace_s: float = 10) -> None:
        self.call("host_stop", grace_s=grace_s)

    def boot(self) -> BootPlan:
        """Return what would start the host with its machine, and what does."""
        return wire.from_wire(BootPlan, self.call("boot"))

    def enable_boot(self) -> BootPlan:
        return wire.from_wire(BootPlan, self.call("boot_enable"))

    def disable_boot(self) -> BootPlan:
        return wire.from_wire(BootPlan, self.call("boot_disable"))

    # --- the pipe ---

    @property
    def _running(self) -> subprocess.Popen[str]:
        assert self._process is not None, "use it as a context manager"
        return self._process

    def _write(self, message: Mapping[str, Any]) -> None:
        pipe = self._running.stdin
        assert pipe is not None
        try:
            pipe.write(json.dumps(message) + "\n")
            pipe.flush()
        except (BrokenPipeError, ValueError):
            raise self._died() from None

    def _read_answer(self) -> dict[str, Any]:
        pipe = self._running.stdout
        assert pipe is not None
        for line in pipe:
            message: dict[str, Any] = json.loads(line)
            if "event" in message:
                self._on_event(wire.from_wire(Event, message["event"]))
            elif message.get("id") == self._last:
                return message
        raise self._died()

    def _died(self) -> HostDiedError:
        status = self._running.wait()
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        return HostDiedError(
            f"the host process ended in the middle of a step ({how})",
            remedy="`chittyops recover` settles what it left; so does the next command.",
        )

    def _end(self, *, wait: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        try:
            process.stdin.close()
        except BrokenPipeError:
            pass
        if wait:
            _outlast(process)
        else:
            # Somebody has to wait for it in the end, or it stays a zombie of a long-lived caller.
            threading.Thread(target=_outlast, args=(process,), daemon=True).start()


def _outlast(process: subprocess.Popen[str]) -> None:
    """Read what *process* still says, so that it never blocks on a full pipe, until it ends."""
    assert process.stdout is not None
    with process.stdout:
        for _ in process.stdout:
            pass
    process.wait()
