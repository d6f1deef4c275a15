"""Metrics as bytes: one row of values as it came, and a day of them in one chunk.

A row is float32, since a gauge means no more than seven digits. A value that float32 would falsify,
which is one beyond 2^24 that is not equal afterwards (counters, sizes, times), is kept as float64.

In a chunk every metric is a column, written in the shortest of four ways: one value where it never
changed, the differences of whole numbers where all have at most four decimals, float32 or float64
xor-ed with the value before. The bytes of a column lie by significance, then zlib presses all.
"""

from __future__ import annotations

import math
import struct
import sys
import zlib
from array import array
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

from attrs import frozen

from chittyops_core.errors import ParentError

__all__ = ["Chunk", "pack_chunk", "pack_row", "unpack_chunk", "unpack_row"]

MAX_VALUES = 0x7FFF
"""Of a row."""

EXACT = 2.0**24
"""Whole numbers up to here are the same in float32."""

MAX_SINGLE = 3.4028234e38
"""float32 has nothing beyond."""

_WIDE = 0x8000
_CONSTANT, _SINGLE, _DOUBLE, _WHOLE = 0, 1, 2, 3
_SCALES = (1, 10, 100, 1000, 10000)
_WIDTHS = {1: "B", 2: "H", 4: "I", 8: "Q"}
_VERSION = b"\x01"
_IS_BIG = sys.byteorder == "big"


@frozen
class Chunk:
    """Samples of some columns, oldest first.

    Attributes:
        times: Seconds since the epoch, rising.
        columns: Number of a column -> its values, as long as `times`; NaN where there was none.
    """

    times: Sequence[int]
    columns: Mapping[int, Sequence[float]]


def pack_row(values: Sequence[object]) -> bytes:
    """Return *values* as bytes; what is no finite number becomes NaN."""
    numbers = [_number(value) for value in values[:MAX_VALUES]]
    wide = [_is_wide(number) for number in numbers]
    count = len(numbers)
    if not any(wide):
        return struct.pack(f"<H{count}f", count, *numbers)
    marks = sum(1 << place for place, is_wide in enumerate(wide) if is_wide)
    form = "".join("d" if is_wide else "f" for is_wide in wide)
    head = struct.pack("<H", count | _WIDE) + marks.to_bytes(-(-count // 8), "little")
    return head + struct.pack("<" + form, *numbers)


def unpack_row(packed: bytes) -> tuple[float, ...]:
    """Return the values of a row."""
    (head,) = struct.unpack_from("<H", packed)
    count = head & ~_WIDE
    if not head & _WIDE:
        return struct.unpack_from(f"<{count}f", packed, 2)
    size = -(-count // 8)
    marks = int.from_bytes(packed[2 : 2 + size], "little")
    form = "".join("d" if marks >> place & 1 else "f" for place in range(count))
    return struct.unpack_from("<" + form, packed, 2 + size)


def pack_chunk(times: Sequence[int], columns: Sequence[Sequence[float]]) -> bytes:
    """Return samples as bytes.

    Args:
        times: Seconds since the epoch, rising.
        columns: Every one as long as *times*.
    """
    kinds, bodies = bytearray(), []
    for column in (times, *columns):
        kind, body = _pack_column(column)
        kinds += kind
        bodies.append(body)
    head = struct.pack("<IH", len(times), len(columns))
    return _VERSION + zlib.compress(head + bytes(kinds) + b"".join(bodies), 9)


def unpack_chunk(chunk: bytes, wanted: Collection[int] | None = None) -> Chunk:
    """Return the samples of *chunk*: all columns, or those that are *wanted* and there.

    Raises:
        ParentError: It is damaged.
    """
    try:
        if chunk[:1] != _VERSION:
            raise ValueError(f"version {chunk[:1]!r}")
        data = zlib.decompress(chunk[1:])
        rows, count = struct.unpack_from("<IH", data)
        place = 6 + 2 * (count + 1)
        times: list[int] = []
        columns = {}
        for number in range(-1, count):
            kind = data[6 + 2 * (number + 1) : 8 + 2 * (number + 1)]
            size = _size(kind, rows)
            if number < 0:
                times = [int(each) for each in _unpack_column(kind, data, place, rows)]
            elif wanted is None or number in wanted:
                columns[number] = _unpack_column(kind, data, place, rows)
            place += size
    except (ValueError, IndexError, KeyError, struct.error, zlib.error) as error:
        raise ParentError(
            f"a chunk of metrics cannot be read: {error}",
            remedy="Restore the parent's database from a backup.",
            cause="damaged",
        ) from error
    return Chunk(times, columns)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        number = float(value)
    except OverflowError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _is_wide(number: float) -> bool:
    size = abs(number)
    if size < EXACT or math.isnan(number):
        return False
    return size > MAX_SINGLE or struct.unpack("<f", struct.pack("<f", number))[0] != number


def _pack_column(values: Sequence[float]) -> tuple[bytes, bytes]:
    """Return two bytes that say how, and the column."""
    if not values:
        return bytes((_SINGLE, 0)), b""
    first = values[0]
    if all(value == first for value in values) or all(value != value for value in values):
        return bytes((_CONSTANT, 0)), struct.pack("<d", first)
    largest = max(abs(value) for value in values)
    has_gaps = any(value != value for value in values)
    if not has_gaps and (whole := _wholes(values, largest)):
        scale, numbers = whole
        width, body = _pack_wholes(numbers)
        return bytes((_WHOLE, scale << 4 | width)), body
    if any(_is_wide(value) for value in values):
        return bytes((_DOUBLE, 0)), _shuffle(_xored(_bytes("d", values), 8), 8)
    return bytes((_SINGLE, 0)), _shuffle(_xored(_bytes("f", values), 4), 4)


def _wholes(values: Sequence[float], largest: float) -> tuple[int, list[int]] | None:
    """Return how many decimals all have, and the values as whole numbers of that."""
    for places, scale in enumerate(_SCALES):
        if largest * scale >= 2**53:
            return None
        if not all(_same(value, round(value * scale) / scale) for value in values[:8]):
            continue
        numbers = [round(value * scale) for value in values]
        if all(
            value == number / scale or _same(value, number / scale)
            for value, number in zip(values, numbers, strict=True)
        ):
            return places, numbers
    return None


def _same(value: float, other: float) -> bool:
    """Whether both are stored as the same number."""
    return value == other or (abs(value) < EXACT and _single(value) == _single(other))


def _single(value: float) -> bytes:
    return struct.pack("<f", value)


def _pack_wholes(numbers: Sequence[int]) -> tuple[int, bytes]:
    """Return the width of a difference, and the first number with the differences after it."""
    steps = [after - before for before, after in pairwise(numbers)]
    folded = [step << 1 if step >= 0 else (-step << 1) - 1 for step in steps]
    largest = max(folded)
    width = next(width for width in _WIDTHS if largest < 1 << 8 * width)
    return width, struct.pack("<q", numbers[0]) + _shuffle(_bytes(_WIDTHS[width], folded), width)


def _size(kind: bytes, rows: int) -> int:
    how, detail = kind
    if how == _CONSTANT:
        return 8
    if how == _WHOLE:
        return 8 + (rows - 1) * (detail & 15)
    return rows * {_SINGLE: 4, _DOUBLE: 8}[how]


def _unpack_column(kind: bytes, data: bytes, place: int, rows: int) -> list[float]:
    how, detail = kind
    body = data[place : place + _size(kind, rows)]
    if how == _CONSTANT:
        return list(struct.unpack("<d", body)) * rows
    if how == _WHOLE:
        return _unpack_wholes(body, detail & 15, _SCALES[detail >> 4])
    width = 4 if how == _SINGLE else 8
    plain = _unxored(_unshuffle(body, width), width)
    return list(_numbers("f" if width == 4 else "d", plain))


def _unpack_wholes(body: bytes, width: int, scale: int) -> list[float]:
    (number,) = struct.unpack_from("<q", body)
    values = [number / scale]
    for folded in _numbers(_WIDTHS[width], _unshuffle(body[8:], width)):
        number += -(folded + 1 >> 1) if folded & 1 else folded >> 1
        values.append(number / scale)
    return values


def _bytes(form: str, values: Sequence[float]) -> bytes:
    numbers = array(form, values)
    if _IS_BIG:
        numbers.byteswap()
    return numbers.tobytes()


def _numbers(form: str, body: bytes) -> array[int]:
    numbers: array[int] = array(form)
    numbers.frombytes(body)
    if _IS_BIG:
        numbers.byteswap()
    return numbers


def _shuffle(body: bytes, width: int) -> bytes:
    return b"".join(body[place::width] for place in range(width))


def _unshuffle(body: bytes, width: int) -> bytes:
    rows = len(body) // width
    plain = bytearray(len(body))
    for place in range(width):
        plain[place::width] = body[place * rows : (place + 1) * rows]
    return bytes(plain)


def _xored(body: bytes, width: int) -> bytes:
    """Return each number xor-ed with the one before it: all at once, as one long integer."""
    whole = int.from_bytes(body, "little")
    return (whole ^ whole << 8 * width).to_bytes(len(body) + width, "little")[: len(body)]


def _unxored(body: bytes, width: int) -> bytes:
    """Undo `_xored`: a running xor, in doubling steps."""
    whole, bits, step = int.from_bytes(body, "little"), 8 * len(body), 8 * width
    while step < bits:
        whole ^= whole << step & (1 << bits) - 1
        step *= 2
    return whole.to_bytes(len(body), "little")
