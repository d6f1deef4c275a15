"""What is a client's own: its name, brand, host names, variables and limits.

It is either given as a ClientConfig, or stands in `clients/NAME.toml` of the app's folder, with
the keys of `chittyops.toml`. Either is laid over the manifest before anything is planned.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import Attribute, field, frozen

from chittyops_core.deploy.app import client_file

__all__ = ["Brand", "ClientConfig", "brand_variables", "known_clients"]

_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


@frozen
class Brand:
    """How a client's deployment looks.

    Attributes:
        name: As its users read it.
        color: `#rrggbb`.
    """

    name: str
    color: str | None = field(default=None)

    @color.validator
    def _is_color(self, _: Attribute[Any], value: str | None) -> None:
        if value is not None and not _COLOR.fullmatch(value):
            raise ValueError(f"a brand's color is #rrggbb, got {value!r}")


@frozen
class ClientConfig:
    """One client's own settings.

    Attributes:
        brand: How its deployment looks.
        hosts: Public host names; it also answers on CLIENT.APP.localhost.
        env: Plain variables; secrets stay references, in the app's manifest.
        memory: Limit of each process, such as `512M`.
        instances: Of the web process.
    """

    brand: Brand | None = None
    hosts: tuple[str, ...] = ()
    env: Mapping[str, str] = field(factory=dict)
    memory: str | None = None
    instances: int | None = None

    def overlay(self) -> dict[str, Any]:
        """Return it as keys of `chittyops.toml`."""
        web = {"memory": self.memory, "instances": self.instances}
        layer: dict[str, Any] = {
            "env": {**(brand_variables(self.brand) if self.brand else {}), **self.env},
            "process": {"web": {key: value for key, value in web.items() if value is not None}},
        }
        if self.hosts:
            layer["app"] = {"hosts": list(self.hosts)}
        return layer


def brand_variables(brand: Brand) -> dict[str, str]:
    """Return what an app reads its brand from."""
    variables = {"BRAND_NAME": brand.name}
    if brand.color is not None:
        variables["BRAND_COLOR"] = brand.color
    return variables


def known_clients(folder: Path) -> list[str]:
    """Return the names of the clients that an app's folder has files of, sorted."""
    return sorted(path.stem for path in client_file(folder, "x").parent.glob("*.toml"))
