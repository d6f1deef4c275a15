"""When an alert speaks: a pure state machine. No clock, no I/O.

Asymmetric hysteresis: three failures in a row fire, ten clean looks over five clean minutes
resolve. Measured (findings/tenants-and-apps.md section 1.4, `benchmarks/flapping.py`): about two
messages for a flapping episode where the usual 3/2 rule sends more than twenty, at equal delay.

Why a jump of the wall clock changes nothing: no decision compares two wall-clock times. Failures,
clean looks and missing looks are counted. The two durations (clean for how long, told how long
ago) are sums of *elapsed_s*, which the caller takes from a clock that never goes back, and which
is 0 for the first step after a start, so that time in which nobody looked counts as nothing. The
wall-clock times in an alert are there for people to read.

Each step compares what people were last told with what holds now, and says the difference once.
So silence needs no rules of its own: while it lasts nothing is said, and afterwards what still
differs is.
"""

from __future__ import annotations

from attrs import evolve, field, frozen, validators

from chittyops_core.model.monitoring import AlertState, Message, Observation, Severity

__all__ = ["Alert", "NoData", "Rule", "step"]


@frozen
class Rule:
    """When an alert fires, resolves and repeats itself.

    For an objective's burn rate (SRE workbook, chapter 5) the condition itself is the hysteresis:
    `Rule(fail=1, clean=1, clean_s=0)`.

    Attributes:
        fail: Failed looks in a row until it fires.
        clean: Good looks in a row until it may resolve.
        clean_s: Seconds, from the first good look on, until it may resolve.
        renotify_s: Seconds between two messages while it fires.
        late_after: Intervals in a row without a look until nobody looks any more, and looks in
            a row until somebody does again.
        severity: What its messages carry.
    """

    fail: int = field(default=3, validator=validators.ge(1))
    clean: int = field(default=10, validator=validators.ge(1))
    clean_s: float = field(default=300.0, validator=validators.ge(0))
    renotify_s: float = field(default=4 * 3600.0, validator=validators.gt(0))
    late_after: int = field(default=3, validator=validators.ge(1))
    severity: Severity = Severity.PAGE


@frozen
class NoData:
    """One interval has passed and no observation came.

    Attributes:
        at: Seconds since the epoch, by the wall clock.
    """

    at: float


@frozen
class Alert:
    """Where one alert stands; what `step` needs to go on after a restart.

    Attributes:
        name: A monitor's name, or `SLUG/slo/NAME/page`.
        state: See AlertState.
        since: Wall-clock time at which what the state tells of began (pending and firing: the
            first failure of the run); seconds since the epoch.
        failures: Failed looks in a row.
        clean: Good looks in a row, counted while it fires.
        clean_since: Wall-clock time of the first of these.
        clean_s: Seconds since the first of these, by a clock that does not jump.
        missed: Intervals in a row without a look.
        looks: Looks in a row, counted in no-data only.
        is_open: Whether it fired and has not resolved, also while there is no data.
        told: What people believe, by the last message: firing, no-data, or resolved.
        untold_s: Seconds since the last message, by a clock that does not jump; counted while
            that was of firing, so that a quiet alert stays equal and needs no writing.
        seq: How many messages it sent.
        last_notified: Wall-clock time of the last.
        why: What did not hold at the last failure.
    """

    name: str
    state: AlertState = AlertState.OK
    since: float = 0.0
    failures: int = 0
    clean: int = 0
    clean_since: float | None = None
    clean_s: float = 0.0
    missed: int = 0
    looks: int = 0
    is_open: bool = False
    told: AlertState = AlertState.RESOLVED
    untold_s: float = 0.0
    seq: int = 0
    last_notified: float | None = None
    why: str = ""


def step(
    alert: Alert,
    rule: Rule,
    seen: Observation | NoData,
    *,
    elapsed_s: float,
    silenced: bool = False,
    maintenance: bool = False,
) -> tuple[Alert, Message | None]:
    """Return what *alert* has come to, and what to tell, if anything.

    Args:
        alert: As the last step left it.
        rule: When to speak.
        seen: The next look, or that one interval went by without any.
        elapsed_s: Seconds since this alert's last step by a monotonic clock; 0 for the first
            step of a process. A negative one counts as 0.
        silenced: Whether something that it depends on fires.
        maintenance: Whether it is in a maintenance window.
    """
    elapsed_s = max(0.0, elapsed_s)
    if alert.told is AlertState.FIRING:
        alert = evolve(alert, untold_s=alert.untold_s + elapsed_s)
    if isinstance(seen, NoData):
        alert = _missed(alert, rule, seen)
    elif seen.is_good:
        alert = _good(alert, rule, seen, elapsed_s)
    else:
        alert = _failed(alert, rule, seen)
    if silenced or maintenance:
        return alert, None
    return _tell(alert, rule, seen.at)


def _missed(alert: Alert, rule: Rule, seen: NoData) -> Alert:
    missed = alert.missed + 1
    if alert.state is AlertState.NO_DATA or missed < rule.late_after:
        # Time without a look is neither clean nor failed.
        return evolve(alert, missed=missed, looks=0)
    return evolve(
        alert, state=AlertState.NO_DATA, since=seen.at, missed=missed, looks=0,
        failures=0, clean=0, clean_s=0.0, clean_since=None,
    )  # fmt: skip


def _failed(alert: Alert, rule: Rule, seen: Observation) -> Alert:
    failures = alert.failures + 1
    alert = evolve(
        alert, failures=failures, clean=0, clean_s=0.0, clean_since=None, missed=0, why=seen.why
    )
    if failures >= rule.fail and alert.state is not AlertState.FIRING:
        began = alert.since if alert.state is AlertState.PENDING else seen.at
        return evolve(alert, state=AlertState.FIRING, since=began, is_open=True, looks=0)
    if alert.state in (AlertState.OK, AlertState.RESOLVED):
        return evolve(alert, state=AlertState.PENDING, since=seen.at)
    return _looked_again(alert, rule, seen)


def _good(alert: Alert, rule: Rule, seen: Observation, elapsed_s: float) -> Alert:
    alert = evolve(alert, failures=0, missed=0)
    if alert.state is AlertState.FIRING:
        first = alert.clean == 0
        alert = evolve(
            alert,
            clean=alert.clean + 1,
            clean_s=0.0 if first else alert.clean_s + elapsed_s,
            clean_since=seen.at if first else alert.clean_since,
        )
        if alert.clean < rule.clean or alert.clean_s < rule.clean_s:
            return alert
        return _settled(alert, AlertState.RESOLVED, seen.at)
    if alert.state in (AlertState.PENDING, AlertState.RESOLVED):
        return _settled(alert, AlertState.OK, seen.at)
    return _looked_again(alert, rule, seen)


def _looked_again(alert: Alert, rule: Rule, seen: Observation) -> Alert:
    """Leave no-data after enough looks in a row, to where the alert stood before."""
    if alert.state is not AlertState.NO_DATA:
        return alert
    if alert.looks + 1 < rule.late_after:
        return evolve(alert, looks=alert.looks + 1)
    if alert.is_open:
        return evolve(alert, state=AlertState.FIRING, since=seen.at, looks=0)
    state = AlertState.PENDING if alert.failures else AlertState.OK
    return evolve(alert, state=state, since=seen.at, looks=0)


def _settled(alert: Alert, state: AlertState, at: float) -> Alert:
    return evolve(
        alert, state=state, since=at, is_open=False, clean=0, clean_s=0.0, clean_since=None
    )


def _tell(alert: Alert, rule: Rule, at: float) -> tuple[Alert, Message | None]:
    holds = (
        alert.state
        if alert.state in (AlertState.FIRING, AlertState.NO_DATA)
        else AlertState.RESOLVED
    )
    repeats = holds is AlertState.FIRING and alert.untold_s >= rule.renotify_s
    if holds is alert.told and not repeats:
        return alert, None
    before = alert.told
    alert = evolve(alert, told=holds, untold_s=0.0, seq=alert.seq + 1, last_notified=at)
    title, body = _words(alert, holds, before)
    return alert, Message(
        id=f"{alert.name}:{alert.seq}",
        alert=alert.name,
        state=holds,
        severity=rule.severity,
        at=at,
        title=title,
        body=body,
    )


def _words(alert: Alert, holds: AlertState, before: AlertState) -> tuple[str, str]:
    name, why = alert.name, alert.why or "its condition does not hold"
    if holds is AlertState.NO_DATA:
        return f"{name}: nobody looks any more", (
            "No observation came for several intervals. Whether it is well is not known. "
            "See that the agent runs: chittyops status"
        )
    if holds is AlertState.RESOLVED:
        if before is AlertState.NO_DATA:
            return f"{name}: is watched again", "Observations come again."
        return f"{name}: resolved", f"It has been clean for long enough. It was: {why}"
    if before is AlertState.NO_DATA:
        return f"{name}: is watched again, and fires", why
    if before is AlertState.FIRING:
        return f"{name}: still fires", why
    return f"{name}: fires", why
