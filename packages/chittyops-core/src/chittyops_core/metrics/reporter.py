"""Reporting to the host's agent: newline-delimited JSON over `$CHITTYOPS_SOCKET`.

    {"v":1,"type":"metrics","pid":71,"start":"9f..","end":false,"metrics":[
      {"name":"orders","kind":"counter","unit":"{order}","description":"..",
       "series":[{"labels":{"client":"acme"},"value":12.0}]},
      {"name":"checkout.duration","kind":"histogram","unit":"s","description":"..",
       "bounds":[0.1,1.0],"series":[{"labels":{},"counts":[3,1,0],"sum":0.9}]},
      {"name":"queue.length","kind":"gauge","unit":"","description":"","combine":"last",
       "series":[{"labels":{},"value":3.0,"at":1763900000.0}]}]}

    {"v":1,"ok":true}      or      {"v":1,"ok":false,"error":"why"}

Values are totals since the process began, named by (pid, start): what is sent twice counts once,
and what was lost on the way comes with the next. A line holds what changed since the agent last
said ok on this connection, and everything on a new one. Long reports take several lines.

What is lost: up to a second of what a process counted that was killed (SIGKILL), and what one
counted at its end while the agent was away.
"""

from __future__ import annotations

import atexit
import json
import logging
import math
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from chittyops_core.metrics.instruments import Cell, Instrument, Registry

__all__ = ["Reporter"]

PROTOCOL = 1
INTERVAL_S = 1.0
HEARTBEAT_S = 10.0
"""A process that counts nothing says so often that it lives."""
LAST_WORDS_S = 0.5
"""How long the end of a process may wait for an agent that hangs."""
SERIES_PER_LINE = 100
"""About 40 KiB with usual labels; the agent takes lines of 1 MiB."""
MAX_ANSWER_BYTES = 65_536

_log = logging.getLogger("chittyops.metrics")


class Reporter:
    """Sends a registry's values from a thread of its own, which starts with the first series.

    A forked child starts at zero with a reporter, a connection and a start id of its own.
    """

    _socket: socket.socket | None = None
    _is_started: bool
    _was_refused: bool
    _start: str

    def __init__(self, registry: Registry, *, interval_s: float = INTERVAL_S) -> None:
        self._registry = registry
        self._interval_s = interval_s
        self._forget()
        registry.on_series = self.start
        os.register_at_fork(after_in_child=self._forget)

    def start(self) -> None:
        """Start reporting, once in each process; nothing without `$CHITTYOPS_SOCKET`."""
        if self._is_started:
            return
        with self._lock:
            if self._is_started:
                return
            self._is_started = True
        if not os.environ.get("CHITTYOPS_SOCKET"):
            return
        try:
            threading.Thread(target=self._run, name="chittyops-metrics", daemon=True).start()
            atexit.register(self._end, os.getpid())
        except RuntimeError as error:  # No more threads, or the interpreter ends.
            _log.warning("metrics: not reported from this process: %s", error)
            return
        # multiprocessing ends its children without atexit, but runs these.
        if "multiprocessing.util" in sys.modules:
            sys.modules["multiprocessing.util"].Finalize(
                None, self._end, args=(os.getpid(),), exitpriority=0
            )

    def flush(self, *, timeout_s: float = 1.0, is_end: bool = False) -> bool:
        """Send what changed; return whether the agent has everything. Raises nothing."""
        path = os.environ.get("CHITTYOPS_SOCKET")
        if not path or not self._sending.acquire(timeout=timeout_s):
            return False
        try:
            if self._ended.is_set() and not is_end:
                return False  # What comes after the end would count as another process's.
            return self._send_all(path, time.monotonic() + timeout_s, is_end=is_end)
        except (OSError, ValueError) as error:
            _log.debug("metrics: the agent is away: %s", error)
            self._hang_up()
            return False
        finally:
            self._sending.release()

    def _run(self) -> None:
        while not self._ended.wait(self._interval_s):
            self.flush()

    def _end(self, pid: int) -> None:
        if pid == os.getpid() and not self._ended.is_set():
            self._ended.set()
            self.flush(timeout_s=LAST_WORDS_S, is_end=True)

    def _send_all(self, path: str, deadline: float, *, is_end: bool) -> bool:
        is_new = self._socket is None
        if self._socket is None:
            self._connect(path, deadline)
        is_taken = True
        sent = 0
        for metrics, marks in self._parts(everything=is_new):
            is_taken &= self._ask(metrics, deadline, is_end=False)
            if is_taken:
                for cell, changes in marks:
                    cell.sent = changes
            sent += 1
        if is_end or (not sent and time.monotonic() - self._told_at >= HEARTBEAT_S):
            is_taken &= self._ask([], deadline, is_end=is_end)
        return is_taken

    def _parts(
        self, *, everything: bool
    ) -> Iterator[tuple[list[dict[str, Any]], list[tuple[Cell, int]]]]:
        metrics: list[dict[str, Any]] = []
        marks: list[tuple[Cell, int]] = []
        for instrument in self._registry.instruments():
            changed = [
                cell for cell in instrument.cells() if everything or cell.changes != cell.sent
            ]
            while changed:
                room = SERIES_PER_LINE - len(marks)
                here, changed = changed[:room], changed[room:]
                series = []
                for cell in here:
                    with instrument.lock:
                        values, changes = _values(instrument, cell), cell.changes
                    if math.isfinite(cell.value):
                        series.append(values)
                        marks.append((cell, changes))
                metrics.append({**_head(instrument), "series": series})
                if len(marks) >= SERIES_PER_LINE:
                    yield metrics, marks
                    metrics, marks = [], []
        if marks:
            yield metrics, marks

    def _connect(self, path: str, deadline: float) -> None:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.settimeout(_left(deadline))
            made.connect(path)
        except BaseException:
            made.close()
            raise
        self._socket = made

    def _ask(self, metrics: list[dict[str, Any]], deadline: float, *, is_end: bool) -> bool:
        """Send one line and read its answer; return whether it was ok. Raises OSError."""
        assert self._socket is not None
        line = {
            "v": PROTOCOL, "type": "metrics", "pid": os.getpid(), "start": self._start,
            "end": is_end, "metrics": metrics,
        }  # fmt: skip
        self._socket.settimeout(_left(deadline))
        self._socket.sendall(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            self._socket.settimeout(_left(deadline))
            chunk = self._socket.recv(4096)
            if not chunk or len(answer) > MAX_ANSWER_BYTES:
                raise ConnectionError("the agent hung up")
            answer += chunk
        self._told_at = time.monotonic()
        said = json.loads(answer)
        if isinstance(said, dict) and said.get("ok") is True:
            return True
        if not self._was_refused:
            self._was_refused = True
            _log.warning("metrics: the agent refuses a report: %.500r", said)
        return False

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _forget(self) -> None:
        """Be a new process: the parent's connection is closed here, which does not end it there."""
        self._hang_up()
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._ended = threading.Event()
        self._is_started = False
        self._was_refused = False
        self._told_at = 0.0
        self._start = os.urandom(8).hex()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the agent takes too long")
    return left


def _head(instrument: Instrument) -> dict[str, Any]:
    head: dict[str, Any] = {
        "name": instrument.name,
        "kind": instrument.kind,
        "unit": instrument.unit,
        "description": instrument.description,
    }
    if instrument.kind == "histogram":
        head["bounds"] = instrument.bounds
    if instrument.kind == "gauge":
        head["combine"] = instrument.combine
    return head


def _values(instrument: Instrument, cell: Cell) -> dict[str, Any]:
    labels = dict(cell.labels)
    if instrument.kind == "histogram":
        return {"labels": labels, "counts": list(cell.counts), "sum": cell.value}
    if instrument.kind == "gauge":
        return {"labels": labels, "value": cell.value, "at": cell.at}
    return {"labels": labels, "value": cell.value}
