"""One health request to one instance, straight to where it listens."""

from __future__ import annotations

import http.client
import shlex

from attrs import frozen

from chittyops_core._kit.unix_http import UnixHTTPConnection
from chittyops_core.model.health import InstanceState, Look, Verdict
from chittyops_core.model.release import Release

__all__ = ["Listener", "look_at"]

LOOK_TIMEOUT_S = 5.0
"""A health answer that takes longer is none: users would have left."""

MAX_BODY = 400
MAX_HEADERS = 20


@frozen
class Listener:
    """Where an instance listens: a unix socket, or a loopback port (then *path* is empty)."""

    path: str
    port: int

    @classmethod
    def parse(cls, dial: str) -> Listener:
        """Read one of the edge's upstreams: `unix/PATH` or `127.0.0.1:PORT`."""
        dial = dial.strip()
        if dial.startswith("unix/"):
            return cls(dial.removeprefix("unix/"), 0)
        return cls("", int(dial.rpartition(":")[2]))


def look_at(name: str, pid: int | None, listener: Listener, release: Release) -> InstanceState:
    """Ask *release*'s health path of one instance; only 200 to 299 is healthy."""
    config = release.config
    host = config.health.host or release.canonical_host
    headers = {
        "Host": host,
        "User-Agent": "chittyops-probe",
        "Accept": "*/*",
        "Connection": "close",
        "X-Forwarded-Proto": "https" if config.edge.tls else "http",
    }
    curl = _curl(listener, config.health.path, headers)
    connection = (
        UnixHTTPConnection(listener.path, timeout_s=LOOK_TIMEOUT_S)
        if listener.path
        else http.client.HTTPConnection("127.0.0.1", listener.port, timeout=LOOK_TIMEOUT_S)
    )
    try:
        connection.request("GET", config.health.path, headers=headers)
        answer = connection.getresponse()
        body = answer.read(MAX_BODY).decode(errors="replace")
    except (ConnectionRefusedError, FileNotFoundError):
        why = "it does not listen yet"
        look = Look(curl, error="nothing listens there")
        return InstanceState(name, Verdict.STARTING, pid, why, look)
    except (OSError, http.client.HTTPException) as error:
        why = f"no answer: {type(error).__name__}: {error}"
        return InstanceState(name, Verdict.UNHEALTHY, pid, why, Look(curl, error=why))
    finally:
        connection.close()
    lines = tuple(f"{key}: {text}" for key, text in answer.getheaders()[:MAX_HEADERS])
    look = Look(curl, answer.status, lines, body)
    if 200 <= answer.status < 300:
        return InstanceState(name, Verdict.HEALTHY, pid, f"HTTP {answer.status}", look)
    why = f"GET {config.health.path} answered {answer.status}, expected 200 to 299"
    if location := answer.getheader("Location"):
        why = (
            f"GET {config.health.path} answered {answer.status} to {location}, expected 200 to 299"
        )
    return InstanceState(name, Verdict.UNHEALTHY, pid, why, look)


def _curl(listener: Listener, path: str, headers: dict[str, str]) -> str:
    words = ["curl", "-i"]
    for key in ("Host", "X-Forwarded-Proto"):
        words += ["-H", f"{key}: {headers[key]}"]
    if listener.path:
        words += ["--unix-socket", listener.path, f"http://localhost{path}"]
    else:
        words.append(f"http://127.0.0.1:{listener.port}{path}")
    return shlex.join(words)
