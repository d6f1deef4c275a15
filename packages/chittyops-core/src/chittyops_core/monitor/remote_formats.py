"""Families as other systems take them: Prometheus remote-write 1.0, and OTLP in JSON. Pure.

Both are small enough to be written by hand; so no protobuf, snappy or OpenTelemetry is needed.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from chittyops_core.monitor.exposition import Family, Labels, Sample

__all__ = ["otlp_json", "remote_write"]

_LITERAL_BYTES = 65_536


def remote_write(families: Iterable[Family], at: float) -> bytes:
    """Return the body of a remote-write 1.0 request: a WriteRequest, in snappy's block format.

    Nothing is compressed: snappy allows a block of literals only.

    Args:
        families: What to send.
        at: Seconds since the epoch of all its values.
    """
    stamp = _field(2, 0, _varint(int(at * 1000)))
    request = bytearray()
    for family in families:
        for name, labels, value in _series(family):
            # Sorted, none empty (remote-write 1.0, "Labels").
            named = sorted([("__name__", name), *(pair for pair in labels if pair[1])])
            series = b"".join(
                _text(1, _text(1, key.encode()) + _text(2, text.encode("utf-8", "replace")))
                for key, text in named
            )
            series += _text(2, _field(1, 1, struct.pack("<d", value)) + stamp)
            request += _text(1, series)
    return _snappy(bytes(request))


def otlp_json(
    families: Iterable[Family], at: float, *, since: float, resource: Mapping[str, str]
) -> bytes:
    """Return the body of `POST /v1/metrics` in JSON (OTLP 1, JSON Protobuf encoding).

    Args:
        families: What to send.
        at: Seconds since the epoch of all its values.
        since: Seconds since the epoch from which on it was counted.
        resource: Who sends it, by OpenTelemetry's names, such as `service.name`.
    """
    metrics = []
    times = {"startTimeUnixNano": _nanoseconds(since), "timeUnixNano": _nanoseconds(at)}
    for family in families:
        points = [_point(family, sample, times) for sample in family.samples]
        shown: dict[str, Any] = {"dataPoints": points}
        if family.kind in ("counter", "histogram"):
            shown["aggregationTemporality"] = 2  # Cumulative.
        if family.kind == "counter":
            shown["isMonotonic"] = True
        kind = {"counter": "sum", "histogram": "histogram"}.get(family.kind, "gauge")
        metrics.append(
            {
                "name": family.name,
                "description": family.help,
                "unit": family.unit,
                kind: shown,
            }
        )
    scope = {"scope": {"name": "chittyops"}, "metrics": metrics}
    sent = {"resource": {"attributes": _attributes(resource.items())}, "scopeMetrics": [scope]}
    return json.dumps({"resourceMetrics": [sent]}, separators=(",", ":")).encode()


def _point(family: Family, sample: Sample, times: Mapping[str, str]) -> dict[str, Any]:
    point: dict[str, Any] = {"attributes": _attributes(sample.labels), **times}
    if family.kind == "histogram":
        # 64-bit integers are texts in Protobuf's JSON.
        point["count"] = str(sum(sample.counts))
        point["sum"] = _json_number(sample.value)
        point["bucketCounts"] = [str(count) for count in sample.counts]
        point["explicitBounds"] = list(family.bounds)
    else:
        point["asDouble"] = _json_number(sample.value)
    return point


def _attributes(pairs: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in pairs]


def _json_number(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _nanoseconds(at: float) -> str:
    return str(int(at * 1_000_000) * 1000)


def _series(family: Family) -> Iterator[tuple[str, Labels, float]]:
    suffix = {"counter": "_total", "info": "_info"}.get(family.kind, "")
    for sample in family.samples:
        if family.kind != "histogram":
            yield family.name + suffix, sample.labels, sample.value
            continue
        below = 0
        bounds = [*map(repr, family.bounds), "+Inf"]
        for bound, count in zip(bounds, sample.counts, strict=True):
            below += count
            yield f"{family.name}_bucket", (*sample.labels, ("le", bound)), float(below)
        yield f"{family.name}_sum", sample.labels, sample.value
        yield f"{family.name}_count", sample.labels, float(below)


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)


def _field(number: int, wire_type: int, value: bytes) -> bytes:
    return bytes([number << 3 | wire_type]) + value


def _text(number: int, value: bytes) -> bytes:
    return _field(number, 2, _varint(len(value)) + value)


def _snappy(data: bytes) -> bytes:
    """Return *data* as literals (snappy, format_description.txt, 2.1)."""
    made = bytearray(_varint(len(data)))
    for start in range(0, len(data), _LITERAL_BYTES):
        part = data[start : start + _LITERAL_BYTES]
        made += bytes([61 << 2]) + struct.pack("<H", len(part) - 1) + part
    return bytes(made)
