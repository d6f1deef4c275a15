"""A real app on a real host: deploy, redeploy, roll back, remove."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from chittyops_core.testing.load import Load, Mode
from conftest import HostUnderTest, address_of, write_app

pytestmark = pytest.mark.host


def test_a_folder_goes_into_service(host: HostUnderTest, app: Path) -> None:
    """One command, and the app answers under its name and on the bare port."""
    report = host.deploy(app)

    assert host.get(report) == "one"
    assert report["url"] == f"http://hello.localhost:{host.http}"
    assert report["connect"]["address"] == f"127.0.0.1:{host.http}"
    assert {"built", "staged", "gated", "served", "drained"} <= report["phases"].keys()
    bare = subprocess.run(
        ["curl", "-s", f"http://127.0.0.1:{host.http}/"], capture_output=True, text=True
    )
    assert bare.stdout == "one"


def test_the_same_release_is_not_deployed_twice(host: HostUnderTest, app: Path) -> None:
    """A second deploy of what serves already changes nothing and says so."""
    first = host.deploy(app)

    again = host.deploy(app)

    assert again["outcome"] == "unchanged"
    assert again["release"] == first["release"]


def test_a_release_that_was_deployed_again_is_started_where_it_died(
    host: HostUnderTest, app: Path, tmp_path: Path
) -> None:
    """Deploying what serves but does not run starts it anew."""
    report = host.deploy(app)
    control = tmp_path / "control.conf"
    url = f"unix://{host.home}/run/supervisor.sock"
    control.write_text(f"[supervisorctl]\nserverurl={url}\n")
    group = f"hello.production.{report['release']}"
    subprocess.run(
        [sys.executable, "-m", "supervisor.supervisorctl", "-c", control, "stop", f"{group}:*"],
        check=True,
    )

    again = host.deploy(app)

    assert again["outcome"] == "served"
    assert host.get(again) == "one"


def test_rollback_means_the_release_that_served_before(host: HostUnderTest, app: Path) -> None:
    """Without an argument, twice: there and back again, each without a build."""
    host.deploy(app)
    two = host.deploy(write_app(app, version="two"))

    back = json.loads(host.run("rollback", "--app", "hello", "--yes", "--json").stdout)
    assert host.get(back) == "one"
    forth = json.loads(host.run("rollback", "--app", "hello", "--yes", "--json").stdout)

    assert host.get(forth) == "two"
    assert forth["release"] == two["release"]


def test_rollback_to_a_release_by_the_beginning_of_its_id(host: HostUnderTest, app: Path) -> None:
    """Any kept release can serve again, named by as much of its id as tells it apart."""
    one = host.deploy(app)
    host.deploy(write_app(app, version="two"))
    host.deploy(write_app(app, version="three"))

    done = host.run("rollback", one["release"][:6], "--app", "hello", "--yes", "--json")

    assert host.get(json.loads(done.stdout)) == "one"


def test_rollback_without_an_earlier_release_says_so(host: HostUnderTest, app: Path) -> None:
    """There is nothing to go back to after a first deploy."""
    host.deploy(app)

    done = host.run("rollback", "--app", "hello", "--yes")

    assert done.returncode == 1
    assert "no earlier release" in done.stderr


@pytest.mark.parametrize("listen", ["SOCKET", "PORT"])
def test_redeploys_and_rollbacks_lose_no_request(
    host: HostUnderTest, tmp_path: Path, listen: str
) -> None:
    """Under load by a client that never retries, 0 fail; old and new answer."""
    command = f"exec {psutil.Process().exe()} -S serve.py # ${listen}"
    folder = write_app(tmp_path / "hello", version="0", command=command)
    report = host.deploy(folder)

    with Load(address_of(report), workers=2) as load:
        for number in range(1, 5):
            host.deploy(write_app(folder, version=str(number), command=command))
            load.wait(300)
        host.run("rollback", "--app", "hello", "--yes")
        load.wait(300)

    assert load.tally.failed == {}, load.tally.reasons
    assert set(load.tally.bodies) == {"0", "1", "2", "3", "4"}


def test_a_slow_request_is_finished_by_the_release_that_took_it(
    host: HostUnderTest, app: Path
) -> None:
    """A request under way at the switch gets its whole answer before its release stops."""
    report = host.deploy(app)

    with Load(address_of(report), modes=()) as load:
        load.open_slow_request("/slow")
        time.sleep(0.3)
        host.deploy(write_app(app, version="two"))

    assert (load.tally.streams, load.tally.cut) == (1, 0)


def test_an_app_with_sqlite_is_recreated_without_a_lost_request(
    host: HostUnderTest, app: Path
) -> None:
    """Two releases never write to one SQLite file at once; requests wait and none is lost."""
    report = host.deploy(app)
    state = host.home / "services/hello.production/state"
    sqlite3.connect(state / "shop.db").execute("CREATE TABLE t (x)").connection.close()

    with Load(address_of(report), workers=2) as load:
        plan = host.run("plan", str(write_app(app, version="two")), "--json")
        host.deploy(app)
        load.wait(300)
        host.deploy(write_app(app, version="three"))
        load.wait(300)

    assert json.loads(plan.stdout)["strategy"] == "recreate"
    assert load.tally.failed == {}, load.tally.reasons
    assert set(load.tally.bodies) == {"one", "two", "three"}


def test_a_failed_recreate_brings_the_old_release_back(host: HostUnderTest, app: Path) -> None:
    """The old release, stopped for the new one, runs again when the new one is no good."""
    recreate = '[deploy]\nstrategy = "recreate"'
    report = host.deploy(write_app(app, more=recreate))

    with Load(address_of(report)) as load:
        host.refuse(write_app(app, version="two", behaviour="die", more=recreate))
        load.wait(100)

    assert load.tally.failed == {}, load.tally.reasons
    assert set(load.tally.bodies) == {"one"}


def test_a_recreate_that_takes_all_its_time_to_fail_loses_no_request(
    host: HostUnderTest, app: Path
) -> None:
    """Requests wait at the edge until the old release is back."""
    more = '[deploy]\nstrategy = "recreate"\n[health]\ntimeout = "3s"'
    report = host.deploy(write_app(app, more=more))

    with Load(address_of(report)) as load:
        host.refuse(write_app(app, version="two", behaviour="mute", more=more))
        load.wait(100)

    assert load.tally.failed == {}, load.tally.reasons
    assert load.tally.slowest_s > 3


def test_a_change_of_configuration_builds_nothing(host: HostUnderTest, app: Path) -> None:
    """Same code, another manifest: another release of the same artifact."""
    host.deploy(app)
    host.deploy(write_app(app, version="two"))

    assert len(list((host.home / "artifacts").iterdir())) == 1


def test_several_instances_share_the_requests(host: HostUnderTest, app: Path) -> None:
    """Each of three instances answers; a redeploy to two loses nothing."""
    three = write_app(app, command=None)
    text = (three / "chittyops.toml").read_text()
    (three / "chittyops.toml").write_text(text.replace("[env]", "instances = 3\n[env]"))
    report = host.deploy(three)

    with Load(address_of(report), path="/pid", modes=(Mode("GET"),), workers=4) as load:
        load.wait(300)
        assert len(load.tally.bodies) == 3
        (three / "chittyops.toml").write_text(text.replace("[env]", "instances = 2\n[env]"))
        host.deploy(three)
        load.wait(300)

    assert load.tally.failed == {}
    assert len(load.tally.bodies) == 5
    assert len(host.status()[0]["instances"]) == 2


def test_a_release_that_gets_sick_while_it_soaks_is_taken_back(
    host: HostUnderTest, app: Path
) -> None:
    """It became healthy, served, and died: the old release serves again, nothing is left of it."""
    soak = '[health]\nsoak = "4s"'
    one = host.deploy(write_app(app, more=soak))

    said = host.refuse(write_app(app, version="two", behaviour="late-death", more=soak))

    assert "did not stay well" in said
    status = host.status()[0]
    assert status["serving"] == one["release"]
    assert host.get(one) == "one"


def test_a_first_release_that_gets_sick_leaves_nothing(host: HostUnderTest, app: Path) -> None:
    """There is no old release to go back to, so the service is gone again."""
    host.refuse(write_app(app, behaviour="late-death", more='[health]\nsoak = "4s"'))

    assert host.status() == []


def test_a_warm_release_serves_again_at_once(host: HostUnderTest, app: Path) -> None:
    """With warm_rollback the previous release keeps running until its time is over."""
    warm = '[deploy]\nwarm_rollback = "10m"'
    one = host.deploy(write_app(app, more=warm))
    pid = host.get(one, "/pid")
    host.deploy(write_app(app, version="two", more=warm))

    back = json.loads(host.run("rollback", "--app", "hello", "--yes", "--json").stdout)

    assert host.get(back, "/pid") == pid


def test_a_warm_release_whose_time_is_over_is_stopped_by_the_next_command(
    host: HostUnderTest, app: Path
) -> None:
    """Nothing runs for ever without serving."""
    warm = '[deploy]\nwarm_rollback = "1s"'
    one = host.deploy(write_app(app, more=warm))
    pid = int(host.get(one, "/pid"))
    host.deploy(write_app(app, version="two", more=warm))
    assert psutil.pid_exists(pid)

    time.sleep(1.1)
    host.run("status")

    assert not psutil.pid_exists(pid)


def test_old_releases_are_pruned_but_never_what_can_serve(host: HostUnderTest, app: Path) -> None:
    """keep = 1: the serving one, the previous one and one more."""
    keep = "[deploy]\nkeep = 1"
    ids = [host.deploy(write_app(app, version=str(n), more=keep))["release"] for n in range(5)]

    listed = json.loads(host.run("releases", "--app", "hello", "--json").stdout)["releases"]

    assert [release["id"] for release in listed] == [ids[4], ids[3], ids[2]]
    kept = {path.name for path in (host.home / "services/hello.production/releases").iterdir()}
    assert kept == set(ids[2:])


def test_hooks_run_in_their_places(host: HostUnderTest, app: Path) -> None:
    """release once per release, post_gate and post_switch in the release, on_rollback after one."""
    log = "$STATE_DIR/hooks.log"
    more = (
        f'[deploy]\nrelease = "echo release $VERSION >> {log}"\n[hooks]\n'
        f'pre_build = "echo built > built-by-hook.txt"\n'
        f'post_gate = "echo gate $VERSION >> {log}"\n'
        f'post_switch = "echo switch $VERSION >> {log}"\n'
        f'on_rollback = "echo rollback $VERSION >> {log}"\n'
        '[build]\nexclude = ["built-by-hook.txt"]'
    )
    host.deploy(write_app(app, more=more))
    host.deploy(write_app(app, version="two", more=more))
    host.run("rollback", "--app", "hello", "--yes")

    said = (host.home / "services/hello.production/state/hooks.log").read_text().split("\n")[:-1]
    assert said == [
        "release one", "gate one", "switch one", "release two", "gate two", "switch two",
        "rollback one",
    ]  # fmt: skip
    assert (app / "built-by-hook.txt").exists()


def test_a_failing_release_command_undoes_the_deploy(host: HostUnderTest, app: Path) -> None:
    """A migration that fails is shown with its output; the old release never stopped."""
    one = host.deploy(app)

    said = host.refuse(
        write_app(app, version="two", more='[deploy]\nrelease = "echo no such table; exit 7"')
    )

    assert "status 7" in said
    assert "no such table" in said
    assert host.status()[0]["serving"] == one["release"]


def test_environments_are_services_of_their_own(host: HostUnderTest, app: Path) -> None:
    """Staging beside production: another address, another state, another overlay."""
    write_app(app, more='[environment.staging.env]\nVERSION = "rehearsal"')
    production = host.deploy(app)
    staging = host.deploy(app, "--env", "staging")

    assert host.get(production) == "one"
    assert host.get(staging) == "rehearsal"
    assert staging["url"] == f"http://hello--staging.localhost:{host.http}"
    assert {s["environment"] for s in host.status()} == {"production", "staging"}


def test_the_staged_release_is_reached_only_by_its_own_name(host: HostUnderTest, app: Path) -> None:
    """While the new release is checked, `stage--` leads to it and the app sees its usual Host."""
    report = host.deploy(app)
    hook = f"curl -s -H 'Host: stage--hello.localhost' 127.0.0.1:{host.http}"
    more = f'[hooks]\npost_gate = "{hook}/ > $STATE_DIR/v; {hook}/host > $STATE_DIR/host"'

    host.deploy(write_app(app, version="two", more=more))

    state = host.home / "services/hello.production/state"
    assert (state / "v").read_text() == "two"
    assert (state / "host").read_text() == "hello.localhost"
    assert host.get(report) == "two"


def test_state_and_sockets_are_the_owners_alone(host: HostUnderTest, app: Path) -> None:
    """Home, state, sockets and launch files: no other user gets in."""
    host.deploy(app)

    for path in (
        host.home,
        host.home / "services/hello.production/state",
        host.home / "run",
        *(p for p in (host.home / "run").iterdir() if p.is_dir()),
    ):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
    for path in (host.home / "run").glob("*/*.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_crashed_app_comes_back_and_get_requests_wait_for_it(
    host: HostUnderTest, app: Path
) -> None:
    """kill -9 of the only instance: Supervisor starts it again, the edge holds what comes."""
    report = host.deploy(app)
    time.sleep(1.1)  # Supervisor calls it running after a second.
    pid = int(host.get(report, "/pid"))

    with Load(address_of(report), modes=(), workers=1) as _:
        os.kill(pid, signal.SIGKILL)
        assert host.get(report) == "one"

    assert int(host.get(report, "/pid")) != pid


def test_the_host_stops_and_starts_with_everything(host: HostUnderTest, app: Path) -> None:
    """`host stop` ends every process; `host start` brings back what served."""
    report = host.deploy(app)

    host.run("host", "stop")
    assert host.processes() == []
    done = host.run("host", "start", "--json")

    assert json.loads(done.stdout)["services"][0]["health"] == "healthy"
    assert host.get(report) == "one"


def test_after_kill_of_everything_host_start_restores(host: HostUnderTest, app: Path) -> None:
    """As after a power cut: all processes killed at once, sockets left behind."""
    report = host.deploy(app)
    for process in host.processes():
        process.kill()
    psutil.wait_procs(host.processes(), timeout=5)

    host.run("host", "start")

    assert host.get(report) == "one"


def test_when_supervisord_is_killed_its_orphans_serve_until_successors_do(
    host: HostUnderTest, app: Path
) -> None:
    """The next command starts a new one; no GET is lost and no stray stays."""
    report = host.deploy(app)
    supervisord = next(p for p in host.processes() if "supervisor.supervisord" in p.cmdline())

    with Load(address_of(report), modes=()) as load:
        supervisord.kill()
        assert host.get(report) == "one"
        host.run("recover")
        assert host.get(report) == "one"
        load.wait(0)

    apps = [p for p in host.processes() if any("serve.py" in word for word in p.cmdline())]
    assert len(apps) == 1


def test_remove_leaves_the_state_and_nothing_else(host: HostUnderTest, app: Path) -> None:
    """The service's processes, releases, route and sockets are gone; its data is not."""
    report = host.deploy(app)
    (host.home / "services/hello.production/state/precious").write_text("data")

    done = host.run("remove", "--app", "hello", "--yes")

    assert done.returncode == 0, done.stderr
    assert host.status() == []
    left = [p for p in (host.home / "services").rglob("*") if p.is_file()]
    assert [p.name for p in left] == ["precious"]
    assert "No service has this name" in host.get(report)


def test_remove_all_leaves_no_process_and_no_file_but_journal_and_state(
    host: HostUnderTest, app: Path
) -> None:
    """`remove --all --yes`: as if nothing had been there, except for what is the user's."""
    host.deploy(app)
    host.run("secrets", "set", "a/b", stdin="c")
    (host.home / "services/hello.production/state/precious").write_text("data")

    done = host.run("remove", "--all", "--yes")

    assert done.returncode == 0, done.stderr
    assert host.processes() == []
    left = {p.relative_to(host.home).as_posix() for p in host.home.rglob("*") if not p.is_dir()}
    assert left == {"journal.db", "services/hello.production/state/precious"}


def test_a_home_with_spaces_works(host: HostUnderTest, app: Path, shared_runtimes: Path) -> None:
    """It stands in Supervisor's configuration, on command lines and in the edge's pointers."""
    odd = host.home.parent / "my own home"
    odd.mkdir()
    (odd / "runtime").symlink_to(shared_runtimes)
    host.home = odd
    host.environment["CHITTYOPS_HOME"] = str(odd)

    report = host.deploy(app)

    assert host.get(report) == "one"


def test_a_client_and_an_app_of_one_name_are_kept_apart(host: HostUnderTest, app: Path) -> None:
    """prefix-confusion attack: removing `hello` touches no `hello` of a client."""
    (app / "clients").mkdir()
    (app / "clients/acme.toml").touch()
    mine = host.deploy(app)
    text = (app / "chittyops.toml").read_text()
    (app / "chittyops.toml").write_text(text.replace("chitty-apps", "digital-dossier"))
    theirs = host.deploy(app, "--client", "acme")

    host.run("remove", "--app", "hello", "--yes")

    assert host.get(theirs) == "one"
    assert "No service" not in host.get(theirs)
    assert mine["url"] != theirs["url"]


def test_a_process_that_runs_away_from_its_group_ends_with_its_release(
    host: HostUnderTest, app: Path
) -> None:
    """escape attack: a daemon that an app started in a session of its own is found and ended."""
    daemon = f"setsid {sys.executable} -S -c 'import time; time.sleep(600)' & "
    text = write_app(app).joinpath("chittyops.toml").read_text()
    (app / "chittyops.toml").write_text(text.replace("exec ", daemon.replace("'", '"') + "exec "))
    host.deploy(app)
    assert len(_sleepers(host)) == 1

    host.deploy(write_app(app, version="two"))

    assert _sleepers(host) == []


def _sleepers(host: HostUnderTest) -> list[psutil.Process]:
    return [p for p in host.processes() if "time.sleep(600)" in " ".join(p.cmdline())]


def test_two_new_services_at_once_both_get_their_route(host: HostUnderTest, tmp_path: Path) -> None:
    """The edge's configuration is made under a lock, from what is then true."""
    folders = [write_app(tmp_path / f"app-{n}", f"app-{n}", version=str(n)) for n in range(4)]
    host.deploy(folders[0])

    running = [host.start("deploy", str(folder), "--yes", "--json") for folder in folders[1:]]
    reports = [json.loads(process.communicate(timeout=60)[0]) for process in running]

    assert [host.get(report) for report in reports] == ["1", "2", "3"]


def test_damaged_settings_and_journal_are_named_and_stop_nothing_that_serves(
    host: HostUnderTest, app: Path
) -> None:
    """What serves goes on; the message says which file and what to do."""
    report = host.deploy(app)
    (host.home / "journal.db").rename(host.home / "journal.good")
    (host.home / "journal.db").write_bytes(b"garbage " * 1000)

    damaged = host.run("status")
    (host.home / "journal.good").replace(host.home / "journal.db")
    (host.home / "host.json").write_text("{")
    settings = host.run("status")

    assert (damaged.returncode, settings.returncode) == (1, 1)
    assert "journal.db cannot be read" in damaged.stderr
    assert "host.json" in settings.stderr
    assert "Traceback" not in damaged.stderr + settings.stderr
    assert host.get(report) == "one"
