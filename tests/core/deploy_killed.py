"""Deploy in this process and kill it -9 at the n-th point that the engine passes.

    python deploy_killed.py HOME FOLDER N POINTS_FILE

The points are the engine's own events, so that a new one is tried without anybody listing it.
With N = -1 nothing is killed; POINTS_FILE then has every point, a line each.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from chittyops_core import App
from chittyops_core._kit import wire
from chittyops_core.deploy import plan as plans
from chittyops_core.deploy.engine import Event
from chittyops_core.deploy.plan import ServiceView
from chittyops_core.deploy.source import read_source
from chittyops_core.host.server import Host
from chittyops_core.model.release import GateReceipt
from chittyops_core.model.service import Service


def main() -> None:
    home, folder, at, points = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    passed = 0

    def notify(event: Event) -> None:
        nonlocal passed
        with open(points, "a") as file:
            file.write(f"{event.kind} {event.text}\n")
        if passed == at:
            os.kill(os.getpid(), signal.SIGKILL)
        passed += 1

    host = Host(home, notify)
    app = App.load(folder)
    service = wire.to_wire(Service(app.name))
    view = wire.from_wire(ServiceView, host.step_observe(service=service))
    source = read_source(app.folder)
    draft = plans.draft(app, view.service, "chitty-apps", view, source)
    release = host.step_build(plan=wire.to_wire(plans.complete(draft, view)), wait=True)
    host.step_stage()
    host.step_serve(receipt=wire.to_wire(GateReceipt("chitty-apps", release)))
    host.step_finish()
    host.close()


main()
