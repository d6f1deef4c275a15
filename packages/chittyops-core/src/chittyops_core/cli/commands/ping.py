"""`chittyops ping`: a job says that it ran."""

from __future__ import annotations

import click

from chittyops_core.cli.manual import manual
from chittyops_core.cli.options import service_of, service_options


@click.command(
    "ping",
    epilog=manual(
        "chittyops ping --app shop nightly",
        "chittyops ping --app shop nightly start",
        "chittyops ping --app shop nightly 3",
    ),
)
@service_options
@click.argument("name")
@click.argument("word", default="")
def command(app: str | None, environment: str, client: str | None, name: str, word: str) -> None:
    """Say that the job NAME ran, so that its silence is noticed.

    WORD is nothing for success, `start` when it begins, `fail`, or an exit status. The manifest
    says how often it should come: [monitor.NAME] with probe = "heartbeat".
    """
    from chittyops_core.host import HostClient

    service = service_of(app, environment, client)
    with HostClient() as host:
        host.ping(f"{service.slug}/{name}", word)
