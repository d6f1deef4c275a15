"""The JSON API of operators, under /v1/: the same rules as the pages, for programs."""

from __future__ import annotations

from litestar.handlers import BaseRouteHandler

from chittyops_core.parent.operators import operators_api

__all__ = ["handlers"]


def handlers() -> list[BaseRouteHandler]:
    """Return the handlers of the API."""
    return [*operators_api.handlers()]
