"""Run checks and keep what they came to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from attrs import evolve, frozen

from chittyops_core import Finding, Outcome, Result

__all__ = ["Check", "Report", "run_checks"]

Subject = TypeVar("Subject")


@frozen
class Check(Generic[Subject]):
    """One thing to look at.

    Attributes:
        id: `area.what`, as in findings.
        title: What holds when it passes, one sentence.
        control: The rule it comes from, such as a NIST SP 800-53 control.
        look: Looks at the subject; raises when it cannot.
        remedy: What to do when it could not run.
    """

    id: str
    title: str
    control: str
    look: Callable[[Check[Subject], Subject], Result]
    remedy: str = "Correct what hinders the check, then deploy again."


@frozen
class Report:
    """What all checks of one run came to, in their order."""

    results: tuple[Result, ...]

    @property
    def is_open(self) -> bool:
        """Whether every check ran and passed, and there was at least one."""
        return bool(self.results) and all(r.outcome.opens_gate for r in self.results)

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(finding for result in self.results for finding in result.findings)

    def count(self, outcome: Outcome) -> int:
        return sum(result.outcome is outcome for result in self.results)


def run_checks(
    checks: Sequence[Check[Subject]],
    subject: Subject,
    *,
    progress: Callable[[Result], None] = lambda result: None,
) -> Report:
    """Run *checks* side by side; whatever a check raises makes it NOT_RUN, never a pass.

    Args:
        checks: What to look at.
        subject: What each looks at.
        progress: Called with each result as it comes, in the caller's thread.
    """
    with ThreadPoolExecutor(max_workers=8) as pool:
        results = list(_as_given(pool.map(lambda check: _run(check, subject), checks), progress))
    return Report(tuple(results))


def _as_given(results: Iterable[Result], progress: Callable[[Result], None]) -> Iterable[Result]:
    for result in results:
        progress(result)
        yield result


def _run(check: Check[Subject], subject: Subject) -> Result:
    start = time.monotonic()
    try:
        result = check.look(check, subject)
    except Exception as error:  # The rule of this gate: broken is not passed.
        why = f"{type(error).__name__}: {error}"
        result = Result.not_run(check.id, check.title, why, check.remedy)
    return evolve(result, seconds=round(time.monotonic() - start, 3))
