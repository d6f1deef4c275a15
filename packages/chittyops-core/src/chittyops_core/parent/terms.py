"""The words by which a child is found: a beginning of one is enough, and no search scans.

A word is stored as it is and from each of its parts on (`web-01.loop`, `01.loop`, `loop`), so that
who types the beginning of any part finds it. Everything in here came from others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from chittyops_core.parent.schema import child, service, term

__all__ = ["MAX_WORDS", "child_words", "label_word", "refresh", "span", "words_of"]

MAX_WORDS = 400
"""Of one child; more services than that say is not searched."""

MAX_LENGTH = 64
"""Characters of a word."""

MAX_QUERY = 8
"""Words of a search; more are ignored."""

LABEL = "label:"
"""Before a label's `key=value`, so that it is found as a whole."""

_APART = re.compile(r"[\s,;]+")
_PART = re.compile(r"[^\w]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\U0010ffff]")


def refresh(connection: sa.Connection, child_id: str) -> None:
    """Write the words of a child anew; only those that changed are touched.

    Call it after its name, labels or services changed, in the same transaction.
    """
    wanted = _wanted(connection, child_id)
    present = set(connection.scalars(sa.select(term.c.word).where(term.c.child == child_id)))
    gone, new = present - wanted, wanted - present
    if gone:
        connection.execute(
            term.delete().where(
                term.c.child == sa.bindparam("key"), term.c.word == sa.bindparam("old")
            ),
            [{"key": child_id, "old": word} for word in sorted(gone)],
        )
    if new:
        connection.execute(term.insert(), [{"child": child_id, "word": w} for w in sorted(new)])


def child_words(
    name: str, labels: Mapping[str, object], services: Iterable[Iterable[str | None]]
) -> set[str]:
    """Return the words of a child, at most `MAX_WORDS`; its own before its services'."""
    words: dict[str, None] = dict.fromkeys(_parts(name))
    for key, value in labels.items():
        words[label_word(f"{key}={value}")] = None
        words.update(dict.fromkeys(_parts(str(value))))
    for texts in services:
        for text in texts:
            words.update(dict.fromkeys(_parts(text or "")))
        if len(words) >= MAX_WORDS:
            break
    return set(list(words)[:MAX_WORDS])


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a search, each once; see `span`."""
    words = (_clean(word) for word in _APART.split(text[:1000]))
    return tuple(dict.fromkeys(word for word in words if word))[:MAX_QUERY]


def label_word(label: str) -> str:
    """Return the one word that stands for a label `key=value`."""
    return (LABEL + _clean(label, len(label)))[:MAX_LENGTH]


def span(word: str) -> sa.ColumnElement[bool]:
    """Return the condition that a stored word begins with *word*; it is a range of the index."""
    return sa.and_(term.c.word >= word, term.c.word < word + "\U0010ffff")


def _wanted(connection: sa.Connection, child_id: str) -> set[str]:
    row = connection.execute(
        sa.select(child.c.name, child.c.labels).where(child.c.id == child_id)
    ).one_or_none()
    if row is None:
        return set()
    try:
        labels = json.loads(row.labels)
    except ValueError:
        labels = {}
    columns = (
        service.c.slug, service.c.app, service.c.environment, service.c.client, service.c.kind,
        service.c.release, service.c.commit_id, service.c.lite,
    )  # fmt: skip
    services = connection.execute(
        sa.select(*columns)
        .where(service.c.child == child_id, service.c.ended_at.is_(None))
        .order_by(service.c.slug, service.c.id)
        .limit(MAX_WORDS)
    )
    return child_words(row.name, labels if isinstance(labels, dict) else {}, services)


def _parts(text: str) -> list[str]:
    """Return *text* from each of its parts on."""
    found = []
    for word in _APART.split(text[:1000]):
        clean = _clean(word)
        starts = [0, *(match.end() for match in _PART.finditer(clean))]
        found += [clean[start:] for start in starts if clean[start:]]
    return found


def _clean(word: str, length: int = MAX_LENGTH) -> str:
    return _CONTROL.sub("", word).lower()[: min(length, MAX_LENGTH)]
