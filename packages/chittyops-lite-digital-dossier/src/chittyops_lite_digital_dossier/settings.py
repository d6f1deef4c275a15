"""What one client may take of a host: shipped in `config/plan.toml`."""

from __future__ import annotations

import tomllib
from importlib.resources import files

from attrs import frozen

from chittyops_core.model.manifest_reader import parse_size

__all__ = ["ServicePlan"]


@frozen
class ServicePlan:
    """Bounds of one client's deployment.

    Attributes:
        max_instances: Of all its processes together.
        memory: Bytes that one process gets where nothing is said.
        max_memory: Bytes that one process may be given.
    """

    max_instances: int
    memory: int
    max_memory: int

    @classmethod
    def shipped(cls) -> ServicePlan:
        """Return the plan that comes with this version."""
        text = (files(__package__) / "config" / "plan.toml").read_text(encoding="utf-8")
        table = tomllib.loads(text)
        return cls(
            max_instances=table["max_instances"],
            memory=parse_size(table["memory"]),
            max_memory=parse_size(table["max_memory"]),
        )
