"""What goes wrong in the first hour, and what is said about it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from conftest import HostUnderTest, write_app

pytestmark = pytest.mark.host


def test_an_unknown_key_names_the_nearest_known_one(host: HostUnderTest, app: Path) -> None:
    """With file and line; nothing is started."""
    write_app(app, more='[health]\npathh = "/"')

    said = host.refuse(app)

    assert "chittyops.toml:11: health.pathh" in said
    assert "did you mean 'path'?" in said
    assert host.processes() == []


@pytest.mark.parametrize(
    "name", ["../x", "x" * 300, "café", "a--b", "-x", "A", "a b", "a.b", "a/b"]
)
def test_a_hostile_name_is_refused(host: HostUnderTest, app: Path, name: str) -> None:
    """In the manifest and on the command line, before it becomes part of any path."""
    said = host.refuse(write_app(app, name=name))
    typed = host.run("rollback", "--app", name, "--yes")

    assert "cannot name the app" in said
    assert typed.returncode == 2
    assert "Traceback" not in typed.stderr


def test_a_command_that_is_not_there_is_named(host: HostUnderTest, app: Path) -> None:
    """The shell's own words come through the log."""
    said = host.refuse(write_app(app, command="uvicrn app:app --uds $SOCKET"))

    assert "uvicrn: not found" in said
    assert "ended by itself" in said
    assert host.status() == []


def test_an_app_that_dies_at_once_shows_its_last_words(host: HostUnderTest, app: Path) -> None:
    """Without waiting for the health timeout."""
    start = time.monotonic()

    said = host.refuse(write_app(app, behaviour="die", more='[health]\ntimeout = "60s"'))

    assert "there is no database; giving up" in said
    assert "ended by itself" in said
    assert time.monotonic() - start < 30


def test_an_app_that_never_gets_healthy_shows_probe_log_and_curl(
    host: HostUnderTest, app: Path
) -> None:
    """Status, headers and body of the last probe, the last log lines, the exact curl."""
    said = host.refuse(write_app(app, behaviour="fail", more='[health]\ntimeout = "1s"'))

    assert "last probe: HTTP 503" in said
    assert "the database is away" in said
    assert "web.0: starting version one" in said
    assert "curl -i -H 'Host: hello.localhost'" in said
    assert "--unix-socket" in said


def test_an_app_that_does_not_listen_and_ignores_sigterm_is_gone_at_once(
    host: HostUnderTest, app: Path
) -> None:
    """It was never healthy, so it gets no grace."""
    said = host.refuse(write_app(app, behaviour="mute", more='[health]\ntimeout = "1s"'))

    assert "it must listen on $SOCKET" in said
    assert not any("serve.py" in " ".join(p.cmdline()) for p in host.processes())


def test_a_health_path_that_redirects_is_explained(host: HostUnderTest, app: Path) -> None:
    """Where it leads, and which two keys can mend it."""
    said = host.refuse(write_app(app, behaviour="redirect", more='[health]\ntimeout = "1s"'))

    assert "answered 302 to /login" in said
    assert "health.path" in said
    assert "health.host" in said


def test_a_port_in_use_is_named_with_who_uses_it(host: HostUnderTest, app: Path) -> None:
    """And how to choose another."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", host.http))
        taken.listen()

        said = host.refuse(app)

    assert f"port {host.http} (http) is in use" in said
    assert f"pid {os.getpid()}" in said
    assert "--http-port" in said


def test_a_process_that_listens_nowhere_is_refused_while_planning(
    host: HostUnderTest, app: Path
) -> None:
    """$SOCKET or $PORT must appear in the command."""
    said = host.refuse(write_app(app, command="python serve.py"))

    assert "neither $SOCKET nor $PORT" in said


def test_a_variable_that_is_taken_cannot_be_set(host: HostUnderTest, app: Path) -> None:
    """No more than in a manifest; taking it away works, whoever set it before."""
    host.deploy(app)

    done = host.run("config", "set", "PORT=1", "--app", "hello")

    assert done.returncode == 2
    assert "PORT is set by ChittyOps" in done.stderr
    assert host.run("config", "unset", "PORT", "--app", "hello").returncode == 0


def test_a_tcp_port_is_marked_as_not_isolated(host: HostUnderTest, app: Path) -> None:
    """$PORT works, and the plan says what it means."""
    write_app(app, command=f"exec {sys.executable} -S serve.py # $PORT")

    plan = json.loads(host.run("plan", str(app), "--json").stdout)

    assert any("not isolated" in note for note in plan["notes"])


def test_two_deploys_at_once_take_turns(host: HostUnderTest, app: Path, tmp_path: Path) -> None:
    """Both end well: one waits for the other, and says so; one release serves."""
    host.deploy(app)
    results: list[subprocess.CompletedProcess[str]] = []

    def deploy(version: str) -> None:
        folder = write_app(tmp_path / f"copy-{version}", version=version)
        results.append(host.run("deploy", str(folder), "--yes", "--json"))

    threads = [threading.Thread(target=deploy, args=(v,)) for v in ("two", "three")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    codes = sorted(done.returncode for done in results)
    # The second one's plan was made while the first release served: it may be stale.
    assert codes in ([0, 0], [0, 1])
    assert all("Traceback" not in done.stderr for done in results)
    assert [s["health"] for s in host.status()] == ["healthy"]


def test_no_wait_is_refused_with_who_holds_the_lock(host: HostUnderTest, app: Path) -> None:
    """While another deploy is under way."""
    host.deploy(app)
    lock = host.home / "locks/hello.production.lock"
    before = lock.read_text()
    slow = host.start("deploy", str(write_app(app, version="two", env='DELAY_S = "25"')), "--yes")
    while lock.read_text() in ("", before):
        time.sleep(0.02)

    said = host.refuse(write_app(app, version="three"), "--no-wait")

    assert "is being changed by a deploy (pid" in said
    slow.send_signal(signal.SIGINT)
    slow.communicate()
    assert slow.returncode == 130


HARD_VALUES = {
    "percent": "100% %(here)s %%",
    "quotes": """it's "quoted" `x` $HOME \\ back""",
    "lines": "first\nsecond\r\nthird\ttab",
    "unicode": "žluťoučký kůň 🐎",
    "big": "x" * 100_000,
    "leading": " - spaces ; semicolon # hash ",
}


@pytest.mark.parametrize("name", HARD_VALUES)
def test_every_environment_value_arrives_as_it_was(
    host: HostUnderTest, app: Path, name: str
) -> None:
    """%, quotes, newlines, 100 kB: plain or secret, the app sees the very same text."""
    value = HARD_VALUES[name]
    host.run("secrets", "set", "hard/value", stdin=value + "\n")
    toml = json.dumps(value, ensure_ascii=False)
    write_app(app, env=f'PLAIN = {toml}\nSECRET = {{ secret = "hard/value" }}')

    report = host.deploy(app)

    seen = dict(line.split("=", 1) for line in host.get(report, "/env").splitlines())
    assert seen["PLAIN"] == repr(value)
    assert seen["SECRET"] == repr(value)


def test_a_value_that_no_environment_can_hold_is_refused(host: HostUnderTest, app: Path) -> None:
    """128 KiB is Linux's limit for one string; a secret file has none."""
    write_app(app, env=f'BIG = "{"x" * 130_000}"')

    said = host.refuse(app)

    assert "env.BIG" in said
    assert "120000" in said


def test_a_missing_secret_says_how_to_set_it(host: HostUnderTest, app: Path) -> None:
    """Before anything is built."""
    said = host.refuse(write_app(app, env='KEY = { secret = "portal/key" }'))

    assert "chittyops secrets set portal/key" in said


def test_a_secret_shows_nowhere(host: HostUnderTest, app: Path) -> None:
    """Not in a plan, a report, a log, an argument list or a file outside run/."""
    value = "hunter2-5f3a9c"
    host.run("secrets", "set", "portal/key", stdin=value)
    write_app(app, env='KEY = { secret = "portal/key" }')

    said = host.run("deploy", str(app), "--yes", "--json", "-v")
    reports = [
        host.run(*words).stdout
        for words in (
            ("plan", str(app), "--json"), ("status", "--json"), ("secrets", "list", "--json"),
            ("releases", "--app", "hello", "--json"), ("logs", "--app", "hello"),
        )
    ]  # fmt: skip

    assert all(value not in text for text in (said.stdout, said.stderr, *reports))
    assert all(value not in " ".join(p.cmdline()) for p in host.processes())
    for path in host.home.rglob("*"):
        if path.is_file() and "run" not in path.relative_to(host.home).parts:
            assert value.encode() not in path.read_bytes(), path


def test_a_changed_secret_is_shown_only_as_changed(host: HostUnderTest, app: Path) -> None:
    """`plan` names it, without a value, and the deploy makes a new release."""
    host.run("secrets", "set", "portal/key", stdin="first")
    write_app(app, env='KEY = { secret = "portal/key" }')
    one = host.deploy(app)
    host.run("secrets", "set", "portal/key", stdin="second")

    plan = json.loads(host.run("plan", str(app), "--json").stdout)
    two = host.deploy(app)

    assert plan["changes"] == [{"what": "env KEY (secret)", "before": "set", "after": "changed"}]
    assert two["release"] != one["release"]


def test_a_secret_as_a_file_is_private(host: HostUnderTest, app: Path) -> None:
    """The variable holds the path of a 0600 file with the value, and nothing else."""
    host.run("secrets", "set", "tls/key", stdin="-----BEGIN\nKEY-----")
    write_app(app, env='TLS_KEY = { secret = "tls/key", file = true }')

    report = host.deploy(app)

    seen = dict(line.split("=", 1) for line in host.get(report, "/env").splitlines())
    path = Path(seen["TLS_KEY"].strip("'"))
    assert path.read_text() == "-----BEGIN\nKEY-----"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_stale_plan_is_refused(host: HostUnderTest, app: Path, tmp_path: Path) -> None:
    """`deploy --plan` does exactly what was planned, or says so: file, host and code changed."""
    plan = tmp_path / "plan.json"
    host.run("plan", str(app), "--out", str(plan))
    (app / "serve.py").write_text((app / "serve.py").read_text() + "\n# changed\n")

    said = host.refuse(app, "--plan", str(plan))

    assert "plan is stale" in said
    assert plan.stat().st_mode & 0o777 == 0o600


def test_a_kept_plan_is_carried_out(host: HostUnderTest, app: Path, tmp_path: Path) -> None:
    """Unchanged, the plan leads to the very release that it named."""
    plan = tmp_path / "plan.json"
    planned = json.loads(host.run("plan", str(app), "--out", str(plan), "--json").stdout)

    report = host.deploy(app, "--plan", str(plan))

    assert report["release"] == planned["release"]


def test_another_kind_cannot_take_a_service_over(host: HostUnderTest, app: Path) -> None:
    """The gate of the kind that serves cannot be sidestepped by naming another."""
    host.deploy(app)
    text = (app / "chittyops.toml").read_text()
    (app / "chittyops.toml").write_text(text.replace("chitty-apps", "cook-county"))

    said = host.refuse(app)

    assert "is a chitty-apps service" in said


def test_a_folder_of_nothing_says_what_is_missing(host: HostUnderTest, tmp_path: Path) -> None:
    """And gives a line to write."""
    (tmp_path / "empty").mkdir()

    said = host.refuse(tmp_path / "empty")

    assert "nothing says how to start this app" in said
    assert "Procfile" in said


def test_requirements_that_cannot_be_installed_show_the_installers_words(
    host: HostUnderTest, app: Path
) -> None:
    """Of uv, with the release undone."""
    (app / "requirements.txt").write_text("flask ==\n")

    said = host.refuse(app)

    assert "uv pip install" in said
    assert "requirements.txt" in said
    assert host.status() == []


def test_a_home_too_long_for_unix_sockets_is_explained(host: HostUnderTest, app: Path) -> None:
    """sun_path has 108 bytes (unix(7)); the message says how many are left for the home."""
    long = host.home.parent / ("x" * 90)

    done = host.run("deploy", str(app), "--yes", env={"CHITTYOPS_HOME": str(long)})

    assert done.returncode == 1
    assert "unix sockets" in done.stderr


def test_a_home_that_cannot_be_written_is_explained(host: HostUnderTest, app: Path) -> None:
    """/proc belongs to nobody."""
    done = host.run("status", env={"CHITTYOPS_HOME": "/proc/chittyops"})

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "CHITTYOPS_HOME" in done.stderr


def test_deploy_verbs_are_refused_inside_a_release(host: HostUnderTest, app: Path) -> None:
    """App code may not operate itself."""
    done = host.run("deploy", str(app), "--yes", env={"CHITTYOPS_RELEASE": "0123456789abcdef"})

    assert done.returncode == 1
    assert "app code may not" in done.stderr


@pytest.mark.parametrize(
    "words", [("deplyo",), ("deploy", "--nope"), ("config", "set", "X"), ("deploy", "/nowhere")]
)
def test_wrong_usage_exits_2_or_1_with_a_hint(host: HostUnderTest, words: tuple[str, ...]) -> None:
    """Mistyped commands and options, a missing value, a folder that is not there."""
    done = host.run(*words)

    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert done.stderr
