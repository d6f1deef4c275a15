"""The parent as a process."""

from __future__ import annotations

import http.client
import ipaddress
import signal
import ssl
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from chittyops_core.errors import ParentError
from chittyops_core.parent import enrolment
from chittyops_core.parent.addresses import client_address
from chittyops_core.parent.schema import event
from chittyops_core.parent.server import Bind, init, open_database, open_parent
from conftest import free_port
from parent_served import RawChild, wait_for
from postgresql import PostgreSQL

SERVE = """
import sys
from pathlib import Path
from chittyops_core.errors import ParentError
from chittyops_core.parent.server import Bind, open_parent, serve
tls = (Path(sys.argv[3]), Path(sys.argv[4])) if len(sys.argv) > 3 else None
try:
    serve(open_parent(Path(sys.argv[1])), Bind.parse(sys.argv[2], tls=tls))
except ParentError as error:
    sys.exit(f"{error}")
"""


class Running:
    """A parent in a process of its own."""

    def __init__(self, data: Path) -> None:
        self.data, self.port = data, free_port()
        self.parent = open_parent(data)
        self.children: list[RawChild] = []
        self.start()

    def start(self) -> None:
        words = [sys.executable, "-c", SERVE, str(self.data), f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        wait_for(self.answers)

    def answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        status = self.process.wait(timeout=30)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return status

    def child(self) -> RawChild:
        """Return a child, let in by a command beside the server."""
        database = open_database(self.data)
        database.start()
        _, text = database.write(
            lambda found: enrolment.make_token(
                found, name="t", labels={}, auto_accept=True, uses=1, ttl_s=60, by="t",
                now=time.time(), parent_thumbprint=self.parent.key.id,
            )
        )  # fmt: skip
        database.close()
        one = RawChild(self)  # type: ignore[arg-type]
        assert one.enrol(text.split(".")[1]).status == 201
        return one


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    init(tmp_path / "parent", name="Test <parent>")
    server = Running(tmp_path / "parent")
    yield server
    for one in server.children:
        one.close()
    if server.process.poll() is None:
        server.stop(signal.SIGKILL)
    server.parent.database.close()


# --- init ---


def test_a_new_parent_is_its_owners_only(tmp_path: Path) -> None:
    """Folder 0700, key 0600; nothing is overwritten, ever."""
    data = tmp_path / "a" / "parent"
    key = init(data, name='Quote " and \\ backslash')
    with pytest.raises(ParentError, match="there already"):
        init(data)
    with pytest.raises(ParentError, match="control characters"):
        init(tmp_path / "b", name="a\nb")
    parent = open_parent(data)
    parent.database.close()

    assert parent.key.id == key.id
    assert parent.name == 'Quote " and \\ backslash'
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [data, *data.iterdir()]}
    assert modes["parent"] == 0o700
    assert modes["parent.key"] == modes["parent.toml"] == 0o600
    assert "PRIVATE" not in repr(parent)


def test_a_parent_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    """And says what to do about it."""
    with pytest.raises(ParentError, match="no parent in"):
        open_parent(tmp_path)
    data = tmp_path / "parent"
    init(data)
    for name, spoil, said in (
        ("parent.key", lambda path: path.chmod(0o644), "read by others"),
        ("parent.key", lambda path: path.write_text("nonsense"), "no private key"),
        ("parent.key", lambda path: path.unlink(), "cannot be read"),
        ("parent.toml", lambda path: path.write_text("name = "), "cannot be read"),
        ("parent.toml", lambda path: path.write_text("trusted_proxies = ['x']"), "trusted_proxies"),
        ("parent.db", lambda path: path.unlink(), "not there"),
    ):
        path = data / name
        kept, mode = path.read_bytes(), path.stat().st_mode
        spoil(path)
        with pytest.raises(ParentError, match=said):
            open_parent(data)
        path.write_bytes(kept)
        path.chmod(mode)
    open_parent(data).database.close()


def test_a_password_is_taken_from_no_url(tmp_path: Path, postgresql_server: PostgreSQL) -> None:
    """It comes from PGPASSFILE or from a file that only its owner can read."""
    for url in ("postgresql://u:hush@h/d", "postgresql://u@h/d?password=hush"):
        with pytest.raises(ParentError, match="password is not taken") as refused:
            init(tmp_path / "parent", database_url=url)
        assert "hush" not in str(refused.value) + refused.value.remedy
    url = postgresql_server.new_database()
    init(tmp_path / "parent", database_url=url, name="On PostgreSQL")
    with pytest.raises(ParentError, match="holds a parent already"):
        init(tmp_path / "other", database_url=url)
    secret = tmp_path / "secret"
    secret.write_text("hush\n")
    settings = tmp_path / "parent" / "parent.toml"
    settings.write_text(settings.read_text() + f'password_file = "{secret}"\n')

    secret.chmod(0o640)
    with pytest.raises(ParentError, match="read by others"):
        open_parent(tmp_path / "parent")
    secret.chmod(0o600)
    parent = open_parent(tmp_path / "parent")

    assert "hush" not in str(parent.database.url)
    parent.database.close()


@pytest.mark.parametrize(
    "text", ["x", "1.2.3.4:0", ":80", "0.0.0.0:80", "[::]:443", "example.com:80"]
)
def test_plain_http_is_for_loopback(text: str) -> None:
    """Unless TLS is given, or a proxy in front does it."""
    with pytest.raises(ParentError):
        Bind.parse(text)


def test_addresses_to_serve_on() -> None:
    """With ports, and IPv6 in brackets."""
    assert Bind.parse("127.0.0.1:80").port == 80
    assert Bind.parse("[::1]:80").host == "::1"
    assert Bind.parse("0.0.0.0:80", is_behind_proxy=True).host == "0.0.0.0"


def test_a_proxy_is_believed_only_where_it_is_trusted() -> None:
    """A client that writes the header itself is not."""
    trusted = [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("10.0.0.0/8")]

    assert client_address("192.0.2.1", "1.1.1.1", trusted) == "192.0.2.1"
    assert client_address("127.0.0.1", "9.9.9.9, 192.0.2.7", trusted) == "192.0.2.7"
    assert client_address("127.0.0.1", "192.0.2.7, 10.1.1.1", trusted) == "192.0.2.7"
    assert client_address("127.0.0.1", "", trusted) == "127.0.0.1"


# --- serving ---


def test_an_end_in_peace_answers_what_is_under_way(running: Running) -> None:
    """SIGTERM ends with 0; whoever asks meanwhile gets an answer or no connection."""
    one = running.child()
    answers: list[Any] = []
    stop = threading.Event()

    def speak() -> None:
        seq = 0
        while not stop.is_set():
            seq += 1
            try:
                reply = one.sync(after=seq - 1, items=[[seq, "event", {"type": str(seq)}]])
            except (OSError, http.client.HTTPException):
                return
            if reply.status == 200:
                answers.append(reply.value["acked"])

    thread = threading.Thread(target=speak)
    thread.start()
    wait_for(lambda: len(answers) > 20)
    status = running.stop()
    stop.set()
    thread.join()

    assert status == 0
    assert acknowledged(running) >= answers[-1]


@pytest.mark.chaos
def test_a_kill_under_load_loses_nothing_acknowledged(running: Running) -> None:
    """And the child goes on where it was."""
    one = running.child()
    acked = 0
    for seq in range(1, 30):
        acked = one.sync(after=seq - 1, items=[[seq, "event", {"type": str(seq)}]]).value["acked"]
    running.stop(signal.SIGKILL)
    one.close()

    running.start()
    again = one.sync(after=acked, items=[[acked + 1, "event", {"type": "on"}]])

    assert again.value["acked"] == acked + 1
    assert acknowledged(running) == acked + 1


def acknowledged(running: Running) -> int:
    with running.parent.database.reading() as connection:
        found = connection.execute(
            sa.select(sa.func.max(event.c.seq), sa.func.count()).where(event.c.stream != "parent")
        ).one()
    assert found[0] == found[1]
    return int(found[0])


def test_a_second_server_says_who_is_there_and_ends(running: Running) -> None:
    """Rather than to write beside it; likewise where the port is taken."""
    words = [sys.executable, "-c", SERVE, str(running.data), f"127.0.0.1:{free_port()}"]
    second = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)

    assert second.returncode == 1
    assert f"another parent serves this database: process {running.process.pid}" in second.stderr
    assert running.answers()


def test_a_port_that_is_taken_is_told(tmp_path: Path, running: Running) -> None:
    """With what to do."""
    init(tmp_path / "other")
    words = [sys.executable, "-c", SERVE, str(tmp_path / "other"), f"127.0.0.1:{running.port}"]
    second = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)

    assert second.returncode == 1
    assert "cannot be served on" in second.stderr


def test_tls_of_its_own(tmp_path: Path) -> None:
    """By a certificate and its key; such answers tell browsers to stay with TLS."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    init(tmp_path / "parent")
    port = free_port()
    words = [sys.executable, "-c", SERVE, str(tmp_path / "parent"), f"127.0.0.1:{port}"]
    process = subprocess.Popen([*words, str(cert), str(key)], stderr=subprocess.DEVNULL)
    context = ssl.create_default_context(cafile=cert)
    found: list[http.client.HTTPResponse] = []

    def answers() -> bool:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
        try:
            connection.request("GET", "/healthz")
            found.append(connection.getresponse())
            return True
        except OSError:
            return False
        finally:
            connection.close()

    try:
        wait_for(answers)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    assert found[0].getheader("strict-transport-security")
    assert (tmp_path / "parent" / "parent.db").exists()
