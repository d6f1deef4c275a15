"""What a gate or a check found, and what a check's run came to."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen

__all__ = ["Evidence", "Finding", "Outcome", "Result", "Severity"]


class Severity(StrEnum):
    """How much a finding matters. Only BLOCKING stops a deploy."""

    INFO = "info"
    WARNING = "warning"
    BLOCKING = "blocking"


class Outcome(StrEnum):
    """What a check came to. A check that did not run has not passed."""

    PASS = "pass"
    FAIL = "fail"
    NOT_APPLICABLE = "not-applicable"
    NOT_RUN = "not-run"
    NEEDS_PERSON = "needs-person"

    @property
    def opens_gate(self) -> bool:
        """Whether a blocking check with this outcome lets the release through."""
        return self in (Outcome.PASS, Outcome.NOT_APPLICABLE)


@frozen
class Evidence:
    """Bytes that back a finding.

    Attributes:
        source: Where they come from: a file, a URL, a command.
        sha256: Their digest, 64 hexadecimal digits.
        excerpt: Their beginning, for a person; never a secret.
    """

    source: str
    sha256: str
    excerpt: str = ""


@frozen
class Finding:
    """One thing found.

    Attributes:
        check: Id of the check that found it, such as `dependencies.locked`.
        severity: Whether it stops a deploy.
        summary: What was found, one sentence.
        remedy: What to do about it; empty for INFO.
        evidence: What backs it.
    """

    check: str
    severity: Severity
    summary: str
    remedy: str = ""
    evidence: tuple[Evidence, ...] = ()

    @property
    def is_blocking(self) -> bool:
        return self.severity is Severity.BLOCKING


@frozen
class Result:
    """What one run of one check came to, with its findings.

    A gate reads `findings`: a check whose outcome does not open the gate has a blocking one,
    and one that passed has an INFO one, so that the list of findings also says what ran.
    """

    check: str
    title: str
    outcome: Outcome
    findings: tuple[Finding, ...]
    seconds: float = 0.0

    @classmethod
    def passed(cls, check: str, title: str, summary: str, *evidence: Evidence) -> Result:
        return cls._single(check, title, Outcome.PASS, Severity.INFO, summary, "", evidence)

    @classmethod
    def failed(
        cls, check: str, title: str, summary: str, remedy: str, *evidence: Evidence
    ) -> Result:
        return cls._single(check, title, Outcome.FAIL, Severity.BLOCKING, summary, remedy, evidence)

    @classmethod
    def not_applicable(cls, check: str, title: str, summary: str) -> Result:
        return cls._single(check, title, Outcome.NOT_APPLICABLE, Severity.INFO, summary, "", ())

    @classmethod
    def not_run(cls, check: str, title: str, why: str, remedy: str) -> Result:
        summary = f"could not run: {why}"
        return cls._single(check, title, Outcome.NOT_RUN, Severity.BLOCKING, summary, remedy, ())

    @classmethod
    def needs_person(cls, check: str, title: str, question: str, remedy: str) -> Result:
        return cls._single(
            check, title, Outcome.NEEDS_PERSON, Severity.BLOCKING, question, remedy, ()
        )

    @classmethod
    def _single(
        cls,
        check: str,
        title: str,
        outcome: Outcome,
        severity: Severity,
        summary: str,
        remedy: str,
        evidence: tuple[Evidence, ...],
    ) -> Result:
        finding = Finding(check, severity, summary, remedy, evidence)
        return cls(check, title, outcome, (finding,))
