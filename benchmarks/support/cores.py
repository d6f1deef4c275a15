"""One core for what is measured, another for who asks it, and how much CPU each took."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

__all__ = ["LOAD_CORE", "SERVER_CORE", "busy_s", "cpu_s", "found", "running"]

SERVER_CORE, LOAD_CORE = 0, 1


def found(program: str) -> str | None:
    """Return where *program* is; servers are not always in a user's PATH."""
    return shutil.which(program, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"]))


@contextmanager
def running(
    command: Sequence[str | Path], core: int = SERVER_CORE, **more: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A process and its children on one core, ended as one afterwards."""
    more = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **more}
    words = ["taskset", "-c", str(core), *(str(word) for word in command)]
    process = subprocess.Popen(words, start_new_session=True, **more)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def cpu_s(pids: Iterable[int]) -> float:
    """Return user and system time of processes and of all their descendants, dead ones too."""
    return sum(_own_cpu_s(process) for pid in pids for process in _tree(pid))


def busy_s(core: int) -> float:
    """Return for how long *core* did anything since the machine started."""
    times = psutil.cpu_times(percpu=True)[core]
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


def _tree(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def _own_cpu_s(process: psutil.Process) -> float:
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0
