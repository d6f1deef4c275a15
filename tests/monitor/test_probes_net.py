"""The probes http, tcp, tls and dns, against real servers that behave badly."""

from __future__ import annotations

import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chittyops_core.model.monitoring import Measurement, Monitor
from chittyops_core.monitor.conditions import parse
from chittyops_core.monitor.probes import conditions_of, contexts, probe_for
from chittyops_core.monitor.probes.base import Deadline, LookError
from chittyops_core.monitor.probes.http_reader import read_response
from chittyops_core.monitor.probes.net import Line
from monitor.certificates import NAME, Authority, self_signed
from monitor.servers import OK, Answer, read_request, says, serve


def look(kind: str, target: str, *, timeout_s: float = 5, conditions: tuple[str, ...] = (),
         **options: Any) -> Measurement:  # fmt: skip
    monitor = Monitor("m", kind, target, timeout_s=timeout_s, conditions=conditions,
                      options=options)  # fmt: skip
    return probe_for(monitor).look()


def ask(answer: Answer, *, timeout_s: float = 5, **options: Any) -> Measurement:
    with serve(answer) as port:
        return look("http", f"http://127.0.0.1:{port}/", timeout_s=timeout_s,
                    conditions=('body contains "ok"',), **options)  # fmt: skip


# --- http ---


def test_every_phase_of_an_answer_is_timed() -> None:
    """The phases are there, and together no longer than the whole."""
    with serve(OK) as port:
        seen = look("http", f"http://localhost:{port}/x?y=1")

    assert seen.error == ""
    assert seen.values["status"] == 200
    phases = ["dns_time", "connect_time", "first_byte_time", "body_time"]
    assert sum(seen.values[name] for name in phases) <= seen.values["response_time"]
    assert seen.values["response_time"] <= seen.seconds
    assert "body" not in seen.values


def test_the_request_says_what_the_options_say() -> None:
    """Method, path, headers and Host, by another address than the URL's."""
    seen: list[bytes] = []

    def answer(sock: socket.socket) -> None:
        seen.append(read_request(sock))
        sock.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with serve(answer) as port:
        found = look("http", "http://court.example/a b?q=ü", method="HEAD",
                     headers={"X-Probe": "1", "user-agent": "me"},
                     connect=f"127.0.0.1:{port}")  # fmt: skip

    assert found.error == ""
    head, _ = seen[0].split(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "HEAD /a%20b?q=%C3%BC HTTP/1.1"
    assert {"Host: court.example", "X-Probe: 1", "user-agent: me"} < set(lines)
    assert not any("chittyops" in line for line in lines)


def test_an_app_on_a_unix_socket_is_asked(tmp_path: Path) -> None:
    """`unix:/path.sock:/path`, and by `connect`; conditions may ask for parts of the body."""
    body = b'{"status": "UP"}'
    answer = says(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    wanted = 'body.$.status == "UP"'
    with serve(answer, path=tmp_path / "a.sock"):
        direct = look("http", f"unix:{tmp_path}/a.sock:/health", conditions=(wanted,))
        by_name = look("http", "http://a.example/", connect=f"unix:{tmp_path}/a.sock")

    assert parse(wanted).explain(direct.values) == ""
    assert by_name.values["status"] == 200


def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    """The default condition refuses it, and where it leads is told."""
    asked = []

    def answer(sock: socket.socket) -> None:
        asked.append(read_request(sock))
        sock.sendall(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")

    seen = ask(answer)

    assert seen.values["redirects_to"] == "/again"
    assert len(asked) == 1
    (condition,) = conditions_of(Monitor("m", "http", "http://x/"))
    assert condition.explain(seen.values) == "status is 302, should be < 300"


@pytest.mark.parametrize(
    ("response", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok-more", "ok"),
        (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", "ok"),
        (b"HTTP/1.0 200 OK\n\nok", "ok"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\nok", "ok"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1;x=y\r\nk\r\n0\r\n\r\n",
         "ok"),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", ""),
        (b"HTTP/1.1 200 OK\r\n\r\n\xff", "\ufffd"),
    ],
)  # fmt: skip
def test_every_lawful_framing_is_read(response: bytes, body: str) -> None:
    """RFC 9112, section 6.3."""
    seen = ask(says(response))

    assert (seen.error, seen.values["body"]) == ("", body)


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (b"", "closed the connection without an answer"),
        (b"SSH-2.0-OpenSSH\r\n", "no HTTP/1.x answer: it begins with b'SSH-2.0"),
        (b"HTTP/1.1 20 OK\r\n\r\n", "no HTTP/1.x answer"),
        (b"HTTP/2 200\r\n\r\n", "no HTTP/1.x answer"),
        (b"HTTP/1.1 200 OK", "closed the connection within the status line"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2", "closed the connection within the header"),
        (b"HTTP/1.1 200 OK\r\nno header\r\n\r\n", "a header line is malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok", "is no number"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", "after 2 of 9 bytes"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "'gzip' is unknown"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "size is malformed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok", "within a chunk"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nok\r\n", "chunk is longer"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "switched protocols"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 8, "no final one"),
        (b"x" * 70000, "the status line is longer than"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 9000, "the header is longer than"),
        (b"HTTP/1.1 200 OK\r\na: " + b"b" * 70000, "the header is longer than"),
    ],
)
def test_what_is_no_answer_is_explained(response: bytes, why: str) -> None:
    """A malformed answer is one line for a person, never a traceback."""
    seen = ask(says(response))

    assert why in seen.error
    assert "itself failed" not in seen.error


PIECES = st.sampled_from([
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 ", b"\r\n", b"\n", b"5\r\n", b"hello", b"0\r\n\r\n", b"a: b",
    b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n", b"Content-Length: \xb2\r\n", b"\0",
])  # fmt: skip


@given(st.lists(PIECES | st.binary(max_size=9), max_size=12).map(b"".join))
def test_no_bytes_make_the_reader_raise_anything_but_its_own_error(data: bytes) -> None:
    """Whatever comes, it is a response or a LookError."""
    here, there = socket.socketpair()
    with there, Line(here, Deadline(30)) as line:
        there.sendall(data)
        there.shutdown(socket.SHUT_WR)
        try:
            response = read_response(line, is_head=False)
        except LookError:
            return

    assert 200 <= response.status <= 999
    assert len(response.body) <= len(data)


def test_an_endless_body_is_cut() -> None:
    """64 KiB are read, whatever its framing, and no more is waited for."""
    for head in (b"\r\n", b"Content-Length: " + b"9" * 30 + b"\r\n\r\n",
                 b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\n"):  # fmt: skip

        def answer(sock: socket.socket, head: bytes = head) -> None:
            read_request(sock)
            sock.sendall(b"HTTP/1.1 200 OK\r\n" + head)
            while True:
                sock.sendall(b"x" * 65536)

        seen = ask(answer)

        assert seen.error == ""
        assert (seen.values["body_bytes"], seen.values["body_is_cut"]) == (65536, True)


@pytest.mark.parametrize(
    "head", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"]
)
def test_a_server_that_drips_bytes_meets_the_deadline(head: bytes) -> None:
    """Slow-loris: the time limit is one for the whole look, not one for each byte."""
    dripped = []

    def answer(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(head)
        for _ in range(500):
            time.sleep(0.02)
            sock.sendall(b"H")
            dripped.append(1)

    seen = ask(answer, timeout_s=0.3)

    assert seen.error.endswith("bytes came) within 0.3s")
    assert 0 < len(dripped) < 500


def test_a_server_that_never_answers_meets_the_deadline() -> None:
    """And it says that nothing came."""
    seen = ask(lambda sock: time.sleep(0.5), timeout_s=0.2)

    assert seen.error == "no answer within 0.2s"


def test_a_reset_in_the_middle_is_told() -> None:
    """What was measured before is kept."""

    def answer(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok")
        time.sleep(0.1)
        # Linger 0: close() sends RST.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    seen = ask(answer)

    assert seen.error == "the connection broke after 40 bytes: connection reset"
    assert "connect_time" in seen.values


@pytest.mark.parametrize("kind", ["http", "tcp", "tls"])
def test_what_cannot_be_reached_is_told(kind: str, tmp_path: Path) -> None:
    """A refused port, a name without address, a socket that is not there."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        scheme = "http://" if kind == "http" else ""
        refused = look(kind, f"{scheme}127.0.0.1:{port}")
    unnamed = look(kind, f"{scheme}nobody.invalid:80")
    options = {"host": "x"} if kind == "tls" else {}
    missing = look(kind, f"unix:{tmp_path}/no.sock", **options)

    assert refused.error == (
        f"cannot connect to 127.0.0.1:{port}: connection refused, nothing listens there"
    )
    assert unnamed.error.startswith("the name nobody.invalid has no address")
    assert missing.error.endswith("there is no such socket")


def test_a_second_address_is_tried_when_the_first_refuses() -> None:
    """localhost is often ::1 first, where nobody listens."""
    with serve(OK) as port:
        assert look("tcp", f"localhost:{port}").error == ""


def test_a_thousand_probes_at_once_are_all_answered() -> None:
    """64 threads, 1,000 looks, no answer missing."""
    with serve(OK, threads=8) as port:
        probes = [
            probe_for(Monitor(f"m{n}", "http", f"http://127.0.0.1:{port}/", timeout_s=60))
            for n in range(1000)
        ]
        with ThreadPoolExecutor(64) as pool:
            seen = list(pool.map(lambda probe: probe.look(), probes))

    assert [one.error for one in seen if one.error] == []
    assert {one.values["status"] for one in seen} == {200}


def test_probes_do_not_load_requests() -> None:
    """Nor cryptography, dnspython or psycopg, before somebody needs them."""
    code = (
        "import sys; from chittyops_core.monitor.probes import probe_for\n"
        "from chittyops_core.model.monitoring import Monitor\n"
        "for kind, target in [('http', 'https://x'), ('tcp', 'x:1'), ('tls', 'x'), ('disk', '/'),"
        " ('sql', 'sqlite:/x'), ('heartbeat', ''), ('command', 'x'), ('python', 'a:b')]:\n"
        "    probe_for(Monitor('m', kind, target, timeout_s=0.01)).look()\n"
        "heavy = {'requests', 'urllib3', 'http.client', 'asyncio', 'cryptography', 'dns.message',"
        " 'psycopg', 'psutil', 'structlog'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


# --- tls ---


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path, "root")


@pytest.fixture
def fresh_contexts(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Begin with no context; return how many have been built since."""
    built: list[int] = []
    original = ssl.SSLContext.__new__

    def count(cls: type[ssl.SSLContext], *args: Any, **more: Any) -> ssl.SSLContext:
        built.append(1)
        return original(cls, *args, **more)

    monkeypatch.setattr(contexts, "_verified", {})
    monkeypatch.setattr(contexts, "_unverified", [])
    monkeypatch.setattr(ssl.SSLContext, "__new__", count)
    return lambda: len(built)


def test_a_hundred_https_looks_build_one_context(
    ca: Authority, fresh_contexts: Callable[[], int]
) -> None:
    """Reading the CAs costs ten times a look (findings 1.1)."""
    with serve(OK, certificate=ca.issue(), threads=4) as port:
        own = fresh_contexts()
        monitor = Monitor("m", "http", f"https://{NAME}/", timeout_s=30,
                          options={"ca_file": str(ca.file),
                                   "connect": f"127.0.0.1:{port}"})  # fmt: skip
        with ThreadPoolExecutor(16) as pool:
            seen = list(pool.map(lambda _: probe_for(monitor).look(), range(100)))

        assert {one.error for one in seen} == {""}
        assert fresh_contexts() - own == 1

    assert 59 * 86400 < seen[0].values["cert_expires_in"] < 60 * 86400
    assert seen[0].values["tls_time"] > 0


def test_a_changed_ca_file_is_read_again(ca: Authority, tmp_path: Path) -> None:
    """A renewed CA needs no restart of the agent."""
    other = Authority.make(tmp_path, "other")
    file = tmp_path / "trusted.pem"
    with serve(OK, certificate=ca.issue()) as port:
        options = {"ca_file": str(file), "host": NAME}
        unread = look("tls", f"127.0.0.1:{port}", **options)
        file.write_bytes(other.file.read_bytes())
        before = look("tls", f"127.0.0.1:{port}", **options)
        file.write_bytes(ca.file.read_bytes())
        after = look("tls", f"127.0.0.1:{port}", **options)

    assert "cannot be read" in unread.error
    assert "unknown issuer" in before.error
    assert after.error == ""


def test_a_good_certificate_is_described(ca: Authority) -> None:
    """And that nobody looked for its revocation is said."""
    with serve(OK, certificate=ca.issue()) as port:
        seen = look("tls", f"127.0.0.1:{port}", ca_file=str(ca.file), host=NAME)

    assert seen.error == ""
    assert seen.values["cert_is_valid"] is True
    assert seen.values["cert_names"] == NAME
    assert seen.values["cert_issuer"] == "commonName=root"
    assert seen.values["revocation"] == "not checked"
    assert seen.values["tls_version"] == "TLSv1.3"


def test_every_wrong_certificate_is_explained_by_itself(ca: Authority, tmp_path: Path) -> None:
    """Each has its own words, the same by http, and its dates are told all the same."""
    day = timedelta(days=1)
    between = Authority.make(tmp_path, "between", ca)
    unknown = Authority.make(tmp_path, "unknown")
    wrong = {
        "has expired": (ca.issue(ends=-day / 2), -day / 2),
        "is not yet valid": (ca.issue(begins=day), 60 * day),
        "is for another name": (ca.issue("other.example"), 60 * day),
        "is self-signed": (self_signed(tmp_path), 60 * day),
        "the server sent no complete chain": (unknown.issue(), 60 * day),
        "the chain ends in a CA": (unknown.issue(chain=(unknown.certificate,)), 60 * day),
        "comes from an unknown issuer": (between.issue(), 60 * day),
    }
    for why, (file, ends) in wrong.items():
        with serve(OK, certificate=file) as port:
            seen = look("tls", f"127.0.0.1:{port}", ca_file=str(ca.file), host=NAME)
            by_http = look("http", f"https://{NAME}", ca_file=str(ca.file),
                           connect=f"127.0.0.1:{port}")  # fmt: skip

        assert f"the certificate of {NAME} " in seen.error
        assert why in seen.error
        assert by_http.error == seen.error.split(" (for ")[0]
        assert seen.values["cert_is_valid"] is False
        assert abs(seen.values["cert_expires_in"] - ends.total_seconds()) < 600
        assert seen.values["cert_names"]
        assert "status" not in by_http.values


def test_a_whole_chain_is_good(ca: Authority, tmp_path: Path) -> None:
    """An intermediate that the server sends needs no trust of its own."""
    between = Authority.make(tmp_path, "between", ca)
    with serve(OK, certificate=between.issue(chain=(between.certificate,))) as port:
        seen = look("tls", f"127.0.0.1:{port}", ca_file=str(ca.file), host=NAME)

    assert seen.error == ""


def test_revocation_is_looked_up_in_the_whole_chain(ca: Authority, tmp_path: Path) -> None:
    """A revoked leaf, a revoked intermediate, a list that is missing or old: each is told."""
    between = Authority.make(tmp_path, "between", ca)
    leaf = between.issue(chain=(between.certificate,))
    lists = {
        "": between.revoke() + ca.revoke(),
        "has been revoked": between.revoke(leaf) + ca.revoke(),
        "has been revoked (": between.revoke() + ca.revoke(between.file),
        "crl_file has no list of its issuer": ca.revoke(),
        "the list in crl_file is out of date": between.revoke(ends=timedelta(days=-1))
        + ca.revoke(),
    }
    seen = {}
    with serve(OK, certificate=leaf) as port:
        for number, (why, text) in enumerate(lists.items()):
            file = tmp_path / f"{number}.crl"
            file.write_bytes(text)
            seen[why] = look("tls", f"127.0.0.1:{port}", host=NAME, ca_file=str(ca.file),
                             crl_file=str(file))  # fmt: skip

    assert seen[""].error == ""
    assert seen[""].values["revocation"] == "checked by crl_file"
    for why, one in seen.items():
        assert why in one.error
        assert one.values["cert_is_valid"] is (why == "")


def test_what_speaks_no_tls_is_told() -> None:
    """A plain server, one that hangs up, one that says nothing."""
    with serve(says(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        pass
    answers: dict[str, Answer] = {
        "failed: wrong version number": lambda sock: sock.sendall(b"220 mail ready\r\n"),
        "during the TLS handshake": lambda sock: None,
        "no TLS handshake with": lambda sock: time.sleep(0.5),
    }
    for why, answer in answers.items():
        with serve(answer) as port:
            seen = look("tls", f"127.0.0.1:{port}", timeout_s=0.3)

        assert why in seen.error.replace("broke off the", "during the")


def test_a_handshake_that_drips_meets_the_deadline() -> None:
    """Slow-loris below TLS: a record of which a byte comes at a time."""
    dripped = []

    def answer(sock: socket.socket) -> None:
        sock.sendall(b"\x16\x03\x03\x40\x00\x02")
        for _ in range(500):
            time.sleep(0.02)
            sock.sendall(b"\0")
            dripped.append(1)

    with serve(answer) as port:
        seen = look("tls", f"127.0.0.1:{port}", timeout_s=0.3)

    assert seen.error == f"no TLS handshake with 127.0.0.1:{port} within 0.3s"
    assert 0 < len(dripped) < 500


def test_a_server_whose_queue_is_full_meets_the_deadline(tmp_path: Path) -> None:
    """By TCP nothing answers; a unix socket says so at once."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        own = stack.enter_context(socket.socket(socket.AF_UNIX))
        own.bind(str(tmp_path / "full.sock"))
        own.listen(0)
        for _ in range(4):
            for family, place in (
                (socket.AF_INET, ("127.0.0.1", port)),
                (socket.AF_UNIX, str(tmp_path / "full.sock")),
            ):
                waiting = stack.enter_context(socket.socket(family))
                waiting.setblocking(False)
                waiting.connect_ex(place)

        tcp = look("tcp", f"127.0.0.1:{port}", timeout_s=0.2)
        unix = look("tcp", f"unix:{tmp_path}/full.sock", timeout_s=0.2)

    assert tcp.error == f"no connection to 127.0.0.1:{port} within 0.2s"
    assert "within 0.2s" in unix.error or unix.error.endswith("nobody accepts")


# --- dns ---


@pytest.fixture
def name_server() -> Iterator[str]:
    """A real name server on loopback that knows `a.example`, and never answers `slow.example`.

    What it says of `large.example` fits TCP only.
    """
    pytest.importorskip("dns.message")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:

        def by_tcp(other: socket.socket) -> None:
            size = int.from_bytes(other.recv(2), "big")
            answer = answer_of(other.recv(size), is_udp=False)
            assert answer is not None
            other.sendall(len(answer).to_bytes(2, "big") + answer)

        def by_udp() -> None:
            while (data := sock.recvfrom(4096))[0] != b"end":
                if (answer := answer_of(data[0], is_udp=True)) is not None:
                    sock.sendto(b"nonsense", data[1])
                    sock.sendto(answer, data[1])

        with serve(by_tcp) as port:
            sock.bind(("127.0.0.1", port))
            thread = threading.Thread(target=by_udp)
            thread.start()
            yield f"127.0.0.1:{port}"
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"end", ("127.0.0.1", port))
            thread.join()


def answer_of(data: bytes, *, is_udp: bool) -> bytes | None:
    import dns.flags
    import dns.message
    import dns.rcode
    import dns.rrset

    query = dns.message.from_wire(data)
    answer = dns.message.make_response(query)
    name = query.question[0].name.to_text()
    known = {"a.example.": ["192.0.2.2", "192.0.2.1"],
             "large.example.": [f"192.0.2.{n}" for n in range(99)]}  # fmt: skip
    if name == "slow.example.":
        return None
    if name == "large.example." and is_udp:
        answer.flags |= dns.flags.TC
    elif name in known:
        answer.answer.append(dns.rrset.from_text(name, 60, "IN", "A", *known[name]))
    elif name != "empty.example.":
        answer.set_rcode(dns.rcode.REFUSED if "refused" in name else dns.rcode.NXDOMAIN)
    return answer.to_wire()


def test_a_name_server_is_asked(name_server: str) -> None:
    """What it says is told, and what it does not know; the deadline holds."""
    known = look("dns", "a.example", server=name_server)
    empty = look("dns", "empty.example", server=name_server, type="MX")
    large = look("dns", "large.example", server=name_server)
    late = look("dns", "slow.example", server=name_server, timeout_s=0.2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    refused = look("dns", "a.example", server=f"127.0.0.1:{port}")

    assert (known.error, known.values["answers"], known.values["ttl"]) == ("", 2, 60)
    assert known.values["answer"] == "192.0.2.1, 192.0.2.2"
    assert (empty.error, empty.values["answers"]) == ("", 0)
    assert (large.error, large.values["answers"]) == ("", 99)
    assert "NXDOMAIN" in look("dns", "no.example", server=name_server).error
    assert "REFUSED" in look("dns", "refused.example", server=name_server).error
    assert late.error == f"no answer from the name server {name_server} within 0.2s"
    assert refused.error.endswith("connection refused, nothing listens there")
