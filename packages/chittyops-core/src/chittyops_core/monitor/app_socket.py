"""The socket on which one service's processes speak to the agent, a line at a time."""

from __future__ import annotations

import json
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from attrs import define, field

from chittyops_core._kit.logs import get_logger
from chittyops_core._kit.private_socket import bind_private, peer_uid, remove_own
from chittyops_core.monitor.app_report import MAX_LINE_BYTES

__all__ = ["AppSocket", "Handler"]

Handler = Callable[[str, bytes], bytes | None]
"""Takes the service's slug and a line without its end; returns the answer, a line with its end."""

MAX_CONNECTIONS = 128
IDLE_S = 60.0
"""A connection without a whole line for so long is closed; reporters say that they live sooner."""
MAX_UNREAD_BYTES = 1 << 20
"""Answers kept for a peer that does not read them."""

log = get_logger("chittyops.monitor.apps")


@define(eq=False)
class _Peer:
    connection: socket.socket
    heard_at: float
    incoming: bytearray = field(factory=bytearray)
    outgoing: bytearray = field(factory=bytearray)


class AppSocket:
    """Listens at *path* for processes of *service* that run as *uid*; one thread serves them all.

    A peer that sends nothing, reads nothing or floods delays only peers of its own service.

    Args:
        path: Of the socket; mode 0600, owned by *uid*. Its folder must let *uid* pass.
        service: Slug that is passed to *handler*.
        handler: See `Handler`; called in the socket's thread. What it raises is logged and
            answered as an error.
        uid: The only user that may speak, by the kernel's word (SO_PEERCRED).
        idle_s: Seconds after which a silent connection is closed.
        max_connections: Further ones are closed at once.
    """

    def __init__(
        self,
        path: Path,
        service: str,
        handler: Handler,
        uid: int,
        *,
        idle_s: float = IDLE_S,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self.path = path
        self.service = service
        self._handler = handler
        self._uid = uid
        self._idle_s = idle_s
        self._max_connections = max_connections
        self._peers: dict[socket.socket, _Peer] = {}
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen and serve until `close`. Raises OSError when the socket cannot be made."""
        self._listener = bind_private(self.path, owner=self._uid)
        self._inode = self.path.lstat().st_ino
        self._listener.setblocking(False)
        self._stop_read, self._stop_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._stop_read, selectors.EVENT_READ)
        self._thread = threading.Thread(
            target=self._serve, name=f"apps-{self.service}", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop, hang up and remove the socket, unless a successor's stands there. May be called
        again."""
        if self._thread is None:
            return
        os.write(self._stop_write, b"x")
        self._thread.join()
        self._thread = None
        remove_own(self.path, self._inode)
        for peer in list(self._peers.values()):
            self._drop(peer)
        self._listener.close()
        self._selector.close()
        os.close(self._stop_read)
        os.close(self._stop_write)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        while True:
            for key, events in self._selector.select(timeout=min(self._idle_s / 2, 5.0)):
                if key.fileobj == self._stop_read:
                    return
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._turn(key.data, events)
            now = time.monotonic()
            for peer in list(self._peers.values()):
                if now - peer.heard_at > self._idle_s:
                    self._drop(peer)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            log.warning("apps.not_accepted", service=self.service, why=str(error))
            time.sleep(0.05)  # Out of file descriptors: this does not pass by spinning.
            return
        connection.setblocking(False)
        peer = _Peer(connection, time.monotonic())
        self._peers[connection] = peer
        self._selector.register(connection, selectors.EVENT_READ, peer)
        if peer_uid(connection) != self._uid:
            log.warning("apps.refused", service=self.service, uid=peer_uid(connection))
            self._refuse(peer, "this socket belongs to another user")
        elif len(self._peers) > self._max_connections:
            self._refuse(peer, "too many connections")

    def _turn(self, peer: _Peer, events: int) -> None:
        try:
            if events & selectors.EVENT_READ:
                chunk = peer.connection.recv(65_536)
                if not chunk:
                    self._drop(peer)
                    return
                peer.incoming += chunk
                self._read_lines(peer)
            if peer.connection in self._peers:
                self._write(peer)
        except BlockingIOError:
            pass
        except OSError:
            self._drop(peer)

    def _read_lines(self, peer: _Peer) -> None:
        while (end := peer.incoming.find(b"\n")) >= 0:
            line = bytes(peer.incoming[:end])
            del peer.incoming[: end + 1]
            peer.heard_at = time.monotonic()
            if line.strip():
                peer.outgoing += self._answer(line)
        if len(peer.incoming) > MAX_LINE_BYTES:
            self._refuse(peer, f"the line is longer than {MAX_LINE_BYTES} bytes")
        elif len(peer.outgoing) > MAX_UNREAD_BYTES:
            self._drop(peer)

    def _answer(self, line: bytes) -> bytes:
        try:
            answer = self._handler(self.service, line)
        except Exception as error:  # A bug of ours may not end the service's thread.
            log.error("apps.failed", service=self.service, why=repr(error))
            return _error("the agent could not take this line")
        return _error("no such type") if answer is None else answer

    def _refuse(self, peer: _Peer, why: str) -> None:
        peer.outgoing += _error(why)
        try:
            self._write(peer)
        except OSError:
            pass
        self._drop(peer)

    def _write(self, peer: _Peer) -> None:
        if peer.outgoing:
            try:
                sent = peer.connection.send(peer.outgoing)
            except BlockingIOError:
                sent = 0
            del peer.outgoing[:sent]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.outgoing else 0)
        if self._selector.get_key(peer.connection).events != wanted:
            self._selector.modify(peer.connection, wanted, peer)

    def _drop(self, peer: _Peer) -> None:
        if self._peers.pop(peer.connection, None) is not None:
            self._selector.unregister(peer.connection)
            peer.connection.close()


def _error(why: str) -> bytes:
    return json.dumps({"v": 1, "ok": False, "error": why}).encode() + b"\n"
