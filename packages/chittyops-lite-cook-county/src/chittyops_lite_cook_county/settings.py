"""What this kind demands of an app: shipped in `config/compliance.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files

from attrs import frozen

__all__ = ["Policy"]


@frozen
class Policy:
    """The demands of the gate.

    Attributes:
        edge_headers: Response headers that the edge sets where the app does not.
        required_headers: Mapping of headers that must come back to a word each must hold.
        min_hsts_age_s: Least `max-age` of Strict-Transport-Security, seconds (RFC 6797 6.1.1).
    """

    edge_headers: Mapping[str, str]
    required_headers: Mapping[str, str]
    min_hsts_age_s: int

    @classmethod
    def shipped(cls) -> Policy:
        """Return the policy that comes with this version."""
        text = (files(__package__) / "config" / "compliance.toml").read_text(encoding="utf-8")
        table = tomllib.loads(text)
        return cls(
            edge_headers=table["edge_headers"],
            required_headers=table["required_headers"],
            min_hsts_age_s=table["min_hsts_age_s"],
        )
