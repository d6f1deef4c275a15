"""The edge as its visitors meet it: names that come and go, hostile ones, certificates."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest

from chittyops_core.testing.load import Load
from conftest import HostUnderTest, address_of, write_app

pytestmark = pytest.mark.host


def ask(host: HostUnderTest, name: str, path: str = "/") -> tuple[int, str]:
    """Ask the edge's bare port for *name*, sent as it stands; return status and body."""
    with socket.create_connection(("127.0.0.1", host.http), timeout=10) as connection:
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode()
        )
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


def test_services_come_and_go_without_a_lost_request_to_the_others(
    host: HostUnderTest, app: Path, tmp_path: Path
) -> None:
    """No configuration is loaded for a name: keep-alive connections stay."""
    report = host.deploy(app)
    before = (host.home / "edge/caddy.json").read_text()

    with Load(address_of(report), pause_s=0.002) as load:
        for number in range(4):
            other = write_app(tmp_path / f"other{number}", name=f"other{number}")
            host.deploy(other)
            if number % 2:
                host.run("remove", "--app", f"other{number}", "--yes")
        load.wait(200)

    assert load.tally.failed == {}, load.tally.reasons
    assert (host.home / "edge/caddy.json").read_text() == before
    assert ask(host, "other0.localhost")[0] == 200
    assert ask(host, "other1.localhost")[0] == 404


def test_the_bare_port_answers_while_one_service_is_there(
    host: HostUnderTest, app: Path, tmp_path: Path
) -> None:
    """With two a name is needed, and 404 says so; with one again it is not."""
    host.deploy(app)
    alone = ask(host, "127.0.0.1")
    host.deploy(write_app(tmp_path / "second", name="second"))
    crowded = ask(host, "127.0.0.1")
    host.run("remove", "--app", "second", "--yes")

    assert alone == (200, "one")
    assert crowded[0] == 404
    assert "chittyops status" in crowded[1]
    assert ask(host, "127.0.0.1") == (200, "one")


@pytest.mark.parametrize("name", ["HELLO.localhost", "Hello.LocalHost:7080"])
def test_names_know_no_case(host: HostUnderTest, app: Path, tmp_path: Path, name: str) -> None:
    """RFC 9110 4.2.3; a port behind the name does not matter either."""
    host.deploy(app)
    host.deploy(write_app(tmp_path / "second", name="second"))

    assert ask(host, name) == (200, "one")


@pytest.mark.parametrize(
    "name", ["..", ".", "*", "h*.localhost", "[a-z]*", "_only", "E00", "hello.localhost/..", "{x}"]
)
def test_a_host_that_is_a_path_or_a_pattern_reaches_nothing(
    host: HostUnderTest, app: Path, tmp_path: Path, name: str
) -> None:
    """path-traversal attack: the name becomes part of a path, but only links are followed."""
    host.deploy(app)
    host.deploy(write_app(tmp_path / "second", name="second"))

    status, body = ask(host, name)

    assert status in (400, 404), body
    assert body != "one"


def test_a_name_that_nobody_serves_gets_no_certificate(host: HostUnderTest, tmp_path: Path) -> None:
    """certificate-flood attack: a stranger's names must not fill the disk, one each."""
    folder = tmp_path / "court"
    assert host.run("new", "cook-county", str(folder)).returncode == 0
    report = host.deploy(folder)
    context = ssl.create_default_context(cafile=report["connect"]["ca_file"])

    def shake_hands(name: str) -> str | None:
        with socket.create_connection(("127.0.0.1", host.https), timeout=10) as raw:
            with context.wrap_socket(raw, server_hostname=name) as secure:
                return secure.version()

    assert shake_hands("court.localhost") == "TLSv1.3"
    for number in range(5):
        with pytest.raises(ssl.SSLError):
            shake_hands(f"stranger{number}.example.org")
    made = {path.name for path in (host.home / "edge/storage").rglob("*.crt")}
    assert not [name for name in made if "stranger" in name]
    assert ask(host, "127.0.0.1", "/.chittyops/has-route?domain=..")[0] == 403


def test_an_edge_that_cannot_be_asked_is_started_anew(host: HostUnderTest, app: Path) -> None:
    """As when somebody cleaned up what looked like a stale socket."""
    report = host.deploy(app)
    (host.home / "run/edge.sock").unlink()

    host.deploy(write_app(app, version="two"))

    assert host.get(report) == "two"
    assert host.run("doctor").returncode == 0
