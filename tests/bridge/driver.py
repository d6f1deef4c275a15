"""Plays the host for the chaos test, until it is killed.

    python driver.py FOLDER SEED

It puts events and incidents with numbers of its own and prints each number that is kept, while a
bridge sends them.
"""

from __future__ import annotations

import random
import sys
import threading
from pathlib import Path

from chittyops_core.bridge.loop import ParentBridge, Report
from chittyops_core.bridge.outbox import Outbox
from chittyops_core.bridge.pace import Rhythm
from chittyops_core.bridge.protocol import ItemKind

RHYTHM = Rhythm(
    usual_s=0.1, least_s=0.02, most_s=1.0, urgent_s=0.05, backlog_s=0.01, slow_s=0.2,
    first_s=0.02, backoff_s=0.1,
)  # fmt: skip


def main() -> None:
    folder, seed = Path(sys.argv[1]), sys.argv[2]
    chance = random.Random(seed)
    outbox = Outbox(folder / "outbox.db")
    bridge = ParentBridge(
        folder, lambda: Report({"health": {"status": "operational"}}, {"load": 1.0}),
        rhythm=RHYTHM,
    )  # fmt: skip
    stop = threading.Event()
    threading.Thread(target=bridge.run, args=(stop,), daemon=True).start()
    number = 0
    while True:
        number += 1
        mark = f"{seed}.{number}"
        is_urgent = chance.random() < 0.2
        kind = ItemKind.INCIDENT if is_urgent else ItemKind.EVENT
        outbox.put(kind, {"type": "x", "mark": mark}, urgent=is_urgent)
        print(mark, flush=True)
        stop.wait(chance.uniform(0, 0.02))


if __name__ == "__main__":
    main()
