"""What an app of this kind may cost: shipped in `config/limits.toml`."""

from __future__ import annotations

import tomllib
from importlib.resources import files

from attrs import frozen

from chittyops_core.model.manifest_reader import parse_size

__all__ = ["Limits"]


@frozen
class Limits:
    """Bounds that keep an app cheap.

    Attributes:
        max_instances: Of all processes together.
        memory: Bytes that a process gets where the manifest says nothing.
        kept_releases: How many old releases to keep besides serving and previous.
        slow_answer_s: Seconds from which an answer is called slow.
    """

    max_instances: int
    memory: int
    kept_releases: int
    slow_answer_s: float

    @classmethod
    def shipped(cls) -> Limits:
        """Return the limits that come with this version."""
        text = (files(__package__) / "config" / "limits.toml").read_text(encoding="utf-8")
        table = tomllib.loads(text)
        return cls(
            max_instances=table["max_instances"],
            memory=parse_size(table["memory"]),
            kept_releases=table["kept_releases"],
            slow_answer_s=table["slow_answer_s"],
        )
