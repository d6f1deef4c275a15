"""Commands that give secrets their values: which one an operator bound to which name, and its run.

A manifest only names secrets; nothing in it can make a host run a command. The value of the last
run lies in the store like any other, so that only a plan ever asks, and no start of a release.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

from attrs import field, frozen

from chittyops_core._kit import files, wire
from chittyops_core._kit.locks import FileLock
from chittyops_core.errors import SecretError
from chittyops_core.secrets.store import MAX_VALUE_BYTES, SecretStore, require_value

__all__ = ["Command", "Providers"]

MAX_TIMEOUT_S = 300.0
STDERR_BYTES = 4096
"""The end of what a command complains of: enough for a reason, not for a dump."""

REDACTED_MIN = 4
"""Shorter outputs are too common to be taken out of a complaint."""


@frozen
class Command:
    """How a value is asked for.

    Attributes:
        argv: The program, by its absolute path, and its arguments; no shell reads them.
        timeout_s: How long it may take, in seconds.
        env: Mapping of variable to the name of the secret that it holds; besides these it gets
            PATH, HOME and LANG.
    """

    argv: tuple[str, ...]
    timeout_s: float = 30.0
    env: Mapping[str, str] = field(factory=dict)

    @classmethod
    def of(cls, argv: Iterable[str], timeout_s: float, env: Mapping[str, str]) -> Command:
        """Return a command whose program is pinned to where it is found now.

        Raises:
            SecretError: There is no such program, or the timeout is none.
        """
        program, *rest = argv
        found = shutil.which(program)
        if found is None:
            raise SecretError(f"there is no program {program!r}", remedy="Give its whole path.")
        if not 0 < timeout_s <= MAX_TIMEOUT_S:
            raise SecretError(f"a timeout is more than 0 and at most {MAX_TIMEOUT_S:g} seconds")
        return cls((os.path.abspath(found), *rest), timeout_s, dict(env))


class Providers:
    """The commands of one host, in *folder*; what they answer goes to *store*."""

    def __init__(self, folder: Path, store: SecretStore) -> None:
        self._folder = folder
        self._store = store

    def commands(self) -> dict[str, Command]:
        """Return name -> the command that is bound to it, sorted."""
        try:
            data = json.loads(self._file.read_text())
            return {name: wire.from_wire(Command, data[name]) for name in sorted(data)}
        except FileNotFoundError:
            return {}
        except Exception as error:  # Whatever cattrs raises on a misfit.
            raise SecretError(
                f"the commands of secrets are damaged: {self._file}",
                remedy="Restore it from a backup, or delete it and set them anew.",
            ) from error

    def bind(self, name: str, command: Command) -> None:
        """Let *command* give *name* its value from now on, once it has answered.

        Raises:
            SecretError: It does not answer; nothing is changed.
        """
        value = self._ask(name, command)
        self._keep(name, value)
        self._change(name, command)

    def unbind(self, name: str) -> None:
        """Ask no more for *name*; the last value stays, as one that was set. Raises SecretError."""
        if name not in self.commands():
            raise SecretError(f"no command gives {name} its value", secret=name)
        self._change(name, None)

    def require_free(self, names: Iterable[str]) -> None:
        """Refuse to change by hand what a command gives. Raises SecretError."""
        for name in sorted(self.commands().keys() & set(names)):
            raise SecretError(
                f"a command gives {name} its value",
                remedy=f"`chittyops secrets provider unset {name}` first; its last value stays.",
                secret=name,
            )

    def refresh(self, names: Iterable[str]) -> None:
        """Ask for those of *names* that a command is bound to.

        Raises:
            SecretError: One does not answer; those before it are kept.
        """
        commands = self.commands()
        for name in sorted(commands.keys() & set(names)):
            self._keep(name, self._ask(name, commands[name]))

    def ask(self, name: str) -> str | None:
        """Return what the command of *name* answers now; None where there is none."""
        command = self.commands().get(name)
        return None if command is None else self._ask(name, command)

    # --- pieces ---

    @property
    def _file(self) -> Path:
        return self._folder / "providers.json"

    def _change(self, name: str, command: Command | None) -> None:
        lock = FileLock(self._folder / ".providers.lock")
        with lock.acquire("providers", wait=lambda _: time.sleep(0.01)):
            commands = self.commands()
            commands.pop(name, None)
            if command is not None:
                commands[name] = command
            files.write_durably(self._file, json.dumps(wire.to_wire(commands), indent=1))

    def _keep(self, name: str, value: str) -> None:
        # An equal value is no change: neither the time when it was set nor a rotation's mark.
        if self._store.compare({name: value})[name] != "same":
            self._store.set(name, value)

    def _ask(self, name: str, command: Command) -> str:
        env = {
            "PATH": f"/usr/local/bin:{os.defpath}",
            "HOME": str(Path.home()),
            "LANG": "C.UTF-8",
            **{variable: self._store.get(secret) for variable, secret in command.env.items()},
        }
        hidden = [env[variable] for variable in command.env]
        output, complaint, how = _run(command, env)
        try:
            value = output.decode().removesuffix("\n").removesuffix("\r")
            if how is None:
                return require_value(name, value)
        except (UnicodeDecodeError, SecretError) as error:
            # Not str(error): a decoding error shows bytes.
            how = how or (error.message if isinstance(error, SecretError) else "it is no UTF-8")
            value = output.decode(errors="replace")
        raise SecretError(
            f"the command for {name}, {command.argv[0]}, gives no value: {how}",
            remedy="Mend it and try again, or go on with the last value: "
            f"`chittyops secrets provider unset {name}`.",
            detail=_redact(complaint, [value, *value.split(), *hidden]),
            secret=name,
        )


def _run(command: Command, env: Mapping[str, str]) -> tuple[bytes, str, str | None]:
    """Return stdout, the end of stderr, and what went wrong, None if nothing."""
    with tempfile.TemporaryFile() as stderr:
        try:
            running = subprocess.Popen(
                command.argv, env=dict(env), cwd="/", stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=stderr, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            return b"", "", f"it does not start: {error.strerror}"
        output, how = bytearray(), None
        deadline = time.monotonic() + command.timeout_s
        try:
            _read(running, output, deadline)
            if len(output) > MAX_VALUE_BYTES + 1:
                how = f"it printed more than {MAX_VALUE_BYTES} bytes"
            elif status := running.wait(max(0.0, deadline - time.monotonic())):
                how = f"it ended with status {status}"
        except (TimeoutError, subprocess.TimeoutExpired):
            how = f"it took more than {command.timeout_s:g} s"
        finally:
            if running.returncode is None:
                _kill(running)
                running.wait()
            _close(running)
        return bytes(output), _tail(stderr), how


def _read(running: subprocess.Popen[bytes], output: bytearray, deadline: float) -> None:
    """Read into *output* to the end, or until it is too long. Raises TimeoutError.

    By a clock of its own: something else may hold the pipe open after the command was killed.
    """
    assert running.stdout is not None
    while len(output) <= MAX_VALUE_BYTES + 1:
        left_s = max(0.0, deadline - time.monotonic())
        if not select.select([running.stdout], [], [], left_s)[0]:
            raise TimeoutError
        part = os.read(running.stdout.fileno(), 1 << 16)
        if not part:
            return
        output += part


def _close(running: subprocess.Popen[bytes]) -> None:
    assert running.stdout is not None
    running.stdout.close()


def _kill(running: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(running.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def _tail(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - STDERR_BYTES))
    return file.read().decode(errors="replace")


def _redact(complaint: str, hidden: Iterable[str]) -> tuple[str, ...]:
    """Return lines of *complaint* without what the command printed and what it was given."""
    for text in sorted({h.strip() for h in hidden}, key=len, reverse=True):
        if len(text) >= REDACTED_MIN:
            complaint = complaint.replace(text, "[hidden]")
    lines = complaint.splitlines()[-20:]
    return tuple("".join(c if c.isprintable() else "?" for c in line) for line in lines)
