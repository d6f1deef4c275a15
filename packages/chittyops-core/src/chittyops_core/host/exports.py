"""Where the agent's metrics are sent, besides being kept here: OTLP or Prometheus remote-write."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Sequence
from enum import StrEnum

from attrs import frozen

from chittyops_core._kit import files, wire
from chittyops_core._kit.locks import FileLock, pause
from chittyops_core._kit.logs import get_logger
from chittyops_core.deploy.targets.local import Layout
from chittyops_core.errors import ChittyOpsError, NotFoundError, UsageError
from chittyops_core.model.names import require_name
from chittyops_core.monitor.exposition import Family
from chittyops_core.monitor.remote import OTLP_HEADERS, REMOTE_WRITE_HEADERS, RemoteSender

__all__ = ["Export", "ExportFormat", "Exporter", "Exports"]

log = get_logger("chittyops.agent")

EVERY_S = 15.0


class ExportFormat(StrEnum):
    """What the receiver understands."""

    OTLP = "otlp"
    """OTLP/HTTP with JSON, as OpenTelemetry's collector takes it at /v1/metrics."""
    REMOTE_WRITE = "remote-write"
    """Prometheus remote-write 1.0, at /api/v1/write."""


@frozen
class Export:
    """One receiver.

    Attributes:
        name: For people.
        url: Where it takes metrics; holds no credentials.
        format: What it understands.
        secret: Name of the secret that is sent as `Authorization`; None for nothing.
    """

    name: str
    url: str
    format: ExportFormat
    secret: str | None = None


class Exports:
    """The receivers of one host, in `monitor/exports.json`."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._file = layout.monitor / "exports.json"

    def all(self) -> tuple[Export, ...]:
        """Return them, sorted by name."""
        try:
            return wire.from_wire(tuple[Export, ...], json.loads(self._file.read_text()))
        except FileNotFoundError:
            return ()

    def set(self, export: Export) -> None:
        """Keep a receiver, or change it. Raises UsageError."""
        try:
            require_name("channel", export.name)
        except ValueError as error:
            raise UsageError(str(error)) from error
        RemoteSender(export.url, {})  # Raises UsageError for what is no URL of a receiver.
        with self._locked():
            self._write([*(each for each in self.all() if each.name != export.name), export])

    def unset(self, name: str) -> None:
        """Send there no more. Raises NotFoundError."""
        with self._locked():
            left = [each for each in self.all() if each.name != name]
            if len(left) == len(self.all()):
                raise NotFoundError(
                    f"nothing is sent to {name!r}",
                    remedy="`chittyops metrics push list` says more.",
                )
            self._write(left)

    def _write(self, exports: Sequence[Export]) -> None:
        files.ensure_private_dir(self._layout.monitor)
        text = json.dumps(wire.to_wire(sorted(exports, key=lambda each: each.name)), indent=1)
        files.write_durably(self._file, text)

    def _locked(self) -> FileLock:
        return FileLock(self._layout.locks / "exports.lock").acquire("exports", wait=pause)


class Exporter:
    """Sends what the agent has to every receiver; part of the agent."""

    def __init__(
        self, layout: Layout, families: Callable[[], list[Family]], started: float
    ) -> None:
        self._layout = layout
        self._exports = Exports(layout)
        self._families = families
        self._started = started
        self._resource = {"service.name": "chittyops", "host.name": socket.gethostname()}
        self._senders: dict[Export, tuple[dict[str, str], RemoteSender]] = {}
        self._sent_at = float("-inf")

    def send(self) -> None:
        """Send to each receiver if it is time; returns at once."""
        now = time.monotonic()
        if now < self._sent_at + EVERY_S:
            return
        self._sent_at = now
        wanted = set(self._exports.all())
        for gone in self._senders.keys() - wanted:
            self._senders.pop(gone)[1].close()
        if not wanted:
            return
        for export in wanted:
            try:
                self._renew(export)
            except ChittyOpsError as error:
                log.warning("agent.export_refused", export=export.name, error=error.message)
        from chittyops_core.monitor.remote_formats import otlp_json, remote_write

        families, at = self._families(), time.time()
        for export, (_, sender) in self._senders.items():
            sender.push(
                otlp_json(families, at, since=self._started, resource=self._resource)
                if export.format is ExportFormat.OTLP
                else remote_write(families, at)
            )

    def close(self) -> None:
        for _, sender in self._senders.values():
            sender.close()

    def _renew(self, export: Export) -> None:
        """See that there is a sender with the secret's value of today."""
        headers = self._headers(export)
        known = self._senders.get(export)
        if known is not None and known[0] == headers:
            return
        if known is not None:
            known[1].close()
        sender = RemoteSender(export.url, headers)
        sender.start()
        self._senders[export] = headers, sender

    def _headers(self, export: Export) -> dict[str, str]:
        headers = dict(OTLP_HEADERS if export.format is ExportFormat.OTLP else REMOTE_WRITE_HEADERS)
        if export.secret is not None:
            # Only here, because it brings cryptography along.
            from chittyops_core.secrets import SecretStore

            headers["Authorization"] = SecretStore(self._layout.secrets).get(export.secret)
        return headers
