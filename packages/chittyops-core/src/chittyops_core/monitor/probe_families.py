"""What probes saw, under blackbox_exporter's names, so that boards and rules for it fit. Pure.

Values that blackbox_exporter does not know are `chittyops_probe_value{name="..."}`.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit, urlunsplit

from chittyops_core.model.monitoring import Monitor, Observation, Scalar
from chittyops_core.monitor.exposition import Family, Kind, Labels, Sample, sorted_labels

__all__ = ["probe_families"]

_PHASES = {
    "dns_time": "resolve",
    "connect_time": "connect",
    "tls_time": "tls",
    "first_byte_time": "processing",
    "body_time": "transfer",
}
"""Our phases and blackbox_exporter's names of them (prober/http.go)."""

_HELP: dict[str, tuple[str, str]] = {
    "probe_success": ("Whether the look was good by its monitor's conditions", ""),
    "probe_duration_seconds": ("How long the look took", "seconds"),
    "probe_dns_lookup_time_seconds": ("How long the name's lookup took", "seconds"),
    "probe_dns_answer_rrs": ("Records in the answer", ""),
    "probe_http_duration_seconds": ("How long each phase of the request took", "seconds"),
    "probe_http_status_code": ("Status of the answer", ""),
    "probe_http_ssl": ("Whether the answer came over TLS", ""),
    "probe_http_version": ("Version of HTTP of the answer", ""),
    "probe_http_uncompressed_body_length": ("Bytes of the body that were read", ""),
    "probe_ssl_earliest_cert_expiry": ("When the certificate ends, in Unix time", ""),
    "probe_tls_version": ("Version of TLS that was agreed on", ""),
    "chittyops_probe_timestamp_seconds": ("When the look began, in Unix time", "seconds"),
    "chittyops_probe_value": ("What else the look showed", ""),
}


def probe_families(seen: Iterable[tuple[Monitor, Observation]]) -> list[Family]:
    """Return the last look of each monitor as families for `exposition.render`.

    Labels are `monitor`, `kind`, `target` and, where there is one, `service`. A target is shown
    without what may be secret in it: user and query of a URL, the whole of a command.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in _HELP}
    for monitor, observation in seen:
        own = {"monitor": monitor.name, "kind": monitor.kind, "target": _shown(monitor)}
        if monitor.service is not None:
            own["service"] = monitor.service
        for name, value, more in _values(monitor, observation):
            samples[name].append(Sample(value, sorted_labels({**own, **dict(more)})))
    families = []
    for name, found in samples.items():
        kind: Kind = "info" if name == "probe_tls_version" else "gauge"
        if found:
            text, unit = _HELP[name]
            families.append(Family(name, kind, tuple(found), text, unit))
    return families


def _values(monitor: Monitor, observation: Observation) -> Iterable[tuple[str, float, Labels]]:
    yield "probe_success", float(observation.is_good), ()
    yield "probe_duration_seconds", observation.seconds, ()
    yield "chittyops_probe_timestamp_seconds", observation.at, ()
    if monitor.kind == "http" and "status" in observation.values:
        yield "probe_http_ssl", float("tls_time" in observation.values), ()
    for name, value in observation.values.items():
        yield from _value(monitor.kind, name, value, observation.at)


def _value(kind: str, name: str, value: Scalar, at: float) -> Iterable[tuple[str, float, Labels]]:
    if name == "tls_version" and isinstance(value, str):
        yield "probe_tls_version", 1.0, (("version", value.replace("TLSv", "TLS ")),)
        return
    if name == "http_version" and isinstance(value, str):
        try:
            yield "probe_http_version", float(value.removeprefix("HTTP/")), ()
        except ValueError:
            return
        return
    if not isinstance(value, int | float):
        return
    number = float(value)
    if name == "cert_expires_in":
        # Certificates end at whole seconds; the look began a moment before it saw this one.
        yield "probe_ssl_earliest_cert_expiry", float(round(at + number)), ()
    elif kind == "http" and name in _PHASES:
        yield "probe_http_duration_seconds", number, (("phase", _PHASES[name]),)
        if name == "dns_time":
            yield "probe_dns_lookup_time_seconds", number, ()
    elif kind == "http" and name == "status":
        yield "probe_http_status_code", number, ()
    elif kind == "http" and name == "body_bytes":
        yield "probe_http_uncompressed_body_length", number, ()
    elif name == "dns_time":
        yield "probe_dns_lookup_time_seconds", number, ()
    elif kind == "dns" and name == "answers":
        yield "probe_dns_answer_rrs", number, ()
    else:
        yield "chittyops_probe_value", number, (("name", name),)


def _shown(monitor: Monitor) -> str:
    if monitor.kind == "command":
        return ""
    if "://" not in monitor.target:
        return monitor.target
    try:
        parts = urlsplit(monitor.target)
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
