"""Filters that operators give a name: saved and forgotten."""

from __future__ import annotations

from attrs import frozen
from litestar import post
from litestar.params import FromPath, URLEncodedBody
from litestar.response import Redirect

from chittyops_core.errors import UsageError
from chittyops_core.parent import fleet
from chittyops_core.parent.access import Role
from chittyops_core.parent.activities import plain
from chittyops_core.parent.dashboard.engine import Web
from chittyops_core.parent.dashboard.queries import normal_query
from chittyops_core.parent.operators import may
from chittyops_core.parent.operators.guards import SignedIn
from chittyops_core.parent.operators.requests import write

__all__ = ["forget_filter", "save_filter"]


@frozen
class NewFilter:
    """The form that saves a filter."""

    name: str = ""
    query: str = ""
    is_shared: str = ""


@post("/filters", guards=[may(Role.VIEWER)], include_in_schema=False)
async def save_filter(
    request: Web, operator: SignedIn,
    data: URLEncodedBody[NewFilter],
) -> Redirect:  # fmt: skip
    """Save a filter under a name, for oneself or for all."""
    query = normal_query(data.query)
    if not query:
        raise UsageError("a filter that shows everything needs no name")
    await write(
        request,
        lambda writer: fleet.save_filter(
            writer, operator.id, plain(data.name)[:60], query, is_shared=data.is_shared == "yes"
        ),
    )
    return Redirect(f"/{query}&done=saved", status_code=303)


@post("/filters/{filter_id:str}/forget", guards=[may(Role.VIEWER)], include_in_schema=False)
async def forget_filter(request: Web, filter_id: FromPath[str], operator: SignedIn) -> Redirect:
    """Forget one of one's own filters."""
    await write(request, lambda writer: fleet.delete_filter(writer, operator.id, filter_id))
    return Redirect("/?done=forgotten", status_code=303)
