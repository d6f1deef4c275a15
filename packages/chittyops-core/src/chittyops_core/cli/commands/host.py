"""`chittyops host`: the processes that carry all services."""

from __future__ import annotations

import click

from chittyops_core.cli.options import json_option


@click.group("host")
def command() -> None:
    """Start, stop or look at this host: process manager, edge proxy and all services.

    The first deploy starts it. The edge listens on 127.0.0.1, HTTP on port 7080 and HTTPS on
    port 7443, unless `host start` or CHITTYOPS_HTTP_PORT and CHITTYOPS_HTTPS_PORT say otherwise
    before its first start.
    """


@command.command("start")
@click.option("--http-port", type=click.IntRange(1, 65535), help="TCP port of HTTP.")
@click.option("--https-port", type=click.IntRange(1, 65535), help="TCP port of HTTPS.")
@click.option("--bind", multiple=True, metavar="ADDRESS", help="Listen there, such as 0.0.0.0.")
@json_option
def start(
    http_port: int | None, https_port: int | None, bind: tuple[str, ...], as_json: bool
) -> None:
    """Start everything that should serve, as after a reboot. Does nothing to what runs."""
    from chittyops_core.cli import render
    from chittyops_core.host import HostClient

    with HostClient() as host:
        report = host.start_host(http=http_port, https=https_port, bind=bind)
    if as_json:
        render.print_json(render.status_json(report))
    else:
        render.print_status(report)


@command.command("stop")
@click.option("--grace", default=10.0, show_default=True, help="Seconds before SIGKILL.")
def stop(grace: float) -> None:
    """Stop every process of this host. Releases, state and secrets stay."""
    from chittyops_core.host import HostClient

    with HostClient() as host:
        host.stop_host(grace_s=grace)
    click.echo("The host is stopped. `chittyops host start` brings everything back.", err=True)


@command.command("status")
@json_option
def status(as_json: bool) -> None:
    """Show where the host keeps its things, and whether its parts run."""
    from chittyops_core._kit import wire
    from chittyops_core.cli import render
    from chittyops_core.host import HostClient

    with HostClient() as host:
        report = host.status()
    if as_json:
        render.print_json(wire.to_wire(report.host))
        return
    found = report.host
    click.echo(f"home        {found.home}")
    click.echo(f"runtime     {found.runtime}")
    click.echo(f"supervisord {found.supervisor_pid or 'stopped'}")
    edge = "running" if found.is_edge_running else "stopped"
    click.echo(f"edge        {edge}, http {found.http_port}, https {found.https_port}, "
               f"on {', '.join(found.bind)}")  # fmt: skip
    click.echo(f"services    {len(report.services)}")
