"""`chittyops logs`: what an app prints."""

from __future__ import annotations

import click

from chittyops_core.cli import completion
from chittyops_core.cli.manual import manual
from chittyops_core.cli.options import service_of, service_options


@click.command(
    "logs",
    epilog=manual(
        "chittyops logs --app court --follow",
        "chittyops logs --app court --lines 500 --release 74d67a9015210678",
    ),
)
@service_options
@click.option("-f", "--follow", is_flag=True, help="Keep printing new lines until Ctrl-C.")
@click.option("-n", "--lines", default=50, show_default=True, help="How many old lines.")
@click.option("--release", metavar="ID", shell_complete=completion.releases,
              help="Of this release; of the serving one when left out.")  # fmt: skip
def command(
    app: str | None,
    environment: str,
    client: str | None,
    follow: bool,
    lines: int,
    release: str | None,
) -> None:
    """Print what the app's processes print, each line after the instance that said it.

    Lines are those of stdout and stderr, the oldest first.
    """
    from chittyops_core.deploy.engine import Event
    from chittyops_core.host import HostClient

    def show(event: Event) -> None:
        click.echo(event.text)

    with HostClient(on_event=show) as host:
        try:
            host.logs(
                service_of(app, environment, client), release=release, lines=lines, follow=follow
            )
        except KeyboardInterrupt:
            host.interrupt()
