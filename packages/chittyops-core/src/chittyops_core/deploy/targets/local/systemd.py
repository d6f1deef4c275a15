"""systemd as the process manager: a unit for each process, told of by systemctl.

The units of root are the system's, those of another user the user's own. They stand where a
reboot takes them away, like the launch files that they start: what serves is for `host start` to
say, not for what was written before the machine went down. No value of a user stands in a unit.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from chittyops_core._kit import files
from chittyops_core._kit.systemd import Systemctl, SystemctlError, quote_value, quote_word
from chittyops_core.deploy.targets.local.layout import Layout
from chittyops_core.deploy.targets.local.manager import (
    ProcessManager,
    ProcessState,
    Program,
    RunState,
)
from chittyops_core.errors import HostError

__all__ = ["Systemd", "render_unit"]

SHUTDOWN_GRACE_S = 60
"""How long a machine that goes down waits for a process; `stop` says for itself how long."""

_ENDED_BY = {"2": "signal", "3": "signal"}
"""CLD_KILLED and CLD_DUMPED (waitid(2)); all else means an exit status."""

_SHOWN = "Id,ActiveState,SubState,MainPID,ExecMainCode,ExecMainStatus"


def render_unit(program: Program, *, target: str, marks: Mapping[str, str]) -> str:
    """Return the unit file of *program*.

    Args:
        program: What to keep running.
        target: Unit whose stop stops it too.
        marks: For its environment; values without line breaks.
    """
    # `:` means that no variables stand in the command (systemd.service(5), "Command lines").
    command = " ".join(quote_word(word) for word in (f":{program.argv[0]}", *program.argv[1:]))
    environment = "".join(
        f"Environment={quote_word(f'{name}={value}')}\n" for name, value in marks.items()
    )
    return (
        "[Unit]\n"
        f"Description=ChittyOps {quote_value(program.name)}\n"
        f"PartOf={target}\n"
        # Slow, not stubborn: it is tried again for ever.
        "StartLimitIntervalSec=0\n"
        "[Service]\n"
        "Type=exec\n"
        f"ExecStart={command}\n"
        f"{environment}"
        "Restart=always\nRestartSec=1\n"
        f"KillMode=control-group\nTimeoutStopSec={SHUTDOWN_GRACE_S}\n"
        "UMask=0077\n"
        f"StandardInput=null\nStandardOutput=append:{quote_value(str(program.log))}\n"
        "StandardError=inherit\n"
    )


class Systemd(ProcessManager):
    """Programs of one home, run by systemd."""

    name = "systemd"

    def __init__(
        self, layout: Layout, marks: Mapping[str, str], *, folder: Path | None = None
    ) -> None:
        """*folder* is where unit files go, if not where systemd looks for transient ones."""
        super().__init__(layout, marks)
        self._systemctl = Systemctl(is_user=os.geteuid() != 0)
        self._folder = folder or _unit_folder(is_user=self._systemctl.is_user)

    # --- the daemon: a target of the home, active while the host is started ---

    def require(self) -> None:
        if not self._systemctl.is_running:
            whose = "of this user " if self._systemctl.is_user else ""
            raise HostError(
                f"the systemd {whose}does not answer here, so it can keep no processes",
                remedy="`chittyops host start --manager supervisor` works without it"
                + (", and a login of that user may be missing." if whose else "."),
            )

    @property
    def pid(self) -> int | None:
        try:
            self._systemctl.run("is-active", self._target)
            if not self._systemctl.is_user:
                return 1
            manager = f"user@{os.geteuid()}.service"
            return int(Systemctl(is_user=False).run("show", "--value", "-p", "MainPID", manager))
        except SystemctlError:
            return None

    @property
    def was_killed(self) -> bool:
        # It lives as long as the machine, or the user's session, and all that it runs with it.
        return False

    @property
    def runtime(self) -> str | None:
        return None  # Its own is the machine's.

    def abandon(self) -> None:
        raise HostError(
            "systemd keeps the processes of this host, and does not hand them over",
            remedy="`chittyops host stop`, then `chittyops host start` by the newer version.",
        )

    def start_daemon(self, groups: Mapping[str, Sequence[Program]]) -> bool:
        if self.pid is not None:
            return False
        self.require()
        self._write(self._target, f"[Unit]\nDescription=ChittyOps host {self._layout.unit}\n")
        self._tell("daemon-reload")
        self._tell("start", self._target)
        for group, programs in groups.items():
            self.start(group, programs)
        return True

    def stop_daemon(self, *, grace_s: float) -> None:
        for group in self.groups():
            self.stop(group, grace_s=grace_s)
        if (self._folder / self._target).exists():
            self._tell_if_running("stop", self._target)
            (self._folder / self._target).unlink()
            self._tell_if_running("daemon-reload")

    # --- groups ---

    def start(self, group: str, programs: Sequence[Program]) -> None:
        for program in programs:
            unit = self._unit(group, program.name)
            files.remove_tree(self._grace(unit))
            self._write(unit, render_unit(program, target=self._target, marks=self._marks))
        self._tell("daemon-reload")
        self._tell("start", *(self._unit(group, program.name) for program in programs))

    def stop(self, group: str, *, grace_s: float) -> None:
        units = [path.name for path in self._files(group)]
        if not units:
            return
        for unit in units:
            # 0 would mean for ever.
            limit = f"[Service]\nTimeoutStopSec={max(1, round(grace_s * 1000))}ms\n"
            self._write(f"{unit}.d/grace.conf", limit)
        self._tell_if_running("daemon-reload")
        self._tell_if_running("stop", *units, timeout_s=None)
        # One that was killed has failed, and is remembered as such.
        with suppress(SystemctlError):
            self._systemctl.run("reset-failed", *units)
        for unit in units:
            files.remove_tree(self._grace(unit))
            (self._folder / unit).unlink(missing_ok=True)
        self._tell_if_running("daemon-reload")

    def groups(self) -> set[str]:
        return {self._parse(path.name)[0] for path in self._files("*")}

    def states(self, group: str, programs: Sequence[Program]) -> Mapping[str, ProcessState]:
        units = {self._unit(group, program.name): program.name for program in programs}
        known = {path.name for path in self._files(group)}
        try:
            shown = self._systemctl.run("show", f"--property={_SHOWN}", *units)
        except SystemctlError:
            return {}
        # systemctl shows a unit that there is not as one that was stopped.
        states = dict(_read_states(shown))
        return {name: states[unit] for unit, name in units.items() if unit in states.keys() & known}

    def pids(self) -> Mapping[str, Sequence[int]]:
        units = [path.name for path in self._files("*")]
        if not units:
            return {}
        try:
            shown = self._systemctl.run("show", f"--property={_SHOWN}", *units)
        except SystemctlError:
            return {}
        found: dict[str, list[int]] = {}
        for unit, state in _read_states(shown):
            if state.pid is not None:
                found.setdefault(self._parse(unit)[0], []).append(state.pid)
        return found

    # --- pieces ---

    @property
    def _target(self) -> str:
        return f"{self._layout.unit}.target"

    def _unit(self, group: str, program: str) -> str:
        # No name has an underscore in it; a colon would be an alias to `systemd-analyze verify`.
        return f"{self._layout.unit}-{group}_{program}.service"

    def _parse(self, unit: str) -> tuple[str, str]:
        """Return group and program of a unit's name."""
        name = unit.removeprefix(f"{self._layout.unit}-").removesuffix(".service")
        group, _, program = name.partition("_")
        return group, program

    def _files(self, group: str) -> Sequence[Path]:
        return sorted(self._folder.glob(self._unit(group, "*")))

    def _grace(self, unit: str) -> Path:
        return self._folder / f"{unit}.d"

    def _write(self, name: str, text: str) -> None:
        path = self._folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_durably(path, text, mode=0o644)
        except OSError as error:
            raise HostError(
                f"cannot write the unit {path}: {error.strerror}",
                remedy="`chittyops host start --manager supervisor` works without systemd.",
            ) from error

    def _tell(self, *words: str, timeout_s: float | None = 60) -> None:
        try:
            self._systemctl.run(*words, timeout_s=timeout_s)
        except SystemctlError as error:
            raise HostError(
                f"systemctl {' '.join(words)}: {error}",
                remedy="`systemctl status` and `journalctl` say more; `chittyops recover` goes on.",
            ) from error

    def _tell_if_running(self, *words: str, timeout_s: float | None = 60) -> None:
        """Tell systemd; where it does not run, neither does anything that it kept."""
        try:
            self._tell(*words, timeout_s=timeout_s)
        except HostError:
            if self._systemctl.is_running:
                raise


def _unit_folder(*, is_user: bool) -> Path:
    """Return where units stand until a reboot (systemd.unit(5), "Unit File Load Path")."""
    if not is_user:
        return Path("/run/systemd/system")
    runtime = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.geteuid()}")
    return Path(runtime) / "systemd" / "user"


def _read_states(shown: str) -> Iterator[tuple[str, ProcessState]]:
    """Yield each service that `systemctl show` printed: one a paragraph, KEY=VALUE a line."""
    for paragraph in shown.split("\n\n"):
        facts = dict(line.split("=", 1) for line in paragraph.splitlines() if "=" in line)
        if facts.get("Id", "").endswith(".service"):
            yield facts["Id"], _state(facts)


def _state(facts: Mapping[str, str]) -> ProcessState:
    pid = int(facts["MainPID"]) or None
    active = facts["ActiveState"]
    if active == "failed" or facts["SubState"] == "auto-restart":
        how = _ENDED_BY.get(facts["ExecMainCode"], "exit status")
        return ProcessState(RunState.DEAD, pid, f"{how} {facts['ExecMainStatus']}")
    if active in ("active", "activating", "reloading"):
        return ProcessState(RunState.RUNNING, pid, "it runs")
    return ProcessState(RunState.STOPPED, pid, "it was stopped")
