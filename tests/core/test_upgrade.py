"""Host runtimes: whose serves, how it is renewed, and what becomes of old ones."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from chittyops_core.host.runtime import _order
from chittyops_core.testing.load import Load
from conftest import COMMAND, HostUnderTest, address_of, make_host, write_app

PACKAGES = Path(__file__).parents[2] / "packages"
NEWER = "0.1.9"


@pytest.mark.parametrize(
    ("older", "newer"),
    [("0.1.0", "0.1.1"), ("0.9.9", "0.10.0"), ("0.2.0rc1", "0.2.0"), ("0.1", "0.1.0.1")],
)
def test_versions_have_their_order(older: str, newer: str) -> None:
    """By numbers, not by letters; what leads to a version comes before it."""
    assert _order(older) < _order(newer)


@pytest.fixture(scope="session")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `chittyops` command of an environment with a newer core, installed from its wheel.

    Its dependencies are those of this environment, which it sees behind its own packages.
    """
    base = tmp_path_factory.mktemp("newer")
    wheels = base / "wheels"
    for name in ("chittyops-core", "chittyops-lite-chitty-apps"):
        source = base / name
        shutil.copytree(PACKAGES / name, source, ignore=shutil.ignore_patterns("__pycache__"))
        if name == "chittyops-core":
            project = source / "pyproject.toml"
            text = project.read_text()
            project.write_text(text.replace('version = "0.1.0"', f'version = "{NEWER}"', 1))
            assert NEWER in project.read_text()
        subprocess.run(
            [sys.executable, "-m", "build", "--no-isolation", "-w", "--outdir", wheels, source],
            check=True, capture_output=True,
        )  # fmt: skip
    venv = base / "venv"
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, venv], check=True)
    subprocess.run(
        [uv, "pip", "install", "-q", "--no-deps", "--python", venv, *wheels.iterdir()], check=True
    )
    packages = next((venv / "lib").glob("python*/site-packages"))
    (packages / "behind.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return venv / "bin" / "chittyops"


@pytest.fixture
def lone(tmp_path: Path):
    """A host whose runtimes are its own."""
    runtimes = tmp_path / "runtimes"
    runtimes.mkdir()
    made = make_host(runtimes)
    yield made
    made.destroy()
    shutil.rmtree(made.home.parent)


def run(host: HostUnderTest, command: Path, *words: str, **env: str) -> str:
    done = subprocess.run(
        [command, *words], env={**host.environment, **env}, capture_output=True, text=True,
        timeout=120, cwd=host.home.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def status(host: HostUnderTest, command: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads(run(host, command, "host", "status", "--json"))
    return found


@pytest.mark.host
def test_an_older_caller_works_on_through_the_newest_runtime(
    lone: HostUnderTest, app: Path, newer: Path
) -> None:
    """Two repositories with different versions on one host: neither undoes the other's."""
    lone.deploy(app)
    first = status(lone, COMMAND)
    run(lone, newer, "deploy", str(write_app(app, version="two")), "--yes")
    after = status(lone, COMMAND)

    report = lone.deploy(write_app(app, version="three"))

    assert lone.get(report) == "three"
    assert NEWER in Path(after["runtime"]).name
    assert after["running"] == first["runtime"] != after["runtime"]
    assert "host upgrade" in run(lone, COMMAND, "host", "status")
    run(lone, COMMAND, "rollback", "--app", "hello", "--yes")
    assert lone.get(report) == "two"


@pytest.mark.host
def test_an_upgrade_loses_no_request_where_caddy_is_the_same(
    lone: HostUnderTest, app: Path, newer: Path
) -> None:
    """What serves goes on under the new supervisord; the old runtime goes once nothing uses it."""
    report = lone.deploy(app)
    old = status(lone, COMMAND)["runtime"]
    run(lone, newer, "status")

    with Load(address_of(report), pause_s=0.002) as load:
        said = run(lone, newer, "host", "upgrade")
        load.wait(200)

    assert load.tally.failed == {}, load.tally.reasons
    assert "the edge went on with the same Caddy" in said
    now = status(lone, COMMAND)
    assert now["running"] == now["runtime"]
    run(lone, newer, "deploy", str(write_app(app, version="two")), "--yes")
    assert lone.get(report) == "two"
    assert lone.status()[0]["health"] == "healthy"
    run(lone, newer, "host", "stop")
    run(lone, newer, "host", "start")
    run(lone, newer, "prune", "--yes")
    assert not Path(old).exists()
    assert "nothing to do" in run(lone, newer, "host", "upgrade")


@pytest.mark.host
def test_an_upgrade_to_another_caddy_says_what_the_edge_had(
    lone: HostUnderTest, app: Path, newer: Path, tmp_path: Path
) -> None:
    """Both listen for a moment: new connections always find one."""
    report = lone.deploy(app)
    other = tmp_path / "caddy"
    shutil.copy(Path(sys.executable).with_name("caddy"), other)
    with other.open("ab") as file:
        file.write(b"\0")
    run(lone, newer, "status")

    with Load(address_of(report), pause_s=0.002) as load:
        said = run(lone, newer, "host", "upgrade", CHITTYOPS_CADDY=str(other))
        load.wait(200)

    print(f"{load.tally.failed.total()} of {load.tally.total} lost: {dict(load.tally.reasons)}")
    assert "another Caddy took over; the edge had" in said
    refused = [why for why in load.tally.reasons if "Refused" in why or "HTTP" in why]
    assert refused == []
    edges = [p for p in lone.processes() if p.exe() == str(other)]
    assert len(edges) == 1
    assert lone.status()[0]["health"] == "healthy"
    run(lone, newer, "deploy", str(write_app(app, version="two")), "--yes")
    assert lone.get(report) == "two"


@pytest.mark.host
def test_a_callers_environment_can_be_deleted(lone: HostUnderTest, app: Path, newer: Path) -> None:
    """Nothing that runs comes from there; another caller goes on with it."""
    copy = lone.home.parent / "venv"
    shutil.copytree(newer.parents[1], copy, symlinks=True)
    command = copy / "bin" / "chittyops"
    command.write_text(command.read_text().replace(str(newer.parents[1]), str(copy)))
    run(lone, command, "deploy", str(app), "--yes")
    shutil.rmtree(copy)

    report = lone.deploy(write_app(app, version="two"))

    assert lone.get(report) == "two"
    assert not os.path.lexists(copy)
