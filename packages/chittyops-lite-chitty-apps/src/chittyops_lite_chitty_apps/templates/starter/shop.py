"""A corner shop: what is on the shelf, and orders for it, in one SQLite file."""

import os
import sqlite3
from pathlib import Path

from flask import Flask, Response, g, redirect, render_template, request, url_for

app = Flask(__name__)
STATE = Path(os.environ.get("STATE_DIR", "."))

SHELF = [("Rye bread", 420), ("Goat cheese", 690), ("Plum jam", 380), ("Coffee, 250 g", 850)]


def database() -> sqlite3.Connection:
    """Return this request's connection; the first one ever fills the shelf."""
    if "database" not in g:
        g.database = sqlite3.connect(STATE / "shop.sqlite", timeout=10)
        g.database.executescript(
            """
            PRAGMA journal_mode = WAL;
            CREATE TABLE IF NOT EXISTS article (name TEXT PRIMARY KEY, cents INTEGER NOT NULL);
            CREATE TABLE IF NOT EXISTS orders (
                id INTEGER PRIMARY KEY, article TEXT NOT NULL REFERENCES article, at TEXT NOT NULL
            );
            """
        )
        g.database.executemany("INSERT OR IGNORE INTO article VALUES (?, ?)", SHELF)
        g.database.commit()
    return g.database


@app.teardown_appcontext
def close(_: object) -> None:
    if "database" in g:
        g.pop("database").close()


@app.get("/")
def home() -> str:
    articles = database().execute(
        "SELECT name, cents, (SELECT count(*) FROM orders WHERE article = name) "
        "FROM article ORDER BY name"
    )
    name = os.environ.get("SHOP_NAME", "Shop")
    return render_template("home.html", name=name, articles=articles.fetchall())


@app.post("/orders")
def order() -> Response | tuple[str, int]:
    article = request.form.get("article", "")
    known = database().execute("SELECT 1 FROM article WHERE name = ?", (article,)).fetchone()
    if not known:
        return "There is no such article on the shelf.\n", 404
    with database():
        database().execute(
            "INSERT INTO orders (article, at) VALUES (?, datetime('now'))", (article,)
        )
    return redirect(url_for("home"), code=303)


@app.get("/healthz")
def healthz() -> dict[str, str]:
    database().execute("SELECT count(*) FROM article").fetchone()
    return {"status": "ok", "release": os.environ.get("CHITTYOPS_RELEASE", "development")}
