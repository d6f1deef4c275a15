"""`tcp`: can one connect?"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import ClassVar

from chittyops_core.monitor.probes.base import Deadline, Probe, Unit, Values
from chittyops_core.monitor.probes.net import Address, open_line

__all__ = ["TcpProbe"]


class TcpProbe(Probe):
    """Connect to the target, `host:port` or `unix:/path`, and hang up. It has no options."""

    kind = "tcp"
    values: ClassVar[Mapping[str, Unit]] = {
        "response_time": Unit.DURATION,
        "dns_time": Unit.DURATION,
        "connect_time": Unit.DURATION,
    }

    def _prepare(self, target: str) -> None:
        self._address = Address.parse(target)

    def _look(self, values: Values, deadline: Deadline) -> None:
        began = time.monotonic()
        with open_line(self._address, deadline, values):
            values["response_time"] = time.monotonic() - began
