"""`chittyops agent`: one process a host that watches what serves, and says so when it is ill.

It is started by the process manager beside the edge, and may be killed at any time: what it saw
and what it has to say is in its store, and what it watches is what serves. So it holds nothing
that a deploy would have to tell it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from chittyops_core._kit import files, logs, process
from chittyops_core._kit.clock import SystemClock
from chittyops_core._kit.locks import FileLock, LockHeldError
from chittyops_core.deploy.targets.local import Layout, LocalTarget
from chittyops_core.deploy.targets.local.target import INSTANCE, PASSING
from chittyops_core.errors import ChittyOpsError, HostError, StoreError
from chittyops_core.host.agent_api import AgentApi
from chittyops_core.host.agent_process import PAGE_HOST
from chittyops_core.host.agent_view import AgentView
from chittyops_core.host.app_link import AppLink
from chittyops_core.host.bridge_link import BridgeLink
from chittyops_core.host.exports import Exporter
from chittyops_core.host.promises import Promise, judged, read_promises
from chittyops_core.host.reach import out_of_reach
from chittyops_core.host.watched import (
    HOST_HISTORY,
    PROCESSES,
    monitors_of_host,
    monitors_of_service,
)
from chittyops_core.host.words import in_words
from chittyops_core.model.monitoring import Monitor, Severity
from chittyops_core.model.service import Service
from chittyops_core.monitor.alerts import Rule
from chittyops_core.monitor.buffer import BufferedStore
from chittyops_core.monitor.local_http import LocalServer
from chittyops_core.monitor.outbox import Outbox
from chittyops_core.monitor.probes.process import ProcessProbe
from chittyops_core.monitor.store import NEAR, Usage
from chittyops_core.monitor.watch import Judgement, Watch

__all__ = ["Agent", "main"]

log = logs.get_logger("chittyops.agent")

LOOK_AROUND_S = 2.0
"""How soon it notices what serves now, and keeps what apps counted."""

COUNT_S = 5.0
"""How often it asks the process manager for its processes; those of one change seldom."""

TELL_AGAIN_S = 60.0
"""A deliverer that ended before all was told is followed by another one after so long."""


class Agent:
    """The agent of one home."""

    def __init__(self, home: Path) -> None:
        self._layout = Layout.create(home)
        files.ensure_private_dir(self._layout.monitor)
        self._store = BufferedStore(self._layout.monitor_store)
        clock = SystemClock()
        self._watch = Watch(self._store, clock, self._tell, self._judge, words=in_words)
        self._target = LocalTarget(self._layout, _no_secret, lambda text: None, _no_user)
        self._known: dict[Service, str] = {}
        self._monitors: dict[Service, list[Monitor]] = {}
        self._promises: dict[Service, list[Promise]] = {}
        self._refused: dict[Service, dict[str, str]] = {}
        self._counted_at = float("-inf")
        self._apps = AppLink(self._layout, self._store, self._watch)
        port = self._target.edge.settings.http
        self._view = AgentView(
            self._layout, self._store, self._watch, self._apps, self._promised,
            f"http://{PAGE_HOST}{'' if port == 80 else f':{port}'}",
        )  # fmt: skip
        self._exporter = Exporter(self._layout, self._view.families, time.time())
        self._bridge = BridgeLink(
            self._layout, self._target, self._store, self._watch, self._promised
        )
        self._told_at = 0.0
        self._teller: subprocess.Popen[bytes] | None = None

    def run(self, stop: threading.Event) -> None:
        """Watch until *stop* is set."""
        with ExitStack() as stack:
            api = AgentApi(self._view, self._apps, self._bridge.sync)
            for handler, at in (
                (api.answer, self._layout.agent_socket),
                (api.answer_visitor, self._layout.page_socket),
            ):
                stack.enter_context(LocalServer(handler, at))
            if (port := self._target.edge.settings.metrics) is not None:
                self._show_metrics(api, port, stack)
            stack.callback(self._store.close)
            stack.callback(self._apps.close)
            stack.callback(self._exporter.close)
            stack.callback(self._bridge.close)
            self._look_around()
            around = threading.Thread(target=self._keep_looking, args=(stop,), name="around")
            around.start()
            stack.callback(around.join)
            stack.callback(stop.set)
            log.info("agent.started", monitors=len(self._watch.monitors()))
            self._watch.run(stop)

    def _show_metrics(self, api: AgentApi, port: int, stack: ExitStack) -> None:
        try:
            stack.enter_context(LocalServer(api.answer_scraper, ("127.0.0.1", port)))
        except OSError as error:
            # Who watches for others goes on, whoever has that port.
            log.error("agent.metrics_port_taken", port=port, error=str(error))

    # --- what serves ---

    def _keep_looking(self, stop: threading.Event) -> None:
        while not stop.wait(LOOK_AROUND_S):
            try:
                self._look_around()
                self._apps.keep()
                self._exporter.send()
                self._bridge.look()
                self._tell_what_is_left()
            except Exception:
                # Whatever it is, what is watched already goes on being watched.
                log.exception("agent.look_around_failed")

    def _look_around(self) -> None:
        """Watch what serves now. Mostly nothing has changed, and this costs a link for each."""
        now = time.monotonic()
        serving = dict(self._target.serving())
        changed = [service for service, release in serving.items()
                   if self._known.get(service) != release]  # fmt: skip
        gone = self._known.keys() - serving.keys()
        for service in gone:
            for of_service in (self._monitors, self._promises, self._refused, self._known):
                of_service.pop(service, None)
        for service in changed:
            try:
                self._learn(service, serving[service])
            except ChittyOpsError as error:
                # As when it is removed at this moment; if not, the next look tries again.
                log.info("agent.service_skipped", service=service.slug, error=error.message)
            except Exception:
                # One service's files may not keep the others from being watched.
                log.exception("agent.service_skipped", service=service.slug)
        if changed or gone or not self._watch.monitors():
            self._set_monitors()
        self._apps.listen_to({service: self._owner(service) for service in self._known})
        if changed or now >= self._counted_at + COUNT_S:
            self._counted_at = now
            self._count_processes()

    def _learn(self, service: Service, release_id: str) -> None:
        release = self._target.release(service, release_id)
        self._monitors[service] = monitors_of_service(release, self._target.address(service))
        self._refused[service] = {
            f"{service.slug}/{name}": why for name, why in out_of_reach(release.config).items()
        }
        self._known[service] = release_id
        self._promises[service] = []
        app = self._layout.artifact(release.artifact) / "app"
        self._promises[service] = read_promises(service, app)

    def _set_monitors(self) -> None:
        port = self._target.edge.settings.http
        monitors = monitors_of_host(self._layout.home, port)
        for found in self._monitors.values():
            monitors += found
        wrong = self._watch.set_monitors(monitors)
        refused = {name: why for found in self._refused.values() for name, why in found.items()}
        self._view.wrong = {name: error.message for name, error in wrong.items()} | refused

    def _count_processes(self) -> None:
        pids, children = self._target.pids(), process.children()
        for service, release_id in self._known.items():
            probe = self._watch.probe(f"{service.slug}/{PROCESSES}")
            if isinstance(probe, ProcessProbe):
                mine = pids.get((service.slug, release_id), ())
                # Often a shell is what is kept running, and the app is below it.
                probe.watch(mine, process.descendants(mine, children))

    def _owner(self, service: Service) -> int:
        """Return the id of the OS user whose processes are the service's: who owns its state."""
        try:
            return self._layout.state(service).stat().st_uid
        except FileNotFoundError:
            return os.geteuid()

    def _promised(self) -> list[Promise]:
        return [promise for found in list(self._promises.values()) for promise in found]

    def _judge(self, now: float) -> Sequence[Judgement] | None:
        store = self._store.store
        if store is None or self._store.trouble:
            return None
        try:
            return [*judged(self._promised(), store, now), _history(store.usage())]
        except StoreError as error:
            log.warning("agent.objectives_not_judged", error=error.message)
            return None

    # --- telling ---

    def _tell(self) -> None:
        """Let somebody tell what is in the outbox; whoever does so already goes on."""
        self._told_at = time.monotonic()
        if self._teller is not None:
            self._teller.poll()
        # Of its own session, so that it goes on when this process is killed; marked, so that
        # the host finds it when it is stopped.
        self._teller = subprocess.Popen(
            [sys.executable, "-P", "-m", "chittyops_core.host.tell", str(self._layout.home)],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, INSTANCE: PASSING},
        )

    def _tell_what_is_left(self) -> None:
        if self._teller is not None:
            self._teller.poll()
        if time.monotonic() < self._told_at + TELL_AGAIN_S or self._store.store is None:
            return
        self._told_at = time.monotonic()
        outbox = Outbox(self._layout.monitor_store)
        try:
            is_left = outbox.has_pending()
        finally:
            outbox.close()
        if is_left and (self._layout.monitor / "channels.json").exists():
            self._tell()


def _history(usage: Usage) -> Judgement:
    """Say whether what is kept has room, before the oldest of it is deleted early."""
    why = f"the history takes {usage.used >> 20} of {usage.budget >> 20} MiB"
    is_near = usage.used >= NEAR * usage.budget  # The disk itself is host/disk's to tell of.
    rule = Rule(fail=1, clean=1, clean_s=0, severity=Severity.TICKET)
    return Judgement(HOST_HISTORY, None, rule, not is_near, why if is_near else "")


def _no_secret(name: str, fingerprint: str | None) -> str:
    raise HostError(f"the agent reads no secret, not even {name}")


def _no_user(service: Service, candidates: object) -> int:
    raise HostError(f"the agent gives {service} no user")


def main(home: Path, *, waits: bool) -> int:
    """Run the agent until SIGTERM or SIGINT; return the exit status.

    One agent a home: a second one *waits* for the first to end, as when the process manager was
    killed and its successor starts another, or says so and ends.
    """
    logs.configure("INFO")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    layout = Layout.create(home)

    def wait(holder: object) -> None:
        if stop.wait(0.5):
            raise KeyboardInterrupt

    lock = FileLock(layout.locks / "agent.lock")
    try:
        lock.acquire("agent", wait=wait if waits else None)
    except KeyboardInterrupt:
        return 0
    except LockHeldError as error:
        print(
            f"chittyops: an agent of this host runs already (pid {error.holder.get('pid')})\n"
            "`chittyops incidents` and `chittyops status` say what it sees.",
            file=sys.stderr,
        )
        return 1
    with suppress(KeyboardInterrupt):
        Agent(home).run(stop)
    lock.release()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), waits="--no-wait" not in sys.argv))
