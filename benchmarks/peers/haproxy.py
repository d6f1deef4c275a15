"""HAProxy, switched by `set server ... addr` on its runtime API (management guide, 9.3)."""

from __future__ import annotations

import socket

from peers.base import Peer

__all__ = ["HAProxy"]

CONFIG = """\
global
    stats socket {folder}/admin.sock mode 600 level admin
defaults
    mode http
    timeout connect 5s
    timeout client 75s
    timeout server 75s
    timeout tunnel 1h
frontend edge
    bind 127.0.0.1:{port}
    default_backend app
backend app
    server serving 127.0.0.1:{upstream} pool-purge-delay 1s
"""


class HAProxy(Peer):
    name = "HAProxy set server"
    program = "haproxy"
    install = "apt-get install haproxy"

    def switch(self, upstream: int) -> None:
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(f"{self.folder}/admin.sock")
            admin.sendall(f"set server app/serving addr 127.0.0.1 port {upstream}\n".encode())
            answer = b"".join(iter(lambda: admin.recv(4096), b"")).decode()
        # It says what it changed, and "no need to change" where the address is that already.
        assert "change" in answer, answer

    def _command(self, upstream: int) -> list[str]:
        path = self.folder / "haproxy.cfg"
        path.write_text(CONFIG.format(folder=self.folder, port=self.port, upstream=upstream))
        return [str(self.found()), "-db", "-f", str(path)]
