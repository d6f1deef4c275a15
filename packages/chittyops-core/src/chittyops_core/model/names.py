"""What may be a name: checked once, at the edge, so that no later code has to doubt one."""

from __future__ import annotations

import re

__all__ = [
    "DEFAULT_ENVIRONMENT",
    "require_host",
    "require_name",
    "require_secret_name",
    "require_variable",
]

DEFAULT_ENVIRONMENT = "production"

# One DNS label (RFC 1035 2.3.1), shorter so that prefix, app and environment fit in one of 63,
# and without "--", which this project uses to join names into one label.
_NAME = re.compile(r"[a-z0-9](?:-?[a-z0-9])*")
_HOST = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*"
)
_SECRET = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?(?:/[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?)*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

MAX_NAME = {
    "app": 32, "environment": 20, "client": 40, "process": 20, "monitor": 30, "channel": 30,
}  # fmt: skip
RESERVED_APPS = {"status": "the status page of this host has that name"}
"""Names that the host itself answers to; such as status.localhost."""


def require_name(what: str, value: str) -> str:
    """Return *value* when it may name a *what*, one of `MAX_NAME`.

    Raises:
        ValueError: With what was expected.
    """
    limit = MAX_NAME[what]
    if len(value) > limit or not _NAME.fullmatch(value):
        raise ValueError(
            f"{shorten(value)} cannot name the {what}: expected 1 to {limit} of a-z and 0-9, "
            "with single hyphens between them"
        )
    if what == "app" and value in RESERVED_APPS:
        raise ValueError(f"{value!r} cannot name the app: {RESERVED_APPS[value]}")
    return value


def require_host(value: str) -> str:
    """Return *value* when it is a DNS name in lower case. Raises ValueError."""
    if not _HOST.fullmatch(value):
        raise ValueError(
            f"{shorten(value)} is no host name: expected lower-case labels joined by dots "
            "(an international name in its xn-- form)"
        )
    return value


def require_secret_name(value: str) -> str:
    """Return *value* when it may name a secret, such as `portal/secret-key`. Raises ValueError."""
    if len(value) > 120 or not _SECRET.fullmatch(value):
        raise ValueError(
            f"{shorten(value)} cannot name a secret: expected a-z, 0-9, '.', '_' and '-', "
            "in parts joined by '/'"
        )
    return value


def require_variable(value: str) -> str:
    """Return *value* when it may name an environment variable (POSIX 8.1). Raises ValueError."""
    if not _VARIABLE.fullmatch(value):
        raise ValueError(
            f"{shorten(value)} cannot name an environment variable: expected letters, digits "
            "and '_', not starting with a digit"
        )
    return value


def shorten(value: str, limit: int = 60) -> str:
    """Return *value* quoted for a message, its middle left out when it is long."""
    if len(value) <= limit:
        return repr(value)
    return f"{value[: limit // 2]!r}... ({len(value)} characters)"
