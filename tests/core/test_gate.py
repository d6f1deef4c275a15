"""The gate waits for health, gives up early where waiting is no use, and tells why."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import pytest

from chittyops_core.deploy import gate
from chittyops_core.model.health import Health, InstanceState, Look, Verdict
from conftest import FakeClock

HEALTHY, STARTING = Verdict.HEALTHY, Verdict.STARTING
UNHEALTHY, DEAD = Verdict.UNHEALTHY, Verdict.DEAD
TIMEOUT = timedelta(seconds=5)


def look(verdict: Verdict, pid: int = 1) -> Health:
    return Health((InstanceState("web.0", verdict, pid, "a reason"),))


def wait(looks: Iterable[Health], successes: int = 2) -> tuple[Health | None, FakeClock]:
    remaining = iter(looks)
    clock = FakeClock()
    found = gate.wait_healthy(
        lambda: next(remaining), successes=successes, timeout=TIMEOUT, clock=clock
    )
    return found, clock


def forever(verdict: Verdict) -> Iterable[Health]:
    while True:
        yield look(verdict)


def test_it_opens_after_successes_in_a_row() -> None:
    """One healthy answer between unhealthy ones is none."""
    verdicts = [STARTING, HEALTHY, UNHEALTHY, HEALTHY, HEALTHY]

    assert wait(map(look, verdicts))[0] is None


def test_a_dead_process_ends_the_wait_at_once() -> None:
    """Waiting longer will not help."""
    found, clock = wait([look(STARTING), look(DEAD)])

    assert found is not None
    assert found.verdict is DEAD
    assert clock.monotonic() - FakeClock().monotonic() < 1


def test_a_process_that_was_started_anew_has_died() -> None:
    """Another pid, however healthy it looks."""
    found, _ = wait([look(STARTING, 1), look(HEALTHY, 2), look(HEALTHY, 2)])

    assert found is not None


def test_time_runs_out() -> None:
    """With the last look, to be shown."""
    found, clock = wait(forever(UNHEALTHY))

    assert found is not None
    assert found.verdict is UNHEALTHY
    assert clock.monotonic() - FakeClock().monotonic() >= 5


@pytest.mark.parametrize(
    ("verdicts", "worst"),
    [
        ([HEALTHY, STARTING], STARTING), ([HEALTHY, UNHEALTHY, STARTING], UNHEALTHY),
        ([DEAD, UNHEALTHY], DEAD), ([HEALTHY, HEALTHY], HEALTHY), ([], Verdict.GONE),
    ],
)  # fmt: skip
def test_a_release_is_as_well_as_its_worst_instance(
    verdicts: list[Verdict], worst: Verdict
) -> None:
    """And without any it is gone."""
    health = Health(tuple(InstanceState(f"web.{n}", v) for n, v in enumerate(verdicts)))

    assert health.verdict is worst


def test_soaking_ends_at_the_first_look_that_is_not_healthy() -> None:
    """Or with its time."""
    looks = iter([look(HEALTHY), look(UNHEALTHY)])

    sick = gate.stays_healthy(lambda: next(looks), soak=TIMEOUT, clock=FakeClock())
    well = gate.stays_healthy(lambda: look(HEALTHY), soak=TIMEOUT, clock=FakeClock())

    assert sick is not None
    assert well is None


@pytest.mark.parametrize(
    ("shown", "remedy"),
    [
        (Look("curl x", 302, ("Location: /login",), ""), "redirects"),
        (Look("curl x", 500, (), "boom"), "Set health.path"),
        (Look("curl x", None, (), "", "nothing listens there"), "must listen on $SOCKET"),
    ],
)
def test_the_error_shows_probe_log_and_curl_and_what_to_do(shown: Look, remedy: str) -> None:
    """Everything that a person needs to see it for themselves."""
    health = Health((InstanceState("web.0", UNHEALTHY, 1, "a reason", shown),))

    error = gate.unhealthy("release x", health, ("web.0: last words",), TIMEOUT)

    text = "\n".join(error.detail)
    assert "see it yourself: curl x" in text
    assert "web.0: last words" in text
    assert remedy in error.remedy
    assert "within 5 s: a reason" in error.message
