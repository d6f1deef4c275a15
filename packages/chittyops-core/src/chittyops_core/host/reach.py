"""What a service that is kept apart may have watched.

The agent looks as the user that it runs as: root, on a host where services have OS users of their
own. There a manifest's monitor must not do what the service itself could not: run a program,
open a file, or speak on a unix socket (Supervisor's, Caddy's, Docker's, another client's). What
looks over the network does nothing that the service's own processes could not do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chittyops_core.errors import ManifestError
from chittyops_core.model.manifest import MonitorSection
from chittyops_core.model.release import ReleaseConfig

__all__ = ["out_of_reach", "require_reach"]

_OPTIONS = {
    "dns": {"server", "type"},
    "heartbeat": {"period", "grace"},
    "http": {"method", "headers", "host", "connect"},
    "tcp": set[str](),
    "tls": {"host"},
}
"""Probes with their options; a probe or option that is not here is refused, so that one that
comes later has to be thought of."""


def out_of_reach(config: ReleaseConfig) -> dict[str, str]:
    """Return the monitors that *config* may not have, by name, with why."""
    if not config.own_user:
        return {}
    found = ((name, _why(section)) for name, section in config.monitors.items())
    return {name: why for name, why in found if why}


def require_reach(config: ReleaseConfig) -> None:
    """Raises ManifestError: a monitor would do what the service itself cannot."""
    for name, why in out_of_reach(config).items():
        raise ManifestError(
            f"[monitor.{name}]: {why}",
            remedy="Look over the network, or let the app look itself and ping a heartbeat: "
            "docs/monitor.md.",
        )


def _why(section: MonitorSection) -> str:
    known = _OPTIONS.get(section.probe)
    if known is None:
        return (
            f"the probe {section.probe!r} would look as the host's own user, and this service "
            "runs as another"
        )
    if others := sorted(section.options.keys() - known):
        return f"the option {others[0]} would make the host's own user open a file"
    if _is_local(section.target) or any(map(_is_local, _texts(section.options))):
        return "a unix socket would be opened by the host's own user"
    return ""


def _texts(options: Mapping[str, Any]) -> list[Any]:
    return [options[name] for name in ("connect", "server") if name in options]


def _is_local(text: Any) -> bool:
    return isinstance(text, str) and text.strip().lower().startswith("unix:")
