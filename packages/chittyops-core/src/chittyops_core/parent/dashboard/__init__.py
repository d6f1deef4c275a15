"""The dashboard: pages that show the fleet to its operators, and the forms by which they act.

Every page reads and every form works without a script; scripts keep an open page true. `words`,
`numbers` and `sparkline` say how things appear, `rows` and `graphs` what of them, `*_page` and
`lists` make pages, `decisions`, `filters` and `tokens_page` take forms, `stream` keeps pages true.
What others wrote is in `static/vendor/`, with where it came from.
"""

from __future__ import annotations

from litestar.router import Router

from chittyops_core.parent import operators
from chittyops_core.parent.dashboard import decisions
from chittyops_core.parent.dashboard.child_page import show_child
from chittyops_core.parent.dashboard.engine import templates
from chittyops_core.parent.dashboard.files import show_file
from chittyops_core.parent.dashboard.filters import forget_filter, save_filter
from chittyops_core.parent.dashboard.fleet_page import show_fleet
from chittyops_core.parent.dashboard.lists import show_activity, show_services
from chittyops_core.parent.dashboard.stream import show_events
from chittyops_core.parent.dashboard.tokens_page import add_token, end_token, show_tokens

__all__ = ["handlers", "templates"]

MAX_BODY = 64 * 1024
"""Bytes of a form."""


def handlers() -> list[Router]:
    """Return the handlers of all pages and forms."""
    return [
        Router(
            "/",
            route_handlers=[
                show_fleet, show_child, show_services, show_activity, show_tokens, add_token,
                end_token, save_filter, forget_filter, show_events, show_file,
                *decisions.handlers(),
            ],
            dependencies=operators.dependencies(),
            exception_handlers=operators.exception_handlers(),
            middleware=[operators.SafeHeaders()],
            request_max_body_size=MAX_BODY,
        )
    ]  # fmt: skip
