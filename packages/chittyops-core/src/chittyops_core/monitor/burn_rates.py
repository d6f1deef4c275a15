"""How fast an objective's budget burns, from counted events. Pure: time and counts come in.

Events are counted and divided once, at the end. The mean of ratios would weigh a quiet minute as
a busy one. A window without events says nothing: it neither fires nor counts as good.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping

from attrs import define, field, frozen

from chittyops_core.model.monitoring import Severity
from chittyops_core.monitor.objectives import DAY_S, WINDOW_S, BurnRule, Objective

__all__ = ["Counts", "MinuteCounts", "ObjectiveState", "evaluate"]

Counts = Callable[[float, float], tuple[int, int]]
"""(since, until), seconds since the epoch, since <= time < until: (good events, all events)."""

MINUTE_S = 60


@frozen
class ObjectiveState:
    """How an objective stands at one time.

    Attributes:
        at: Seconds since the epoch.
        budget_left: 1 nothing used, 0 used up, below 0 overdrawn; None without an event.
        burn: Burn rate by window name, and that of the whole period as `period`; 1 uses up the
            budget within the period; None where there was no event.
        page: Whether somebody has to look now.
        ticket: Whether somebody has to look within days.
        why: What fires, or what cannot be told, in plain words; empty when all is well.
    """

    at: float
    budget_left: float | None
    burn: Mapping[str, float | None]
    page: bool
    ticket: bool
    why: str = ""

    @property
    def has_data(self) -> bool:
        """Whether any of the alert windows has an event."""
        return any(self.burn[name] is not None for name in WINDOW_S)


def evaluate(objective: Objective, counts: Counts, now: float) -> ObjectiveState:
    """Judge *objective* at *now* by multi-window, multi-burn-rate rules.

    From SRE workbook, chapter 5, section 6. A rule fires while both of its windows burn faster
    than its factor; a severity that is switched off never does.

    Args:
        objective: What is promised.
        counts: The events of its indicator; asked for eight windows that end at *now*.
        now: Seconds since the epoch.
    """
    rates = {
        name: _burn(objective, counts, now - seconds, now) for name, seconds in WINDOW_S.items()
    }
    period = _burn(objective, counts, now - objective.period_days * DAY_S, now)
    firing = [rule for rule in objective.rules if _fires(rule, rates)]
    wanted = [rule for rule in firing if objective.alerting.of(rule.severity).is_on]
    return ObjectiveState(
        at=now,
        budget_left=None if period is None else 1 - period,
        burn={**rates, "period": period},
        page=any(rule.severity is Severity.PAGE for rule in wanted),
        ticket=any(rule.severity is Severity.TICKET for rule in wanted),
        why=_why(wanted, rates),
    )


def _burn(objective: Objective, counts: Counts, since: float, until: float) -> float | None:
    good, total = counts(since, until)
    if not 0 <= good <= total:
        raise ValueError(f"{good} good events of {total} cannot be (objective {objective.id})")
    return (total - good) / total / objective.budget if total else None


def _fires(rule: BurnRule, rates: Mapping[str, float | None]) -> bool:
    return all(
        rate is not None and rate > rule.factor for rate in (rates[rule.short], rates[rule.long])
    )


def _why(wanted: list[BurnRule], rates: Mapping[str, float | None]) -> str:
    said = []
    if wanted:
        rule = wanted[0]
        said.append(
            f"burns {rates[rule.long]:.3g} times as fast as it may over {rule.long} and "
            f"{rates[rule.short]:.3g} times over {rule.short} ({rule.severity} at {rule.factor:g})"
        )
    if empty := [name for name, rate in rates.items() if rate is None]:
        said.append(f"no data: not one event in {empty[-1]}")
    return "; ".join(said)


def _minute_of(at: float) -> float:
    return at // MINUTE_S * MINUTE_S


@define
class MinuteCounts:
    """Events by minute, so kept that any window costs two look-ups a side.

    Holds running sums: 16 bytes a minute, 690 kB for 30 days. Minutes without events need not be
    added. A window is rounded down to whole minutes at both of its ends, so that the minute that
    has only begun is not counted yet.

    Args:
        start: Seconds since the epoch of the first minute; rounded down to one.
        keep_s: How far back a window may reach, in seconds. Older minutes are let go.
    """

    start: float = field(converter=_minute_of)
    keep_s: float = 31 * DAY_S
    _good: array[int] = field(init=False, factory=lambda: array("q", [0]))
    _total: array[int] = field(init=False, factory=lambda: array("q", [0]))

    def add(self, at: float, good: int, total: int) -> None:
        """Count events of the minute that *at* is in. A late minute is counted where it belongs.

        Raises:
            ValueError: More good events than events, negative ones, or before the first minute.
        """
        if not 0 <= good <= total:
            raise ValueError(f"{good} good events of {total} cannot be")
        minute = self._index(at)
        if minute < 0:
            raise ValueError(f"{at} is before the first minute that is kept, {self.start}")
        if minute - len(self._total) > self.keep_s // MINUTE_S:
            # So late that nothing of before is kept; nor are the minutes between filled in.
            self.start, minute = _minute_of(at), 0
            self._good, self._total = array("q", [0]), array("q", [0])
        for sums, count in ((self._good, good), (self._total, total)):
            missing = minute + 2 - len(sums)
            if missing > 0:
                sums.extend(array("q", [sums[-1]]) * missing)
            for index in range(minute + 1, len(sums)):
                sums[index] += count
        self._let_go()

    def counts(self, since: float, until: float) -> tuple[int, int]:
        """Return (good, total) of *since* to *until*; see `Counts`. What is not kept is 0."""
        last = len(self._total) - 1
        low, high = (min(max(self._index(at), 0), last) for at in (since, until))
        if high <= low:
            return 0, 0
        return self._good[high] - self._good[low], self._total[high] - self._total[low]

    def _index(self, at: float) -> int:
        return int((at - self.start) // MINUTE_S)

    def _let_go(self) -> None:
        # A tenth more than asked for, so that sums move once in many minutes.
        kept = int(self.keep_s // MINUTE_S)
        surplus = len(self._total) - 1 - kept
        if surplus > max(kept // 10, 1):
            self.start += surplus * MINUTE_S
            self._good, self._total = self._good[surplus:], self._total[surplus:]
