"""The host starts when its machine does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chittyops_core._kit import files
from chittyops_core._kit.locks import FileLock
from chittyops_core._kit.systemd import Systemctl
from chittyops_core.deploy.targets.local import Layout
from chittyops_core.errors import HostError
from chittyops_core.host.boot import CronBoot, SystemdBoot
from conftest import HostUnderTest, free_port, verify_units, write_app, write_recorder

OTHERS = b'# mine\nMAILTO=""\n\n*/5 * * * * echo 100\\% \t \n@reboot echo up # chittyops host /x\n'
CRON_ENVIRONMENT = {"HOME": "/", "LOGNAME": "root", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
"""All that cron gives a job (crontab(5))."""


def read_crontab() -> bytes:
    return subprocess.run(["crontab", "-l"], capture_output=True).stdout


def write_crontab(data: bytes) -> None:
    word = "-" if data else "-r"
    subprocess.run(["crontab", word], input=data, capture_output=True, check=bool(data))


@pytest.fixture
def crontab() -> Iterator[None]:
    """The real crontab of whoever runs this, as it was again afterwards.

    Also where a run was killed meanwhile: what it saved is given back by the next.
    """
    if shutil.which("crontab") is None:
        pytest.skip("there is no crontab here: apt-get install cron")
    if Systemctl(is_user=os.geteuid() != 0).is_running:
        pytest.skip("systemd runs here, so the host is not started by cron")
    # There is one for all runs at once.
    folder = files.ensure_private_dir(Path.home() / ".cache" / "chittyops-tests")
    saved = folder / "crontab.saved"
    with FileLock(folder / "crontab.lock").acquire("crontab", wait=lambda holder: time.sleep(0.1)):
        if not saved.exists():
            files.write_durably(saved, read_crontab())
        yield
        write_crontab(saved.read_bytes())
        saved.unlink()


@pytest.mark.host
@pytest.mark.parametrize("is_run_lost", [True, False])
def test_after_a_reboot_the_line_of_cron_brings_back_what_served(
    host: HostUnderTest, crontab: None, tmp_path: Path, is_run_lost: bool
) -> None:
    """With no environment but cron's, and nothing of the one that wrote it."""
    write_crontab(OTHERS)
    reports = [host.deploy(write_app(tmp_path / name, name)) for name in ("one", "two")]
    enabled = host.run("host", "enable", "--yes", "--json")
    assert json.loads(enabled.stdout)["enabled"] is True, enabled.stderr
    lines = [line for line in read_crontab().splitlines() if str(host.home).encode() in line]
    assert len(lines) == 1

    host.destroy()
    if is_run_lost:
        shutil.rmtree(host.home / "run")
    command = lines[0].decode().removeprefix("@reboot ")
    started = subprocess.run(["/bin/sh", "-c", command], env=CRON_ENVIRONMENT, timeout=60)

    errors = (host.home / "boot.log").read_text()
    assert started.returncode == 0, errors
    assert [host.get(report) for report in reports] == ["one", "one"]
    assert {s["health"] for s in host.status()} == {"healthy"}
    carriers = [p for p in host.processes() if not any("serve.py" in word for word in p.cmdline())]
    words = [word for p in carriers for word in p.cmdline()]
    assert words
    assert not [word for word in words if word.startswith(sys.prefix)]
    # The link may lead to another runtime tomorrow; what runs must not follow it.
    assert not [word for word in words if "/current/" in word]


@pytest.mark.host
def test_a_start_that_fails_says_why_and_exits_1(
    host: HostUnderTest, crontab: None, app: Path
) -> None:
    """Cron's line keeps what was said in the home's boot.log."""
    host.deploy(app)
    host.run("host", "stop")
    line = json.loads(host.run("host", "enable", "--yes", "--json").stdout)["text"]
    (host.home / "host.json").write_text("{")

    started = subprocess.run(
        ["/bin/sh", "-c", line.removeprefix("@reboot ")], env=CRON_ENVIRONMENT, timeout=60
    )

    assert started.returncode == 1
    assert "chittyops: the host's settings are damaged" in (host.home / "boot.log").read_text()


@pytest.mark.host
def test_enable_twice_and_disable_leave_every_other_line_as_it_was(
    host: HostUnderTest, crontab: None
) -> None:
    """Byte by byte, blanks and comments and a line that looks like ours too."""
    write_crontab(OTHERS)

    for _ in range(2):
        assert host.run("host", "enable", "--yes").returncode == 0
        line = host.run("host", "enable", "--print").stdout
        assert read_crontab() == OTHERS + line.encode()
    doctor = json.loads(host.run("doctor", "--json").stdout)["checks"]
    assert host.run("host", "disable", "--yes").returncode == 0

    assert read_crontab() == OTHERS
    assert [c["found"] for c in doctor if c["name"] == "boot"] == [
        "starts with this machine, by cron"
    ]


@pytest.mark.host
def test_enable_shows_what_it_will_write_and_asks(host: HostUnderTest, crontab: None) -> None:
    """No for an answer changes nothing, and doctor says that the host does not start."""
    write_crontab(OTHERS)

    done = host.run("host", "enable", stdin="n\n")
    doctor = json.loads(host.run("doctor", "--json").stdout)["checks"]

    assert done.returncode == 130
    assert host.run("host", "enable", "--print").stdout in done.stderr
    assert read_crontab() == OTHERS
    assert "does not start" in next(c["found"] for c in doctor if c["name"] == "boot")


@pytest.mark.host
def test_remove_all_takes_the_line_away_too(host: HostUnderTest, crontab: None, app: Path) -> None:
    """Nothing tries at every start of the machine to start what is gone."""
    write_crontab(OTHERS)
    host.deploy(app)
    host.run("host", "enable", "--yes")

    done = host.run("remove", "--all", "--yes")

    assert done.returncode == 0, done.stderr
    assert read_crontab() == OTHERS


def test_two_homes_with_alike_names_have_a_line_each(crontab: None, tmp_path: Path) -> None:
    """Attack: a home whose name ends as another's mark does is not taken for it."""
    write_crontab(b"")
    short = CronBoot(Layout(tmp_path / "a"))
    tricky = CronBoot(Layout(Path(f"/x # chittyops host {tmp_path / 'a'}")))

    tricky.enable()
    short.enable()
    short.enable()
    short.disable()

    assert read_crontab().decode() == tricky.text
    tricky.disable()
    assert read_crontab() == b""


def test_homes_that_enable_at_once_have_a_line_each(crontab: None, tmp_path: Path) -> None:
    """Each reads the whole crontab and writes it anew, so they have to wait for each other."""
    write_crontab(b"")
    boots = [CronBoot(Layout(tmp_path / str(number))) for number in range(8)]

    with ThreadPoolExecutor(len(boots)) as pool:
        list(pool.map(CronBoot.enable, boots))

    assert sorted(read_crontab().decode().splitlines(keepends=True)) == [b.text for b in boots]


def test_without_cron_and_systemd_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And looking does no harm."""
    monkeypatch.setenv("PATH", str(tmp_path))
    boot = CronBoot(Layout(tmp_path))

    assert boot.plan().written is None
    with pytest.raises(HostError, match="neither systemd nor cron") as caught:
        boot.enable()
    assert "apt-get install cron" in caught.value.remedy


@pytest.mark.parametrize("is_user", [False, True])
def test_the_boot_unit_is_one_that_systemd_takes(tmp_path: Path, is_user: bool) -> None:
    """`systemd-analyze verify` finds nothing, in a home with blanks and dollars in its name."""
    home = tmp_path / "a home $x $$ : é"
    python = home / "runtime/current/bin/python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    boot = SystemdBoot(Layout(home), Systemctl(is_user), tmp_path)
    Path(boot.place).write_text(boot.text)

    assert verify_units(Path(boot.place), is_user=is_user) == ""


def test_the_boot_unit_is_written_enabled_and_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this order systemd is told of it; what runs is not touched."""
    recorded = write_recorder(tmp_path / "bin", monkeypatch)
    boot = SystemdBoot(Layout(tmp_path / "h"), Systemctl(is_user=True), tmp_path / "units")
    name = Path(boot.place).name

    boot.enable()
    plan = boot.plan()
    boot.disable()
    boot.disable()

    assert plan.is_enabled
    assert "enable-linger" in plan.notes[0]
    assert not Path(boot.place).exists()
    assert recorded() == [
        "--user daemon-reload",
        f"--user enable {name}",
        f"--user is-enabled {name}",
        f"--user disable {name}",
        "--user daemon-reload",
    ]


@pytest.mark.host
def test_a_host_whose_link_is_lost_gets_it_back(shared_runtimes: Path, host: HostUnderTest) -> None:
    """Whatever command comes next."""
    host.run("host", "status")
    link = host.home / "runtime/current"
    name = os.readlink(link)
    host.home.joinpath("runtime").unlink()
    (host.home / "runtime").mkdir()
    (host.home / "runtime" / name).symlink_to(shared_runtimes / name)

    done = host.run("host", "status", env={"CHITTYOPS_HTTP_PORT": str(free_port())})

    assert done.returncode == 0, done.stderr
    assert os.readlink(link) == name
