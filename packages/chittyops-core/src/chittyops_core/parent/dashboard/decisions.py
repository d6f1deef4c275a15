"""What an operator decides about a child: a page that says what will happen, then the deed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from attrs import frozen
from litestar import Response, get, post
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath, URLEncodedBody
from litestar.response import Redirect

from chittyops_core.bridge.protocol import ChildState
from chittyops_core.errors import NotFoundError
from chittyops_core.parent import fleet, terms
from chittyops_core.parent.access import Role
from chittyops_core.parent.dashboard.engine import Web, page
from chittyops_core.parent.dashboard.requests import labels_from
from chittyops_core.parent.enrolment import decide
from chittyops_core.parent.live import Change
from chittyops_core.parent.operators import may
from chittyops_core.parent.operators.changes import change
from chittyops_core.parent.operators.guards import SignedIn
from chittyops_core.parent.operators.requests import now_of, parent_of, read
from chittyops_core.parent.schema import child, child_key, enrol_token

__all__ = ["handlers"]

MAX_REASON = 500


@frozen
class Reason:
    """The form of a decision."""

    reason: str = ""


@frozen
class Labels:
    """The form of a child's labels."""

    labels: str = ""


@frozen
class Verdict:
    """One of the decisions.

    Attributes:
        action: In the address, and in the activity after `child.`.
        verb: On the button.
        state: Where the child stands afterwards.
        role: Who may decide so.
        consequences: What will happen, in sentences.
        css: Classes of the button.
    """

    action: str
    verb: str
    state: ChildState
    role: Role
    consequences: tuple[str, ...]
    css: str
    has_reason: bool = True


@frozen
class Ask:
    """What the page before a decision shows."""

    title: str
    verb: str
    action: str
    child: fleet.Child
    consequences: tuple[str, ...]
    proofs: tuple[tuple[str, str], ...]
    css: str
    has_reason: bool


VERDICTS = (
    Verdict(
        "accept", "Accept", ChildState.ACCEPTED, Role.OPERATOR,
        (
            "What this host reports is taken from its next sync on, and it counts in the fleet.",
            "It is overdue when it falls silent.",
            "It can be revoked at any time.",
        ),
        "primary", has_reason=False,
    ),
    Verdict(
        "reject", "Reject", ChildState.REJECTED, Role.OPERATOR,
        (
            "Nothing that this host says is taken.",
            "It keeps what it owes, and asks again at most once an hour.",
            "It can be accepted later.",
        ),
        "danger sure",
    ),
    Verdict(
        "revoke", "Revoke", ChildState.REVOKED, Role.APPROVER,
        (
            "Nothing more is taken from this child, whoever has its key.",
            "It counts in the fleet no more, and nobody hears when it falls silent.",
            "What it said until now stays here. Its apps go on: they never wait for this parent.",
            "It can be accepted again later; what it owes by then is still on its disk.",
        ),
        "danger sure",
    ),
)  # fmt: skip


def handlers() -> list[BaseRouteHandler]:
    """Return the handlers of all decisions."""
    made: list[BaseRouteHandler] = [set_labels]
    for verdict in VERDICTS:
        made += [_page_of(verdict), _deed_of(verdict)]
    return made


def _page_of(verdict: Verdict) -> BaseRouteHandler:
    @get(
        f"/children/{{child_id:str}}/{verdict.action}", guards=[may(verdict.role)],
        include_in_schema=False, name=f"ask to {verdict.action}",
    )  # fmt: skip
    async def ask(request: Web, child_id: FromPath[str]) -> Response[bytes]:
        view, proofs = await read(request, lambda reader: _proofs(reader, child_id))
        asked = Ask(
            f"{verdict.verb} {view.child.name}?", verdict.verb, verdict.action, view.child,
            verdict.consequences, proofs, verdict.css, verdict.has_reason,
        )  # fmt: skip
        return page(request, "confirm.html", ask=asked)

    return ask


def _deed_of(verdict: Verdict) -> BaseRouteHandler:
    @post(
        f"/children/{{child_id:str}}/{verdict.action}", guards=[may(verdict.role)],
        include_in_schema=False, name=verdict.action,
    )  # fmt: skip
    async def deed(
        request: Web,
        child_id: FromPath[str],
        operator: SignedIn,
        data: URLEncodedBody[Reason],
    ) -> Redirect:
        now, reason = now_of(request), data.reason.strip()[:MAX_REASON]

        def work(writer: sa.Connection) -> Any:
            return decide(writer, child_id, verdict.state, by=operator.name, reason=reason, now=now)

        await _done(request, f"child.{verdict.action}", child_id, work, {"reason": reason})
        return Redirect(f"/children/{child_id}?done={verdict.state}", status_code=303)

    return deed


@post("/children/{child_id:str}/labels", guards=[may(Role.OPERATOR)], include_in_schema=False)
async def set_labels(
    request: Web, child_id: FromPath[str], data: URLEncodedBody[Labels]
) -> Redirect:
    """Give a child these labels and no others."""
    labels = dict(labels_from(data.labels))

    def work(writer: sa.Connection) -> None:
        done = writer.execute(
            sa.update(child).where(child.c.id == child_id).values(labels=json.dumps(labels))
        )
        if done.rowcount != 1:
            raise NotFoundError("there is no such child")
        terms.refresh(writer, child_id)

    await _done(request, "child.label", child_id, work, {"labels": labels})
    return Redirect(f"/children/{child_id}?done=labelled", status_code=303)


async def _done(
    request: Web, action: str, child_id: str, work: Callable[[sa.Connection], Any],
    detail: dict[str, Any],
) -> None:  # fmt: skip
    await change(request, action, f"child/{child_id}", work, detail)
    parent_of(request).live.publish([Change(child_id, "state")])


def _proofs(
    reader: sa.Connection, child_id: str
) -> tuple[fleet.ChildView, tuple[tuple[str, str], ...]]:
    """Return a child, and by what an operator tells that it is the one that is meant."""
    view = fleet.child_view(reader, child_id)
    key = reader.execute(
        sa.select(child_key.c.thumbprint)
        .where(child_key.c.child == child_id, child_key.c.state != "retired")
        .order_by(child_key.c.created_at)
    ).scalar()
    token = reader.execute(
        sa.select(enrol_token.c.name)
        .join(child, child.c.token == enrol_token.c.id)
        .where(child.c.id == child_id)
    ).scalar()
    known = (
        ("Host", view.facts.get("hostname")), ("System", view.facts.get("os")), ("Key", key),
        ("By the token", token),
    )  # fmt: skip
    return view, tuple((name, str(value)[:200]) for name, value in known if value)
