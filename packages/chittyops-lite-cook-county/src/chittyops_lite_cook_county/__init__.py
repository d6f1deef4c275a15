"""ChittyOps Lite for courts and government: nothing serves unless its checks ran and passed.

    from chittyops_lite_cook_county import CookCountyOpsLite

    CookCountyOpsLite().deploy_with_compliance("case-portal")

A check that could not run has not passed, and closes the gate too.
"""

from typing import TYPE_CHECKING

from chittyops_core._kit import late

if TYPE_CHECKING:
    from chittyops_lite_cook_county.compliance.runner import Check, Report
    from chittyops_lite_cook_county.ops import CookCountyOpsLite

__all__ = ["Check", "CookCountyOpsLite", "Report"]

__getattr__ = late.imports(
    __name__,
    {
        "Check": "chittyops_lite_cook_county.compliance.runner",
        "CookCountyOpsLite": "chittyops_lite_cook_county.ops",
        "Report": "chittyops_lite_cook_county.compliance.runner",
    },
)
