"""Checks of a staged release, through the real edge with TLS, before it gets any request."""

from __future__ import annotations

import hashlib
import re
from http.cookies import CookieError, SimpleCookie

from attrs import frozen

from chittyops_core import Evidence, Result, Staged
from chittyops_core.host.fetch import Answer, fetch
from chittyops_lite_cook_county.compliance.runner import Check
from chittyops_lite_cook_county.settings import Policy

__all__ = ["CHECKS", "LiveSubject"]


@frozen
class LiveSubject:
    """A staged release and what is demanded of it."""

    staged: Staged
    policy: Policy


def _page(subject: LiveSubject) -> Answer:
    """Return what a visitor gets first; a server's own failure is nothing to judge by."""
    answer = fetch(subject.staged.address)
    if answer.status >= 500:
        raise ConnectionError(f"the first page answers {answer.status}")
    return answer


def _evidence(subject: LiveSubject, answer: Answer) -> Evidence:
    text = f"HTTP {answer.status}\n" + "\n".join(f"{key}: {value}" for key, value in answer.headers)
    # Cookie values are left out of what is shown.
    shown = re.sub(r"(?im)^(set-cookie: [^=]+=)[^;\n]*", r"\1...", text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Evidence(subject.staged.address.url, digest, shown[:1000])


# --- transport.redirect --------------------------------------------------------------------------


def _look_redirect(check: Check[LiveSubject], subject: LiveSubject) -> Result:
    answer = fetch(subject.staged.address, plain=True)
    location = answer.header("Location") or ""
    if answer.status in (301, 302, 307, 308) and location.startswith("https://"):
        summary = f"HTTP answers {answer.status} to {location}"
        return Result.passed(check.id, check.title, summary, _evidence(subject, answer))
    return Result.failed(
        check.id,
        check.title,
        f"HTTP answers {answer.status} instead of leading to HTTPS",
        "Let the edge serve it with TLS; this kind does so by itself.",
        _evidence(subject, answer),
    )


# --- transport.tls -------------------------------------------------------------------------------


def _look_tls(check: Check[LiveSubject], subject: LiveSubject) -> Result:
    answer = _page(subject)
    if answer.tls_version in ("TLSv1.2", "TLSv1.3"):
        summary = f"{answer.tls_version}, certificate verified"
        return Result.passed(check.id, check.title, summary, _evidence(subject, answer))
    return Result.failed(
        check.id,
        check.title,
        f"it is served by {answer.tls_version or 'plain HTTP'}",
        "Let the edge serve it with TLS; this kind does so by itself.",
        _evidence(subject, answer),
    )


# --- headers -------------------------------------------------------------------------------------


def _look_headers(check: Check[LiveSubject], subject: LiveSubject) -> Result:
    answer, policy = _page(subject), subject.policy
    wrong = [
        f"{name} {'is missing' if text is None else f'says {text!r}'}"
        for name, word in policy.required_headers.items()
        if (text := answer.header(name)) is None or word not in text
    ]
    if problem := _hsts_problem(answer.header("Strict-Transport-Security"), policy):
        wrong.append(problem)
    if not wrong:
        summary = f"{len(policy.required_headers) + 1} headers as demanded"
        return Result.passed(check.id, check.title, summary, _evidence(subject, answer))
    return Result.failed(
        check.id,
        check.title,
        "; ".join(wrong),
        "Send them from the app, or write them into chittyops.toml, for example "
        "[edge.headers] with Content-Security-Policy = \"default-src 'self'\".",
        _evidence(subject, answer),
    )


def _hsts_problem(text: str | None, policy: Policy) -> str | None:
    age = re.search(r"max-age=\"?(\d+)", text or "", re.IGNORECASE)
    if age is None:
        return "Strict-Transport-Security is missing"
    if int(age[1]) < policy.min_hsts_age_s:
        return f"Strict-Transport-Security says {text!r}, less than {policy.min_hsts_age_s} s"
    return None


# --- cookies -------------------------------------------------------------------------------------


def _look_cookies(check: Check[LiveSubject], subject: LiveSubject) -> Result:
    answer = _page(subject)
    sent = [text for name, text in answer.headers if name.lower() == "set-cookie"]
    if not sent:
        return Result.not_applicable(check.id, check.title, "the first page sets no cookie")
    wrong = [problem for text in sent if (problem := _cookie_problem(text))]
    if not wrong:
        summary = f"{len(sent)} cookies, all with Secure, HttpOnly and SameSite"
        return Result.passed(check.id, check.title, summary, _evidence(subject, answer))
    return Result.failed(
        check.id,
        check.title,
        "; ".join(wrong),
        "Set cookies with Secure, HttpOnly and SameSite (Flask: SESSION_COOKIE_SECURE=True, "
        "SESSION_COOKIE_SAMESITE='Lax').",
        _evidence(subject, answer),
    )


def _cookie_problem(text: str) -> str | None:
    try:
        parsed = SimpleCookie(text)
    except CookieError as error:
        return f"a cookie cannot be read: {error}"
    for name, cookie in parsed.items():
        missing = [flag for flag in ("Secure", "HttpOnly", "SameSite") if not cookie[flag.lower()]]
        if missing:
            return f"the cookie {name} lacks {', '.join(missing)}"
    return None if parsed else f"a cookie cannot be read: {text.split('=')[0]}"


CHECKS: tuple[Check[LiveSubject], ...] = (
    Check(
        "transport.redirect",
        "HTTP leads to HTTPS",
        "NIST SP 800-53 r5 SC-8; OMB M-15-13",
        _look_redirect,
    ),
    Check(
        "transport.tls",
        "It is served by TLS 1.2 or newer with a certificate that verifies",
        "NIST SP 800-52 r2 3.1; SC-8(1)",
        _look_tls,
    ),
    Check(
        "headers.security",
        "Every answer carries the security headers",
        "NIST SP 800-53 r5 SI-10, SC-18; OWASP Secure Headers",
        _look_headers,
    ),
    Check(
        "cookies.flags",
        "Every cookie is Secure, HttpOnly and SameSite",
        "NIST SP 800-53 r5 SC-23; RFC 6265 4.1.2",
        _look_cookies,
    ),
)
