"""`process`: what known processes use. It never lists all processes of the machine."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

import psutil

from chittyops_core.monitor.probes import checks
from chittyops_core.monitor.probes.base import Check, Deadline, LookError, Probe, Unit, Values

__all__ = ["ProcessProbe"]

_PIDS = re.compile(r"pid:([1-9][0-9]{0,9}(?:,[1-9][0-9]{0,9})*)?")


class ProcessProbe(Probe):
    """Sum up what processes use.

    The target is `pid:12,34`, or the path of a file whose first line is a pid. Who knows better
    (the agent, from Supervisor) calls `watch` before a look; `pid:` alone waits for that.
    `cpu_percent` is of one core since the last look, so the first look has none. `restarts` counts
    the processes that took the place of one that is gone, since this probe was made. Options:

    - `children`: true adds all descendants. That walks the whole process table: 5 ms a look.
    """

    kind = "process"
    default_conditions = ("processes > 0",)
    values: ClassVar[Mapping[str, Unit]] = {
        "processes": Unit.NUMBER,
        "cpu_percent": Unit.PERCENT,
        "rss": Unit.SIZE,
        "threads": Unit.NUMBER,
        "open_files": Unit.NUMBER,
        "restarts": Unit.NUMBER,
    }
    options: ClassVar[Mapping[str, Check]] = {"children": checks.flag}

    def _prepare(self, target: str) -> None:
        self._pids: tuple[int, ...] = ()
        self._file: Path | None = None
        found = _PIDS.fullmatch(target)
        if found:
            self._pids = tuple(int(pid) for pid in (found[1] or "").split(",") if pid)
        elif target.startswith("pid:"):
            raise ValueError("it should be pid:N,N,...")
        else:
            self._file = checks.path(target)
        self._others: tuple[int, ...] = ()
        self._known: dict[int, psutil.Process] = {}
        self._gone = 0
        self._restarts = 0
        self._cpu: dict[tuple[int, float], float] = {}
        self._cpu_at: float | None = None

    def watch(self, pids: Iterable[int], descendants: Iterable[int] = ()) -> None:
        """Look at *pids* from now on; what *descendants* use is added, but they are not counted."""
        self._pids = tuple(pids)
        self._others = tuple(descendants)
        self._file = None

    def _look(self, values: Values, deadline: Deadline) -> None:
        if self._file is not None:
            self._pids = (_read_pid(self._file),)
        self._find()
        values["restarts"] = self._restarts
        rss = threads = files = 0
        can_count_files = True
        cpu: dict[tuple[int, float], float] = {}
        alive = list(self._known.values())
        if self._option("children"):
            alive += _descendants(alive)
        alive += _processes(self._others)
        count = 0
        for process in alive:
            try:
                with process.oneshot():
                    if process.status() == psutil.STATUS_ZOMBIE:
                        continue
                    times = process.cpu_times()
                    cpu[process.pid, process.create_time()] = times.user + times.system
                    rss += process.memory_info().rss
                    threads += process.num_threads()
                count += process.pid not in self._others
            except psutil.NoSuchProcess:
                continue
            try:
                files += process.num_fds()
            except psutil.Error:  # another user's
                can_count_files = False
        values["processes"] = count
        values["rss"] = rss
        values["threads"] = threads
        if can_count_files:
            values["open_files"] = files
        self._add_cpu(values, cpu)
        if count == 0:
            raise LookError("no process runs")

    def _find(self) -> None:
        """Keep the processes that still run, and count those that came for one that went."""
        before = self._known
        self._known = {}
        new = 0
        for pid in self._pids:
            known = before.get(pid)
            # Compares the start times: a recycled pid is another process.
            if known is not None and known.is_running():
                self._known[pid] = known
                continue
            try:
                self._known[pid] = psutil.Process(pid)
                new += 1
            except psutil.Error:
                pass
        self._gone += sum(1 for pid, old in before.items() if self._known.get(pid) is not old)
        replaced = min(new, self._gone)
        self._gone -= replaced
        self._restarts += replaced

    def _add_cpu(self, values: Values, cpu: Mapping[tuple[int, float], float]) -> None:
        now = time.monotonic()
        if self._cpu_at is not None and now > self._cpu_at:
            # One that is new since the last look used all its time since then.
            used = sum(spent - self._cpu.get(who, 0.0) for who, spent in cpu.items())
            values["cpu_percent"] = 100 * max(0.0, used) / (now - self._cpu_at)
        self._cpu, self._cpu_at = dict(cpu), now


def _processes(pids: Iterable[int]) -> list[psutil.Process]:
    found = []
    for pid in pids:
        try:
            found.append(psutil.Process(pid))
        except psutil.Error:
            continue
    return found


def _descendants(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    found: dict[int, psutil.Process] = {}
    for process in processes:
        try:
            found |= {child.pid: child for child in process.children(recursive=True)}
        except psutil.Error:
            continue
    return [child for pid, child in found.items() if pid not in {p.pid for p in processes}]


def _read_pid(file: Path) -> int:
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            text = opened.read(64).split("\n")[0].strip()
    except OSError as error:
        raise LookError(f"the pid file {file} cannot be read: {error.strerror}") from error
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 31):
        raise LookError(f"the pid file {file} holds {text!r}, which is no pid")
    return int(text)
