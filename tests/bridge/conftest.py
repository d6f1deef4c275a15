"""A child that is enrolled with a parent of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge.parent_double import ParentDouble
from chittyops_core.bridge.enrol import enrol
from chittyops_core.bridge.loop import ParentBridge, Report
from chittyops_core.bridge.outbox import Outbox
from chittyops_core.bridge.pace import Rhythm

QUICK = Rhythm(
    usual_s=0.2, least_s=0.05, most_s=5.0, urgent_s=0.3, backlog_s=0.02, slow_s=0.4, first_s=0.02,
    backoff_s=0.1,
)  # fmt: skip
"""The bounds of the pace, some hundred times quicker."""


@pytest.fixture
def parent() -> Iterator[ParentDouble]:
    made = ParentDouble()
    yield made
    made.close()


class Child:
    """A bridge in a thread, and an outbox beside it as another process would have."""

    def __init__(self, folder: Path, rhythm: Rhythm = QUICK) -> None:
        self.folder = folder
        self.rhythm = rhythm
        self.report: Callable[[], Report] = lambda: Report(
            {"health": {"status": "operational"}, "inventory": {"host": {}, "services": {}}},
            {"load": 0.5, "memory": None},
        )
        self.outbox = Outbox(folder / "outbox.db")
        self.stop = threading.Event()
        self.bridge: ParentBridge | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self.stop = threading.Event()
        self.bridge = ParentBridge(self.folder, lambda: self.report(), rhythm=self.rhythm)
        self._thread = threading.Thread(target=self.bridge.run, args=(self.stop,))
        self._thread.start()

    def end(self) -> float:
        """Stop it; return the seconds that took."""
        began = time.monotonic()
        self.stop.set()
        if self.bridge is not None and self._thread is not None:
            self.bridge.wake()
            self._thread.join()
            self._thread = None
        return time.monotonic() - began


@pytest.fixture
def folder(tmp_path: Path, parent: ParentDouble) -> Path:
    """The bridge's folder of an accepted child."""
    made = tmp_path / "bridge"
    enrol(made, parent.url, parent.token, "host-1", {"hostname": "host-1"})
    return made


@pytest.fixture
def child(folder: Path) -> Iterator[Child]:
    made = Child(folder)
    yield made
    made.end()
    made.outbox.close()
