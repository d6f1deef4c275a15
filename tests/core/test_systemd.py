"""systemd as the process manager: its units by its own check, its systemctl by a recorder."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from chittyops_core._kit.systemd import Systemctl
from chittyops_core.cli.commands.host import start as start_command
from chittyops_core.deploy.targets.base import LogLine
from chittyops_core.deploy.targets.local import Layout, LocalTarget
from chittyops_core.deploy.targets.local.log_files import read_logs
from chittyops_core.deploy.targets.local.manager import Program, RunState
from chittyops_core.deploy.targets.local.managers import MANAGERS
from chittyops_core.deploy.targets.local.systemd import Systemd, render_unit
from chittyops_core.deploy.targets.local.target import LAUNCHER, MARK
from chittyops_core.errors import HostError, SecretError
from chittyops_core.model.service import Service
from conftest import HostUnderTest, verify_units, write_recorder

GROUP = "hello.production.0123456789abcdef"
IS_USER = os.geteuid() != 0
SCOPE = "--user " if IS_USER else ""


def no_users(service: Service, candidates: Iterable[int]) -> int:
    raise AssertionError("nothing here has a user of its own")


def no_secrets(name: str) -> str:
    raise SecretError(f"there is no secret {name}")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "a home $x $$ : é")


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """What systemctl was told."""
    yield write_recorder(tmp_path / "bin", monkeypatch)


@pytest.fixture
def manager(layout: Layout, tmp_path: Path, calls: object) -> Systemd:
    return Systemd(layout, {MARK: str(layout.home)}, folder=tmp_path / "units")


def program(layout: Layout, name: str) -> Program:
    launch = layout.run / "0123abcd" / f"01234567-{name}.json"
    argv = [sys.executable, "-I", "-S", str(LAUNCHER), str(launch)]
    return Program(name, argv, layout.home / f"{name}.log")


@pytest.mark.parametrize("is_user", [False, True])
def test_systemd_finds_nothing_wrong_with_the_units(
    layout: Layout, manager: Systemd, tmp_path: Path, is_user: bool
) -> None:
    """`systemd-analyze verify`, with names as they are; and it does find a planted mistake."""
    layout.home.mkdir()
    (tmp_path / "bin/says/is-system-running").write_text("running\n")
    (tmp_path / "bin/does/is-active").write_text("exit 3\n")
    manager.start_daemon({})
    manager.start(GROUP, [program(layout, "web.0"), program(layout, "worker.11")])
    units = sorted((tmp_path / "units").iterdir())

    assert len([unit for unit in units if unit.suffix == ".service"]) == 2
    assert verify_units(*units, is_user=is_user) == ""
    units[0].write_text(units[0].read_text().replace("Type=exec", "Type=excellent"))
    assert "excellent" in verify_units(*units, is_user=is_user)


def test_nothing_in_a_path_adds_to_a_unit(layout: Layout, tmp_path: Path) -> None:
    """unit-injection attack: specifiers, variables, quotes and line ends stay what they are."""
    hostile = 'x%h ${HOME} $USER "; \\ \n[Service]\nExecStartPre=/bin/false'
    plain = program(layout, "web.0")
    attacked = Program("web.0", [*plain.argv, hostile], tmp_path / "100%n.log")

    text = render_unit(attacked, target="x.target", marks={})

    assert len(text.splitlines()) == len(
        render_unit(plain, target="x.target", marks={}).splitlines()
    )
    command = next(line for line in text.splitlines() if line.startswith("ExecStart="))
    assert command.startswith(f'ExecStart=":{sys.executable}" ')
    assert command.endswith(r'"x%%h ${HOME} $USER \"; \\ \n[Service]\nExecStartPre=/bin/false"')
    assert f"append:{tmp_path}/100%%n.log" in text
    unit = tmp_path / "attack.service"
    unit.write_text(text)
    assert verify_units(unit, is_user=IS_USER) == ""


def test_a_group_is_started_after_systemd_read_its_units(
    layout: Layout, manager: Systemd, calls: Callable[[], list[str]]
) -> None:
    """One start for all of a group."""
    manager.start(GROUP, [program(layout, "web.0"), program(layout, "web.1")])

    names = [f"{layout.unit}-{GROUP}_web.{index}.service" for index in range(2)]
    assert calls() == [f"{SCOPE}daemon-reload", f"{SCOPE}start {' '.join(names)}"]


@pytest.mark.parametrize(("grace_s", "limit"), [(2.5, "2500ms"), (0, "1ms")])
def test_stop_tells_systemd_the_grace_and_leaves_nothing(
    layout: Layout, manager: Systemd, tmp_path: Path, grace_s: float, limit: str
) -> None:
    """No grace is not `for ever`, which is what 0 means to systemd."""
    units, seen = tmp_path / "units", tmp_path / "seen"
    manager.start(GROUP, [program(layout, "web.0")])
    manager.start("other.production.0123456789abcdef", [program(layout, "web.0")])
    (tmp_path / "bin/does/stop").write_text(f'cat "{units}"/*.d/grace.conf >"{seen}"\n')

    manager.stop(GROUP, grace_s=grace_s)
    manager.stop(GROUP, grace_s=grace_s)

    assert seen.read_text() == f"[Service]\nTimeoutStopSec={limit}\n"
    left = [path.name for path in units.iterdir()]
    assert left == [f"{layout.unit}-other.production.0123456789abcdef_web.0.service"]
    assert manager.groups() == {"other.production.0123456789abcdef"}


def test_states_are_those_that_systemd_shows(
    layout: Layout, manager: Systemd, tmp_path: Path
) -> None:
    """One that waits to be started again is dead, with why; one not loaded is none."""
    names = ["web.0", "web.1", "web.2", "web.3", "web.4"]
    programs = [program(layout, name) for name in names]
    manager.start(GROUP, programs)
    shown = [
        ("web.0", "active", "running", 41, 0, 0),
        ("web.1", "activating", "auto-restart", 0, 1, 3),
        ("web.2", "failed", "failed", 0, 2, 9),
        ("web.3", "deactivating", "stop-sigterm", 44, 0, 0),
    ]
    (tmp_path / "bin/says/show").write_text(
        "\n\n".join(
            f"MainPID={pid}\nExecMainCode={code}\nExecMainStatus={status}\n"
            f"Id={layout.unit}-{GROUP}_{name}.service\nActiveState={active}\nSubState={sub}"
            for name, active, sub, pid, code, status in shown
        )
        + "\n"
    )

    states = manager.states(GROUP, programs)

    assert {name: (s.state, s.pid) for name, s in states.items()} == {
        "web.0": (RunState.RUNNING, 41),
        "web.1": (RunState.DEAD, None),
        "web.2": (RunState.DEAD, None),
        "web.3": (RunState.STOPPED, 44),
    }
    assert states["web.1"].explanation == "exit status 3"
    assert states["web.2"].explanation == "signal 9"


def test_stopping_the_daemon_takes_away_every_unit_of_the_home(
    layout: Layout, manager: Systemd, tmp_path: Path, calls: Callable[[], list[str]]
) -> None:
    """And no unit of another home."""
    (tmp_path / "bin/says/is-system-running").write_text("running\n")
    (tmp_path / "bin/does/is-active").write_text(f'[ -e "{tmp_path}/up" ] || exit 3\n')
    assert manager.start_daemon({}) is True
    manager.start(GROUP, [program(layout, "web.0")])
    other = tmp_path / "units/chittyops-00000000-a.production.0123456789abcdef_web.0.service"
    other.write_text("")
    (tmp_path / "up").touch()
    assert manager.start_daemon({}) is False

    manager.stop_daemon(grace_s=1)

    assert list((tmp_path / "units").iterdir()) == [other]
    assert f"{SCOPE}stop {layout.unit}.target" in calls()


def test_systemd_is_refused_where_it_does_not_run(host: HostUnderTest) -> None:
    """The error says so and what works; the home stays with what it had."""
    if Systemctl(IS_USER).is_running:
        pytest.skip("systemd runs here")

    done = host.run("host", "start", "--manager", "systemd")

    assert done.returncode == 1
    assert "does not answer" in done.stderr
    assert "--manager supervisor" in done.stderr
    assert not (host.home / "host.json").exists()


@pytest.mark.host
def test_the_manager_changes_only_while_the_host_is_stopped(host: HostUnderTest, app: Path) -> None:
    """And one that was killed is no stopped one: what it ran goes on."""
    host.deploy(app)

    refused = [host.run("host", "start", "--manager", "systemd")]
    daemon = next(p for p in host.processes() if "supervisor.supervisord" in p.cmdline())
    daemon.kill()
    refused.append(host.run("host", "start", "--manager", "systemd"))

    for done in refused:
        assert done.returncode == 1
        assert "`chittyops host stop`" in done.stderr
    assert json.loads(host.run("host", "status", "--json").stdout)["manager"] == "supervisor"


def test_a_target_takes_the_manager_that_its_home_chose(
    host: HostUnderTest, tmp_path: Path, calls: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is kept beside the ports, and neither forgets the other."""
    monkeypatch.setenv("CHITTYOPS_HTTP_PORT", "7999")
    (tmp_path / "bin/says/is-system-running").write_text("degraded\n")
    (tmp_path / "bin/does/is-active").write_text("exit 3\n")
    layout = Layout.create(host.home)
    target = LocalTarget(layout, no_secrets, lambda text: None, no_users)

    target.choose_manager("systemd")
    target.edge.save_settings(target.edge.settings)

    again = LocalTarget(layout, no_secrets, lambda text: None, no_users)
    assert isinstance(again.manager, Systemd)
    assert again.edge.settings.http == 7999
    layout.settings.write_text('{"manager": "launchd"}')
    with pytest.raises(HostError, match="settings are damaged"):
        LocalTarget(layout, no_secrets, lambda text: None, no_users)


def test_the_command_line_offers_every_manager() -> None:
    """Named there without importing any."""
    option = next(p for p in start_command.params if p.name == "manager")

    assert list(option.type.choices) == list(MANAGERS)


def test_logs_are_followed_over_a_rotation(tmp_path: Path) -> None:
    """Whoever writes them, and also where a file is emptied in place."""
    log = tmp_path / "web.0.log"
    log.write_text("1\n2\n3\n")
    lines = read_logs({"web.0": log}, lines=2, follow=True)

    first = [next(lines) for _ in range(3)]
    log.write_text("4\n")

    assert first == [LogLine("web.0", "2"), LogLine("web.0", "3"), None]
    assert next(lines) == LogLine("web.0", "4")
