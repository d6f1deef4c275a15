"""What is asked of a request in more than one place: by whom, from where, how."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import sqlalchemy as sa
from litestar.connection import ASGIConnection

from chittyops_core.parent.addresses import client_address, is_trusted

if TYPE_CHECKING:
    from chittyops_core.parent.app import Parent

__all__ = [
    "Connection", "address_of", "agent_of", "is_secure", "local_path", "now_of", "parent_of",
    "read", "write",
]  # fmt: skip

T = TypeVar("T")
Connection = ASGIConnection[Any, Any, Any, Any]

MAX_PATH = 2000
"""Characters of a page's address to return to."""


def parent_of(connection: Connection) -> Parent:
    parent: Parent = connection.app.state.parent
    return parent


def now_of(connection: Connection) -> float:
    """Return seconds since the epoch by the parent's clock."""
    return parent_of(connection).clock.now().timestamp()


def is_secure(connection: Connection) -> bool:
    """Whether TLS protects the way to the browser: ours, or that of a proxy that we trust."""
    if connection.scope.get("scheme") in ("https", "wss"):
        return True
    trusted = parent_of(connection).trusted
    said = _all(connection, "x-forwarded-proto").rpartition(",")[2].strip()
    return said == "https" and is_trusted(_peer(connection), trusted)


def address_of(connection: Connection) -> str:
    """Return where a request comes from: the socket's end, or what a proxy we trust says."""
    forwarded = _all(connection, "x-forwarded-for")
    return client_address(_peer(connection), forwarded, parent_of(connection).trusted)


def agent_of(connection: Connection) -> str:
    return str(connection.headers.get("user-agent", ""))[:200]


def local_path(text: str | None) -> str:
    """Return *text* when it is the address of a page of ours, else `/`.

    A browser takes `//host`, `/\\host` and what control characters hide for another site.
    """
    text = text or "/"
    is_plain = text.isascii() and text.isprintable() and len(text) <= MAX_PATH
    if not is_plain or not text.startswith("/") or "\\" in text or text.startswith("//"):
        return "/"
    try:
        parts = urlsplit(text)
    except ValueError:
        return "/"
    return "/" if parts.scheme or parts.netloc or parts.path.startswith("//") else text


async def read(connection: Connection, query: Callable[[sa.Connection], T]) -> T:
    """Return what *query* finds, in a thread."""
    database = parent_of(connection).database

    def look() -> T:
        with database.reading() as reader:
            return query(reader)

    return await asyncio.to_thread(look)


async def write(connection: Connection, work: Callable[[sa.Connection], T]) -> T:
    """Let the writer do *work*; return when it is on the disk."""
    return await asyncio.wrap_future(parent_of(connection).database.submit(work))


def _peer(connection: Connection) -> str:
    client = connection.scope.get("client")
    return client[0] if client else ""


def _all(connection: Connection, name: str) -> str:
    """Return a header that may come several times as one list (RFC 9110 section 5.3)."""
    return ",".join(connection.headers.getall(name, []))
