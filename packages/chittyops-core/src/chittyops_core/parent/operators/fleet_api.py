"""The fleet over the API: children, what runs on them, what happened, and who decided what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import sqlalchemy as sa
from attrs import asdict, field, frozen
from litestar import Request, Response, get, post, put
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from chittyops_core.bridge.protocol import ChildState
from chittyops_core.parent import enrolment, fleet
from chittyops_core.parent.access import Role
from chittyops_core.parent.fleet import ChildView, Order
from chittyops_core.parent.labels import checked, set_labels
from chittyops_core.parent.live import Change
from chittyops_core.parent.operators.changes import change
from chittyops_core.parent.operators.etags import etag, require_match
from chittyops_core.parent.operators.guards import SignedIn, caller_of, may
from chittyops_core.parent.operators.problems import documented
from chittyops_core.parent.operators.requests import now_of, parent_of, read
from chittyops_core.parent.schema import enrol_token

__all__ = ["handlers"]

Web = Request[Any, Any, Any]
State = Annotated[str | None, QueryParameter(name="state")]
"""Under another name than a handler's, whose `state` is the application's."""

MAX_TOKENS = 200
"""Enrolment tokens that are listed, the newest."""


@frozen
class Reason:
    """Why it was decided so, for people."""

    reason: str = ""


@frozen
class ShownToken:
    """An enrolment token, but not its text; times are seconds since the epoch."""

    id: str
    name: str
    labels: Mapping[str, str]
    auto_accept: bool
    uses_left: int
    created_at: float
    created_by: str
    expires_at: float
    withdrawn_at: float | None


@frozen
class WantedToken:
    """What an enrolment token shall be."""

    name: str
    uses: int = 1
    ttl_s: float = 86400.0
    auto_accept: bool = False
    labels: dict[str, str] = field(factory=dict)


@frozen
class MadeToken:
    """A new enrolment token; its text is nowhere else."""

    id: str
    token: str = field(repr=False)


@frozen
class Listed:
    """A page of a list.

    Attributes:
        rows: What it holds.
        next: Sent as `after`, the place where the next page begins; None on the last one.
    """

    rows: list[dict[str, Any]]
    next: str | None


# --- looking ---


@get("/v1/counts", guards=[may(Role.VIEWER)], responses=documented(), tags=["fleet"])
async def show_counts(request: Web) -> dict[str, Any]:
    """Return how many children stand where."""
    found = asdict(await read(request, fleet.counts), recurse=False)
    found.pop("places", None)
    return found


@get("/v1/children", guards=[may(Role.VIEWER)], responses=documented(), tags=["fleet"])
async def list_children(
    request: Web, kind: FromQuery[str | None] = None, standing: State = None,
    status: FromQuery[str | None] = None, overdue: FromQuery[bool | None] = None,
    label: FromQuery[str | None] = None, text: FromQuery[str] = "",
    order: FromQuery[Order] = Order.NAME, after: FromQuery[str | None] = None,
    limit: FromQuery[int] = fleet.LIMIT,
) -> Listed:  # fmt: skip
    """Return a page of children, by name or those first that need somebody."""
    chosen = fleet.Filter(kind, standing, status, overdue, label, text)
    return _listed(
        await read(request, lambda reader: fleet.children(reader, chosen, after, limit, order))
    )


@get("/v1/children/{id:str}", guards=[may(Role.VIEWER)], responses=documented(404), tags=["fleet"])
async def show_child(request: Web, id: FromPath[str]) -> Response[dict[str, Any]]:
    """Return all about a child but events and metrics; its ETag is what a change names."""
    return _answer(await read(request, lambda reader: fleet.child_view(reader, id)))


@get("/v1/services", guards=[may(Role.VIEWER)], responses=documented(), tags=["fleet"])
async def list_services(
    request: Web, child: FromQuery[str | None] = None, app: FromQuery[str | None] = None,
    environment: FromQuery[str | None] = None, client: FromQuery[str | None] = None,
    kind: FromQuery[str | None] = None, commit: FromQuery[str | None] = None,
    release: FromQuery[str | None] = None, below: FromQuery[str | None] = None,
    ever: FromQuery[bool] = False, after: FromQuery[str | None] = None,
    limit: FromQuery[int] = fleet.LIMIT,
) -> Listed:  # fmt: skip
    """Return a page of what runs where, since when, at which commit."""
    chosen = fleet.ServiceFilter(
        child, app, environment, client, kind, commit, release, below, ever
    )
    return _listed(await read(request, lambda reader: fleet.services(reader, chosen, after, limit)))


@get("/v1/events/log", guards=[may(Role.VIEWER)], responses=documented(), tags=["fleet"])
async def list_events(
    request: Web, child: FromQuery[str | None] = None, type: FromQuery[list[str] | None] = None,
    since: FromQuery[float | None] = None, until: FromQuery[float | None] = None,
    after: FromQuery[str | None] = None, limit: FromQuery[int] = fleet.LIMIT,
) -> Listed:  # fmt: skip
    """Return a page of what children said happened, the latest first."""
    return _listed(
        await read(
            request,
            lambda reader: fleet.events(
                reader, child_id=child, types=type or (), since=since, until=until, after=after,
                limit=limit,
            ),
        )
    )  # fmt: skip


@get("/v1/activity", guards=[may(Role.AUDITOR)], responses=documented(), tags=["operators"])
async def list_activities(
    request: Web, object: FromQuery[str | None] = None, actor: FromQuery[str | None] = None,
    after: FromQuery[str | None] = None, limit: FromQuery[int] = fleet.LIMIT,
) -> Listed:  # fmt: skip
    """Return a page of what operators did, and what was refused to them, the latest first."""
    return _listed(
        await read(
            request,
            lambda reader: fleet.activities(
                reader, object=object, actor=actor, after=after, limit=limit
            ),
        )
    )


# --- deciding ---


@post(
    "/v1/children/{id:str}/accept", guards=[may(Role.OPERATOR)], status_code=200,
    responses=documented(404, 409, 412, 413), tags=["fleet"],
)  # fmt: skip
async def accept(
    request: Web, id: FromPath[str], data: JSONBody[Reason]
) -> Response[dict[str, Any]]:
    """Let a child report."""
    return await _decide(request, id, ChildState.ACCEPTED, "child.accept", data.reason)


@post(
    "/v1/children/{id:str}/reject", guards=[may(Role.OPERATOR)], status_code=200,
    responses=documented(404, 409, 412, 413), tags=["fleet"],
)  # fmt: skip
async def reject(
    request: Web, id: FromPath[str], data: JSONBody[Reason]
) -> Response[dict[str, Any]]:
    """Let a child that waits not report."""
    return await _decide(request, id, ChildState.REJECTED, "child.reject", data.reason)


@post(
    "/v1/children/{id:str}/revoke", guards=[may(Role.APPROVER)], status_code=200,
    responses=documented(404, 409, 412, 413), tags=["fleet"],
)  # fmt: skip
async def revoke(
    request: Web, id: FromPath[str], data: JSONBody[Reason]
) -> Response[dict[str, Any]]:
    """Believe a child no more."""
    return await _decide(request, id, ChildState.REVOKED, "child.revoke", data.reason)


@put(
    "/v1/children/{id:str}/labels", guards=[may(Role.OPERATOR)],
    responses=documented(404, 412, 413, 428), tags=["fleet"],
)  # fmt: skip
async def put_labels(
    request: Web, id: FromPath[str], data: JSONBody[dict[str, str]]
) -> Response[dict[str, Any]]:
    """Give a child these labels and no others. Needs If-Match."""
    labels = checked(data)

    def work(writer: sa.Connection) -> ChildView:
        require_match(request, _tag(fleet.child_view(writer, id)), must=True)
        set_labels(writer, id, labels)
        return fleet.child_view(writer, id)

    changed = await change(request, "child.label", f"child/{id}", work, {"labels": labels})
    parent_of(request).live.publish([Change(id, "state")])
    return _answer(changed)


@get(
    "/v1/enrolment-tokens", guards=[may(Role.VIEWER)], responses=documented(),
    tags=["enrolment tokens"],
)  # fmt: skip
async def list_tokens(request: Web) -> list[ShownToken]:
    """Return the enrolment tokens, the newest first, never their texts."""
    query = sa.select(enrol_token).order_by(enrol_token.c.created_at.desc()).limit(MAX_TOKENS)
    return [
        ShownToken(
            row.id, row.name, json.loads(row.labels), row.auto_accept, row.uses_left,
            row.created_at, row.created_by, row.expires_at, row.withdrawn_at,
        )
        for row in await read(request, lambda reader: reader.execute(query).all())
    ]  # fmt: skip


@post(
    "/v1/enrolment-tokens", guards=[may(Role.OPERATOR)], responses=documented(413),
    tags=["enrolment tokens"],
)  # fmt: skip
async def make_token(request: Web, operator: SignedIn, data: JSONBody[WantedToken]) -> MadeToken:
    """Make an enrolment token, and tell its text this once."""
    now, labels = now_of(request), checked(data.labels)
    thumbprint = parent_of(request).key.id

    def work(writer: sa.Connection) -> MadeToken:
        return MadeToken(
            *enrolment.make_token(
                writer, name=data.name, labels=labels, auto_accept=data.auto_accept,
                uses=data.uses, ttl_s=data.ttl_s, by=operator.name, now=now,
                parent_thumbprint=thumbprint,
            )
        )  # fmt: skip

    told = {
        "name": data.name, "uses": data.uses, "ttl_s": data.ttl_s, "auto_accept": data.auto_accept,
    }  # fmt: skip
    return await change(request, "enrolment-token.create", "enrolment-token/new", work, told)


@post(
    "/v1/enrolment-tokens/{id:str}/withdraw", guards=[may(Role.OPERATOR)], status_code=204,
    responses=documented(404), tags=["enrolment tokens"],
)  # fmt: skip
async def withdraw_token(request: Web, id: FromPath[str]) -> None:
    """Make an enrolment token worthless."""
    now = now_of(request)
    await change(
        request, "enrolment-token.withdraw", f"enrolment-token/{id}",
        lambda writer: enrolment.withdraw_token(writer, id, now=now),
    )  # fmt: skip


async def _decide(
    request: Web, id: str, state: ChildState, action: str, reason: str
) -> Response[dict[str, Any]]:
    by, now = caller_of(request).operator.name, now_of(request)

    def work(writer: sa.Connection) -> ChildView:
        require_match(request, _tag(fleet.child_view(writer, id)))
        enrolment.decide(writer, id, state, by=by, reason=reason, now=now)
        return fleet.child_view(writer, id)

    decided = await change(request, action, f"child/{id}", work, {"reason": reason[:500]})
    parent_of(request).live.publish([Change(id, "state")])
    return _answer(decided)


def _tag(view: ChildView) -> str:
    return etag(
        view.child.id, view.child.state, dict(view.child.labels), view.decided_at, view.reason
    )


def _answer(view: ChildView) -> Response[dict[str, Any]]:
    return Response(asdict(view), headers={"ETag": _tag(view)})


def _listed(page: fleet.Page[Any]) -> Listed:
    return Listed([asdict(each) for each in page.rows], page.next)


def handlers() -> list[BaseRouteHandler]:
    """Return the handlers of this module."""
    return [
        show_counts, list_children, show_child, list_services, list_events, list_activities,
        accept, reject, revoke, put_labels, list_tokens, make_token, withdraw_token,
    ]  # fmt: skip
