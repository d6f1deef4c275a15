"""The bridge on a real host: its agent reports while there is a parent, and is as ever without."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from chittyops_core._kit.clock import SystemClock
from chittyops_core._kit.retry import wait_until
from chittyops_core.bridge import identity, membership
from chittyops_core.bridge.membership import Membership
from chittyops_core.bridge.outbox import Outbox
from chittyops_core.bridge.protocol import ChildState
from chittyops_core.deploy.targets.local import Layout, LocalTarget
from chittyops_core.host.bridge_report import Reporter
from chittyops_core.monitor.buffer import BufferedStore
from chittyops_core.monitor.watch import Watch
from conftest import HostUnderTest, free_port, write_app

pytestmark = pytest.mark.host

SECRET = "hunter2-is-in-no-report"


def agent(host: HostUnderTest) -> psutil.Process:
    (found,) = (p for p in host.processes() if "chittyops_core.host.agent" in p.cmdline())
    return found


def enrol_by_hand(host: HostUnderTest) -> Path:
    """Make the host a child of a parent that is away."""
    folder = host.home / "bridge"
    folder.mkdir(mode=0o700)
    identity.write(folder, identity.Keys(identity.Key.generate()))
    url = f"http://127.0.0.1:{free_port()}"
    membership.write(folder, Membership(url, "c" * 32, "p" * 43, "", "h", ChildState.ACCEPTED))
    return folder


def owed(folder: Path) -> list[tuple[str, Mapping[str, Any]]]:
    with closing(Outbox(folder / "outbox.db")) as outbox:
        items = outbox.take(1000, 1 << 30).items
    return [(item.kind, json.loads(item.body)) for item in items]


def types(folder: Path) -> list[str]:
    return [body.get("type", kind) for kind, body in owed(folder)]


def is_loaded(process: psutil.Process, library: str) -> bool:
    return any(library in each.path for each in process.memory_maps())


def test_a_host_reports_from_the_moment_it_has_a_parent_until_it_has_none(
    watched: HostUnderTest, tmp_path: Path
) -> None:
    """No restart, no secret, no waiting for a parent that is away; and nothing of it before."""
    assert watched.run("secrets", "set", "key", stdin=SECRET).returncode == 0
    app = write_app(tmp_path / "hello", env='KEY = { secret = "key" }')
    watched.deploy(app)
    process = agent(watched)
    assert not is_loaded(process, "cryptography")
    assert not (watched.home / "bridge").exists()
    folder = enrol_by_hand(watched)
    assert wait_until(lambda: (folder / "outbox.db").exists(), timeout_s=20)
    assert wait_until(lambda: "metrics" in types(folder), timeout_s=30), types(folder)
    write_app(app, version="two", env='KEY = { secret = "key" }')

    started = time.monotonic()
    deployed = watched.deploy(app)
    assert time.monotonic() - started < 60
    # The deploy itself has woken the agent: nobody has to wait for its next look.
    (served,) = [body for _, body in owed(folder) if body.get("type") == "deploy.served"]
    watched.run("secrets", "rotate", "key", "--yes", stdin=SECRET + "2")
    watched.run("remove", "--app", "hello", "--yes")

    assert (served["release"], served["service"]) == (deployed["release"], "hello.production")
    found = types(folder)
    assert found.count("deploy.served") == 2  # The rotation's is one as well.
    assert found[-1] == "deploy.removed"
    assert "secret.rotated" in found
    for path in folder.iterdir():
        assert SECRET.encode() not in path.read_bytes(), path
    status = json.loads(watched.run("bridge", "status", "--json").stdout)["bridge"]
    assert status is not None
    assert agent(watched).pid == process.pid
    left = watched.run("bridge", "leave", "--force", "--yes")
    assert left.returncode == 0, left.stderr
    assert wait_until(
        lambda: not any("outbox" in f.path for f in process.open_files()), timeout_s=20
    )


def test_the_inventory_says_what_runs_from_which_commit(
    host: HostUnderTest, tmp_path: Path
) -> None:
    """What was deployed, and after a rollback where what serves again had come from."""
    app = write_app(tmp_path / "hello")
    first_commit = commit(app)
    first = host.deploy(app)
    write_app(app, version="two")
    second_commit = commit(app)
    (app / "more").write_text("not committed")
    second = host.deploy(app)

    of_second = inventory(host)["hello.production"]
    assert host.run("rollback", "--app", "hello", "--yes").returncode == 0
    of_first = inventory(host)["hello.production"]

    assert [of_second["release"], of_first["release"]] == [second["release"], first["release"]]
    assert [of_second["commit"], of_first["commit"]] == [second_commit, first_commit]
    assert [of_second["dirty"], of_first["dirty"]] == [True, False]
    manifest = (app / "chittyops.toml").read_bytes()
    assert of_second["manifest"] == hashlib.sha256(manifest).hexdigest()
    (materials, *_) = (host.home / "artifacts").glob("*/sbom.json")
    assert len(of_second["sbom"]) == 64
    assert json.loads(materials.read_text())["specVersion"] == "1.6"
    assert of_second["since"] < of_first["since"] < time.time()
    assert (of_first["kind"], of_first["environment"], of_first["client"]) == (
        "chitty-apps", "production", None,
    )  # fmt: skip
    assert of_first["address"] == first["url"]
    assert of_first["lite"]


def test_enrolling_says_what_would_be_reported_before_anything_is_sent(
    host: HostUnderTest, tmp_path: Path
) -> None:
    """And a parent that is not there, or a token that is none, leaves the host as it was."""
    host.deploy(write_app(tmp_path / "hello"))
    nobody = f"http://127.0.0.1:{free_port()}"
    token = f"chittyops1.{'s' * 43}.{'p' * 43}"

    asked = host.run("enroll", nobody, "-", stdin=token)
    no_token = host.run("enroll", nobody, "\x1b[2Jhunter2", "--yes")
    plain = host.run("enroll", "http://ops.example.org", token, "--yes")
    away = host.run("enroll", nobody, "-", "--yes", "--json", stdin=token)

    assert asked.returncode == 2
    assert f"whose key must be {'p' * 43}" in asked.stderr
    assert "hello.production" in asked.stderr
    assert "s" * 43 not in asked.stdout + asked.stderr + away.stdout + away.stderr
    assert (no_token.returncode, plain.returncode) == (2, 2)
    assert "\x1b" not in no_token.stderr
    assert "https://" in plain.stderr
    assert away.returncode == 1
    assert "error" in json.loads(away.stdout)
    assert not (host.home / "bridge/membership.json").exists()
    assert host.run("bridge", "pause").returncode == 1
    assert json.loads(host.run("bridge", "status", "--json").stdout) == {"bridge": None}
    caps = json.loads(host.run("bridge", "grants", "--json").stdout)["grants"]
    assert caps["services"] == {"hello.production": True}


def commit(folder: Path) -> str:
    """Commit all of *folder*; return the commit's id."""
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "Change"]):
        git(folder, *words)
    return git(folder, "rev-parse", "HEAD")


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *words], cwd=folder,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def inventory(host: HostUnderTest) -> dict[str, Any]:
    """Return what the host's agent would report of its services."""
    layout = Layout(host.home)
    target = LocalTarget(layout, _none, lambda text: None, _none)
    with closing(BufferedStore(layout.monitor_store)) as store:
        watch = Watch(store, SystemClock(), lambda: None)
        services = Reporter(layout, target, store, watch, list).inventory({})["services"]
    return dict(services)


def _none(*args: object) -> Any:
    raise AssertionError("a report asked for a secret or a user")
