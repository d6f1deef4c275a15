"""From the start of a built release's processes until its gate opens, beside a bare spawn."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from itertools import count
from pathlib import Path

from machine import UVICORN, app, artifact_of, home

from chittyops_core import App
from chittyops_core._kit.unix_http import UnixHTTPConnection
from chittyops_lite_chitty_apps import ChittyAppsOpsLite
from rows.base import Row, by_turns

ROUNDS = 15


def measure(folder: Path) -> Row:
    numbers = count()
    with home(folder) as made:
        lite = ChittyAppsOpsLite(home=made)

        def ours() -> float:
            done = lite.deploy(app(UVICORN, "healthy", f"version {next(numbers)}"))
            return float(done.phases["staged"] + done.phases["gated"]) * 1000

        ours()
        command = App.load(UVICORN).manifest.process["web"].command
        artifact = artifact_of(made)
        figures = by_turns(ROUNDS, ours, lambda: _spawn_ms(command, artifact, folder / "s.sock"))
    return Row("time to healthy", "bare spawn until it answers", "ms", *figures, 1.2)


def _spawn_ms(command: str, artifact: Path, socket: Path) -> float:
    environment = {
        "PATH": f"{artifact}/venv/bin:{os.defpath}", "SOCKET": str(socket), "VERSION": "bare"
    }  # fmt: skip
    socket.unlink(missing_ok=True)
    start = time.monotonic()
    process = subprocess.Popen(
        ["/bin/sh", "-c", f"exec {command}"], cwd=artifact / "app", env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while not _answers(socket):
            assert process.poll() is None, shlex.quote(command)
            time.sleep(0.002)
        return (time.monotonic() - start) * 1000
    finally:
        process.kill()
        process.wait()


def _answers(socket: Path) -> bool:
    connection = UnixHTTPConnection(str(socket), timeout_s=5)
    try:
        connection.request("GET", "/", headers={"Host": "localhost"})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
