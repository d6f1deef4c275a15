"""Quantiles from a few bytes: DDSketch with a relative accuracy of 1 %.

After Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable quantile sketch with
relative-error guarantees" (PVLDB 12(12), 2019). A value falls into bin `ceil(log_gamma(value))`;
whatever is in a bin is within 1 % of what the bin stands for; adding up the bins of two sketches
gives the sketch of both.

Why not the package `ddsketch` (3.0.1): its bins are dense (at least 128 floats a sketch, where a
minute has six values), it keeps every sketch as five objects, and the only bytes that it writes
are Protocol Buffers', which brings protobuf along. Here a minute takes about 14 bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Self

__all__ = ["ACCURACY", "Sketch"]

ACCURACY = 0.01
"""Of a quantile, relative to the value."""

SMALLEST = 1e-9
"""Seconds; what is less counts as 0."""

LARGEST = 1e9
"""Seconds, 31 years; what is more counts as this, so that no sketch has over 2,100 bins."""

_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_GAMMA = math.log(_GAMMA)


class Sketch:
    """How often which values were seen. It takes values of 0 and above, in seconds."""

    __slots__ = ("_bins", "_zeros")

    def __init__(self, values: Iterable[float] = ()) -> None:
        self._bins: dict[int, int] = {}
        self._zeros = 0
        for value in values:
            self.add(value)

    def __len__(self) -> int:
        """Return how many values were added."""
        return self._zeros + sum(self._bins.values())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sketch):
            return NotImplemented
        return (self._zeros, self._bins) == (other._zeros, other._bins)

    __hash__ = None  # type: ignore[assignment]  # It changes.

    def add(self, value: float) -> None:
        """Count *value*. Raises ValueError when it is negative or no number."""
        if not 0 <= value < math.inf:
            raise ValueError(f"a duration is 0 or more, not {value}")
        if value < SMALLEST:
            self._zeros += 1
            return
        key = math.ceil(math.log(min(value, LARGEST)) / _LOG_GAMMA)
        self._bins[key] = self._bins.get(key, 0) + 1

    def merge(self, other: Sketch) -> None:
        """Count all that *other* counted as well."""
        self._zeros += other._zeros
        for key, count in other._bins.items():
            self._bins[key] = self._bins.get(key, 0) + count

    def quantile(self, q: float) -> float | None:
        """Return the value at rank `q * (count - 1)`, rounded down, within 1 %.

        Args:
            q: From 0 to 1.

        Returns:
            None when nothing was added.

        Raises:
            ValueError: *q* is not from 0 to 1.
        """
        if not 0 <= q <= 1:
            raise ValueError(f"a quantile is from 0 to 1, not {q}")
        count = len(self)
        if not count:
            return None
        rank = math.floor(q * (count - 1))
        seen = self._zeros
        if rank < seen:
            return 0.0
        for key in sorted(self._bins):
            seen += self._bins[key]
            if rank < seen:
                return float(2 * _GAMMA**key / (_GAMMA + 1))
        raise AssertionError("the bins hold fewer values than they count")

    def to_bytes(self) -> bytes:
        """Return it as varints: zeros, then step to the next bin and its count, by turns."""
        if not self._bins and not self._zeros:
            return b""
        out = bytearray()
        _put(out, self._zeros)
        last = 0
        for index, key in enumerate(sorted(self._bins)):
            # Only the first can be negative: zigzag, as in Protocol Buffers' sint.
            _put(out, key - last if index else (key << 1) ^ (key >> 63))
            _put(out, self._bins[key])
            last = key
        return bytes(out)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Rebuild what `to_bytes` wrote. Raises ValueError when it did not write this."""
        sketch = cls()
        if not data:
            return sketch
        numbers = _numbers(data)
        if len(numbers) % 2 == 0:
            raise ValueError("the sketch is cut off")
        sketch._zeros = numbers[0]
        key = 0
        for index in range(1, len(numbers), 2):
            number = numbers[index]
            key = key + number if index > 1 else (number >> 1) ^ -(number & 1)
            sketch._bins[key] = numbers[index + 1]
        return sketch


def _put(out: bytearray, number: int) -> None:
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _numbers(data: bytes) -> list[int]:
    numbers: list[int] = []
    number = shift = 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(number)
            number = shift = 0
    if shift:
        raise ValueError("the sketch is cut off")
    return numbers
