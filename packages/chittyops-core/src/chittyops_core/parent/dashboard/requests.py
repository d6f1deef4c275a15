"""What forms and pages ask of a request."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from chittyops_core.errors import UsageError
from chittyops_core.parent.dashboard.engine import Web
from chittyops_core.parent.operators.requests import is_secure

__all__ = ["address_of_parent", "labels_from", "notice_of", "quoted"]

_NOTICES = {
    "accepted": "Accepted. Its next sync is taken, within the hour at the latest.",
    "rejected": "Rejected. Nothing that it says is taken.",
    "revoked": "Revoked. It is believed no more.",
    "labelled": "The labels are kept.",
    "withdrawn": "The token is worth nothing from now on.",
    "saved": "The filter is saved.",
    "forgotten": "The filter is forgotten.",
}
MAX_LABELS = 32
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}")
_HOST = re.compile(r"[A-Za-z0-9.\-:\[\]]{1,255}")


def notice_of(request: Web) -> str:
    """Return what the form before this page did, in words."""
    return _NOTICES.get(request.query_params.get("done", ""), "")


def address_of_parent(request: Web) -> str:
    """Return where this browser reaches the parent: what a host is told, if it sees the same."""
    host = request.headers.get("host", "")
    scheme = "https" if is_secure(request) else "http"
    return f"{scheme}://{host}" if _HOST.fullmatch(host) else "https://PARENT"


def quoted(*words: str) -> str:
    """Return a command as it is typed into a shell."""
    return shlex.join(words)


def labels_from(text: str) -> Mapping[str, str]:
    """Return labels, one a line as `key=value`.

    Raises:
        UsageError: A line is none.
    """
    labels: dict[str, str] = {}
    for line in filter(None, (each.strip() for each in text.splitlines())):
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not _KEY.fullmatch(key) or not 0 < len(value) <= 100:
            raise UsageError(
                f"{line[:80]!r} is no label",
                remedy="Write key=value; a key has letters, digits and . _ / - and at most 63, "
                "a value at most 100 characters.",
            )
        labels[key] = value
    if len(labels) > MAX_LABELS:
        raise UsageError(f"a child has at most {MAX_LABELS} labels")
    return labels
