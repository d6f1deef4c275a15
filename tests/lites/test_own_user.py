"""Each client's processes run as an OS user of their own, who reaches nothing of another's.

What is refused to one is granted to the owner in the same test: otherwise it proves nothing.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from attrs import evolve, frozen

from chittyops_core import Plan, Service, Severity, Staged
from chittyops_core._kit import files
from chittyops_core._kit.retry import wait_until
from chittyops_core.deploy.journal import Journal
from chittyops_core.deploy.targets.base import Address
from chittyops_core.deploy.targets.local import users
from chittyops_core.errors import HostError
from chittyops_core.model.health import InstanceState, Verdict
from chittyops_lite_digital_dossier import DigitalDossierOpsLite, isolation
from conftest import IS_ROOT, PUBLIC_PYTHON, FakeClock, HostUnderTest, make_host, write_app

pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(not IS_ROOT, reason="only root can give services users of their own"),
]


def dossier(folder: Path, *, command: str = "", **more: str) -> Path:
    """Write an app for the clients acme and birch."""
    command = command or f"exec {PUBLIC_PYTHON} -S serve.py # $SOCKET"
    secret = 'TOKEN = { secret = "token", generate = "hex64", file = true }\n'
    write_app(folder, command=command, env=secret, **more)
    manifest = folder / "chittyops.toml"
    manifest.write_text(manifest.read_text().replace("chitty-apps", "digital-dossier"))
    (folder / "clients").mkdir(exist_ok=True)
    for client in ("acme", "birch"):
        (folder / "clients" / f"{client}.toml").touch()
    return folder


@frozen
class Client:
    """One deployed client, and what an attacker could know of it."""

    host: HostUnderTest
    name: str
    release: str
    pid: int
    user: int

    @property
    def service(self) -> Path:
        return self.host.home / f"services/hello.production.{self.name}"

    @property
    def run(self) -> Path:
        folders = [p.parent for p in self.host.home.glob(f"run/*/{self.release[:8]}-web-0.launch")]
        assert len(folders) == 1
        return folders[0]

    @property
    def places(self) -> dict[str, object]:
        return {
            "home": str(self.host.home), "state": str(self.service / "state"), "pid": self.pid,
            "service": str(self.service), "run": str(self.run), "id": self.release[:8],
        }  # fmt: skip

    def does(self, code: str, whose: Client) -> str:
        """Run *code* as this client's user; return `could`, or the error's name."""
        done = subprocess.run(
            attempt(code, whose), user=self.user, group=self.user, extra_groups=(), cwd="/",
            capture_output=True, text=True,
        )  # fmt: skip
        return outcome(done)


def attempt(code: str, whose: Client) -> list[str]:
    lines = "\n".join(f"    {line}" for line in code.splitlines())
    program = (
        "import os, socket, sys, pathlib, json\n"
        f"globals().update(json.loads({json.dumps(whose.places)!r}))\n"
        f"try:\n{lines}\n    print('could')\n"
        "except OSError as error:\n    print(type(error).__name__)\n"
    )
    return [PUBLIC_PYTHON, "-c", program]


def outcome(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def deployed(host: HostUnderTest, folder: Path, name: str) -> Client:
    report = host.deploy(folder, "--client", name)
    pid = int(host.get(report, "/pid"))
    return Client(host, name, report["release"], pid, psutil.Process(pid).uids().real)


@pytest.fixture(scope="module")
def pair(
    shared_runtimes: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Client, Client]]:
    """Two clients of one app on one host; each has written a note into its state."""
    host = make_host(shared_runtimes)
    folder = dossier(tmp_path_factory.mktemp("app"))
    acme, birch = (deployed(host, folder, name) for name in ("acme", "birch"))
    for client in (acme, birch):
        assert client.does("pathlib.Path(state, 'note').write_text('mine')", client) == "could"
    yield acme, birch
    host.destroy()
    subprocess.run(["rm", "-r", str(host.home.parent)], check=True)


def test_each_client_has_a_user_of_its_own(pair: tuple[Client, Client]) -> None:
    """All of its processes, in every kind of id, and in no further group."""
    acme, birch = (psutil.Process(client.pid) for client in pair)

    assert acme.uids().real != birch.uids().real
    for process in (acme, birch):
        assert {*process.uids(), *process.gids()} == {process.uids().real}
        assert process.uids().real in users.IDS
        groups = [line.split()[1:] for line in Path(f"/proc/{process.pid}/status").read_text()
                  .splitlines() if line.startswith("Groups:")]  # fmt: skip
        assert groups == [[]]


def test_no_set_user_id_program_gives_a_client_more(pair: tuple[Client, Client]) -> None:
    """Attack: sudo, or a copied shell with the bit set (prctl(2), PR_SET_NO_NEW_PRIVS)."""
    acme, _ = pair
    look = ["grep", "NoNewPrivs", "/proc/self/status"]

    status = Path(f"/proc/{acme.pid}/status").read_text()
    done = acme.host.run("exec", "--app", "hello", "--client", "acme", "--", *look)

    assert "NoNewPrivs:\t1" in status
    assert done.stdout == "NoNewPrivs:\t1\n", done.stderr


def test_exec_is_the_client_too(pair: tuple[Client, Client]) -> None:
    """With the client's state, and nobody else's rights."""
    acme, birch = pair
    read = 'cat "$STATE_DIR/note"; id -u; cat ' + str(birch.service / "state/note")

    done = acme.host.run("exec", "--app", "hello", "--client", "acme", "--", "sh", "-c", read)

    assert done.stdout.split() == [f"mine{acme.user}"], done.stderr
    assert "Permission denied" in done.stderr


PTRACE = (
    "import ctypes\n"
    "libc = ctypes.CDLL(None, use_errno=True)\n"
    "if libc.ptrace(16, pid, 0, 0): raise OSError(ctypes.get_errno(), 'attach')\n"
    "os.waitpid(pid, 0)\n"
    "libc.ptrace(17, pid, 0, 0)"
)

OWNERS_ONLY = {
    "read_its_state": "pathlib.Path(state, 'note').read_text()",
    "change_its_state": "pathlib.Path(state, 'planted').write_text('x')",
    "list_its_state": "os.listdir(state)",
    "read_its_secret_file": "pathlib.Path(run, f'{id}-secret-TOKEN').read_text()",
    "connect_to_its_socket": "socket.socket(socket.AF_UNIX).connect(f'{run}/s/{id}-0.sock')",
    "connect_to_its_offered_socket": "socket.socket(socket.AF_UNIX).connect(f'{run}/{id}-0.sock')",
    "learn_its_release": "os.readlink(f'{service}/live')",
    "read_its_environment": "pathlib.Path(f'/proc/{pid}/environ').read_bytes()",
    "read_its_memory": "open(f'/proc/{pid}/mem', 'rb').close()",
    "signal_it": "os.kill(pid, 0)",
    "trace_it": PTRACE,
}


@pytest.mark.parametrize("attack", OWNERS_ONLY)
def test_a_neighbour_cannot(pair: tuple[Client, Client], attack: str) -> None:
    """neighbour attack: what birch can do with its own, acme cannot do with birch's."""
    acme, birch = pair

    assert birch.does(OWNERS_ONLY[attack], birch) == "could"
    assert acme.does(OWNERS_ONLY[attack], birch) == "PermissionError"


ROOTS_ONLY = {
    "read_the_journal": "open(f'{home}/journal.db', 'rb').close()",
    "read_the_host_settings": "open(f'{home}/host.json').close()",
    "list_the_secrets": "os.listdir(f'{home}/secrets')",
    "read_its_launch_file": "open(f'{run}/{id}-web-0.launch').close()",
    "plant_a_launch_file": "open(f'{run}/planted-0.launch', 'w').close()",
    "list_its_run_folder": "os.listdir(run)",
    "list_the_home": "os.listdir(home)",
    "list_the_services": "os.listdir(f'{home}/services')",
    "list_the_artifacts": "os.listdir(f'{home}/artifacts')",
    "list_the_run_folders": "os.listdir(f'{home}/run')",
    "read_the_releases": "os.listdir(f'{service}/releases')",
    "read_the_logs": "os.listdir(f'{service}/logs')",
    "ask_the_edges_admin": "socket.socket(socket.AF_UNIX).connect(f'{home}/run/edge.sock')",
    "ask_supervisor": "socket.socket(socket.AF_UNIX).connect(f'{home}/run/supervisor.sock')",
    "change_the_code": "open(f'/proc/{pid}/cwd/serve.py', 'a').close()",
    "add_code": "open(f'/proc/{pid}/cwd/planted.py', 'a').close()",
    "swap_the_state": "os.rename(state, f'{service}/elsewhere')\n"
    "os.rename(f'{service}/elsewhere', state)",
}


@pytest.mark.parametrize("attack", ROOTS_ONLY)
def test_even_the_owner_cannot(pair: tuple[Client, Client], attack: str) -> None:
    """operator attack: what is the host's is closed to the client that it is about, too."""
    _, birch = pair
    code = ROOTS_ONLY[attack]
    by_root = subprocess.run(attempt(code, birch), capture_output=True, text=True, cwd="/")

    assert outcome(by_root) == "could"
    assert birch.does(code, birch) == "PermissionError"


@pytest.fixture
def host(shared_runtimes: Path) -> Iterator[HostUnderTest]:
    made = make_host(shared_runtimes)
    yield made
    made.destroy()
    subprocess.run(["rm", "-r", str(made.home.parent)], check=True)


def test_the_edge_follows_no_link_that_an_app_puts_where_its_socket_belongs(
    host: HostUnderTest, tmp_path: Path
) -> None:
    """confused deputy attack: the edge is root, and its own admin socket answers GET /config/."""
    more = '[health]\npath = "/config/"\ntimeout = "3s"\n'
    honest = dossier(tmp_path / "honest", more=more)
    host.deploy(honest, "--client", "birch")
    bait = f"ln -s {host.home}/run/edge.sock $SOCKET; exec sleep 60"
    admin = socket.socket(socket.AF_UNIX)
    admin.connect(f"{host.home}/run/edge.sock")  # There is something to be led to.
    admin.close()

    said = host.refuse(dossier(tmp_path / "bait", command=bait, more=more), "--client", "acme")

    assert "nothing listens there" in said or "does not listen" in said


def test_a_socket_that_becomes_a_link_later_leads_nobody_astray(
    host: HostUnderTest, tmp_path: Path
) -> None:
    """confused deputy attack: the app's name for its socket means nothing to the edge."""
    folder = dossier(tmp_path / "hello")
    acme = deployed(host, folder, "acme")
    report = host.deploy(folder, "--client", "acme")
    swap = (
        "os.unlink(f'{run}/s/{id}-0.sock')\n"
        "os.symlink(f'{home}/run/edge.sock', f'{run}/s/{id}-0.sock')"
    )

    assert acme.does(swap, acme) == "could"
    assert host.get(report, "/config/") == "one"

    os.kill(acme.pid, signal.SIGKILL)
    assert wait_until(lambda: int(host.get(report, "/pid")) != acme.pid, timeout_s=20)
    assert host.get(report, "/config/") == "one"


def test_what_an_app_writes_survives_all_that_a_host_does(
    host: HostUnderTest, tmp_path: Path
) -> None:
    """SQLite in the state, of the same user, over redeploy, rollback, stop, start and remove."""
    folder = tmp_path / "hello"
    one = deployed(host, dossier(folder), "acme")
    user = one.user
    insert = (
        "import sqlite3\ndb = sqlite3.connect(f'{state}/app.db')\n"
        "db.execute('CREATE TABLE IF NOT EXISTS t (x)')\n"
        "db.execute('INSERT INTO t VALUES (1)')\ndb.commit()"
    )
    assert one.does(insert, one) == "could"

    two = deployed(host, dossier(folder, version="two"), "acme")  # Recreates: there is SQLite.
    assert two.release != one.release
    assert two.does(insert, two) == "could"
    assert host.run("rollback", "--app", "hello", "--client", "acme", "--yes").returncode == 0
    assert host.run("host", "stop").returncode == 0
    assert host.run("host", "start").returncode == 0
    (service,) = host.status()
    (instance,) = service["instances"]
    pid = instance["pid"]
    back = Client(host, "acme", service["serving"], pid, psutil.Process(pid).uids().real)
    assert back.release == one.release
    assert back.does(insert, back) == "could"
    assert back.user == user
    state = back.service / "state"
    assert {p.stat().st_uid for p in (state, *state.rglob("*"))} == {user}
    assert host.run("remove", "--app", "hello", "--client", "acme", "--yes").returncode == 0
    assert sqlite3.connect(state / "app.db").execute("SELECT count(*) FROM t").fetchone() == (3,)
    again = deployed(host, folder, "acme")
    assert again.user == user
    assert again.does(insert, again) == "could"


def test_a_neighbour_cannot_pose_as_what_outlived_a_killed_supervisord(
    host: HostUnderTest, tmp_path: Path
) -> None:
    """impostor attack: the host would wait for its end before it starts the real one again."""
    folder = dossier(tmp_path / "hello")
    acme, birch = (deployed(host, folder, name) for name in ("acme", "birch"))
    posing = {
        "CHITTYOPS_SUPERVISED": str(host.home), "CHITTYOPS_RELEASE": birch.release,
        "CHITTYOPS_INSTANCE": "web.0",
    }  # fmt: skip
    impostor = subprocess.Popen(
        ["/bin/sleep", "600"], env=posing, user=acme.user, group=acme.user, extra_groups=()
    )
    try:
        os.kill(json.loads(host.run("host", "status", "--json").stdout)["supervisor_pid"], 9)
        os.kill(birch.pid, 9)
        host.run("recover")
        pids = {s["client"]: s["instances"][0]["pid"] for s in host.status()}
        user = psutil.Process(pids["birch"]).uids().real
        started = Path(f"/proc/{pids['birch']}/cmdline").read_text()
    finally:
        impostor.kill()
        impostor.wait()

    assert pids["birch"] != birch.pid
    assert user == birch.user
    assert "serve.py" in started  # Not the launcher, waiting.


def test_the_release_command_and_the_hooks_run_as_the_client_too(
    host: HostUnderTest, tmp_path: Path
) -> None:
    """They have the client's secrets and data, and come from the same repository."""
    tell = 'id -u >> "$STATE_DIR/who"'
    more = f"[deploy]\nrelease = '''{tell}'''\n[hooks]\npost_gate = '''{tell}'''\n"
    more += f"post_switch = '''{tell}'''\n"
    acme = deployed(host, dossier(tmp_path / "hello", more=more), "acme")

    told = (acme.service / "state/who").read_text().split()

    assert told == [str(acme.user)] * 3


def test_state_of_before_is_handed_over_and_nothing_else(
    host: HostUnderTest, tmp_path: Path
) -> None:
    """link attack: a link in the state directory makes nothing outside the client's own."""
    folder = dossier(tmp_path / "hello")
    acme = deployed(host, folder, "acme")
    user, state = acme.user, acme.service / "state"
    shadow, also = host.home.parent / "shadow", host.home.parent / "shadow-too"
    for path in (shadow, also):
        path.write_text("root:secret\n")
        path.chmod(0o600)
    (state / "old" / "deep").mkdir(parents=True)
    (state / "old/deep/file").write_text("from before")
    (state / "symbolic").symlink_to(shadow)
    (state / "folder").symlink_to(host.home.parent)
    os.link(also, state / "hard")
    for path in (state, *state.rglob("*")):
        os.chown(path, 0, 0, follow_symlinks=False)  # As a release of root's has left it.

    two = deployed(host, dossier(folder, version="two"), "acme")

    owners = {p: p.stat().st_uid for p in (state, state / "old/deep", state / "old/deep/file")}
    assert set(owners.values()) == {user}
    assert (shadow.stat().st_uid, also.stat().st_uid, host.home.parent.stat().st_uid) == (0, 0, 0)
    read = "open(f'{state}/old/deep/file').close()"
    assert two.does(read, two) == "could"
    assert two.does("open(f'{state}/hard').close()", two) == "PermissionError"


def test_a_pipe_in_the_state_holds_nobody_up(host: HostUnderTest, tmp_path: Path) -> None:
    """hold-up attack: whoever opens a pipe without a writer waits for ever."""
    folder = dossier(tmp_path / "hello")
    acme = deployed(host, folder, "acme")
    assert acme.does("os.mkfifo(f'{state}/pipe')", acme) == "could"

    deployed(host, dossier(folder, version="two"), "acme")


def test_a_home_that_the_user_cannot_reach_is_named(host: HostUnderTest, tmp_path: Path) -> None:
    """Before anything starts, with the folder that is in the way."""
    host.home.parent.chmod(0o700)

    said = host.refuse(dossier(tmp_path / "hello"), "--client", "acme")

    assert f"{host.home.parent} is closed to others" in said
    assert "CHITTYOPS_HOME" in said
    host.home.parent.chmod(0o711)
    deployed(host, tmp_path / "hello", "acme")


def test_an_interpreter_that_the_user_cannot_run_is_named(
    host: HostUnderTest, tmp_path: Path
) -> None:
    """Before anything starts, with the key that names another one."""
    folder = dossier(
        tmp_path / "hello", command="exec python -S serve.py # $SOCKET",
        more='[build]\nbuilder = "requirements"\n',
    )  # fmt: skip
    (folder / "requirements.txt").touch()
    serving = deployed(host, dossier(tmp_path / "before"), "acme")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    copied = closed / "python3"
    copied.write_bytes(Path(PUBLIC_PYTHON).resolve().read_bytes())
    copied.chmod(0o755)
    manifest = folder / "chittyops.toml"
    manifest.write_text(manifest.read_text().replace("[build]", f'[build]\npython = "{copied}"'))

    said = host.refuse(folder, "--client", "acme")

    assert "cannot run the interpreter" in said
    assert "`python` in [build]" in said
    assert psutil.pid_exists(serving.pid)
    manifest.write_text(manifest.read_text().replace(str(copied), PUBLIC_PYTHON))
    assert deployed(host, folder, "acme").release != serving.release


def test_a_plan_says_who_the_release_runs_as(host: HostUnderTest, tmp_path: Path) -> None:
    """In the gate's receipt: what was planned, and what was seen."""
    report = host.deploy(dossier(tmp_path / "hello"), "--client", "acme")

    found = {finding["check"]: finding["summary"] for finding in report["findings"]}
    assert "an OS user of its own" in found["isolation.user"]
    assert "run as user and group" in found["isolation.processes"]


def test_a_process_of_another_user_closes_the_gate() -> None:
    """setuid attack: what became somebody else is no longer the client's."""
    user = next(users.candidates(Path("/nowhere"), Service("hello", client="acme")))
    with subprocess.Popen(["sleep", "60"], user=user, group=user, extra_groups=()) as sleeping:
        staged = Staged(
            Service("hello", client="acme"), "0" * 16, Address("", "", "", False, None, ""),
            (InstanceState("web.0", Verdict.HEALTHY, sleeping.pid),), user,
        )  # fmt: skip
        own = isolation.runs_as_own_user(staged)
        other = isolation.runs_as_own_user(evolve(staged, user=user + 1))
        sleeping.kill()

    assert own.severity is Severity.INFO
    assert other.severity is Severity.BLOCKING
    assert str(sleeping.pid) in other.summary


def test_an_id_that_somebody_has_is_not_given() -> None:
    """collision attack: an id that another program runs as would be two users in one."""
    service = Service("hello", client="acme")
    first = next(users.candidates(Path("/nowhere"), service))
    with subprocess.Popen(["sleep", "60"], user=first, group=first, extra_groups=()) as sleeping:
        second = next(users.candidates(Path("/nowhere"), service))
        sleeping.kill()

    assert second != first
    assert next(users.candidates(Path("/nowhere"), service)) == first


def test_a_service_keeps_its_user_for_ever(tmp_path: Path) -> None:
    """Over removals, as its state directory does; and no other service gets it."""
    journal = Journal(tmp_path / "journal.db", FakeClock())
    acme, birch = Service("hello", client="acme"), Service("hello", client="birch")
    given = journal.keep_user(acme, iter([7, 8]))
    journal.forget(acme)

    assert (given, journal.keep_user(birch, iter([7, 8]))) == (7, 8)
    assert journal.keep_user(acme, iter([9])) == 7
    with pytest.raises(HostError, match="no OS user id left"):
        journal.keep_user(Service("hello", client="cedar"), iter([7, 8]))
    journal.close()


def test_handing_over_follows_no_link_and_takes_no_second_name(tmp_path: Path) -> None:
    """link attack: neither kind of link hands over what it leads to."""
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    (outside / "symbolic").touch()
    (outside / "hard").touch()
    (root / "folder").mkdir(parents=True)
    (root / "folder/file").touch()
    (root / "link").symlink_to(outside / "symbolic")
    (root / "tree").symlink_to(outside)
    os.link(outside / "hard", root / "hard")

    files.hand_over(root, 61184)

    assert [p.stat().st_uid for p in (root, root / "folder", root / "folder/file")] == [61184] * 3
    assert {p.stat().st_uid for p in (outside, *outside.iterdir())} == {0}


def test_what_everybody_may_read_nobody_may_change(tmp_path: Path) -> None:
    """Whatever the umask was that it was made under."""
    (tmp_path / "lax").mkdir(mode=0o777)
    (tmp_path / "lax/file").touch()
    (tmp_path / "lax/file").chmod(0o666)
    (tmp_path / "lax/tool").touch()
    (tmp_path / "lax/tool").chmod(0o700)

    files.let_read(tmp_path)

    modes = [stat.S_IMODE((tmp_path / n).stat().st_mode) for n in ("lax", "lax/file", "lax/tool")]
    assert modes == [0o755, 0o644, 0o755]


def test_without_root_all_clients_share_a_user_and_are_told_so(tmp_path: Path) -> None:
    """The plan and the gate say it; nothing is refused."""
    operator = DigitalDossierOpsLite("acme")
    plan = _drafted(tmp_path, operator)
    shared, own = operator._configure(plan), operator._configure(evolve(plan, own_users=True))

    assert not shared.config.own_user and isolation.SHARED_USER in shared.notes
    assert isolation.has_own_user(shared).severity is Severity.INFO
    assert "run as one OS user" in isolation.has_own_user(shared).summary
    assert own.config.own_user and isolation.SHARED_USER not in own.notes
    assert shared.release.id != own.release.id


def _drafted(folder: Path, operator: DigitalDossierOpsLite) -> Plan:
    from chittyops_core.deploy import plan as plans
    from chittyops_core.deploy.plan import ServiceView
    from chittyops_core.deploy.source import read_source

    app = operator.load(write_app(folder / "hello"))
    service = operator.service(app.name)
    view = ServiceView(service, None, None, None, (), {}, {}, False, {}, "CPython-3.11", False)
    return plans.draft(app, service, "digital-dossier", view, read_source(folder / "hello"))


@pytest.mark.parametrize(
    ("monitor", "found"),
    [
        ('probe = "command"\ntarget = "id -u >{told}"\noptions = {{ shell = true }}', "'command'"),
        ('target = "unix:{home}/run/edge.sock:/config/"', "unix socket"),
        ('target = "/"\noptions = {{ ca_file = "/etc/shadow" }}', "ca_file"),
    ],
)
def test_probe_as_root_attack(
    host: HostUnderTest, tmp_path: Path, monitor: str, found: str
) -> None:
    """The agent that looks is root: a client's manifest gets nothing done with its rights."""
    told = tmp_path / "told"
    host.environment["CHITTYOPS_AGENT"] = "on"
    folder = dossier(
        tmp_path / "hello", more=f"[monitor.x]\n{monitor.format(told=told, home=host.home)}"
    )

    said = host.refuse(folder, "--client", "acme")

    assert "[monitor.x]" in said
    assert found in said
    assert not told.exists()
    assert host.status() == []
