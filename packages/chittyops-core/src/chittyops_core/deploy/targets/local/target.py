"""The local target: joins artifacts, the process manager and the edge."""

from __future__ import annotations

import json
import marshal
import os
import platform
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import psutil
from attrs import define, evolve, field, frozen

from chittyops_core._kit import files, process, wire
from chittyops_core._kit.locks import FileLock, pause
from chittyops_core._kit.retry import wait_until
from chittyops_core.deploy.targets.base import (
    Address,
    BuildInput,
    Capability,
    CommandResult,
    LogLine,
    Observed,
    Target,
)
from chittyops_core.deploy.targets.local import users
from chittyops_core.deploy.targets.local.builder import Artifacts
from chittyops_core.deploy.targets.local.edge import Edge
from chittyops_core.deploy.targets.local.layout import Layout
from chittyops_core.deploy.targets.local.log_files import read_logs
from chittyops_core.deploy.targets.local.look import Listener, look_at
from chittyops_core.deploy.targets.local.manager import (
    ProcessManager,
    ProcessState,
    Program,
    RunState,
)
from chittyops_core.deploy.targets.local.managers import MANAGERS, chosen_manager
from chittyops_core.deploy.targets.local.routes import HOST_OWNED, SLOTS, Route
from chittyops_core.deploy.targets.local.settings import change_settings
from chittyops_core.errors import BuildError, HostError, NotFoundError, RefusedError
from chittyops_core.model.health import Health, InstanceState, Verdict
from chittyops_core.model.release import EdgePolicy, Release, SecretRef
from chittyops_core.model.service import Service

__all__ = ["Companion", "LocalTarget", "SecretReader", "UserKeeper"]

MARK = "CHITTYOPS_SUPERVISED"
"""In the environment of every process of a home, with the home as value: how strays are found."""

SERVICE_MARKS = ("CHITTYOPS_APP", "CHITTYOPS_ENVIRONMENT", "CHITTYOPS_CLIENT")
"""In the environment of every process of a service: whose it is."""

INSTANCE = "CHITTYOPS_INSTANCE"
"""In the environment of every process of a home: which one it is, such as `web.0`."""

EDGE_GROUP = "edge"

PASSING = "passing"
"""What a process of the host's own says that it is when it ends by itself."""

EDGE_RESTART_S = 2.0
"""How long a Caddy that was killed may take to come back by itself."""

EDGE_GRACE_S = 60.0
"""How long an edge that another one has replaced may take to answer what it has accepted."""

STOP_GRACE_S = 10.0
"""How long a companion may take to end; what it does survives a kill."""

LEFTOVER_AGE_S = 3600
"""Nothing is written for so long; what is older nobody goes on with."""

LAUNCHER = Path(__file__).with_name("launcher.py")


class SecretReader(Protocol):
    """What gives the value of a secret that a release was made with. Raises SecretError."""

    def __call__(self, name: str, fingerprint: str | None) -> str: ...


class UserKeeper(Protocol):
    """What gives a service the same OS user id for ever, at first one of *candidates*."""

    def __call__(self, service: Service, candidates: Iterable[int]) -> int: ...


@frozen
class Companion:
    """A program of the host's own that runs beside the edge.

    Attributes:
        name: What it is called: its group, and what its environment says of it.
        argv: What to run.
        folder: Where it runs, and its output goes to `output.log`.
        host: Name under which this machine reaches it through the edge.
        socket: Where it answers such requests.
    """

    name: str
    argv: tuple[str, ...]
    folder: Path
    host: str
    socket: Path


@frozen
class Orphan:
    """A process whose daemon was killed, and which went on.

    Attributes:
        process: It.
        instance: What it is, or is a child of: such as `web.0`, or the edge.
        release: Whose; None for the edge.
        marks: Which service's, as `service_marks` has it.
        started: See `_kit.process.start_ticks`.
        user: Id of the OS user that it runs as. What it says of itself counts only if that is
            the one that it should run as: any process can say anything.
    """

    process: psutil.Process
    instance: str
    release: str | None
    marks: Mapping[str, str | None]
    started: int
    user: int

    @classmethod
    def of(cls, found: psutil.Process) -> Self | None:
        """Return *found* as one; None when it has ended, or started anew where nobody can tell."""
        started = process.start_ticks(found.pid)
        try:
            environ, user = found.environ(), found.uids().real
        except psutil.Error:
            return None
        if started is None:
            return None
        release = environ.get("CHITTYOPS_RELEASE")
        marks = {name: environ.get(name) for name in SERVICE_MARKS}
        return cls(found, environ.get(INSTANCE, ""), release, marks, started, user)

    @property
    def is_edge(self) -> bool:
        return self.instance == EDGE_GROUP and self.user == os.getuid()

    @property
    def is_passing(self) -> bool:
        """Whether it ends by itself once it has done what it is at, and is not to be disturbed."""
        return self.instance == PASSING and self.user == os.getuid()

    def to_launch(self) -> dict[str, int]:
        """Return it as the launcher knows it."""
        return {"pid": self.process.pid, "started": self.started}


def service_marks(service: Service) -> dict[str, str | None]:
    """Return what stands of *service* in its processes' environment; None for what does not."""
    return dict(
        zip(SERVICE_MARKS, (service.app, service.environment, service.client or None), strict=True)
    )


def interpreter() -> str:
    """Say what builds without a wish of their own are made with, for the artifact's digest."""
    return f"{platform.python_implementation()}-{platform.python_version()}-{platform.machine()}"


@define
class LocalTarget(Target):
    """Releases on this machine.

    Attributes:
        layout: Where everything lies.
        read_secret: Gives secrets their values.
        report: Called with a line for each step.
        keep_user: Gives a service the OS user that is its own.
        companions: What of the host's own runs beside the edge.
    """

    kind = "local"
    capabilities = frozenset({Capability.EXEC, Capability.WARM, Capability.STAGE_ROUTE})

    layout: Layout
    read_secret: SecretReader
    report: Callable[[str], None]
    keep_user: UserKeeper
    companions: Sequence[Companion] = ()
    edge: Edge = field(init=False)
    manager: ProcessManager = field(init=False)
    _artifacts: Artifacts = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.edge = Edge(self.layout)
        self.manager = chosen_manager(self.layout, self._marks)
        self._artifacts = Artifacts(self.layout, self.report)

    # --- what is true ---

    def observe(self, service: Service) -> Observed:
        known = set(self._release_ids(service))
        # What a retire has not wholly taken away counts as running, so that it is retired again.
        running = self._grouped(service)
        run_files = {path.name[:8] for path in self._run_files(service)}
        running |= {release for release in known if release[:8] in run_files}
        present = {
            release
            for release in known
            if self._artifacts.is_complete(self.release(service, release).artifact)
        }
        return Observed(
            self._pointed(service, staged=False), frozenset(running & known), frozenset(present)
        )

    def release(self, service: Service, release_id: str) -> Release:
        return wire.from_wire(Release, self._written(service, release_id))

    def probe(self, service: Service, release_id: str) -> Health:
        release = self.release(service, release_id)
        states = self.manager.states(self._group(service, release_id), self._programs(release))
        return Health(
            tuple(
                self._look(release, name, index, states.get(f"{name}.{index}"))
                for name, process_ in release.config.processes.items()
                for index in range(process_.instances)
            )
        )

    def pids(self) -> Mapping[tuple[str, str], Sequence[int]]:
        """Return (slug, release) -> the processes of it that the process manager keeps running."""
        split = ((*group.rpartition("."), pids) for group, pids in self.manager.pids().items())
        return {(slug, release): pids for slug, _, release, pids in split}

    def serving(self) -> Mapping[Service, str]:
        """Return service -> release of all that serve, by one look at the pointers."""
        pointed = ((service, self._pointed(service, staged=False)) for service in self.services())
        return {service: release for service, release in pointed if release is not None}

    def in_flight(self, service: Service, release_id: str) -> int | None:
        total = 0
        bound = self._binding(self.release(service, release_id))
        for listener in self._listeners(service, release_id):
            count = (
                process.tcp_connections(listener.port)
                if listener.port
                else process.unix_connections(bound(Path(listener.path)))
            )
            if count is None:
                return None
            total += count
        return total

    def has_sqlite(self, service: Service) -> bool:
        state = self.layout.state(service)
        for folder, _, names in os.walk(state):
            for name in names:
                try:
                    with open(files.open_regular(os.path.join(folder, name)), "rb") as file:
                        # sqlite.org/fileformat2.html 1.3.1
                        if file.read(16) == b"SQLite format 3\0":
                            return True
                except OSError:
                    continue
        return False

    def address(self, service: Service, *, staged: bool = False) -> Address:
        release_id = self._pointed(service, staged=staged)
        if release_id is None:
            raise NotFoundError(f"{service} has no {'staged' if staged else 'serving'} release")
        policy = self.release(service, release_id).config.edge
        ports = self.edge.settings
        host = service.stage_host if staged else service.local_host
        port = ports.https if policy.tls else ports.http
        scheme = "https" if policy.tls else "http"
        shown = "" if port == (443 if policy.tls else 80) else f":{port}"
        return Address(
            url=f"{scheme}://{host}{shown}",
            connect=f"127.0.0.1:{port}",
            host=host,
            tls=policy.tls,
            ca_file=str(self.layout.root_certificate) if policy.tls else None,
            plain_connect=f"127.0.0.1:{ports.http}",
        )

    def hosts_taken(self, *, besides: Service) -> dict[str, str]:
        """Return the names that services other than *besides* serve under, to their slugs."""
        taken: dict[str, str] = {}
        for other in self.services():
            serving = self._pointed(other, staged=False) if other != besides else None
            if serving is not None:
                hosts = self._written(other, serving)["config"]["edge"]["hosts"]
                taken |= dict.fromkeys(hosts, other.slug)
        return taken

    # --- verbs ---

    def build(self, release: Release, source: BuildInput | None) -> None:
        files.ensure_private_dir(self.layout.service(release.service), passable=True)
        files.ensure_private_dir(self.layout.releases(release.service))
        folder = self.layout.release(release.service, release.id)
        # First the name of the artifact, so that no prune takes it away while it is made.
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.write_durably(folder / "release.json", json.dumps(wire.to_wire(release), indent=1))
        self.report("release recorded")
        if source is not None:
            self._artifacts.make(release.artifact, source)
        elif not self._artifacts.is_complete(release.artifact):
            raise BuildError(
                f"the artifact of release {release.id} is gone, so it cannot serve again",
                remedy="Deploy its source anew.",
            )
        # Before anything that runs is touched.
        self._make_room(release)
        if (user := self.user(release)) is not None:
            users.require_reach(self.layout, release, user)

    def stage(self, service: Service, release_id: str) -> None:
        release = self.release(service, release_id)
        self.start_host()
        files.ensure_private_dir(self.layout.logs(service))
        self._make_room(release)
        states = self.manager.states(self._group(service, release_id), self._programs(release))
        awaited = self._awaited(release)
        if not awaited and not any(state.pid for state in states.values()):
            self._choose_listeners(release)
        self._open_upstreams(release)
        self._write_launch_files(release, after=awaited)
        if self._pointed(service, staged=False) != release_id:
            files.replace_symlink(
                self.layout.pointer(service, staged=True), f"releases/{release_id}/upstreams"
            )
        self.report("launch files written")
        self.manager.start(self._group(service, release_id), self._programs(release))
        self.report("processes started")
        self._publish(service)

    def serve(self, service: Service, release_id: str) -> None:
        pointer = self.layout.pointer(service, staged=False)
        upstreams = f"releases/{release_id}/upstreams"
        # A slot that leads nowhere would be a 502 at every request; several lead to one instance.
        for instance in {os.readlink(f"{pointer.parent}/{upstreams}/{n}") for n in range(SLOTS)}:
            with open(f"{pointer.parent}/{upstreams}/{instance}") as dial:
                if not dial.read().strip():
                    raise HostError(f"{instance} of release {release_id} is empty")
        files.replace_symlink(pointer, upstreams, sync=False)
        # First what lets requests follow, then the disk: they need not wait for it.
        self.edge.switched()
        files.sync_dir(pointer.parent)
        self.report("pointer renamed")
        self.layout.pointer(service, staged=True).unlink(missing_ok=True)
        # Only what follows from the release's own policy; the switch itself needs no load.
        self._publish(service)

    def retire(self, service: Service, release_id: str, *, grace_s: float) -> None:
        if self._pointed(service, staged=False) == release_id:
            raise RefusedError(f"release {release_id} of {service} serves and cannot be retired")
        self.manager.stop(self._group(service, release_id), grace_s=grace_s)
        self._reap(self._strays(service, release_id))
        self.report("processes stopped")
        if self._pointed(service, staged=True) == release_id:
            self.layout.pointer(service, staged=True).unlink(missing_ok=True)
        self._remove_run_files(service, release_id)

    def stop(self, service: Service, *, grace_s: float) -> None:
        serving = self._pointed(service, staged=False)
        if serving is None:
            return
        self._close_upstreams(self.release(service, serving))
        self.report("requests wait")
        start = time.monotonic()
        wait_until(lambda: self.in_flight(service, serving) == 0, timeout_s=grace_s)
        left_s = max(0.0, grace_s - (time.monotonic() - start))
        self.manager.stop(self._group(service, serving), grace_s=left_s)
        self._reap(self._strays(service, serving))
        self._remove_run_files(service, serving)

    def prune(self, service: Service, keep: frozenset[str]) -> frozenset[str]:
        observed = self.observe(service)
        deleted = set(self._release_ids(service)) - keep - observed.running - {observed.serving}
        for release_id in deleted:
            for path in self.layout.logs(service).glob(f"{release_id}.*"):
                path.unlink(missing_ok=True)
            files.remove_tree(self.layout.release(service, release_id))
        self._artifacts.prune(self._used_artifacts)
        return frozenset(deleted)

    def disk_bytes(self) -> Mapping[str, int]:
        return self._artifacts.bytes_used()

    def remove(self, service: Service) -> None:
        for release_id in self._grouped(service):
            self.manager.stop(self._group(service, release_id), grace_s=10)
        for staged in (False, True):
            self.layout.pointer(service, staged=staged).unlink(missing_ok=True)
        self._publish(service)
        folder = self.layout.service(service)
        for path in folder.iterdir() if folder.exists() else ():
            if path.name != "state" or not any(path.iterdir()):
                files.remove_tree(path)
        if folder.exists() and not any(folder.iterdir()):
            folder.rmdir()
        files.remove_tree(self.layout.sockets(service))
        self._artifacts.prune(self._used_artifacts)

    def run(
        self, service: Service, release_id: str, command: str, *, timeout_s: float
    ) -> CommandResult:
        argv, env = self.exec_argv(service, release_id, ["/bin/sh", "-c", command])
        with subprocess.Popen(
            argv, env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
        ) as running:  # fmt: skip
            try:
                output, _ = running.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(running.pid, 9)
                output, _ = running.communicate()
                output += f"\nstopped: it took longer than {timeout_s:g} s"
            except BaseException:
                os.killpg(running.pid, 9)
                raise
        return CommandResult(running.returncode, tuple(output.splitlines()[-20:]))

    def exec_argv(
        self, service: Service, release_id: str, argv: Sequence[str]
    ) -> tuple[list[str], Mapping[str, str]]:
        release = self.release(service, release_id)
        self._make_room(release)
        launch = self.layout.sockets(service) / f"exec-{secrets.token_hex(4)}.launch"
        environment = self._environment(release)
        self._write_launch(launch, release, list(argv), environment, once=True)
        return self._launch_argv(launch), {"PATH": environment["PATH"]}

    def logs(
        self, service: Service, release_id: str, *, lines: int, follow: bool
    ) -> Iterator[LogLine | None]:
        programs = self._programs(self.release(service, release_id))
        return read_logs({p.name: p.log for p in programs}, lines=lines, follow=follow)

    def clear_leftovers(self) -> None:
        """Delete what writes and deletions that were killed have left, an hour ago or longer."""
        for pattern in ("services/**/.*.gone", "services/**/.*.tmp", "edge/**/.*.tmp"):
            for path in self.layout.home.glob(pattern):
                is_ours = "state" not in path.relative_to(self.layout.home).parts
                if is_ours and time.time() - path.lstat().st_mtime > LEFTOVER_AGE_S:
                    files.remove_tree(path)

    def secrets_in_use(self) -> Iterator[SecretRef]:
        """Yield the secrets of every release that is kept."""
        for service in self.services():
            for written in self._releases(service):
                for variable in written["config"]["variables"].values():
                    if variable["secret"] is not None:
                        yield wire.from_wire(SecretRef, variable["secret"])

    # --- the host's own processes ---

    def services(self) -> list[Service]:
        """Return every service that has something on this target, sorted."""
        names = (p.name for p in self.layout.services.iterdir() if not p.name.startswith("."))
        return [Service.from_slug(name) for name in sorted(names)]

    def choose_manager(self, name: str) -> None:
        """Let the process manager *name* keep the processes, from the next start on.

        Raises:
            HostError: The host runs, or that one cannot work here.
        """
        if name == self.manager.name:
            return
        if name not in MANAGERS:
            raise HostError(f"no process manager {name!r}; known: {', '.join(MANAGERS)}")
        if self.manager.pid is not None or self.manager.was_killed:
            raise HostError(
                f"the host runs by {self.manager.name}; that changes only while it is stopped",
                remedy="`chittyops host stop`, then start with the new one.",
            )
        chosen = MANAGERS[name](self.layout, self._marks)
        chosen.require()
        change_settings(self.layout, {"manager": name})
        self.manager = chosen

    def start_host(self) -> bool:
        """Start the process manager and Caddy unless they run; what served before serves again.

        Raises:
            PortInUseError: Another program listens where the edge should.
        """
        # One that was killed is back in a moment.
        if self.manager.pid is not None and self.edge.wait_running(EDGE_RESTART_S):
            return False
        with FileLock(self.layout.locks / "host.lock").acquire("host start", wait=pause):
            # What outlived a daemon that was killed goes on serving.
            orphans = [] if self.manager.pid is not None else self._find_orphans()
            # One that runs but cannot be asked, as when its socket was deleted.
            self.manager.stop(EDGE_GROUP, grace_s=EDGE_GRACE_S)
            # Else a new daemon would start what an older version has written down.
            for companion in self.companions:
                self.manager.stop(companion.name, grace_s=STOP_GRACE_S)
            if not self.edge.is_running and not any(o.is_edge for o in orphans):
                self.edge.require_ports({s.slug: self._routes(s) for s in self.services()})
            self.edge.save_settings(self.edge.settings)
            if self.manager.pid is None:
                self._restore(orphans)
            self._start_edge(next((o for o in orphans if o.is_edge), None))
            serving = [
                (self._pointed(service, staged=False), service_marks(service))
                for service in self.services()
            ]
            self._reap(
                o.process
                for o in orphans
                if not (o.is_edge or o.is_passing or (o.release, o.marks) in serving)
            )
            for companion in self._wanted_companions:
                self._start_companion(companion)
        return True

    def revive(self) -> bool:
        """Start the host again where its daemon was killed, not stopped; say whether."""
        return self.manager.was_killed and self.start_host()

    def renew_host(self) -> int | None:
        """Let what runs be carried by this runtime's supervisord, and its Caddy if that differs.

        Releases go on as they are. Returns how many connections the edge had when another Caddy
        took over (their requests are finished, WebSockets end), None when it is the same.
        """
        with FileLock(self.layout.locks / "host.lock").acquire("host upgrade", wait=pause):
            edges = [orphan for orphan in self._find_orphans() if orphan.is_edge]
        self.manager.abandon()
        self.start_host()
        if not edges or self._is_own_caddy(edges):
            return None
        settings = self.edge.settings
        count = sum(process.tcp_connections(p) or 0 for p in (settings.http, settings.https))
        self._start_edge(None, anew=True)
        # Both listen now; the old one answers what it has accepted.
        with files.kept_names(self.layout.admin_socket, self.layout.gone_socket):
            process.end_processes([orphan.process for orphan in edges], grace_s=EDGE_GRACE_S)
        return count

    def _is_own_caddy(self, edges: Sequence[Orphan]) -> bool:
        own = files.file_digest(Path(self.edge.caddy()))
        return any(
            files.file_digest(Path(edge.process.exe())) == own
            for edge in edges
            if "caddy" in Path(edge.process.exe()).name
        )

    def stop_host(self, *, grace_s: float) -> None:
        """Stop every process of this home; pointers, releases and state stay."""
        self.manager.stop_daemon(grace_s=grace_s)
        self._reap(process.find_marked({MARK: str(self.layout.home)}))
        for path in (*self.layout.run.glob("*.launch"), *self.layout.run.glob("*.sock")):
            path.unlink(missing_ok=True)
        for service in self.services():
            files.remove_tree(self.layout.sockets(service))

    def erase(self) -> None:
        """Stop everything and delete all but the journal and the state directories."""
        for service in self.services():
            self.remove(service)
        self.stop_host(grace_s=5)
        layout = self.layout
        for path in (
            layout.artifacts, layout.secrets, layout.edge, layout.supervisor, layout.locks,
            layout.run, layout.monitor, layout.settings,
        ):  # fmt: skip
            files.remove_tree(path)
        if layout.services.exists() and not any(layout.services.iterdir()):
            layout.services.rmdir()

    def _find_orphans(self) -> list[Orphan]:
        """Return them as they were started: an instance's first process before its children."""
        marked = process.find_marked({MARK: str(self.layout.home)})
        return sorted(filter(None, map(Orphan.of, marked)), key=lambda orphan: orphan.started)

    def _restore(self, orphans: Sequence[Orphan]) -> None:
        """Start the daemon and what serves; each process waits for its orphan's end."""
        serving = []
        for service in self.services():
            release_id = self._pointed(service, staged=False)
            if release_id is None:
                continue
            release = self.release(service, release_id)
            expected = (os.getuid(), self.user(release))
            marks = service_marks(service)
            mine = [
                o
                for o in orphans
                if o.release == release_id and o.marks == marks and o.user in expected
            ]
            self._make_room(release)
            if not mine:
                self._choose_listeners(release)
            self._open_upstreams(release)
            self._write_launch_files(release, after={o.instance: o.to_launch() for o in mine[::-1]})
            serving.append(release)
        # Only now: a daemon may start at once whatever it finds written down.
        self.manager.start_daemon(
            {self._group(each.service, each.id): self._programs(each) for each in serving}
        )

    def _start_edge(self, orphan: Orphan | None, *, anew: bool = False) -> None:
        """Start Caddy once *orphan* has ended; *anew* starts it beside the one that there is."""
        if not self.edge.is_running:
            self.edge.publish_all(
                {s.slug: self._routes(s) for s in self.services()}
                | {
                    HOST_OWNED + each.name: [self._companion_route(each)]
                    for each in self._wanted_companions
                }
            )
        log_file = self.layout.edge / "output.log"
        launch = self._write_own_launch(
            EDGE_GROUP,
            [self.edge.caddy(), "run", "--config", str(self.edge.config_file)],
            self.layout.edge,
            socket=str(self.layout.admin_socket),
            after=orphan.to_launch() if orphan else None,
            keep=True,
        )
        program = Program("caddy", self._launch_argv(launch), log_file)
        other_than = self.edge.identity if anew else None
        if anew:
            self.manager.stop(EDGE_GROUP, grace_s=10)
        self.manager.start(EDGE_GROUP, [program])
        if not self.edge.wait_running(20, other_than=other_than):
            tail = log_file.read_text(errors="replace")[-1500:] if log_file.exists() else ""
            raise HostError(
                "Caddy does not start",
                remedy=f"Its log: {log_file}",
                detail=tuple(tail.splitlines()[-8:]),
            )

    @property
    def _wanted_companions(self) -> Sequence[Companion]:
        return self.companions if self.edge.settings.agent else ()

    def _start_companion(self, companion: Companion) -> None:
        """Start it; whether it comes up is its own affair, and fails nothing that serves."""
        launch = self._write_own_launch(companion.name, companion.argv, companion.folder)
        log_file = companion.folder / "output.log"
        program = Program(companion.name, self._launch_argv(launch), log_file)
        self.manager.start(companion.name, [program])
        # A Caddy that went on does not know it where an older version started that.
        self.edge.publish(HOST_OWNED + companion.name, [self._companion_route(companion)])

    def _companion_route(self, companion: Companion) -> Route:
        pointer = self.layout.edge / f"{HOST_OWNED}{companion.name}"
        (files.ensure_private_dir(pointer / "as") / companion.host).touch()
        for slot in range(SLOTS):
            files.replace_symlink(pointer / f"s{slot}", str(companion.socket))
        return Route(
            (companion.host,), pointer, EdgePolicy(), is_stage=True, app_host=companion.host
        )

    def _write_own_launch(
        self,
        name: str,
        argv: Sequence[str],
        folder: Path,
        *,
        socket: str | None = None,
        after: dict[str, int] | None = None,
        keep: bool = False,
    ) -> Path:
        """Write what the launcher reads to start a program of the host's own in *folder*."""
        environment = {
            "PATH": os.defpath,
            "HOME": str(folder),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            MARK: str(self.layout.home),
            INSTANCE: name,
        }
        launch = {
            "argv": list(argv),
            "cwd": str(folder),
            "env": environment,
            "socket": socket,
            "memory": None,
            "once": False,
            "after": after,
            "keep": keep,
            "user": None,
            "offer": None,
        }
        path = self.layout.run / f"{name}.launch"
        files.write_atomically(path, marshal.dumps(launch))
        return path

    def _strays(self, service: Service, release_id: str) -> Iterator[psutil.Process]:
        """Find what a release's processes started and moved out of the manager's sight.

        By the service too: another one with the same code and configuration has a release of the
        same id.
        """
        home = str(self.layout.home)
        marks = {MARK: home, "CHITTYOPS_RELEASE": release_id, **service_marks(service)}
        return process.find_marked(marks)

    def _reap(self, strays: Iterable[psutil.Process]) -> None:
        count = process.end_processes(strays, grace_s=10)
        if count:
            self.report(f"{count} stray processes ended")

    # --- OS users ---

    def user(self, release: Release) -> int | None:
        """Return the id of the OS user that *release* runs as; None for the host's own.

        Raises:
            HostError: It wants one of its own, and this host can give it none.
        """
        if not release.config.own_user:
            return None
        if not users.are_possible():
            raise HostError(
                f"release {release.id} of {release.service} wants an OS user of its own, which "
                "only root on Linux can give it",
                remedy="Run the host as root, or deploy anew, which plans for this user.",
            )
        return self.keep_user(release.service, users.candidates(self.layout.home, release.service))

    def _make_room(self, release: Release) -> None:
        """Make the folders that *release* runs with; its user's own where it has one."""
        files.ensure_private_dir(self.layout.state(release.service))
        files.ensure_private_dir(self.layout.sockets(release.service), passable=True)
        if (user := self.user(release)) is not None:
            users.make_room(self.layout, release, user)

    def _binding(self, release: Release) -> Callable[[Path], str]:
        """Return what tells where *release* makes the socket that the edge finds at a path."""
        if release.config.own_user:
            return lambda path: str(self.layout.binding(path))
        return str

    # --- pieces ---

    @property
    def _marks(self) -> dict[str, str]:
        return {MARK: str(self.layout.home)}

    def _group(self, service: Service, release_id: str) -> str:
        return f"{service.slug}.{release_id}"

    def _used_artifacts(self) -> set[str]:
        return {str(written["artifact"]) for s in self.services() for written in self._releases(s)}

    def _grouped(self, service: Service) -> set[str]:
        """Return the releases that the manager has a group of.

        By the whole slug: `app.production` is the beginning of `app.production.client` too.
        """
        split = (group.rpartition(".") for group in self.manager.groups())
        return {release for slug, _, release in split if slug == service.slug}

    def _release_ids(self, service: Service) -> list[str]:
        folder = self.layout.releases(service)
        if not folder.exists():
            return []
        return sorted(p.name for p in folder.iterdir() if (p / "release.json").exists())

    def _written(self, service: Service, release_id: str) -> dict[str, Any]:
        """Return a release as it is written down. Raises NotFoundError.

        For what has to look at every release of a host: to make values of them all would take
        longer than the rest of a deploy.
        """
        try:
            text = (self.layout.release(service, release_id) / "release.json").read_text()
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(
                f"{service} has no release {release_id}",
                remedy="`chittyops releases` lists those that are kept.",
            ) from None
        return dict(json.loads(text))

    def _releases(self, service: Service) -> Iterator[dict[str, Any]]:
        for release_id in self._release_ids(service):
            try:
                yield self._written(service, release_id)
            except NotFoundError:
                continue  # Pruned meanwhile by a deploy of that service.

    def _pointed(self, service: Service, *, staged: bool) -> str | None:
        try:
            return Path(os.readlink(self.layout.pointer(service, staged=staged))).parent.name
        except FileNotFoundError:
            return None

    def _programs(self, release: Release) -> list[Program]:
        logs, folder = self.layout.logs(release.service), self.layout.sockets(release.service)
        return [
            Program(
                f"{name}.{index}",
                self._launch_argv(folder / f"{release.id[:8]}-{name}-{index}.launch"),
                logs / f"{release.id}.{name}.{index}.log",
            )
            for name, process_ in release.config.processes.items()
            for index in range(process_.instances)
        ]

    @staticmethod
    def _launch_argv(launch: Path) -> list[str]:
        return [sys.executable, "-I", "-S", str(LAUNCHER), str(launch)]

    def _listeners(self, service: Service, release_id: str) -> list[Listener]:
        """Return where each web instance listens, in order; empty before the first stage."""
        try:
            text = (self.layout.release(service, release_id) / "listeners").read_text()
        except FileNotFoundError:
            return []
        return [Listener.parse(line) for line in text.splitlines()]

    def _choose_listeners(self, release: Release) -> None:
        web = release.config.processes["web"]
        if "SOCKET" in web.command:
            dials = [
                f"unix/{self.layout.socket(release.service, release.id, index)}"
                for index in range(web.instances)
            ]
        else:
            dials = [f"127.0.0.1:{_free_port()}" for _ in range(web.instances)]
        folder = self.layout.release(release.service, release.id)
        files.write_durably(folder / "listeners", "\n".join(dials) + "\n")

    def _open_upstreams(self, release: Release) -> None:
        """Let the edge's slots lead to the instances: slot i to instance i modulo their number.

        For a route that is a link, `sI` leads to a socket; for one in the configuration, `I` to
        a file that says where to dial. `as/HOST` says as what the app knows itself.
        """
        folder = self.layout.release(release.service, release.id)
        dials = (folder / "listeners").read_text().splitlines()
        upstreams = folder / "upstreams"
        if not upstreams.exists():
            temp = upstreams.with_name(f".upstreams.{secrets.token_hex(4)}.tmp")
            (temp / "as").mkdir(parents=True, mode=0o700)
            (temp / "as" / release.canonical_host).touch()
            for slot in range(SLOTS):
                (temp / str(slot)).symlink_to(f"instance-{slot % len(dials)}")
                (temp / f"s{slot}").symlink_to(f"socket-{slot % len(dials)}")
            _lead(temp, dials)
            files.sync_dir(temp)
            temp.rename(upstreams)
        else:
            _lead(upstreams, dials)

    def _close_upstreams(self, release: Release) -> None:
        """Let the edge's slots lead nowhere, so that requests wait at the edge.

        Not by taking the socket away: the edge would go on using the connections that it has.
        """
        nowhere = f"unix/{self.layout.sockets(release.service) / 'nowhere'}"
        upstreams = self.layout.release(release.service, release.id) / "upstreams"
        _lead(upstreams, [nowhere] * len(self._listeners(release.service, release.id)))
        self.edge.switched()

    def _awaited(self, release: Release) -> dict[str, dict[str, int]]:
        """Return which instances' launchers wait for the end of which orphans, as they know them.

        By the files that they were started with, and may not have read yet.
        """
        found = {}
        for program in self._programs(release):
            try:
                launch = marshal.loads(Path(program.argv[-1]).read_bytes())  # noqa: S302
            except FileNotFoundError:
                continue
            after = launch["after"]
            if after and process.start_ticks(after["pid"]) == after["started"]:
                found[program.name] = after
        return found

    def _write_launch_files(self, release: Release, *, after: Mapping[str, dict[str, int]]) -> None:
        """Write what the launchers read; *after* says whose end an instance has to wait for."""
        folder = self.layout.sockets(release.service)
        listeners = self._listeners(release.service, release.id)
        bound = self._binding(release)
        for name, process_ in release.config.processes.items():
            for index in range(process_.instances):
                environment = self._environment(release)
                environment[MARK] = str(self.layout.home)
                environment[INSTANCE] = f"{name}.{index}"
                found_at = None
                if name == "web":
                    listener = listeners[index]
                    found_at = listener.path or None
                    environment["SOCKET" if found_at else "PORT"] = (
                        bound(Path(found_at)) if found_at else str(listener.port)
                    )
                self._write_launch(
                    folder / f"{release.id[:8]}-{name}-{index}.launch",
                    release,
                    ["/bin/sh", "-c", process_.command],
                    environment,
                    found_at=found_at,
                    memory=process_.memory,
                    after=after.get(f"{name}.{index}"),
                )

    def _write_launch(
        self,
        path: Path,
        release: Release,
        argv: list[str],
        environment: dict[str, str],
        *,
        found_at: str | None = None,
        memory: int | None = None,
        once: bool = False,
        after: dict[str, int] | None = None,
    ) -> None:
        launch = {
            "argv": argv,
            "cwd": str(self.layout.artifact(release.artifact) / "app"),
            "env": environment,
            "socket": found_at and self._binding(release)(Path(found_at)),
            "memory": memory,
            "once": once,
            "after": after,
            "keep": False,
            "user": self.user(release),
            "offer": found_at if release.config.own_user else None,
        }
        files.write_atomically(path, marshal.dumps(launch))

    def _environment(self, release: Release) -> dict[str, str]:
        artifact = self.layout.artifact(release.artifact)
        service = release.service
        state = self.layout.state(service)
        path = os.pathsep.join([str(artifact / "venv" / "bin"), *_SYSTEM_PATH])
        environment = {
            "PATH": path,
            "HOME": str(state),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "VIRTUAL_ENV": str(artifact / "venv"),
            "PYTHONUNBUFFERED": "1",
            "STATE_DIR": str(state),
            "CHITTYOPS_RELEASE": release.id,
            "CHITTYOPS_SOCKET": str(self.layout.app_socket(service)),
        }
        marks = service_marks(service)
        environment |= {name: text for name, text in marks.items() if text is not None}
        for name, variable in release.config.variables.items():
            if variable.secret is None:
                environment[name] = variable.value or ""
                continue
            value = self.read_secret(variable.secret.name, variable.secret.fingerprint)
            if variable.secret.as_file:
                environment[name] = str(self._write_secret_file(release, name, value))
            else:
                environment[name] = value
        return environment

    def _write_secret_file(self, release: Release, name: str, value: str) -> Path:
        path = self.layout.sockets(release.service) / f"{release.id[:8]}-secret-{name}"
        files.write_atomically(path, value, owner=self.user(release))
        return path

    def _run_files(self, service: Service) -> Iterator[Path]:
        """Find the sockets, launch files and secret files of all its releases."""
        for folder in (self.layout.sockets(service), self.layout.bindings(service)):
            yield from folder.glob("????????-*")

    def _remove_run_files(self, service: Service, release_id: str) -> None:
        for path in self._run_files(service):
            if path.name.startswith(release_id[:8]):
                path.unlink(missing_ok=True)

    def _look(
        self, release: Release, name: str, index: int, state: ProcessState | None
    ) -> InstanceState:
        instance = f"{name}.{index}"
        if state is None or state.state is RunState.STOPPED:
            return InstanceState(instance, Verdict.GONE, explanation="it does not run")
        if state.state is RunState.DEAD:
            return InstanceState(instance, Verdict.DEAD, explanation=state.explanation)
        if name != "web":
            return InstanceState(instance, Verdict.HEALTHY, state.pid, "it runs")
        listener = self._listeners(release.service, release.id)[index]
        return look_at(instance, state.pid, listener, release)

    def _routes(self, service: Service) -> list[Route]:
        """Return the service's routes: what its pointers and the releases behind them say."""
        live = self._pointed(service, staged=False)
        stage = self._pointed(service, staged=True) or live
        if stage is None:
            return []
        serving, staged = self.release(service, live or stage), self.release(service, stage)
        return [
            Route(
                (service.local_host, *serving.config.edge.hosts),
                self.layout.pointer(service, staged=False),
                _without_hosts(serving),
                on_sockets=_listens_on_sockets(serving),
            ),
            Route(
                (service.stage_host,),
                self.layout.pointer(service, staged=True),
                _without_hosts(staged),
                is_stage=True,
                app_host=staged.canonical_host,
                on_sockets=_listens_on_sockets(staged),
            ),
        ]

    def _publish(self, service: Service) -> None:
        routes = self._routes(service)
        if self.edge.publish(service.slug, routes):
            self.report("edge loaded")
        if self.edge.is_running and any(route.policy.tls for route in routes):
            self.edge.wait_certificate()


def _listens_on_sockets(release: Release) -> bool:
    return "SOCKET" in release.config.processes["web"].command


def _without_hosts(release: Release) -> EdgePolicy:
    return evolve(release.config.edge, hosts=())


_SYSTEM_PATH = ("/usr/local/bin", "/usr/bin", "/bin")


def _lead(upstreams: Path, dials: Sequence[str]) -> None:
    """Let the instances of *upstreams*, in order, be found at *dials*."""
    for index, dial in enumerate(dials):
        files.write_durably(upstreams / f"instance-{index}", dial + "\n")
        if dial.startswith("unix/"):
            files.replace_symlink(upstreams / f"socket-{index}", dial.removeprefix("unix/"))


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
