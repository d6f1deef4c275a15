"""Real servers in threads: each answers by a function of its connection."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Answer = Callable[[socket.socket], None]


def read_request(sock: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data and (more := sock.recv(65536)):
        data += more
    return data


def says(response: bytes) -> Answer:
    """Return an answer: read a request, send *response*, close."""

    def answer(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(response)

    return answer


OK = says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@contextmanager
def serve(answer: Answer, *, path: Path | None = None, certificate: Path | None = None,
          threads: int = 1) -> Iterator[int]:  # fmt: skip
    """Serve on loopback, or on the unix socket *path*; yield the port. Ends all connections."""
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    family = socket.AF_UNIX if path else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.bind(str(path) if path else ("127.0.0.1", 0))
    listener.listen(1024)
    is_over = threading.Event()

    def run() -> None:
        while not is_over.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.settimeout(10)
            try:
                if context is not None:
                    sock = context.wrap_socket(sock, server_side=True)
                answer(sock)
            except OSError:
                pass
            finally:
                sock.close()

    workers = [threading.Thread(target=run, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield 0 if path else listener.getsockname()[1]
    finally:
        is_over.set()
        # shutdown, not close, wakes who waits in accept.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for worker in workers:
            worker.join(timeout=15)
