"""Metrics as text for Prometheus and whatever reads its formats. Pure.

Written after "Exposition formats", version 0.0.4 (prometheus.io) and OpenMetrics 1.0.0. Names and
units turn from OpenTelemetry's to Prometheus's by "Prometheus and OpenMetrics compatibility"
(OpenTelemetry specification).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Literal

from attrs import evolve, frozen

__all__ = [
    "Family",
    "Kind",
    "Labels",
    "Sample",
    "label_name",
    "metric_name",
    "render",
    "sorted_labels",
]

Kind = Literal["counter", "gauge", "histogram", "info"]
Labels = tuple[tuple[str, str], ...]
"""Names and values, by name."""

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_UNITS = {
    "d": "days", "h": "hours", "min": "minutes", "s": "seconds", "ms": "milliseconds",
    "us": "microseconds", "ns": "nanoseconds", "By": "bytes", "KiBy": "kibibytes",
    "MiBy": "mebibytes", "GiBy": "gibibytes", "kBy": "kilobytes", "MBy": "megabytes",
    "GBy": "gigabytes", "m": "meters", "V": "volts", "A": "amperes", "J": "joules", "W": "watts",
    "g": "grams", "Cel": "celsius", "Hz": "hertz", "%": "percent",
}  # fmt: skip


@frozen
class Sample:
    """One value of a family.

    Attributes:
        value: Of a counter or gauge; the sum of a histogram.
        labels: Which series of the family; without `le`.
        counts: Of a histogram: values in each bucket alone, the last above all bounds.
    """

    value: float
    labels: Labels = ()
    counts: tuple[int, ...] = ()


@frozen
class Family:
    """Samples of one name, as they are exposed together.

    Attributes:
        name: By Prometheus's rules, of a counter without `_total`.
        kind: What the samples are.
        samples: No two with the same labels.
        help: One line for a person.
        unit: By Prometheus's rules, such as `seconds`; *name* ends in it.
        bounds: Of a histogram: upper bounds of the buckets, ascending.
    """

    name: str
    kind: Kind
    samples: tuple[Sample, ...]
    help: str = ""
    unit: str = ""
    bounds: tuple[float, ...] = ()


@lru_cache(4096)
def metric_name(name: str, unit: str, kind: str) -> tuple[str, str]:
    """Return name and unit by Prometheus's rules, of a counter without `_total`.

    `http.server.request.duration` in `s` is `http_server_request_duration_seconds`.
    """
    made = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9_:]", "_", name)).strip("_") or "_"
    if made[0].isdigit():
        made = f"_{made}"
    bare = re.sub(r"\{[^}]*\}", "", unit)
    if bare == "1":
        suffix = "ratio" if kind == "gauge" else ""
    elif "/" in bare:
        above, _, below = bare.partition("/")
        per = _UNITS.get(below, below).removesuffix("s")
        suffix = f"{_UNITS.get(above, above)}_per_{per}"
    else:
        suffix = _UNITS.get(bare, bare)
    suffix = re.sub(r"[^A-Za-z0-9_]", "", suffix).strip("_")
    if kind == "counter":
        made = made.removesuffix("_total") or made
    if suffix and made != suffix and not made.endswith(f"_{suffix}"):
        made = f"{made}_{suffix}"
    return made, suffix


@lru_cache(4096)
def label_name(name: str) -> str:
    """Return *name* by Prometheus's rules; `__` is Prometheus's own."""
    made = re.sub(r"[^A-Za-z0-9_]", "_", name)
    if made.startswith("__"):
        made = "_" + made.lstrip("_")
    return f"_{made}" if not made or made[0].isdigit() else made


def render(families: Iterable[Family], accept: str = "") -> tuple[str, bytes]:
    """Return content type and body for a request whose `Accept` header is *accept*.

    OpenMetrics for who asks for it, as Prometheus does, else the older text format. Families of
    one name are put together, because a name may be exposed only once; one that does not go
    together with an earlier one is left out, so put those that matter first.
    """
    is_open = _prefers_open_metrics(accept)
    lines: list[str] = []
    for family in _joined(families):
        lines += _family_lines(family, is_open=is_open)
    if is_open:
        lines.append("# EOF")
    body = "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
    return (OPEN_METRICS if is_open else TEXT), body


def _prefers_open_metrics(accept: str) -> bool:
    best = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for part in accept[:2000].split(","):
        kind, _, rest = part.partition(";")
        kind = kind.strip().lower()
        found = re.search(r"(?:^|;)\s*q=([0-9.]{1,5})\s*(?:;|$)", rest)
        version = re.search(r"(?:^|;)\s*version=([0-9.]+)\s*(?:;|$)", rest)
        if kind == "application/openmetrics-text" and version and version[1] not in _OPEN_VERSIONS:
            continue
        if kind in best:
            try:
                best[kind] = max(best[kind], float(found[1]) if found else 1.0)
            except ValueError:
                continue
    offered = best["application/openmetrics-text"]
    return offered > 0 and offered >= best["text/plain"]


_OPEN_VERSIONS = ("1.0.0", "0.0.1")  # The second is what Prometheus asked for before 1.0.0.


def _joined(families: Iterable[Family]) -> list[Family]:
    """Return one family for each name; the first wins where two do not go together."""
    first: dict[str, Family] = {}
    samples: dict[str, dict[Labels, Sample]] = {}
    taken: set[str] = set()
    for family in families:
        known = first.get(family.name)
        if known is None:
            names = {family.name, *(family.name + end for end in _ENDS[family.kind])}
            if names & taken:
                continue  # A gauge `orders_total` beside a counter `orders`.
            taken |= names
            first[family.name] = known = family
        if (family.kind, family.bounds) == (known.kind, known.bounds):
            for sample in family.samples:
                samples.setdefault(family.name, {}).setdefault(sample.labels, sample)
    return [
        evolve(first[name], samples=tuple(found[labels] for labels in sorted(found)))
        for name, found in sorted(samples.items())
    ]


_ENDS: Mapping[Kind, tuple[str, ...]] = {
    "counter": ("_total", "_created"),
    "gauge": (),
    "histogram": ("_bucket", "_sum", "_count", "_created"),
    "info": ("_info",),
}


def _family_lines(family: Family, *, is_open: bool) -> list[str]:
    suffix = {"counter": "_total", "info": "_info"}.get(family.kind, "")
    # The older format has no info, and names a counter's family like its samples.
    named = family.name if is_open else family.name + suffix
    kind = "gauge" if family.kind == "info" and not is_open else family.kind
    lines = []
    if family.help:
        lines.append(f"# HELP {named} {_escape(family.help, quotes=is_open)}")
    lines.append(f"# TYPE {named} {kind}")
    if is_open and family.unit and family.name.endswith(f"_{family.unit}"):
        lines.append(f"# UNIT {named} {family.unit}")
    for sample in family.samples:
        if family.kind == "histogram":
            lines += _histogram_lines(family, sample)
        else:
            lines.append(f"{family.name}{suffix}{_braces(sample.labels)} {_number(sample.value)}")
    return lines


def _histogram_lines(family: Family, sample: Sample) -> list[str]:
    lines = []
    below = 0
    for bound, count in zip((*family.bounds, math.inf), sample.counts, strict=True):
        below += count
        labels = _braces((*sample.labels, ("le", _number(bound))))
        lines.append(f"{family.name}_bucket{labels} {below}")
    lines.append(f"{family.name}_sum{_braces(sample.labels)} {_number(sample.value)}")
    lines.append(f"{family.name}_count{_braces(sample.labels)} {below}")
    return lines


def _braces(labels: Iterable[tuple[str, str]]) -> str:
    inner = ",".join(f'{name}="{_escape(value, quotes=True)}"' for name, value in labels)
    return f"{{{inner}}}" if inner else ""


def _escape(text: str, *, quotes: bool) -> str:
    made = text.replace("\\", "\\\\").replace("\n", "\\n")
    return made.replace('"', '\\"') if quotes else made


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value))


def sorted_labels(labels: Mapping[str, str]) -> Labels:
    """Return *labels* by Prometheus's rules; values of names that become one are joined by `;`."""
    made: dict[str, str] = {}
    for name in sorted(labels):
        key = label_name(name)
        made[key] = f"{made[key]};{labels[name]}" if key in made else labels[name]
    return tuple(sorted(made.items()))
