"""The files that a browser loads: named by what is in them, so that it asks for each only once."""

from __future__ import annotations

import gzip
import hashlib
from functools import lru_cache
from importlib import resources

from attrs import frozen

from chittyops_core.monitor.page.brand import Brand
from chittyops_core.monitor.page.colour import readable
from chittyops_core.monitor.page.style import DARK, LIGHT

__all__ = ["Asset", "address", "by_address", "style_sheet"]

_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_FILES = ("app.js", "chart.js", "icon.svg")
_VENDORED = ("htmx.min.js", "hx-sse.min.js", "uPlot.iife.min.js", "uPlot.min.css")


@frozen
class Asset:
    """One file.

    Attributes:
        name: As it is in the package.
        address: Where a browser finds it.
        media_type: What it is.
        body: What is in it.
        packed: The same, by gzip.
    """

    name: str
    address: str
    media_type: str
    body: bytes
    packed: bytes

    @classmethod
    def of(cls, name: str, body: bytes) -> Asset:
        stem, _, suffix = name.rpartition(".")
        digest = hashlib.sha256(body).hexdigest()[:12]
        packed = gzip.compress(body, 9, mtime=0)
        return cls(name, f"/static/{stem}.{digest}.{suffix}", _TYPES[suffix], body, packed)


def address(name: str) -> str:
    """Return where a browser finds the file *name*."""
    return _assets()[name].address


def by_address(path: str) -> Asset | None:
    """Return what is at an address, or None."""
    return _by_address().get(path)


def style_sheet() -> str:
    """Return the style sheet: the family's colours, and the dashboard's rules."""
    light, dark = (_variables(palette) for palette in (LIGHT, DARK))
    return (
        f":root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"
        f"@media print{{:root{{{light}}}}}\n{_read('app.css').decode()}"
    )


@lru_cache(maxsize=1)
def _assets() -> dict[str, Asset]:
    bodies = {name: _read(name) for name in _FILES}
    bodies |= {name: _read(f"vendor/{name}") for name in _VENDORED}
    bodies["app.css"] = style_sheet().encode()
    return {name: Asset.of(name, body) for name, body in bodies.items()}


@lru_cache(maxsize=1)
def _by_address() -> dict[str, Asset]:
    return {asset.address: asset for asset in _assets().values()}


def _read(name: str) -> bytes:
    return resources.files(__package__).joinpath("static", name).read_bytes()


def _variables(palette: dict[str, str]) -> str:
    accent = readable(Brand().accent, palette["card"], palette["page"])
    return "".join(f"--{name}:{value};" for name, value in {**palette, "accent": accent}.items())
