"""Whose page it is: a colour and a picture, for white label."""

from __future__ import annotations

import re

from attrs import Attribute, field, frozen

from chittyops_core.errors import UsageError

__all__ = ["Brand", "LOGO_TYPES", "Logo", "MAX_LOGO_BYTES"]

MAX_LOGO_BYTES = 64 * 1024
"""A logo is part of every answer; a larger picture belongs on a site, not in a header."""
LOGO_TYPES = ("image/png", "image/svg+xml", "image/jpeg", "image/webp")
"""A browser runs no script of an SVG that is shown as a picture."""


@frozen
class Logo:
    """A picture beside the page's name. It is inlined, so that no request leaves the host."""

    media_type: str = field()
    data: bytes = field(repr=False)

    @media_type.validator
    def _check_type(self, _: Attribute[str], media_type: str) -> None:
        if media_type not in LOGO_TYPES:
            raise UsageError(f"a logo is one of {', '.join(LOGO_TYPES)}, not {media_type!r}")

    @data.validator
    def _check_size(self, _: Attribute[bytes], data: bytes) -> None:
        if not 0 < len(data) <= MAX_LOGO_BYTES:
            raise UsageError(f"a logo has 1 to {MAX_LOGO_BYTES} bytes, this one {len(data)}")


@frozen
class Brand:
    """Whose page it is.

    Attributes:
        accent: Colour of links and of the line at the top, as `#rrggbb`. It is made darker or
            lighter until text in it is readable in both schemes.
        logo: None for the name alone.
    """

    accent: str = field(default="#2557d6")
    logo: Logo | None = None

    @accent.validator
    def _check_accent(self, _: Attribute[str], accent: str) -> None:
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", accent):
            raise UsageError(f"accent {accent!r} is not a colour such as #2557d6")
