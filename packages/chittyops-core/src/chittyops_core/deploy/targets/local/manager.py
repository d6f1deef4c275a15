"""The seam to a process manager: its daemon, and start, stop, groups and their states.

Every call but `groups` is about one group, so that a deploy costs the same however many there are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from attrs import frozen

from chittyops_core.deploy.targets.local.layout import Layout

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
    """Keeps groups of processes of one home running. Verbs are idempotent.

    The daemon is what does so: a program that this starts, or a part of the system that is told
    of the home.
    """

    name: str

    def __init__(self, layout: Layout, marks: Mapping[str, str]) -> None:
        """*marks* are put in the environment of all it starts, so that it can be found."""
        self._layout = layout
        self._marks = dict(marks)

    # --- the daemon ---

    @abstractmethod
    def require(self) -> None:
        """Raises HostError where this manager cannot work on this machine."""

    @property
    @abstractmethod
    def pid(self) -> int | None:
        """The pid of a daemon that answers and keeps this home; None after `stop_daemon`."""

    @property
    @abstractmethod
    def was_killed(self) -> bool:
        """Whether the daemon ended without being stopped, so that it should be started again."""

    @property
    @abstractmethod
    def runtime(self) -> str | None:
        """The environment that the daemon runs from; None when it does not run or has none."""

    @abstractmethod
    def abandon(self) -> None:
        """End the daemon alone, so that all that it started goes on. Raises HostError."""

    @abstractmethod
    def start_daemon(self, groups: Mapping[str, Sequence[Program]]) -> bool:
        """Start the daemon with *groups* unless it answers; say whether it was started.

        All at once, where a `start` for each would ask for each again.

        Raises:
            HostError: It does not come up.
        """

    @abstractmethod
    def stop_daemon(self, *, grace_s: float) -> None:
        """Stop every group as `stop` does, then the daemon; leave nothing of either."""

    # --- groups ---

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
    def pids(self) -> Mapping[str, Sequence[int]]:
        """Return group -> the processes that run of it, of all groups by one question."""
