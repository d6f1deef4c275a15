"""From the switch to a release that still runs until a client sees it, beside HAProxy's."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import cycle
from pathlib import Path
from typing import Self

from attrs import evolve
from machine import UVICORN, app, artifact_of, home, two_upstreams
from peers import HAProxy

from chittyops_core import App, Service
from chittyops_core.deploy.targets.base import Address
from chittyops_core.deploy.targets.local import Layout, LocalTarget
from chittyops_core.secrets import SecretStore
from chittyops_lite_chitty_apps import ChittyAppsOpsLite
from rows.base import LeftOut, Row, by_turns

ROUNDS = 30
WARM_MINUTES = 30

WATCH = """
import http.client, sys, time
def ask():
    connection = http.client.HTTPConnection(sys.argv[1], timeout=30)
    connection.request("GET", "/", headers={"Host": sys.argv[2], "Connection": "close"})
    body = connection.getresponse().read()
    connection.close()
    return body
for _ in sys.stdin:
    before = ask()
    print("asking", flush=True)
    while ask() == before:
        pass
    print(time.monotonic(), flush=True)
"""
"""Asks as fast as it is answered, from each line that it is told until the answer is another one.

By a new connection each time: HAProxy leaves those that it has on the old address, for as long as
they are used. The clock is the whole system's.
"""


def measure(folder: Path) -> Row:
    if why := HAProxy.missing():
        raise LeftOut(why)
    with home(folder) as made:
        lite = ChittyAppsOpsLite(home=made)
        first, second = (lite.deploy(_warm(f"version {n}")) for n in (0, 1))
        layout = Layout(made)
        target = LocalTarget(layout, SecretStore(layout.secrets).get, lambda _: None, _no_user)
        service = Service("warm")
        with (
            two_upstreams(artifact_of(made)) as ports,
            HAProxy(folder / "haproxy", ports[0]) as haproxy,
            _Watcher(second.address) as ours,
            _Watcher(haproxy.address) as theirs,
        ):
            releases = cycle((first.release, second.release))
            upstreams = cycle((ports[1], ports[0]))
            figures = by_turns(
                ROUNDS,
                lambda: ours.visible_ms(lambda: target.serve(service, next(releases))),
                lambda: theirs.visible_ms(lambda: haproxy.switch(next(upstreams))),
            )
    return Row("warm rollback visible", "HAProxy set server visible", "ms", *figures, 2)


def _warm(version: str) -> App:
    found = app(UVICORN, "warm", version)
    deploy = evolve(found.manifest.deploy, warm_rollback=timedelta(minutes=WARM_MINUTES))
    return evolve(found, manifest=evolve(found.manifest, deploy=deploy))


class _Watcher:
    """A client, in a process of its own, that tells when it saw another version."""

    def __init__(self, address: Address) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WATCH, address.connect, address.host],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.communicate()

    def visible_ms(self, switch: Callable[[], None]) -> float:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("begin\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "asking\n"
        start = time.monotonic()
        switch()
        return (float(self._process.stdout.readline()) - start) * 1000


def _no_user(service: object, candidates: object) -> int:
    raise AssertionError("this app wants no user of its own")
