"""`chittyops remove`: take services off this host."""

from __future__ import annotations

import click

from chittyops_core.cli.manual import manual
from chittyops_core.cli.options import confirm, json_option, service_of, service_options


@click.command(
    "remove",
    epilog=manual(
        "chittyops remove --app court --env staging",
        "chittyops remove --all --yes",
    ),
)
@service_options
@click.option("--all", "everything", is_flag=True, help="All services and the host runtime too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def command(
    app: str | None,
    environment: str,
    client: str | None,
    everything: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Stop a service and delete its releases. Its state directory stays, and so does the journal.

    With --all: every service, the edge, the process manager, secrets and the host runtime go;
    only the journal and the state directories stay.
    """
    from chittyops_core.cli import render
    from chittyops_core.errors import UsageError
    from chittyops_core.host import HostClient

    if everything and app is not None:
        raise UsageError("--all and --app exclude each other")
    with HostClient() as host:
        if everything:
            services = [each.service for each in host.status().services]
            click.echo(f"This removes from {host.home}:", err=True)
            for service in services:
                click.echo(f"  {service}", err=True)
            click.echo("  every release, secret, certificate and the host runtime", err=True)
            click.echo("It keeps the journal and the state directories.", err=True)
        else:
            services = [service_of(app, environment, client)]
            click.echo(f"This removes {services[0]} and keeps its state directory.", err=True)
        if not yes:
            confirm("Do this?")
        if everything:
            host.erase()
        else:
            host.remove(services[0])
    if as_json:
        render.print_json({"removed": [render.service_json(service) for service in services]})
    else:
        click.echo("removed")
