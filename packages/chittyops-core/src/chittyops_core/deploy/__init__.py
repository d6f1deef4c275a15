"""deploy-lite: put a release into service without losing a request, and take it back.

`plan` is pure, `engine` holds order and time, `journal` holds intent, a `targets.base.Target`
does the work and knows the truth.
"""

from chittyops_core.deploy.app import App
from chittyops_core.deploy.engine import Attempt, DeployLite
from chittyops_core.deploy.plan import Plan

__all__ = ["App", "Attempt", "DeployLite", "Plan"]
