"""What a child sent, read and checked before anything is done with it (section 4). Pure.

Bodies come compressed as the sender likes, and as large and deep as the sender likes; nothing
here expands or descends further than what the protocol allows.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, TypeVar, cast

import msgspec

from chittyops_core.bridge.protocol import (
    HEALTH,
    MAX_BYTES,
    MAX_ITEMS,
    MAX_METRICS,
    MAX_SECTIONS,
    MAX_TEXT,
    METRICS,
    VERSION,
    Enrolment,
    ItemKind,
    KeyRotation,
    Leave,
    ProblemType,
    Section,
    Sync,
)
from chittyops_core.parent.problems import ProblemError

__all__ = ["expand", "is_time", "read", "read_sync", "set_id", "text_of"]

T = TypeVar("T")

MAX_DEPTH = 32
"""Of arrays and objects in each other, in a value that is opaque to the wire."""

MAX_NUMBER = 1 << 53
"""Of `n`, `after`, `gone` and an item's number: what every reader of JSON takes."""

MAX_AT = 1e11
"""Seconds since the epoch, the year 5138."""

MAX_KIND = 64
MAX_SETS = 64
MAX_CAPS = 256

_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_DIGEST = re.compile(r"[0-9a-f]{16}")
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
"""An escaped NUL, which PostgreSQL keeps in no text."""


def expand(body: bytes, encoding: str) -> bytes:
    """Return *body* without its `Content-Encoding`. Raises ProblemError.

    Never more than one byte above the limit is expanded, however much is in there.
    """
    if encoding in ("", "identity"):
        plain = body
    elif encoding == "gzip":
        plain = _gunzip(body)
    else:
        raise ProblemError(ProblemType.MALFORMED, "Content-Encoding: gzip or none is taken")
    if len(plain) > MAX_BYTES:
        raise ProblemError(
            ProblemType.TOO_LARGE, f"A body may have {MAX_BYTES} bytes after decompression."
        )
    return plain


def _gunzip(body: bytes) -> bytes:
    engine = zlib.decompressobj(wbits=31)
    try:
        plain = engine.decompress(body, MAX_BYTES + 1)
    except zlib.error as error:
        raise ProblemError(ProblemType.MALFORMED, "the body is no gzip") from error
    if len(plain) <= MAX_BYTES and (not engine.eof or engine.unused_data):
        raise ProblemError(ProblemType.MALFORMED, "the body is cut short, or more follows it")
    return plain


def read(cls: type[T], body: bytes) -> T:
    """Return the *cls* that *body* is in JSON, without NUL in any text. Raises ProblemError."""
    if b"\\u0000" in body:
        body = _NUL.sub(rb"\1\\ufffd", body)
    try:
        value: Any = _DECODERS[cls].decode(body)
    except RecursionError as error:
        raise ProblemError(ProblemType.MALFORMED, "the body is nested too deep") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProblemError(ProblemType.MALFORMED, str(error)) from error
    if value.v != VERSION:
        raise ProblemError(ProblemType.VERSION, f"This parent speaks version {VERSION}.")
    return cast("T", value)


_DECODERS: Mapping[type, msgspec.json.Decoder[Any]] = {
    cls: msgspec.json.Decoder(cls) for cls in (Sync, Enrolment, KeyRotation, Leave)
}


def read_sync(body: bytes, path: str) -> Sync:
    """Return the sync that was sent to *path*, within all limits. Raises ProblemError."""
    sync = read(Sync, body)
    _require_one(path, sync)
    if _UUID.fullmatch(sync.stream) is None:
        raise _malformed("stream: a UUID is expected, in lower case")
    if not 1 <= sync.n <= MAX_NUMBER:
        raise _malformed("n: a number from 1 to 2^53 is expected")
    if not 0 <= sync.after <= MAX_NUMBER or not 0 <= sync.gone <= MAX_NUMBER:
        raise _malformed("after, gone: numbers from 0 to 2^53 are expected")
    _require_text("sdk", sync.sdk)
    if len(sync.caps) > MAX_CAPS:
        raise _malformed(f"caps: more than {MAX_CAPS}")
    for cap in sync.caps:
        _require_text("caps", cap)
    _require_state(sync)
    _require_sets(sync)
    _require_items(sync)
    return sync


def _require_one(path: str, sync: Sync) -> None:
    """Let an alias carry what it is for (section 7)."""
    if path == HEALTH and (sync.items or set(sync.state) - {Section.HEALTH.value}):
        raise _malformed("state: only `health` is taken here, and no items")
    if path == METRICS and (
        sync.state or any(kind != ItemKind.METRICS.value for _, kind, _ in sync.items)
    ):
        raise _malformed("items: only `metrics` are taken here, and no state")


def _require_state(sync: Sync) -> None:
    if len(sync.state) > MAX_SECTIONS or len(sync.digests) > MAX_SECTIONS:
        raise _malformed(f"state, digests: more than {MAX_SECTIONS} sections")
    for section, value in sync.state.items():
        if not 0 < len(section) <= MAX_KIND:
            raise _malformed(f"state: a section's name has 1 to {MAX_KIND} characters")
        _require_flat(f"state.{section}", value)
    for section, digest in sync.digests.items():
        if not 0 < len(section) <= MAX_KIND or _DIGEST.fullmatch(digest) is None:
            raise _malformed("digests: 16 hexadecimal digits are expected, by section")


def _require_sets(sync: Sync) -> None:
    if len(sync.sets) > MAX_SETS:
        raise ProblemError(ProblemType.TOO_LARGE, f"sets: more than {MAX_SETS} metric sets")
    for identity, names in sync.sets.items():
        if len(names) > MAX_METRICS:
            raise ProblemError(ProblemType.TOO_LARGE, f"sets: more than {MAX_METRICS} names")
        for name in names:
            _require_text("sets", name)
        if set_id(names) != identity:
            raise _malformed("sets: the id is not that of these names (section 7.3)")


def set_id(names: tuple[str, ...]) -> str:
    """Return the id of a metric set (section 7.3)."""
    return sha256("".join(f"{name}\n" for name in names).encode()).hexdigest()[:16]


def _require_items(sync: Sync) -> None:
    if len(sync.items) > MAX_ITEMS:
        raise ProblemError(ProblemType.TOO_LARGE, f"items: more than {MAX_ITEMS}")
    last = sync.after
    for seq, kind, body in sync.items:
        if not last < seq <= MAX_NUMBER:
            raise _malformed("items: their numbers have to rise, from above `after`")
        last = seq
        if kind == "metrics":
            _require_metrics(sync, seq, body)
            continue
        if not 0 < len(kind) <= MAX_KIND or not kind.isprintable():
            raise _malformed(f"item {seq}: a kind has 1 to {MAX_KIND} characters")
        _require_flat(f"item {seq}", body)


def _require_metrics(sync: Sync, seq: int, body: Any) -> None:
    if not isinstance(body, dict):
        raise _malformed(f"item {seq}: an object with `set`, `at` and `v` is expected")
    name, at, values = body.get("set"), body.get("at"), body.get("v")
    if not isinstance(name, str) or _DIGEST.fullmatch(name) is None:
        raise _malformed(f"item {seq}: set: 16 hexadecimal digits are expected")
    if not is_time(at):
        raise _malformed(f"item {seq}: at: seconds since the epoch are expected")
    if not isinstance(values, list) or len(values) > MAX_METRICS:
        raise _malformed(f"item {seq}: v: up to {MAX_METRICS} numbers or nulls are expected")
    if not all(value is None or type(value) in (int, float) for value in values):
        raise _malformed(f"item {seq}: v: numbers or nulls are expected")
    names = sync.sets.get(name)
    if names is not None and len(names) != len(values):
        raise _malformed(f"item {seq}: v: {len(names)} values are expected, one for each name")


def is_time(value: Any) -> bool:
    """Whether *value* is a time that we can calculate with."""
    return type(value) in (int, float) and math.isfinite(value) and 0 <= value <= MAX_AT


def _require_text(where: str, text: str) -> None:
    if len(text) > MAX_TEXT:
        raise _malformed(f"{where}: more than {MAX_TEXT} characters")


def _require_flat(where: str, value: Any) -> None:
    """Refuse what is nested deeper than any of its readers would go."""
    level = [value]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inner += [found for found in each.values() if isinstance(found, dict | list)]
            elif isinstance(each, list):
                inner += [found for found in each if isinstance(found, dict | list)]
        if not inner:
            return
        level = inner
    raise _malformed(f"{where}: nested deeper than {MAX_DEPTH}")


def text_of(body: Any, name: str, limit: int = MAX_TEXT) -> str:
    """Return the text that *body* has under *name*, cut to *limit*; "" when there is none."""
    found = body.get(name) if isinstance(body, Mapping) else None
    return found[:limit] if isinstance(found, str) else ""


def _malformed(detail: str) -> ProblemError:
    return ProblemError(ProblemType.MALFORMED, detail)
