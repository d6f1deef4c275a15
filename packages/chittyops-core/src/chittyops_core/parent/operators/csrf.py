"""That a request was meant: the token of a form, and where a browser says that it comes from.

The token is a keyed hash over a random salt, keyed by the session's own secret: nothing has to be
stored, another session's token is worth nothing, and no two pages show the same one, so that
compression tells nobody its digits (BREACH).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from urllib.parse import urlsplit

from litestar import Request
from litestar.enums import RequestEncodingType
from markupsafe import Markup

from chittyops_core.parent.operators.problems import CsrfFailed
from chittyops_core.parent.operators.requests import Connection

__all__ = ["FIELD", "HEADER", "csrf_field", "csrf_token", "make", "require"]

FIELD = "csrf"
"""The name of the field in every form."""

HEADER = "x-csrf-token"
"""Where a script sends it instead."""

_SALT = 16
_SAFE_SITES = ("same-origin", "none")


def make(secret: str) -> str:
    """Return a token for pages of the session whose cookie has *secret*."""
    salt = secrets.token_bytes(_SALT)
    return base64.urlsafe_b64encode(salt + _mac(secret, salt)).decode()


def csrf_token(connection: Connection) -> str:
    """Return a token for the page that answers this request."""
    secret = connection.state.get("csrf_secret")
    return make(secret) if secret else ""


def csrf_field(connection: Connection) -> Markup:
    """Return the hidden field that every form of ours has; templates call it with `request`."""
    return Markup('<input type="hidden" name="{}" value="{}">').format(
        FIELD, csrf_token(connection)
    )


async def require(connection: Connection, secret: str) -> None:
    """Raise CsrfFailed unless the request was made by a page of ours, for this session."""
    _require_own_site(connection)
    sent = connection.headers.get(HEADER) or await _form_token(connection)
    if not sent or not _is_right(secret, sent):
        raise CsrfFailed(
            "This form has no valid token: it is from before you signed in, or from elsewhere. "
            "Load the page again."
        )


def _require_own_site(connection: Connection) -> None:
    site = connection.headers.get("sec-fetch-site")
    if site is not None and site not in _SAFE_SITES:
        raise CsrfFailed("Your browser says that another site made this request.")
    origin = connection.headers.get("origin")
    if origin is not None and not _is_ours(origin, connection.headers.get("host", "")):
        raise CsrfFailed("This request comes from another site.")


def _is_ours(origin: str, host: str) -> bool:
    """Compare hosts and ports: the scheme may be another one before a proxy."""
    try:
        return bool(host) and urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


async def _form_token(connection: Connection) -> str:
    if not isinstance(connection, Request):
        return ""
    if connection.content_type[0] != RequestEncodingType.URL_ENCODED:
        return ""
    value = (await connection.form()).get(FIELD)
    return value if isinstance(value, str) else ""


def _is_right(secret: str, sent: str) -> bool:
    try:
        raw = base64.urlsafe_b64decode(sent)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(raw[_SALT:], _mac(secret, raw[:_SALT]))


def _mac(secret: str, salt: bytes) -> bytes:
    return hmac.digest(secret.encode(), b"chittyops form v1\n" + salt, hashlib.sha256)
