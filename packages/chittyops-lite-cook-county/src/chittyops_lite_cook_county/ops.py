"""CookCountyOpsLite: the hooks, each of which delegates to one module."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

from attrs import evolve

from chittyops_core import App, Deployment, Finding, OpsLite, Plan, Staged
from chittyops_lite_cook_county.compliance import live, repository
from chittyops_lite_cook_county.compliance.live import LiveSubject
from chittyops_lite_cook_county.compliance.runner import Report, run_checks
from chittyops_lite_cook_county.settings import Policy

__all__ = ["CookCountyOpsLite"]


class CookCountyOpsLite(OpsLite):
    """Operates apps of courts and agencies."""

    kind = "cook-county"
    compliance_level = "government"
    audit_required = True

    policy = Policy.shipped()

    def deploy_with_compliance(self, app: App | str | PathLike[str]) -> Deployment:
        """Deploy *app* if every check of the gate runs and passes. As `OpsLite.deploy`."""
        return self.deploy(app)

    def run_compliance_audit(self, subject: Plan | Staged) -> Report:
        """Run the checks of an app's folder (a Plan) or of a staged release (a Staged)."""
        if isinstance(subject, Plan):
            return run_checks(repository.CHECKS, subject)
        return run_checks(live.CHECKS, LiveSubject(subject, self.policy))

    def _configure(self, plan: Plan) -> Plan:
        """Serve by TLS, with the policy's headers where neither app nor manifest sets them."""
        edge = plan.config.edge
        headers = {**self.policy.edge_headers, **edge.headers}
        return evolve(
            plan, config=evolve(plan.config, edge=evolve(edge, tls=True, headers=headers))
        )

    def _preflight(self, plan: Plan) -> Sequence[Finding]:
        return self.run_compliance_audit(plan).findings

    def _inspect(self, staged: Staged) -> Sequence[Finding]:
        return self.run_compliance_audit(staged).findings

    def _served(self, deployment: Deployment) -> None:
        """Nothing follows yet: the receipt lies in the journal, the trail comes with its issue."""
