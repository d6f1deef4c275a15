"""The seam to a process manager: start, stop, groups and their states, logs.

Every call but `groups` is about one group, so that a deploy costs the same however many there are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from attrs import frozen

from chittyops_core.deploy.targets.base import LogLine

__all__ = ["ProcessManager", "ProcessState", "Program", "RunState"]


@frozen
class Program:
    """One process that shall run, and again when it ends.

    Attributes:
        name: `web.0`.
        argv: What to run; no secrets.
        log: File for its output.
    """

    name: str
    argv: Sequence[str]
    log: Path


class RunState(StrEnum):
    RUNNING = "running"
    DEAD = "dead"
    """It ended by itself; the manager may be about to try again."""
    STOPPED = "stopped"


@frozen
class ProcessState:
    """What the manager knows of one process. `explanation`: how it ended, for a person."""

    state: RunState
    pid: int | None
    explanation: str


class ProcessManager(ABC):
    """Keeps groups of processes running. Verbs are idempotent."""

    @abstractmethod
    def start(self, group: str, programs: Sequence[Program]) -> None:
        """Start every program of *group* that does not run."""

    @abstractmethod
    def stop(self, group: str, *, grace_s: float) -> None:
        """End *group* (SIGTERM, SIGKILL after *grace_s*) and forget it."""

    @abstractmethod
    def groups(self) -> set[str]:
        """Return every group that was started and that `stop` has not yet taken away wholly.

        Also one that is written down but not loaded, as when the manager does not run.
        """

    @abstractmethod
    def states(self, group: str, programs: Sequence[Program]) -> Mapping[str, ProcessState]:
        """Return program's name -> state, of those of *programs* that are loaded."""

    @abstractmethod
    def logs(
        self, group: str, programs: Sequence[Program], *, lines: int, follow: bool
    ) -> Iterator[LogLine | None]:
        """Yield the last *lines* of each program, then new ones while *follow* (None: a pause)."""
