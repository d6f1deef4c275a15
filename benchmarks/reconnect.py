"""10,000 children come back after their parent was away: how many of them at once?

    python benchmarks/reconnect.py [--children 10000] [--away 600] [--speed 10] [--json FILE]
        [--strict] [--only simulation|parent]

First by simulation, in seconds of a simulated clock, by the very functions that pace a child
(`bridge/pace.py`). Then with a real parent on core 0, which is down and comes up again, and
children on core 1 that sign real requests, pace themselves by the same functions and bring what
they measured meanwhile; there time runs `--speed` times as fast. The peak is the busiest second of
the interval after the parent came back, beside the mean second of that interval.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from attrs import define, evolve, field, frozen
from machine import free_port
from support.cores import LOAD_CORE
from support.fleet import INTERVAL_S, SimulatedChild, children
from support.load import Connection
from support.parent import missing, prepare, serving

from chittyops_core.bridge import pace
from chittyops_core.bridge.pace import Rhythm
from chittyops_core.parent import schema
from chittyops_core.parent.pace import INTERVAL

GOAL = 2.0
ROWS = 15
"""Of the printed curve."""


@frozen
class Curve:
    """Requests that reached the parent, from its return on.

    Attributes:
        per_second: Second -> requests, over one interval.
        interval_s: How long that is.
        children: How many there are.
    """

    per_second: Counter[int]
    interval_s: float
    children: int

    @property
    def peak(self) -> int:
        return max(self.per_second.values(), default=0)

    @property
    def mean(self) -> float:
        return self.per_second.total() / self.interval_s

    @property
    def ratio(self) -> float:
        return self.peak / self.mean

    def show(self) -> None:
        """Print it as a small table, with what a second has at most in each span."""
        span = max(1, round(self.interval_s / ROWS))
        for start in range(0, round(self.interval_s), span):
            seconds = [self.per_second[each] for each in range(start, start + span)]
            mean = sum(seconds) / span
            print(f"  {start:4}-{start + span:<4} s  mean {mean:6.1f}/s  most {max(seconds):4}  "
                  f"{'#' * round(mean / self.mean * 20)}")  # fmt: skip
        print(f"  peak {self.peak}/s, mean {self.mean:.1f}/s: {self.ratio:.2f}x; before the "
              f"outage {self.children / self.interval_s:.1f}/s")  # fmt: skip


def main() -> None:
    chosen = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # So that no server is left.
    figures: dict[str, Any] = {}
    missed = []
    if chosen.only in (None, "simulation"):
        print(f"simulation: {chosen.children} children, away for {chosen.away} s")
        curve = simulate(chosen.children, chosen.away)
        curve.show()
        figures["simulation"] = {"peak": curve.peak, "mean": curve.mean, "ratio": curve.ratio}
        missed += [] if judge("simulation", curve) else ["simulation"]
    if chosen.only in (None, "parent"):
        with tempfile.TemporaryDirectory(prefix="chi-", dir="/tmp") as folder:
            real = measure(Path(folder), chosen.children, chosen.away, chosen.speed)
        figures["parent"] = show_real(real, chosen)
        missed += [] if judge("parent", real.curve) and real.is_sound else ["parent"]
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1))
    if chosen.strict and missed:
        sys.exit(1)


def _arguments() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--children", type=int, default=10_000)
    arguments.add_argument("--away", type=int, default=600, help="seconds that the parent is away")
    arguments.add_argument("--speed", type=float, default=10, help="of time, with a real parent")
    arguments.add_argument("--only", choices=("simulation", "parent"))
    arguments.add_argument("--json", type=Path, help="also write the figures there")
    arguments.add_argument("--strict", action="store_true", help="exit 1 when a goal is missed")
    return arguments.parse_args()


def judge(name: str, curve: Curve) -> bool:
    is_met = curve.ratio <= GOAL
    print(f"{name}: peak over mean {curve.ratio:.2f}x, goal <= {GOAL}x "
          f"{'met' if is_met else 'missed'}", flush=True)  # fmt: skip
    return is_met


# --- by simulation -----------------------------------------------------------------------------


def simulate(count: int, away_s: float) -> Curve:
    """Let children ask a parent that answers at once, but not while it is away."""
    rhythm = Rhythm()
    gone, back = 2 * rhythm.usual_s, 2 * rhythm.usual_s + away_s
    end = back + rhythm.usual_s
    names = [f"ch_{number:026d}" for number in range(count)]
    failed = [0] * count
    due = [(pace.next_aligned_s(0.0, rhythm.usual_s, name), n) for n, name in enumerate(names)]
    heapq.heapify(due)
    reached: Counter[int] = Counter()
    while due[0][0] < end:
        at, number = heapq.heappop(due)
        if gone <= at < back:
            failed[number] += 1
            wait_s = pace.backoff_s(rhythm, failed[number])
        else:
            failed[number] = 0
            wait_s = pace.next_aligned_s(at, rhythm.usual_s, names[number])
            reached[int(at - back)] += at >= back
        heapq.heappush(due, (at + wait_s, number))
    return Curve(reached, rhythm.usual_s, count)


# --- with a parent -----------------------------------------------------------------------------


@define
class Real:
    """What came of the children of a real parent.

    Attributes:
        curve: What reached it, in real seconds.
        statuses: HTTP status -> how often.
        unpaced: Answers of 500 and above without `Retry-After`.
        lost: Acknowledged samples that are not in the database.
        owed: Samples that no answer acknowledged by the end.
        samples: All that were measured.
    """

    curve: Curve
    statuses: Counter[int] = field(factory=Counter)
    unpaced: int = 0
    lost: int = 0
    owed: int = 0
    samples: int = 0

    @property
    def is_sound(self) -> bool:
        return not (self.unpaced or self.lost or self.owed)


def show_real(real: Real, chosen: argparse.Namespace) -> dict[str, Any]:
    print(f"parent: {chosen.children} children, away for {chosen.away / chosen.speed:.0f} s, time "
          f"{chosen.speed:.0f} times as fast, load average {os.getloadavg()[0]:.1f}")  # fmt: skip
    real.curve.show()
    print(f"  answers {dict(real.statuses)}, {real.unpaced} of 5xx without Retry-After; "
          f"{real.samples} samples, {real.lost} lost, {real.owed} still owed")  # fmt: skip
    return {
        "peak": real.curve.peak, "mean": real.curve.mean, "ratio": real.curve.ratio,
        "statuses": dict(real.statuses), "unpaced": real.unpaced, "lost": real.lost,
        "owed": real.owed, "samples": real.samples,
    }  # fmt: skip


def measure(folder: Path, count: int, away_s: float, speed: float) -> Real:
    """Run children before, during and after a time in which their parent is not there."""
    data, port = folder / "parent", free_port()
    fleet = children(count, int(20 * INTERVAL_S))
    database = prepare(data, fleet, None)
    rhythm = _faster(Rhythm(), speed)
    _set_interval(database, rhythm.usual_s)
    os.sched_setaffinity(0, {LOAD_CORE})
    crowd = _Crowd(port, fleet, rhythm)
    parent = {"data": data, "database": database, "port": port}
    asyncio.run(crowd.run(parent, away_s / speed))
    real = crowd.real
    real.lost = missing(database, frozenset(crowd.acked), crowd.sent)
    real.samples = len(crowd.sent)
    real.owed = len(crowd.sent) - len(crowd.acked)
    return real


def _faster(rhythm: Rhythm, speed: float) -> Rhythm:
    fields = ("usual_s", "least_s", "most_s", "urgent_s", "backlog_s", "slow_s", "first_s",
              "backoff_s")  # fmt: skip
    return evolve(rhythm, **{name: getattr(rhythm, name) / speed for name in fields})


def _set_interval(database: str, seconds: float) -> None:
    engine = sa.create_engine(database)
    with engine.begin() as connection:
        connection.execute(sa.insert(schema.setting).values(name=INTERVAL, value=str(seconds)))
    engine.dispose()


class _Crowd:
    """Children that each wait, ask and wait again.

    Attributes:
        real: What comes of them.
        sent: Number of a sample -> its child and its time.
        acked: Numbers that were acknowledged.
    """

    def __init__(self, port: int, fleet: list[SimulatedChild], rhythm: Rhythm) -> None:
        self.real = Real(Curve(Counter(), rhythm.usual_s, len(fleet)))
        self.sent: dict[int, tuple[str, int]] = {}
        self.acked: set[int] = set()
        self._url = f"http://127.0.0.1:{port}"
        self._fleet = fleet
        self._rhythm = rhythm
        self._back_at: float | None = None
        self._is_over = False

    async def run(self, parent: dict[str, Any], away_s: float) -> None:
        """Serve, be away, serve again for an interval; then until nobody owes anything."""
        with ExitStack() as stack:
            await asyncio.to_thread(stack.enter_context, serving(**parent))
            tasks = [asyncio.create_task(self._live(child)) for child in self._fleet]
            await asyncio.sleep(self._rhythm.usual_s)
            await asyncio.to_thread(stack.close)
            await asyncio.sleep(away_s)
            await asyncio.to_thread(stack.enter_context, serving(**parent))
            self._back_at = time.monotonic()
            await asyncio.sleep(self._rhythm.usual_s)
            self._is_over = True
            await asyncio.wait(tasks, timeout=3 * self._rhythm.usual_s)
            for task in tasks:
                task.cancel()

    async def _live(self, child: SimulatedChild) -> None:
        """Measure once an interval; ask when the rhythm says so; end once nothing is owed."""
        usual_s, failed = self._rhythm.usual_s, 0
        owed: list[tuple[int, int]] = []
        await asyncio.sleep(random.uniform(0, usual_s))
        measured_at = float("-inf")
        while not (self._is_over and not owed):
            now = time.monotonic()
            while not self._is_over and now - measured_at >= usual_s * 0.9:
                measured_at = max(measured_at + usual_s, now - 3 * usual_s)
                owed.append(self._measure(child))
            if not owed:
                owed.append(self._measure(child))
            answered, retry_s = await self._ask(child, owed)
            if answered:
                failed, owed = 0, []
                wait_s = pace.next_aligned_s(time.time(), usual_s, child.id)
            elif retry_s is not None:
                wait_s = pace.retry_s(self._rhythm, retry_s)
            else:
                failed += 1
                wait_s = pace.backoff_s(self._rhythm, failed)
            await asyncio.sleep(wait_s)

    def _measure(self, child: SimulatedChild) -> tuple[int, int]:
        number = len(self.sent) + 1
        child.at += 1
        self.sent[number] = (child.id, child.at)
        return number, child.at

    async def _ask(
        self, child: SimulatedChild, owed: list[tuple[int, int]]
    ) -> tuple[bool, float | None]:
        """Return whether everything was acknowledged, and what Retry-After says."""
        try:
            connection = await Connection.open(self._url)
        except OSError:
            return False, None
        if self._back_at is not None:
            second = int(time.monotonic() - self._back_at)
            if second < self._rhythm.usual_s:
                self.real.curve.per_second[second] += 1
        try:
            async with asyncio.timeout(30):
                status, headers, body = await connection.exchange(child.sync_of(owed, close=True))
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            self.real.statuses[-1] += 1
            return False, None
        finally:
            connection.close()
        self.real.statuses[status] += 1
        retry = headers.get("retry-after")
        self.real.unpaced += status >= 500 and retry is None
        if status == 200:
            acked = json.loads(body)["acked"]
            self.acked |= {number for number, _ in owed if number <= acked}
        is_done = status == 200 and acked >= owed[-1][0]
        return is_done, float(retry) if retry is not None else None


if __name__ == "__main__":
    main()
