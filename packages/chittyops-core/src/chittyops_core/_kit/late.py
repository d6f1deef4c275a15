"""Public names of a package that are imported when somebody asks for them (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["imports"]


def imports(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a `__getattr__` for *package*.

    Args:
        package: Its `__name__`.
        homes: Mapping of each public name to the module that defines it.
    """

    def get(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name)
        value = getattr(import_module(home), name)
        # From now on it is an attribute like any other.
        setattr(sys.modules[package], name, value)
        return value

    return get
