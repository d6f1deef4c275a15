"""ChittyOps Lite for professional services: one isolated deployment per client.

    from chittyops_lite_digital_dossier import ClientConfig, DigitalDossierOpsLite

    DigitalDossierOpsLite("acme").deploy_for_client("portal", ClientConfig(name="Acme LLP"))

Every client of an app is a service of its own: releases, state, secrets, sockets, host name,
limits. No two share a process, a directory or a route.
"""

from typing import TYPE_CHECKING

from chittyops_core._kit import late

if TYPE_CHECKING:
    from chittyops_lite_digital_dossier.clients import Brand, ClientConfig
    from chittyops_lite_digital_dossier.ops import DigitalDossierOpsLite
    from chittyops_lite_digital_dossier.settings import ServicePlan

__all__ = ["Brand", "ClientConfig", "DigitalDossierOpsLite", "ServicePlan"]

__getattr__ = late.imports(
    __name__,
    {
        "Brand": "chittyops_lite_digital_dossier.clients",
        "ClientConfig": "chittyops_lite_digital_dossier.clients",
        "DigitalDossierOpsLite": "chittyops_lite_digital_dossier.ops",
        "ServicePlan": "chittyops_lite_digital_dossier.settings",
    },
)
