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
    too for the service that it is about; this one does it for all, and says what it did. A
    rotation of a secret that was cut off is carried on with the value that it had begun with.
    """
    from chittyops_core.cli import render, rotation
    from chittyops_core.cli.progress import Progress
    from chittyops_core.host import HostClient

    with HostClient() as host, Progress() as progress:
        done = host.recover(None)
        rotated = rotation.carry_on(host, progress)
    if as_json:
        reports = [rotation.to_json(each) for each in rotated]
        render.print_json({"recovered": done, "rotated": reports})
        return
    for each in rotated:
        rotation.show(each)
    lines = [f"{slug}: settled the {what}" for slug, settled in done.items() for what in settled]
    if lines or not rotated:
        click.echo("\n".join(lines) if lines else "There was nothing to recover.")
