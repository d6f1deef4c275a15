"""The web application: what it is made of, and what all of its answers have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import field, frozen
from litestar import Litestar, Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.types import Message, Scope

from chittyops_core._kit.clock import Clock, SystemClock
from chittyops_core._kit.logs import get_logger
from chittyops_core.bridge.protocol import ProblemType
from chittyops_core.parent import dashboard, operators, wire_api
from chittyops_core.parent.addresses import Network
from chittyops_core.parent.database import Database
from chittyops_core.parent.keys import ParentKey
from chittyops_core.parent.live import Live
from chittyops_core.parent.operators.problems import wants_page
from chittyops_core.parent.operators.safe_headers import POLICY
from chittyops_core.parent.problems import ProblemError, for_status

__all__ = ["Parent", "create_app"]

_LOG = get_logger("chittyops.parent")


@frozen(eq=False)
class Parent:
    """One parent: what every handler finds as `state.parent`.

    Attributes:
        data: Its folder: `parent.toml`, `parent.key`, and `parent.db` where it is on SQLite.
        database: Where it keeps everything.
        live: What just changed.
        clock: What time it is.
        name: How it calls itself, for people.
        key: What it signs its answers with.
        trusted: Networks of the proxies whose word about a client's address is taken.
    """

    data: Path
    database: Database
    live: Live = field(factory=Live)
    clock: Clock = field(factory=SystemClock)
    name: str = "ChittyOps"
    key: ParentKey = field(factory=ParentKey.make)
    trusted: tuple[Network, ...] = ()


def create_app(parent: Parent) -> Litestar:
    """Return the ASGI application of *parent*, whose database is open and up to date."""
    return Litestar(
        route_handlers=[*wire_api.handlers(), *operators.handlers(), *dashboard.handlers()],
        state=State({"parent": parent, "wire": wire_api.Wire(parent)}),
        exception_handlers={HTTPException: _tell_http, Exception: _tell_failure},
        template_config=dashboard.templates(),
        before_send=[_add_headers],
        openapi_config=OpenAPIConfig(
            title="ChittyOps parent", version="1", path="/v1/openapi",
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        ),
        logging_config=None,
    )  # fmt: skip


def _tell_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """Answer what the HTTP layer refuses, such as an unknown path: as a page or a problem."""
    if wants_page(request):
        page = operators.exception_handlers()[HTTPException](request, error)
        page.headers.setdefault("Content-Security-Policy", POLICY)
        return page
    problem = for_status(error.status_code, error.detail, error.headers)
    return wire_api.refuse(request, problem)


def _tell_failure(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer a bug of ours as a problem that says nothing about it; the log does."""
    _LOG.error("parent.failed", path=request.url.path, exc_info=error)
    return wire_api.refuse(request, ProblemError(ProblemType.INTERNAL))


_HEADERS = {
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=()",
    b"cache-control": b"no-store",
}
"""On every answer that does not say otherwise itself."""

_HSTS = (b"strict-transport-security", b"max-age=31536000")


async def _add_headers(message: Message, scope: Scope) -> None:
    if message["type"] != "http.response.start":
        return
    headers = list(message["headers"])
    present = {name.lower() for name, _ in headers}
    headers += [(name, value) for name, value in _HEADERS.items() if name not in present]
    if scope["scheme"] == "https":
        headers.append(_HSTS)
    message["headers"] = headers
