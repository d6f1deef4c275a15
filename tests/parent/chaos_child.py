"""A child that says numbered things and syncs, until it is killed: FOLDER TURN.

Each thing is named `TURN.NUMBER` and noted in the file `said` once the outbox has it. The turn
`drain` says nothing, and ends when nothing is owed.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from pathlib import Path

from chittyops_core.bridge.loop import ParentBridge, Report
from chittyops_core.bridge.outbox import Outbox
from chittyops_core.bridge.pace import Rhythm
from chittyops_core.bridge.protocol import ItemKind

RHYTHM = Rhythm(
    usual_s=0.2, least_s=0.05, urgent_s=0.1, backlog_s=0.02, slow_s=0.5, first_s=0.1, backoff_s=0.5
)
"""A day in a minute."""
KINDS = (ItemKind.EVENT, ItemKind.INCIDENT, ItemKind.CONFIG, ItemKind.AUDIT)
PAUSE_S = 0.01


def main() -> None:
    folder, turn = Path(sys.argv[1]), sys.argv[2]
    stop = threading.Event()
    bridge = ParentBridge(folder, lambda: Report({}, {"load": time.time() % 60}), rhythm=RHYTHM)
    sender = threading.Thread(target=bridge.run, args=(stop,))
    sender.start()
    outbox = Outbox(folder / "outbox.db")
    if turn == "drain":
        while outbox.owes():
            time.sleep(0.05)
        stop.set()
        bridge.wake()
        sender.join()
        return
    said = os.open(folder / "said", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for number in itertools.count():
        name = f"{turn}.{number}"
        kind = KINDS[number % len(KINDS)]
        outbox.put(kind, {"type": "chaos.said", "at": time.time(), "name": name})
        os.write(said, f"{name}\n".encode())
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    main()
