"""ChittyOps Lite for consumers and small business.

    from chittyops_lite_chitty_apps import ChittyAppsOpsLite

    ChittyAppsOpsLite().deploy_simple("shop")

A folder is enough: what it does not say is guessed, and the guess is told in plain words.
"""

from typing import TYPE_CHECKING

from chittyops_core._kit import late

if TYPE_CHECKING:
    from chittyops_lite_chitty_apps.ops import ChittyAppsOpsLite
    from chittyops_lite_chitty_apps.settings import Limits

__all__ = ["ChittyAppsOpsLite", "Limits"]

__getattr__ = late.imports(
    __name__,
    {
        "ChittyAppsOpsLite": "chittyops_lite_chitty_apps.ops",
        "Limits": "chittyops_lite_chitty_apps.settings",
    },
)
