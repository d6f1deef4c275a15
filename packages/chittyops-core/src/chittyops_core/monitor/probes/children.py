"""Running a program for a look: bounded in time and output, and nothing of it left behind."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import frozen

from chittyops_core.monitor.probes.base import Deadline, LookError

__all__ = ["Children", "Done", "clean_environment"]

MAX_OUTPUT_BYTES = 4096
"""Of the output the end is kept: that is where a program says what is wrong."""

_PASSED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME", "TMPDIR")
"""What a program gets of the agent's environment, which may hold tokens."""


@frozen
class Done:
    """How a program ended.

    Attributes:
        status: Its exit status; minus the signal's number when one ended it.
        output: The end of what it wrote to both standard output and standard error.
    """

    status: int
    output: str


def clean_environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a program: the few usual names, and *more*."""
    return {name: os.environ[name] for name in _PASSED if name in os.environ} | dict(more)


class Children:
    """Runs one program at a time; `close` from another thread ends it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: subprocess.Popen[bytes] | None = None
        self._is_closed = False

    def run(
        self,
        words: Sequence[str],
        deadline: Deadline,
        *,
        environment: Mapping[str, str],
        folder: Path | None = None,
        pass_fds: tuple[int, ...] = (),
    ) -> Done:
        """Run *words* in a process group of their own; kill the whole group at the end.

        What it has put into the background goes with it, whether it ended by itself or not.

        Raises:
            LookError: It cannot be started, or `close` was called.
            TimeoutError: It did not end before *deadline*; the text holds its last line.
        """
        with self._lock:
            if self._is_closed:
                raise LookError("the probe is closed")
            try:
                child = self._running = subprocess.Popen(
                    words, cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
                    pass_fds=pass_fds,
                )  # fmt: skip
            except OSError as error:
                raise LookError(
                    f"{words[0]} cannot be started: {error.strerror}: {error.filename}"
                ) from error
        output = bytearray()
        try:
            has_ended = _follow(child, output, deadline)
        finally:
            with self._lock:
                _kill_group(child)
                child.wait()
                self._running = None
            assert child.stdout is not None
            child.stdout.close()
        text = output.decode("utf-8", errors="replace").strip()
        if not has_ended:
            last = f" (it last said: {text.splitlines()[-1][:200]})" if text else ""
            raise TimeoutError(f"{words[0]} did not end{last}")
        return Done(child.returncode, text)

    def close(self) -> None:
        """End what runs, and start nothing more."""
        with self._lock:
            self._is_closed = True
            if self._running is not None:
                _kill_group(self._running)


def _follow(child: subprocess.Popen[bytes], output: bytearray, deadline: Deadline) -> bool:
    """Read *child*'s output until it ends; say whether it did before *deadline*.

    The child is not reaped here, so that its pid still names its group afterwards.
    """
    assert child.stdout is not None
    pipe = child.stdout.fileno()
    os.set_blocking(pipe, False)
    pidfd = os.pidfd_open(child.pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            selector.register(pidfd, selectors.EVENT_READ)
            while True:
                try:
                    ready = {key.fd for key, _ in selector.select(deadline.left())}
                except TimeoutError:
                    return False
                if pipe in ready and not _drain(pipe, output):
                    selector.unregister(pipe)
                if pidfd in ready:
                    _drain(pipe, output)
                    return True
    finally:
        os.close(pidfd)


def _drain(pipe: int, output: bytearray) -> bool:
    """Take what is in *pipe*, at most 1 MiB at once; False at its end."""
    for _ in range(16):
        try:
            data = os.read(pipe, 65536)
        except BlockingIOError:
            return True
        if not data:
            return False
        output += data
        del output[:-MAX_OUTPUT_BYTES]
    return True


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    if child.returncode is None:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
