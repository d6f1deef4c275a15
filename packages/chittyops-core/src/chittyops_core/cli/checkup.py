"""What `chittyops doctor` looks at."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from chittyops_core.cli.lites import installed
from chittyops_core.cli.render import parent_line
from chittyops_core.errors import ChittyOpsError
from chittyops_core.host import HostClient, default_home
from chittyops_core.host.protocol import BootPlan

__all__ = ["Checked", "examine"]

NEEDED_MB = 500
"""A host runtime (about 200 MB) and a first release with its environment."""


@frozen
class Checked:
    """One thing looked at. `remedy` is what to do where it is not well."""

    name: str
    is_well: bool
    found: str
    remedy: str = ""


def examine() -> Iterator[Checked]:
    """Look at this machine, from what is quick to what is not."""
    yield Checked("python", True, f"{platform.python_version()} at {sys.executable}")
    yield Checked(
        "system", os.name == "posix", platform.platform(), "Only POSIX systems are supported."
    )
    lites = installed()
    yield Checked(
        "lites", bool(lites), ", ".join(lites) or "none installed",
        "pip install chittyops-lite-chitty-apps (or -cook-county, -digital-dossier)",
    )  # fmt: skip
    home = default_home()
    yield _home(home)
    yield _disk(home)
    try:
        with HostClient() as host:
            report, boot, parent = host.status(), host.boot(), host.bridge()
    except ChittyOpsError as error:
        yield Checked("host", False, error.message, error.remedy)
        return
    state = "running" if report.host.supervisor_pid else "stopped"
    should_run = any(each.serving for each in report.services)
    yield Checked(
        "host", not should_run or bool(report.host.supervisor_pid),
        f"{state}, {len(report.services)} services", "chittyops host start",
    )  # fmt: skip
    yield Checked(
        "version", not report.host.is_outdated, report.host.running or report.host.runtime,
        "What runs is of an older version: chittyops host upgrade",
    )  # fmt: skip
    yield _boot(boot)
    if parent is not None:
        is_well = parent["outcome"] in ("answered", "") and not parent["trouble"]
        found = parent_line(parent)
        yield Checked("parent", is_well, found, "chittyops bridge status; docs/bridge.md")
    for each in report.services:
        is_well = each.health == "healthy" and not each.unfinished
        yield Checked(
            "service", is_well, f"{each.service}: {each.health}",
            f"chittyops logs --app {each.service.app}; chittyops recover",
        )  # fmt: skip


def _home(home: Path) -> Checked:
    nearest = next(p for p in (home, *home.parents) if p.exists())
    is_well = os.access(nearest, os.W_OK)
    return Checked("home", is_well, str(home), "Set CHITTYOPS_HOME to a folder of yours.")


def _boot(plan: BootPlan) -> Checked:
    if plan.written is None:
        return Checked("boot", True, "does not start with this machine (chittyops host enable)")
    found = f"starts with this machine, by {plan.how}" if plan.is_enabled else (
        f"what should start it with this machine is not up to date ({plan.place})"
    )  # fmt: skip
    return Checked("boot", plan.is_enabled, found, "chittyops host enable")


def _disk(home: Path) -> Checked:
    nearest = next(p for p in (home, *home.parents) if p.exists())
    free_mb = shutil.disk_usage(nearest).free // 2**20
    return Checked(
        "disk", free_mb >= NEEDED_MB, f"{free_mb} MB free",
        f"Free some: a first deploy wants {NEEDED_MB} MB.",
    )  # fmt: skip
