"""Operations for app teams: deploy-lite, and what grows around it.

    from chittyops_core import App, OpsLite

`OpsLite` is subclassed by the three lites (`chittyops_lite_cook_county`,
`chittyops_lite_digital_dossier`, `chittyops_lite_chitty_apps`), which apps install and import.
Importing this package loads no SDK and no command-line library, and each of its names only when
it is first asked for.
"""

from typing import TYPE_CHECKING, Any

from chittyops_core import errors
from chittyops_core._kit import late
from chittyops_core.errors import ChittyOpsError

if TYPE_CHECKING:
    from chittyops_core.deploy.app import App
    from chittyops_core.deploy.plan import Plan
    from chittyops_core.host.protocol import Deployment, Staged
    from chittyops_core.lite import OpsLite
    from chittyops_core.model.finding import Evidence, Finding, Outcome, Result, Severity
    from chittyops_core.model.service import Service

__all__ = [
    "App",
    "ChittyOpsError",
    "Deployment",
    "Evidence",
    "Finding",
    "OpsLite",
    "Outcome",
    "Plan",
    "Result",
    "Service",
    "Severity",
    "Staged",
    "errors",
]

_named = late.imports(
    __name__,
    {
        "App": "chittyops_core.deploy.app",
        "Deployment": "chittyops_core.host.protocol",
        "Evidence": "chittyops_core.model.finding",
        "Finding": "chittyops_core.model.finding",
        "OpsLite": "chittyops_core.lite",
        "Outcome": "chittyops_core.model.finding",
        "Plan": "chittyops_core.deploy.plan",
        "Result": "chittyops_core.model.finding",
        "Service": "chittyops_core.model.service",
        "Severity": "chittyops_core.model.finding",
        "Staged": "chittyops_core.host.protocol",
    },
)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("chittyops-core")
    return _named(name)
