"""`python -m chittyops_core.host.tell HOME`: tell the host's channels what is in the outbox.

A process of its own, which outlives an agent that is killed, reads the channels' addresses where
they are kept, and ends when everything was told (`monitor.deliver`).
"""

from __future__ import annotations

import sys
from pathlib import Path

from chittyops_core._kit import logs
from chittyops_core.deploy.targets.local import Layout
from chittyops_core.errors import ChittyOpsError
from chittyops_core.host.channels import Channels
from chittyops_core.monitor.deliver import Delivery, run
from chittyops_core.monitor.outbox import Outbox
from chittyops_core.secrets import SecretStore

__all__ = ["main"]

log = logs.get_logger("chittyops.host.tell")


def main(home: Path) -> int:
    """Return 0 when everything was told or another process tells it."""
    logs.configure("INFO")
    layout = Layout(home)
    try:
        addresses = Channels(layout, SecretStore(layout.secrets)).addresses()
    except ChittyOpsError as error:
        log.error("tell.no_channels", error=error.message)
        return 1
    if not addresses:
        # What nobody was told when it happened is no news to whoever is named later.
        outbox = Outbox(layout.monitor_store)
        outbox.settle(())
        outbox.close()
        return 0
    return run(layout.monitor_store, Delivery(addresses))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
