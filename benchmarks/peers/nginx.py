"""nginx, switched by a new configuration and SIGHUP (nginx.org/en/docs/control.html)."""

from __future__ import annotations

import os
import signal

from peers.base import Peer

__all__ = ["Nginx"]

CONFIG = """\
daemon off;
{user}pid {folder}/nginx.pid;
worker_processes 2;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream app {{ server 127.0.0.1:{upstream}; keepalive 16; keepalive_timeout 1s; }}
    map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }}
    }}
}}
"""


class Nginx(Peer):
    name = "nginx reload"
    program = "nginx"
    install = "apt-get install nginx-light"

    def switch(self, upstream: int) -> None:
        self._write(upstream)
        os.kill(self.pid, signal.SIGHUP)

    def _command(self, upstream: int) -> list[str]:
        path = self._write(upstream)
        return [str(self.found()), "-e", "stderr", "-p", str(self.folder), "-c", path]

    def _write(self, upstream: int) -> str:
        path = self.folder / "nginx.conf"
        # Else its workers are somebody who may not enter the folder.
        user = "user root;\n" if os.geteuid() == 0 else ""
        path.write_text(
            CONFIG.format(folder=self.folder, port=self.port, upstream=upstream, user=user)
        )
        return str(path)
