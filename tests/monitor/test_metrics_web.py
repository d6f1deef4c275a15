"""The middleware: it counts what was answered and changes nothing of it (PEP 3333, ASGI 3)."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.handlers import SimpleHandler
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest

from chittyops_core.metrics import Registry
from chittyops_core.metrics.routes import MAX_ROUTES
from chittyops_core.metrics.web import Asgi, Wsgi

DURATION = "http.server.request.duration"
ERRORS = "http.server.request.errors"


@pytest.fixture
def registry() -> Registry:
    return Registry()


def counted(registry: Registry, name: str = DURATION) -> list[tuple[str, str, str, float]]:
    """Return method, route, status class and count of each series."""
    return sorted(
        (
            labels["http.request.method"],
            labels["http.route"],
            labels["http.response.status_class"],
            value,
        )
        for found, labels, value in registry.read()
        if found == name
    )


def error_types(registry: Registry) -> list[str]:
    return sorted(labels["error.type"] for name, labels, _ in registry.read() if name == ERRORS)


def call(app: Any, path: str = "/", method: str = "GET") -> tuple[str, bytes]:
    """Run *app* in wsgiref's own server loop; return the status line and the body."""
    environ: dict[str, Any] = {
        "PATH_INFO": path,
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "QUERY_STRING": "",
    }
    setup_testing_defaults(environ)
    out = io.BytesIO()
    handler = SimpleHandler(io.BytesIO(), out, io.StringIO(), environ, multithread=False)
    handler.run(app)
    head, _, body = out.getvalue().partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0].decode(), body


class TestWsgi:
    def test_it_is_valid_by_wsgirefs_validator(self, registry: Registry) -> None:
        def app(environ: Any, start: Any) -> Iterable[bytes]:
            start("200 OK", [("Content-Type", "text/plain")])
            return [b"a", b"b"]

        status, body = call(validator(Wsgi(validator(app), registry)), "/x")

        assert (status, body) == ("HTTP/1.0 200 OK", b"ab")
        assert counted(registry) == [("GET", "/x", "2xx", 1.0)]

    def test_a_list_is_handed_on_as_it_is(self, registry: Registry) -> None:
        """So that a server can tell the length of one part."""
        answer = [b"whole"]

        def app(environ: Any, start: Any) -> Iterable[bytes]:
            start("404 Not Found", [])
            return answer

        assert Wsgi(app, registry)({"REQUEST_METHOD": "GET"}, lambda *_: None) is answer
        assert counted(registry) == [("GET", "other", "4xx", 1.0)]

    def test_a_file_is_handed_on_as_it_is(self, registry: Registry) -> None:
        """So that a server can send it by sendfile."""
        answer = FileWrapper(io.BytesIO(b"file"))

        def app(environ: Any, start: Any) -> Any:
            start("200 OK", [])
            return answer

        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/f", "wsgi.file_wrapper": FileWrapper}
        assert Wsgi(app, registry)(environ, lambda *_: None) is answer
        assert counted(registry) == [("GET", "/f", "2xx", 1.0)]

    def test_a_stream_is_counted_when_it_ends_and_is_closed(self, registry: Registry) -> None:
        closed = []

        class Stream:
            def __iter__(self) -> Iterator[bytes]:
                yield b"a"
                assert counted(registry) == []
                yield b"b"

            def close(self) -> None:
                closed.append(True)

        def app(environ: Any, start: Any) -> Any:
            start("200 OK", [])
            return Stream()

        assert call(Wsgi(app, registry))[1] == b"ab"
        assert closed == [True]
        assert counted(registry) == [("GET", "/", "2xx", 1.0)]

    def test_a_generator_may_start_its_answer_late(self, registry: Registry) -> None:
        def app(environ: Any, start: Any) -> Iterable[bytes]:
            start("201 Created", [])
            yield b"late"

        assert call(Wsgi(app, registry)) == ("HTTP/1.0 201 Created", b"late")
        assert counted(registry) == [("GET", "/", "2xx", 1.0)]

    def test_an_answer_replaced_by_an_error_counts_as_the_error(self, registry: Registry) -> None:
        """start_response called twice, with exc_info, as PEP 3333 allows before any byte."""

        def app(environ: Any, start: Any) -> Iterable[bytes]:
            start("200 OK", [])
            try:
                raise ValueError
            except ValueError:
                start("503 Busy", [], sys.exc_info())
            return [b"sorry"]

        assert call(Wsgi(app, registry)) == ("HTTP/1.0 503 Busy", b"sorry")
        assert counted(registry) == [("GET", "other", "5xx", 1.0)]
        assert error_types(registry) == ["503"]

    def test_write_still_works(self, registry: Registry) -> None:
        def app(environ: Any, start: Any) -> Iterable[bytes]:
            start("200 OK", [])(b"written")
            return []

        assert call(Wsgi(app, registry))[1] == b"written"

    @pytest.mark.parametrize("when", ["call", "iteration", "close"])
    def test_what_the_app_raises_passes_and_is_counted(self, when: str, registry: Registry) -> None:
        class Stream:
            def __iter__(self) -> Iterator[bytes]:
                yield b"a"
                if when == "iteration":
                    raise KeyError

            def close(self) -> None:
                if when == "close":
                    raise KeyError

        def app(environ: Any, start: Any) -> Any:
            if when == "call":
                raise KeyError
            start("200 OK", [])
            return Stream()

        wrapped = Wsgi(app, registry)
        with pytest.raises(KeyError):
            answer = wrapped({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: None)
            next(iter(answer))
            if when == "iteration":
                list(answer)
            answer.close()  # type: ignore[attr-defined]

        assert sum(count for *_, count in counted(registry)) == 1.0
        assert error_types(registry) == ["KeyError"]

    def test_methods_and_paths_are_bounded(
        self, registry: Registry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A scanner that asks for a thousand paths leaves no thousand series."""
        monkeypatch.setenv("CHITTYOPS_CLIENT", "acme")

        def app(environ: Any, start: Any) -> Iterable[bytes]:
            start("404 No" if environ["PATH_INFO"].startswith("/scan") else "200 OK", [])
            return []

        wrapped = Wsgi(app, registry)
        for number in range(1000):
            call(wrapped, f"/scan/{number}", "M" + "X" * number)
            call(wrapped, f"/page/{number}")

        found = counted(registry)
        assert len(found) == MAX_ROUTES + 2
        assert ("_OTHER", "other", "4xx", 1000.0) in found
        assert ("GET", "other", "2xx", 1000.0 - MAX_ROUTES) in found
        assert {labels["client"] for _, labels, _ in registry.read()} == {"acme"}


Event = dict[str, Any]


def serve(
    app: Any, scope: Event, received: list[Event] | None = None
) -> tuple[list[Event], BaseException | None]:
    """Run *app* once; return what it sent and what it raised."""
    sent: list[Event] = []
    waiting = list(received or [{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Event:
        if not waiting:
            await asyncio.Event().wait()  # The client stays.
        return waiting.pop(0)

    async def send(message: Event) -> None:
        sent.append(message)

    try:
        asyncio.run(app(scope, receive, send))
    except Exception as error:
        return sent, error
    return sent, None


def http(path: str = "/", method: str = "GET") -> Event:
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
        "root_path": "", "headers": [(b"host", b"testserver")], "client": ("127.0.0.1", 1),
        "server": ("testserver", 80),
    }  # fmt: skip


class TestAsgi:
    @pytest.mark.parametrize("kind", ["lifespan", "websocket", "something.new"])
    def test_other_scopes_pass_untouched(self, kind: str, registry: Registry) -> None:
        seen: list[Any] = []

        async def app(*call: Any) -> None:
            seen.extend(call)

        async def receive() -> None: ...
        async def send(_: Any) -> None: ...

        scope = {"type": kind}
        asyncio.run(Asgi(app, registry)(scope, receive, send))  # type: ignore[arg-type]

        assert (seen[0] is scope, seen[1] is receive, seen[2] is send) == (True, True, True)
        assert counted(registry) == []

    def test_a_stream_is_counted_at_its_last_byte_not_after(self, registry: Registry) -> None:
        """Background tasks are no latency of the answer."""
        at_end = []

        async def app(scope: Event, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
            assert counted(registry) == []
            await send({"type": "http.response.body", "body": b"b"})
            at_end.append(counted(registry))

        sent, error = serve(Asgi(app, registry), http("/s"))

        assert (len(sent), error) == (3, None)
        assert at_end == [[("GET", "/s", "2xx", 1.0)]] == [counted(registry)]

    def test_what_the_app_raises_passes_and_is_counted(self, registry: Registry) -> None:
        async def app(scope: Event, receive: Any, send: Any) -> None:
            raise KeyError

        _, error = serve(Asgi(app, registry), http())

        assert isinstance(error, KeyError)
        assert counted(registry) == [("GET", "other", "5xx", 1.0)]
        assert error_types(registry) == ["KeyError"]

    def test_an_app_that_answers_nothing_is_an_error(self, registry: Registry) -> None:
        async def app(scope: Event, receive: Any, send: Any) -> None:
            return

        serve(Asgi(app, registry), http())

        assert counted(registry) == [("GET", "other", "none", 1.0)]
        assert error_types(registry) == ["no_answer"]

    def test_a_client_that_goes_away_is_no_error(self, registry: Registry) -> None:
        async def app(scope: Event, receive: Any, send: Any) -> None:
            await receive()

        serve(Asgi(app, registry), http(), [{"type": "http.disconnect"}])

        assert counted(registry) == [("GET", "other", "none", 1.0)]
        assert error_types(registry) == []


class TestFrameworks:
    """Routes are templates where the framework tells: `/items/<id>`, not `/items/7`."""

    def test_flask(self, registry: Registry) -> None:
        flask = pytest.importorskip("flask", reason="Flask is not installed")
        app = flask.Flask("shop")
        app.add_url_rule("/items/<int:key>", view_func=lambda key: str(key), endpoint="item")
        app.add_url_rule("/bug", view_func=lambda: 1 / 0, endpoint="bug")
        app.logger.disabled = True
        app.wsgi_app = Wsgi(app.wsgi_app, registry)

        for number in range(3):
            assert call(app, f"/items/{number}")[0] == "HTTP/1.0 200 OK"
            call(app, f"/scan/{number}")
        call(app, "/bug")
        call(app, "/items/1", "POST")

        assert counted(registry) == [
            ("GET", "/bug", "5xx", 1.0),
            ("GET", "/items/<int:key>", "2xx", 3.0),
            ("GET", "other", "4xx", 3.0),
            ("POST", "other", "4xx", 1.0),
        ]

    @pytest.mark.parametrize("name", ["starlette", "fastapi"])
    def test_starlette_and_fastapi(self, name: str, registry: Registry) -> None:
        pytest.importorskip(name, reason=f"{name} is not installed")
        app = starlette() if name == "starlette" else fastapi()
        wrapped = Asgi(app, registry)

        for number in range(3):
            sent, error = serve(wrapped, http(f"/items/{number}"))
            assert (sent[0]["status"], error) == (200, None)
            serve(wrapped, http(f"/inner/things/{number}"))
            serve(wrapped, http(f"/scan/{number}"))
        serve(wrapped, http("/bug"))

        assert counted(registry) == [
            ("GET", "/bug", "5xx", 1.0),
            ("GET", "/inner/things/{key}", "2xx", 3.0),
            ("GET", "/items/{key}", "2xx", 3.0),
            ("GET", "other", "4xx", 3.0),
        ]

    @pytest.mark.parametrize("make", ["wsgi", "asgi"])
    def test_django(self, make: str, registry: Registry) -> None:
        pytest.importorskip("django", reason="Django is not installed")
        import django
        from django.conf import settings
        from django.http import HttpResponse
        from django.urls import path

        if not settings.configured:
            urls = type(sys)("shop_urls")
            urls.urlpatterns = [  # type: ignore[attr-defined]
                path("items/<int:key>/", lambda request, key: HttpResponse(str(key)))
            ]
            sys.modules["shop_urls"] = urls
            settings.configure(
                ROOT_URLCONF="shop_urls", SECRET_KEY="x", ALLOWED_HOSTS=["*"], LOGGING_CONFIG=None
            )
            django.setup()
        if make == "wsgi":
            from django.core.wsgi import get_wsgi_application

            wrapped = Wsgi(get_wsgi_application(), registry)
            ask: Callable[[str], Any] = lambda where: call(wrapped, where)  # noqa: E731
        else:
            from django.core.asgi import get_asgi_application

            asgi = Asgi(get_asgi_application(), registry)
            ask = lambda where: serve(asgi, http(where))  # noqa: E731

        for number in range(3):
            ask(f"/items/{number}/")
            ask(f"/scan/{number}")

        assert counted(registry) == [
            ("GET", "/items/<int:key>/", "2xx", 3.0),
            ("GET", "other", "4xx", 3.0),
        ]


def starlette() -> Any:
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Mount, Route

    async def show(request: Any) -> Any:
        return PlainTextResponse(request.path_params["key"])

    async def bug(request: Any) -> Any:
        raise KeyError

    return Starlette(
        routes=[
            Route("/items/{key}", show),
            Route("/bug", bug),
            Mount("/inner", routes=[Route("/things/{key}", show)]),
        ]
    )


def fastapi() -> Any:
    from fastapi import APIRouter, FastAPI

    def show(key: str) -> str:
        return key

    def bug() -> None:
        raise KeyError

    app, router = FastAPI(), APIRouter()
    app.get("/items/{key}")(show)
    app.get("/bug")(bug)
    router.get("/things/{key}")(show)
    app.include_router(router, prefix="/inner")
    return app
