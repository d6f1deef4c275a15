"""What app code may ask of the host that it runs on: over `$CHITTYOPS_SOCKET`, a line at a time.

Imported by apps, so it needs the standard library alone. An app holds no key and operates
nothing, not even itself; the agent knows who asks by the socket and by the kernel's word.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from chittyops_core.errors import HostError, UsageError

__all__ = ["Current"]

ANSWER_S = 5.0
MAX_ANSWER_BYTES = 1 << 20


class Current:
    """The release that this process belongs to.

    Attributes:
        app: Name of the app.
        environment: In which environment it runs.
        client: For which client; None where the kind has none.
        release: Id of the release.
        state_dir: The service's own folder, which outlives releases.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        """Read who this is from *environ*.

        Raises:
            UsageError: This process is no part of a release.
        """
        try:
            self.app = environ["CHITTYOPS_APP"]
            self.environment = environ["CHITTYOPS_ENVIRONMENT"]
            self.release = environ["CHITTYOPS_RELEASE"]
            self.state_dir = Path(environ["STATE_DIR"])
            self._socket = environ["CHITTYOPS_SOCKET"]
        except KeyError as error:
            raise UsageError(
                f"this process is no part of a release: {error} is not set",
                remedy="`chittyops exec -- COMMAND` runs a command as a part of one.",
            ) from None
        self.client = environ.get("CHITTYOPS_CLIENT")

    @property
    def metrics(self) -> ModuleType:
        """`chittyops_core.metrics`: counters, histograms, gauges and middleware."""
        from chittyops_core import metrics

        return metrics

    def ping(self, monitor: str, word: str = "") -> None:
        """Say that a job ran: '' for success, `start`, `fail` or an exit status.

        Raises:
            HostError: No agent answers, or it watches no heartbeat of that name.
        """
        self._ask({"type": "ping", "monitor": monitor, "word": word})

    def monitors(self) -> list[dict[str, Any]]:
        """Return how the service's own monitors stand, as `chittyops status --json` has them.

        Raises:
            HostError: No agent answers.
        """
        found: list[dict[str, Any]] = self._ask({"type": "state"})["monitors"]
        return found

    def _ask(self, said: dict[str, Any]) -> dict[str, Any]:
        line = json.dumps({"v": 1, **said}).encode() + b"\n"
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
                agent.settimeout(ANSWER_S)
                agent.connect(self._socket)
                agent.sendall(line)
                with agent.makefile("rb") as lines:
                    answer = json.loads(lines.readline(MAX_ANSWER_BYTES))
        except (OSError, ValueError) as error:
            raise HostError(
                f"the agent of this host does not answer: {error}",
                remedy="`chittyops host start --agent`, by an operator.",
            ) from error
        if not answer.get("ok"):
            raise HostError(f"the agent refuses: {answer.get('error')}")
        return dict(answer)
