"""The promises under kills and a network that loses, cuts, forges, doubles and reorders."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from bridge.parent_double import ParentDouble
from chittyops_core._kit.retry import wait_until
from chittyops_core.bridge.loop import ParentBridge, Report
from chittyops_core.bridge.outbox import Outbox
from conftest import IS_CHAOS_FULL

from bridge.driver import RHYTHM  # isort: skip

KILLS = 40 if IS_CHAOS_FULL else 5
FAULTS = [*["unanswered"] * 3, "lost", "cut", "forged", "altered", "twice", "late"]


@pytest.mark.chaos
def test_nothing_is_lost_or_doubled_though_the_child_is_killed_and_the_network_is_bad(
    folder: Path, parent: ParentDouble
) -> None:
    """Promises 1 to 3: 0 lost, 0 twice, over seeded `kill -9` with over 15 % lost answers."""
    chance = random.Random(5)
    parent.fault = lambda _: chance.choice(FAULTS) if chance.random() < 0.45 else ""
    parent.next_s = 0.1
    said: set[str] = set()
    for kill in range(KILLS):
        driver = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("driver.py"), folder, str(kill)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert driver.stdout is not None
        if chance.random() < 0.9:
            said.add(driver.stdout.readline().strip())
        time.sleep(chance.uniform(0, 0.8))  # The point of the kill is what is random here.
        os.kill(driver.pid, signal.SIGKILL)
        said |= set(driver.stdout.read().split())
        driver.stdout.close()
        driver.wait()
    requests = len(parent.requests)
    outbox = Outbox(folder / "outbox.db")
    stop = threading.Event()
    bridge = ParentBridge(folder, Report, rhythm=RHYTHM)
    thread = threading.Thread(target=bridge.run, args=(stop,))
    thread.start()
    try:
        wait_until(lambda: not outbox.owes(), timeout_s=60)
    finally:
        stop.set()
        thread.join()
    backlog = outbox.backlog()
    outbox.close()

    marks = Counter(body["mark"] for body in parent.events)
    assert requests > KILLS
    assert said - set(marks) == set(), "lost"
    assert {mark for mark, count in marks.items() if count > 1} == set(), "twice"
    assert list(parent.streams) == [backlog.stream], "a kill is no clone"
    numbers = [(sync["stream"], sync["n"]) for sync in parent.syncs]
    bodies = {(sync["stream"], sync["n"]): sync for sync in parent.syncs}
    assert all(bodies[number] == sync for number, sync in zip(numbers, parent.syncs, strict=True))
    assert backlog.dropped == {}
    print(f"{KILLS} kills, {len(parent.requests)} requests, {len(marks)} items")
