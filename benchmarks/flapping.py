"""Messages per flapping episode, beside the usual alert rules, on the same looks.

    python benchmarks/flapping.py [--seed 1] [--json FILE]

100 targets, 30 s, 30 days, 0.3 % random failures, 216 outages of 3 to 60 minutes, 31 flapping
episodes of 1 to 3 hours in which half of the looks fail (findings/tenants-and-apps.md 1.4). The
numbered rules fire after so many failures in a row and resolve after so many good looks. Ours is
`chittyops_core.monitor.alerts.step` itself. A message is false when it fires within no outage and
no episode; the delay is counted from an outage's first failed look. Three random failures in a row
are to be expected 0.23 times a run (100 x 86,400 x 0.003^3), whatever rule counts to three.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import define, field, frozen

from chittyops_core.model.monitoring import AlertState, Observation
from chittyops_core.monitor.alerts import Alert, Rule, step

TARGETS, EVERY_S, DAYS = 100, 30, 30
LOOKS = DAYS * 86400 // EVERY_S
RANDOM_FAILURES = 0.003
OUTAGES, EPISODES = 216, 31
SETTLE = 20
"""Looks after a span in which its last messages may still come."""
OURS = "ours (3 / 10 and 5 min)"
PEER = "3 / 2 (Gatus default)"
GOAL = 0.15

Says = Callable[[int, bool], AlertState | None]
"""Called with a look's number and whether it was good; returns what is told."""


@frozen
class Span:
    """What is wrong with one target from look *first* to before look *end*."""

    first: int
    end: int
    flaps: bool


@define
class Tally:
    """What one rule said."""

    in_episodes: int = 0
    false: int = 0
    missed: int = 0
    delays_s: list[int] = field(factory=list)

    @property
    def per_episode(self) -> float:
        return self.in_episodes / EPISODES


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--json", type=Path, help="also write the figures there")
    chosen = arguments.parse_args()
    rules: dict[str, Callable[[], Says]] = {
        "1 / 1 (Kuma, no retries)": lambda: in_a_row(1, 1),
        "2 / 2": lambda: in_a_row(2, 2),
        PEER: lambda: in_a_row(3, 2),
        OURS: ours,
    }
    tallies = {name: Tally() for name in rules}
    for spans, failures in targets(random.Random(chosen.seed)):
        for name, make in rules.items():
            judge(tallies[name], spans, failures, make())
    ratio = tallies[OURS].per_episode / tallies[PEER].per_episode
    show(tallies, ratio)
    if chosen.json:
        chosen.json.write_text(
            json.dumps({"ratio": ratio, "rules": {n: figures(t) for n, t in tallies.items()}})
        )
    same_delay = figures(tallies[OURS])["delay_s"] <= figures(tallies[PEER])["delay_s"]
    no_falser = tallies[OURS].false <= tallies[PEER].false
    sys.exit(0 if ratio <= GOAL and no_falser and same_delay else 1)


def targets(chance: random.Random) -> Iterator[tuple[list[Span], dict[int, bool]]]:
    """Yield each target's spans and its looks; those that are not named are good."""
    spans: list[list[Span]] = [[] for _ in range(TARGETS)]
    for flaps, count in ((True, EPISODES), (False, OUTAGES)):
        for _ in range(count):
            place(chance, spans, flaps)
    for own in spans:
        looks = {look: False for look in range(LOOKS) if chance.random() < RANDOM_FAILURES}
        for span in own:
            for look in range(span.first, span.end):
                looks[look] = span.flaps and chance.random() < 0.5
        yield own, looks


def place(chance: random.Random, spans: list[list[Span]], flaps: bool) -> None:
    """Put a span where none is near, so that each message has one cause."""
    minutes = chance.uniform(60, 180) if flaps else chance.uniform(3, 60)
    length = int(minutes * 60 / EVERY_S)
    while True:
        own = chance.choice(spans)
        first = chance.randrange(LOOKS - length - 4 * SETTLE)
        new = Span(first, first + length, flaps)
        if all(new.end + 4 * SETTLE < s.first or s.end + 4 * SETTLE < new.first for s in own):
            own.append(new)
            return


def judge(tally: Tally, spans: list[Span], failures: dict[int, bool], says: Says) -> None:
    """Show one target's looks to one rule. Long good stretches are shown in part only."""
    told = list(speak(failures, says))
    for span in spans:
        within = [(look, state) for look, state in told if span.first <= look < span.end + SETTLE]
        if span.flaps:
            tally.in_episodes += len(within)
            continue
        fired = [look for look, state in within if state is AlertState.FIRING and look < span.end]
        if fired:
            tally.delays_s.append((fired[0] - span.first) * EVERY_S)
        else:
            tally.missed += 1
    tally.false += sum(
        1 for look, state in told
        if state is AlertState.FIRING
        and not any(span.first <= look < span.end + SETTLE for span in spans)
    )  # fmt: skip


def speak(failures: dict[int, bool], says: Says) -> Iterator[tuple[int, AlertState]]:
    """Yield what is told at which look; after SETTLE good looks a rule's state stays as it is."""
    last = -1
    for look in sorted(failures):
        for good in range(last + 1, min(look, last + 1 + SETTLE)):
            if state := says(good, True):
                yield good, state
        if state := says(look, failures[look]):
            yield look, state
        last = look


def in_a_row(fail: int, clean: int) -> Says:
    """Return the usual rule."""
    firing, run, last = False, 0, True

    def says(_: int, is_good: bool) -> AlertState | None:
        nonlocal firing, run, last
        run = run + 1 if is_good == last else 1
        last = is_good
        if firing and is_good and run >= clean:
            firing = False
            return AlertState.RESOLVED
        if not firing and not is_good and run >= fail:
            firing = True
            return AlertState.FIRING
        return None

    return says


def ours() -> Says:
    alert, rule = Alert("target"), Rule()

    def says(look: int, is_good: bool) -> AlertState | None:
        nonlocal alert
        seen = Observation("target", look * EVERY_S, is_good, 0.1)
        alert, message = step(alert, rule, seen, elapsed_s=EVERY_S)
        return message.state if message else None

    return says


def figures(tally: Tally) -> dict[str, float]:
    return {
        "messages_per_episode": round(tally.per_episode, 2),
        "false": tally.false,
        "missed": tally.missed,
        "delay_s": statistics.median(tally.delays_s),
    }


def show(tallies: dict[str, Tally], ratio: float) -> None:
    print(f"{'rule (fail / good in a row)':28} {'msgs/episode':>12} {'false':>7} {'missed':>7} "
          f"{'delay s':>8}")  # fmt: skip
    for name, tally in tallies.items():
        row = figures(tally)
        print(f"{name:28} {row['messages_per_episode']:12.1f} {row['false']:7} {row['missed']:7} "
              f"{row['delay_s']:8.0f}")  # fmt: skip
    print(f"ours / {PEER}: {ratio:.3f} (goal: at most {GOAL})")


if __name__ == "__main__":
    main()
