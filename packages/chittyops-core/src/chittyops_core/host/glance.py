"""What a home holds, by its files alone: for completing names while somebody types.

Nothing is started, made, locked or settled, so it is cheap, and may be a moment behind. Whoever
needs the truth asks the host (`client`).
"""

from __future__ import annotations

from pathlib import Path

from chittyops_core.deploy.targets.local import Layout
from chittyops_core.model.service import Service
from chittyops_core.secrets import SecretStore

__all__ = ["release_ids", "secret_names", "services"]


def services(home: Path) -> list[Service]:
    """Return the services that have a release, sorted."""
    layout = Layout(home)
    with_release = {path.parents[2].name for path in layout.services.glob("*/releases/*/*.json")}
    return [Service.from_slug(slug) for slug in sorted(with_release)]


def release_ids(home: Path, service: Service) -> list[str]:
    """Return the releases of *service* that are kept, sorted."""
    found = Layout(home).releases(service).glob("*/release.json")
    return sorted(path.parent.name for path in found)


def secret_names(home: Path) -> list[str]:
    """Return the names of the secrets, sorted. Raises SecretError when the store is damaged."""
    return list(SecretStore(Layout(home).secrets).names())
