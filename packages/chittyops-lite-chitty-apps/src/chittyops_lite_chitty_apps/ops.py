"""ChittyAppsOpsLite: the hooks, each of which delegates to one module."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

from chittyops_core import App, Deployment, Finding, OpsLite, Plan, Staged
from chittyops_lite_chitty_apps import cost, monitoring
from chittyops_lite_chitty_apps.settings import Limits

__all__ = ["ChittyAppsOpsLite"]


class ChittyAppsOpsLite(OpsLite):
    """Operates apps that should cost little and ask little of their owner."""

    kind = "chitty-apps"
    simplicity_mode = True
    cost_optimized = True

    limits = Limits.shipped()

    def deploy_simple(self, app: App | str | PathLike[str]) -> Deployment:
        """Deploy the app of a folder, with or without a manifest. As `OpsLite.deploy`."""
        return self.deploy(app)

    def optimize_for_cost(self, plan: Plan) -> Plan:
        """Return *plan* with bounds where its manifest sets none. Pure."""
        return cost.bound(plan, self.limits)

    def setup_basic_monitoring(self, staged: Staged) -> Sequence[Finding]:
        """Ask the staged release once, through the real edge, and say how it answered."""
        return [monitoring.first_answer(staged, self.limits)]

    def _configure(self, plan: Plan) -> Plan:
        return self.optimize_for_cost(plan) if self.cost_optimized else plan

    def _preflight(self, plan: Plan) -> Sequence[Finding]:
        return [cost.within_limits(plan, self.limits)]

    def _inspect(self, staged: Staged) -> Sequence[Finding]:
        return self.setup_basic_monitoring(staged)

    def _served(self, deployment: Deployment) -> None:
        """Nothing follows yet: monitors come with monitor-lite."""
