"""What the agent of a host watches: what each service's serving release asks for, and the host.

No service is registered anywhere. The agent looks at what serves, so that a deploy, a rollback, a
removal and a crash in the middle of any are all seen alike.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chittyops_core.deploy.targets.base import Address
from chittyops_core.errors import ChittyOpsError, ManifestError, ObjectiveError
from chittyops_core.host.reach import out_of_reach
from chittyops_core.model.manifest import MonitorSection
from chittyops_core.model.monitoring import Monitor
from chittyops_core.model.release import Release
from chittyops_core.model.service import Service

if TYPE_CHECKING:
    from chittyops_core.monitor.objectives import Objective

__all__ = ["HOST_DISK", "HOST_EDGE", "HOST_HISTORY", "OBJECTIVES", "PROCESSES", "WEB",
           "monitors_of_host", "monitors_of_service", "objective_files", "objectives_of",
           "read_objectives", "require_monitors", "require_objectives"]  # fmt: skip

WEB, PROCESSES = "web", "processes"
"""Monitors that every service has; a manifest may not name others so."""

HOST_EDGE = "host/edge"
HOST_DISK = "host/disk"
HOST_HISTORY = "host/history"
"""What the agent keeps, and whether there is room for it."""

OBJECTIVES = "slo"
"""Folder of an app that holds its objectives."""

MAX_FILES = 20
MAX_FILE_BYTES = 128 * 1024
"""PyYAML takes a second for it, in the agent of all services."""
MAX_OBJECTIVES = 100
"""Of one service; each is judged once a minute, over windows of up to the whole period."""

INTERVAL_S = 10.0
"""Of what is always watched: three failures fire after half a minute."""

TIMEOUT_S = 5.0
"""A health answer that takes longer is none, as for the gate; and shorter than the interval, so
that a service which hangs is looked at as often as one that answers."""


def monitors_of_host(home: Path, http_port: int) -> list[Monitor]:
    """Return what is watched of the host itself.

    Args:
        home: Its CHITTYOPS_HOME, on the disk that fills.
        http_port: Where the edge listens.
    """
    return [
        Monitor(
            HOST_EDGE, "tcp", f"127.0.0.1:{http_port}", interval_s=INTERVAL_S, timeout_s=TIMEOUT_S
        ),
        Monitor(HOST_DISK, "disk", str(home), interval_s=60),
    ]


def monitors_of_service(release: Release, address: Address) -> list[Monitor]:
    """Return what is watched of a service.

    Args:
        release: What serves.
        address: How it is reached through the edge.
    """
    slug = release.service.slug
    health = release.config.health
    web = Monitor(
        f"{slug}/{WEB}",
        "http",
        f"{address.url}{health.path}",
        slug,
        interval_s=INTERVAL_S,
        timeout_s=TIMEOUT_S,
        conditions=("status >= 200", "status < 300"),
        options=_through_edge(address),
        depends_on=(HOST_EDGE,),
    )
    instances = sum(process.instances for process in release.config.processes.values())
    processes = Monitor(
        f"{slug}/{PROCESSES}",
        "process",
        "pid:",
        slug,
        interval_s=INTERVAL_S,
        conditions=(f"processes >= {instances}",),
        # One outage, one message: a process that ends and is missed is the web monitor's to tell.
        depends_on=(HOST_EDGE, web.name),
    )
    refused = out_of_reach(release.config)  # Releases of before that was refused have them.
    declared = (
        _declared(slug, name, section, address)
        for name, section in sorted(release.config.monitors.items())
        if name not in refused
    )
    return [web, processes, *declared]


def require_monitors(service: Service, declared: Mapping[str, MonitorSection]) -> None:
    """Check a manifest's [monitor.NAME] strictly, before anything is built.

    Raises:
        ManifestError: Its probe is unknown, or its target, a condition or an option does not fit.
    """
    if not declared:
        return
    from chittyops_core.monitor.probes import require

    nowhere = Address("http://app.localhost", "127.0.0.1:1", "app.localhost", False, None, "")
    for name, section in declared.items():
        if name in (WEB, PROCESSES):
            raise ManifestError(
                f"[monitor.{name}] is there already: every service has it",
                remedy="Choose another name.",
            )
        if section.probe == "http" and not section.target.startswith("/"):
            _require_address(name, section.target)
        try:
            require(_declared(service.slug, name, section, nowhere))
        except ChittyOpsError as error:
            raise ManifestError(
                f"[monitor.{name}]: {error.message}",
                remedy="docs/monitor.md has the probes with their options and conditions.",
                detail=error.detail,
            ) from error


def _require_address(name: str, target: str) -> None:
    if "://" not in target and not target.startswith("unix:"):
        raise ManifestError(
            f"[monitor.{name}]: target {target!r} is neither a path of the app nor an address",
            remedy="Write /path, http://..., https://... or unix:/path.sock:/path.",
        )


def objectives_of(app: Path) -> list[Objective]:
    """Return the objectives in an app's folder `slo/`, read strictly.

    Raises:
        ObjectiveError: One of them is wrong; the message names file and line.
    """
    found: dict[str, Objective] = {}
    for path in objective_files(app):
        for each in read_objectives(path, app):
            if each.name in found:
                raise ObjectiveError(f"{path}: the objective {each.name!r} is there twice")
            found[each.name] = each
    if len(found) > MAX_OBJECTIVES:
        raise ObjectiveError(f"{app / OBJECTIVES} holds more than {MAX_OBJECTIVES} objectives")
    return list(found.values())


def objective_files(app: Path) -> list[Path]:
    """Return the files of objectives in an app's folder. Raises ObjectiveError for too many."""
    paths = sorted((app / OBJECTIVES).glob("*.y*ml"))
    if len(paths) > MAX_FILES:
        raise ObjectiveError(f"{app / OBJECTIVES} holds more than {MAX_FILES} files of objectives")
    return paths


def read_objectives(path: Path, app: Path) -> list[Objective]:
    """Read one file of an app; what leads out of *app*, or holds its reader up, is refused.

    Raises:
        ObjectiveError: It is wrong; the message names file and line.
    """
    from chittyops_core.monitor.objective_files import read_files
    from chittyops_core.monitor.objectives import MonitorEvents

    try:
        info = path.stat()
        is_own = path.resolve(strict=True).is_relative_to(app.resolve())
    except (OSError, RuntimeError) as error:
        raise ObjectiveError(f"{path}: cannot be read: {error}") from error
    if not is_own or not stat.S_ISREG(info.st_mode):
        raise ObjectiveError(f"{path}: no file of the app")
    if info.st_size > MAX_FILE_BYTES:
        raise ObjectiveError(f"{path}: larger than {MAX_FILE_BYTES >> 10} KiB")
    found = list(read_files([path]))
    for each in found:
        if isinstance(each.indicator, MonitorEvents) and "/" in each.indicator.monitor:
            raise ObjectiveError(
                f"{path}: {each.name}: an app promises what its own monitors see, in whatever "
                f"environment it runs; {each.indicator.monitor!r} names a service",
                remedy=f"Name one of its own: {WEB}, {PROCESSES}, or a [monitor.NAME].",
            )
    return found


def require_objectives(app: Path, declared: Mapping[str, MonitorSection]) -> None:
    """Check an app's objectives strictly, before anything is built.

    Raises:
        ObjectiveError: One is wrong, or of a monitor that there is not.
    """
    if not (app / OBJECTIVES).is_dir():
        return
    from chittyops_core.monitor.objectives import MonitorEvents

    known = (WEB, PROCESSES, *declared)
    for each in objectives_of(app):
        if isinstance(each.indicator, MonitorEvents) and each.indicator.monitor not in known:
            raise ObjectiveError(
                f"the objective {each.name!r} is of a monitor {each.indicator.monitor!r}, "
                "and the app has none of that name",
                remedy=f"It has {', '.join(known)}; `[monitor.NAME]` in the manifest adds one.",
            )


def _declared(slug: str, name: str, section: MonitorSection, address: Address) -> Monitor:
    target, options = section.target, dict(section.options)
    is_own_path = section.probe == "http" and target.startswith("/")
    if is_own_path:
        target = f"{address.url}{target}"
        options = _through_edge(address) | options
    return Monitor(
        f"{slug}/{name}",
        section.probe,
        target,
        slug,
        interval_s=section.interval.total_seconds(),
        timeout_s=section.timeout.total_seconds(),
        conditions=section.conditions,
        options=options,
        depends_on=(HOST_EDGE, f"{slug}/{WEB}") if is_own_path else (),
    )


def _through_edge(address: Address) -> dict[str, Any]:
    options: dict[str, Any] = {"connect": address.connect}
    if address.ca_file is not None:
        options["ca_file"] = address.ca_file
    return options
