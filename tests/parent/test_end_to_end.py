"""A real child and a real parent process: what happens to either, and to what the parent needs.

Processes, sockets, disks and databases are real. Where a deadline is waited for, the parent's
clock goes five times as fast as the machine's (`fast_parent.py`): section 10's 15 s are 3 s then.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from chittyops_core._kit.retry import wait_until
from chittyops_core.bridge import membership
from chittyops_core.bridge.client import Outcome, ParentClient, Refused
from chittyops_core.bridge.enrol import enrol
from chittyops_core.bridge.loop import ParentBridge, Report
from chittyops_core.bridge.outbox import Outbox
from chittyops_core.bridge.protocol import ChildState, ItemKind
from chittyops_core.parent import schema
from chittyops_core.parent.ingest import grace_s
from chittyops_core.parent.server import open_parent
from chittyops_core.parent.sweeper import ALIVE, MIN_GRACE_S, SWEEP_S
from conftest import COMMAND, IS_CHAOS_FULL, free_port, listens
from parent.chaos_child import RHYTHM
from parent.fast_parent import SPEED
from parent.test_chaos_parent import make_parent
from postgresql import PostgreSQL

pytestmark = [pytest.mark.chaos, pytest.mark.long]

in_full = pytest.mark.skipif(not IS_CHAOS_FULL, reason="takes a minute: `nox -s chaos` in full")

FAST = Path(__file__).with_name("fast_parent.py")
INTERVAL_S = 0.2
"""As `make_parent` sets it."""


class RealParent:
    """`chittyops parent` in a folder of its own."""

    def __init__(self, data: Path, database_url: str = "") -> None:
        self.data = data
        self.token = make_parent(data, database_url)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(self._command(), stderr=subprocess.DEVNULL)
        assert wait_until(lambda: listens(self.port), timeout_s=60)

    def stop(self) -> None:
        self.end(signal.SIGTERM)

    def end(self, how: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait(timeout=30)

    def run(self, *words: str | Path) -> None:
        done = subprocess.run(
            [COMMAND, "parent", *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def kept(self, kind: str) -> list[dict[str, Any]]:
        """Return the bodies of all events of a type, in order."""
        c = schema.event.c
        found = self.rows(sa.select(c.body).where(c.type == kind).order_by(c.id))
        return [json.loads(row.body) for row in found]

    def rows(self, statement: sa.Select[Any]) -> list[Any]:
        """Return what the database has."""
        parent = open_parent(self.data)
        try:
            with parent.database.reading() as reader:
                return list(reader.execute(statement))
        finally:
            parent.database.close()

    def _command(self) -> list[str | Path]:
        return [COMMAND, "parent", "serve", "--data", self.data, "--bind", self.url[7:]]


class FastParent(RealParent):
    """The same, by a clock that goes faster."""

    def _command(self) -> list[str | Path]:
        return [sys.executable, FAST, self.data, self.url[7:], repr(self.began_at)]

    def __init__(self, data: Path, database_url: str = "") -> None:
        super().__init__(data, database_url)
        self.began_at = time.time()


class RealChild:
    """A host's bridge, and what was put into its outbox."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outbox = Outbox(folder / "outbox.db")
        self.said: list[str] = []

    def say(self, count: int, prefix: str = "thing") -> None:
        for _ in range(count):
            name = f"{prefix} {len(self.said)}"
            self.outbox.put(ItemKind.EVENT, {"type": "said", "at": time.time(), "name": name})
            self.said.append(name)

    @property
    def id(self) -> str:
        found = membership.read(self.folder)
        assert found is not None
        return found.child

    def is_done(self) -> bool:
        return not self.outbox.owes()

    @contextmanager
    def running(self) -> Iterator[None]:
        stop = threading.Event()
        bridge = ParentBridge(self.folder, lambda: Report({}, {}), rhythm=RHYTHM)
        thread = threading.Thread(target=bridge.run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            bridge.wake()
            thread.join()


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[RealParent]:
    made = RealParent(tmp_path / "parent")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def child(parent: RealParent, tmp_path: Path) -> Iterator[RealChild]:
    enrol(tmp_path / "bridge", parent.url, parent.token, "court-1", {})
    made = RealChild(tmp_path / "bridge")
    yield made
    made.outbox.close()


def enrolled(parent: RealParent, folder: Path) -> RealChild:
    enrol(folder, parent.url, parent.token, folder.name, {})
    return RealChild(folder)


def names(parent: RealParent) -> list[object]:
    return [body["name"] for body in parent.kept("said")]


def test_a_parent_restored_from_an_old_backup_gets_again_what_it_lost_attack(
    parent: RealParent, child: RealChild, tmp_path: Path
) -> None:
    """What it had acknowledged after the backup comes again; nothing comes twice (section 7.6)."""
    with child.running():
        child.say(5)
        assert wait_until(child.is_done, timeout_s=30)
        parent.run("backup", "--data", parent.data, "--to", tmp_path / "backup")
        child.say(5)
        assert wait_until(child.is_done, timeout_s=30)
        parent.stop()
        shutil.rmtree(parent.data)
        parent.run("restore", "--from", tmp_path / "backup", "--data", parent.data, "--yes")
        assert names(parent) == child.said[:5]
        parent.start()
        child.say(3)
        assert wait_until(lambda: len(names(parent)) >= 13, timeout_s=30)

    assert names(parent) == child.said


def test_a_revoked_child_is_not_heard_and_keeps_what_it_owes_attack(
    parent: RealParent, child: RealChild
) -> None:
    """Taken back in, it tells everything once."""
    with child.running():
        child.say(3)
        assert wait_until(child.is_done, timeout_s=30)
        parent.run("revoke", child.id, "--data", parent.data, "--yes")
        child.say(3)
        assert wait_until(lambda: _state(child) is ChildState.REVOKED, timeout_s=30)
        assert names(parent) == child.said[:3]
        parent.run("accept", child.id, "--data", parent.data, "--yes")
        assert wait_until(child.is_done, timeout_s=30)

    assert names(parent) == child.said


def test_cloned_child_attack(parent: RealParent, child: RealChild, tmp_path: Path) -> None:
    """Two machines with one key: neither is believed, people are told, what was taken stays."""
    with child.running():
        child.say(3)
        assert wait_until(child.is_done, timeout_s=30)
    shutil.copytree(child.folder, tmp_path / "clone")
    clone = RealChild(tmp_path / "clone")
    with child.running(), clone.running():
        deadline = time.monotonic() + 60
        while ChildState.CLONED not in (_state(child), _state(clone)):
            assert time.monotonic() < deadline
            child.say(1)
            clone.say(1, "clone")
            time.sleep(0.3)
        assert wait_until(lambda: _state(child) is _state(clone) is ChildState.CLONED, timeout_s=30)
    c = schema.event.c
    told = parent.rows(sa.select(c.kind).where(c.type == "child.cloned"))
    clone.outbox.close()

    assert [row.kind for row in told] == ["incident"]
    kept = names(parent)
    assert len(kept) == len(set(kept))
    assert set(child.said[:3]) <= set(kept)


@in_full
def test_who_is_silent_is_told_in_time_over_a_kill_and_who_speaks_is_not(tmp_path: Path) -> None:
    """Within a tenth more than the deadline and a sweep; after a `kill -9` within what section 10
    grants to all. The deadline of who went silent before the kill is not forgotten."""
    parent = FastParent(tmp_path / "parent")
    parent.start()
    first, second, speaker = (
        enrolled(parent, tmp_path / name) for name in ("first", "second", "speaker")
    )
    try:
        with speaker.running():
            with second.running():
                with first.running():
                    assert wait_until(lambda: _is_heard(parent, first), timeout_s=30)
                assert wait_until(lambda: len(parent.kept("child.overdue")) == 1, timeout_s=30)
                assert wait_until(lambda: _is_heard(parent, second), timeout_s=30)
            parent.end(signal.SIGKILL)
            before = _alive(parent)
            parent.start()
            assert wait_until(lambda: _alive(parent) > before, timeout_s=30)
            restarted = _alive(parent)
            assert wait_until(lambda: len(parent.kept("child.overdue")) == 2, timeout_s=60)
            speaker.say(1)
            assert wait_until(speaker.is_done, timeout_s=30)
        told = parent.rows(
            sa.select(schema.event.c.child, schema.event.c.at, schema.event.c.body)
            .where(schema.event.c.type == "child.overdue")
            .order_by(schema.event.c.id)
        )
    finally:
        parent.stop()
        for child in (first, second, speaker):
            child.outbox.close()

    assert [row.child for row in told] == [first.id, second.id]
    sweep_s = SWEEP_S * SPEED
    deadlines = [json.loads(row.body)["deadline"] for row in told]
    assert 0 <= told[0].at - deadlines[0] <= 0.1 * (INTERVAL_S + grace_s(INTERVAL_S)) + 2 * sweep_s
    allowed = restarted + 2 * (restarted - before) + MIN_GRACE_S
    assert deadlines[1] <= told[1].at <= max(allowed, deadlines[1]) + 2 * sweep_s


@in_full
def test_postgresql_is_away_for_longer_than_a_deadline(
    postgresql_server: PostgreSQL, tmp_path: Path
) -> None:
    """It crashes and comes back; all arrives once, and nobody was silent meanwhile."""
    parent = FastParent(tmp_path / "parent", postgresql_server.new_database())
    parent.start()
    child = enrolled(parent, tmp_path / "court-1")
    try:
        with child.running():
            child.say(5)
            assert wait_until(child.is_done, timeout_s=30)
            postgresql_server.stop(signal.SIGQUIT)
            try:
                child.say(5)
                _stay_silent_too_long()
                assert child.outbox.backlog().items >= 5
            finally:
                postgresql_server.start()
            assert wait_until(child.is_done, timeout_s=30)
            kept = names(parent)
            _stay_silent_too_long()
            told = parent.kept("child.overdue")
    finally:
        parent.stop()
        child.outbox.close()

    assert kept == child.said
    assert told == []


@in_full
def test_a_full_disk_of_the_parent_loses_nothing_attack(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Syncs are refused for a while (503, Retry-After), and taken once there is room."""
    heard = _listen_in(monkeypatch)
    parent = FastParent(small_disk / "parent")
    parent.start()
    child = enrolled(parent, tmp_path / "court-1")
    ballast = small_disk / "ballast"
    try:
        with child.running():
            child.say(5)
            assert wait_until(child.is_done, timeout_s=30)
            _fill(ballast)
            child.say(40, "x" * 2000)  # More than what SQLite's log has room for by itself.
            assert wait_until(lambda: any(isinstance(x, Refused) for x in heard), timeout_s=30)
            owed = child.outbox.backlog().items
            _stay_silent_too_long()
            ballast.unlink()
            assert wait_until(child.is_done, timeout_s=60)
            kept, told = names(parent), parent.kept("child.overdue")
    finally:
        parent.stop()
        child.outbox.close()

    refused = [each for each in heard if isinstance(each, Refused)]
    assert {(each.status, each.problem) for each in refused} == {(503, "busy")}
    assert all(each.retry_after_s for each in refused)
    assert owed > 0
    assert kept == child.said
    assert told == []


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of its own, of 8 MB."""
    base = Path(tempfile.mkdtemp(prefix="cp-", dir="/tmp"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=8M", "chittyops-test", str(base)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        base.rmdir()
        pytest.skip("a disk of its own can only be mounted by root")
    yield base
    subprocess.run(["umount", "-l", str(base)], check=True)
    base.rmdir()


def _fill(ballast: Path) -> None:
    """Leave not one byte."""
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def _listen_in(monkeypatch: pytest.MonkeyPatch) -> list[Outcome]:
    """Return a list to which is put what children of this process hear."""
    heard: list[Outcome] = []
    post = ParentClient.post

    def listen(client: ParentClient, target: str, body: Any) -> Outcome:
        heard.append(post(client, target, body))
        return heard[-1]

    monkeypatch.setattr(ParentClient, "post", listen)
    return heard


def _stay_silent_too_long() -> None:
    """Let more time go by than who is silent has, with the sweep."""
    time.sleep((INTERVAL_S + grace_s(INTERVAL_S)) / SPEED + 2 * SWEEP_S)


def _alive(parent: RealParent) -> float:
    """Return when the parent last could write, by its clock."""
    c = schema.setting.c
    found = parent.rows(sa.select(c.value).where(c.name == ALIVE))
    return float(found[0].value) if found else 0.0


def _is_heard(parent: RealParent, child: RealChild) -> bool:
    c = schema.child_state.c
    return bool(parent.rows(sa.select(c.child).where(c.child == child.id, c.n > 0)))


def _state(child: RealChild) -> ChildState | None:
    found = membership.read(child.folder)
    return found.state if found else None
