"""Caddy's configuration: a pure function of classes, explicit routes and settings.

(caddyserver.com/docs/json)
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen

from chittyops_core.deploy.targets.local.layout import Layout
from chittyops_core.deploy.targets.local.routes import ONLY, SLOTS, Route, RouteClass

__all__ = [
    "ASK_PATH",
    "DEFAULT_HTTPS_PORT",
    "DEFAULT_HTTP_PORT",
    "Acme",
    "HostSettings",
    "render",
    "usable",
]

DEFAULT_HTTP_PORT = 7080
DEFAULT_HTTPS_PORT = 7443

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

LOCAL_NAMES = ("localhost", "*.localhost", "*.*.localhost")
"""Names that no public authority certifies (RFC 6761 6.3)."""

ASK_PATH = "/.chittyops/has-route"
"""Where Caddy asks itself whether a name may have a certificate."""

_THIS_MACHINE = {"ranges": ["127.0.0.0/8", "::1/128"]}


@frozen
class Acme:
    """Where public names get their certificates (RFC 8555).

    Attributes:
        directory: URL of the authority's directory; None for Let's Encrypt.
        email: Whom the authority tells of trouble.
        root: PEM file to trust for the directory itself; None for the system's.
    """

    directory: str | None = None
    email: str | None = None
    root: str | None = None


@frozen
class HostSettings:
    """What an operator chose for this host.

    Attributes:
        http: TCP port of HTTP.
        https: TCP port of HTTPS, and UDP port of HTTP/3; used once a service wants TLS.
        bind: Addresses; only this machine by default.
        acme: None certifies every name by Caddy's internal authority.
        disk_budget: Bytes that all artifacts may take; None for no limit.
        agent: Whether the agent watches this host.
        metrics: TCP port of this machine on which the agent shows its metrics; None for none.
    """

    http: int = DEFAULT_HTTP_PORT
    https: int = DEFAULT_HTTPS_PORT
    bind: tuple[str, ...] = ("127.0.0.1", "[::1]")
    acme: Acme | None = None
    disk_budget: int | None = None
    agent: bool = True
    metrics: int | None = None


def render(
    classes: Sequence[RouteClass],
    explicit: Sequence[Route],
    only: Route | None,
    ports: HostSettings,
    layout: Layout,
) -> dict[str, Any]:
    """Return Caddy's whole configuration.

    Args:
        classes: What links on disk can be of; see `routes`.
        explicit: Routes that are no links.
        only: Of these, the one of the only service there is.
        ports: Where to listen.
        layout: Of the home.
    """
    site = _Site(classes, explicit, only, ports, layout)
    servers = {
        "http": {
            "listen": [f"{address}:{ports.http}" for address in usable(ports.bind)],
            "automatic_https": {"disable": True},
            "protocols": ["h1"],
            "routes": list(site.http_routes()),
        },
        "gone": {
            "listen": [f"unix/{layout.gone_socket}|0600"],
            "automatic_https": {"disable": True},
            "protocols": ["h1"],
            "routes": [_nobody()],
        },
    }
    apps: dict[str, Any] = {
        "http": {"servers": servers, "http_port": ports.http, "https_port": ports.https}
    }
    if site.has_tls:
        servers["https"] = {
            "listen": [f"{address}:{ports.https}" for address in usable(ports.bind)],
            "automatic_https": {"disable": True},
            # A client that dials the bare port sends no name.
            "tls_connection_policies": [{"default_sni": "localhost", "protocol_min": "tls1.2"}],
            "protocols": ["h1", "h2", "h3"],
            "routes": list(site.https_routes()),
        }
        apps["tls"] = _certificates(ports)
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


def usable(addresses: Sequence[str]) -> Iterator[str]:
    """Leave out IPv6 where the machine has none."""
    return (a for a in addresses if not a.startswith("[") or socket.has_dualstack_ipv6())


def _certificates(ports: HostSettings) -> dict[str, Any]:
    """Certify a name at its first handshake, if there is a route of that name.

    So a new name costs no load of the configuration, and a stranger's costs no certificate.
    """
    internal = {"issuers": [{"module": "internal"}], "on_demand": True}
    policies = [internal]
    if ports.acme is not None:
        issuer: dict[str, Any] = {"module": "acme"}
        if ports.acme.directory:
            issuer["ca"] = ports.acme.directory
        if ports.acme.email:
            issuer["email"] = ports.acme.email
        if ports.acme.root:
            issuer["trusted_roots_pem_files"] = [ports.acme.root]
        public = {"issuers": [issuer], "on_demand": True}
        policies = [{"subjects": list(LOCAL_NAMES), **internal}, public]
    first = next(iter(usable(ports.bind)))
    address = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(first, first)  # noqa: S104
    ask = f"http://{address}:{ports.http}{ASK_PATH}"
    return {
        "certificates": {"automate": ["localhost"]},
        "automation": {
            "policies": policies,
            "on_demand": {"permission": {"module": "http", "endpoint": ask}},
        },
    }


@frozen
class _Site:
    """What the two servers' routes are made from."""

    classes: Sequence[RouteClass]
    explicit: Sequence[Route]
    only: Route | None
    ports: HostSettings
    layout: Layout

    @property
    def has_tls(self) -> bool:
        return any(c.tls for c in self.classes) or any(r.policy.tls for r in self.explicit)

    def http_routes(self) -> Iterator[dict[str, Any]]:
        if self.has_tls:
            yield from self._asked()
        yield _in_lower_case()
        yield from self._routes(is_tls=False)

    def https_routes(self) -> Iterator[dict[str, Any]]:
        yield _in_lower_case()
        yield from self._routes(is_tls=True)

    def _routes(self, *, is_tls: bool) -> Iterator[dict[str, Any]]:
        explicit = [r for r in self.explicit if r.policy.tls or not is_tls]
        classes = [c for c in self.classes if c.tls or not is_tls]
        for route in explicit:
            match: dict[str, Any] = {"host": list(route.hosts)}
            if route.is_stage:
                match["remote_ip"] = _THIS_MACHINE
            yield _route(match, self._explicit(route, is_tls=is_tls))
        for each in classes:
            if each.written:
                handlers = self._linked(each, "{http.request.host}", is_tls=is_tls)
                yield _route({"host": list(each.written)}, handlers)
        for each in classes:
            match = self._file(each, f"/{{http.request.host}}/{'as/*' if each.is_stage else 'as/'}")
            if each.is_stage:
                match["remote_ip"] = _THIS_MACHINE
            handlers = self._linked(each, "{http.request.host}", is_tls=is_tls)
            yield _route(match, handlers)
        for each in classes:
            if not each.is_stage:
                handlers = self._linked(each, ONLY, is_tls=is_tls)
                yield _route(self._file(each, f"/{ONLY}/as/"), handlers)
        if self.only is not None and (self.only.policy.tls or not is_tls):
            yield _route({}, self._explicit(self.only, is_tls=is_tls))
        yield _nobody()

    def _file(self, each: RouteClass, path: str) -> dict[str, Any]:
        """Match where *path* is there: the names are allowed by being links, and by that alone."""
        root = str(self.layout.edge / "r" / each.name)
        return {"file": {"root": root, "try_files": [path]}}

    def _explicit(self, route: Route, *, is_tls: bool) -> list[dict[str, Any]]:
        if route.policy.tls and not is_tls:
            return [self._to_https()]
        dials = [f"{{file.{route.pointer}/{slot}}}" for slot in range(SLOTS)]
        proxy = _stage_proxy(dials, _host(route.app_host)) if route.is_stage else _proxy(dials)
        return [*_default_headers(route.policy.headers), proxy]

    def _linked(self, each: RouteClass, host: str, *, is_tls: bool) -> list[dict[str, Any]]:
        if each.tls and not is_tls:
            return [self._to_https()]
        # Relative to Caddy's folder: a socket's path has room for 103 bytes.
        folder = f"unix/r/{{file.{self.layout.edge}/epoch}}/{each.name}/{host}"
        dials = [f"{folder}/s{slot}" for slot in range(SLOTS)]
        # The matcher found HOST/as/APP_HOST.
        as_app = _host("{http.matchers.file.relative}", drop="^.*/as/")
        proxy = _stage_proxy(dials, as_app) if each.is_stage else _proxy(dials)
        return [*_default_headers(each.headers), proxy]

    def _to_https(self) -> dict[str, Any]:
        port = "" if self.ports.https == 443 else f":{self.ports.https}"
        location = f"https://{{http.request.host}}{port}{{http.request.uri}}"
        # 308 keeps method and body (RFC 9110 15.4.9).
        return {
            "handler": "static_response",
            "status_code": 308,
            "headers": {"Location": [location]},
        }

    def _asked(self) -> Iterator[dict[str, Any]]:
        """Say 200 for a name that a certificate may be made for, 403 for any other."""
        addresses = {"127.0.0.1", "::1", *(a.strip("[]") for a in self.ports.bind)}
        asked = {"path": [ASK_PATH], "remote_ip": _THIS_MACHINE, "host": sorted(addresses)}
        matches = [
            self._file(each, "/{http.request.uri.query.domain}/as/")
            for each in self.classes
            if each.tls
        ]
        names = sorted({h for r in self.explicit if r.policy.tls for h in r.hosts})
        if names:
            # A matcher of a value, not of a header: the name stands in the query.
            matches.append({"vars": {"{http.request.uri.query.domain}": names}})
        yes = {"handle": [{"handler": "static_response", "status_code": 200}], "match": matches}
        no = {"handle": [{"handler": "static_response", "status_code": 403}]}
        yield _route(asked, [{"handler": "subroute", "routes": [{**yes, "terminal": True}, no]}])


def _route(match: dict[str, Any], handle: list[dict[str, Any]]) -> dict[str, Any]:
    return {**({"match": [match]} if match else {}), "handle": handle, "terminal": True}


def _nobody() -> dict[str, Any]:
    body = "No service has this name on this host. `chittyops status` lists those it has.\n"
    return _route({}, [{"handler": "static_response", "status_code": 404, "body": body}])


def _in_lower_case() -> dict[str, Any]:
    """Host names know no case (RFC 9110 4.2.3), names of links do."""
    letters = [{"search": chr(c), "replace": chr(c).lower()} for c in range(ord("A"), ord("Z") + 1)]
    return {
        "match": [{"header_regexp": {"Host": {"pattern": "[A-Z]"}}}],
        "handle": [{"handler": "headers", "request": {"replace": {"Host": letters}}}],
    }


def _host(text: str, *, drop: str | None = None) -> dict[str, Any]:
    """Return the header operations that set Host; *drop* is a pattern of what is not part of it."""
    request: dict[str, Any] = {"set": {"Host": [text]}}
    if drop:
        request["replace"] = {"Host": [{"search_regexp": drop, "replace": ""}]}
    return request


def _default_headers(headers: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Set each header where the app's own response does not have it."""
    for name, text in headers.items():
        yield {
            "handler": "headers",
            "response": {"require": {"headers": {name: None}}, "set": {name: [text]}},
        }


def _proxy(dials: Sequence[str], *, hold: str = HOLD) -> dict[str, Any]:
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": dial} for dial in dials],
        "load_balancing": {
            # Not in turn: names share a route, and two services asked by turns would each meet
            # only every second instance.
            "selection_policy": {"policy": "random"},
            "try_duration": hold,
            "try_interval": "50ms",
        },
        "transport": {"protocol": "http", "keep_alive": {"idle_timeout": IDLE_UPSTREAM}},
        "stream_close_delay": STREAM_CLOSE_DELAY,
    }


def _stage_proxy(dials: Sequence[str], request: dict[str, Any]) -> dict[str, Any]:
    """Proxy to a staged release, which sees itself under its own name by *request*."""
    return {**_proxy(dials, hold="2s"), "headers": {"request": request}}
