"""The status page: rendered from frozen values, with nothing but the standard library.

`snapshot` and `brand` hold the values and what follows from them, `render` makes the HTML,
`statuspage` the JSON of Statuspage's public API, `badge` and `feed` the rest, and `api.respond`
joins them behind one pure function. Nothing here opens a socket, a file or a database: the agent
does.
"""

from chittyops_core.monitor.page.api import Response, respond
from chittyops_core.monitor.page.brand import Brand, Logo
from chittyops_core.monitor.page.snapshot import (
    Component,
    ComponentStatus,
    Day,
    Impact,
    Incident,
    IncidentStatus,
    Maintenance,
    MaintenanceStatus,
    Overall,
    Page,
    ResponseTime,
    Update,
    overall,
    uptime,
)

__all__ = [
    "Brand",
    "Component",
    "ComponentStatus",
    "Day",
    "Impact",
    "Incident",
    "IncidentStatus",
    "Logo",
    "Maintenance",
    "MaintenanceStatus",
    "Overall",
    "Page",
    "Response",
    "ResponseTime",
    "Update",
    "overall",
    "respond",
    "uptime",
]
