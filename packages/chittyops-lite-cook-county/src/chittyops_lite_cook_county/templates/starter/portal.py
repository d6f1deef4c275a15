"""A court portal: look up a case by its number. Every answer carries its security headers."""

import os
import re

from flask import Flask, Response, render_template, request, session

app = Flask(__name__)
app.config.update(
    SECRET_KEY=os.environ["SECRET_KEY"],
    SESSION_COOKIE_SECURE=True,
    SESSION_COOKIE_HTTPONLY=True,
    SESSION_COOKIE_SAMESITE="Lax",
)

# A case number as Cook County writes it: year, division, sequence.
CASE_NUMBER = re.compile(r"20\d{2}-[A-Z]{1,3}-\d{6}")

CASES = {
    "2026-CH-000123": ("Smith v. Example Transit", "Motion hearing on 2026-12-04, 9:30, room 2402"),
    "2026-L-004711": ("Estate of Doe", "Closed on 2026-10-19"),
}


@app.after_request
def add_headers(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = "default-src 'self'; frame-ancestors 'none'"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Frame-Options"] = "DENY"
    response.headers["Referrer-Policy"] = "strict-origin-when-cross-origin"
    return response


@app.get("/")
def home() -> str:
    session["looked"] = session.get("looked", 0) + 1
    number = request.args.get("case", "").strip().upper()
    error = case = None
    if number and not CASE_NUMBER.fullmatch(number):
        error = "A case number looks like 2026-CH-000123."
    elif number:
        case = CASES.get(number)
        error = None if case else "No case has this number."
    court = os.environ.get("COURT_NAME", "Court")
    return render_template("home.html", court=court, number=number, case=case, error=error)


@app.get("/healthz")
def healthz() -> dict[str, str]:
    return {"status": "ok", "release": os.environ.get("CHITTYOPS_RELEASE", "development")}
