"""Processes that are killed and started again, and a hand that does it by a seed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

__all__ = ["Victim", "rampage"]


class Victim:
    """A process that comes back after each `kill -9`, with the number of its turn.

    Attributes:
        kills: How often it was killed.
    """

    def __init__(self, start: Callable[[int], subprocess.Popen[bytes]]) -> None:
        self.kills = 0
        self._start = start
        self._process = start(0)

    def kill(self) -> None:
        """Kill it and all that it started, and start it again at once."""
        self.end()
        self.kills += 1
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
        turns.pop().kill()
        done += 1
