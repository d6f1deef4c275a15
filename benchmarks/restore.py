"""A host of many services is killed wholly; how long until all of them answer again.

    python benchmarks/restore.py [--services 50] [--json FILE]

Ours: every process of the home is killed -9 and `host start` brings back what served. Peer: the
same commands spawned at once by hand, until each answers.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from chittyops_core import App
from chittyops_core._kit.retry import wait_until
from chittyops_core._kit.unix_http import UnixHTTPConnection
from chittyops_core.host import HostClient
from chittyops_core.host.fetch import fetch
from chittyops_core.host.protocol import StatusReport
from chittyops_lite_chitty_apps import ChittyAppsOpsLite

SERVER = Path(__file__).parents[1] / "tests" / "apps" / "serve.py"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--services", type=int, default=50)
    arguments.add_argument("--json", type=Path, help="also write the figures there")
    chosen = arguments.parse_args()
    os.environ |= {"CHITTYOPS_HTTP_PORT": "17080", "CHITTYOPS_HTTPS_PORT": "17443"}
    with tempfile.TemporaryDirectory(prefix="chi-", dir="/tmp") as folder:
        home = Path(folder) / "h"
        try:
            figures = _measure(home, Path(folder), chosen.services)
        finally:
            with HostClient(home) as host:
                host.erase()
    for name, text in figures.items():
        print(f"{name:28} {text}")
    if chosen.json:
        chosen.json.write_text(json.dumps(figures))


def _measure(home: Path, folder: Path, count: int) -> dict[str, object]:
    served = _deploy(home, folder, count)
    killed = _kill_all(home)
    start = time.monotonic()
    with HostClient(home) as host:
        report = host.start_host()
    ours = time.monotonic() - start
    back = _serving(report)
    answers = sum(fetch(e.address).status == 200 for e in report.services if e.address)
    bare = _spawn_bare(folder, count)
    return {
        "services": count,
        "processes killed": killed,
        "back as they were": f"{len(served.items() & back.items())} of {count}",
        "that answer": f"{answers} of {count}",
        "host start": f"{ours:.2f} s",
        "bare spawn of the same": f"{bare:.2f} s",
        "ratio": f"{ours / bare:.2f}",
    }


def _deploy(home: Path, folder: Path, count: int) -> dict[str, str | None]:
    for number in range(count):
        app = folder / f"app{number}"
        app.mkdir()
        (app / "serve.py").write_bytes(SERVER.read_bytes())
        (app / "chittyops.toml").write_text(
            f'[app]\nname = "app{number}"\n[process.web]\n'
            f"command = 'exec {sys.executable} -S serve.py # $SOCKET'\n"
            f'[env]\nVERSION = "{number}"\n'
        )
        ChittyAppsOpsLite(home=home).deploy(App.load(app))
        if number % 10 == 9:
            print(f"{number + 1} deployed", file=sys.stderr)
    with HostClient(home) as host:
        return _serving(host.status())


def _serving(report: StatusReport) -> dict[str, str | None]:
    healthy = (each for each in report.services if each.health == "healthy")
    return {str(each.service): each.serving for each in healthy}


def _kill_all(home: Path) -> int:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("CHITTYOPS_SUPERVISED") == str(home):
                found.append(process)
        except psutil.Error:
            continue
    for process in found:
        process.send_signal(signal.SIGKILL)
    psutil.wait_procs(found, timeout=10)
    return len(found)


def _spawn_bare(folder: Path, count: int) -> float:
    start = time.monotonic()
    sockets = [folder / f"bare{number}" for number in range(count)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-S", SERVER], env={"SOCKET": str(path)}, stdout=subprocess.DEVNULL
        )
        for path in sockets
    ]
    for path in sockets:
        assert wait_until(lambda path=path: _answers(path), timeout_s=60)  # type: ignore[misc]
    seconds = time.monotonic() - start
    for process in processes:
        process.kill()
        process.wait()
    return seconds


def _answers(path: Path) -> bool:
    connection = UnixHTTPConnection(str(path), timeout_s=5)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        return answer.status == 200 and bool(answer.read())
    except OSError:
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    main()
