"""The small HTTP server: private, and out of patience with the slow, the endless and the many."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from chittyops_core._kit.unix_http import UnixHTTPConnection
from chittyops_core.errors import UsageError
from chittyops_core.monitor.local_http import Answer, LocalServer


def echo(method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Answer:
    if path == "/bug":
        raise RuntimeError
    if path == "/nothing":
        return 204, {}, b""
    if path == "/split":
        return 200, {"X-A": "a\r\nX-B: b\r\n\r\nbody"}, b"ok"
    said = f"{method} {path} {query} {headers.get('x-name', '')} ".encode() + body
    return 200, {"Content-Type": "text/plain"}, said


@pytest.fixture
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s") / "h.sock"


@pytest.fixture
def server(path: Path) -> Iterator[LocalServer]:
    with LocalServer(
        echo, path, max_body_bytes=1000, max_connections=3, request_s=0.5, idle_s=0.5
    ) as started:
        yield started


def ask(path: Path, *call: object, **more: object) -> tuple[int, Mapping[str, str], bytes]:
    connection = UnixHTTPConnection(str(path))
    try:
        connection.request(*call, **more)  # type: ignore[arg-type]
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), answer.read()
    finally:
        connection.close()


def send(path: Path, data: bytes) -> bytes:
    """Return all that comes back until the server hangs up."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(path))
        answer = b""
        try:
            client.sendall(data)
        except ConnectionError:  # It answered and hung up before.
            pass
        try:
            while chunk := client.recv(65_536):
                answer += chunk
        except ConnectionError:  # It hung up before it had read all.
            pass
        return answer


def test_it_answers_get_head_and_post(server: LocalServer, path: Path) -> None:
    got = ask(path, "GET", "/a%20b?c=d&e", headers={"X-Name": "me"})
    posted = ask(path, "POST", "/p", body=b"x" * 1000)
    headed = ask(path, "HEAD", "/h")

    assert (got[0], got[2]) == (200, b"GET /a%20b c=d&e me ")
    assert posted[2] == b"POST /p   " + b"x" * 1000
    assert (headed[0], headed[1]["Content-Length"], headed[2]) == (200, "10", b"")


def test_one_connection_serves_many_requests(server: LocalServer, path: Path) -> None:
    connection = UnixHTTPConnection(str(path))
    for number in range(20):
        connection.request("POST", f"/{number}", body=b"x" * number)
        assert connection.getresponse().read().endswith(b"x" * number)
    connection.request("GET", "/nothing")
    assert connection.getresponse().read() == b""
    connection.request("GET", "/bug")
    assert connection.getresponse().read() == b"Internal Server Error\n"
    connection.request("GET", "/after")
    assert connection.getresponse().status == 200
    connection.close()


def test_pipelined_requests_are_all_answered(server: LocalServer, path: Path) -> None:
    answer = send(path, b"POST /1 HTTP/1.1\r\nContent-Length: 1\r\n\r\nxGET /2 HTTP/1.1\r\n\r\n")

    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert answer.index(b"POST /1   x") < answer.index(b"GET /2   ")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/9.9\r\n\r\n", b"505"),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"400"),
        (b"DELETE / HTTP/1.1\r\n\r\n", b"405"),
        (b"GET http://evil.example/ HTTP/1.1\r\n\r\n", b"400"),
        (b"GET * HTTP/1.1\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1001\r\n\r\n" + b"x" * 1001, b"413"),
        (b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\nx", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", b"400"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"501"),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5_000 + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 100_000 + b"\r\n\r\n", b"431"),
    ],
)
def test_what_is_malformed_or_too_large_is_answered_and_hung_up_on(
    server: LocalServer, path: Path, sent: bytes, status: bytes
) -> None:
    assert send(path, sent).split(b" ")[1] == status
    assert ask(path, "GET", "/")[0] == 200


@pytest.mark.parametrize(
    "piece",
    [
        b"",
        b"G",
        b"GET / HTTP/1.1\r\nA: b\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 999\r\n\r\nx",
    ],
)
def test_a_slow_client_is_hung_up_on_though_it_trickles(
    server: LocalServer, path: Path, piece: bytes
) -> None:
    """Bytes that come now and then do not buy time (slow loris)."""
    with socket.socket(socket.AF_UNIX) as slow:
        slow.settimeout(0.02)
        slow.connect(str(path))
        slow.sendall(piece)
        is_hung_up = False
        for _ in range(1000):
            try:
                if piece:
                    slow.sendall(b"a")
                if slow.recv(65_536) == b"":
                    is_hung_up = True
                    break
            except TimeoutError:
                continue
            except OSError:
                is_hung_up = True
                break
    assert is_hung_up


def test_a_client_that_does_not_read_is_hung_up_on(path: Path) -> None:
    def large(*_: object) -> Answer:
        return 200, {}, b"x" * 10_000_000

    with LocalServer(large, path, request_s=0.2, max_connections=1):
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.connect(str(path))
            deaf.sendall(b"GET / HTTP/1.1\r\n\r\n")
            deadline = time.monotonic() + 20
            while not send(path, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200"):
                assert time.monotonic() < deadline, "its place was not freed"
                time.sleep(0.02)


def test_too_many_connections_are_told_so(path: Path) -> None:
    with LocalServer(echo, path, max_connections=1):
        held = UnixHTTPConnection(str(path))
        held.request("GET", "/")
        held.getresponse().read()

        assert send(path, b"").startswith(b"HTTP/1.1 503 ")
        held.close()


def test_a_handlers_header_cannot_become_two(server: LocalServer, path: Path) -> None:
    _, headers, body = ask(path, "GET", "/split")

    assert "X-B" not in headers
    assert body == b"ok"


def test_the_socket_is_private_and_removed(path: Path) -> None:
    with LocalServer(echo, path) as server:
        assert path.stat().st_mode & 0o777 == 0o600
        assert server.port == 0
    assert not path.exists()
    assert list(path.parent.iterdir()) == []
    server.close()


def test_a_successor_takes_the_name_over(path: Path) -> None:
    first = LocalServer(echo, path)
    first.start()
    with LocalServer(echo, path):
        first.close()
        assert ask(path, "GET", "/")[0] == 200


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1"])
def test_only_this_machine_may_ask(address: str) -> None:
    with pytest.raises(UsageError, match="not this machine's own address"):
        LocalServer(echo, (address, 0))


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("127.0.0.1:80", 200), ("[::1]:80", 200), ("127.8.8.8", 200),
        ("evil.example", 421), ("127.0.0.1.evil.example", 421), ("", 421), ("[", 421),
    ],
)  # fmt: skip
def test_on_tcp_it_answers_to_no_other_name(host: str, status: int) -> None:
    """A page elsewhere may point its name here (DNS rebinding)."""
    with LocalServer(echo, ("127.0.0.1", 0)) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.request("GET", "/", headers={"Host": host})
        assert connection.getresponse().status == status
        connection.close()
