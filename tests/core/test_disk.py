"""Disks that fill up, cannot be written to, or have a budget."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from chittyops_core.deploy.engine import Event, EventKind
from chittyops_core.errors import ChittyOpsError
from chittyops_core.testing.load import Load
from chittyops_lite_chitty_apps import ChittyAppsOpsLite
from conftest import HostUnderTest, address_of, require_nothing_left, write_app

pytestmark = pytest.mark.host

MB = 2**20


# --- what nothing needs --------------------------------------------------------------------------


def _versions(host: HostUnderTest, app: Path, count: int, more: str = "") -> list[str]:
    """Deploy *count* releases of different code; return their ids."""
    ids = []
    for number in range(count):
        folder = write_app(app, version=str(number), more=more)
        (folder / "ballast").write_bytes(os.urandom(2 * MB))
        ids.append(host.deploy(folder)["release"])
    return ids


def test_prune_says_first_and_deletes_then(host: HostUnderTest, app: Path) -> None:
    """A dry run changes nothing; what can serve stays."""
    ids = _versions(host, app, 4, "[deploy]\nkeep = 5")
    write_app(app, version="3", more="[deploy]\nkeep = 0")
    serving = json.loads(host.run("status", "--json").stdout)["services"][0]["serving"]
    assert host.run("prune", "--yes").stdout.startswith("0 releases deleted")
    host.run("host", "start", "--disk-budget", "5M")

    dry = json.loads(host.run("prune", "--dry-run", "--json").stdout)
    kept = {path.name for path in (host.home / "services/hello.production/releases").iterdir()}
    done = host.run("prune", "--yes")

    assert [each["release"] for each in dry["releases"]] == ids[:2]
    assert (dry["bytes_after"], dry["budget"]) == (None, 5 * MB)
    assert set(ids) <= kept
    left = {path.name for path in (host.home / "services/hello.production/releases").iterdir()}
    assert left == {serving, ids[2]}
    assert "2 releases deleted" in done.stdout
    assert len(list((host.home / "artifacts").iterdir())) == 2


def test_a_deploy_keeps_the_budget_and_never_deletes_what_can_serve(
    host: HostUnderTest, app: Path
) -> None:
    """Serving and previous stay, even when they alone are more; then it says so."""
    host.run("host", "start", "--disk-budget", "1M")

    ids = _versions(host, app, 3)

    left = {path.name for path in (host.home / "services/hello.production/releases").iterdir()}
    assert left == set(ids[1:])
    folder = write_app(app, version="more")
    said = host.run("deploy", str(folder), "--yes").stderr
    assert "the disk budget is 1 MB, and all of them are needed" in said
    assert host.run("rollback", "--app", "hello", "--yes").returncode == 0


# --- disks that do not want ----------------------------------------------------------------------


@pytest.fixture
def small(shared_runtimes: Path) -> Iterator[HostUnderTest]:
    """A host on a disk of its own, of 40 MB."""
    base = Path(tempfile.mkdtemp(prefix="cd-", dir="/tmp"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40M", "chittyops-test", str(base)],
        capture_output=True, check=False,
    )  # fmt: skip
    if mounted.returncode != 0:
        base.rmdir()
        pytest.skip("a disk of its own can only be mounted by root")
    home = base / "h"
    home.mkdir(mode=0o700)
    (home / "runtime").symlink_to(shared_runtimes)
    made = HostUnderTest(home)
    yield made
    made.destroy()
    subprocess.run(["umount", "-l", str(base)], check=True)
    base.rmdir()


def _fill(host: HostUnderTest, *, but: int = 0) -> None:
    """Leave not one byte, or *but* of them."""
    (host.home.parent / "left").write_bytes(b"x" * but)
    with (host.home.parent / "filler").open("ab", buffering=0) as file:
        for size in (MB, 4096, 512, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    (host.home.parent / "left").unlink()


@pytest.mark.parametrize(("left", "remedy"), [(0, "Free some space"), (8 * MB, "chittyops prune")])
def test_a_full_disk_is_told_before_anything_is_built(
    small: HostUnderTest, app: Path, left: int, remedy: str
) -> None:
    """What serves goes on; with room again the same deploy works."""
    report = small.deploy(app)
    _fill(small, but=left)
    (app / "new.txt").write_text("so that there is something to build")

    said = small.refuse(write_app(app, version="two"))

    assert "the disk is full" in said
    assert remedy in said
    assert small.get(report) == "one"
    (small.home.parent / "filler").unlink()
    small.deploy(app)
    assert small.get(report) == "two"


@pytest.mark.parametrize("phase", ["built", "staged", "gated", "served", "drained"])
def test_a_disk_that_fills_up_in_the_middle_loses_nothing(
    small: HostUnderTest, app: Path, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    """No release and no request; with room again the next command settles it."""
    monkeypatch.setenv("CHITTYOPS_HTTP_PORT", str(small.http))
    monkeypatch.setenv("CHITTYOPS_HTTPS_PORT", str(small.https))
    report = small.deploy(app)
    two = write_app(app, version="two")

    def fill(event: Event) -> None:
        if event.kind is EventKind.STARTED and event.text == phase:
            _fill(small)

    with Load(address_of(report), pause_s=0.005) as load:
        try:
            ChittyAppsOpsLite(home=small.home, notify=fill).deploy(two)
            outcome = {"one", "two"}
        except ChittyOpsError as error:
            outcome = {"one", "two"} if phase in ("served", "drained") else {"one"}
            assert error.remedy, error
        load.wait(30)
        during = small.get(report)
        (small.home.parent / "filler").unlink()
        services = small.status()
        load.wait(30)

    assert load.tally.failed == {}, load.tally.reasons
    assert during in outcome
    assert (services[0]["health"], services[0]["unfinished"]) == ("healthy", 0)
    require_nothing_left(small, services[0]["serving"], phase)


def test_a_disk_that_turned_read_only_is_named_and_what_serves_goes_on(
    small: HostUnderTest, app: Path
) -> None:
    """As a kernel does after a disk's error: refused without a traceback, nothing is lost."""
    report = small.deploy(app)
    # By a second mount over it: the first one has files open, as no kernel would mind.
    disk = str(small.home.parent)
    subprocess.run(["mount", "--bind", disk, disk], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", disk], check=True)

    said = small.refuse(write_app(app, version="two"))

    assert "read-only" in said.lower() or "readonly" in said.lower()
    assert small.get(report) == "one"
    subprocess.run(["umount", "-l", disk], check=True)
    small.deploy(app)
    assert small.get(report) == "two"


def test_a_home_that_cannot_be_made_is_told_at_once(host: HostUnderTest, app: Path) -> None:
    """With the setting to change."""
    done = host.run("deploy", str(app), "--yes", env={"CHITTYOPS_HOME": "/proc/chittyops"})

    assert done.returncode == 1
    assert "/proc/chittyops" in done.stderr
    assert "Set CHITTYOPS_HOME to a folder of yours" in done.stderr
