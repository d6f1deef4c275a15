"""Processes of this machine, found by what their environment says."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from chittyops_core._kit.retry import wait_until

__all__ = [
    "children",
    "descendants",
    "find_marked",
    "is_in_use",
    "start_ticks",
    "is_alive",
    "end_processes",
    "unix_connections",
    "tcp_connections",
    "tcp_listeners",
]


def find_marked(marks: Mapping[str, str | None]) -> Iterator[psutil.Process]:
    """Yield every process whose environment holds all of *marks*, this one left out.

    A mark of None is a variable that is not there.
    """
    for process in psutil.process_iter():
        try:
            environ = process.environ()
        except (psutil.Error, OSError):
            continue
        if process.pid != os.getpid() and all(environ.get(k) == v for k, v in marks.items()):
            yield process


def children() -> dict[int, list[int]]:
    """Return parent's pid -> its children's, of all processes, by one look at their table."""
    found: dict[int, list[int]] = {}
    for process in psutil.process_iter(["ppid"]):
        if process.info["ppid"] is not None:
            found.setdefault(process.info["ppid"], []).append(process.pid)
    return found


def descendants(pids: Iterable[int], by_parent: Mapping[int, Sequence[int]]) -> list[int]:
    """Return all below *pids*, themselves left out; *by_parent* is what `children` gave."""
    found: list[int] = []
    left = [child for pid in pids for child in by_parent.get(pid, ())]
    while left:
        pid = left.pop()
        found.append(pid)
        left += by_parent.get(pid, ())
    return found


def is_in_use(folder: Path) -> bool:
    """Say whether any process was started from a file below *folder*."""
    prefix = f"{folder}/"
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if any(word.startswith(prefix) for word in words):
            return True
    return False


def start_ticks(pid: int) -> int | None:
    """Return when *pid* was started, in clock ticks since boot; None where that is not known.

    With the pid it names one process for ever (proc_pid_stat(5), field 22).
    """
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            # Counted behind the name, which may hold anything.
            return int(file.read().rpartition(")")[2].split()[19])
    except OSError:
        return None


def is_alive(pid: int) -> bool:
    """Say whether *pid* runs (a zombie does not)."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def end_processes(processes: Iterable[psutil.Process], *, grace_s: float) -> int:
    """Ask *processes* to end, kill those that do not within *grace_s*; return how many there were.

    A psutil process knows its start time, so a recycled pid is never signalled.
    """
    doomed = list(processes)
    for process in doomed:
        _signal(process, signal.SIGTERM)
    alive = _wait_ended(doomed, timeout_s=grace_s)
    for process in alive:
        _signal(process, signal.SIGKILL)
    _wait_ended(alive, timeout_s=5)
    return len(doomed)


def _wait_ended(processes: list[psutil.Process], *, timeout_s: float) -> list[psutil.Process]:
    """Wait at most *timeout_s* for all of *processes* to end; return those that did not.

    A zombie has ended. psutil.wait_procs waits until its parent took notice, which for a process
    that lost its own is pid 1, and in a container that may be any program that never does.
    """

    def running() -> list[psutil.Process]:
        return [process for process in processes if is_alive(process.pid) and process.is_running()]

    wait_until(lambda: not running(), timeout_s=timeout_s)
    return running()


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        pass


def unix_connections(path: str) -> int | None:
    """Return how many connections the unix socket *path* has accepted or queued.

    Linux lists a connection's server end under the listener's path, state 03 (SS_CONNECTED,
    include/uapi/linux/net.h). None where there is no such list.
    """
    try:
        with open("/proc/net/unix") as table:
            rows = [line.split() for line in table]
    except OSError:
        return None
    return sum(1 for row in rows if len(row) == 8 and row[7] == path and row[5] == "03")


def tcp_connections(port: int) -> int | None:
    """Return how many TCP connections to local *port* are established (state 01)."""
    return _tcp_sockets(port, "01")


def tcp_listeners(port: int) -> int | None:
    """Return how many sockets listen on TCP *port* (state 0A); None where there is no list."""
    return _tcp_sockets(port, "0A")


def _tcp_sockets(port: int, state: str) -> int | None:
    total = 0
    try:
        for name in ("/proc/net/tcp", "/proc/net/tcp6"):
            with open(name) as table:
                rows = [line.split() for line in table]
            suffix = f":{port:04X}"
            total += sum(1 for row in rows[1:] if row[1].endswith(suffix) and row[3] == state)
    except OSError:
        return None
    return total
