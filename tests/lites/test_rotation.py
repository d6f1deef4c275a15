"""Rotating secrets through the gates of the lites, two at once, and cut off by Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from conftest import HostUnderTest, build_publicly, chessboard, write_app

pytestmark = pytest.mark.host

MOMENTS = ["note: one: KEY", "processes started", "gated", "note: two: KEY"]


def seen_env(host: HostUnderTest, report: dict[str, Any], name: str) -> str:
    lines = host.get(report, "/env").splitlines()
    return next(
        line.removeprefix(f"{name}=").strip("'") for line in lines if line.startswith(f"{name}=")
    )


def stored(host: HostUnderTest, name: str) -> dict[str, Any]:
    values = json.loads((host.home / "secrets/values.json").read_text())["values"]
    found: dict[str, Any] = values[name]
    return found


def launched_with(host: HostUnderTest, release: str, name: str) -> str:
    """Return the value that the running release has, as only root may see it."""
    for process in host.processes():
        env = process.environ()
        if env.get("CHITTYOPS_RELEASE") == release and name in env:
            return env[name]
    raise AssertionError(f"{release} does not run")


# --- cook-county: the compliance gate -------------------------------------------------------------


@pytest.mark.network
def test_a_rotation_passes_the_compliance_gate(host: HostUnderTest, tmp_path: Path) -> None:
    """Every check holds for the new release too: code's findings are carried, others made anew."""
    folder = tmp_path / "court-portal"
    assert host.run("new", "cook-county", str(folder)).returncode == 0
    one = host.deploy(folder)
    old = launched_with(host, one["release"], "SECRET_KEY")

    done = host.run("secrets", "rotate", "court-portal/secret-key", "--yes", "--json", "-v")

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    (renewed,) = report["services"]
    assert (report["complete"], renewed["value"], renewed["before"]) == (
        True, "new", one["release"],
    )  # fmt: skip
    new = launched_with(host, renewed["release"], "SECRET_KEY")
    assert len(new) == 64
    assert new != old
    for check in ("transport.redirect", "transport.tls", "headers.security", "cookies.flags"):
        assert f"{check}:" in done.stderr, check
    for value in (old, new):
        assert value not in done.stdout + done.stderr
    assert [(s["serving"], s["health"]) for s in host.status()] == [
        (renewed["release"], "healthy"),
    ]  # fmt: skip


@pytest.mark.network
def test_a_compliance_gate_that_closes_keeps_the_old_value(
    host: HostUnderTest, tmp_path: Path
) -> None:
    """A release that is ill by its new value: what serves has the old one, as the report says."""
    folder = tmp_path / "court-portal"
    assert host.run("new", "cook-county", str(folder)).returncode == 0
    code = (folder / "portal.py").read_text()
    assert "return response" in code
    fault = (
        "    if __import__('os').environ['SECRET_KEY'] == 'ill':\n"
        "        del response.headers['Content-Security-Policy']\n    return response"
    )
    (folder / "portal.py").write_text(code.replace("    return response", fault))
    one = host.deploy(folder)
    old = launched_with(host, one["release"], "SECRET_KEY")

    done = host.run(
        "secrets", "rotate", "court-portal/secret-key", "--ask", "--yes", "--json", stdin="ill"
    )

    (kept,) = json.loads(done.stdout)["services"]
    assert (done.returncode, kept["value"], kept["release"]) == (1, "old", one["release"])
    assert "Content-Security-Policy" in json.dumps(kept["error"])
    assert launched_with(host, one["release"], "SECRET_KEY") == old
    assert host.run("recover").stdout.strip() == "There was nothing to recover."


# --- digital-dossier: a value for each client -----------------------------------------------------


def dossier(folder: Path, env: str = 'KEY = { secret = "hello/key", generate = "hex64" }') -> Path:
    write_app(folder, env=env)
    manifest = folder / "chittyops.toml"
    manifest.write_text(manifest.read_text().replace("chitty-apps", "digital-dossier"))
    (folder / "clients").mkdir(exist_ok=True)
    for client in ("acme", "birch"):
        (folder / f"clients/{client}.toml").touch()
        build_publicly(folder / f"clients/{client}.toml")
    return folder


def test_one_clients_secret_is_rotated_for_that_client_alone(
    host: HostUnderTest, tmp_path: Path
) -> None:
    """NAME/CLIENT: its release is another one, the other client's is not touched."""
    folder = dossier(tmp_path / "hello")
    acme, birch = (host.deploy(folder, "--client", name) for name in ("acme", "birch"))
    old, others = seen_env(host, acme, "KEY"), seen_env(host, birch, "KEY")

    dry = host.run("secrets", "rotate", "hello/key/acme", "--dry-run", "--json")
    done = host.run("secrets", "rotate", "hello/key/acme", "--yes", "--json")
    unknown = host.run("secrets", "rotate", "hello/key", "--yes")

    assert done.returncode == 0, done.stderr
    assert [s["client"] for s in json.loads(dry.stdout)["services"]] == ["acme"]
    report = json.loads(done.stdout)
    assert [(s["client"], s["value"]) for s in report["services"]] == [("acme", "new")]
    new = seen_env(host, acme, "KEY")
    assert len(new) == 64
    assert new not in (old, others)
    assert seen_env(host, birch, "KEY") == others
    assert {s["client"]: s["serving"] for s in host.status()} == {
        "acme": report["services"][0]["release"], "birch": birch["release"],
    }  # fmt: skip
    assert unknown.returncode == 1
    assert "hello/key" in unknown.stderr


def test_a_secret_that_clients_share_is_rotated_for_each(
    host: HostUnderTest, tmp_path: Path
) -> None:
    """A plain NAME that is set is every client's without a NAME/CLIENT of its own."""
    host.run("secrets", "set", "hello/key", stdin="shared")
    host.run("secrets", "set", "hello/key/birch", stdin="birchs-own")
    folder = dossier(tmp_path / "hello", 'KEY = { secret = "hello/key" }')
    acme, birch = (host.deploy(folder, "--client", name) for name in ("acme", "birch"))
    assert (seen_env(host, acme, "KEY"), seen_env(host, birch, "KEY")) == ("shared", "birchs-own")

    done = host.run("secrets", "rotate", "hello/key", "--ask", "--yes", stdin="newly-shared")

    assert done.returncode == 0, done.stderr
    assert seen_env(host, acme, "KEY") == "newly-shared"
    assert seen_env(host, birch, "KEY") == "birchs-own"


# --- at the same time, and cut off ----------------------------------------------------------------

TWO = 'KEY = { secret = "shared/key" }\nTOKEN = { secret = "shared/token" }'


def test_two_rotations_at_once(host: HostUnderTest, tmp_path: Path) -> None:
    """Of two secrets of the same services: each ends well or is refused as a whole, and then
    works; no service is left with a mix, and none is left in the middle."""
    for name in ("key", "token"):
        host.run("secrets", "set", f"shared/{name}", stdin=f"old-{name}")
    reports = [
        host.deploy(write_app(tmp_path / name, name, env=TWO)) for name in ("one", "two")
    ]  # fmt: skip
    words = {
        name: ("secrets", "rotate", f"shared/{name}", "--generate", "hex64", "--yes")
        for name in ("key", "token")
    }

    both = {name: host.start(*each) for name, each in words.items()}
    said = {name: running.communicate(timeout=120) for name, running in both.items()}
    for name, running in both.items():
        if running.returncode != 0:
            assert "another rotation is under way" in said[name][1], said[name]
            assert "Traceback" not in said[name][1]
            again = host.run(*words[name])
            assert again.returncode == 0, again.stderr
    assert 0 in [running.returncode for running in both.values()], said

    for variable in ("KEY", "TOKEN"):
        values = {seen_env(host, report, variable) for report in reports}
        assert len(values) == 1, variable
        assert len(values.pop()) == 64, variable
    assert all("rotating" not in stored(host, f"shared/{name}") for name in ("key", "token"))
    assert all((s["health"], s["unfinished"]) == ("healthy", 0) for s in host.status())


@pytest.mark.chaos
@pytest.mark.parametrize(("at", "to_all"), chessboard(MOMENTS, [False, True]))
def test_ctrl_c_in_the_middle_and_rotate_again(
    host: HostUnderTest, tmp_path: Path, at: str, to_all: bool
) -> None:
    """It ends with 130 and leaves every service well; the same command carries on, with the value
    that was begun."""
    host.run("secrets", "set", "shared/key", stdin="old-key")
    env = 'KEY = { secret = "shared/key" }'
    reports = [
        host.deploy(write_app(tmp_path / name, name, env=env)) for name in ("one", "two")
    ]  # fmt: skip
    words = ("secrets", "rotate", "shared/key", "--generate", "hex64", "--yes", "-v")

    running = host.start(*words)
    heard = interrupt(running, at, to_all=to_all)
    assert running.returncode == 130, heard
    assert "Traceback" not in heard
    status = host.status()
    assert all((s["health"], s["unfinished"]) == ("healthy", 0) for s in status), json.dumps(status)
    begun = stored(host, "shared/key")
    between = [seen_env(host, report, "KEY") for report in reports]
    again = host.run(*words)

    assert again.returncode == 0, again.stderr
    assert "carried on" in again.stderr
    now = stored(host, "shared/key")
    assert begun["sealed"] == now["sealed"]
    assert "rotating" not in now
    values = {seen_env(host, report, "KEY") for report in reports}
    assert len(values) == 1
    assert set(between) <= {"old-key", *values}
    assert all((s["health"], s["unfinished"]) == ("healthy", 0) for s in host.status())


def interrupt(running: subprocess.Popen[str], at: str, *, to_all: bool) -> str:
    """Press Ctrl-C when *running* has said *at*; return all that it said on stderr.

    A terminal tells all of the group (*to_all*), `kill -INT` the command alone.
    """
    heard: list[str] = []
    is_there = threading.Event()

    def read() -> None:
        assert running.stderr is not None
        for line in running.stderr:
            heard.append(line)
            if at in line:
                is_there.set()
        is_there.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert is_there.wait(60)
    group, told = os.getpgid(running.pid), psutil.Process(running.pid)
    for each in [told, *(told.children(recursive=True) if to_all else ())]:
        if os.getpgid(each.pid) == group:
            each.send_signal(signal.SIGINT)
    running.wait(60)
    reader.join()
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.close()
    running.stderr.close()
    return "".join(heard)
