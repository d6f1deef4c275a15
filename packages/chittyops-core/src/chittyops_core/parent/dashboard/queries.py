"""What an address asks of the fleet, read and written back; what is no filter is left out."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode

from chittyops_core.bridge.protocol import ChildState
from chittyops_core.parent.fleet import Filter

__all__ = ["ANY", "FIELDS", "filter_of", "href", "normal_query", "query_of"]

ANY = "any"
"""The value of `state` that shows children wherever they stand."""

FIELDS = ("state", "status", "overdue", "kind", "label", "q")
"""What a filter of the fleet may say, in the order in which its address says it."""

MAX_VALUE = 200


def query_of(params: Mapping[str, str]) -> dict[str, str]:
    """Return those of an address's parameters that filter the fleet."""
    return {name: params[name][:MAX_VALUE] for name in FIELDS if params.get(name)}


def filter_of(query: Mapping[str, str]) -> Filter:
    """Return the filter that *query* says.

    Children that are accepted are shown, unless one asks for others or searches by a word.
    """
    is_search = "q" in query or "label" in query
    state: str | None = query.get("state", ANY if is_search else ChildState.ACCEPTED.value)
    return Filter(
        kind=query.get("kind"), state=None if state == ANY else state, status=query.get("status"),
        overdue=True if query.get("overdue") == "yes" else None, label=query.get("label"),
        text=query.get("q", ""),
    )  # fmt: skip


def href(query: Mapping[str, str], **changes: str | None) -> str:
    """Return the fleet page's address with *query*, changed; None takes a field out."""
    fields = {**query, **changes}
    kept = [(name, fields[name]) for name in (*FIELDS, "after") if fields.get(name)]
    return f"/?{urlencode(kept)}" if kept else "/"


def normal_query(text: str) -> str:
    """Return a saved query with the fields of a filter alone, so that it leads nowhere else."""
    try:
        given = dict(parse_qsl(text.removeprefix("/").removeprefix("?"), max_num_fields=20))
    except ValueError:
        return ""
    return href(query_of(given)).removeprefix("/")
