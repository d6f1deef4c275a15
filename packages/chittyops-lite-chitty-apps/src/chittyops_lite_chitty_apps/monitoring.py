"""A first look at what a visitor would get."""

from __future__ import annotations

import http.client
import time

from chittyops_core import Finding, Severity, Staged
from chittyops_core.host.fetch import fetch
from chittyops_lite_chitty_apps.settings import Limits

__all__ = ["first_answer"]


def first_answer(staged: Staged, limits: Limits) -> Finding:
    """Ask for the first page through the edge; only a server's own failure blocks."""
    start = time.monotonic()
    try:
        answer = fetch(staged.address)
    except (OSError, http.client.HTTPException) as error:
        return Finding(
            "monitoring.first-answer",
            Severity.BLOCKING,
            f"the first page cannot be reached: {error}",
            "`chittyops logs` shows what the app said.",
        )
    seconds = time.monotonic() - start
    if answer.status >= 500:
        return Finding(
            "monitoring.first-answer",
            Severity.BLOCKING,
            f"the first page answers with an error, {answer.status}",
            "Open the app on your own machine and read what it prints.",
        )
    severity = Severity.WARNING if seconds > limits.slow_answer_s else Severity.INFO
    return Finding(
        "monitoring.first-answer",
        severity,
        f"the first page answered {answer.status} in {seconds:.2f} s",
    )
