"""Which names lead where: links on disk that Caddy follows at each request.

    edge/classes/CLASS.json        what requests of a class get: TLS, headers, stage or live;
                                   and the names of it that stand in Caddy's configuration
    edge/r/CLASS/HOST              link to the pointer of the service that has this name
    edge/r/CLASS/_only             the same, for requests that name no service, where there is one
    edge/r/E00 ... E99             links to edge/r itself; edge/epoch says which one is meant now
    edge/owners/SLUG.json          what a service has of all this
    edge/explicit/SLUG.json        routes that cannot be links and stand in Caddy's configuration
    edge/gone/                     where names lead that the configuration still knows

A new name is a new link, so that it costs no load of Caddy's configuration, which loses requests
(docs/adr/0006). Only a combination of TLS and headers that no service had before is a new class,
and with it a load. A load that has to be is used to write all names into the configuration, which
spares the look at the disk at each request.

Caddy keeps idle connections by the path that it dialled. `epoch` is a part of that path: after a
switch it changes, and no request goes into an idle connection to the old release any more.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import evolve, field, frozen

from chittyops_core._kit import files, wire
from chittyops_core.deploy.targets.local.layout import MAX_SOCKET_PATH, Layout
from chittyops_core.model.manifest import MAX_INSTANCES
from chittyops_core.model.release import EdgePolicy

__all__ = ["HOST_OWNED", "ONLY", "SLOTS", "Route", "RouteClass", "RouteTable"]

SLOTS = MAX_INSTANCES
"""Slots of a pointer, each leading to one instance."""

ONLY = "_only"
"""No host name holds an underscore (RFC 1123 2.1)."""

HOST_OWNED = "_"
"""How owners begin that are the host itself; no slug does."""

EPOCHS = 100
"""An idle connection lives a second; 100 switches of one host in that time are out of reach. Every
two digits are one, so that whoever reads while they are written finds one, whichever."""

_LONGEST_HOST = MAX_SOCKET_PATH - len("r/E00/01234567//s11")


@frozen
class Route:
    """Names under which the edge reaches one service's pointer.

    Attributes:
        hosts: Host names.
        pointer: The link `live` or `stage`.
        policy: TLS and headers of the release behind it.
        is_stage: Whether only this machine may ask.
        app_host: What the app of a stage route sees as Host.
        on_sockets: Whether all instances listen on unix sockets.
    """

    hosts: tuple[str, ...]
    pointer: Path
    policy: EdgePolicy
    is_stage: bool = False
    app_host: str = ""
    on_sockets: bool = True

    @property
    def route_class(self) -> RouteClass:
        return RouteClass(self.policy.tls, self.policy.headers, self.is_stage)

    def split(self) -> tuple[Route, Route]:
        """Return what can be links of it and what cannot; either may be without hosts."""
        linked = tuple(h for h in self.hosts if self.on_sockets and len(h) <= _LONGEST_HOST)
        others = tuple(h for h in self.hosts if h not in linked)
        return evolve(self, hosts=linked), evolve(self, hosts=others)


@frozen
class RouteClass:
    """What Caddy does alike for all names of it.

    Attributes:
        tls: Whether by HTTPS, with HTTP redirected to it.
        headers: Response headers set where the app itself sets none.
        is_stage: Whether only this machine may ask.
        written: Names that stand in the configuration, sorted; others are looked up.
    """

    tls: bool
    headers: Mapping[str, str] = field(factory=dict)
    is_stage: bool = False
    written: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return wire.digest([self.tls, self.headers, self.is_stage])[:8]


class RouteTable:
    """The links of one home. The caller holds the edge's lock."""

    def __init__(self, layout: Layout) -> None:
        self._edge = layout.edge
        self._links = layout.edge / "r"
        self._classes = layout.edge / "classes"
        self._owners = layout.edge / "owners"
        self._explicit = layout.edge / "explicit"
        self._gone = layout.edge / "gone"
        self._gone_socket = layout.gone_socket

    # --- changes ---

    def create(self) -> None:
        """Make the folders that are not there yet."""
        for folder in (self._links, self._classes, self._owners, self._explicit, self._gone):
            files.ensure_private_dir(folder)
        for slot in range(SLOTS):
            if not (self._gone / f"s{slot}").is_symlink():
                (self._gone / f"s{slot}").symlink_to(self._gone_socket)
        for number in range(EPOCHS):
            link = self._links / f"E{number:02}"
            if not link.is_symlink():
                link.symlink_to(".")
        if not (self._edge / "epoch").exists():
            self.start_epoch()

    def publish(self, owner: str, routes: Sequence[Route]) -> None:
        """Make *routes* all that *owner* has; none takes its names away."""
        self.create()
        linked, explicit = zip(*(r.split() for r in routes), strict=True) if routes else ((), ())
        explicit = tuple(route for route in explicit if route.hosts)
        wanted = {
            f"{route.route_class.name}/{host}": str(route.pointer)
            for route in linked
            for host in route.hosts
        }
        for route in linked:
            self._keep_class(route.route_class)
        before = self._owned(owner)
        if before != wanted or not routes:
            self._record(owner, wanted if routes else None)
            self._link(before, wanted)
        self._keep_explicit(owner, explicit)
        self._link_only()

    def clear(self) -> None:
        """Forget all; what serves is then published anew."""
        for folder in (self._links, self._classes, self._owners, self._explicit, self._gone):
            files.remove_tree(folder)

    def write_names(self) -> None:
        """Let the configuration hold every name that there is now."""
        for each in self.classes():
            if each.is_stage:
                continue  # Only machines ask there, and seldom.
            names = []
            for path in sorted((self._links / each.name).iterdir()):
                if os.readlink(path) == str(self._gone):
                    path.unlink()
                elif path.name != ONLY:
                    names.append(path.name)
            self._save_class(evolve(each, written=tuple(names)))

    def start_epoch(self) -> None:
        """Let no request go into a connection that is idle now."""
        path = self._edge / "epoch"
        # In place: a rename over a file waits for the disk, and requests would wait for it.
        # Not durable: after a power cut there are no connections.
        epoch = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            text = os.pread(epoch, 3, 0).decode(errors="replace")
            number = int(text[1:]) + 1 if text[1:].isdecimal() else 0
            os.pwrite(epoch, f"E{number % EPOCHS:02}\n".encode(), 0)
        finally:
            os.close(epoch)

    # --- what is there ---

    def classes(self) -> list[RouteClass]:
        """Return every class that a service has or had since the host started, sorted."""
        texts = [path.read_text() for path in sorted(self._classes.glob("*.json"))]
        return [wire.from_wire(RouteClass, json.loads(text)) for text in texts]

    def explicit(self) -> list[Route]:
        """Return the routes that must stand in the configuration, sorted by owner."""
        texts = [path.read_text() for path in sorted(self._explicit.glob("*.json"))]
        return [wire.from_wire(Route, entry) for text in texts for entry in json.loads(text)]

    def is_outdated(self, owner: str) -> bool:
        """Say whether the configuration has a name of *owner* under a class of before."""
        classes = self.classes()
        return any(
            host in each.written
            for route_class, _, host in (name.partition("/") for name in self._owned(owner))
            for each in classes
            if each.name != route_class
        )

    def only_owner(self) -> str | None:
        """Return the owner where there is exactly one, the host's own left out."""
        owners = [p.stem for p in self._owners.glob("*.json") if not p.stem.startswith(HOST_OWNED)]
        return owners[0] if len(owners) == 1 else None

    # --- pieces ---

    def _owned(self, owner: str) -> dict[str, str]:
        try:
            return dict(json.loads((self._owners / f"{owner}.json").read_text()))
        except FileNotFoundError:
            return {}

    def _record(self, owner: str, wanted: Mapping[str, str] | None) -> None:
        path = self._owners / f"{owner}.json"
        if wanted is None:
            path.unlink(missing_ok=True)
        else:
            files.write_durably(path, json.dumps(wanted, indent=1))

    def _link(self, before: Mapping[str, str], wanted: Mapping[str, str]) -> None:
        written = {f"{each.name}/{host}" for each in self.classes() for host in each.written}
        for name in before.keys() - wanted.keys():
            path = self._links / name
            if not path.is_symlink() or os.readlink(path) != before[name]:
                continue  # Another service has taken the name over meanwhile.
            if name in written:
                files.replace_symlink(path, str(self._gone))
            else:
                path.unlink()
        for name, pointer in wanted.items():
            files.replace_symlink(self._links / name, pointer)

    def _keep_class(self, route_class: RouteClass) -> None:
        files.ensure_private_dir(self._links / route_class.name)
        if not (self._classes / f"{route_class.name}.json").exists():
            self._save_class(route_class)

    def _save_class(self, route_class: RouteClass) -> None:
        path = self._classes / f"{route_class.name}.json"
        files.write_durably(path, json.dumps(wire.to_wire(route_class), indent=1))

    def _keep_explicit(self, owner: str, routes: Sequence[Route]) -> None:
        path = self._explicit / f"{owner}.json"
        if not routes:
            path.unlink(missing_ok=True)
            return
        text = json.dumps([wire.to_wire(route) for route in routes], indent=1)
        if not path.exists() or path.read_text() != text:
            files.write_durably(path, text)

    def _link_only(self) -> None:
        owner = self.only_owner()
        owned = self._owned(owner) if owner else {}
        for route_class in self.classes():
            link = self._links / route_class.name / ONLY
            mine = [p for name, p in owned.items() if name.startswith(f"{route_class.name}/")]
            if mine and not route_class.is_stage:
                if not link.is_symlink() or os.readlink(link) != mine[0]:
                    files.replace_symlink(link, mine[0])
            else:
                link.unlink(missing_ok=True)
