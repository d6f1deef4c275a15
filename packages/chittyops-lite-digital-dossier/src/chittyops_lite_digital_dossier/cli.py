"""`chittyops clients`: who an app is deployed for."""

from __future__ import annotations

from pathlib import Path

import click

from chittyops_core.cli.manual import manual
from chittyops_core.cli.options import folder_argument, json_option


@click.command("clients", epilog=manual("chittyops clients portal", "chittyops clients --json"))
@folder_argument
@json_option
def clients(folder: Path, as_json: bool) -> None:
    """List the clients of the app in FOLDER, and what serves for each.

    A client has a file clients/NAME.toml in FOLDER, or something that serves for it.
    """
    from chittyops_core import App
    from chittyops_core.cli import render
    from chittyops_core.host import HostClient
    from chittyops_lite_digital_dossier.clients import known_clients

    app = App.load(folder)
    with HostClient() as host:
        report = host.status()
    serving = {
        each.service.client: each for each in report.services if each.service.app == app.name
    }
    names = sorted(set(known_clients(app.folder)) | {name for name in serving if name})
    rows = [
        {
            "client": name,
            "serving": serving[name].serving if name in serving else None,
            "url": address.url if name in serving and (address := serving[name].address) else None,
        }
        for name in names
    ]
    if as_json:
        render.print_json({"app": app.name, "clients": rows})
    elif not rows:
        click.echo("No clients yet. Write clients/NAME.toml, then deploy with --client NAME.")
    else:
        cells = [(r["client"] or "", r["serving"] or "-", r["url"] or "-") for r in rows]
        render.table(("CLIENT", "RELEASE", "URL"), cells)
