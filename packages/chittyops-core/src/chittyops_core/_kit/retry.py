"""Waiting for something to become true, with a limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import tenacity

__all__ = ["wait_until"]

T = TypeVar("T")


def wait_until(check: Callable[[], T], *, timeout_s: float, interval_s: float = 0.02) -> T:
    """Call *check* until its result is true; return its last result, true or not."""
    return tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda result: not result),
        stop=tenacity.stop_after_delay(timeout_s),
        wait=tenacity.wait_fixed(interval_s),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )(check)
