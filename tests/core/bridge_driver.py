"""Plays the agent of an enrolled host for `test_bridge_events.py`, until it is killed.

    python bridge_driver.py HOME

Every few milliseconds an alert changes; state and message are recorded, then collected.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from chittyops_core.bridge.outbox import Outbox
from chittyops_core.deploy.targets.local import Layout
from chittyops_core.host.bridge_events import Collector
from chittyops_core.model.monitoring import Observation
from chittyops_core.monitor.alerts import Alert, Rule, step
from chittyops_core.monitor.buffer import BufferedStore

RULE = Rule(fail=1, clean=1, clean_s=0)
NAMES = ("shop.production/web", "court.production/web", "host/disk")


def main() -> None:
    layout = Layout(Path(sys.argv[1]))
    store, outbox = BufferedStore(layout.monitor_store), Outbox(layout.bridge / "outbox.db")
    collector = Collector(layout, store, outbox)
    collector.collect()
    alerts = {name: Alert(name) for name in NAMES} | store.alerts()
    turn = sum(alert.seq for alert in alerts.values())
    while True:
        name = NAMES[turn % len(NAMES)]
        seen = Observation(name, time.time(), alerts[name].seq % 2 == 1, 0.1, "down")
        alerts[name], message = step(alerts[name], RULE, seen, elapsed_s=0.01)
        assert message is not None
        store.record([seen], [alerts[name]], [message])
        print(message.id, flush=True)
        collector.collect()
        turn += 1


if __name__ == "__main__":
    main()
