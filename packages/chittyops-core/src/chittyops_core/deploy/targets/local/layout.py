"""Where everything of a host lies, below one folder that only its owner may look into.

CHITTYOPS_HOME/
  journal.db                     intent and history (chittyops_core.deploy.journal)
  host.json                      settings: ports and addresses of the edge, process manager
  artifacts/DIGEST/{app,venv}/   built code, shared by releases that differ in configuration
  artifacts/DIGEST/sbom.json     what is in its environment (CycloneDX)
  services/SLUG/
    state/                       $STATE_DIR: the service's own, never pruned
    releases/ID/release.json     what runs
    releases/ID/listeners        where its web instances listen, a line each
    releases/ID/upstreams/       the edge's slots 0 to 11, and what they lead to
    live, stage                  links to releases/ID/upstreams: the edge's pointers
    logs/
  secrets/                       encrypted values and their key
  edge/                          Caddy's configuration, links from names, certificates, log
  supervisor/                    supervisord's configuration and log
  bridge/                        key, outbox and consent of a host that a parent oversees
  monitor/                       what the agent saw, and whom it tells (chittyops_core.host.agent)
  locks/                         one lock file a service
  run/                           sockets, pids and launch files with secrets: gone after a reboot
  run/HASH/s/                    where a service with an OS user of its own makes its sockets
  runtime/VERSION/               the host runtime (chittyops_core.host.runtime)
  runtime/current                link to the newest of them
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from attrs import frozen

from chittyops_core._kit.files import ensure_private_dir
from chittyops_core.errors import HostError
from chittyops_core.model.service import Service

__all__ = ["MAX_SOCKET_PATH", "Layout"]

MAX_SOCKET_PATH = 103
"""Bytes that fit in sockaddr_un.sun_path with its final zero on every POSIX system we know."""

_LONGEST_SOCKET = len("/run/01234567/s/01234567-00.sock")


@frozen
class Layout:
    """Paths below one `CHITTYOPS_HOME`."""

    home: Path

    @classmethod
    def create(cls, home: Path) -> Layout:
        """Make the folders that are not there yet.

        Raises:
            HostError: The path is too long for unix sockets, or cannot be written.
        """
        room = MAX_SOCKET_PATH - _LONGEST_SOCKET
        if len(str(home).encode()) > room:
            raise HostError(
                f"CHITTYOPS_HOME {home} has {len(str(home).encode())} bytes; unix sockets "
                f"below it leave room for {room}",
                remedy="Set CHITTYOPS_HOME to a shorter path.",
            )
        if not str(home).isprintable() or any(sign in str(home) for sign in "%{};|*?[\\'\""):
            # It stands in Caddy's placeholders, patterns and addresses and in Supervisor's
            # configuration, whose values are expanded once or twice, depending on the key; and
            # systemd starts no program whose path has a quotation mark.
            raise HostError(
                f"CHITTYOPS_HOME {str(home)!r} holds one of % {{ }} ; | * ? [ \\ ' \" "
                "or a control sign",
                remedy="Set CHITTYOPS_HOME to a plain path.",
            )
        layout = cls(home)
        try:
            for folder in layout.passages:
                ensure_private_dir(folder, passable=True)
            for folder in (
                layout.secrets, layout.edge, layout.supervisor, layout.supervisor / "conf.d",
                layout.locks, layout.monitor,
            ):  # fmt: skip
                ensure_private_dir(folder)
        except OSError as error:
            raise HostError(
                f"cannot write to CHITTYOPS_HOME {home}: {error.strerror}",
                remedy="Set CHITTYOPS_HOME to a folder of yours.",
            ) from error
        return layout

    @property
    def passages(self) -> tuple[Path, ...]:
        """Folders on the way to what a service with an OS user of its own may use."""
        return self.home, self.artifacts, self.services, self.run

    @property
    def journal(self) -> Path:
        return self.home / "journal.db"

    @property
    def settings(self) -> Path:
        return self.home / "host.json"

    @property
    def unit(self) -> str:
        """How the names of this home's systemd units begin."""
        return f"chittyops-{hashlib.sha256(str(self.home).encode()).hexdigest()[:8]}"

    @property
    def artifacts(self) -> Path:
        return self.home / "artifacts"

    @property
    def services(self) -> Path:
        return self.home / "services"

    @property
    def secrets(self) -> Path:
        return self.home / "secrets"

    @property
    def edge(self) -> Path:
        return self.home / "edge"

    @property
    def supervisor(self) -> Path:
        return self.home / "supervisor"

    @property
    def locks(self) -> Path:
        return self.home / "locks"

    @property
    def run(self) -> Path:
        return self.home / "run"

    @property
    def monitor(self) -> Path:
        return self.home / "monitor"

    @property
    def monitor_store(self) -> Path:
        return self.monitor / "monitor.sqlite"

    @property
    def bridge(self) -> Path:
        """Where everything about the parent is; see docs/bridge.md."""
        return self.home / "bridge"

    @property
    def agent_socket(self) -> Path:
        """Where the agent answers operators."""
        return self.run / "agent.sock"

    @property
    def page_socket(self) -> Path:
        """Where the agent serves the status page."""
        return self.run / "page.sock"

    @property
    def admin_socket(self) -> Path:
        return self.run / "edge.sock"

    @property
    def gone_socket(self) -> Path:
        """Where Caddy itself answers for names that are no longer there."""
        return self.run / "gone.sock"

    @property
    def supervisor_socket(self) -> Path:
        return self.run / "supervisor.sock"

    @property
    def root_certificate(self) -> Path:
        return self.edge / "storage" / "pki" / "authorities" / "local" / "root.crt"

    def artifact(self, digest: str) -> Path:
        return self.artifacts / digest

    def service(self, service: Service) -> Path:
        return self.services / service.slug

    def state(self, service: Service) -> Path:
        return self.service(service) / "state"

    def logs(self, service: Service) -> Path:
        return self.service(service) / "logs"

    def releases(self, service: Service) -> Path:
        return self.service(service) / "releases"

    def release(self, service: Service, release_id: str) -> Path:
        return self.releases(service) / release_id

    def pointer(self, service: Service, *, staged: bool) -> Path:
        return self.service(service) / ("stage" if staged else "live")

    def sockets(self, service: Service) -> Path:
        """The service's own folder of sockets and launch files; short, see MAX_SOCKET_PATH."""
        return self.run / hashlib.sha256(service.slug.encode()).hexdigest()[:8]

    def app_socket(self, service: Service) -> Path:
        """Where the agent listens to the service's own code, as `$CHITTYOPS_SOCKET`."""
        return self.sockets(service) / "agent.sock"

    def socket(self, service: Service, release_id: str, index: int) -> Path:
        return self.sockets(service) / f"{release_id[:8]}-{index}.sock"

    def bindings(self, service: Service) -> Path:
        """Where a service with an OS user of its own makes its sockets; see `users`."""
        return self.sockets(service) / "s"

    def binding(self, socket: Path) -> Path:
        """Return where the app binds what the edge finds at *socket*."""
        return socket.parent / "s" / socket.name
