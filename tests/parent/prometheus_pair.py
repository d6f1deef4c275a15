"""Debian's Prometheus as an agent that remote-writes to another Prometheus: the peer of chaos.

What the agent scrapes counts how often it was asked, so every sample is a number of its own.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

__all__ = ["Numbers", "PROMETHEUS", "start_agent", "start_receiver", "stored"]

PROMETHEUS = shutil.which("prometheus")
SCRAPE_S = 0.25
QUIET_LOOKS = 10


class Numbers:
    """What is scraped: a gauge that has another value each time.

    Attributes:
        given: How many scrapes were answered.
    """

    def __init__(self) -> None:
        self.given = 0
        numbers = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = f"chaos_number {numbers.given + 1}\n".encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                numbers.given += 1

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def start_agent(folder: Path, scraped: int, receiver: int, port: int) -> subprocess.Popen[bytes]:
    """Start the agent, which retries as fast as our child does here."""
    config = folder / "agent.yml"
    config.write_text(
        f"global: {{scrape_interval: {SCRAPE_S * 1000:.0f}ms, scrape_timeout: 200ms}}\n"
        "scrape_configs:\n- job_name: chaos\n"
        f"  static_configs: [{{targets: ['127.0.0.1:{scraped}']}}]\n"
        f"remote_write:\n- url: http://127.0.0.1:{receiver}/api/v1/write\n"
        "  queue_config: {batch_send_deadline: 200ms, min_backoff: 30ms, max_backoff: 500ms}\n"
    )
    return _start(
        "--enable-feature=agent", f"--config.file={config}",
        f"--storage.agent.path={folder / 'agent'}", f"--web.listen-address=127.0.0.1:{port}",
    )  # fmt: skip


def start_receiver(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Start a Prometheus that takes what is written to it."""
    config = folder / "receiver.yml"
    config.write_text("global: {}\n")
    return _start(
        "--web.enable-remote-write-receiver", f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address=127.0.0.1:{port}",
    )  # fmt: skip


def _start(*options: str) -> subprocess.Popen[bytes]:
    assert PROMETHEUS is not None
    return subprocess.Popen(
        [PROMETHEUS, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip


def stored(receiver: int, last: int) -> set[int]:
    """Return which of the numbers up to *last* the receiver has, once no more of them come."""
    seen: set[int] = set()
    deadline = time.monotonic() + 60
    quiet = 0
    while quiet < QUIET_LOOKS and time.monotonic() < deadline:
        time.sleep(0.5)
        with urllib.request.urlopen(_question(receiver), timeout=20) as answer:
            found = json.load(answer)["data"]["result"]
        values = {int(float(value)) for series in found for _, value in series["values"]}
        fresh = {value for value in values if value <= last} - seen
        quiet = 0 if fresh else quiet + 1
        seen |= fresh
    return seen


def _question(receiver: int) -> str:
    words = urllib.parse.urlencode({"query": "chaos_number[1h]"})
    return f"http://127.0.0.1:{receiver}/api/v1/query?{words}"
