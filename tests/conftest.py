"""Fixtures: a host of one's own for each test that wants one, and apps to put on it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from chittyops_core.deploy.targets.base import Address
from chittyops_core.host.fetch import fetch
from postgresql import PostgreSQL, find_postgresql
from webhook import Webhook

APPS = Path(__file__).parent / "apps"
COMMAND = Path(sys.executable).with_name("chittyops")

# Most hosts under test have no agent: what is tested is what it would watch.
os.environ.setdefault("CHITTYOPS_AGENT", "off")

IS_CHAOS_FULL = os.environ.get("CHITTYOPS_CHAOS") == "full"
"""Whether fault tests run in full, as `nox -s chaos` asks, or about a tenth of them."""

IS_ROOT = os.geteuid() == 0
PUBLIC_PYTHON = (IS_ROOT and shutil.which("python3", path="/usr/bin")) or sys.executable
"""What apps run by: as root that must be one that every OS user may run, not one in a home."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread the long tests evenly, so that no worker is left with several of them at the end."""
    long = [item for item in items if item.get_closest_marker("long")]
    others = [item for item in items if not item.get_closest_marker("long")]
    for number, item in enumerate(long):
        others.insert(number * len(others) // len(long), item)
    items[:] = others


def chessboard(rows: Sequence[Any], columns: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Return all pairs in a full fault run; else the half of them on the white squares."""
    return [
        (row, column)
        for i, row in enumerate(rows)
        for k, column in enumerate(columns)
        if IS_CHAOS_FULL or (i + k) % 2 == 0
    ]


@pytest.fixture(scope="session")
def shared_runtimes() -> Iterator[Path]:
    """One folder of host runtimes for the whole run: each is 200 MB and made once."""
    folder = Path(tempfile.mkdtemp(prefix="chr-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQL]:
    """One PostgreSQL server for the whole run."""
    programs = find_postgresql()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    server = PostgreSQL(programs)
    yield server
    server.destroy()


class HostUnderTest:
    """One home with ports of its own, and the command line as a user types it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.http, self.https = free_port(), free_port()
        self.environment = {
            **os.environ,
            "CHITTYOPS_HOME": str(home),
            "CHITTYOPS_HTTP_PORT": str(self.http),
            "CHITTYOPS_HTTPS_PORT": str(self.https),
        }

    def run(
        self,
        *words: str,
        cwd: Path | None = None,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Type a `chittyops` command; return what came back."""
        return subprocess.run(
            [str(COMMAND), *words], cwd=cwd or self.home.parent, input=stdin, text=True,
            capture_output=True, timeout=120, env={**self.environment, **(env or {})},
            check=False,
        )  # fmt: skip

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Type a command and leave it running."""
        return subprocess.Popen(
            [str(COMMAND), *words], cwd=self.home.parent, stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment,
        )  # fmt: skip

    def deploy(self, folder: Path, *words: str) -> dict[str, Any]:
        """Deploy and return the report; fail the test when it is refused."""
        done = self.run("deploy", str(folder), "--yes", "--json", *words)
        assert done.returncode == 0, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def refuse(self, folder: Path, *words: str) -> str:
        """Deploy, expect exit 1 without a traceback, and return what was said."""
        done = self.run("deploy", str(folder), "--yes", *words)
        assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
        # An app's own traceback is shown indented, as evidence; ours would not be.
        assert not re.search("^Traceback", done.stderr, re.MULTILINE), done.stderr
        return done.stderr

    def status(self) -> list[dict[str, Any]]:
        done = self.run("status", "--json")
        assert done.returncode == 0, done.stderr
        services: list[dict[str, Any]] = json.loads(done.stdout)["services"]
        return services

    def get(self, report: Mapping[str, Any], path: str = "/") -> str:
        """Ask a deployed service as a visitor would."""
        return fetch(address_of(report), path).body.decode()

    def processes(self) -> list[psutil.Process]:
        """Return every process of this home: the host's own, the edge, the apps."""
        found = []
        for process in psutil.process_iter():
            try:
                is_ours = process.environ().get("CHITTYOPS_SUPERVISED") == str(self.home)
                is_ours = is_ours or str(self.home) in " ".join(process.cmdline())
            except psutil.Error:
                continue
            if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        return found

    def destroy(self) -> None:
        """Take it down at once; how a host goes in peace has tests of its own."""
        while left := self.processes():
            for process in left:
                process.send_signal(signal.SIGKILL)
            psutil.wait_procs(left, timeout=5)


def address_of(report: Mapping[str, Any]) -> Address:
    connect = report["connect"]
    return Address(
        report["url"], connect["address"], connect["host"], connect["tls"], connect["ca_file"], ""
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Say whether somebody takes connections on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def make_host(runtimes: Path) -> HostUnderTest:
    base = Path(tempfile.mkdtemp(prefix="ch-", dir="/tmp"))
    base.chmod(0o711)  # A service with an OS user of its own has to pass through.
    home = base / "h"
    home.mkdir(mode=0o700)
    # A link: the host makes its runtime there, and `remove --all` removes only the link.
    (home / "runtime").symlink_to(runtimes)
    return HostUnderTest(home)


@pytest.fixture
def host(shared_runtimes: Path) -> Iterator[HostUnderTest]:
    """A host of this test's own, taken down afterwards whatever happened to it."""
    made = make_host(shared_runtimes)
    yield made
    made.destroy()
    shutil.rmtree(made.home.parent)


@pytest.fixture
def watched(host: HostUnderTest) -> HostUnderTest:
    """The host, with its agent."""
    host.environment["CHITTYOPS_AGENT"] = "on"
    return host


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """A webhook of a team that wants to be told."""
    made = Webhook()
    yield made
    made.close()


def write_app(
    folder: Path,
    name: str = "hello",
    *,
    version: str = "one",
    behaviour: str = "",
    command: str | None = None,
    more: str = "",
    env: str = "",
) -> Path:
    """Write an app that needs nothing installed; *more* is more TOML, *env* lines of [env]."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(APPS / "serve.py", folder / "serve.py")
    command = command or f"exec {PUBLIC_PYTHON} -S serve.py # $SOCKET"
    (folder / "chittyops.toml").write_text(
        f'[app]\nname = "{name}"\nkind = "chitty-apps"\n'
        f"[process.web]\ncommand = '''{command}'''\n"
        f'[env]\nVERSION = "{version}"\nBEHAVIOUR = "{behaviour}"\n{env}\n'
        f"{more}\n"
    )
    return folder


def build_publicly(client_file: Path) -> None:
    """Let a client's app be built with PUBLIC_PYTHON."""
    text = client_file.read_text()
    client_file.write_text(f'{text}\n[build]\npython = "{PUBLIC_PYTHON}"\n')


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A small app that is well."""
    return write_app(tmp_path / "hello")


def _told(process: psutil.Process) -> str:
    """Say which process it is, for a test that found one too many."""
    with process.oneshot():
        release, age_s = process.environ()["CHITTYOPS_RELEASE"], time.time() - process.create_time()
        return f"{release} pid {process.pid}, child of {process.ppid()}, {age_s:.2f} s old"


def require_nothing_left(host: HostUnderTest, serving: str, where: str) -> None:
    """Of the app `hello` only *serving* runs, and no file of another release's running is there."""
    apps = [p for p in host.processes() if any("serve.py" in word for word in p.cmdline())]
    assert len(apps) == 1, f"{where}; {[_told(each) for each in apps]}"
    assert apps[0].environ()["CHITTYOPS_RELEASE"] == serving, where
    service = host.home / "services/hello.production"
    assert (service / "live").readlink().parent.name == serving, where
    assert not (service / "stage").is_symlink(), where
    sockets = [p for p in (host.home / "run").rglob("*-*") if p.parent != host.home / "run"]
    assert {p.name.split("-")[0] for p in sockets} == {serving[:8]}, where
    programs = {p.name for p in (host.home / "supervisor/conf.d").iterdir()}
    assert programs == {"edge.conf", f"hello.production.{serving}.conf"}, where
    assert not list(host.home.glob("services/**/*.tmp")), where
    assert not list(host.home.glob("run/**/*.tmp")), where


def verify_units(*paths: Path, is_user: bool) -> str:
    """Return what systemd's own check says of unit files; skip where there is none."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze here: apt-get install systemd")
    scope = "--user" if is_user else "--system"
    done = subprocess.run(
        ["systemd-analyze", scope, "--man=no", "--recursive-errors=no", "verify", *paths],
        capture_output=True, text=True, env={**os.environ, "XDG_RUNTIME_DIR": "/tmp"},
    )  # fmt: skip
    return done.stdout + done.stderr


def write_recorder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Put a `systemctl` first on PATH that writes down what it is told.

    To WORD it answers what `says/WORD` holds, and it does what the script `does/WORD` says. A
    double, because systemd is not PID 1 where the tests run, so that the real one answers
    nothing. Return what reads the calls, a line each, without the words that are always there.
    """
    (folder / "says").mkdir(parents=True)
    (folder / "does").mkdir()
    recorder = folder / "systemctl"
    recorder.write_text(
        "#!/bin/sh\n"
        f'echo "$*" >>"{folder}/calls"\n'
        'while [ "${1#--}" != "$1" ]; do shift; done\n'
        f'cat "{folder}/says/$1" 2>/dev/null\n'
        f'[ ! -e "{folder}/does/$1" ] || . "{folder}/does/$1"; exit 0\n'
    )
    recorder.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def calls() -> list[str]:
        lines = (folder / "calls").read_text().splitlines()
        return [line.replace("--no-pager --no-ask-password ", "") for line in lines]

    return calls


class FakeClock:
    """Time that moves when it is told to."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        self.time += timedelta(milliseconds=1)
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
