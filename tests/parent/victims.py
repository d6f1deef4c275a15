"""Processes that are killed and started again, and a hand that does it by a seed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from chittyops_core._kit.retry import wait_until

__all__ = ["Victim", "rampage"]

AT_WORK = 0.8
"""The share of kills that meet their victim at work; the others may meet it starting."""


class Victim:
    """A process that comes back after each `kill -9`, with the number of its turn.

    Args:
        start: Starts it, given how often it was killed.
        done: Returns how much it and its predecessors have done; it only grows.
        enough: How much more than before its start shows that it is at work.

    Attributes:
        kills: How often it was killed.
    """

    def __init__(
        self, start: Callable[[int], subprocess.Popen[bytes]], done: Callable[[], int],
        enough: int = 1,
    ) -> None:  # fmt: skip
        self.kills = 0
        self._start, self._done, self._enough = start, done, enough
        self._before = done()
        self._process = start(0)

    def is_at_work(self) -> bool:
        return self._done() >= self._before + self._enough

    def kill(self) -> None:
        """Kill it and all that it started, and start it again at once."""
        self.end()
        self.kills += 1
        self._before = self._done()
        self._process = self._start(self.kills)

    def end(self) -> None:
        """Kill it for good."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def rampage(deck: Sequence[Victim], seconds: float, kills: int, seed: int) -> None:
    """Kill one after the other, for so long and so many times at least.

    Args:
        deck: Who is killed; it is shuffled again whenever all had their turn. Who stands in it
            twice is killed twice as often.
        seconds: How long.
        kills: How many, spread over *seconds* by chance.
        seed: Of chance.
    """
    chance = random.Random(seed)
    ends = time.monotonic() + seconds
    turns: list[Victim] = []
    done = 0
    while time.monotonic() < ends or done < kills:
        time.sleep(chance.uniform(0.3, 1.5) * seconds / kills)
        turns = turns or chance.sample(deck, len(deck))
        victim = turns.pop()
        if chance.random() < AT_WORK:
            assert wait_until(victim.is_at_work, timeout_s=60)
        victim.kill()
        done += 1
