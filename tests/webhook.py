"""A team's own webhook: takes what Apprise's `json://` posts, and keeps it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Post = dict[str, Any]


class Webhook:
    """Listens on a port of this machine until it is closed.

    Attributes:
        posts: All that was posted, in order, whatever it was answered with.
        keys: The Idempotency-Key of each.
        answer: Gives each post its status; a path that holds `deaf` gets 500.
    """

    def __init__(self, port: int = 0) -> None:
        self.posts: list[Post] = []
        self.keys: list[str | None] = []
        self.answer: Callable[[Post], int] = lambda _: 200
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if "deaf" in self.path:
                    status = 500
                else:
                    hook.posts.append(body)
                    hook.keys.append(self.headers["Idempotency-Key"])
                    status = hook.answer(body)
                with suppress(OSError):  # Who told it was killed meanwhile.
                    self.send_response(status)
                    self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        """Its address, as Apprise writes it."""
        return f"json://127.0.0.1:{self.port}/hook"

    @property
    def ids(self) -> list[str]:
        """Of all messages, in the order in which they came."""
        return [post["message_id"] for post in self.posts]

    @property
    def titles(self) -> list[str]:
        return [post["title"] for post in self.posts]

    @property
    def fired(self) -> list[str]:
        """The ids of those that tell of something that began."""
        return [post["message_id"] for post in self.posts if post.get("state") == "firing"]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
