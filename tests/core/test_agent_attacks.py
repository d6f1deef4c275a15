"""Attacks on the agent: by an app over its socket, by a release's files, by a visitor of the page,
by whoever kills it, by a full disk. Each test is named after its attack."""

from __future__ import annotations

import json
import os
import random
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from attrs import evolve

from chittyops_core._kit import logs
from chittyops_core._kit.clock import SystemClock
from chittyops_core._kit.retry import wait_until
from chittyops_core._kit.unix_http import UnixHTTPConnection
from chittyops_core.deploy.targets.base import Address
from chittyops_core.deploy.targets.local import Layout
from chittyops_core.errors import ManifestError, ObjectiveError, UsageError
from chittyops_core.host.app_link import AppLink
from chittyops_core.host.promises import read_promises
from chittyops_core.host.reach import out_of_reach, require_reach
from chittyops_core.host.watched import monitors_of_service, objectives_of
from chittyops_core.model.manifest import Health, Hooks, MonitorSection
from chittyops_core.model.monitoring import AlertState, Message, Monitor, Severity
from chittyops_core.model.release import EdgePolicy, Lifecycle, Release, ReleaseConfig
from chittyops_core.model.service import Service
from chittyops_core.monitor.alerts import Alert
from chittyops_core.monitor.app_metrics import AppMetrics
from chittyops_core.monitor.buffer import BufferedStore
from chittyops_core.monitor.objective_files import parse
from chittyops_core.monitor.remote import RemoteSender
from chittyops_core.monitor.watch import Watch
from conftest import IS_CHAOS_FULL, FakeClock, HostUnderTest, write_app
from webhook import Webhook

HELLO = Service("hello")
KILLS = 200 if IS_CHAOS_FULL else 20

# --- manifests: what a service that is kept apart may have watched --------------------------------


def kept_apart(**section: Any) -> ReleaseConfig:
    monitor = MonitorSection(**{"target": "/", **section})
    return ReleaseConfig(
        {}, {}, Health(), Lifecycle(), Hooks(), EdgePolicy(), own_user=True, monitors={"x": monitor}
    )


ESCALATIONS: list[dict[str, Any]] = [
    {"probe": "command", "target": "id"},
    {"probe": "python", "target": "os:getuid"},
    {"probe": "sql", "target": "sqlite:/home/journal.db"},
    {"probe": "sql", "target": "postgresql:///postgres"},
    {"probe": "disk", "target": "/root"},
    {"probe": "process", "target": "/run/sshd.pid"},
    {"probe": "process", "target": "pid:1"},
    {"probe": "of-somebody-else"},
    {"target": "unix:/run/supervisor.sock:/RPC2"},
    {"target": "UNIX:/run/supervisor.sock:/RPC2"},
    {"target": "/", "options": {"connect": "unix:/run/edge.sock"}},
    {"target": "https://example.org/", "options": {"ca_file": "/etc/shadow"}},
    {"probe": "tcp", "target": "unix:/run/docker.sock"},
    {"probe": "tls", "target": "unix:/run/docker.sock", "options": {"host": "x"}},
    {"probe": "tls", "target": "example.org", "options": {"crl_file": "/etc/shadow"}},
]


@pytest.mark.parametrize("section", ESCALATIONS, ids=str)
def test_probe_as_root_attack(section: dict[str, Any]) -> None:
    """The agent is root where a client is not: its manifest may not look with its rights."""
    config = kept_apart(**section)

    assert list(out_of_reach(config)) == ["x"]
    with pytest.raises(ManifestError, match=r"\[monitor\.x\]"):
        require_reach(config)
    require_reach(evolve(config, own_user=False))


@pytest.mark.parametrize(
    "section",
    [
        {"target": "/checkout"},
        {"target": "https://example.org/", "options": {"headers": {"A": "b"}, "method": "HEAD"}},
        {"probe": "tcp", "target": "db.example.org:5432"},
        {"probe": "tls", "target": "example.org"},
        {"probe": "dns", "target": "example.org", "options": {"server": "9.9.9.9"}},
        {"probe": "heartbeat", "target": "backup", "options": {"period": "1d"}},
    ],
    ids=str,
)
def test_what_looks_over_the_network_is_allowed(section: dict[str, Any]) -> None:
    require_reach(kept_apart(**section))


def test_probe_as_root_of_an_older_release_attack() -> None:
    """What was deployed before such monitors were refused is not watched by them."""
    address = Address("http://hello.localhost", "127.0.0.1:1", "hello.localhost", False, None, "")
    config = kept_apart(probe="command", target="id")

    apart, shared = (
        [each.name for each in monitors_of_service(Release(HELLO, "0" * 64, each), address)]
        for each in (config, evolve(config, own_user=False))
    )

    assert apart == ["hello.production/web", "hello.production/processes"]
    assert shared == [*apart, "hello.production/x"]


# --- releases: files of objectives --------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        'version: "\\UFFFFFFFF"', 'version: !!int ""', "version: !!bool foo",
        "version: !!timestamp foo", "version: !!binary é", "&a\nversion: *a", "[" * 50_000,
        "? [a]\n: b", "version: " + "9" * 100_000, "a\0b",
    ],
)  # fmt: skip
def test_hostile_yaml_attack(text: str) -> None:
    """PyYAML raises half a dozen kinds of errors; any but ours would end the agent."""
    with pytest.raises(ObjectiveError):
        parse(text, file="slo.yaml")


def test_objectives_out_of_the_artifact_attack(tmp_path: Path) -> None:
    """A link to a pipe would hold the agent up for ever, one to /dev/zero would eat the memory."""
    app, outside = tmp_path / "app", tmp_path / "state"
    (app / "slo").mkdir(parents=True)
    outside.mkdir()
    os.mkfifo(outside / "pipe")
    os.mkfifo(app / "slo/pipe.yaml")
    for name, target in (("a", outside / "pipe"), ("b", "/dev/zero"), ("c", "c.yaml"), ("d", "no")):
        (app / f"slo/{name}.yaml").symlink_to(target)
    (app / "slo/folder.yaml").mkdir()
    (app / "slo/huge.yaml").write_text("x: 1\n" * 100_000)

    assert read_promises(HELLO, app) == []
    for path in sorted((app / "slo").iterdir()):
        with pytest.raises(ObjectiveError):
            objectives_of(app)
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()

    (app / "elsewhere.yaml").write_text(GOOD_SLO)
    (app / "slo/z.yaml").symlink_to("../elsewhere.yaml")
    assert [p.objective.name for p in read_promises(HELLO, app)] == ["web"]


def test_objectives_folder_that_leads_elsewhere_attack(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a.yaml").write_text(GOOD_SLO)
    (tmp_path / "app/slo").symlink_to("../other")

    assert read_promises(HELLO, tmp_path / "app") == []


GOOD_SLO = """apiVersion: openslo/v1
kind: SLO
metadata: {name: web}
spec:
  service: hello
  budgetingMethod: Occurrences
  timeWindow: [{duration: 30d, isRolling: true}]
  objectives: [{target: 0.99}]
  indicator:
    metadata: {name: web}
    spec:
      ratioMetric:
        counter: true
        good: {metricSource: {type: chittyops, spec: {metric: good_total}}}
        total: {metricSource: {type: chittyops, spec: {metric: all_total}}}
"""


def test_thousands_of_objectives_attack(tmp_path: Path) -> None:
    """Each is judged in the thread that holds all alerts."""
    (tmp_path / "slo").mkdir()
    for number in range(15):
        documents = [
            GOOD_SLO.replace("{name: web}", f"{{name: w{number}-{each}}}") for each in range(20)
        ]
        (tmp_path / f"slo/{number:03}.yaml").write_text("---\n".join(documents))

    with pytest.raises(ObjectiveError, match="more than 100 objectives"):
        objectives_of(tmp_path)
    assert len(read_promises(HELLO, tmp_path)) == 100


def test_one_objective_in_two_files_attack(tmp_path: Path) -> None:
    """Two that share an alert would raise and end it in turns."""
    (tmp_path / "slo").mkdir()
    for name in ("a", "b"):
        (tmp_path / f"slo/{name}.yaml").write_text(GOOD_SLO)

    with pytest.raises(ObjectiveError, match="there twice"):
        objectives_of(tmp_path)


# --- apps: what they say over the socket ----------------------------------------------------------


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's, wherever pytest keeps its own."""
    with tempfile.TemporaryDirectory(prefix="ch-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def link(tmp_path: Path, short: Path) -> Iterator[AppLink]:
    """The agent's ears, with a heartbeat of the services `hello` and `other`."""
    clock = FakeClock()
    store = BufferedStore(tmp_path / "monitor.sqlite")
    watch = Watch(store, clock, lambda: None)
    watch.set_monitors(
        [Monitor(f"{slug}/job", "heartbeat", "job", slug)
         for slug in ("hello.production", "other.production")]
    )  # fmt: skip
    made = AppLink(Layout.create(short), store, watch)
    yield made
    made.close()
    store.close()


def hears(link: AppLink, *names: str) -> dict[str, socket.socket]:
    link.listen_to({Service(name): os.geteuid() for name in names})
    found = {}
    for name in names:
        found[name] = socket.socket(socket.AF_UNIX)
        found[name].connect(str(link._layout.app_socket(Service(name))))
    return found


def says(peer: socket.socket, said: object) -> dict[str, Any]:
    peer.sendall(json.dumps(said).encode() + b"\n")
    with peer.makefile("rb") as answers:
        return dict(json.loads(answers.readline()))


@pytest.mark.parametrize(
    "monitor",
    [
        "../other.production/job", "other.production/job", "../../other.production/job", "web", "",
        "/job", "job/", "job\0", "job/start", "x" * 100_000, None, 7, ["job"], {"a": 1}, "\ud800",
    ],
    ids=lambda monitor: repr(monitor)[:20],
)  # fmt: skip
def test_ping_for_another_service_attack(link: AppLink, monitor: object) -> None:
    """Names are looked up as they are, below the service whose socket it is."""
    peers = hears(link, "hello", "other")
    peer = peers["hello"]

    said = says(peer, {"v": 1, "type": "ping", "monitor": monitor, "word": "fail"})
    own = says(peer, {"v": 1, "type": "ping", "monitor": "job"})
    for each in peers.values():
        each.close()

    assert (said["ok"], own["ok"]) == (False, True)
    assert list(link._beats) == ["hello.production/job"]


@pytest.mark.parametrize("word", ["-1", "256", "9" * 5000, "start/fail", "²", None, [1], {}])
def test_ping_word_attack(link: AppLink, word: object) -> None:
    peer = hears(link, "hello")["hello"]

    assert says(peer, {"v": 1, "type": "ping", "monitor": "job", "word": word})["ok"] is False
    peer.close()


@pytest.mark.parametrize(
    "name",
    ["probe_success", "probe.success", "probe-success", "probe_success_total", "chittyops_x",
     "chittyops.observations", "chittyops_observations_total", "chittyops__observations"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["counter", "gauge"])
def test_fake_metric_attack(name: str, kind: str) -> None:
    """An app may not say that another's monitor looked and found all well."""
    labels = {"monitor": "other.production/web", "result": "good"}
    series = [{"labels": labels, "value": 5, "at": 1}]
    metric = {"name": name, "kind": kind, "series": series}
    metrics = AppMetrics()

    said = {"v": 1, "type": "metrics", "start": "abcdefgh", "metrics": [metric]}
    answer = metrics.handle_line("hello.production", json.dumps(said).encode())

    assert b"the host's own" in (answer or b"")
    assert metrics.collect() == []


def test_flood_of_pings_attack(link: AppLink) -> None:
    """Of both services at once, while the agent looks around: nothing is lost or raised."""
    peers = hears(link, "hello", "other")
    wrong: list[object] = []

    def flood(peer: socket.socket) -> None:
        for _ in range(300):
            said = says(peer, {"v": 1, "type": "ping", "monitor": "job"})
            if not said["ok"]:
                wrong.append(said)

    floods = [threading.Thread(target=flood, args=(peer,)) for peer in peers.values()]
    for each in floods:
        each.start()
    while any(each.is_alive() for each in floods):
        link.listen_to({Service(name): os.geteuid() for name in peers})
        link.keep()
    for peer in peers.values():
        peer.close()

    assert wrong == []
    assert sorted(link._beats) == ["hello.production/job", "other.production/job"]


def test_new_service_of_an_old_name_attack(link: AppLink) -> None:
    """What a removed service said is not said of one that gets its name."""
    peer = hears(link, "hello")["hello"]
    assert says(peer, {"v": 1, "type": "ping", "monitor": "job", "word": "fail"})["ok"]
    peer.close()

    link.listen_to({})
    link.listen_to({HELLO: os.geteuid()})

    assert link._beats == {}
    assert json.loads(link._store.store.state("heartbeats") or "") == {}  # type: ignore[union-attr]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a socket to another user")
def test_service_made_anew_with_another_user_attack(link: AppLink) -> None:
    """Removed and made anew between two looks: the old user is not heard, the new one is."""
    link.listen_to({HELLO: 61_184})
    link.listen_to({HELLO: os.geteuid()})

    path = link._layout.app_socket(HELLO)

    assert path.stat().st_uid == os.geteuid()
    with closing(socket.socket(socket.AF_UNIX)) as peer:
        peer.connect(str(path))
        assert says(peer, {"v": 1, "type": "ping", "monitor": "job"})["ok"] is True


# --- inside the agent -----------------------------------------------------------------------------


def test_two_that_record_at_once_attack(tmp_path: Path) -> None:
    """A removal ends alerts in one thread while another one records: no message is lost."""
    store = BufferedStore(tmp_path / "monitor.sqlite")
    wrong: list[Exception] = []

    def record(who: int) -> None:
        for number in range(150):
            name = f"{who}-{number}"
            told = Message(
                name, name, AlertState.FIRING, Severity.PAGE, 1_700_000_000.0, "title", "body"
            )
            try:
                store.record([], [Alert(name, AlertState.FIRING, since=1.0)], [told])
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=record, args=(who,)) for who in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    store.close()

    assert wrong == []
    with closing(sqlite3.connect(tmp_path / "monitor.sqlite")) as database:
        told = database.execute("SELECT count(DISTINCT id) FROM message").fetchone()
    assert told == (600,)


def test_slow_targets_of_one_service_attack(tmp_path: Path) -> None:
    """One manifest's monitors that all hang take no look from another service, nor the host."""
    store = BufferedStore(tmp_path / "monitor.sqlite")
    watch = Watch(store, SystemClock(), lambda: None)
    with closing(socket.create_server(("127.0.0.1", 0), backlog=200)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/"
        watch.set_monitors(
            [Monitor(f"greedy/{n}", "http", url, "greedy", 1, 6) for n in range(60)]
            + [Monitor("other/disk", "disk", "/", "other", 1, 5),
               Monitor("host/disk", "disk", "/", None, 1, 5)]
            + [Monitor(f"many/{n}", "disk", "/", "many", 2, 5) for n in range(60)]
        )  # fmt: skip
        stop = threading.Event()
        running = threading.Thread(target=watch.run, args=(stop,))
        running.start()
        time.sleep(6)
        stop.set()
        running.join()
    store.close()

    assert watch.looks("other/disk")[0] >= 3
    assert watch.looks("host/disk")[0] >= 3
    assert all(watch.looks(f"many/{n}")[0] >= 2 for n in range(60))
    assert set(watch._looking.values()) == {0}


def test_token_that_http_cannot_carry_attack(capfd: pytest.CaptureFixture[str]) -> None:
    """A line end in a token, one too many of `echo`: http.client quotes it when it refuses."""
    logs.configure("DEBUG")
    for token in ("Bearer tok-7fe1\n", "Bearer tok-7fe1\u2603"):
        with RemoteSender("http://127.0.0.1:9/x", {"Authorization": token}) as sender:
            sender.push(b"x")
            assert wait_until(lambda s=sender: s.waiting == 0, timeout_s=5)
    said = capfd.readouterr()

    assert "remote.left_out" in said.out + said.err
    assert "7fe1" not in said.out + said.err


@pytest.mark.parametrize("url", ["http://u:p@h/", "http://:p@h/", "http://@h/", "http://u@h/"])
def test_credentials_in_an_url_attack(url: str) -> None:
    """It stands in a file and in `metrics push list`."""
    with pytest.raises(UsageError):
        RemoteSender(url, {})


# --- on a real host -------------------------------------------------------------------------------


def ask(host: HostUnderTest, name: str, path: str) -> tuple[int, bytes]:
    """Ask one of the agent's sockets; status 0 when nobody answers."""
    with closing(UnixHTTPConnection(str(host.home / "run" / name), timeout_s=5)) as agent:
        try:
            agent.request("GET", path)
            answer = agent.getresponse()
            return answer.status, answer.read()
        except OSError:
            return 0, b""


def stands(host: HostUnderTest) -> dict[str, Any]:
    """Return monitor -> how it stands."""
    status, body = ask(host, "agent.sock", "/v1/state")
    return {m["monitor"]: m for m in json.loads(body)["monitors"]} if status == 200 else {}


def is_well(host: HostUnderTest) -> bool:
    return bool(stands(host).get("hello.production/web", {}).get("state") == "ok")


def jobs(count: int) -> str:
    return "".join(
        f'[monitor.job-{number}]\nprobe = "heartbeat"\ntarget = "job"\ninterval = "1s"\n'
        for number in range(count)
    )


def ping(host: HostUnderTest, job: str, word: str) -> bool:
    """Ping as the app would; say whether the agent took it."""
    try:
        with closing(socket.socket(socket.AF_UNIX)) as peer:
            peer.settimeout(5)
            peer.connect(str(Layout(host.home).app_socket(HELLO)))
            return bool(says(peer, {"v": 1, "type": "ping", "monitor": job, "word": word})["ok"])
    except (OSError, ValueError):
        return False


def agents(host: HostUnderTest) -> list[psutil.Process]:
    return [p for p in host.processes() if "chittyops_core.host.agent" in p.cmdline()]


@pytest.mark.chaos
@pytest.mark.host
@pytest.mark.long
def test_kill_under_alerts_attack(watched: HostUnderTest, tmp_path: Path, webhook: Webhook) -> None:
    """The agent is killed -9 at random points while alerts fire: each is told, and told once."""
    chance = random.Random(7)
    watched.deploy(write_app(tmp_path / "hello", more=jobs(KILLS)))
    added = watched.run("notify", "add", "hook", stdin=webhook.url)
    assert added.returncode == 0, added.stderr
    assert wait_until(lambda: is_well(watched), timeout_s=30)

    for number in range(KILLS):
        # While it starts again nobody listens; a job whose ping was not taken tries again.
        assert wait_until(lambda n=number: ping(watched, f"job-{n}", "fail"), timeout_s=60), number
        time.sleep(chance.uniform(0, 2.5))
        for each in agents(watched):
            each.kill()

    expected = sorted(f"hello.production/job-{number}:1" for number in range(KILLS))
    wait_until(lambda: len(set(webhook.fired)) >= KILLS, timeout_s=90)
    time.sleep(3)
    assert sorted(webhook.fired) == expected
    assert wait_until(lambda: len(agents(watched)) == 1, timeout_s=20)


@pytest.mark.chaos
@pytest.mark.host
def test_app_socket_flood_attack(watched: HostUnderTest, tmp_path: Path) -> None:
    """Huge lines, fake metrics, thousands of pings: others are looked at in time."""
    watched.deploy(write_app(tmp_path / "hello", more=jobs(1)))
    watched.deploy(write_app(tmp_path / "other", "other"))
    assert wait_until(lambda: is_well(watched), timeout_s=30)
    agent = agents(watched)[0]
    path = str(Layout(watched.home).app_socket(HELLO))
    line = b'{"v":1,"type":"ping","monitor":"job-0","word":"fail"}\n'
    series = ",".join(f'{{"labels":{{"l":"{n}"}},"value":{n}}}' for n in range(9000))
    report = f'{{"name":"a%d","kind":"counter","series":[{series}]}}'
    big = b'{"v":1,"type":"metrics","start":"%08d","metrics":[' + report.encode() + b"]}\n"

    def flood(kind: int) -> None:
        count = 0
        while time.monotonic() < end:
            with closing(socket.socket(socket.AF_UNIX)) as peer:
                peer.settimeout(2)
                try:
                    peer.connect(path)
                    for _ in range(50):
                        count += 1
                        text = (line * 100, big % (count, count), b"[" * 2_000_000, b"x")[kind]
                        peer.sendall(text)
                        if kind == 0:
                            peer.recv(65_536)
                        if kind == 3:
                            break
                except OSError:
                    continue

    assert wait_until(
        lambda: stands(watched).get("other.production/web", {}).get("at"), timeout_s=20
    )
    before = stands(watched)["other.production/web"]["at"]
    end = time.monotonic() + 5
    floods = [threading.Thread(target=flood, args=(n % 4,)) for n in range(8)]
    for each in floods:
        each.start()
    time.sleep(11)
    began = time.monotonic()
    now = stands(watched)
    took = time.monotonic() - began
    for each in floods:
        each.join()

    assert agents(watched)[0] == agent
    assert took < 5
    assert now["other.production/web"]["at"] > before
    assert now["other.production/web"]["state"] == "ok"
    assert agent.memory_info().rss < 300 << 20
    assert agent.num_fds() < 200
    assert wait_until(lambda: ping(watched, "job-0", ""), timeout_s=10)


@pytest.mark.host
def test_token_in_the_open_attack(watched: HostUnderTest, tmp_path: Path, webhook: Webhook) -> None:
    """A channel's or receiver's token stands in no file, argument, environment, report or page."""
    watched.deploy(write_app(tmp_path / "hello", more=jobs(1)))
    token, password = "TOKEN-7fe1", "pass-0ce2"
    watched.run("secrets", "set", "receiver", stdin=f"Bearer {token}")
    for name, path in (("takes", "otlp"), ("refuses", "deaf")):
        url = f"http://127.0.0.1:{webhook.port}/{path}"
        push = ("metrics", "push", "add", name, url, "--format", "otlp", "--secret", "receiver")
        assert watched.run(*push).returncode == 0
    for name, path in (("good", "good"), ("bad", "deaf")):
        address = f"json://bot:{password}@127.0.0.1:{webhook.port}/{path}/{token}?+Auth={token}"
        assert watched.run("notify", "add", name, stdin=address).returncode == 0
    said = [watched.run("notify", "add", "no", stdin=f"nonsense://{token}:{password}@x/"),
            watched.run("notify", "test", "bad")]  # fmt: skip
    assert wait_until(lambda: is_well(watched), timeout_s=30)
    assert ping(watched, "job-0", "fail")
    seen: set[str] = set()

    def has_told() -> bool:
        for process in watched.processes():
            try:
                seen.update(process.cmdline())
                seen.update(process.environ().values())
            except psutil.Error:
                continue
        return len(webhook.fired) == 1

    assert wait_until(has_told, timeout_s=30)
    time.sleep(2)
    has_told()
    said += [
        watched.run(*words)
        for words in (("status", "--json"), ("status",), ("incidents", "--json"), ("incidents",),
                      ("notify", "list"), ("metrics", "push", "list", "--json"),
                      ("metrics", "show"), ("logs", "--app", "hello"))
    ]  # fmt: skip
    shown = [done.stdout + done.stderr for done in said]
    shown += [ask(watched, "page.sock", path)[1].decode() for path in ("/", "/history.atom")]
    for path in watched.home.rglob("*"):
        if path.is_file() and "runtime" not in path.relative_to(watched.home).parts:
            shown.append(path.read_bytes().decode(errors="replace"))

    assert (said[0].returncode, said[1].returncode) == (2, 1)
    assert any("deliver" in word for word in shown)
    for secret in (token, password, token.lower()):
        assert not [text[:300] for text in (*shown, *seen) if secret in text]


@pytest.mark.host
def test_page_from_another_machine_attack(watched: HostUnderTest, app: Path) -> None:
    """Listening everywhere, the page is for this machine alone, whatever the request says."""
    theirs = next(
        (a.address for found in psutil.net_if_addrs().values() for a in found
         if a.family == socket.AF_INET and not a.address.startswith("127.")), None,
    )  # fmt: skip
    if theirs is None:
        pytest.skip("this machine has no address but its own")
    bound = watched.run("host", "start", "--bind", "0.0.0.0", "--http-port", str(watched.http))
    assert bound.returncode == 0, bound.stderr
    watched.deploy(app)
    assert wait_until(lambda: is_well(watched), timeout_s=30)

    def answer(address: str, host: str, more: str = "", path: str = "/") -> str:
        with closing(socket.create_connection((address, watched.http), timeout=10)) as peer:
            peer.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n"
                         .encode())  # fmt: skip
            with peer.makefile("rb") as file:
                return file.read().decode()

    name = "status.localhost"
    assert "<title>" in answer("127.0.0.1", name)
    for host in (name, name.upper(), f"{name}:{watched.http}", f"{name}."):
        for more in ("", "X-Forwarded-For: 127.0.0.1\r\n", "Forwarded: for=127.0.0.1\r\n",
                     "X-Real-IP: 127.0.0.1\r\n"):  # fmt: skip
            for path in ("/", f"http://{name}/", "//", "/api/v2/summary.json"):
                said = answer(theirs, host, more, path)
                assert "<title>" not in said, (host, more)
                assert "components" not in said, (host, more)
    # DNS rebinding: a browser on this machine that was led here asks by another name.
    for host in ("evil.example", "status.localhost.evil.example", "127.0.0.1", "localhost"):
        assert "<title>" not in answer("127.0.0.1", host), host


@pytest.mark.host
def test_markup_and_paths_attack(watched: HostUnderTest, app: Path) -> None:
    """Nothing that somebody wrote becomes markup; no path leads out of the page."""
    watched.deploy(app)
    why = "<script>alert(1)</script>\"'><img src=x onerror=y> {name} %00 &lt;"
    started = watched.run("maintenance", "start", "hello.production", "--for", "1h", "--why", why)
    assert started.returncode == 0, started.stderr
    assert wait_until(lambda: b"alert(1)" in ask(watched, "page.sock", "/")[1], timeout_s=20)

    for path in ("/", "/history.atom", "/api/v2/summary.json", "/api/v2/incidents.json"):
        status, body = ask(watched, "page.sock", path)
        assert status == 200
        if not path.endswith("json"):
            assert b"<script" not in body
            assert b"<img" not in body
    for path in ("/../agent.sock", "/..%2f..%2fetc/passwd", "/%2e%2e/v1/state", "/v1/state", "//x",
                 "/metrics", "/incidents/../../x", "/badge/..%2f..%2fx/status.svg", "/ping/a/b",
                 "/api/v2/../../metrics.json", "/incidents/%00", "/badge/%ff/uptime/30d.svg",
                 "/badge/<script>/status.svg", "/" + "a" * 15_000):  # fmt: skip
        status, body = ask(watched, "page.sock", path)
        assert status in (400, 404), (path, status)
        assert b"<script>" not in body
    assert ask(watched, "page.sock", "/" + "a" * 20_000)[0] in (0, 414, 431)
    assert is_well(watched) or wait_until(lambda: is_well(watched), timeout_s=20)


@pytest.mark.host
def test_hostile_release_attack(watched: HostUnderTest, tmp_path: Path) -> None:
    """Objectives that cannot be read cost their own service its objectives, and nobody else."""
    folder = write_app(tmp_path / "hello")
    (folder / "slo").mkdir()
    (folder / "slo/good.yaml").write_text(GOOD_SLO)
    hostile = ('version: "\\UFFFFFFFF"', "version: !!bool x", "[" * 99_999)
    for text in hostile:
        (folder / "slo/0.yaml").write_text(text)
        assert "0.yaml" in watched.refuse(folder)
    (folder / "slo/0.yaml").unlink()
    watched.deploy(folder)
    (kept,) = watched.home.glob("artifacts/*/app/slo")
    for number, text in enumerate(hostile):  # As an older caller would have let through.
        (kept / f"{number}.yaml").write_text(text)
    watched.deploy(write_app(tmp_path / "other", "other"))

    for _ in range(2):
        assert wait_until(lambda: "other.production/web" in stands(watched), timeout_s=30)
        assert wait_until(lambda: is_well(watched), timeout_s=30)
        objectives = json.loads(ask(watched, "agent.sock", "/v1/state")[1])["objectives"]
        assert [each["objective"] for each in objectives] == ["web"]
        for each in agents(watched):
            each.kill()
        time.sleep(0.5)


@pytest.mark.chaos
@pytest.mark.host
@pytest.mark.long
def test_full_disk_attack(shared_runtimes: Path, tmp_path: Path, webhook: Webhook) -> None:
    """The agent goes on watching, says that its disk is full, and tells all when there is room."""
    base = Path(tempfile.mkdtemp(prefix="cd-", dir="/tmp"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40M", "chittyops-test", str(base)],
        capture_output=True, check=False,
    )  # fmt: skip
    if mounted.returncode != 0:
        base.rmdir()
        pytest.skip("a disk of its own can only be mounted by root")
    (base / "h").mkdir(mode=0o700)
    (base / "h/runtime").symlink_to(shared_runtimes)
    host = HostUnderTest(base / "h")
    host.environment["CHITTYOPS_AGENT"] = "on"
    try:
        report = host.deploy(write_app(tmp_path / "hello", more=jobs(3)))
        host.run("notify", "add", "hook", stdin=webhook.url)
        assert wait_until(lambda: is_well(host), timeout_s=90)
        with (base / "filler").open("ab", buffering=0) as file:
            for size in (1 << 20, 4096, 512, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    continue
        agent = agents(host)[0]

        for number in range(2):
            ping(host, f"job-{number}", "fail")
        firing = ["hello.production/job-0", "hello.production/job-1"]
        assert wait_until(
            lambda: all(stands(host)[name]["state"] == "firing" for name in firing), timeout_s=90
        )
        trouble = json.loads(ask(host, "agent.sock", "/v1/state")[1])["trouble"]
        assert "full" in trouble
        assert ask(host, "page.sock", "/")[0] == 200
        assert host.get(report) == "one"
        (base / "filler").unlink()

        assert wait_until(lambda: len(webhook.fired) >= 2, timeout_s=90)
        assert agents(host)[0] == agent
        assert json.loads(ask(host, "agent.sock", "/v1/state")[1])["trouble"] == ""
        time.sleep(2)
        assert sorted(webhook.fired) == [f"{name}:1" for name in firing]
    finally:
        host.destroy()
        subprocess.run(["umount", "-l", str(base)], check=True)
        base.rmdir()
