"""Two services with the same code and configuration have releases of one id, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chittyops_core._kit.retry import wait_until
from chittyops_core.testing.load import Load
from conftest import HostUnderTest, address_of, write_app

pytestmark = pytest.mark.host

ENVIRONMENTS = ("production", "staging")


def test_twin_attack(host: HostUnderTest, tmp_path: Path) -> None:
    """What ends one's old release ends no process of the other, which still serves it."""
    folder = write_app(tmp_path / "hello")
    one, twin = (host.deploy(folder, "--env", each) for each in ENVIRONMENTS)
    assert one["release"] == twin["release"]
    pid = host.get(twin, "/pid")

    with Load(address_of(twin), pause_s=0.003) as load:
        host.deploy(write_app(folder, version="two"), "--env", "production")
        host.run("remove", "--app", "hello", "--env", "production", "--yes")
        load.wait(30)

    assert host.get(twin, "/pid") == pid
    assert load.tally.failed == {}, load.tally.reasons


def test_twin_of_a_killed_supervisord_attack(host: HostUnderTest, tmp_path: Path) -> None:
    """Each goes on by its own process: neither waits for the other's, and none is left over."""
    folder = write_app(tmp_path / "hello")
    reports = [host.deploy(folder, "--env", each) for each in ENVIRONMENTS]
    pids = [host.get(report, "/pid") for report in reports]
    for process in host.processes():
        if any("supervisor.supervisord" in word for word in process.cmdline()):
            process.kill()

    recovered = host.run("recover")

    assert recovered.returncode == 0, recovered.stderr
    assert [host.get(report, "/pid") for report in reports] == pids
    for process in host.processes():
        if process.pid == int(pids[0]):
            process.kill()
    assert wait_until(
        lambda: (
            {s["health"] for s in json.loads(host.run("status", "--json").stdout)["services"]}
            == {"healthy"}
        ),
        timeout_s=20,
    )
    assert host.get(reports[1], "/pid") == pids[1]
    assert host.get(reports[0], "/pid") not in pids
