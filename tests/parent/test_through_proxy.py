"""A child and its parent through mitmproxy, which breaks TLS open as companies' proxies do."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from attrs import frozen

from chittyops_core._kit.retry import wait_until
from chittyops_core.bridge.enrol import enrol
from chittyops_core.bridge.loop import ParentBridge, Report
from chittyops_core.bridge.outbox import Outbox
from chittyops_core.bridge.protocol import ItemKind
from chittyops_core.bridge.status import status
from chittyops_core.errors import BridgeError
from chittyops_core.parent import schema
from chittyops_core.parent.server import open_parent
from conftest import COMMAND, free_port, listens
from monitor.certificates import Authority
from parent.chaos_child import RHYTHM
from parent.test_chaos_parent import make_parent

MITMDUMP = shutil.which("mitmdump")
if MITMDUMP is None:
    pytest.skip("mitmproxy is missing", allow_module_level=True)

NAME = "parent.test"
"""Of the parent. Nobody resolves it: the proxy leads to this machine."""


@frozen
class Wire:
    """A parent behind a proxy, and what the proxy is told to do.

    Attributes:
        data: The parent's folder.
        token: Lets children in.
        deeds: The file in which the proxy's deeds stand.
    """

    data: Path
    token: str
    deeds: Path

    def kept(self) -> list[str]:
        """Return what the parent has of what children said, in order."""
        parent = open_parent(self.data)
        try:
            with parent.database.reading() as reader:
                found = reader.execute(
                    sa.select(schema.event.c.body)
                    .where(schema.event.c.type == "said")
                    .order_by(schema.event.c.id)
                )
                return [row.body for row in found]
        finally:
            parent.database.close()


@pytest.fixture
def between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """A real parent with TLS, a real mitmproxy before it, and an environment that asks for it."""
    data, port, proxy = tmp_path / "parent", free_port(), free_port()
    token = make_parent(data)
    own_authority = Authority.make(tmp_path, "ours")
    cert = own_authority.issue(NAME)
    deeds, own = tmp_path / "deeds", tmp_path / "mitm"
    deeds.write_text("")
    assert MITMDUMP is not None
    started = [
        subprocess.Popen(
            [COMMAND, "parent", "serve", "--data", data, "--bind", f"127.0.0.1:{port}",
             "--tls-cert", cert, "--tls-key", cert],
            stderr=subprocess.DEVNULL,
        ),
        subprocess.Popen(
            [MITMDUMP, "-q", "--listen-host", "127.0.0.1", "-p", str(proxy), "--set",
             f"confdir={own}", "--set", f"ssl_verify_upstream_trusted_ca={own_authority.file}",
             "--set", "connection_strategy=lazy", "--set", f"parent={port}", "--set",
             f"deeds={deeds}", "-s", Path(__file__).with_name("inspecting_proxy.py")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ),
    ]  # fmt: skip
    authority = own / "mitmproxy-ca-cert.pem"
    try:
        assert wait_until(lambda: listens(port) and listens(proxy), timeout_s=60)
        assert wait_until(authority.exists, timeout_s=20)
        for name in ("NO_PROXY", "no_proxy", "https_proxy", "SSL_CERT_FILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy}")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
        yield Wire(data, token, deeds)
    finally:
        for each in reversed(started):
            each.terminate()
            each.wait(timeout=30)


@pytest.mark.long
def test_an_inspecting_proxy_carries_everything_and_alters_nothing_attack(
    between: Wire, tmp_path: Path
) -> None:
    """Enrolment and syncs work through it. A changed request is refused, a changed or invented
    answer is not believed; what was owed meanwhile arrives once when the proxy lets it be."""
    folder, url = tmp_path / "bridge", f"https://{NAME}"
    between.deeds.write_text("alter-request")
    with pytest.raises(BridgeError):
        enrol(folder, url, between.token, "altered", {})
    between.deeds.write_text("forge-answer")
    with pytest.raises(BridgeError, match="not the parent's"):
        enrol(folder, url, between.token, "forged", {})
    between.deeds.write_text("")
    member = enrol(folder, url, between.token, "court-1", {"os": "Debian"})
    outbox, stop = Outbox(folder / "outbox.db"), threading.Event()
    bridge = ParentBridge(folder, lambda: Report({"health": {"status": "operational"}}, {}),
                          rhythm=RHYTHM)  # fmt: skip
    running = threading.Thread(target=bridge.run, args=(stop,))
    running.start()
    said: list[str] = []

    def say(count: int) -> None:
        for _ in range(count):
            name = f"thing {len(said)}"
            outbox.put(ItemKind.EVENT, {"type": "said", "at": time.time(), "name": name})
            said.append(name)

    try:
        say(5)
        assert wait_until(lambda: not outbox.owes(), timeout_s=30)
        for deed in ("alter-request", "alter-answer", "forge-answer"):
            between.deeds.write_text(deed)
            before = len(said) if deed == "alter-answer" else len(between.kept())
            say(5)
            time.sleep(RHYTHM.backoff_s * 2)
            assert outbox.owes(), deed
            if deed != "alter-answer":
                assert len(between.kept()) == before, deed
        between.deeds.write_text("")
        assert wait_until(lambda: not outbox.owes(), timeout_s=30)
    finally:
        stop.set()
        bridge.wake()
        running.join()
        outbox.close()

    assert member.parent_name == "ChittyOps"
    kept = between.kept()
    assert [next(name for name in said if f'"{name}"' in body) for body in kept] == said
    assert status(folder).dropped == {}
