"""What benchmarks need of the machine: ports, processes that are ready, homes, apps."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from attrs import evolve

from chittyops_core import App
from chittyops_core.host import HostClient
from chittyops_core.model.manifest import EnvVar

__all__ = [
    "SMALL",
    "UVICORN",
    "app",
    "artifact_of",
    "free_port",
    "home",
    "two_upstreams",
    "wait_for_port",
]

HERE = Path(__file__).parent
UVICORN = HERE / "app"
"""An app with an environment of its own: what most deploys are like."""
SMALL = HERE / "small"
"""An app that needs nothing installed, for two hundred of them."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return once *process* accepts connections on *port* of this machine."""
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@contextmanager
def home(folder: Path, name: str = "h") -> Iterator[Path]:
    """A host of its own, with ports of its own, taken down afterwards.

    Hosts in the same *folder* share the runtime, which is 200 MB.
    """
    made, runtimes = folder / name, folder / "runtime"
    made.mkdir(mode=0o700)
    runtimes.mkdir(mode=0o700, exist_ok=True)
    (made / "runtime").symlink_to(runtimes)
    try:
        with HostClient(made) as host:
            host.start_host(http=free_port(), https=free_port())
        yield made
    finally:
        with HostClient(made) as host:
            host.erase()


def app(source: Path, name: str, version: str, env: Mapping[str, str] | None = None) -> App:
    """Return the app of *source* as *name*; another *version* is a deploy without a build."""
    found = App.load(source)
    manifest = found.manifest
    variables = {"VERSION": version, **(env or {})}
    named = evolve(
        manifest,
        app=evolve(manifest.app, name=name),
        env={key: EnvVar(value=value) for key, value in variables.items()},
    )
    return evolve(found, manifest=named)


def artifact_of(made: Path) -> Path:
    """Return the one artifact with an environment that the host *made* has."""
    found = [path for path in (made / "artifacts").iterdir() if (path / "venv").exists()]
    assert len(found) == 1, found
    return found[0]


@contextmanager
def two_upstreams(artifact: Path) -> Iterator[tuple[int, int]]:
    """Two uvicorns of the same artifact that say different versions, on TCP ports."""
    with ExitStack() as stack:
        ports = (free_port(), free_port())
        for number, port in enumerate(ports):
            process = subprocess.Popen(
                [artifact / "venv/bin/uvicorn", "app:app", "--port", str(port), "--lifespan", "off",
                 "--no-access-log", "--log-level", "error"],
                cwd=artifact / "app", env={"VERSION": f"version {number}", "PATH": os.defpath},
            )  # fmt: skip
            stack.callback(process.wait)
            stack.callback(process.kill)
            wait_for_port(port, process)
        yield ports
