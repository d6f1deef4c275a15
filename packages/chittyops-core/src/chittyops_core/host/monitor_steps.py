"""The host's steps that are about its agent: whom it tells, what it saw, when it keeps silent."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chittyops_core._kit import wire
from chittyops_core._kit.unix_http import UnixHTTPConnection
from chittyops_core.deploy.targets.local import Layout, LocalTarget
from chittyops_core.errors import HostError, NotFoundError, UsageError
from chittyops_core.host.channels import Channels
from chittyops_core.host.exports import Export, Exports
from chittyops_core.secrets import SecretStore

__all__ = ["MonitorSteps"]

ASK_S = 10.0
"""The agent answers from memory; one that does not in this time is stuck."""


class MonitorSteps:
    """What `Host` does about monitoring; each public method is a step."""

    _layout: Layout
    _secrets: SecretStore
    _target: LocalTarget

    # --- whom it tells ---

    def step_channels(self) -> Any:
        return self._channels.names()

    def step_channel_set(self, *, name: str, address: str) -> None:
        self._channels.set(name, address)

    def step_channel_unset(self, *, name: str) -> None:
        self._channels.unset(name)

    def step_channel_test(self, *, name: str) -> None:
        """Tell one channel that this is a test. Raises HostError when it does not take it."""
        from chittyops_core.model.monitoring import AlertState, Message, Severity
        from chittyops_core.monitor.deliver import send

        address = self._channels.addresses().get(name)
        if address is None:
            raise NotFoundError(
                f"there is no channel {name!r}", remedy="`chittyops notify list` has them."
            )
        now = time.time()
        message = Message(
            f"test:{round(now)}", "test", AlertState.RESOLVED, Severity.TICKET, now,
            "A test by ChittyOps", "Nothing is wrong. Messages of this host arrive here.",
        )  # fmt: skip
        if error := send(address, message):
            raise HostError(
                f"the channel {name} does not work: {error}",
                remedy=f"Give its address anew: chittyops notify add {name}",
            )

    # --- what it saw ---

    def step_watch(self) -> Any:
        """Return what the agent says of itself and of all that it watches; None without one."""
        try:
            status, body = self._ask("GET", "/v1/state")
        except OSError:
            return None
        return json.loads(body) if status == 200 else None

    def step_metrics(self) -> Any:
        """Return the agent's metrics as Prometheus text."""
        try:
            _, body = self._ask("GET", "/metrics")
        except OSError as error:
            raise _no_agent() from error
        return body.decode()

    def step_ping(self, *, monitor: str, word: str) -> None:
        try:
            status, body = self._ask("POST", f"/ping/{monitor}" + (f"/{word}" if word else ""))
        except OSError as error:
            raise _no_agent() from error
        if status != 200:
            kind = NotFoundError if status == 404 else UsageError
            raise kind(json.loads(body)["error"], remedy="`chittyops ping --help` says more.")

    def step_incidents(self, *, limit: int) -> Any:
        """Return the last incidents, and which messages did not arrive."""
        from chittyops_core.monitor.outbox import Outbox

        with self._store() as store:
            if store is None:
                return {"incidents": [], "undelivered": []}
            incidents = wire.to_wire(store.incidents(limit))
            outbox = Outbox(self._layout.monitor_store)
            try:
                undelivered = wire.to_wire(outbox.undelivered())
            finally:
                outbox.close()
        return {"incidents": incidents, "undelivered": undelivered}

    def step_metrics_export(
        self, *, path: str, format: str, by: str, since: float, until: float
    ) -> None:
        from chittyops_core.monitor.export import export

        with self._store() as store:
            if store is None:
                raise _no_agent()
            export(store, Path(path), format, step=by, since=since, until=until)

    # --- where its metrics go ---

    def step_exports(self) -> Any:
        return wire.to_wire(Exports(self._layout).all())

    def step_export_set(self, *, export: Any) -> None:
        wanted = wire.from_wire(Export, export)
        if wanted.secret is not None:
            self._secrets.get(wanted.secret)  # Raises when there is none.
        Exports(self._layout).set(wanted)

    def step_export_unset(self, *, name: str) -> None:
        Exports(self._layout).unset(name)

    # --- when it keeps silent ---

    def step_maintenance(self) -> Any:
        with self._store() as store:
            return wire.to_wire(store.maintenance(time.time())) if store is not None else []

    def step_maintenance_add(self, *, scope: str, starts: float, ends: float, why: str) -> Any:
        """Plan a window; return its number and what it is of, by its whole name."""
        with self._store() as store:
            if store is None:
                raise _no_agent()
            meant = self._scope(scope)
            return {"number": store.add_maintenance(meant, starts, ends, why), "scope": meant}

    def _scope(self, text: str) -> str:
        """Return what a person means: `*`, a service, or one of the agent's monitors.

        Raises:
            UsageError: There is nothing of that name; the message has what there is.
        """
        services = {service.slug: service for service in self._target.services()}
        monitors = {each["monitor"] for each in (self.step_watch() or {"monitors": ()})["monitors"]}
        name, slash, what = text.partition("/")
        # `status` leaves out what is usual: `shop` is shop.production.
        slugs = {name} & services.keys() or {
            slug for slug, service in services.items() if name in (service.app, str(service))
        }
        if text == "*" or text in monitors:
            return text
        if len(slugs) == 1:
            meant = f"{slugs.pop()}{slash}{what}"
            if not slash or meant in monitors:
                return meant
        raise UsageError(
            f"there is nothing named {text!r} here, or several are",
            remedy=f"Say '*' or one of: {', '.join(sorted({*services, *monitors}))}.",
        )

    def step_maintenance_end(self, *, number: int) -> None:
        with self._store() as store:
            if store is None:
                raise NotFoundError(f"there is no maintenance {number}")
            store.end_maintenance(number, time.time())

    # --- pieces ---

    @property
    def _channels(self) -> Channels:
        return Channels(self._layout, self._secrets)

    @contextmanager
    def _store(self) -> Iterator[Any]:
        """Give the agent's store, to read beside it; None where no agent has made one yet."""
        from chittyops_core.monitor.store import Store

        if not self._layout.monitor_store.exists():
            yield None
            return
        store = Store(self._layout.monitor_store)
        try:
            yield store
        finally:
            store.close()

    def _ask(self, method: str, path: str) -> tuple[int, bytes]:
        connection = UnixHTTPConnection(str(self._layout.agent_socket), timeout_s=ASK_S)
        try:
            connection.request(method, path, headers={"Host": "agent", "Content-Length": "0"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()


def _no_agent() -> HostError:
    return HostError(
        "no agent watches this host",
        remedy="`chittyops host start` starts what is missing. A host that was started with "
        "--no-agent has none: `chittyops host stop`, then `chittyops host start --agent`.",
    )
