"""`chittyops recover`: settle what a crash left."""

from __future__ import annotations

import click

from chittyops_core.cli.manual import manual
from chittyops_core.cli.options import json_option


@click.command("recover", epilog=manual("chittyops recover"))
@json_option
def command(as_json: bool) -> None:
    """Bring every deploy that a crash cut off to its end, and start what should serve.

    A deploy that had switched is finished, any other is undone. Every other command does this
    too for the service that it is about; this one does it for all, and says what it did.
    """
    from chittyops_core.cli import render
    from chittyops_core.host import HostClient

    with HostClient() as host:
        done = host.recover(None)
    if as_json:
        render.print_json({"recovered": done})
        return
    lines = [f"{slug}: settled the {what}" for slug, settled in done.items() for what in settled]
    click.echo("\n".join(lines) if lines else "There was nothing to recover.")
