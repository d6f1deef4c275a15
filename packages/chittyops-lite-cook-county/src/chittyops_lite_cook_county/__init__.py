"""ChittyOps Lite for courts and government: nothing serves unless its checks ran and passed.

    from chittyops_lite_cook_county import CookCountyOpsLite

    CookCountyOpsLite().deploy_with_compliance("case-portal")

A check that could not run has not passed, and closes the gate too.
"""

from chittyops_lite_cook_county.compliance.runner import Check, Report
from chittyops_lite_cook_county.ops import CookCountyOpsLite

__all__ = ["Check", "CookCountyOpsLite", "Report"]
