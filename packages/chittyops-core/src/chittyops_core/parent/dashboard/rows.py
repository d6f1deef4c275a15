"""Children and services as lists show them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import frozen

from chittyops_core.bridge.protocol import ChildState
from chittyops_core.parent import fleet
from chittyops_core.parent.dashboard.words import (
    OVERDUE,
    Look,
    kind_words,
    state_look,
    status_look,
)

__all__ = ["ChildRow", "ServiceRow", "facts_of", "labels_of", "look_of"]

MAX_FACTS = 6
MAX_FACT = 160
"""Characters of a fact; the rest is cut off."""


@frozen
class ChildRow:
    """A child in a list; see `fleet.Child`."""

    id: str
    name: str
    kind: str
    state: str
    look: Look
    said: str
    is_overdue: bool
    labels: tuple[tuple[str, str], ...]
    since: float | None
    last_seen: float | None
    enrolled_at: float
    services: int
    lag: int
    sdk: str

    @classmethod
    def of(cls, child: fleet.Child) -> ChildRow:
        return cls(
            child.id, child.name or child.id, kind_words(child.kind), child.state, look_of(child),
            status_look(child.status).words, child.is_overdue, labels_of(child.labels),
            child.overdue_since if child.is_overdue else child.status_since, child.last_seen,
            child.enrolled_at, child.services, child.lag, child.sdk,
        )  # fmt: skip


@frozen
class ServiceRow:
    """A service in a list; see `fleet.Service`."""

    child: str
    child_name: str
    slug: str
    app: str
    environment: str
    client: str | None
    look: Look
    why: str
    release: str
    commit: str | None
    lite: str | None
    address: str | None
    since: float | None
    ended_at: float | None

    @classmethod
    def of(cls, service: fleet.Service, health: Mapping[str, Any] | None = None) -> ServiceRow:
        """Make a row; *health* is what the child says of this service, of any shape."""
        said = health if isinstance(health, Mapping) else {}
        return cls(
            service.child, service.child_name, service.slug, service.app, service.environment,
            service.client, status_look(str(said.get("status") or service.status)),
            str(said.get("why") or "")[:500], service.release, service.commit, service.lite,
            service.address, service.seen_at if service.since is None else service.since,
            service.ended_at,
        )  # fmt: skip


def look_of(child: fleet.Child) -> Look:
    """Return how a child appears: where it stands, else that it is silent, else what it says."""
    if child.state != ChildState.ACCEPTED:
        return state_look(child.state)
    return OVERDUE if child.is_overdue else status_look(child.status)


def labels_of(labels: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return labels by key."""
    return tuple(sorted((str(key), str(value)) for key, value in labels.items()))


def facts_of(body: object, without: Iterable[str] = ()) -> tuple[tuple[str, str], ...]:
    """Return the first plain values of a JSON object that came from elsewhere."""
    if not isinstance(body, Mapping):
        return ()
    left_out = set(without)
    plain = [
        (str(key)[:40], str(value)[:MAX_FACT])
        for key, value in body.items()
        if key not in left_out and isinstance(value, str | int | float) and value != ""
    ]
    return tuple(plain[:MAX_FACTS])
