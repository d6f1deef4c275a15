"""What the parent may see, as the child's operator says in `grants.toml`.

It is applied in one place, where a request is made: nothing can pass it by, and what was put into
the outbox before a grant was taken back does not go out after it. A file that cannot be read
grants nothing.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from attrs import field, frozen

from chittyops_core._kit import files
from chittyops_core.bridge.protocol import ItemKind, Section, Status
from chittyops_core.errors import BridgeError
from chittyops_core.model.manifest_reader import find_line

__all__ = ["FILE_NAME", "NOTHING", "Grants"]

FILE_NAME = "grants.toml"

_SERVICE = re.compile(r'[{,]\s*service="([^"]*)')
_PATTERN = re.compile(r"[A-Za-z0-9._*?\[\]!-]{1,200}")
_FROM_BEST = (
    Status.OPERATIONAL, Status.UNKNOWN, Status.MAINTENANCE, Status.DEGRADED, Status.PARTIAL,
    Status.MAJOR,
)  # fmt: skip


@frozen
class Grants:
    """What goes out.

    Attributes:
        health: How the host and its services are.
        inventory: What runs where, at which commit.
        metrics: Gauges of the host and its services.
        events: What happened, incidents among it.
        include: Patterns of services' slugs (`fnmatch`); those that match none are not reported.
        exclude: Patterns of those that are not reported all the same.
    """

    health: bool = True
    inventory: bool = True
    metrics: bool = True
    events: bool = True
    include: tuple[str, ...] = field(default=("*",), converter=tuple)
    exclude: tuple[str, ...] = field(default=(), converter=tuple)

    @classmethod
    def read(cls, folder: Path) -> Grants:
        """Return the grants in *folder*; the defaults where there is no file.

        Raises:
            BridgeError: The file cannot be read, or says something that is not known. Facts:
                `file`, `line` (1-based) where known.
        """
        path = folder / FILE_NAME
        try:
            text = path.read_text()
            table = tomllib.loads(text)
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError) as error:
            raise BridgeError(
                f"{path}: {error}", remedy="Correct the TOML; until then nothing goes out.",
                file=str(path),
            ) from error  # fmt: skip
        return cls(**_require_known(path, text, table))

    def write(self, folder: Path) -> None:
        """Keep them, also across a power cut. Raises BridgeError for a pattern that is none."""
        for pattern in (*self.include, *self.exclude):
            if not _PATTERN.fullmatch(pattern):
                raise BridgeError(f"{pattern!r} is no pattern of a service's name")
        flags = "".join(f"{name} = {str(getattr(self, name)).lower()}\n" for name in _FLAGS)
        files.write_durably(
            folder / FILE_NAME,
            "# What this host lets its parent see. It holds from the next request on.\n"
            f"[report]\n{flags}\n"
            "# Services by name; * and ? stand for anything. "
            "What is not included is not reported.\n"
            f"[services]\ninclude = {json.dumps(self.include)}\n"
            f"exclude = {json.dumps(self.exclude)}\n",
        )

    def caps(self) -> tuple[str, ...]:
        """Return what the parent is told that it may see (docs/protocol.md section 9)."""
        return tuple(name for name in _FLAGS if getattr(self, name))

    def covers(self, slug: str) -> bool:
        """Say whether anything of a service may go out."""
        return any(fnmatchcase(slug, each) for each in self.include) and not any(
            fnmatchcase(slug, each) for each in self.exclude
        )

    def state(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return what may go out of the sections of a report."""
        allowed: dict[str, Any] = {}
        for name, value in state.items():
            if name == Section.BRIDGE:
                allowed[name] = value
            elif name == Section.INVENTORY and self.inventory:
                allowed[name] = self._services_of(value)
            elif name == Section.HEALTH and self.health:
                allowed[name] = self._health(value)
        return allowed

    def metric(self, name: str) -> bool:
        """Say whether a metric may go out: `NAME{service="SLUG"}` is one of a service."""
        return self.metrics and all(map(self.covers, _SERVICE.findall(name)))

    def item(self, kind: str, body: Any, names: Sequence[str] = ()) -> bool:
        """Say whether an item may go out; *names* are those of a metric item's set."""
        if kind == ItemKind.METRICS:
            return self.metrics and all(map(self.metric, names))
        slug = body.get("service") if isinstance(body, dict) else None
        return self.events and (slug is None or self.covers(str(slug)))

    def _services_of(self, value: Any) -> Any:
        if not isinstance(value, Mapping) or not isinstance(value.get("services"), Mapping):
            return value
        services = value["services"]
        return {**value, "services": {s: v for s, v in services.items() if self.covers(s)}}

    def _health(self, value: Any) -> Any:
        """Return a health section whose status tells nothing of the services that are left out."""
        kept = self._services_of(value)
        if kept == value:
            return value
        parts = [*kept["services"].values(), kept.get("host")]
        found = [each.get("status") for each in parts if isinstance(each, Mapping)]
        worst = max((s for s in _FROM_BEST if s in found), key=_FROM_BEST.index, default=None)
        return {**kept, "status": (worst or Status.UNKNOWN).value}


_FLAGS = ("health", "inventory", "metrics", "events")

NOTHING = Grants(health=False, inventory=False, metrics=False, events=False, include=())


def _require_known(path: Path, text: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """Return key -> value of both tables; anything that is not known is an error."""
    known = {"report": _FLAGS, "services": ("include", "exclude")}
    given: dict[str, Any] = {}
    for section, keys in table.items():
        if section not in known or not isinstance(keys, dict):
            raise _error(path, text, (section,), f"unknown; there is {' and '.join(known)}")
        for key, value in keys.items():
            if key not in known[section]:
                expected = ", ".join(known[section])
                raise _error(path, text, (section, key), f"unknown; there is {expected}")
            if problem := _problem(section, value):
                raise _error(path, text, (section, key), problem)
            given[key] = value
    return given


def _problem(section: str, value: object) -> str:
    """Return what is wrong with a value, or nothing."""
    if section == "report":
        return "" if isinstance(value, bool) else "expected true or false"
    if isinstance(value, list) and all(
        isinstance(each, str) and _PATTERN.fullmatch(each) for each in value
    ):
        return ""
    return 'expected a list of patterns, such as ["shop.*"]'


def _error(path: Path, text: str, key: tuple[str, ...], message: str) -> BridgeError:
    line = find_line(text, key)
    where = f"{path}:{line}" if line else str(path)
    return BridgeError(
        f"{where}: {'.'.join(key)}: {message}",
        remedy="Correct it; until then nothing goes out.", file=str(path), line=line,
    )  # fmt: skip
