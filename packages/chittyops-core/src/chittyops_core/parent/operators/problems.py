"""How a request is refused: a problem document (RFC 9457) for programs, a page for people."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from attrs import frozen
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.openapi import ResponseSpec
from litestar.response import Redirect, Template

from chittyops_core._kit.logs import get_logger
from chittyops_core.bridge.protocol import ProblemType
from chittyops_core.errors import (
    ChittyOpsError,
    NotFoundError,
    ParentError,
    RefusedError,
    UsageError,
)

__all__ = [
    "Busy",
    "Conflict",
    "CsrfFailed",
    "Forbidden",
    "Malformed",
    "Missing",
    "NotSignedIn",
    "PreconditionFailed",
    "PreconditionRequired",
    "Refused",
    "TooMany",
    "documented",
    "exception_handlers",
    "wants_page",
]

PROBLEM = "application/problem+json"

_log = get_logger("chittyops.parent")


class Refused(HTTPException):
    """A request that is not done; `detail` says why, to whoever asked."""

    status_code = 400
    kind = ProblemType.MALFORMED.urn
    title = "The request is not understood"

    def __init__(self, detail: str = "", *, retry_after_s: float | None = None) -> None:
        headers = {}
        if retry_after_s is not None:
            headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
        super().__init__(detail=detail or self.title, headers=headers)


class Malformed(Refused):
    """What was sent cannot be used as it is."""


class NotSignedIn(Refused):
    """Nobody is known to ask."""

    status_code = 401
    kind = "urn:chittyops:problem:not-signed-in"
    title = "Nobody is signed in"


class Forbidden(Refused):
    """Who asks is known, and may not."""

    status_code = 403
    kind = ProblemType.FORBIDDEN.urn
    title = "Your role does not allow this"


class CsrfFailed(Refused):
    """The request may have been made by another site."""

    status_code = 403
    kind = "urn:chittyops:problem:cross-site"
    title = "It cannot be told that this request was meant"


class Missing(Refused):
    """There is no such thing."""

    status_code = 404
    kind = ProblemType.NOT_FOUND.urn
    title = "There is no such thing"


class Conflict(Refused):
    """A rule, or what is there already, says no."""

    status_code = 409
    kind = ProblemType.CONFLICT.urn
    title = "This cannot be done now"


class PreconditionFailed(Refused):
    """It was changed since it was looked at."""

    status_code = 412
    kind = "urn:chittyops:problem:changed-meanwhile"
    title = "It was changed meanwhile: look again"


class PreconditionRequired(Refused):
    """Whoever replaces something has to say what (RFC 6585)."""

    status_code = 428
    kind = "urn:chittyops:problem:if-match"
    title = "Send the ETag that you have seen as If-Match"


class TooMany(Refused):
    """Too many attempts."""

    status_code = 429
    kind = ProblemType.TOO_MANY.urn
    title = "Too many attempts"


class Busy(Refused):
    """The server cannot do it now."""

    status_code = 503
    kind = ProblemType.BUSY.urn
    title = "The server is busy"


@frozen
class ProblemDocument:
    """How the API refuses (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str


def documented(*statuses: int) -> dict[int, ResponseSpec]:
    """Return what a handler of the API may be refused with, for its description.

    Those that stand before every handler are among it: 400 is what an address with a NUL gets.
    """
    return {
        status: ResponseSpec(
            ProblemDocument, description=_phrase(status), media_type=PROBLEM,
            generate_examples=False,
        )
        for status in (*statuses, 400, 401, 403, 429, 503)
    }  # fmt: skip


def exception_handlers() -> dict[int | type[Exception], Callable[..., Response[Any]]]:
    """Return what turns errors of operators' and pages' handlers into answers."""
    return {
        ChittyOpsError: _answer_ours,
        HTTPException: _answer,
        RecursionError: _answer_too_deep,
        UnicodeDecodeError: _answer_undecodable,
    }


def wants_page(request: Request[Any, Any, Any]) -> bool:
    """Whether a person in a browser asks, rather than a program."""
    is_api = request.scope["path"].startswith("/v1/")
    return not is_api and "text/html" in request.headers.get("accept", "")


def _answer_ours(request: Request[Any, Any, Any], error: ChittyOpsError) -> Response[Any]:
    text = " ".join(filter(None, (error.message, error.remedy)))
    refused: Refused
    if isinstance(error, NotFoundError):
        refused = Missing(text)
    elif isinstance(error, RefusedError):
        refused = Conflict(text)
    elif isinstance(error, UsageError):
        refused = Malformed(text)
    elif isinstance(error, ParentError):
        if error.facts.get("cause") != "busy":
            _log.error("parent.unable", error=error.message, path=request.scope["path"])
        refused = Busy(retry_after_s=5)
    else:
        raise error
    return _answer(request, refused)


def _answer_too_deep(request: Request[Any, Any, Any], error: RecursionError) -> Response[Any]:
    """Litestar lets through what msgspec raises for a JSON text with too many brackets."""
    return _answer(request, Malformed("The body is nested too deep."))


def _answer_undecodable(
    request: Request[Any, Any, Any], error: UnicodeDecodeError
) -> Response[Any]:
    """Litestar lets what is no UTF-8 in a JSON text through as an error of its own."""
    return _answer(request, Malformed("The body is not in UTF-8."))


def _answer(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    if wants_page(request) and isinstance(error, NotSignedIn):
        return Redirect(f"/login{_next_of(request)}", status_code=303)
    headers = {**(error.headers or {}), "Cache-Control": "no-store"}
    if error.status_code == 401:
        headers["WWW-Authenticate"] = "Bearer"
    title = error.title if isinstance(error, Refused) else _phrase(error.status_code)
    detail = error.detail if error.status_code < 500 or isinstance(error, Refused) else ""
    if wants_page(request):
        return Template(
            "access/refused.html", context={"title": title, "detail": detail},
            status_code=error.status_code, headers=headers,
        )  # fmt: skip
    body = {
        "type": error.kind if isinstance(error, Refused) else _urn(error.status_code),
        "title": title,
        "status": error.status_code,
        "detail": detail,
    }
    extra = getattr(error, "extra", None)
    if extra and error.status_code == 400:
        body["errors"] = extra
    return Response(
        json.dumps(body, default=str).encode(), status_code=error.status_code, media_type=PROBLEM,
        headers=headers,
    )  # fmt: skip


def _next_of(request: Request[Any, Any, Any]) -> str:
    """Return where to go after signing in; only a look can be done again."""
    if request.method != "GET":
        return ""
    query = request.scope["query_string"].decode("latin-1")
    path = request.scope["path"] + (f"?{query}" if query else "")
    return "" if path == "/" else f"?next={quote(path, safe='')}"


def _urn(status: int) -> str:
    known = {
        400: ProblemType.MALFORMED, 401: ProblemType.FORBIDDEN, 403: ProblemType.FORBIDDEN,
        404: ProblemType.NOT_FOUND, 413: ProblemType.TOO_LARGE, 429: ProblemType.TOO_MANY,
        503: ProblemType.BUSY,
    }  # fmt: skip
    if status in known:
        return known[status].urn
    return "about:blank" if status < 500 else ProblemType.INTERNAL.urn


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase
