"""Two long lists: what runs where, and who did what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa
from attrs import frozen
from litestar import Response, get

from chittyops_core.parent import fleet
from chittyops_core.parent.access import Role
from chittyops_core.parent.activities import Outcome
from chittyops_core.parent.dashboard.engine import Web, page
from chittyops_core.parent.dashboard.rows import ServiceRow, facts_of
from chittyops_core.parent.dashboard.words import Look
from chittyops_core.parent.operators import may
from chittyops_core.parent.operators.requests import read

__all__ = ["show_activity", "show_services"]

_OUTCOMES = {
    Outcome.DONE: Look("Done", "ok", "ok"),
    Outcome.REFUSED: Look("Refused", "minor", "minus"),
    Outcome.FAILED: Look("Failed", "bad", "cross"),
}
_HEX = re.compile(r"[0-9a-f]{7,64}")
_CHILD = re.compile(r"child/(ch_[0-9a-z]{1,29})")
_FILTERS = ("app", "environment", "client", "kind", "commit", "release")


@frozen
class ActivityRow:
    """One activity on the page."""

    at: float
    actor: str
    action: str
    object: str
    href: str | None
    look: Look
    address: str
    facts: tuple[tuple[str, str], ...]


@frozen
class ListView:
    """A page of a list."""

    rows: tuple[Any, ...]
    text: str
    first: str | None
    next: str | None


@get("/services", guards=[may(Role.VIEWER)], include_in_schema=False)
async def show_services(request: Web) -> Response[bytes]:
    """Show what runs where, since when, at which commit."""
    given = {
        name: request.query_params[name][:200]
        for name in ("q", *_FILTERS) if request.query_params.get(name)
    }  # fmt: skip
    after = request.query_params.get("after") or None
    found = await read(request, lambda reader: _services(reader, given, after))
    view = ListView(
        tuple(map(ServiceRow.of, found.rows)), given.get("q") or " ".join(
            given[name] for name in _FILTERS if name in given
        ), *_links("/services", given, after, found.next),
    )  # fmt: skip
    return page(request, "services.html", view=view)


@get("/activity", guards=[may(Role.VIEWER)], include_in_schema=False)
async def show_activity(request: Web) -> Response[bytes]:
    """Show what operators and the parent did."""
    given = {
        name: request.query_params[name][:200]
        for name in ("actor", "object") if request.query_params.get(name)
    }  # fmt: skip
    after = request.query_params.get("after") or None
    found = await read(
        request,
        lambda reader: fleet.activities(
            reader, object=given.get("object"), actor=given.get("actor"), after=after
        ),
    )
    rows = tuple(map(_activity, found.rows))
    text = " ".join(given.values())
    view = ListView(rows, text, *_links("/activity", given, after, found.next))
    return page(request, "activity.html", view=view)


def _services(
    reader: sa.Connection, given: dict[str, str], after: str | None
) -> fleet.Page[fleet.Service]:
    """Return the services that *given* asks for; a word is an app, a commit or a release."""
    text = given.get("q", "").strip()
    fields = {name: given[name] for name in _FILTERS if name in given}
    if not text:
        return fleet.services(reader, _chosen(fields), after)
    for name in ("app", "commit", "release"):
        if name == "commit" and not _HEX.fullmatch(text):
            continue
        found = fleet.services(reader, _chosen({**fields, name: text}), after)
        if found.rows or found.next:
            return found
    return fleet.Page(())


def _chosen(fields: Mapping[str, str]) -> fleet.ServiceFilter:
    return fleet.ServiceFilter(
        app=fields.get("app"), environment=fields.get("environment"), client=fields.get("client"),
        kind=fields.get("kind"), commit=fields.get("commit"), release=fields.get("release"),
    )  # fmt: skip


def _links(
    path: str, given: dict[str, str], after: str | None, following: str | None
) -> tuple[str | None, str | None]:
    query = urlencode(given)
    first = f"{path}?{query}" if query else path
    to_next = f"{path}?{urlencode({**given, 'after': following})}" if following else None
    return first if after else None, to_next


def _activity(one: fleet.Activity) -> ActivityRow:
    is_child = _CHILD.fullmatch(one.object)
    look = next(
        (look for outcome, look in _OUTCOMES.items() if outcome == one.outcome),
        Look(one.outcome.capitalize(), "none", "unknown"),
    )
    return ActivityRow(
        one.at, one.actor, one.action, one.object,
        f"/children/{is_child[1]}" if is_child else None, look, one.address,
        facts_of(one.detail),
    )  # fmt: skip
