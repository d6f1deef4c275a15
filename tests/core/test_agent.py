"""The agent on a real host: it sees what serves, tells once, survives, and shows."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from chittyops_core._kit.retry import wait_until
from chittyops_core._kit.unix_http import UnixHTTPConnection
from chittyops_core.deploy.targets.base import Address
from chittyops_core.host.agent_process import PAGE_HOST
from chittyops_core.host.fetch import fetch
from chittyops_core.model.monitoring import AlertState, Message, Severity
from chittyops_core.monitor.store import Store
from conftest import HostUnderTest, write_app
from webhook import Webhook

pytestmark = pytest.mark.host

WEB = "hello.production/web"


def state(host: HostUnderTest) -> dict[str, Any] | None:
    """Return what the agent says; None when none answers."""
    with closing(UnixHTTPConnection(str(host.home / "run/agent.sock"), timeout_s=5)) as agent:
        try:
            agent.request("GET", "/v1/state")
            return dict(json.loads(agent.getresponse().read()))
        except (OSError, json.JSONDecodeError):
            return None


def monitor(host: HostUnderTest, name: str) -> dict[str, Any]:
    found = {each["monitor"]: each for each in (state(host) or {"monitors": ()})["monitors"]}
    return dict(found.get(name, {}))


def agents(host: HostUnderTest) -> list[psutil.Process]:
    return [p for p in host.processes() if "chittyops_core.host.agent" in p.cmdline()]


def page(host: HostUnderTest, path: str = "/") -> Any:
    at = f"127.0.0.1:{host.http}"
    return fetch(Address("", at, PAGE_HOST, False, None, at), path)


def test_what_is_deployed_is_watched_and_what_is_removed_is_not(
    watched: HostUnderTest, app: Path
) -> None:
    """Nothing is registered: the agent looks at what serves."""
    watched.deploy(app)
    assert wait_until(lambda: monitor(watched, WEB).get("state") == "ok", timeout_s=20)
    names = {each["monitor"] for each in (state(watched) or {})["monitors"]}
    assert names == {WEB, "hello.production/processes", "host/edge", "host/disk"}
    shown = watched.run("status").stdout
    assert " ok " in shown

    watched.run("remove", "--app", "hello", "--yes")

    assert wait_until(lambda: not monitor(watched, WEB), timeout_s=20)
    assert len(agents(watched)) == 1


def test_the_status_page_is_behind_the_edge_and_speaks_statuspage(
    watched: HostUnderTest, app: Path
) -> None:
    watched.deploy(app)
    assert wait_until(lambda: monitor(watched, WEB).get("state") == "ok", timeout_s=20)

    summary = json.loads(page(watched, "/api/v2/summary.json").body)
    html = page(watched)

    assert [(c["id"], c["status"]) for c in summary["components"]] == [
        ("hello.production", "operational")
    ]
    assert html.status == 200
    assert b"hello" in html.body
    assert page(watched, "/v1/state").status == 404  # For operators only.
    assert page(watched, "/metrics").status == 404


@pytest.mark.long
def test_an_outage_is_told_once_and_shown_as_it_is(
    watched: HostUnderTest, app: Path, webhook: Webhook
) -> None:
    """Frozen, then well again: one message, an incident, and no alarm of what depends on it."""
    watched.deploy(app)
    assert watched.run("notify", "add", "team", stdin=webhook.url).returncode == 0
    assert watched.run("notify", "test", "team").returncode == 0
    assert webhook.titles == ["A test by ChittyOps"]
    assert wait_until(lambda: monitor(watched, WEB).get("state") == "ok", timeout_s=20)
    victim = next(p for p in watched.processes() if any("serve.py" in w for w in p.cmdline()))

    victim.send_signal(signal.SIGSTOP)

    assert wait_until(lambda: len(webhook.posts) == 2, timeout_s=90), state(watched)
    told = webhook.posts[1]
    assert told["title"] == "hello is not available"
    assert told["message_id"] == f"{WEB}:1"
    component = json.loads(page(watched, "/api/v2/summary.json").body)["components"][0]
    assert component["status"] == "major_outage"
    incidents = json.loads(watched.run("incidents", "--json").stdout)
    assert [(i["alert"], i["ended"]) for i in incidents["incidents"]] == [(WEB, None)]
    assert "firing" in watched.run("status").stdout
    victim.send_signal(signal.SIGCONT)
    assert wait_until(
        lambda: (
            json.loads(page(watched, "/api/v2/summary.json").body)["components"][0]["status"]
            == "operational"
        ),
        timeout_s=60,
    )
    assert webhook.titles[2:] == []


def test_what_happened_before_anybody_was_named_is_told_to_nobody(
    watched: HostUnderTest, app: Path, webhook: Webhook
) -> None:
    """Whoever adds a channel gets no flood of what is over."""
    watched.deploy(app)
    assert wait_until(lambda: state(watched) is not None, timeout_s=20)
    store = Store(watched.home / "monitor/monitor.sqlite")
    old = Message("x:1", "x", AlertState.FIRING, Severity.PAGE, 1.0, "old", "old")
    store.record((), (), (old,))
    store.close()
    tell = [sys.executable, "-m", "chittyops_core.host.tell", str(watched.home)]
    assert subprocess.run(tell, check=False).returncode == 0

    watched.run("notify", "add", "team", stdin=webhook.url)
    assert subprocess.run(tell, check=False).returncode == 0

    assert webhook.titles == []


def test_a_maintenance_is_silent_and_shown(
    watched: HostUnderTest, app: Path, webhook: Webhook
) -> None:
    watched.deploy(app)
    watched.run("notify", "add", "team", stdin=webhook.url)
    assert wait_until(lambda: monitor(watched, WEB).get("state") == "ok", timeout_s=20)

    done = watched.run("maintenance", "start", "hello.production", "--for", "1h", "--why", "Move")
    listed = json.loads(watched.run("maintenance", "list", "--json").stdout)["maintenance"]

    assert done.returncode == 0, done.stderr
    assert [w["why"] for w in listed] == ["Move"]
    summary = json.loads(page(watched, "/api/v2/summary.json").body)
    assert wait_until(
        lambda: (
            json.loads(page(watched, "/api/v2/summary.json").body)["components"][0]["status"]
            == "under_maintenance"
        ),
        timeout_s=10,
    ), summary
    assert watched.run("maintenance", "end", str(listed[0]["id"])).returncode == 0
    assert json.loads(watched.run("maintenance", "list", "--json").stdout)["maintenance"] == []


@pytest.mark.chaos
def test_killed_agents_and_a_killed_supervisord_leave_one_agent_that_goes_on(
    watched: HostUnderTest, app: Path
) -> None:
    watched.deploy(app)
    assert wait_until(lambda: state(watched) is not None, timeout_s=20)
    chance, killed = random.Random(4), {None}
    for _ in range(3):
        time.sleep(chance.uniform(0.1, 1.5))
        for each in agents(watched):
            killed.add(each.pid)
            each.kill()
        assert wait_until(lambda: (state(watched) or {}).get("pid") not in killed, timeout_s=20)
    for each in watched.processes():
        if any("supervisor.supervisord" in word for word in each.cmdline()):
            each.kill()
    assert watched.run("recover").returncode == 0

    assert wait_until(lambda: monitor(watched, WEB).get("state") == "ok", timeout_s=30)
    assert wait_until(lambda: len(agents(watched)) == 1, timeout_s=20)
    assert len([p for p in watched.processes() if any("serve.py" in w for w in p.cmdline())]) == 1


@pytest.mark.long
def test_an_app_counts_and_pings_over_its_socket(watched: HostUnderTest, tmp_path: Path) -> None:
    """The heartbeat of the manifest, and a metric on /metrics, from inside the release."""
    more = '[monitor.nightly]\nprobe = "heartbeat"\ntarget = "backup"\n'
    watched.deploy(write_app(tmp_path / "hello", more=more))
    assert wait_until(
        lambda: monitor(watched, "hello.production/nightly").get("state") == "ok", timeout_s=20
    )

    failed = watched.run("ping", "--app", "hello", "nightly", "3")
    unknown = watched.run("ping", "--app", "hello", "weekly")
    code = (
        "import json\n"
        "from chittyops_core.current import Current\n"
        "here = Current()\n"
        "here.ping('nightly', '3')\n"
        "print(json.dumps([here.app, [m['monitor'] for m in here.monitors()]]))"
    )
    said = watched.run("exec", "--app", "hello", "--", sys.executable, "-c", code)

    assert failed.returncode == 0, failed.stderr
    assert unknown.returncode == 1
    assert "weekly" in unknown.stderr
    assert json.loads(said.stdout) == [
        "hello",
        [f"hello.production/{name}" for name in ("nightly", "processes", "web")],
    ], said.stderr
    assert wait_until(
        lambda: "status 3" in monitor(watched, "hello.production/nightly").get("why", ""),
        timeout_s=60,
    )


def test_a_monitor_that_cannot_be_is_refused_before_anything_is_built(
    watched: HostUnderTest, tmp_path: Path
) -> None:
    for toml, said in (
        ('[monitor.x]\ntarget = "/"\nprobe = "htpp"', "http"),
        ('[monitor.x]\ntarget = "/"\nconditions = ["status <> 3"]', "status <> 3"),
        ('[monitor.x]\ntarget = "/"\nconditions = ["response_time < 500"]', "unit"),
        ('[monitor.x]\ntarget = "/"\noptions = { metod = "GET" }', "method"),
        ('[monitor.web]\ntarget = "/"', "every service has it"),
        ('[monitor."../x"]\ntarget = "/"', "cannot name the monitor"),
    ):
        done = watched.run("deploy", str(write_app(tmp_path / "hello", more=toml)), "--yes")
        assert done.returncode == 1, toml
        assert said in done.stderr, done.stderr


def test_without_an_agent_the_host_says_so(host: HostUnderTest, app: Path) -> None:
    host.deploy(app)

    done = host.run("metrics", "show")

    assert done.returncode == 1
    assert "--agent" in done.stderr
    assert json.loads(host.run("status", "--json").stdout)["watch"] is None
    assert json.loads(host.run("incidents", "--json").stdout)["incidents"] == []


def test_a_second_agent_says_that_one_runs(watched: HostUnderTest, app: Path) -> None:
    watched.deploy(app)
    assert wait_until(lambda: state(watched) is not None, timeout_s=20)

    done = watched.run("agent")

    assert done.returncode == 1
    assert "runs already" in done.stderr


def test_only_the_owner_reaches_the_sockets(watched: HostUnderTest, app: Path) -> None:
    watched.deploy(app)
    assert wait_until((watched.home / "run/page.sock").exists, timeout_s=20)  # The later one.

    modes = {p.name: oct(p.stat().st_mode & 0o777) for p in (watched.home / "run").glob("*.sock")}

    assert modes["agent.sock"] == modes["page.sock"] == "0o600"


def test_metrics_are_sent_on_as_otlp(watched: HostUnderTest, app: Path, webhook: Webhook) -> None:
    """To a receiver that somebody named, with a secret of the host as its header."""
    watched.deploy(app)
    watched.run("secrets", "set", "token", stdin="Bearer of-good-news")
    url = webhook.url.replace("json://", "http://")

    unknown = watched.run(
        "metrics", "push", "add", "there", url, "--format", "otlp", "--secret", "no"
    )
    done = watched.run(
        "metrics", "push", "add", "there", url, "--format", "otlp", "--secret", "token"
    )

    assert unknown.returncode == 1
    assert done.returncode == 0, done.stderr
    assert wait_until(lambda: any("resourceMetrics" in m for m in webhook.posts), timeout_s=60)
    assert "of-good-news" not in watched.run("metrics", "push", "list", "--json").stdout
    assert watched.run("metrics", "push", "remove", "there").returncode == 0


SLO = """
apiVersion: openslo/v1
kind: SLO
metadata: {name: reachable}
spec:
  service: hello
  timeWindow: [{duration: 30d, isRolling: true}]
  indicator:
    spec:
      ratioMetric:
        rawType: success
        raw: {metricSource: {type: chittyops, spec: {monitor: web}}}
  objectives: [{target: 0.999}]
"""


def test_objectives_come_with_the_app_and_a_wrong_one_refuses_the_deploy(
    watched: HostUnderTest, app: Path
) -> None:
    (app / "slo").mkdir()
    (app / "slo/reachable.yaml").write_text(SLO.replace("target:", "taget:"))
    refused = watched.run("deploy", str(app), "--yes")
    (app / "slo/reachable.yaml").write_text(SLO)

    watched.deploy(app)

    assert refused.returncode == 1
    assert "reachable.yaml:" in refused.stderr
    assert "target" in refused.stderr
    assert wait_until(lambda: (state(watched) or {}).get("objectives"), timeout_s=20)
    (promised,) = (state(watched) or {})["objectives"]
    assert promised["service"] == "hello.production"
    assert (promised["target"], promised["page"], promised["ticket"]) == (0.999, False, False)
