"""The process managers there are, and which one a home has chosen."""

from __future__ import annotations

from collections.abc import Mapping

from chittyops_core.deploy.targets.local.layout import Layout
from chittyops_core.deploy.targets.local.manager import ProcessManager
from chittyops_core.deploy.targets.local.settings import damaged, read_settings
from chittyops_core.deploy.targets.local.supervisor import Supervisor
from chittyops_core.deploy.targets.local.systemd import Systemd

__all__ = ["MANAGERS", "chosen_manager"]

MANAGERS: Mapping[str, type[ProcessManager]] = {each.name: each for each in (Supervisor, Systemd)}


def chosen_manager(layout: Layout, marks: Mapping[str, str]) -> ProcessManager:
    """Return the manager that the home's settings name, else Supervisor. Raises HostError."""
    name = read_settings(layout).get("manager", Supervisor.name)
    if name not in MANAGERS:
        raise damaged(layout)
    return MANAGERS[name](layout, marks)
