"""Three apps in service, redeployed under load, rolled back, one broken, one killed; a parent sees.

    nox -s demo               shows it, then leaves the apps running until Ctrl-C
    nox -s demo -- --once     shows it and takes everything down again

Starts from nothing, in a home of its own under /tmp; ends with status 1 if any request failed.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import psutil
import requests

from chittyops_core import Deployment, OpsLite
from chittyops_core.deploy.engine import Event, EventKind
from chittyops_core.deploy.targets.base import Address
from chittyops_core.deploy.targets.local.caddy import DEFAULT_HTTP_PORT, DEFAULT_HTTPS_PORT
from chittyops_core.errors import DeployError
from chittyops_core.host import HostClient
from chittyops_core.host.agent_process import PAGE_HOST
from chittyops_core.host.fetch import fetch
from chittyops_core.testing.load import Load, Mode, Tally
from chittyops_lite_chitty_apps import ChittyAppsOpsLite
from chittyops_lite_cook_county import CookCountyOpsLite
from chittyops_lite_digital_dossier import DigitalDossierOpsLite

GET = (Mode("GET", keep_alive=False), Mode("GET"))
POST = (Mode("POST", keep_alive=False), Mode("POST"))
PAUSE_S = 0.002
ADMIN = "admin"
_CHITTYOPS = str(Path(sys.executable).with_name("chittyops"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--once", action="store_true", help="take everything down at the end")
    once = parser.parse_args().once or not sys.stdin.isatty()
    choose_ports()
    with tempfile.TemporaryDirectory(prefix="chitty-", dir="/tmp") as folder:
        Path(folder).chmod(0o711)  # The client's own OS user has to pass through.
        home = Path(folder) / "home"
        try:
            with Webhook() as webhook, ParentServer(Path(folder) / "parent") as parent:
                lost = Show(Path(folder), home, webhook, parent).run()
                if not once:
                    wait_for_ctrl_c()
        finally:
            with HostClient(home) as host:
                host.erase()
    sys.exit(1 if lost else 0)


class Show:
    """The demonstration, act by act."""

    def __init__(self, folder: Path, home: Path, webhook: Webhook, parent: ParentServer) -> None:
        self.folder = folder
        self.home = home
        self.webhook = webhook
        self.parent = parent
        self.apps: list[tuple[str, OpsLite, str, Callable[[Path], Deployment]]] = []
        for name, cls in (("court-portal", CookCountyOpsLite), ("corner-shop", ChittyAppsOpsLite)):
            lite = cls(home=home, notify=show)
            self.apps.append((name, lite, "/", lite.deploy))
        dossier = DigitalDossierOpsLite("acme", home=home, notify=show)
        self.apps.insert(1, ("client-portal", dossier, "/notes", dossier.deploy_for_client))

    def run(self) -> int:
        """Return how many requests were lost."""
        say("1. Three apps go into service")
        served = {}
        for name, lite, _, deploy in self.apps:
            self._copy_starter(name, lite)
            say(f"   {name} ({lite.kind})")
            served[name] = deploy(self.folder / name)
        tallies = {}
        for number, (name, lite, path, deploy) in enumerate(self.apps, start=2):
            say(f"{number}. {name} is redeployed under load, rolled back, and redeployed")
            tallies[name] = self._redeploy(served[name], lite, name, path, deploy)
        say("5. A broken version of corner-shop is deployed under load")
        tallies["corner-shop, broken"] = self._break(served["corner-shop"])
        say("6. corner-shop is killed again and again; somebody is told")
        self._kill(served["corner-shop"])
        say("7. A parent oversees the host")
        self._enrol(served)
        return self._report(served, tallies)

    def _copy_starter(self, name: str, lite: OpsLite) -> None:
        subprocess.run([_CHITTYOPS, "new", lite.kind, self.folder / name], check=True)
        if lite.client and os.geteuid() == 0:
            # This interpreter may lie in a home directory, where no client's user can run it.
            with (self.folder / name / f"clients/{lite.client}.toml").open("a") as file:
                file.write('\n[build]\npython = "/usr/bin/python3"\n')

    def _redeploy(
        self, served: Deployment, lite: OpsLite, name: str, path: str,
        deploy: Callable[[Path], Deployment],
    ) -> Tally:  # fmt: skip
        """Two new versions and a rollback between them, while people use the app."""
        posts = (served.address, path, POST) if path != "/" else (served.address, "/", ())
        with (
            Load(served.address, modes=GET, pause_s=PAUSE_S) as reading,
            Load(posts[0], path=posts[1], modes=posts[2], pause_s=PAUSE_S) as writing,
        ):
            for version in ("second", "third"):
                set_variable(self.folder / name, "DEMO_VERSION", version)
                deploy(self.folder / name)
                reading.wait(200)
                if version == "second":
                    lite.rollback(name)
                    reading.wait(200)
        reading.tally.answered.update(writing.tally.answered)
        reading.tally.failed.update(writing.tally.failed)
        reading.tally.reasons.update(writing.tally.reasons)
        return reading.tally

    def _break(self, served: Deployment) -> Tally:
        """A version that dies at once: the old one goes on serving."""
        name, _, _, deploy = self.apps[2]
        code = self.folder / name / "shop.py"
        code.write_text(code.read_text() + "\nraise RuntimeError('the fridge is on fire')\n")
        with Load(served.address, modes=GET, pause_s=PAUSE_S) as load:
            try:
                deploy(self.folder / name)
                raise AssertionError("a broken release was served")
            except DeployError as error:
                say(f"   refused: {error.message}")
                say("   " + next(line for line in error.detail if "fridge" in line).strip())
            load.wait(200)
        return load.tally

    def _kill(self, served: Deployment) -> None:
        """The status page shows it, one message is sent, and it comes back by itself."""
        page = Address(
            f"http://{PAGE_HOST}", served.address.plain_connect, PAGE_HOST, False, None,
            served.address.plain_connect,
        )  # fmt: skip
        with HostClient(self.home) as host:
            host.set_channel("demo", self.webhook.apprise_url)
        begin = time.monotonic()
        with killed_again_and_again(self.home, served):
            wait_for(lambda: _component(page, served) == "major_outage", 60)
            say(f"   the status page shows the outage after {time.monotonic() - begin:.0f} s")
            wait_for(lambda: self.webhook.messages, 60)
        wait_for(lambda: _component(page, served) == "operational", 60)
        say("   it is back; that it is resolved is told after five clean minutes")
        if len(self.webhook.messages) != 1:
            raise AssertionError(f"one outage, these messages: {self.webhook.messages}")

    def _enrol(self, served: dict[str, Deployment]) -> None:
        """One command on each side; then the parent knows what runs here, and at which commit."""
        token = self.parent.make_token()
        command = [_CHITTYOPS, "enroll", self.parent.url, "-", "--name", "demo", "--yes"]
        environment = {**os.environ, "CHITTYOPS_HOME": str(self.home)}
        subprocess.run(command, input=token, text=True, check=True, env=environment)
        slugs = sorted(done.service.slug for done in served.values())
        wait_for(lambda: self.parent.knows(len(slugs)), 60)
        say(f"   the parent knows {', '.join(slugs)}")

    def _report(self, served: dict[str, Deployment], tallies: dict[str, Tally]) -> int:
        say("")
        say(f"{'':22} {'requests':>9} {'failed':>7} {'slowest':>9}")
        for name, tally in tallies.items():
            lost, slowest = tally.failed.total(), tally.slowest_s
            say(f"{name:22} {tally.total:9} {lost:7} {slowest:8.2f}s")
            for reason, count in tally.reasons.most_common(3):
                say(f"    {count} x {reason}")
        say("")
        for done in served.values():
            answer = fetch(done.address, "/healthz")
            say(f"{done.address.url:48} answers {answer.status}")
        port = os.environ["CHITTYOPS_HTTP_PORT"]
        say(f"http://{PAGE_HOST}:{port:<24} shows how all of them are")
        say(f"{self.parent.url:48} the parent's dashboard, for {ADMIN}: {self.parent.password}")
        total = sum(tally.failed.total() for tally in tallies.values())
        say(f"\n{total} failed requests")
        return total


class Webhook:
    """Something of the team's that takes messages: a JSON webhook on this machine."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.messages.append(said["title"])
                say(f"   message: {said['title']}")
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing: `say` has said it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def apprise_url(self) -> str:
        return f"json://127.0.0.1:{self._server.server_address[1]}/hook"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class ParentServer:
    """A parent on this machine, with SQLite, in a folder of its own."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.password = secrets.token_urlsafe(12)
        self.url = f"http://127.0.0.1:{_free_port()}"
        self._process: subprocess.Popen[bytes] | None = None

    def make_token(self) -> str:
        """Return a token that accepts who brings it."""
        made = self._run("token", "create", "--name", "demo", "--auto-accept", "--json")
        return str(json.loads(made)["token"])

    def knows(self, services: int) -> bool:
        """Whether its one child has so many services."""
        shown = json.loads(self._run("children", "--json"))
        return [child["services"] for child in shown["children"]] == [services]

    def _run(self, *words: str, given: str = "") -> str:
        command = [_CHITTYOPS, "parent", *words, "--data", str(self.data)]
        done = subprocess.run(command, input=given, text=True, check=True, stdout=subprocess.PIPE)
        return done.stdout

    def __enter__(self) -> Self:
        self._run("init", "--name", "Demo", "--admin", ADMIN, "--yes", given=self.password)
        bind = self.url.removeprefix("http://")
        self._process = subprocess.Popen(
            [_CHITTYOPS, "parent", "serve", "--data", str(self.data), "--bind", bind],
            stdout=subprocess.DEVNULL, stderr=(self.data / "log").open("wb"),
        )  # fmt: skip
        wait_for(lambda: _answers(self.url), 30)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(timeout=30)


@contextmanager
def killed_again_and_again(home: Path, served: Deployment) -> Iterator[None]:
    """Let no process of what serves live long enough to answer."""
    stop = threading.Event()

    def kill() -> None:
        while not stop.wait(0.1):
            for process in psutil.process_iter():
                try:
                    environ = process.environ()
                    is_it = environ.get("CHITTYOPS_SUPERVISED") == str(home)
                    if is_it and environ.get("CHITTYOPS_APP") == served.service.app:
                        process.kill()
                except psutil.Error:
                    continue

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield
    finally:
        stop.set()
        killer.join()


def wait_for(happens: Callable[[], object], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not happens():
        if time.monotonic() > deadline:
            raise AssertionError(f"it did not happen within {timeout_s:g} s")
        time.sleep(0.2)


def _component(page: Address, served: Deployment) -> str:
    summary = json.loads(fetch(page, "/api/v2/summary.json").body)
    found = {each["id"]: str(each["status"]) for each in summary["components"]}
    return found[served.service.slug]


def show(event: Event) -> None:
    """Print phases as they are reached."""
    if event.kind is EventKind.REACHED and event.seconds is not None:
        say(f"      {event.text:8} {event.seconds:6.2f} s")


def say(text: str) -> None:
    print(text, flush=True)


def set_variable(folder: Path, name: str, value: str) -> None:
    """Change the configuration, which makes a new release of the same code."""
    manifest = folder / "chittyops.toml"
    lines = [line for line in manifest.read_text().splitlines() if not line.startswith(name)]
    lines.insert(lines.index("[env]") + 1, f'{name} = "{value}"')
    manifest.write_text("\n".join(lines) + "\n")


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=2).status_code == 200
    except requests.ConnectionError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def choose_ports() -> None:
    """Take the default ports where they are free, else others, so that the demo always runs."""
    for variable, port in (
        ("CHITTYOPS_HTTP_PORT", DEFAULT_HTTP_PORT),
        ("CHITTYOPS_HTTPS_PORT", DEFAULT_HTTPS_PORT),
    ):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                probe.bind(("127.0.0.1", 0))
            os.environ.setdefault(variable, str(probe.getsockname()[1]))


def wait_for_ctrl_c() -> None:
    say("\nOpen the addresses in a browser. Ctrl-C takes everything down.")
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        say("")


if __name__ == "__main__":
    main()
