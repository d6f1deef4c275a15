"""Errors of this kind, below the core's tree."""

from chittyops_core.errors import RefusedError

__all__ = ["LimitExceededError"]


class LimitExceededError(RefusedError):
    """The app asks for more than this kind's limits allow."""
