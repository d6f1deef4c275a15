"""A real child and a real parent process: restored, revoked, cloned."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from chittyops_core._kit.retry import wait_until
from chittyops_core.bridge import membership
from chittyops_core.bridge.enrol import enrol
from chittyops_core.bridge.loop import ParentBridge, Report
from chittyops_core.bridge.outbox import Outbox
from chittyops_core.bridge.protocol import ChildState, ItemKind
from chittyops_core.parent import schema
from chittyops_core.parent.server import open_parent
from conftest import COMMAND, free_port
from parent.chaos_child import RHYTHM
from parent.test_chaos_parent import make_parent

pytestmark = [pytest.mark.chaos, pytest.mark.long]


class RealParent:
    """`chittyops parent` in a folder of its own."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.token = make_parent(data)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        serve = [COMMAND, "parent", "serve", "--data", self.data, "--bind", self.url[7:]]
        self.process = subprocess.Popen(serve, stderr=subprocess.DEVNULL)
        assert wait_until(self._listens, timeout_s=60)

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait(timeout=30)

    def run(self, *words: str | Path) -> None:
        done = subprocess.run(
            [COMMAND, "parent", *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def kept(self, kind: str) -> list[dict[str, object]]:
        """Return the bodies of all events of a type, in order."""
        parent = open_parent(self.data)
        try:
            with parent.database.reading() as reader:
                found = reader.execute(
                    sa.select(schema.event.c.body)
                    .where(schema.event.c.type == kind)
                    .order_by(schema.event.c.id)
                )
                return [json.loads(row.body) for row in found]
        finally:
            parent.database.close()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


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
    identity = membership.read(child.folder)
    assert identity is not None
    with child.running():
        child.say(3)
        assert wait_until(child.is_done, timeout_s=30)
        parent.run("revoke", identity.child, "--data", parent.data, "--yes")
        child.say(3)
        assert wait_until(lambda: _state(child) is ChildState.REVOKED, timeout_s=30)
        assert names(parent) == child.said[:3]
        parent.run("accept", identity.child, "--data", parent.data, "--yes")
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
    told = parent.kept("child.cloned")
    clone.outbox.close()

    assert len(told) == 1
    kept = names(parent)
    assert len(kept) == len(set(kept))
    assert set(child.said[:3]) <= set(kept)


def _state(child: RealChild) -> ChildState | None:
    found = membership.read(child.folder)
    return found.state if found else None
