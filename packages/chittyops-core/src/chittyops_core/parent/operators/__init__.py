"""Who operates a parent: accounts, sessions, API tokens, roles, and the pages and API for them.

`guards` stands before every handler of the parent that is not public: `may(Role.X)`. `signing_in`
and `oidc` prove who somebody is, `accounts`, `sessions` and `api_tokens` keep it, `csrf` proves
that a request was meant, `limits` says how often one may try, `problems` refuses.
"""

from __future__ import annotations

from litestar.di import Provide
from litestar.router import Router

from chittyops_core.parent.access import Operator, Role
from chittyops_core.parent.operators import api, pages
from chittyops_core.parent.operators.csrf import csrf_field, csrf_token
from chittyops_core.parent.operators.guards import (
    Caller,
    May,
    SignedIn,
    caller_of,
    may,
    provide_operator,
)  # fmt: skip
from chittyops_core.parent.operators.pages import PUBLIC
from chittyops_core.parent.operators.problems import exception_handlers
from chittyops_core.parent.operators.requests import address_of, local_path
from chittyops_core.parent.operators.safe_headers import SafeHeaders

__all__ = [
    "PUBLIC", "Caller", "May", "Operator", "Role", "SafeHeaders", "SignedIn", "address_of",
    "caller_of", "csrf_field", "csrf_token", "dependencies", "exception_handlers", "handlers",
    "local_path", "may",
]  # fmt: skip

MAX_BODY = 64 * 1024
"""Bytes of a request to what is here."""


def dependencies() -> dict[str, Provide]:
    """Return what handlers may ask for: `operator`, where `may` stands before them.

    For a router: Litestar takes a provider at one level only.
    """
    return {"operator": Provide(provide_operator, sync_to_thread=False)}


def handlers() -> list[Router]:
    """Return all that operators reach here, by page and by API."""
    return [
        Router(
            "/",
            route_handlers=[*pages.handlers(), *api.handlers()],
            dependencies=dependencies(),
            exception_handlers=exception_handlers(),
            middleware=[SafeHeaders()],
            request_max_body_size=MAX_BODY,
        )
    ]
