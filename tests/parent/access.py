"""A parent with operators, and browsers that visit it, for the tests of who may do what."""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from argon2 import PasswordHasher
from litestar import Litestar
from litestar.testing import TestClient

from chittyops_core.parent import migrations
from chittyops_core.parent.access import Role
from chittyops_core.parent.app import Parent, create_app
from chittyops_core.parent.database import Database
from chittyops_core.parent.operators import accounts
from chittyops_core.parent.operators.passwords import Hasher
from chittyops_core.parent.operators.signing_in import Authentication
from conftest import FakeClock

PASSWORD = "correct horse battery"  # Of everybody here.
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""Hashes as quick as argon2id can be: what is tested is when they are made, not how hard."""

HASH = CHEAP.hash(PASSWORD)


@cache
def _empty_database() -> bytes:
    """Return a SQLite database with all tables: to copy one is quicker than to make one."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/parent.db")
        migrations.upgrade(database)
        database.close()
        with closing(sqlite3.connect(f"{folder}/parent.db")) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return Path(folder, "parent.db").read_bytes()


@contextmanager
def parent_with(
    data: Path, *roles: Role, url: str = "", **fields: Any
) -> Iterator[tuple[Litestar, Parent]]:
    """Give a parent in *data* with an operator of each role, named as the role."""
    if not url:
        (data / "parent.db").write_bytes(_empty_database())
    database = Database(url or f"sqlite:///{data / 'parent.db'}")
    if url:
        migrations.upgrade(database)
    database.start()
    parent = Parent(data, database, clock=FakeClock(), **fields)
    now = parent.clock.now().timestamp()
    for role in roles:
        database.write(
            lambda writer, role=role: accounts.add(
                writer, name=str(role), role=role, password=HASH, now=now
            )
        )
    app = create_app(parent)
    app.state["authentication"] = Authentication(Hasher(CHEAP))
    try:
        yield app, parent
    finally:
        database.close()


class Browser:
    """Visits a parent as a person does: keeps cookies, fills in forms, sends Sec-Fetch-Site.

    Browsers of one test share a *client*, and nothing else.
    """

    def __init__(self, client: TestClient[Litestar], host: str = "http://parent.test") -> None:
        self._client = client
        self._host = host
        self.cookies = httpx.Cookies()
        self.headers = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}

    def request(self, method: str, path: str, **how: Any) -> httpx.Response:
        """Send a request with this browser's cookies, and keep those that come back."""
        self._client.cookies.clear()
        request = httpx.Request(method, self._host + path)
        self.cookies.set_cookie_header(request)
        headers = {**how.pop("headers", {})}
        if "cookie" in request.headers:
            headers["Cookie"] = request.headers["cookie"]
        answer = self._client.request(
            method, self._host + path, headers=headers, follow_redirects=False, **how
        )
        self.cookies.extract_cookies(answer)
        return answer

    def set_cookie(self, name: str, value: str) -> None:
        """Have a cookie as if this host had set it."""
        self.cookies.set(name, value, domain=self._host.partition("://")[2])

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.request("GET", path, headers={**self.headers, **headers})

    def post(
        self, path: str, form: Mapping[str, str] | None = None, **headers: str
    ) -> httpx.Response:
        """Send exactly *form*."""
        return self.request(
            "POST", path, data=dict(form or {}), headers={**self.headers, **headers}
        )

    def fill_in(self, page: str, action: str, **fields: str) -> httpx.Response:
        """Load *page*, fill in its form to *action* with its hidden fields, and send it."""
        text = self.get(page).text
        form = next(
            found.group(2)
            for found in re.finditer(r'<form[^>]*action="([^"]*)"[^>]*>(.*?)</form>', text, re.S)
            if found.group(1) == action
        )
        hidden = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', form)
        return self.post(action, {**dict(hidden), **fields})

    def sign_in(self, name: str, password: str = PASSWORD) -> httpx.Response:
        return self.fill_in("/login", "/login", name=name, password=password)

    def csrf(self, page: str = "/account") -> str:
        """Return a token of a form on *page*."""
        return str(re.findall(r'name="csrf" value="([^"]*)"', self.get(page).text)[0])

    def ask(
        self, method: str, path: str, token: str | None = None, json: Any = None, **headers: str
    ) -> httpx.Response:
        """Ask the API as a program does."""
        sent = {"Accept": "application/json", **headers}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        return self.request(method, path, headers=sent, json=json)
