"""One pure function from a request to its answer; the agent puts a socket before it."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import parse_qs, unquote

from chittyops_core.monitor.page.badge import status_badge, uptime_badge
from chittyops_core.monitor.page.bars import DAYS
from chittyops_core.monitor.page.feed import render_feed
from chittyops_core.monitor.page.render import (
    REFRESH_S,
    render_incident,
    render_missing,
    render_page,
)
from chittyops_core.monitor.page.snapshot import Page
from chittyops_core.monitor.page.statuspage import answer
from chittyops_core.monitor.page.style import hash_of, sheet

__all__ = ["Response", "respond"]

MIN_GZIP_BYTES = 512
"""Below this, the header of gzip and the work outweigh what is saved."""
_METHODS = ("GET", "HEAD")
_HTML, _JSON = "text/html; charset=utf-8", "application/json; charset=utf-8"
_SVG, _ATOM = "image/svg+xml; charset=utf-8", "application/atom+xml; charset=utf-8"
_BADGE = re.compile(r"/badge/([^/]+)/(?:(status)|uptime/([1-9][0-9]?)d)\.svg")
_INCIDENT = re.compile(r"/incidents/([^/]+)")
_API = re.compile(r"/api/v2/([a-z/-]+)\.json")


class Response(NamedTuple):
    """An answer; *headers* hold its `Content-Length`, also when the body is left out."""

    status: int
    headers: dict[str, str]
    body: bytes


class _Content(NamedTuple):
    status: int
    media_type: str
    text: str
    style: str = ""


def respond(
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    page: Callable[[], Page],
) -> Response:
    """Answer one request. It never fails for what a client sends.

    Args:
        method: The HTTP method.
        path: As it came, still percent-encoded, without the query.
        query: What follows the question mark; may be empty.
        headers: The request's; upper and lower case do not matter.
        page: Gives what is shown; called at most once, and not for `/healthz`. What it raises goes
            through to the caller.

    Returns:
        Status, headers and body, as RFC 9110 has it: 304 for a known `ETag`, no body for HEAD,
        405 with `Allow` for another method, gzip where it is accepted.
    """
    if method not in _METHODS:
        content = _Content(405, "text/plain; charset=utf-8", "Only GET and HEAD.\n")
        return Response(405, _headers(content) | {"Allow": ", ".join(_METHODS)}, b"")
    if path == "/healthz":
        content = _Content(200, "text/plain; charset=utf-8", "ok\n")
    else:
        content = _find(path, query, page())
    asked = {name.lower(): value for name, value in headers.items()}
    return _send(content, asked, is_head=method == "HEAD")


def _find(path: str, query: str, page: Page) -> _Content:
    style = sheet(page.brand.accent)
    if path == "/":
        wished = parse_qs(query, max_num_fields=None).get("refresh", [""])[-1]
        html = render_page(page, is_refreshing=wished == str(REFRESH_S))
        return _Content(200, _HTML, html, style)
    if path == "/history.atom":
        return _Content(200, _ATOM, render_feed(page))
    if path.startswith("/api/"):
        match = _API.fullmatch(path)
        found = answer(page, match[1]) if match else None
        text = json.dumps(found or {"error": "not found"}, ensure_ascii=True)
        return _Content(200 if found else 404, _JSON, text)
    if match := _INCIDENT.fullmatch(path):
        for incident in page.incidents:
            if incident.id == unquote(match[1]):
                return _Content(200, _HTML, render_incident(page, incident), style)
    if match := _BADGE.fullmatch(path):
        for component in page.components:
            if component.id == unquote(match[1]):
                if match[2]:
                    return _Content(200, _SVG, status_badge(component))
                if int(match[3]) <= DAYS:
                    badge = uptime_badge(component, int(match[3]), page.updated_at)
                    return _Content(200, _SVG, badge)
    return _Content(404, _HTML, render_missing(page), style)


def _send(content: _Content, asked: Mapping[str, str], *, is_head: bool) -> Response:
    body = content.text.encode()
    headers = _headers(content)
    tag = hashlib.sha256(body).hexdigest()[:32]
    if len(body) >= MIN_GZIP_BYTES and _accepts_gzip(asked.get("accept-encoding", "")):
        body = gzip.compress(body, compresslevel=4, mtime=0)
        headers["Content-Encoding"] = "gzip"
        tag += "-gzip"
    if content.status == 200:
        headers["ETag"] = f'"{tag}"'
        if _knows(asked.get("if-none-match", ""), tag):
            kept = ("ETag", "Cache-Control", "Vary")  # RFC 9110, section 15.4.5
            safe = {k: v for k, v in headers.items() if k in kept or k in _SECURITY}
            return Response(304, safe, b"")
    headers["Content-Length"] = str(len(body))
    return Response(content.status, headers, b"" if is_head else body)


_SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def _headers(content: _Content) -> dict[str, str]:
    """Return what every answer of this kind says; the page may load its own style and no more."""
    policy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    if content.style:
        policy += f"; style-src {hash_of(content.style)}; img-src data:"
    headers = {
        "Content-Type": content.media_type,
        "Cache-Control": "no-cache",  # ask each time; the ETag makes that cheap
        "Vary": "Accept-Encoding",
        "Content-Security-Policy": policy,
        **_SECURITY,
    }
    if not content.style:  # other sites show badges and read the API, as they do Statuspage's
        headers["Access-Control-Allow-Origin"] = "*"
        headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return headers


def _accepts_gzip(accepted: str) -> bool:
    """Return whether `Accept-Encoding` names gzip, or all, and not with weight 0."""
    weights: dict[str, bool] = {}
    for part in accepted.lower().split(","):
        name, _, rest = part.partition(";")
        weights[name.strip()] = not re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", rest)
    return weights.get("gzip", weights.get("*", False))


def _knows(if_none_match: str, tag: str) -> bool:
    """Return whether the client has *tag* already (weak comparison, RFC 9110 section 8.8.3.2)."""
    if if_none_match.strip() == "*":
        return True
    return tag in re.findall(r'"([^"]*)"', if_none_match)
