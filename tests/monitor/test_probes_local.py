"""The probes of the machine itself (process, disk, sql, heartbeat, command, python)."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chittyops_core.errors import ConditionError, MonitorError
from chittyops_core.model.monitoring import Measurement, Monitor
from chittyops_core.monitor.conditions import parse
from chittyops_core.monitor.probes import blocking, conditions_of, kinds, probe_for, require
from chittyops_core.monitor.probes.base import Deadline, Probe, Values
from chittyops_core.monitor.probes.disk import MAX_FULL_IN_S, seconds_until_zero
from chittyops_core.monitor.probes.heartbeat import (
    Heartbeat,
    HeartbeatProbe,
    HeartbeatState,
    Ping,
)
from chittyops_core.monitor.probes.process import ProcessProbe
from chittyops_core.monitor.probes.registry import OWN
from postgresql import PostgreSQL

PROJECT = Path(__file__).parents[2] / "packages/chittyops-core/pyproject.toml"


def monitor(kind: str, target: str, *, timeout_s: float = 20, **options: Any) -> Monitor:
    return Monitor("m", kind, target, timeout_s=timeout_s, options=options)


def look(kind: str, target: str, **more: Any) -> Measurement:
    return probe_for(monitor(kind, target, **more)).look()


class HandClock:
    """A clock that goes when it is told."""

    def __init__(self) -> None:
        self.at = 1_800_000_000.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.at, UTC)

    def monotonic(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


# --- the registry ---


def test_every_entry_point_names_a_probe_of_that_kind() -> None:
    """What pyproject.toml promises can be loaded, and is described."""
    declared = tomllib.loads(PROJECT.read_text())["project"]["entry-points"]["chittyops.probes"]

    for place in declared.values():
        module, _, name = place.partition(":")
        probe = getattr(import_module(module), name)

        assert issubclass(probe, Probe)
        assert probe.__doc__
        for option in probe.options:
            assert f"`{option}`" in probe.__doc__
        for text in probe.default_conditions:
            assert parse(text).name in probe.values
    assert set(declared) == set(OWN) <= set(kinds())


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (monitor("htp", "http://x"), "did you mean 'http'?"),
        (monitor("http", "http://x", methd="GET"), "no option 'methd'; did you mean 'method'?"),
        (monitor("http", "http://x", zzz=1), "there is ca_file, connect, headers, host, method"),
        (monitor("tcp", "x:1", zzz=1), "there is none"),
        (monitor("http", "http://x", method="DELETE"), "method should be one of GET"),
        (monitor("http", "http://x", headers={"a b": "c"}), "'a b' is none"),
        (monitor("http", "http://x", headers={"a": "b\r\nc: d"}), "on one line"),
        (monitor("http", "http://x", headers={"Host": "b"}), "without Host"),
        (monitor("http", "http://x", headers=["a"]), "a mapping"),
        (monitor("http", "http://x", ca_file="ca.pem"), "an absolute path"),
        (monitor("http", "http://x", connect="x"), "host:port"),
        (monitor("http", "http://x", connect=5), "a printable text"),
        (monitor("tls", "x", host=5), "a printable text"),
        (monitor("http", "http://x:0"), "from 1 to 65535"),
        (monitor("command", "x", environment={"A=B": "x"}), "'A=B' cannot be one"),
        (monitor("command", "x", environment={"A": "\0"}), "'A' cannot be one"),
        (monitor("heartbeat", "j", grace="9" * 400), "a number below"),
        (monitor("dns", "a..b"), "no host name"),
        (monitor("dns", "a", server="ns.example"), "an IP address"),
        (monitor("http", "ftp://x"), "it should be http://..."),
        (monitor("http", "http://"), "it should be http://..."),
        (monitor("http", "http://a:b@x"), "put them into the option headers"),
        (monitor("http", "http://x:99999"), "does not fit"),
        (monitor("http", "http://a b/"), "no host name"),
        (monitor("http", "http://[::1/"), "does not fit"),
        (monitor("http", "unix:rel.sock"), "an absolute path"),
        (monitor("http", f"unix:/{'x' * 200}"), "at most 107 bytes"),
        (monitor("http", "http://x", timeout_s=0), "should be above 0"),
        (monitor("tcp", "x"), "host:port"),
        (monitor("tcp", "x:0"), "host:port"),
        (monitor("tcp", "::1:80"), "in brackets"),
        (monitor("tls", "unix:/a.sock"), "give the option host"),
        (monitor("process", "pid:x"), "pid:N"),
        (monitor("process", "a.pid"), "an absolute path"),
        (monitor("process", "pid:1", children="yes"), "true or false"),
        (monitor("disk", "data"), "an absolute path"),
        (monitor("sql", "mysql://u:secret@h/d"), "postgresql://"),
        (monitor("sql", "sqlite:/x", statement=" "), "one SQL statement"),
        (monitor("heartbeat", "j", period="soon"), "period"),
        (monitor("command", " "), "a command line"),
        (monitor("command", "echo 'x"), "does not fit"),
        (monitor("python", "os.getpid"), "package.module:function"),
        (monitor("python", "os:getpid", arguments={"a": object()}), "JSON"),
    ],
)
def test_a_wrong_monitor_is_refused_when_it_is_configured(wrong: Monitor, why: str) -> None:
    """Before the first look, by its name, with what would be right."""
    with pytest.raises(MonitorError) as caught:
        require(wrong)

    assert why in caught.value.message
    assert "secret" not in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("status << 300", "a value such as"),
        ("statsu < 300", "measures no 'statsu'; did you mean 'status'?"),
        ("response_time < 500", "write its unit"),
        ("response_time < 5M", "write its unit"),
        ("status < 300ms", "is in number, which 'ms' is not"),
        ("body_is_cut == 1", "is true or false"),
        ("body == 1", "is a text"),
        ('status == "200"', "is a number"),
    ],
)
def test_a_condition_that_does_not_fit_its_probe_is_refused(text: str, why: str) -> None:
    """A duration without a unit would mean seconds, which nobody meant."""
    wrong = Monitor("m", "http", "http://x", conditions=(text,))

    with pytest.raises(MonitorError) as caught:
        conditions_of(wrong)

    assert why in caught.value.message
    assert "'m'" in caught.value.message
    assert isinstance(caught.value, ConditionError) == (why == "a value such as")


def test_a_package_of_somebody_else_brings_a_probe(tmp_path: Path) -> None:
    """By the entry point group; it cannot take the place of one of ours."""
    metadata = tmp_path / "other-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(
        "[chittyops.probes]\nsmoke = other:Smoke\nhttp = other:Smoke\nbroken = other_missing:X\n"
    )
    (tmp_path / "other.py").write_text(
        "from chittyops_core.monitor.probes import Probe\n"
        "class Smoke(Probe):\n"
        "    kind = 'smoke'\n"
        "    def _prepare(self, target): pass\n"
        "    def _look(self, values, deadline): values['smoke'] = 3\n"
    )
    code = (
        "from chittyops_core.monitor.probes import probe_for, kinds, require\n"
        "from chittyops_core.model.monitoring import Monitor\n"
        "from chittyops_core.errors import MonitorError\n"
        "print(probe_for(Monitor('m', 'smoke', 'x')).look().values, 'broken' in kinds())\n"
        "print(type(probe_for(Monitor('m', 'http', 'http://x'))).__name__)\n"
        "try:\n    require(Monitor('m', 'broken', 'x'))\n"
        "except MonitorError as error:\n    print(error)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )  # fmt: skip

    lines = done.stdout.splitlines()
    assert lines[:2] == ["{'smoke': 3} True", "HttpProbe"]
    assert "the probe 'broken' cannot be loaded: No module named 'other_missing'" in lines[2]


def test_a_probe_with_a_bug_ends_nothing() -> None:
    """Its look says so, on one line."""

    class Broken(Probe):
        kind = "broken"

        def _prepare(self, target: str) -> None: ...

        def _look(self, values: Values, deadline: Deadline) -> None:
            values["seen"] = 1
            raise RuntimeError("a\nb\x00c")

    seen = Broken(monitor("broken", "x")).look()

    assert seen.error == "the probe broken itself failed: RuntimeError: a b?c"
    assert seen.values == {"seen": 1}


def test_a_call_that_hangs_is_made_once() -> None:
    """However many wait for it; the next one after its end is a new one."""
    gate, calls = threading.Event(), []

    def hang() -> int:
        calls.append(1)
        gate.wait()
        return len(calls)

    for _ in range(3):
        with pytest.raises(TimeoutError, match="still waiting"):
            blocking.call("k", hang, Deadline(0.02), waiting="still waiting")

    assert len(calls) == 1
    gate.set()
    deadline = time.monotonic() + 10
    while blocking.call("k", hang, Deadline(10), waiting="") != 2:
        assert time.monotonic() < deadline
    with pytest.raises(TimeoutError, match="its own"):
        blocking.call("e", _raise_timeout, Deadline(10), waiting="")


def _raise_timeout() -> None:
    raise TimeoutError("its own")


# --- process ---


@pytest.fixture
def start() -> Any:
    """Start a Python process that prints when it is ready; end it afterwards."""
    started: list[subprocess.Popen[str]] = []

    def begin(code: str = "") -> subprocess.Popen[str]:
        text = f"import time\n{code}\nprint('ready', flush=True)\ntime.sleep(60)"
        child = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
        started.append(child)
        assert child.stdout is not None
        child.stdout.readline()
        return child

    yield begin
    for child in started:
        child.kill()
        child.communicate()


def test_known_processes_are_summed_up(start: Callable[..., subprocess.Popen[str]]) -> None:
    """RSS, threads, open files; CPU from the second look on."""
    pids = [start().pid, start().pid]
    probe = probe_for(monitor("process", f"pid:{pids[0]},{pids[1]}"))

    first = probe.look()
    second = probe.look()

    assert first.error == ""
    assert first.values["processes"] == 2
    assert "cpu_percent" not in first.values
    assert second.values["cpu_percent"] >= 0
    rss = sum(psutil.Process(pid).memory_info().rss for pid in pids)
    assert first.values["rss"] == pytest.approx(rss, rel=0.2)
    assert first.values["open_files"] == sum(psutil.Process(pid).num_fds() for pid in pids)


def test_a_busy_process_uses_cpu(start: Callable[..., subprocess.Popen[str]]) -> None:
    """One that was born between two looks counts from its birth."""
    probe = probe_for(monitor("process", "pid:"))
    assert isinstance(probe, ProcessProbe)
    assert probe.look().error == "no process runs"

    probe.watch([start("while time.process_time() < 0.3: pass").pid])
    seen = probe.look()

    assert seen.values["cpu_percent"] > 0
    assert seen.values["restarts"] == 0


def test_a_restart_is_counted_by_the_pid_file(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """A process that took the place of one that is gone."""
    file = tmp_path / "app.pid"
    probe = probe_for(monitor("process", str(file)))
    missing = probe.look()
    first = start()
    file.write_text(f"{first.pid}\nmore")
    running = probe.look()
    first.kill()
    first.wait()
    gone = probe.look()
    file.write_text(str(start().pid))
    again = probe.look()
    file.write_text("nonsense")
    nonsense = probe.look()

    assert "cannot be read" in missing.error
    assert (running.error, running.values["restarts"]) == ("", 0)
    assert (gone.error, gone.values["processes"]) == ("no process runs", 0)
    assert (again.error, again.values["restarts"]) == ("", 1)
    assert "holds 'nonsense', which is no pid" in nonsense.error


def test_a_zombie_does_not_run(start: Callable[..., subprocess.Popen[str]]) -> None:
    """It is dead, and only nobody has asked how it died."""
    child = start()
    probe = probe_for(monitor("process", f"pid:{child.pid}"))
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert probe.look().error == "no process runs"


def test_children_are_added_when_asked(start: Callable[..., subprocess.Popen[str]]) -> None:
    """A pre-fork server's work is in its children."""
    code = "import subprocess; c = subprocess.Popen(['sleep', '60'])"
    parent = start(code)
    try:
        alone = look("process", f"pid:{parent.pid}")
        all_of_it = look("process", f"pid:{parent.pid}", children=True)
    finally:
        for child in psutil.Process(parent.pid).children():
            child.kill()

    assert (alone.values["processes"], all_of_it.values["processes"]) == (1, 2)


# --- disk ---


def test_a_disk_is_measured_as_df_does(tmp_path: Path) -> None:
    """And what cannot be looked at is told."""
    seen = look("disk", str(tmp_path))

    assert seen.error == ""
    assert 0 <= seen.values["free_percent"] <= 100
    usage = psutil.disk_usage(str(tmp_path))
    assert seen.values["used_percent"] == pytest.approx(usage.percent, abs=2)
    assert seen.values["full_in"] == MAX_FULL_IN_S
    assert "No such file" in look("disk", "/no/such/place").error


@given(st.floats(1, 1e6), st.floats(1e3, 1e12), st.integers(2, 50), st.floats(1, 1e4))
def test_a_straight_line_is_followed_to_its_end(
    per_second: float, left: float, count: int, step: float
) -> None:
    """Samples on a line give the very time at which it meets zero."""
    samples = [(n * step, left + (count - 1 - n) * step * per_second) for n in range(count)]

    assert seconds_until_zero(samples) == pytest.approx(left / per_second, rel=1e-3)


def test_a_disk_that_does_not_fill_is_never_full() -> None:
    """Also one of which there is one sample."""
    assert seconds_until_zero([(0, 5)]) is None
    assert seconds_until_zero([(0, 5), (1, 5), (2, 6)]) is None
    assert seconds_until_zero([(0, 5), (1, 0), (2, 0), (3, 0)]) == 0


def test_a_disk_that_fills_says_when_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what it saw, once that is an hour."""
    clock = HandClock()
    probe = probe_for(monitor("disk", "/"), clock)
    real = os.statvfs("/")
    full_in = []
    for hour in range(4):
        free = 100_000 - hour * 10_000
        monkeypatch.setattr(
            os, "statvfs",
            lambda path, free=free: os.statvfs_result(
                (4096, 4096, 200_000, free, free, 0, 0, 0, real.f_flag, 255)
            ),
        )  # fmt: skip
        full_in.append(probe.look().values["full_in"])
        clock.sleep(3600)

    assert full_in[0] == MAX_FULL_IN_S
    assert full_in[3] == pytest.approx(7 * 3600)


# --- sql ---


@pytest.fixture
def database(tmp_path: Path) -> Path:
    file = tmp_path / "a b%.db"
    with sqlite3.connect(file) as opened:
        opened.executescript("CREATE TABLE t (n, s); INSERT INTO t VALUES (3, 'x'), (4, NULL);")
    opened.close()
    return file


def test_one_statement_is_asked(database: Path) -> None:
    """The first value and how many rows there were."""
    seen = look("sql", f"sqlite:{database}", statement="SELECT n FROM t ORDER BY n")
    none = look("sql", f"sqlite:{database}", statement="SELECT s FROM t WHERE s IS NULL")

    assert (seen.error, seen.values["value"], seen.values["rows"]) == ("", 3, 2)
    assert none.values["value"] is None
    assert "was not measured" in parse("value > 1").explain(none.values)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM t",
        "DROP TABLE t",
        "SELECT 1; DELETE FROM t",
        "ATTACH '/tmp/never-made.db' AS x",
        "PRAGMA query_only = 0",
        "CREATE TEMP TABLE u (x)",
        "VACUUM INTO '/tmp/never-made.db'",
        "SELECT load_extension('x')",
        "SELECT randomblob(100000000)",
        "SELECT \ud800",
        "nonsense",
    ],
)
def test_a_statement_can_only_read(database: Path, statement: str) -> None:
    """All else is refused, and the table is as it was."""
    before = database.read_bytes()

    seen = look("sql", f"sqlite:{database}", statement=statement)

    assert seen.error.startswith("the database said: ")
    assert database.read_bytes() == before
    assert not Path("/tmp/never-made.db").exists()


def test_a_statement_that_does_not_end_is_interrupted(database: Path) -> None:
    """By the time limit of the look."""
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c"

    seen = look("sql", f"sqlite:{database}", statement=endless, timeout_s=0.1)

    assert seen.error == "the statement did not end within 0.1s"


def test_a_locked_database_and_one_that_is_none_are_told(database: Path, tmp_path: Path) -> None:
    """A lock that lasts longer than the look, a missing file, a file of something else."""
    other = tmp_path / "other.db"
    other.write_bytes(b"no database" * 100)
    with sqlite3.connect(database, isolation_level=None) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        locked = look("sql", f"sqlite:{database}", statement="SELECT n FROM t", timeout_s=0.1)
        holder.execute("ROLLBACK")
    holder.close()

    assert locked.error == "the database was locked and did not answer within 0.1s"
    assert "unable to open" in look("sql", f"sqlite:{tmp_path}/no.db").error
    assert "not a database" in look("sql", f"sqlite:{other}", statement="SELECT n FROM t").error
    assert not (tmp_path / "no.db").exists()


@pytest.fixture
def postgresql(postgresql_server: PostgreSQL) -> str:
    """A server of one's own, and a password that it does not ask for."""
    return postgresql_server.url().replace("watch@", "watch:hush@")


def test_postgresql_is_asked_and_only_read(postgresql: str) -> None:
    """The first value; no second statement, no writing, no end without the time limit."""
    seen = look("sql", postgresql, statement="SELECT count(*), 'x' FROM pg_class")
    many = look("sql", postgresql, statement="SELECT n::text FROM generate_series(1, 100000) n")
    text = look("sql", postgresql, statement="SELECT 'a%sb'")

    assert (seen.error, seen.values["rows"]) == ("", 1)
    assert seen.values["value"] > 1
    assert (many.error, many.values["rows"], many.values["value"]) == ("", 1000, "1")
    assert text.values["value"] == "a%sb"
    for statement in ("CREATE TABLE t (n int)", "SELECT 1; SELECT 2", "COMMIT; DROP TABLE t", "x"):
        assert "the database said: " in look("sql", postgresql, statement=statement).error
    slow = look("sql", postgresql, statement="SELECT pg_sleep(60)", timeout_s=0.3)
    assert slow.error.endswith("within 0.3s")


def test_postgresql_that_does_not_answer_is_told(postgresql: str) -> None:
    """And no message holds the password."""
    nobody = look("sql", "postgresql://watch:hush@127.0.0.1:1/x")
    echoed = look("sql", postgresql, statement="SELECT 'hush'::int")
    with pytest.raises(MonitorError, match="libpq can read") as unread:
        require(monitor("sql", "postgresql://u:hush@[::1/x?password=hush"))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        late = look("sql", f"postgresql://watch:hush@127.0.0.1:{port}/x", timeout_s=0.2)

    assert nobody.error.startswith("the database said: ")
    assert late.error == "no answer from PostgreSQL within 0.2s"
    assert '"***"' in echoed.error
    assert "hush" not in nobody.error + late.error + unread.value.message


# --- heartbeat ---


def test_a_job_is_late_after_its_grace_and_well_after_its_next_ping() -> None:
    """healthchecks.io's states, in order."""
    clock = HandClock()
    probe = probe_for(monitor("heartbeat", "job", period="1h", grace="10m"), clock)
    assert isinstance(probe, HeartbeatProbe)

    def hear(word: str) -> None:
        probe.beat = probe.beat.after(Ping.parse(word, clock.at))

    def see() -> tuple[Any, str]:
        seen = probe.look()
        return seen.values["state"], seen.error

    assert see() == ("new", "")
    hear("start")
    clock.sleep(30)
    assert see() == ("started", "")
    hear("")
    assert see() == ("up", "")
    assert probe.look().values["run_time"] == 30
    clock.sleep(3601)
    assert see() == ("grace", "")
    clock.sleep(600)
    assert see() == ("down", "no ping for 1.167h, should come every 1h and at most 10m late")
    hear("3")
    assert see() == ("down", "it said that it failed, with status 3")
    hear("fail")
    hear("0")
    assert see() == ("up", "")
    hear("start")
    clock.sleep(601)
    assert see() == (
        "down", "it started 10.02m ago and has not ended, should take at most 10m"
    )  # fmt: skip


def test_a_clock_that_is_set_back_makes_nobody_late() -> None:
    """And a job that never pinged is not down."""
    beat = Heartbeat().after(Ping(1000)).after(Ping(1000, is_start=True))

    assert beat.judge(10, 60, 60) == (HeartbeatState.STARTED, "")
    assert Heartbeat().judge(1e12, 1, 1) == (HeartbeatState.NEW, "")


@given(st.text(max_size=5))
def test_a_ping_is_one_of_a_few_words(word: str) -> None:
    """All else is refused."""
    is_status = word.isascii() and word.isdigit() and len(word) < 4 and int(word) < 256
    if word in ("", "start", "fail") or is_status:
        Ping.parse(word, 0)
    else:
        with pytest.raises(ValueError, match="a ping is"):
            Ping.parse(word, 0)


# --- command ---


def test_a_command_answers_by_its_status_and_its_last_words() -> None:
    """Both streams, the end of them, whatever the bytes."""
    seen = look("command", "echo out; echo err >&2; printf '\\377'; exit 3", shell=True)
    much = look("command", "yes | head -c 3000000; echo last", shell=True)

    assert (seen.error, seen.values["exit_status"]) == ("", 3)
    assert seen.values["output"] == "out\nerr\n\ufffd"
    assert much.values["output"].endswith("y\nlast")
    assert len(much.values["output"]) <= 4096


def test_no_shell_sees_a_command_unless_asked() -> None:
    """Words are words."""
    assert look("command", "echo '$HOME;' x").values["output"] == "$HOME; x"


def test_a_command_gets_a_small_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the agent knows is not its business."""
    monkeypatch.setenv("AGENT_TOKEN", "hush")

    seen = look("command", "env", environment={"MORE": "1"}, folder="/tmp")

    assert "hush" not in seen.values["output"]
    assert "MORE=1" in seen.values["output"]


def test_a_command_that_cannot_run_is_told() -> None:
    """A missing program, a signal."""
    assert look("command", "/no/such/program").error == (
        "/no/such/program cannot be started: No such file or directory: /no/such/program"
    )
    assert look("command", "kill -9 $$", shell=True).values["exit_status"] == -9


def test_a_command_that_does_not_end_goes_with_all_that_it_started(tmp_path: Path) -> None:
    """The whole group, also a grandchild that took the output with it."""
    file = tmp_path / "pids"
    late = f"sleep 60 & echo $! >> {file}; echo stuck; sleep 60"
    left = f"sleep 60 & echo $! >> {file}; echo done"

    stuck = look("command", late, shell=True, timeout_s=0.5)
    done = look("command", left, shell=True)

    assert stuck.error == "/bin/sh did not end (it last said: stuck) within 0.5s"
    assert (done.error, done.values["output"]) == ("", "done")
    pids = [int(line) for line in file.read_text().split()]
    assert len(pids) == 2
    deadline = time.monotonic() + 10
    while any(_runs(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_closing_a_probe_ends_its_command() -> None:
    """So that the agent can end at once; then it starts nothing more."""
    probe = probe_for(monitor("command", "sleep 60", timeout_s=60))
    seen: list[Measurement] = []
    thread = threading.Thread(target=lambda: seen.append(probe.look()))
    thread.start()
    children = psutil.Process().children
    deadline = time.monotonic() + 10
    while not any(child.name() == "sleep" for child in children()):
        assert time.monotonic() < deadline
    probe.close()
    probe.close()
    thread.join(timeout=30)

    assert seen[0].values["exit_status"] == -signal.SIGKILL
    assert probe.look().error == "the probe is closed"


# --- python ---


def test_a_function_answers_in_a_process_of_its_own(tmp_path: Path) -> None:
    """Its values, its printing, its failures."""
    (tmp_path / "checks.py").write_text(
        "import os, time\n"
        "def good(n=1):\n    print('{\"result\": 9}'); return {'queue': n, 'ok': True}\n"
        "def one():\n    return 5\n"
        "def bad():\n    raise KeyError('no')\n"
        "def false():\n    return False\n"
        "def odd():\n    return {'a': [1]}\n"
        "def unknown():\n    return object()\n"
        "def dies():\n    print('bye', flush=True); os._exit(4)\n"
        "def hangs():\n    time.sleep(60)\n"
        "def large():\n    return 'x' * 100000\n"
        "class A:\n    @staticmethod\n    def b():\n        return 'deep'\n"
    )

    def call(name: str, **more: Any) -> Measurement:
        return look("python", f"checks:{name}", path=str(tmp_path), **more)

    good = call("good", arguments={"n": 7})
    assert good.error == ""
    assert (good.values["queue"], good.values["ok"]) == (7, True)
    assert call("one").values["value"] == 5
    assert call("A.b").values["value"] == "deep"
    assert call("bad").error == "it raised KeyError: 'no'"
    assert call("missing").error.startswith("it raised AttributeError")
    assert call("good", arguments={"x": 1}).error.startswith("it raised TypeError")
    assert call("false").error == "it returned False"
    assert call("odd").error == "it returned a as a list, not a number, text or flag"
    assert call("unknown").error.startswith("it raised TypeError")
    assert call("dies").error == "the process ended with status 4 and no result: bye"
    assert call("large").error == "the result is larger than 65536 bytes"
    assert "did not end within 0.5s" in call("hangs", timeout_s=0.5).error
    assert look("python", "no_such_module_x:f").error.startswith("it raised ModuleNotFoundError")
