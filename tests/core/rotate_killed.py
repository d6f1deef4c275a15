"""Rotate a secret and kill -9 everything that does it at the n-th event.

    python rotate_killed.py HOME NAME N EVENTS_FILE

This process and every host process that it started die at once. With N = -1 none does.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import psutil

from chittyops_core.cli import rotation
from chittyops_core.deploy.engine import Event
from chittyops_core.host import HostClient


def main() -> None:
    home, name, at, events = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    passed = 0

    def notify(event: Event) -> None:
        nonlocal passed
        with open(events, "a") as file:
            file.write(f"{event.kind} {event.text}\n")
        if passed == at:
            # Not what they have started for good: supervisord is in a session of its own.
            for child in psutil.Process().children():
                child.kill()
            os.kill(os.getpid(), signal.SIGKILL)
        passed += 1

    with HostClient(home) as host:
        begun = host.begin_rotation(name, app=None, generate="hex64")
        rotation.carry_out(host, begun, notify)


main()
