"""Middleware that counts what an app answers, for WSGI (PEP 3333) and ASGI 3.

Recorded once for each HTTP request, when the last byte of its answer was handed over or when the
app raised, after OpenTelemetry's semantic conventions for HTTP servers:

- `http.server.request.duration`, a histogram in seconds; its count is the number of requests;
- `http.server.request.errors`, a counter of answers of 500 and above, of exceptions and of
  answers that were broken off, with `error.type`.

Labels: `http.request.method`, `http.route`, `http.response.status_class` ("2xx") and, where the
service belongs to a client (`$CHITTYOPS_CLIENT`), `client`. WebSockets and lifespan pass by
untouched.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from typing import Any

from chittyops_core.metrics.instruments import Registry
from chittyops_core.metrics.routes import Routes, asgi_template, django_template, flask_template

__all__ = ["Asgi", "Wsgi"]

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]

_METHODS = frozenset(
    ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY")
)


class _Counted:
    """The instruments of one wrapped app."""

    def __init__(self, registry: Registry) -> None:
        self._durations = registry.histogram(
            "http.server.request.duration",
            unit="s",
            description="Duration of HTTP server requests.",
        )
        self._errors = registry.counter(
            "http.server.request.errors",
            unit="{request}",
            description="HTTP server requests that ended in an error.",
        )
        self._routes = Routes()
        client = os.environ.get("CHITTYOPS_CLIENT")
        self._client = {"client": client} if client else {}

    def record(
        self,
        began: float,
        method: str,
        status: int,
        template: str | None,
        path: str,
        error: str,
    ) -> None:
        """Count one request; a *status* of 0 means that no answer was begun."""
        labels = {
            "http.request.method": method if method in _METHODS else "_OTHER",
            "http.response.status_class": f"{status // 100}xx" if 100 <= status < 600 else "none",
            "http.route": self._routes.bounded(template, path, status),
            **self._client,
        }
        self._durations.record(time.perf_counter() - began, **labels)
        if error or status >= 500:
            self._errors.add(1, **labels, **{"error.type": error or str(status)})


class Wsgi:
    """A WSGI app, counted. What it returns is handed on as it is wherever that can be."""

    def __init__(self, app: Any, registry: Registry) -> None:
        self._app = app
        self._counted = _Counted(registry)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        began = time.perf_counter()
        path = str(environ.get("PATH_INFO", ""))  # The app may change it.
        status = 0
        is_done = False
        template: str | None = None

        def start(line: str, headers: Any, *exc_info: Any) -> Any:
            nonlocal status, template
            template = flask_template(environ)
            written = start_response(line, headers, *exc_info)  # Raises when it is too late.
            status = _status(line)
            return written

        def done(error: str = "") -> None:
            nonlocal is_done
            if not is_done:
                is_done = True
                method = str(environ.get("REQUEST_METHOD", ""))
                self._counted.record(began, method, status, template, path, error)

        try:
            found = self._app(environ, start)
        except BaseException as error:
            if not status:
                status = 500  # What every server makes of it.
            done(type(error).__name__)
            raise
        if template is None:
            template = django_template(found, path)
        wrapper = environ.get("wsgi.file_wrapper")
        is_file = isinstance(wrapper, type) and isinstance(found, wrapper)
        if is_file or type(found) in (list, tuple):
            # A server sends a file by sendfile, and needs len() of a list, only if it sees them.
            done()
            return found  # type: ignore[no-any-return]
        return _Body(found, done)


class _Body:
    """The parts of an answer, one by one, as the server asks for them."""

    def __init__(self, parts: Any, done: Callable[..., None]) -> None:
        self._parts = parts
        self._iterator: Iterator[bytes] | None = None
        self._is_whole = False
        self._done = done

    def __iter__(self) -> _Body:
        return self

    def __next__(self) -> bytes:
        try:
            if self._iterator is None:
                self._iterator = iter(self._parts)
            return next(self._iterator)
        except StopIteration:
            self._is_whole = True
            self._done()
            raise
        except BaseException as error:
            self._done(type(error).__name__)
            raise

    def close(self) -> None:
        """Close the app's own answer, as PEP 3333 asks of every middleware."""
        close = getattr(self._parts, "close", None)
        try:
            if close is not None:
                close()
        except BaseException as error:
            self._done(type(error).__name__)
            raise
        # Nobody asked for the body of a HEAD; of others, the client went away.
        self._done()


class Asgi:
    """An ASGI app, counted."""

    def __init__(self, app: Any, registry: Registry) -> None:
        self._app = app
        self._counted = _Counted(registry)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        path = str(scope.get("path", ""))
        status = 0
        is_done = False
        is_gone = False

        async def listened() -> Message:
            nonlocal is_gone
            message = await receive()
            is_gone = is_gone or message["type"] == "http.disconnect"
            return message

        def done(error: str = "") -> None:
            nonlocal is_done
            if not is_done:
                is_done = True
                template = asgi_template(scope, path, self._app)
                method = str(scope.get("method", ""))
                self._counted.record(began, method, status, template, path, error)

        async def watched(message: Message) -> None:
            nonlocal status
            await send(message)
            if message["type"] == "http.response.start":
                status = int(message["status"])
            elif message["type"] == "http.response.body" and not message.get("more_body"):
                done()  # What an app does afterwards, such as background tasks, is no latency.

        try:
            await self._app(scope, listened, watched)
        except BaseException as error:
            # A client that went away, or a server that ends, is no error of the app.
            is_broken_off = is_gone or type(error).__name__ == "CancelledError"
            if not status and not is_broken_off:
                status = 500  # What every server makes of it.
            done("" if is_broken_off else type(error).__name__)
            raise
        done("" if status or is_gone else "no_answer")


def _status(line: object) -> int:
    try:
        return int(str(line)[:3])
    except ValueError:
        return 0
