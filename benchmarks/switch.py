"""Requests lost over deploys, beside the usual ways to switch a proxy, under the same load.

    python benchmarks/switch.py [--deploys 25] [--requests 100000] [--json FILE]

Ours: real deploys of a real app (uvicorn) through the engine, on an existing route. Peers: each
proxy of `peers/` between two uvicorns of the same artifact, switched as often as its manual says
to. The load never retries; a WebSocket and a slow request are open over every switch.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from machine import UVICORN, app, artifact_of, home, two_upstreams
from peers import PEERS, Peer

from chittyops_core.testing.load import Load, Tally
from chittyops_lite_chitty_apps import ChittyAppsOpsLite

OURS = "pointer (ours)"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--deploys", type=int, default=25)
    arguments.add_argument("--requests", type=int, default=100_000)
    arguments.add_argument("--json", type=Path, help="also write the figures there")
    chosen = arguments.parse_args()
    rows, left_out = _measure(chosen.deploys, chosen.requests)
    _print(rows, left_out, chosen.deploys)
    if chosen.json:
        figures = {name: _figures(tally) for name, tally in rows.items()}
        chosen.json.write_text(json.dumps(figures | {n: {"missing": w} for n, w in left_out}))
    ours = rows[OURS]
    sys.exit(1 if ours.failed.total() or ours.cut else 0)


def _measure(switches: int, requests: int) -> tuple[dict[str, Tally], list[tuple[str, str]]]:
    rows: dict[str, Tally] = {}
    left_out: list[tuple[str, str]] = []
    with (
        tempfile.TemporaryDirectory(prefix="chi-", dir="/tmp") as folder,
        home(Path(folder)) as made,
    ):
        rows[OURS] = _ours(ChittyAppsOpsLite(home=made), switches, requests)
        with two_upstreams(artifact_of(made)) as ports:
            for kind in PEERS:
                if why := kind.missing():
                    left_out.append((kind.name, why))
                    continue
                with kind(Path(folder) / kind.program, ports[0]) as peer:
                    rows[kind.name] = _peer(peer, ports, switches, requests)
    return rows, left_out


def _ours(lite: ChittyAppsOpsLite, deploys: int, requests: int) -> Tally:
    address = lite.deploy(app(UVICORN, "bench", "version 0")).address
    with Load(address, workers=3) as load:
        for number in range(1, deploys + 1):
            _open_long_ones(load)
            lite.deploy(app(UVICORN, "bench", f"version {number}"))
            load.wait(requests // deploys // 3)
        load.wait(requests - load.tally.total)
    return load.tally


def _peer(peer: Peer, ports: tuple[int, int], switches: int, requests: int) -> Tally:
    with Load(peer.address, workers=3) as load:
        for number in range(1, switches + 1):
            _open_long_ones(load)
            peer.switch(ports[number % 2])
            load.wait(requests // switches // 3)
        load.wait(requests - load.tally.total)
    return load.tally


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


def _print(rows: dict[str, Tally], left_out: list[tuple[str, str]], switches: int) -> None:
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{switches} switches each, same load, non-retrying client; load average {load}")
    print(f"{'':20} {'requests':>9} {'failed':>7} {'long':>5} {'cut':>4} {'slowest':>8}  versions")
    for name, tally in rows.items():
        print(
            f"{name:20} {tally.total:9} {tally.failed.total():7} {tally.streams:5} "
            f"{tally.cut:4} {tally.slowest_s:7.2f}s  {len(tally.bodies)}"
        )
        for reason, count in tally.reasons.most_common(4):
            print(f"    {count} x {reason}")
    for name, why in left_out:
        print(f"{name:20} {why}")
    lost = {name: tally.failed.total() + tally.cut for name, tally in rows.items()}
    print("lost: " + ", ".join(f"{name} {count}" for name, count in lost.items()))


if __name__ == "__main__":
    main()
