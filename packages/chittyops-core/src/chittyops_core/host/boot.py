"""What starts a host when its machine starts: a systemd unit, else a line for cron.

Either runs `CHITTYOPS_HOME/runtime/current/bin/python -I -m chittyops_core.host HOME --start`,
so nothing of the environment that wrote it; and neither names an app or a release: what served
serves again.
"""

from __future__ import annotations

import fcntl
import getpass
import os
import shlex
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chittyops_core._kit import files
from chittyops_core._kit.systemd import Systemctl, SystemctlError, quote_value, quote_word
from chittyops_core.deploy.targets.local import Layout
from chittyops_core.errors import HostError
from chittyops_core.host.protocol import BootPlan
from chittyops_core.host.runtime import current_python

__all__ = ["Boot", "CronBoot", "SystemdBoot", "boot_of"]


class Boot(ABC):
    """One way to have the host of a home started with its machine. Verbs are idempotent."""

    how: str

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def plan(self) -> BootPlan:
        """Say what `enable` would write, and what is written now."""
        return BootPlan(self.how, self.place, self.text, self.written(), self.notes)

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it is written, for a person."""

    @property
    @abstractmethod
    def text(self) -> str:
        """What is to be written."""

    @property
    @abstractmethod
    def notes(self) -> tuple[str, ...]:
        """What else has to be so, that this does not see to."""

    @abstractmethod
    def written(self) -> str | None:
        """Return what is in force now; None when nothing is."""

    @abstractmethod
    def enable(self) -> None:
        """Write it. Raises HostError."""

    @abstractmethod
    def disable(self) -> None:
        """Take it away, and nothing else; what runs goes on. Raises HostError."""

    @property
    def _command(self) -> list[str]:
        home = self._layout.home
        python = str(current_python(home))
        return [python, "-I", "-m", "chittyops_core.host", str(home), "--start"]


def boot_of(layout: Layout) -> Boot:
    """Return the way that works on this machine for this user."""
    is_user = os.geteuid() != 0
    systemctl = Systemctl(is_user)
    if systemctl.is_running:
        return SystemdBoot(layout, systemctl, _unit_folder(is_user=is_user))
    return CronBoot(layout)


def _unit_folder(*, is_user: bool) -> Path:
    """Return where units of an administrator, or a user, stand (systemd.unit(5))."""
    if not is_user:
        return Path("/etc/systemd/system")
    config = os.environ.get("XDG_CONFIG_HOME")
    return (Path(config) if config else Path.home() / ".config") / "systemd" / "user"


class SystemdBoot(Boot):
    """A unit of the system's manager for root, of the user's own otherwise."""

    how = "systemd"

    def __init__(self, layout: Layout, systemctl: Systemctl, folder: Path) -> None:
        super().__init__(layout)
        self._systemctl = systemctl
        self._file = folder / f"{layout.unit}.service"

    @property
    def place(self) -> str:
        return str(self._file)

    @property
    def text(self) -> str:
        # A user's manager knows nothing of the network; the system's has started long before.
        network = "" if self._systemctl.is_user else (
            "Wants=network-online.target\nAfter=network-online.target\n"
        )  # fmt: skip
        wanted_by = "default.target" if self._systemctl.is_user else "multi-user.target"
        command = " ".join(
            quote_word(word) for word in (f":{self._command[0]}", *self._command[1:])
        )
        return (
            "[Unit]\n"
            f"Description=ChittyOps host {quote_value(str(self._layout.home))}\n"
            f"{network}"
            "[Service]\n"
            "Type=oneshot\n"
            f"ExecStart={command}\n"
            # What it starts stays in its group, and is asked to end when the machine stops.
            "RemainAfterExit=yes\nTimeoutStopSec=60\n"
            "[Install]\n"
            f"WantedBy={wanted_by}\n"
        )

    @property
    def notes(self) -> tuple[str, ...]:
        if not self._systemctl.is_user:
            return ()
        linger = f"loginctl enable-linger {getpass.getuser()}"
        return (f"your units start with the machine and outlive your log-out only after: {linger}",)

    def written(self) -> str | None:
        try:
            text = self._file.read_text()
            self._systemctl.run("is-enabled", self._file.name)
        except (FileNotFoundError, SystemctlError):
            return None
        return text

    def enable(self) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            files.write_durably(self._file, self.text, mode=0o644)
            self._systemctl.run("daemon-reload")
            self._systemctl.run("enable", self._file.name)
        except (OSError, SystemctlError) as error:
            raise self._refused(error) from error

    def disable(self) -> None:
        if not self._file.exists():
            return
        try:
            self._systemctl.run("disable", self._file.name)
            self._file.unlink()
            self._systemctl.run("daemon-reload")
        except (OSError, SystemctlError) as error:
            raise self._refused(error) from error

    def _refused(self, error: Exception) -> HostError:
        return HostError(
            f"systemd does not take {self._file}: {error}",
            remedy="`chittyops host enable --print` prints the unit, for whoever may write it.",
        )


class CronBoot(Boot):
    """One line in the crontab of the user who owns the home."""

    how = "cron"

    @property
    def place(self) -> str:
        return f"crontab of {getpass.getuser()}"

    @property
    def text(self) -> str:
        command = " ".join(shlex.quote(word) for word in self._command)
        # Cron would mail it, and few machines of today have where to.
        errors = shlex.quote(str(self._layout.home / "boot.log"))
        return f"@reboot {command} 2>{errors}{self._mark}\n"

    @property
    def notes(self) -> tuple[str, ...]:
        return (f"cron must run; errors of a start go to {self._layout.home / 'boot.log'}",)

    def written(self) -> str | None:
        try:
            mine = [line for line in self._read() if self._is_mine(line)]
        except HostError:
            return None
        return b"".join(mine).decode(errors="replace") if mine else None

    def enable(self) -> None:
        with _one_at_a_time():
            lines = self._read()
            if [line for line in lines if self._is_mine(line)] == [os.fsencode(self.text)]:
                return
            others = [line for line in lines if not self._is_mine(line)]
            if others and not others[-1].endswith(b"\n"):
                others[-1] += b"\n"
            self._write([*others, os.fsencode(self.text)])

    def disable(self) -> None:
        with _one_at_a_time():
            if self.written() is not None:
                self._write([line for line in self._read() if not self._is_mine(line)])

    @property
    def _mark(self) -> str:
        """The end of the line: for the shell that cron runs, a comment."""
        return f" # chittyops host {shlex.quote(str(self._layout.home))}"

    def _is_mine(self, line: bytes) -> bool:
        return line.startswith(b"@reboot ") and line.rstrip(b"\n").endswith(os.fsencode(self._mark))

    def _read(self) -> list[bytes]:
        """Return the lines of the crontab, each with its end."""
        done = self._crontab("-l")
        if done.returncode == 0:
            return done.stdout.splitlines(keepends=True)
        if done.stderr.startswith(b"no crontab for"):
            return []
        raise self._refused(done.stderr)

    def _write(self, lines: list[bytes]) -> None:
        done = self._crontab("-", data=b"".join(lines)) if lines else self._crontab("-r")
        if done.returncode != 0:
            raise self._refused(done.stderr)

    def _crontab(self, word: str, *, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                ["crontab", word], input=data, capture_output=True, check=False,
                # In the words that `_read` knows.
                env={**os.environ, "LC_ALL": "C"},
            )  # fmt: skip
        except FileNotFoundError:
            raise HostError(
                "neither systemd nor cron is here to start the host with the machine",
                remedy="apt-get install cron, or have your own init system run what "
                "`chittyops host enable --print` prints behind @reboot.",
            ) from None

    def _refused(self, said: bytes) -> HostError:
        return HostError(
            f"crontab refuses: {said.decode(errors='replace').strip()}",
            remedy="`chittyops host enable --print` prints the line, for whoever may write it.",
        )


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Let no other home of this user read the crontab that this one is about to write."""
    # The lock of a directory: crontab(1) has none of its own, and no file is left behind.
    folder = os.open(Path.home(), os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
