"""Operations for app teams: deploy-lite, and what grows around it.

    from chittyops_core import App, OpsLite

`OpsLite` is subclassed by the three lites (`chittyops_lite_cook_county`,
`chittyops_lite_digital_dossier`, `chittyops_lite_chitty_apps`), which apps install and import.
Importing this package loads no SDK and no command-line library.
"""

from chittyops_core import errors
from chittyops_core.deploy.app import App
from chittyops_core.deploy.plan import Plan
from chittyops_core.errors import ChittyOpsError
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


def __getattr__(name: str) -> str:
    if name == "__version__":
        # Late: importlib.metadata costs as much as all the rest of this import.
        from importlib.metadata import version

        return version("chittyops-core")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
