"""`chittyops simple`: the one command of this kind."""

from __future__ import annotations

from pathlib import Path

import click

from chittyops_core.cli.manual import manual


@click.command("simple", epilog=manual("chittyops simple", "chittyops simple my-flask-folder"))
@click.argument("folder", default=".", type=click.Path(file_okay=False, path_type=Path))
def simple(folder: Path) -> None:
    """Put the app of FOLDER online on this machine, and say so in plain words.

    The folder needs no file for it: what the app is made with is recognised, and said first. If
    a newer version does not work, the one before it stays online.
    """
    from chittyops_core.cli.progress import Progress
    from chittyops_lite_chitty_apps.ops import ChittyAppsOpsLite
    from chittyops_lite_chitty_apps.plain import in_plain_words

    with Progress() as progress:
        lite = ChittyAppsOpsLite(notify=progress)
        app = lite.load(folder)
        click.echo(in_plain_words(app), err=True)
        done = lite.deploy_simple(app)
    if done.outcome == "unchanged":
        click.echo("It is online already, in this very version:", err=True)
    else:
        click.echo("It is online. Open it here:", err=True)
    click.echo(done.address.url)
    click.echo(
        "Not what you wanted? `chittyops rollback` brings the version before back.", err=True
    )
