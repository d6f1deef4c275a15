"""What app code says to the agent over `$CHITTYOPS_SOCKET`: what it counted, and that a job ran."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from typing import Any

from chittyops_core._kit import files, wire
from chittyops_core._kit.logs import get_logger
from chittyops_core.deploy.targets.local import Layout
from chittyops_core.errors import ChittyOpsError, NotFoundError, StoreError, UsageError
from chittyops_core.model.service import Service
from chittyops_core.monitor.app_metrics import AppMetrics
from chittyops_core.monitor.app_socket import AppSocket
from chittyops_core.monitor.buffer import BufferedStore
from chittyops_core.monitor.probes.heartbeat import Heartbeat, HeartbeatProbe, Ping
from chittyops_core.monitor.watch import Watch

__all__ = ["AppLink"]

log = get_logger("chittyops.agent")

_COUNTED, _BEATS = "app-metrics", "heartbeats"


class AppLink:
    """The agent's ears: a socket for each service, on which only its OS user is heard."""

    def __init__(self, layout: Layout, store: BufferedStore, watch: Watch) -> None:
        self._layout = layout
        self._store = store
        self._watch = watch
        self._sockets: dict[Service, tuple[int, AppSocket]] = {}
        self._lock = threading.Lock()
        """Over what jobs said; each service's socket has a thread of its own."""
        self.metrics = AppMetrics()
        self._beats: dict[str, Heartbeat] = {}
        self._restore()

    def close(self) -> None:
        for _, socket in self._sockets.values():
            socket.close()
        self.keep()

    def listen_to(self, services: Mapping[Service, int]) -> None:
        """Listen to exactly *services*, each by the id of the OS user that it runs as."""
        for gone in self._sockets.keys() - services.keys():
            self._sockets.pop(gone)[1].close()
            self._forget(gone)
        for service, user in services.items():
            path = self._layout.app_socket(service)
            known = self._sockets.get(service)
            if known is not None and known[0] == user and path.exists():
                continue
            if known is not None:
                known[1].close()
                del self._sockets[service]
            files.ensure_private_dir(path.parent, passable=True)
            socket = AppSocket(path, service.slug, self._hear, user)
            try:
                socket.start()
            except OSError as error:
                log.warning("agent.socket_failed", service=service.slug, error=str(error))
                continue
            self._sockets[service] = user, socket
        with self._lock:
            heard = {service.slug for service in services}
            for name, beat in list(self._beats.items()):
                slug = name.partition("/")[0]
                if slug in heard or (self._layout.services / slug).exists():
                    self._give(name, beat)
                else:  # Removed while nobody listened: its name may become somebody else's.
                    del self._beats[name]

    def ping(self, monitor: str, word: str) -> None:
        """Take in the ping of a job: `start`, `fail`, an exit status, or '' for success.

        Raises:
            NotFoundError: No heartbeat of that name is watched.
            UsageError: The word is none of these.
        """
        if not isinstance(self._watch.probe(monitor), HeartbeatProbe):
            known = [m.name for m in self._watch.monitors() if m.kind == "heartbeat"]
            raise NotFoundError(
                f"there is no heartbeat {monitor!r}; there is {', '.join(known) or 'none'}",
                remedy='Name it in the manifest: [monitor.NAME] with probe = "heartbeat".',
            )
        try:
            ping = Ping.parse(word, time.time())
        except ValueError as error:
            raise UsageError(str(error)) from error
        with self._lock:
            self._beats[monitor] = self._beats.get(monitor, Heartbeat()).after(ping)
            self._give(monitor, self._beats[monitor])
            self._keep_beats()

    def keep(self) -> None:
        """Keep what apps counted since the last call; later where the disk refuses."""
        store = self._store.store
        if store is None or self._store.trouble:
            return
        counted = [
            (event.service, event.name, dict(event.labels), event.delta)
            for event in self.metrics.drain_events()
        ]
        if not counted:
            return
        now = time.time()
        try:
            store.count_events(counted, now, {_COUNTED: self.metrics.dump()})
        except StoreError:
            for service, name, labels, delta in counted:
                self._store.count_event(service, name, labels, delta, now)

    # --- pieces ---

    def _hear(self, service: str, line: bytes) -> bytes | None:
        answer = self.metrics.handle_line(service, line)
        if answer is not None:
            return answer
        try:
            said = json.loads(line)
            if said.get("type") == "state":
                return _line({"v": 1, "ok": True, "monitors": self._watch.seen(service)})
            if said.get("type") != "ping":
                raise UsageError(f"this agent knows no {said.get('type')!r}")
            self.ping(f"{service}/{said.get('monitor')}", str(said.get("word", "")))
        except ChittyOpsError as error:
            return _line({"v": 1, "ok": False, "error": error.message})
        return _line({"v": 1, "ok": True})

    def _forget(self, service: Service) -> None:
        """Forget what a removed service said: its name may become somebody else's."""
        self.metrics.forget(service.slug)
        with self._lock:
            gone = [name for name in self._beats if name.startswith(f"{service.slug}/")]
            for name in gone:
                del self._beats[name]
            if gone:
                self._keep_beats()

    def _keep_beats(self) -> None:
        self._keep_state(_BEATS, json.dumps(wire.to_wire(self._beats)))

    def _give(self, monitor: str, beat: Heartbeat) -> None:
        probe = self._watch.probe(monitor)
        if isinstance(probe, HeartbeatProbe):
            probe.beat = beat

    def _keep_state(self, name: str, text: str) -> None:
        store = self._store.store
        if store is not None:
            try:
                store.keep_state(name, text)
            except StoreError as error:
                log.warning("agent.state_not_kept", name=name, error=error.message)

    def _restore(self) -> None:
        store = self._store.store
        if store is None:
            return
        try:
            if counted := store.state(_COUNTED):
                self.metrics.load(counted)
            if beats := store.state(_BEATS):
                self._beats = wire.from_wire(dict[str, Heartbeat], json.loads(beats))
        except (StoreError, ValueError, KeyError, TypeError) as error:
            log.warning("agent.state_unreadable", error=str(error))


def _line(said: dict[str, Any]) -> bytes:
    return json.dumps(said).encode() + b"\n"
