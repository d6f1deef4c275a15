"""HTTP/2 and HTTP/3 over deploys: many requests in one connection, and none is lost."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent

from conftest import HostUnderTest

pytestmark = [pytest.mark.host, pytest.mark.network]

HOST = "court.localhost"


class Http3Client(QuicConnectionProtocol):
    """Just enough of RFC 9114: GET, one stream a request, in one connection."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._http = H3Connection(self._quic)
        self._statuses: dict[int, int] = {}
        self._waiters: dict[int, asyncio.Future[int]] = {}

    async def get(self, authority: str, path: str) -> int:
        """Return the status of one request."""
        stream = self._quic.get_next_available_stream_id()
        headers = {":method": "GET", ":scheme": "https", ":authority": authority, ":path": path}
        raw = [(key.encode(), text.encode()) for key, text in headers.items()]
        self._http.send_headers(stream, raw, end_stream=True)
        self._waiters[stream] = asyncio.get_running_loop().create_future()
        self.transmit()
        return await asyncio.wait_for(self._waiters[stream], 60)

    def quic_event_received(self, event: QuicEvent) -> None:
        for found in self._http.handle_event(event):
            self._see(found)

    def _see(self, event: H3Event) -> None:
        if isinstance(event, HeadersReceived):
            status = dict(event.headers)[b":status"]
            self._statuses[event.stream_id] = int(status)
        if isinstance(event, HeadersReceived | DataReceived) and event.stream_ended:
            self._waiters.pop(event.stream_id).set_result(self._statuses[event.stream_id])


async def ask_by_http3(
    port: int, ca_file: str, tally: Counter[str], stop: Callable[[], bool]
) -> None:
    """Ask in one connection until *stop*; count statuses and failures."""
    settings = QuicConfiguration(alpn_protocols=H3_ALPN, server_name=HOST)
    settings.load_verify_locations(ca_file)
    async with connect(
        "127.0.0.1", port, configuration=settings, create_protocol=Http3Client
    ) as client:
        while not stop():
            try:
                tally[str(await client.get(f"{HOST}:{port}", "/"))] += 1
            except Exception as error:
                tally[repr(error)] += 1
                return
            await asyncio.sleep(0.005)


def ask_by_http2(port: int, ca_file: str, tally: Counter[str], stop: Callable[[], bool]) -> None:
    """Ask in one connection until *stop*; count statuses and failures."""
    context = ssl.create_default_context(cafile=ca_file)
    transport = httpx.HTTPTransport(http1=False, http2=True, verify=context, retries=0)
    with httpx.Client(transport=transport, timeout=60) as client:
        extensions = {"sni_hostname": HOST}
        headers = {"Host": f"{HOST}:{port}"}
        while not stop():
            try:
                answer = client.get(
                    f"https://127.0.0.1:{port}/", headers=headers, extensions=extensions
                )
                tally[f"{answer.http_version} {answer.status_code}"] += 1
            except httpx.HTTPError as error:
                tally[repr(error)] += 1


@contextmanager
def asking(port: int, ca_file: str) -> Iterator[dict[str, Counter[str]]]:
    """Ask by both protocols meanwhile; each yields a tally."""
    over = threading.Event()
    tallies: dict[str, Counter[str]] = {"h2": Counter(), "h3": Counter()}
    by_two = threading.Thread(target=ask_by_http2, args=(port, ca_file, tallies["h2"], over.is_set))
    by_three = threading.Thread(
        target=lambda: asyncio.run(ask_by_http3(port, ca_file, tallies["h3"], over.is_set))
    )
    for thread in (by_two, by_three):
        thread.start()
    try:
        yield tallies
    finally:
        over.set()
        for thread in (by_two, by_three):
            thread.join()


def test_connections_of_http2_and_http3_live_through_deploys(
    host: HostUnderTest, tmp_path: Path
) -> None:
    """One connection each, over three redeploys and a rollback: every request is answered."""
    folder = tmp_path / "court"
    host.run("new", "cook-county", str(folder))
    report = host.deploy(folder)
    manifest = folder / "chittyops.toml"
    text = manifest.read_text()

    with asking(host.https, report["connect"]["ca_file"]) as tallies:
        for number in range(3):
            manifest.write_text(text.replace("[env]\n", f'[env]\nROUND = "{number}"\n', 1))
            host.deploy(folder)
        assert host.run("rollback", "--app", "court", "--yes").returncode == 0

    assert set(tallies["h2"]) == {"HTTP/2 200"}, tallies
    assert set(tallies["h3"]) == {"200"}, tallies
    assert min(tally.total() for tally in tallies.values()) >= 50, tallies
