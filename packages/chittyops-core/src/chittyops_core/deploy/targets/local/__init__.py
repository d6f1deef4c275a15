"""Releases as supervised processes of this machine, behind a Caddy switched by a pointer.

`layout` says where everything lies, `builder` makes artifacts with uv, `manager` is the seam to
the process manager (`supervisor` or `systemd`, as `managers` finds in `settings`), `edge` drives
Caddy (`caddy` renders its configuration, `routes` has the links that it follows), `target` joins
them.
"""

from chittyops_core.deploy.targets.local.caddy import Acme, HostSettings
from chittyops_core.deploy.targets.local.edge import Edge
from chittyops_core.deploy.targets.local.layout import Layout
from chittyops_core.deploy.targets.local.target import Companion, LocalTarget

__all__ = ["Acme", "Companion", "Edge", "Layout", "LocalTarget", "HostSettings"]
