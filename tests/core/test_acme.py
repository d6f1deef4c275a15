"""Public names get their certificates by ACME, from a real authority: a second Caddy."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chittyops_core._kit.retry import wait_until
from conftest import HostUnderTest, free_port

CADDY = Path(sys.executable).with_name("caddy")
NAME = "portal.court.test"


def _can_isolate() -> bool:
    """Whether this user may give a process its own /etc/hosts, and listen on port 443."""
    done = subprocess.run(
        ["unshare", "--mount", "mount", "--bind", "/etc/hosts", "/etc/hosts"],
        capture_output=True, check=False,
    )  # fmt: skip
    return done.returncode == 0


pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(
        not _can_isolate(),
        reason="an ACME authority dials port 443 of the name it certifies: needs root",
    ),
]


class Authority:
    """An ACME server of its own, for which NAME is this machine (RFC 8555, RFC 8737)."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.root = folder / "storage/pki/authorities/local/root.crt"
        self._folder = folder

    @property
    def directory(self) -> str:
        return f"https://localhost:{self.port}/acme/local/directory"

    def start(self) -> subprocess.Popen[bytes]:
        handler = {"handler": "acme_server", "host": f"localhost:{self.port}"}
        server = {
            "listen": [f"127.0.0.1:{self.port}"],
            "automatic_https": {"disable": True},
            "tls_connection_policies": [{}],
            "routes": [{"handle": [handler]}],
        }
        internal = {"policies": [{"issuers": [{"module": "internal"}]}]}
        config = {
            "admin": {"disabled": True},
            "storage": {"module": "file_system", "root": str(self._folder / "storage")},
            "apps": {
                "http": {"servers": {"authority": server}},
                "tls": {"certificates": {"automate": ["localhost"]}, "automation": internal},
                "pki": {"certificate_authorities": {"local": {"install_trust": False}}},
            },
        }
        (self._folder / "caddy.json").write_text(json.dumps(config))
        (self._folder / "hosts").write_text(f"127.0.0.1 localhost {NAME}\n")
        # It asks the system's resolver for the name; so it gets a hosts file of its own.
        own_hosts = f'mount --bind {self._folder}/hosts /etc/hosts && exec "$@"'
        return subprocess.Popen(
            ["unshare", "--mount", "/bin/sh", "-c", own_hosts, "sh",
             str(CADDY), "run", "--config", str(self._folder / "caddy.json")],
            env={**os.environ, "HOME": str(self._folder)}, stderr=subprocess.DEVNULL,
        )  # fmt: skip


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    made = Authority(tmp_path)
    running = made.start()
    try:
        assert wait_until(lambda: made.root.exists() and _listens(made.port), timeout_s=20)
        yield made
    finally:
        running.terminate()
        running.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _certificate(authority: Authority, name: str) -> dict[str, object] | None:
    context = ssl.create_default_context(cafile=str(authority.root))
    with socket.create_connection(("127.0.0.1", 443), timeout=30) as raw:
        with context.wrap_socket(raw, server_hostname=name) as secure:
            return secure.getpeercert()


def test_a_public_name_is_certified_at_its_first_visit(
    host: HostUnderTest, tmp_path: Path, authority: Authority
) -> None:
    """By the authority that was chosen; local names stay with Caddy's own, strangers get none."""
    if _listens(443):
        pytest.skip("another program listens on port 443")
    started = host.run(
        "host", "start", "--https-port", "443", "--bind", "127.0.0.1",
        "--acme-email", "clerk@court.test", "--acme-directory", authority.directory,
        "--acme-root", str(authority.root),
    )  # fmt: skip
    assert started.returncode == 0, started.stderr
    folder = tmp_path / "court"
    host.run("new", "cook-county", str(folder))
    manifest = folder / "chittyops.toml"
    manifest.write_text(manifest.read_text().replace("[app]\n", f'[app]\nhosts = ["{NAME}"]\n', 1))
    report = host.deploy(folder)

    found = _certificate(authority, NAME)

    assert found is not None
    assert found["subjectAltName"] == (("DNS", NAME),)
    assert report["url"] == "https://court.localhost"
    for stranger in ("court.localhost", "stranger.court.test"):
        with pytest.raises(ssl.SSLError):
            _certificate(authority, stranger)
    assert authority.directory in host.run("host", "status").stdout
