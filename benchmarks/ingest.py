"""Durable signed syncs a second and core, beside healthchecks, VictoriaMetrics and Pushgateway.

    python benchmarks/ingest.py [--only ROW ...] [--seconds 8] [--json FILE] [--strict]
        [--healthchecks REPOSITORY] [--victoria-metrics PROGRAM] [--pushgateway PROGRAM]

A server and its database share core 0, the load has core 1. Requests are made and signed before
the clock starts, and each is sent once; afterwards everything that was acknowledged is looked up
in the database. What a core can do is told by the CPU time of server and database a request, so
that other work on the machine disturbs it little. See docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from itertools import count, islice
from pathlib import Path
from typing import Any

from attrs import define, field
from support.cores import found
from support.fleet import INTERVAL_S, Numbered, children
from support.load import closed_loop, open_loop, wire_bytes
from support.parent import missing, prepare, serving
from support.postgresql import PostgreSQL, postgresql, programs
from support.receivers import LeftOut, Receiver, healthchecks, pushgateway, victoria_metrics

from monitor import certificate

FLEET = 2_000
"""Children that take turns; in larger fleets so many of all."""
RATE, RATE_S = 333, 10
"""Syncs a second of 100,000 children that ask every 300 s, and for how long."""
MOST_PER_S = 6_000
"""So many signed requests are prepared for a second of load, and sent until they are used up."""
WARM_UP = 2 * FLEET
"""Requests before the clock starts, so that the parent has met every child."""
SIZES = (100, 1_000, 10_000, 100_000)
GOALS = {"healthchecks": 20.0, "victoria-metrics": 0.25}

Stream = Callable[[int], Iterator[bytes]]
"""Gives so many requests that were not sent before."""


@define
class Run:
    """One run of the benchmark: where it works, what was chosen, and what came of it."""

    folder: Path
    chosen: argparse.Namespace
    stack: ExitStack
    figures: dict[str, Any] = field(factory=dict)
    missed: list[str] = field(factory=list)
    _database: PostgreSQL | None = None

    def fresh(self, name: str) -> Path:
        """Return an empty folder of that name."""
        made = self.folder / name
        made.mkdir()
        return made

    def postgresql(self) -> PostgreSQL:
        """Return the one server of this run, started when it is first asked for."""
        if programs() is None:
            raise LeftOut("PostgreSQL is not installed: apt-get install postgresql")
        if self._database is None:
            self._database = self.stack.enter_context(postgresql(self.folder / "postgresql"))
        return self._database

    def tls(self) -> tuple[Path, Path]:
        """Return a certificate and its key, of this run's own."""
        if not (self.folder / "cert.pem").exists():
            certificate(self.folder)
        return self.folder / "cert.pem", self.folder / "key.pem"

    def judge(self, words: str, is_met: bool) -> None:
        """Print a goal and whether it is met."""
        print(f"{words} {'met' if is_met else 'missed'}", flush=True)
        if not is_met:
            self.missed.append(words)


def main() -> None:
    chosen = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # So that no server is left.
    if found("wrk") is None:
        sys.exit("wrk is not installed: apt-get install wrk")
    with tempfile.TemporaryDirectory(prefix="chi-", dir="/tmp") as folder, ExitStack() as stack:
        Path(folder).chmod(0o711)  # PostgreSQL is another OS user where this one is root.
        run = Run(Path(folder), chosen, stack)
        print(HEAD, flush=True)
        for name in chosen.only or ROWS:
            try:
                ROWS[name](run)
            except LeftOut as why:
                print(f"{name:28} {why}", flush=True)
                run.figures[name] = {"missing": str(why)}
        compare(run)
    if chosen.json:
        chosen.json.write_text(json.dumps(run.figures, indent=1))
    if chosen.strict and run.missed:
        sys.exit(1)


def _arguments() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--only", action="append", choices=ROWS, help="measure this row only")
    arguments.add_argument("--seconds", type=int, default=8, help="of full load for each row")
    arguments.add_argument("--healthchecks", help="its repository: a folder or an address")
    arguments.add_argument("--victoria-metrics", help="its program, where it is not in PATH")
    arguments.add_argument("--pushgateway", help="its program, where it is not in PATH")
    arguments.add_argument("--json", type=Path, help="also write the figures there")
    arguments.add_argument("--strict", action="store_true", help="exit 1 when a goal is missed")
    return arguments.parse_args()


# --- rows --------------------------------------------------------------------------------------


def ours_on_sqlite(run: Run) -> None:
    ours(run, "sqlite", None)


def ours_on_postgresql(run: Run) -> None:
    ours(run, "postgresql", run.postgresql())


def ours(run: Run, name: str, server: PostgreSQL | None) -> None:
    """Ask a parent on kept connections, then by a new TLS connection each; look for all of it."""
    data = run.fresh(f"parent-{name}")
    fleet = Numbered(children(FLEET, 100 * INTERVAL_S))
    database = prepare(data, fleet.children, server, name)
    acked: set[int] = set()
    for way, tls, close in (("kept", None, False), ("new TLS", run.tls(), True)):
        with serving(data, database, server, tls) as parent:
            stream = lambda size, close=close: fleet.requests(size, close=close)  # noqa: E731
            acked |= load(run, f"{name}, {way}", parent.url, parent.pids, stream)
    lost = missing(database, frozenset(acked), fleet.sent)
    run.figures[f"{name}, lost"] = lost
    run.judge(f"{name}: {len(acked)} acknowledged, {lost} of them not stored", lost == 0)


def healthchecks_on_postgresql(run: Run) -> None:
    folder = run.fresh("healthchecks")
    peer(run, "healthchecks", healthchecks(run.chosen.healthchecks, folder, run.postgresql()))


def victoria(run: Run) -> None:
    program = run.chosen.victoria_metrics
    peer(run, "victoria-metrics", victoria_metrics(run.fresh("vm"), program))
    tls = victoria_metrics(run.fresh("vm-tls"), program, run.tls())
    peer(run, "victoria-metrics, new TLS", tls, close=True)


def gateway(run: Run) -> None:
    program = run.chosen.pushgateway
    peer(run, "pushgateway", pushgateway(program))
    peer(run, "pushgateway, unchecked", pushgateway(program, "--push.disable-consistency-check"))


def peer(
    run: Run, name: str, opened: AbstractContextManager[Receiver], *, close: bool = False
) -> None:
    with opened as receiver:
        numbers = count(1)

        def stream(size: int) -> Iterator[bytes]:
            return (receiver.request(number, close) for number in islice(numbers, size))

        load(run, name, receiver.url, receiver.pids, stream)


def load(run: Run, name: str, url: str, pids: Sequence[int], stream: Stream) -> frozenset[int]:
    """Warm up, ask as fast as it answers, then at a fixed rate; return what was acknowledged."""
    warm = closed_loop(url, stream(WARM_UP), pids, run.folder, 10)
    most = run.chosen.seconds * MOST_PER_S
    full = closed_loop(url, stream(most), pids, run.folder, run.chosen.seconds)
    can_keep_up = full.seen_per_s > RATE
    steady = open_loop(url, stream(RATE * RATE_S), pids, RATE) if can_keep_up else None
    statuses = full.statuses + (steady.statuses if steady else Counter())
    up, down = wire_bytes(url, list(stream(1)))
    run.figures[name] = {
        "per_core_s": full.per_s, "seen_per_s": full.seen_per_s, "cpu_us": full.cpu_us,
        "p50_ms": full.p50_ms, "p99_ms": full.p99_ms, "others": full.others,
        "open_p50_ms": steady.p50_ms if steady else math.inf,
        "open_p99_ms": steady.p99_ms if steady else math.inf, "up": up, "down": down,
        "statuses": dict(statuses), "load": os.getloadavg()[0],
    }  # fmt: skip
    show(name, run.figures[name])
    return warm.acked | full.acked


def growth(run: Run) -> None:
    """The same load over a fleet of 100 children up to one of 100,000, on SQLite."""
    costs = {}
    for size in SIZES:
        name = f"{size} children"
        data, everyone = run.fresh(name), children(size, 400 * INTERVAL_S)
        database = prepare(data, everyone, None)
        fleet = Numbered(random.sample(everyone, min(size, FLEET)))
        with serving(data, database) as parent:
            # So few connections that no two requests of a child are under way at once.
            closed_loop(parent.url, fleet.requests(WARM_UP), parent.pids, run.folder, 10, 16)
            most = run.chosen.seconds * MOST_PER_S
            full = closed_loop(parent.url, fleet.requests(most), parent.pids, run.folder,
                               run.chosen.seconds, 16)  # fmt: skip
        costs[size] = full.cpu_us
        run.figures[name] = {"cpu_us": full.cpu_us, "statuses": dict(full.statuses)}
        print(f"{name:28} {full.cpu_us:7.0f} us a sync   {full.cpu_us / costs[SIZES[0]]:.2f}x "
              f"of {SIZES[0]}   {answers(run.figures[name])}", flush=True)  # fmt: skip
    ratio, log = costs[SIZES[-1]] / costs[SIZES[0]], math.log(SIZES[-1]) / math.log(SIZES[0])
    run.judge(f"{SIZES[-1]} children beside {SIZES[0]}: {ratio:.2f}x, as log <= {log:.1f}x",
              ratio <= log)  # fmt: skip


ROWS: dict[str, Callable[[Run], None]] = {
    "sqlite": ours_on_sqlite,
    "postgresql": ours_on_postgresql,
    "healthchecks": healthchecks_on_postgresql,
    "victoria-metrics": victoria,
    "pushgateway": gateway,
    "growth": growth,
}

# --- what is printed ---------------------------------------------------------------------------

HEAD = (
    f"{'':28} {'/s core':>8} {'CPU us':>8} {'seen /s':>8} {'p50 ms':>8} {'p99 ms':>8} "
    f"{f'p50 {RATE}/s':>9} {f'p99 {RATE}/s':>9} {'up B':>6} {'down B':>6} {'others':>7}"
)


def show(name: str, row: dict[str, Any]) -> None:
    print(f"{name:28} {row['per_core_s']:8.0f} {row['cpu_us']:8.0f} {row['seen_per_s']:8.0f} "
          f"{row['p50_ms']:8.1f} {row['p99_ms']:8.1f} {row['open_p50_ms']:9.1f} "
          f"{row['open_p99_ms']:9.1f} {row['up']:6} {row['down']:6} {row['others']:6.0%}  "
          f"{answers(row)}", flush=True)  # fmt: skip


def answers(row: dict[str, Any]) -> str:
    """Return what was not answered well, if anything."""
    bad = {status: n for status, n in row["statuses"].items() if not 200 <= status < 300}
    return " ".join(f"{n} x {status if status > 0 else 'none'}" for status, n in bad.items())


def compare(run: Run) -> None:
    """Print our rate over each peer's, on the same way of connecting."""
    for kind in ("sqlite", "postgresql"):
        for mine, other in (("kept", ""), ("new TLS", ", new TLS")):
            for name in ("healthchecks", "victoria-metrics", "pushgateway, unchecked"):
                ours, theirs = (
                    run.figures.get(key, {}).get("per_core_s")
                    for key in (f"{kind}, {mine}", f"{name}{other}")
                )
                if ours and theirs:
                    words = f"{kind}, {mine}, over {name}{other}: {ours / theirs:.2f}x"
                    goal = GOALS.get(name, 0.0)
                    run.judge(f"{words}, goal >= {goal}x", ours / theirs >= goal)


if __name__ == "__main__":
    main()
