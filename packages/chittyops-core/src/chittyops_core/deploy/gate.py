"""Waiting for a release to be healthy, and telling why it is not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from chittyops_core._kit.clock import Clock
from chittyops_core.errors import UnhealthyError
from chittyops_core.model.health import Health, InstanceState, Verdict

__all__ = ["stays_healthy", "unhealthy", "wait_healthy"]

LOOK_INTERVAL_S = 0.02

LOOK_AGAIN_S = 0.005
"""After a healthy look: only whether it was luck is still to be seen."""


def wait_healthy(
    look: Callable[[], Health], *, successes: int, timeout: timedelta, clock: Clock
) -> Health | None:
    """Look until *successes* looks in a row are healthy; return None then.

    Returns:
        The last look, when a process ended by itself or *timeout* passed.
    """
    deadline = clock.monotonic() + timeout.total_seconds()
    in_a_row = 0
    pids: tuple[int | None, ...] = ()
    while True:
        health = look()
        seen = tuple(instance.pid for instance in health.instances)
        has_restarted = bool(pids) and None not in pids and seen != pids
        pids = seen
        if health.verdict is Verdict.DEAD or has_restarted:
            return health
        in_a_row = in_a_row + 1 if health.verdict is Verdict.HEALTHY else 0
        if in_a_row >= successes:
            return None
        if clock.monotonic() > deadline:
            return health
        clock.sleep(LOOK_AGAIN_S if in_a_row else LOOK_INTERVAL_S)


def stays_healthy(look: Callable[[], Health], *, soak: timedelta, clock: Clock) -> Health | None:
    """Look for the time of *soak*; return the first look that is not healthy, or None."""
    deadline = clock.monotonic() + soak.total_seconds()
    while clock.monotonic() < deadline:
        clock.sleep(min(0.25, max(0.0, deadline - clock.monotonic())))
        health = look()
        if health.verdict is not Verdict.HEALTHY:
            return health
    return None


def unhealthy(
    what: str, health: Health, log_tail: tuple[str, ...], timeout: timedelta
) -> UnhealthyError:
    """Return the error that lets a person see why: last look, last log lines, the exact curl."""
    instance = health.worst or InstanceState("web", Verdict.GONE, explanation="nothing runs")
    look = instance.look
    detail: list[str] = []
    if look is not None:
        detail.append(f"last probe: {look.error or f'HTTP {look.status}'}")
        detail += [f"  {header}" for header in look.headers]
        if look.body:
            detail += ["  " + line for line in look.body.splitlines()[:10]]
        detail.append(f"see it yourself: {look.curl}")
    if log_tail:
        detail.append("last log lines:")
        detail += [f"  {line}" for line in log_tail]
    if instance.verdict is Verdict.DEAD:
        why = f"{instance.name} ended by itself ({instance.explanation})"
    else:
        limit = timeout.total_seconds()
        why = f"{instance.name} was not healthy within {limit:g} s: {instance.explanation}"
    return UnhealthyError(
        f"{what}: {why}",
        remedy=_remedy(instance),
        detail=tuple(detail),
        probe=look.error or look.status if look else None,
        curl=look.curl if look else None,
        logs=list(log_tail),
    )


def _remedy(instance: InstanceState) -> str:
    look = instance.look
    if instance.verdict is Verdict.DEAD:
        return "Read the log lines above; run the command yourself in the app's folder."
    if look and look.status and 300 <= look.status < 400:
        return (
            "The health path redirects. Set health.path in chittyops.toml (or --health) to a "
            "path that answers 200 to 299 itself, or health.host to the name it redirects to."
        )
    if look and look.status:
        return "Set health.path (or --health) to a path that answers 200 to 299 when all is well."
    return (
        "The process runs but does not answer: it must listen on $SOCKET (or $PORT). "
        "If it needs longer to start, raise health.timeout."
    )
