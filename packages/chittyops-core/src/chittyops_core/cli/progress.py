"""Progress on stderr: a live line per phase on a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Self

import click

from chittyops_core.deploy.engine import Event, EventKind

__all__ = ["Progress"]

_DOING = {
    "built": "building",
    "staged": "starting",
    "gated": "checking health",
    "served": "switching",
    "soaked": "watching",
    "drained": "draining",
}


class Progress:
    """Shows events as they come; a context manager that leaves a clean line behind."""

    def __init__(self, *, verbose: bool = False) -> None:
        self._verbose = verbose
        self._is_live = sys.stderr.isatty()
        self._doing = ""
        self._step = ""
        self._since = 0.0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._is_live:
            self._thread = threading.Thread(target=self._tick, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            self._clear()

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._clear()
            if event.kind is EventKind.STARTED:
                self._doing = _DOING.get(event.text, event.text)
                self._step, self._since = "", time.monotonic()
            elif event.kind is EventKind.REACHED and event.seconds is not None:
                click.echo(f"  {event.text:<8} {event.seconds:7.2f} s", err=True)
                self._doing = ""
            elif event.kind is EventKind.NOTE:
                click.echo(f"  note: {event.text}", err=True)
            elif event.kind is EventKind.STEP:
                self._step = event.text
                if self._verbose:
                    click.echo(f"    {event.text}", err=True)

    def _tick(self) -> None:
        while not self._stop.wait(0.1):
            with self._lock:
                if self._doing:
                    self._clear()
                    seconds = time.monotonic() - self._since
                    line = f"  {self._doing} {seconds:.1f} s  {self._step}"
                    click.echo(line[:78], nl=False, err=True)

    def _clear(self) -> None:
        if self._is_live:
            click.echo("\r\033[K", nl=False, err=True)
