"""Nothing that a child said is lost or counted twice, whoever dies and whatever the wire does.

In full (`nox -s chaos`) it takes a minute, and Debian's Prometheus gets into the same trouble
beside it; both losses are printed.
"""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from attrs import frozen

from chittyops_core._kit.retry import wait_until
from chittyops_core.bridge.enrol import enrol
from chittyops_core.parent import enrolment, schema
from chittyops_core.parent.pace import INTERVAL
from chittyops_core.parent.server import init, open_parent
from conftest import IS_CHAOS_FULL, free_port
from hostile_proxy import HostileProxy
from parent.prometheus_pair import PROMETHEUS, Numbers, start_agent, start_receiver, stored
from parent.victims import Victim, rampage

pytestmark = [pytest.mark.chaos, pytest.mark.long]

SEED = 5
CHILDREN = 3 if IS_CHAOS_FULL else 2
SECONDS, KILLS = (60, 36) if IS_CHAOS_FULL else (5, 4)
PROMETHEUS_KILLS = 8
"""In as many seconds: it scrapes nothing in the first five after its start."""
SERVE = (
    "import sys; from pathlib import Path; from chittyops_core.parent.server import *;"
    "serve(open_parent(Path(sys.argv[1])), Bind.parse(sys.argv[2]))"
)
DRIVER = Path(__file__).with_name("chaos_child.py")


@frozen
class Said:
    """What children said, and what their parent has of it.

    Attributes:
        lost: Names that an outbox had and the parent does not have.
        twice: Names that the parent has more than once.
        total: How many there are.
    """

    lost: set[str]
    twice: set[str]
    total: int


def start_parent(data: Path, port: int) -> subprocess.Popen[bytes]:
    with (data / "serve.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", SERVE, data, f"127.0.0.1:{port}"],
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def start_child(folder: Path, turn: int) -> subprocess.Popen[bytes]:
    with (folder / "child.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, DRIVER, folder, str(turn)],
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def make_parent(data: Path, database_url: str = "") -> str:
    """Make a parent that is asked often; return a token for its children."""
    key = init(data, database_url=database_url)
    parent = open_parent(data)
    parent.database.start()
    try:
        parent.database.write(
            lambda found: found.execute(
                sa.insert(schema.setting).values(name=INTERVAL, value="0.2")
            )
        )
        _, token = parent.database.write(
            lambda found: enrolment.make_token(
                found, name="chaos", labels={}, auto_accept=True, uses=3, ttl_s=3600,
                by="test", now=time.time(), parent_thumbprint=key.id,
            )
        )  # fmt: skip
    finally:
        parent.database.close()
    return token


def require_all(folders: list[Path], data: Path) -> Said:
    """Compare what was said with what the parent has."""
    said = {
        f"{folder.name}:{name}"
        for folder in folders
        for name in (folder / "said").read_text().split()
    }
    with closing(sqlite3.connect(data / "parent.db")) as db:
        rows = db.execute(
            "SELECT child.name, event.body FROM event JOIN child ON child.id = event.child"
            " WHERE event.type = 'chaos.said'"
        ).fetchall()
    kept = Counter(f"{name}:{json.loads(body)['name']}" for name, body in rows)
    return Said(said - kept.keys(), {name for name, n in kept.items() if n > 1}, len(kept))


def test_everything_said_arrives_once_though_both_sides_are_killed_and_the_wire_lies(
    tmp_path: Path,
) -> None:
    """0 lost, 0 twice: `kill -9` on both sides, lost, repeated, late and reordered deliveries."""
    data, port = tmp_path / "parent", free_port()
    token = make_parent(data)
    folders = [tmp_path / f"child-{number}" for number in range(CHILDREN)]
    proxy = HostileProxy(port, SEED)
    proxy.is_hostile = False
    parent = Victim(lambda _: start_parent(data, port), lambda: proxy.answered, enough=10)
    children: list[Victim] = []
    try:
        url = f"http://127.0.0.1:{proxy.port}"
        assert wait_until(lambda: is_listening(port), timeout_s=60)
        for folder in folders:
            enrol(folder, url, token, folder.name, {})
        proxy.is_hostile = True
        children += [
            Victim(
                lambda turn, folder=folder: start_child(folder, turn),
                lambda folder=folder: size_of(folder / "said"),
            )
            for folder in folders
        ]
        rampage([parent, parent, *children], SECONDS, KILLS, SEED)
        for child in children:
            child.end()
        proxy.calm_down()
        for folder in folders:
            drain(folder)
    finally:
        for victim in (parent, *children):
            victim.end()
        proxy.close()
    said = require_all(folders, data)
    kills = [parent.kills, sum(child.kills for child in children)]
    print(f"ours: {len(said.lost)} lost, {len(said.twice)} twice of {said.total}; killed: parent "
          f"{kills[0]}, children {kills[1]}; answers lost {proxy.lost_answers:.0%}; "
          f"{ {deed.value: n for deed, n in proxy.deeds.items()} }")  # fmt: skip

    assert said.total > 100
    assert (said.lost, said.twice) == (set(), set())
    assert min(kills) > 0
    if IS_CHAOS_FULL:
        assert sum(kills) >= 30 and proxy.lost_answers >= 0.15
    with closing(sqlite3.connect(data / "parent.db")) as db:
        assert db.execute("SELECT DISTINCT state FROM child").fetchall() == [("accepted",)]
        assert not db.execute("SELECT * FROM event WHERE type = 'child.items-gone'").fetchall()


@pytest.mark.skipif(not IS_CHAOS_FULL, reason="a peer, measured in a full run only")
@pytest.mark.skipif(PROMETHEUS is None, reason="apt-get install prometheus")
def test_prometheus_is_measured_in_the_same_trouble(tmp_path: Path) -> None:
    """An agent, a receiver, the same proxy, `kill -9` on both: what was scraped and is not there.

    Nothing is asserted about a peer but that something was measured.
    """
    numbers, port, own_port = Numbers(), free_port(), free_port()
    proxy = HostileProxy(port, SEED)
    receiver = Victim(lambda _: start_receiver(tmp_path, port), lambda: proxy.answered)
    agent = Victim(
        lambda _: start_agent(tmp_path, numbers.port, proxy.port, own_port), lambda: numbers.given
    )
    try:
        rampage([receiver, agent], SECONDS, PROMETHEUS_KILLS, SEED)
        proxy.calm_down()
        given = wait_for_scrapes(numbers)
        kept = stored(port, given)
    finally:
        agent.end()
        receiver.end()
        proxy.close()
        numbers.close()
    print(f"Prometheus: {given - len(kept)} lost of {given}; killed: receiver {receiver.kills}, "
          f"agent {agent.kills}; answers lost {proxy.lost_answers:.0%}")  # fmt: skip

    assert given > 20


def wait_for_scrapes(numbers: Numbers) -> int:
    """Return how many numbers were scraped, once the last start of the agent goes on with them."""
    before = numbers.given
    assert wait_until(lambda: numbers.given > before, timeout_s=30)
    return numbers.given


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def drain(folder: Path) -> None:
    """Let a child send what it owes."""
    subprocess.run([sys.executable, DRIVER, folder, "drain"], check=True, timeout=60)
