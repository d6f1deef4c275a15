"""Plays the agent for `test_outbox.py`, until it is killed.

    python outbox_driver.py DB < {"channels": {...}}

Every few milliseconds an alert changes; state and message are recorded, a deliverer is started.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from chittyops_core.model.monitoring import Observation
from chittyops_core.monitor.alerts import Alert, Rule, step
from chittyops_core.monitor.deliver import Delivery, spawn
from chittyops_core.monitor.outbox import Outbox
from chittyops_core.monitor.store import Store

RULE = Rule(fail=1, clean=1, clean_s=0)
NAMES = ("shop.production/http", "court.production/tls", "host/disk")


def main() -> None:
    path, delivery = Path(sys.argv[1]), Delivery(**json.load(sys.stdin))
    store, outbox = Store(path), Outbox(path)
    alerts = {name: Alert(name) for name in NAMES} | store.alerts()
    running: list[subprocess.Popen[bytes]] = []
    turn = sum(alert.seq for alert in alerts.values())
    while True:
        name = NAMES[turn % len(NAMES)]
        seen = Observation(name, time.time(), alerts[name].seq % 2 == 1, 0.1, "down")
        alerts[name], message = step(alerts[name], RULE, seen, elapsed_s=0.01)
        assert message is not None
        store.record([seen], [alerts[name]], [message])
        print(message.id, flush=True)
        running = [process for process in running if process.poll() is None]
        if not running and outbox.has_pending():
            running.append(spawn(path, delivery))
        turn += 1
        time.sleep(0.03)


if __name__ == "__main__":
    main()
