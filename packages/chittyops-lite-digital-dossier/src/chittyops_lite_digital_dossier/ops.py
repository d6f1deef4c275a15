"""DigitalDossierOpsLite: the hooks, each of which delegates to one module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Self

from attrs import evolve

from chittyops_core import App, Deployment, Finding, OpsLite, Plan, Staged
from chittyops_core.deploy.engine import Event
from chittyops_core.errors import UsageError
from chittyops_core.model.release import Variable
from chittyops_lite_digital_dossier import isolation
from chittyops_lite_digital_dossier.clients import Brand, ClientConfig, brand_variables
from chittyops_lite_digital_dossier.settings import ServicePlan

__all__ = ["DigitalDossierOpsLite"]


class DigitalDossierOpsLite(OpsLite):
    """Operates an app for one client, apart from all others."""

    kind = "digital-dossier"
    multi_tenant = True
    custom_branding = True

    terms = ServicePlan.shipped()

    def __init__(
        self,
        client_id: str,
        *,
        home: str | PathLike[str] | None = None,
        notify: Callable[[Event], None] | None = None,
    ) -> None:
        """Make an operator for the client *client_id*; the rest is as in OpsLite."""
        super().__init__(client=client_id, home=home, notify=notify)
        self._is_client_given = False

    @classmethod
    def operator(
        cls,
        *,
        client: str | None,
        home: str | PathLike[str] | None,
        notify: Callable[[Event], None] | None,
    ) -> Self:
        if client is None:
            raise UsageError(
                f"{cls.kind} runs every client by itself, and no client is named",
                remedy="Name one: --client NAME (`chittyops clients` lists them).",
            )
        return cls(client, home=home, notify=notify)

    def deploy_for_client(
        self,
        app: App | str | PathLike[str],
        client_config: ClientConfig | None = None,
    ) -> Deployment:
        """Deploy *app* for this client. As `OpsLite.deploy`.

        Args:
            app: An App, or the path of its folder.
            client_config: The client's own settings; `clients/NAME.toml` when left out.
        """
        if client_config is None:
            return self.deploy(app)
        if isinstance(app, App):
            app = app.folder
        self._is_client_given = True
        try:
            return self.deploy(self.load(app, overlay=client_config.overlay()))
        finally:
            self._is_client_given = False

    def setup_client_isolation(self, plan: Plan) -> Plan:
        """Return *plan* with the client's limits and an OS user of its own. Pure."""
        return isolation.separated(isolation.bound(plan, self.terms))

    def apply_client_branding(self, plan: Plan) -> Plan:
        """Return *plan* with the client's brand in its variables, where nothing else says. Pure."""
        default = brand_variables(Brand((plan.service.client or "").replace("-", " ").title()))
        missing = {
            name: Variable(value)
            for name, value in default.items()
            if name not in plan.config.variables
        }
        variables = {**plan.config.variables, **missing}
        return evolve(plan, config=evolve(plan.config, variables=variables))

    def _configure(self, plan: Plan) -> Plan:
        isolated = self.setup_client_isolation(plan)
        return self.apply_client_branding(isolated) if self.custom_branding else isolated

    def _preflight(self, plan: Plan) -> Sequence[Finding]:
        return [
            isolation.is_known(plan, is_given=self._is_client_given),
            isolation.listens_privately(plan),
            isolation.has_own_user(plan),
            isolation.within_plan(plan, self.terms),
        ]

    def _inspect(self, staged: Staged) -> Sequence[Finding]:
        return [isolation.runs_as_own_user(staged), isolation.answers_alone(staged)]

    def _served(self, deployment: Deployment) -> None:
        """Nothing follows yet: SLA objectives come with monitor-lite."""
