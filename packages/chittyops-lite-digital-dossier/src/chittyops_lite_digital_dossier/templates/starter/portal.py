"""A client portal: notes that one client keeps with its advisers, under the client's brand."""

import os
import re
from datetime import UTC, datetime
from pathlib import Path

from flask import Flask, Response, redirect, render_template, request, url_for

app = Flask(__name__)
app.config["SECRET_KEY"] = os.environ.get("SECRET_KEY", "development")
app.config["MAX_CONTENT_LENGTH"] = 64 * 1024

STATE = Path(os.environ.get("STATE_DIR", "."))
COLOR = re.compile(r"#[0-9a-fA-F]{6}")
MAX_NOTE = 500


def notes() -> list[str]:
    """Return the client's notes, newest first."""
    path = STATE / "notes.txt"
    return path.read_text(encoding="utf-8").splitlines()[::-1] if path.exists() else []


@app.get("/")
def home() -> str:
    return render_template(
        "home.html", brand=os.environ.get("BRAND_NAME", "Client portal"), notes=notes()
    )


@app.post("/notes")
def add() -> Response:
    text = " ".join(request.form.get("note", "").split())[:MAX_NOTE]
    if text:
        stamp = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
        # One write in append mode: two workers never mix two notes.
        with (STATE / "notes.txt").open("a", encoding="utf-8") as file:
            file.write(f"{stamp} {text}\n")
    return redirect(url_for("home"), code=303)


@app.get("/brand.css")
def brand() -> Response:
    color = os.environ.get("BRAND_COLOR", "#14448f")
    if not COLOR.fullmatch(color):
        color = "#14448f"
    return Response(f":root {{ --brand: {color}; }}\n", mimetype="text/css")


@app.get("/healthz")
def healthz() -> dict[str, str]:
    return {
        "status": "ok",
        "client": os.environ.get("CHITTYOPS_CLIENT", "none"),
        "release": os.environ.get("CHITTYOPS_RELEASE", "development"),
    }
