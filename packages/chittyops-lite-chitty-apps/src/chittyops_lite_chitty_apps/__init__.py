"""ChittyOps Lite for consumers and small business.

    from chittyops_lite_chitty_apps import ChittyAppsOpsLite

    ChittyAppsOpsLite().deploy_simple("shop")

A folder is enough: what it does not say is guessed, and the guess is told in plain words.
"""

from chittyops_lite_chitty_apps.ops import ChittyAppsOpsLite
from chittyops_lite_chitty_apps.settings import Limits

__all__ = ["ChittyAppsOpsLite", "Limits"]
