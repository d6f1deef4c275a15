"""Requests lost over deploys, beside the usual way to switch Caddy, under the same load.

    python benchmarks/switch.py [--deploys 25] [--requests 100000] [--json FILE]

Ours: real deploys of a real app (uvicorn) through the engine, on an existing route. Peer: the
same edge, the same two upstreams and the same load, switched by PATCH on Caddy's admin API.
The load never retries; a WebSocket and a slow request are open over every switch.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from attrs import evolve

from chittyops_core import App
from chittyops_core.deploy.targets.base import Address
from chittyops_core.host import HostClient
from chittyops_core.model.manifest import EnvVar
from chittyops_core.model.service import Service
from chittyops_core.testing.load import Load, Tally
from chittyops_lite_chitty_apps import ChittyAppsOpsLite

HERE = Path(__file__).parent
SERVICE = Service("bench")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--deploys", type=int, default=25)
    arguments.add_argument("--requests", type=int, default=100_000)
    arguments.add_argument("--json", type=Path, help="also write the figures there")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="chi-", dir="/tmp") as folder:
        home = Path(folder) / "h"
        lite = ChittyAppsOpsLite(home=home)
        try:
            ours = _ours(lite, home, chosen.deploys, chosen.requests)
            peer = _peer(home, Path(folder), chosen.deploys, ours.total)
        finally:
            with HostClient(home) as host:
                host.erase()
    rows = {"pointer (ours)": ours, "Caddy admin PATCH": peer}
    _print(rows, chosen.deploys)
    if chosen.json:
        chosen.json.write_text(json.dumps({name: _figures(t) for name, t in rows.items()}))
    sys.exit(1 if ours.failed.total() or ours.cut else 0)


def _ours(lite: ChittyAppsOpsLite, home: Path, deploys: int, requests: int) -> Tally:
    address = lite.deploy(_app(0)).address
    with Load(address, workers=3) as load:
        for number in range(1, deploys + 1):
            _open_long_ones(load)
            lite.deploy(_app(number))
            load.wait(requests // deploys // 3)
        while load.tally.total < requests:
            load.wait(1000)
    return load.tally


def _app(number: int) -> App:
    """The same code each time, so that a deploy costs no build, under another version."""
    app = App.load(HERE / "app")
    manifest = app.manifest
    variable = {"VERSION": EnvVar(value=f"version {number}")}
    named = evolve(manifest, app=evolve(manifest.app, name=SERVICE.app), env=variable)
    return evolve(app, manifest=named)


def _peer(home: Path, folder: Path, switches: int, requests: int) -> Tally:
    """Switch a Caddy of the same build between two uvicorns by its admin API."""
    runtime = next((home / "runtime").glob("0*"))
    artifact = next(p for p in (home / "artifacts").iterdir() if (p / "venv").exists())
    sockets = [folder / "a.sock", folder / "b.sock"]
    processes = [
        subprocess.Popen(
            [artifact / "venv/bin/uvicorn", "app:app", "--uds", path, "--lifespan", "off",
             "--no-access-log"],
            cwd=artifact / "app", env={"VERSION": path.stem}, stderr=subprocess.DEVNULL,
        )
        for path in sockets
    ]  # fmt: skip
    admin = folder / "admin.sock"
    route = {
        "handle": [
            {
                "@id": "proxy",
                "handler": "reverse_proxy",
                "upstreams": [{"dial": f"unix/{sockets[0]}"}],
                "load_balancing": {"try_duration": "30s", "try_interval": "50ms"},
                "transport": {"protocol": "http", "keep_alive": {"idle_timeout": "1s"}},
                "stream_close_delay": "5m",
            }
        ]
    }
    server = {"listen": ["127.0.0.1:7099"], "automatic_https": {"disable": True}, "routes": [route]}
    config = {
        "admin": {"listen": f"unix/{admin}|0600", "config": {"persist": False}},
        "apps": {"http": {"servers": {"main": server}}},
    }
    (folder / "peer.json").write_text(json.dumps(config))
    processes.append(
        subprocess.Popen(
            [runtime / "bin/caddy", "run", "--config", folder / "peer.json"],
            stderr=subprocess.DEVNULL,
        )
    )
    try:
        while not all(path.exists() for path in (*sockets, admin)):
            time.sleep(0.05)
        time.sleep(0.5)
        address = Address("", "127.0.0.1:7099", "localhost", False, None, "")
        with Load(address, workers=3) as load:
            for number in range(1, switches + 1):
                _open_long_ones(load)
                _patch(admin, [{"dial": f"unix/{sockets[number % 2]}"}])
                load.wait(requests // switches // 3)
            while load.tally.total < requests:
                load.wait(1000)
        return load.tally
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _patch(admin: Path, upstreams: list[dict[str, str]]) -> None:
    from chittyops_core._kit.unix_http import UnixHTTPConnection

    connection = UnixHTTPConnection(str(admin))
    body = json.dumps(upstreams)
    connection.request("PATCH", "/id/proxy/upstreams", body, {"Content-Type": "application/json"})
    assert connection.getresponse().status == 200
    connection.close()


def _open_long_ones(load: Load) -> None:
    load.open_websocket("/ws", hold_s=2.5)
    load.open_slow_request("/slow")
    time.sleep(0.1)


def _figures(tally: Tally) -> dict[str, object]:
    return {
        "requests": tally.total,
        "failed": dict(tally.failed),
        "reasons": dict(tally.reasons),
        "streams": tally.streams,
        "cut": tally.cut,
        "slowest_s": round(tally.slowest_s, 3),
        "versions": len(tally.bodies),
    }


def _print(rows: dict[str, Tally], switches: int) -> None:
    print(f"{switches} switches each, same load, non-retrying client")
    print(f"{'':20} {'requests':>9} {'failed':>7} {'long':>5} {'cut':>4} {'slowest':>8}  versions")
    for name, tally in rows.items():
        print(
            f"{name:20} {tally.total:9} {tally.failed.total():7} {tally.streams:5} "
            f"{tally.cut:4} {tally.slowest_s:7.2f}s  {len(tally.bodies)}"
        )
        for reason, count in tally.reasons.most_common(4):
            print(f"    {count} x {reason}")
    ours, peer = (tally.failed.total() + tally.cut for tally in rows.values())
    print(f"lost, ours : peer = {ours} : {peer}")


if __name__ == "__main__":
    main()
