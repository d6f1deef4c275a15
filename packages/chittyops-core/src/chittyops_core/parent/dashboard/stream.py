"""Pages that stay true while they are open: what changed of what they show, and nothing else.

A page says what it is and which children it shows. It is told at most once a second, and then of
those children only; counts are read once a second for all pages together. So what a page costs
grows neither with the fleet nor with how much happens in it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from attrs import define, field, frozen
from litestar import get
from litestar.response import Stream
from markupsafe import Markup, escape

from chittyops_core.errors import ChittyOpsError, NotFoundError
from chittyops_core.parent import fleet
from chittyops_core.parent.access import Role
from chittyops_core.parent.dashboard.child_page import head_of
from chittyops_core.parent.dashboard.engine import Web, environment, macro, may_act
from chittyops_core.parent.dashboard.fleet_page import Asks, asks, counted
from chittyops_core.parent.dashboard.rows import ChildRow
from chittyops_core.parent.fleet import Counts
from chittyops_core.parent.live import Seen
from chittyops_core.parent.operators import may
from chittyops_core.parent.operators.guards import identify
from chittyops_core.parent.operators.problems import Malformed, NotSignedIn
from chittyops_core.parent.operators.requests import now_of, parent_of, read

if TYPE_CHECKING:
    from chittyops_core.parent.app import Parent

__all__ = ["show_events"]

MAX_CHILDREN = 200
"""That a page may show."""

PAUSE_S = 1.0
"""Between two messages to a page."""

HEARTBEAT_S = 15.0
"""After which silence is broken: it keeps proxies from closing, and finds who has gone."""

_CHILD = re.compile(r"[A-Za-z0-9_]{1,32}")
_KEY = re.compile(r"[a-z0-9_-]{1,80}")


@frozen
class Whole:
    """What pages of the whole fleet show beside their rows."""

    counts: Counts
    asks: Asks


@define
class Shared:
    """What all open pages read together: at most once a second, and once at a time."""

    lock: asyncio.Lock = field(factory=asyncio.Lock)
    read_at: float = float("-inf")
    whole: Whole | None = None

    async def get(self, request: Web) -> Whole:
        clock = parent_of(request).clock
        async with self.lock:
            if self.whole is None or clock.monotonic() - self.read_at >= PAUSE_S:
                self.whole = await read(request, _whole)
                self.read_at = clock.monotonic()
            return self.whole


_SHARED: WeakKeyDictionary[Parent, Shared] = WeakKeyDictionary()


@get("/v1/events", guards=[may(Role.VIEWER)], include_in_schema=False)
async def show_events(request: Web) -> Stream:
    """Tell an open page what changed of what it shows, as server-sent events."""
    kind = request.query_params.get("page", "fleet")
    children = [each for each in request.query_params.get("children", "").split(",") if each]
    if kind not in _PAGES or len(children) > MAX_CHILDREN:
        raise Malformed("There is no such page, or it shows too many children.")
    if not all(map(_CHILD.fullmatch, children)):
        raise Malformed("A child's id has letters, digits and _ only.")
    return Stream(
        _follow(request, _PAGES[kind], frozenset(children)),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _follow(
    request: Web, render: Callable[[Web, Seen, dict[str, str]], Any], children: frozenset[str]
) -> AsyncIterator[bytes]:
    """Yield messages until the page closes or its session ends."""
    sent: dict[str, str] = {}
    with parent_of(request).live.following(children) as follower:
        yield b": open\n\n"
        while True:
            seen = await follower.wait(HEARTBEAT_S)
            if seen.is_over:
                return
            try:
                await identify(request)
            except NotSignedIn:
                yield b"event: ended\ndata: signed out\n\n"
                return
            try:
                text = await render(request, seen, sent) if seen else ""
            except ChittyOpsError:
                text = ""  # Busy or going down: the next change tries again.
            yield _message(text) if text else b": still here\n\n"
            await asyncio.sleep(PAUSE_S)  # So long an ending server waits, too.


async def _fleet(request: Web, seen: Seen, sent: dict[str, str]) -> str:
    """Return the rows that changed, and counts that differ from those sent last."""
    parts = []
    if seen.children:
        found = await read(request, lambda reader: fleet.some(reader, sorted(seen.children)))
        row, now = macro("parts.html", "child_row"), now_of(request)
        parts = [_part(f"c-{each.id}", row(ChildRow.of(each), now)) for each in found]
    if seen.is_fleet_changed:
        whole = await _SHARED.setdefault(parent_of(request), Shared()).get(request)
        numbers = counted(whole.counts, request.query_params.get("kind", ""))
        told = {f"n-{key}": f"{number:,}" for key, number in numbers.items() if _KEY.fullmatch(key)}
        told["asks"] = (
            environment()
            .get_template("fleet_asks.html")
            .render(
                asks=whole.asks, now=now_of(request), can_decide=may_act(request, Role.OPERATOR)
            )
        )
        for id, text in told.items():
            if sent.get(id) != text:
                inner = Markup(text) if id == "asks" else escape(text)  # noqa: S704
                parts.append(_part(id, inner, "outerMorph" if id == "asks" else "innerHTML"))
            sent[id] = text
    return "".join(parts)


async def _child(request: Web, seen: Seen, sent: dict[str, str]) -> str:
    """Return the top of a child's page."""
    if not seen.children:
        return ""
    (child_id,) = list(seen.children)[:1]
    try:
        view = await read(request, lambda reader: fleet.child_view(reader, child_id))
    except NotFoundError:
        return ""
    template = environment().get_template("child_head.html")
    return _part("child-head", Markup(template.render(view=head_of(view), now=now_of(request))))  # noqa: S704


_PAGES: dict[str, Callable[[Web, Seen, dict[str, str]], Any]] = {"fleet": _fleet, "child": _child}


def _whole(reader: sa.Connection) -> Whole:
    counts = fleet.counts(reader)
    return Whole(counts, asks(reader, counts))


def _part(id: str, inner: Markup | str, swap: str = "outerMorph") -> str:
    return f'<hx-partial hx-target="#{id}" hx-swap="{swap}">{inner}</hx-partial>'


def _message(text: str) -> bytes:
    lines = "".join(f"data: {line}\n" for line in text.splitlines() if line.strip())
    return f"{lines}\n".encode()
