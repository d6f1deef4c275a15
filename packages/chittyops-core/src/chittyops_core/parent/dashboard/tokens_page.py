"""Enrolment tokens: made (and shown once), listed, withdrawn."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from attrs import frozen
from litestar import Response, get, post
from litestar.params import FromPath, URLEncodedBody
from litestar.response import Redirect

from chittyops_core.errors import ChittyOpsError, ParentError, UsageError
from chittyops_core.parent.access import Operator, Role
from chittyops_core.parent.dashboard.engine import Web, page
from chittyops_core.parent.dashboard.numbers import absolute
from chittyops_core.parent.dashboard.requests import (
    address_of_parent,
    labels_from,
    notice_of,
    quoted,
)
from chittyops_core.parent.dashboard.rows import labels_of
from chittyops_core.parent.dashboard.words import Look
from chittyops_core.parent.enrolment import make_token, withdraw_token
from chittyops_core.parent.operators import may
from chittyops_core.parent.operators.changes import change
from chittyops_core.parent.operators.guards import SignedIn
from chittyops_core.parent.operators.requests import now_of, parent_of, read
from chittyops_core.parent.schema import enrol_token

__all__ = ["add_token", "end_token", "show_tokens"]

MAX_TOKENS = 100
"""Tokens that are listed, the newest."""

LIFETIMES = ((1, "1 hour"), (24, "1 day"), (24 * 7, "7 days"), (24 * 30, "30 days"))


@frozen
class NewToken:
    """The form of a new token; everything as it was typed."""

    name: str = ""
    uses: str = "1"
    hours: str = "24"
    labels: str = ""
    auto_accept: str = ""


@frozen
class Made:
    """A token that was just made; its text is nowhere else."""

    command: str
    uses: int
    until: str
    auto_accept: bool


@frozen
class TokenRow:
    """A token on the page."""

    id: str
    name: str
    labels: tuple[tuple[str, str], ...]
    auto_accept: bool
    uses_left: int
    created_at: float
    created_by: str
    expires_at: float
    look: Look
    is_usable: bool


@get("/tokens", guards=[may(Role.VIEWER)], include_in_schema=False)
async def show_tokens(request: Web) -> Response[bytes]:
    """List the enrolment tokens."""
    return await _shown(request)


@post("/tokens", guards=[may(Role.OPERATOR, by_token=False)], include_in_schema=False)
async def add_token(
    request: Web, operator: SignedIn,
    data: URLEncodedBody[NewToken],
) -> Response[bytes]:  # fmt: skip
    """Make a token, and show the command with it, this once."""
    try:
        made = await _make(request, operator, data)
    except ParentError:
        raise
    except ChittyOpsError as error:
        text = " ".join(filter(None, (error.message, error.remedy)))
        return await _shown(request, error=text[:1].upper() + text[1:], status_code=400)
    return await _shown(request, made=made, status_code=201)


@post("/tokens/{token_id:str}/withdraw", guards=[may(Role.OPERATOR)], include_in_schema=False)
async def end_token(request: Web, token_id: FromPath[str]) -> Redirect:
    """Make a token worthless."""
    now = now_of(request)
    await change(
        request, "token.withdraw", f"token/{token_id}",
        lambda writer: withdraw_token(writer, token_id, now=now),
    )  # fmt: skip
    return Redirect("/tokens?done=withdrawn", status_code=303)


async def _make(request: Web, operator: Operator, form: NewToken) -> Made:
    uses, hours = _whole(form.uses, "How many hosts"), _whole(form.hours, "How long")
    labels, now = labels_from(form.labels), now_of(request)
    is_auto = form.auto_accept == "yes"
    thumbprint = parent_of(request).key.id

    def work(writer: sa.Connection) -> tuple[str, str]:
        return make_token(
            writer, name=form.name, labels=labels, auto_accept=is_auto, uses=uses,
            ttl_s=hours * 3600.0, by=operator.name, now=now, parent_thumbprint=thumbprint,
        )  # fmt: skip

    detail = {"name": form.name.strip(), "uses": uses, "hours": hours, "auto_accept": is_auto}
    _, text = await change(request, "token.make", "token/new", work, detail)
    command = quoted("chittyops", "enroll", address_of_parent(request), text)
    return Made(command, uses, f"until {absolute(now + hours * 3600.0)}", is_auto)


async def _shown(
    request: Web, *, made: Made | None = None, error: str = "", status_code: int = 200
) -> Response[bytes]:
    now = now_of(request)
    rows = await read(request, lambda reader: _tokens(reader, now))
    return page(
        request, "tokens.html", status_code=status_code, tokens=rows, made=made, error=error,
        lifetimes=LIFETIMES, notice=notice_of(request),
    )  # fmt: skip


def _tokens(reader: sa.Connection, now: float) -> list[TokenRow]:
    c = enrol_token.c
    rows = reader.execute(
        sa.select(enrol_token).order_by(c.created_at.desc(), c.id).limit(MAX_TOKENS)
    )
    return [_row(row, now) for row in rows]


def _row(row: Any, now: float) -> TokenRow:
    if row.withdrawn_at is not None:
        look = Look("Withdrawn", "none", "cross")
    elif row.expires_at <= now:
        look = Look("Expired", "none", "clock")
    elif row.uses_left <= 0:
        look = Look("Used up", "none", "ok")
    else:
        look = Look("Usable", "ok", "ok")
    return TokenRow(
        row.id, row.name, labels_of(_labels(row.labels)), row.auto_accept, row.uses_left,
        row.created_at, row.created_by, row.expires_at, look, look.tone == "ok",
    )  # fmt: skip


def _labels(text: str) -> Mapping[str, Any]:
    value = json.loads(text)
    return value if isinstance(value, dict) else {}


def _whole(text: str, what: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise UsageError(f"{what} is a whole number, not {text[:20]!r}")
    return int(text)
