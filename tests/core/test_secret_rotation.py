"""Rotating a secret: every service that uses it gets the new value through its gate, or keeps
the old one; nothing shows a value, and a crash leaves nothing half done."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from chittyops_core import Finding, Severity
from chittyops_core.deploy import plan as plans
from chittyops_core.errors import GateClosedError
from chittyops_core.host import HostClient
from chittyops_core.model.release import GateReceipt
from chittyops_core.model.service import Service
from chittyops_core.testing.load import Load
from conftest import IS_CHAOS_FULL, HostUnderTest, address_of, write_app

pytestmark = pytest.mark.host

SCRIPT = Path(__file__).with_name("rotate_killed.py")
KEY = 'KEY = { secret = "shared/key" }'
OBEYS = f"export BEHAVIOUR=$KEY; exec {sys.executable} -S serve.py # $SOCKET"
"""An app that is well or not as its secret says."""


def deploy(host: HostUnderTest, folder: Path, name: str, **more: str) -> dict[str, Any]:
    return host.deploy(write_app(folder / name, name, **{"env": KEY, **more}))


def seen_key(host: HostUnderTest, report: dict[str, Any]) -> str:
    lines = host.get(report, "/env").splitlines()
    return next(line.removeprefix("KEY=").strip("'") for line in lines if line.startswith("KEY="))


def receipt(host: HostUnderTest, release: str) -> dict[str, Any]:
    with sqlite3.connect(host.home / "journal.db") as journal:
        text = journal.execute("SELECT receipt FROM release WHERE id = ?", (release,)).fetchone()[0]
    journal.close()
    kept: dict[str, Any] = json.loads(text)
    return kept


def test_every_service_that_uses_it_is_redeployed_without_a_build(
    host: HostUnderTest, tmp_path: Path
) -> None:
    """And no other; no request is lost, the artifact stays, a dry run changes nothing."""
    host.run("secrets", "set", "shared/key", stdin="old-value-1f")
    one, two = deploy(host, tmp_path, "one"), deploy(host, tmp_path, "two")
    other = deploy(host, tmp_path, "other", env="")

    dry = host.run("secrets", "rotate", "shared/key", "--dry-run", "--json")
    before = (seen_key(host, one), len(list((host.home / "artifacts").iterdir())))
    with Load(address_of(one), pause_s=0.003) as load:
        done = host.run(
            "secrets",
            "rotate",
            "shared/key",
            "--ask",
            "--yes",
            "--json",
            "-v",
            stdin="new-value-2",
        )
        load.wait(30)

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [s["app"] for s in json.loads(dry.stdout)["services"]] == ["one", "two"]
    assert before == ("old-value-1f", len(list((host.home / "artifacts").iterdir())))
    assert report["complete"]
    assert [(s["app"], s["before"], s["value"]) for s in report["services"]] == [
        ("one", one["release"], "new"), ("two", two["release"], "new"),
    ]  # fmt: skip
    assert {s["serving"] for s in host.status()} == {
        other["release"], *(s["release"] for s in report["services"]),
    }  # fmt: skip
    assert (seen_key(host, one), seen_key(host, two)) == ("new-value-2", "new-value-2")
    assert load.tally.failed == {}, load.tally.reasons
    kept = receipt(host, report["services"][0]["release"])
    assert kept["carried_from"] == one["release"]
    first = receipt(host, one["release"])
    assert kept["findings"][: kept["preflight"]] == first["findings"][: first["preflight"]]
    assert len(kept["findings"]) > kept["preflight"] > 0
    for value in ("old-value-1f", "new-value-2"):
        assert value not in done.stdout + done.stderr + dry.stdout + dry.stderr
        assert all(value not in " ".join(p.cmdline()) for p in host.processes())
        for path in host.home.rglob("*"):
            if path.is_file() and "run" not in path.relative_to(host.home).parts:
                assert value.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("strategy", ["blue-green", "recreate"])
def test_a_service_that_is_not_well_with_it_keeps_the_old_value(
    host: HostUnderTest, tmp_path: Path, strategy: str
) -> None:
    """Also after a reboot of the host; the others have the new one, and the report names both."""
    host.run("secrets", "set", "shared/key", stdin="well")
    more = f'[health]\ntimeout = "5s"\n[deploy]\nstrategy = "{strategy}"'
    ill = deploy(host, tmp_path, "ill", command=OBEYS, more=more)
    well = deploy(host, tmp_path, "well")

    done = host.run("secrets", "rotate", "shared/key", "--ask", "--yes", "--json", stdin="die")
    now = (seen_key(host, ill), seen_key(host, well))
    host.run("host", "stop")
    host.run("host", "start")

    assert done.returncode == 1
    assert [(s["app"], s["value"]) for s in json.loads(done.stdout)["services"]] == [
        ("ill", "old"), ("well", "new"),
    ]  # fmt: skip
    assert now == ("well", "die")
    assert (seen_key(host, ill), seen_key(host, well)) == now
    assert {s["app"]: (s["serving"], s["health"]) for s in host.status()}["ill"] == (
        ill["release"], "healthy",
    )  # fmt: skip
    assert host.run("recover").stdout.strip() == "There was nothing to recover."


def test_a_rollback_over_a_rotation_brings_the_old_value_back(
    host: HostUnderTest, tmp_path: Path
) -> None:
    """Its plan says so; a revoked value is gone, and an old release then has the new one."""
    host.run("secrets", "set", "shared/key", stdin="first")
    one = deploy(host, tmp_path, "one")
    host.run("secrets", "rotate", "shared/key", "--generate", "hex64", "--yes")
    generated = seen_key(host, one)

    back = host.run("rollback", "--app", "one", "--yes")
    then = seen_key(host, one)
    host.run("secrets", "rotate", "shared/key", "--ask", "--revoke", "--yes", stdin="third")
    host.run("rollback", "--app", "one", "--yes")

    assert len(generated) == 64
    assert "has another value today" in back.stderr
    assert then == "first"
    assert seen_key(host, one) == "third"


def test_a_secret_is_generated_as_the_manifest_says(host: HostUnderTest, tmp_path: Path) -> None:
    """Without a question; --app leaves the others with the old value, and says so."""
    env = 'KEY = { secret = "shared/key", generate = "hex32" }'
    one, two = deploy(host, tmp_path, "one", env=env), deploy(host, tmp_path, "two", env=env)
    old = seen_key(host, one)

    done = host.run("secrets", "rotate", "shared/key", "--app", "one", "--yes", "--json")

    report = json.loads(done.stdout)
    assert (len(seen_key(host, one)), seen_key(host, one) == old) == (32, False)
    assert seen_key(host, two) == old
    assert (report["complete"], report["left_out"][0]["app"]) == (False, "two")


def test_forged_receipt_attack(
    host: HostUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host believes no findings about code but those that it keeps of that very code."""
    for name, value in host.environment.items():
        monkeypatch.setenv(name, value)
    host.run("secrets", "set", "shared/key", stdin="first")
    other = deploy(host, tmp_path, "one", version="other")
    one = deploy(host, tmp_path, "one")
    host.run("secrets", "set", "shared/key", stdin="second")
    service = Service("one")
    fine = Finding("cost.limits", Severity.INFO, "as far as anybody knows")

    for forge in (
        lambda held: evolve(held, carried_from=None),
        lambda held: evolve(held, findings=(fine, *held.findings[1:])),
        lambda held: evolve(held, preflight=0),
        lambda held: evolve(held, carried_from=other["release"]),
    ):
        with HostClient(host.home) as client:
            view = client.observe(service)
            plan = plans.complete(plans.draft_renewal(view, "shared/key"), view)
            held = client.receipt(service, one["release"])
            assert held is not None
            release = client.build(plan, wait=True)
            client.stage()
            honest = evolve(held, release=release, carried_from=one["release"])
            with pytest.raises(GateClosedError):
                client.serve(forge(honest))

    assert host.status()[0]["serving"] == one["release"]
    assert isinstance(honest, GateReceipt)


@pytest.mark.chaos
@pytest.mark.long
def test_kill_in_the_middle_of_a_rotation(host: HostUnderTest, tmp_path: Path) -> None:
    """Caller and host killed -9 at points all over it: the next `rotate`, or `recover`, brings
    both services to the one new value, and no third one is made."""
    host.run("secrets", "set", "shared/key", stdin="first")
    one, two = deploy(host, tmp_path, "one"), deploy(host, tmp_path, "two")
    total = len(_rotate(host, tmp_path / "all", at=-1))
    assert total >= 30

    for turn, at in enumerate(range(0, total, 5 if IS_CHAOS_FULL else 11)):
        _rotate(host, tmp_path / str(at), at=at)
        stored = (host.home / "secrets/values.json").read_text()
        words = ("recover",) if turn % 2 else ("secrets", "rotate", "shared/key", "--yes")

        done = host.run(*words)

        assert done.returncode == 0, (at, done.stderr)
        now = json.loads((host.home / "secrets/values.json").read_text())["values"]["shared/key"]
        assert "rotating" not in now, at
        assert now["sealed"] in stored, f"another value was made, killed at {at}"
        assert seen_key(host, one) == seen_key(host, two), at
        assert all((s["health"], s["unfinished"]) == ("healthy", 0) for s in host.status()), at
        apps = [p for p in host.processes() if any("serve.py" in w for w in p.cmdline())]
        assert len(apps) == 2, at


def _rotate(host: HostUnderTest, log: Path, *, at: int) -> list[str]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(host.home), "shared/key", str(at), str(log)],
        env=host.environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == (0 if at < 0 else -9), done.stderr
    return log.read_text().splitlines()
