"""`chittyops host`: the processes that carry all services."""

from __future__ import annotations

import click

from chittyops_core.cli.manual import manual
from chittyops_core.cli.options import confirm, json_option


@click.group(
    "host",
    epilog=manual(
        "chittyops host status",
        "chittyops host stop",
        "chittyops host start",
        environment=(
            "CHITTYOPS_HOME: where the host keeps everything, an absolute path;\n"
            "    /var/lib/chittyops for root, else $XDG_STATE_HOME/chittyops, else\n"
            "    ~/.local/state/chittyops\n"
            "  CHITTYOPS_HTTP_PORT, CHITTYOPS_HTTPS_PORT: ports of the edge at its first start\n"
            "  CHITTYOPS_AGENT: `off` leaves the agent out at its first start\n"
            "  CHITTYOPS_CADDY: path of the Caddy to run instead of the installed one"
        ),
    ),
)
def command() -> None:
    """Start, stop or look at this host: process manager, edge proxy and all services.

    The first deploy starts it. The edge listens on 127.0.0.1, HTTP on port 7080 and HTTPS on
    port 7443, unless `host start` or CHITTYOPS_HTTP_PORT and CHITTYOPS_HTTPS_PORT say otherwise
    before its first start.
    """


@command.command(
    "start",
    epilog=manual(
        "chittyops host start",
        "chittyops host start --http-port 80 --https-port 443 --bind 0.0.0.0 --bind '[::]'",
        "chittyops host start --acme-email ops@example.org",
    ),
)
@click.option("--http-port", type=click.IntRange(1, 65535), help="TCP port of HTTP.")
@click.option("--https-port", type=click.IntRange(1, 65535), help="TCP port of HTTPS.")
@click.option("--bind", multiple=True, metavar="ADDRESS", help="Listen there, such as 0.0.0.0.")
@click.option("--acme-email", metavar="EMAIL", help="Certify public names by ACME; tell EMAIL.")
@click.option(
    "--acme-directory", metavar="URL", help="ACME directory; Let's Encrypt's if not given."
)
@click.option(
    "--acme-root", type=click.Path(exists=True, dir_okay=False, resolve_path=True),
    help="PEM file of the authority that the ACME directory's own certificate is from.",
)  # fmt: skip
@click.option("--no-acme", is_flag=True, help="Certify every name by Caddy's own authority again.")
@click.option("--disk-budget", metavar="SIZE", help="All artifacts may take, such as 20G; 0: any.")
@click.option(
    "--manager", type=click.Choice(["supervisor", "systemd"]),
    help="What keeps the processes running; supervisor if never given.",
)  # fmt: skip
@click.option("--agent/--no-agent", default=None, help="Watch what serves; on if never given.")
@click.option("--metrics-port", type=click.IntRange(0, 65535),
              help="Show /metrics on this port of this machine; 0: on none.")  # fmt: skip
@json_option
def start(
    http_port: int | None,
    https_port: int | None,
    bind: tuple[str, ...],
    acme_email: str | None,
    acme_directory: str | None,
    acme_root: str | None,
    no_acme: bool,
    disk_budget: str | None,
    manager: str | None,
    agent: bool | None,
    metrics_port: int | None,
    as_json: bool,
) -> None:
    """Start everything that should serve, as after a reboot. Does nothing to what runs.

    The options are kept; those of the edge change only while the host is stopped. A host on the
    internet has those of the second and the third example together.

    With ACME (RFC 8555) a public name of a service that wants TLS gets its certificate at its
    first visit; the authority must reach ports 80 or 443 under that name. Names below .localhost
    are always certified by Caddy's own authority.

    With --manager systemd each process is a unit: of the system for root, else of the user.
    """
    from chittyops_core.cli import render
    from chittyops_core.host import HostClient

    acme = {"email": acme_email, "directory": acme_directory, "root": acme_root}
    is_acme = any(acme.values())
    if is_acme and no_acme:
        raise click.UsageError("--no-acme goes with none of the other --acme options")
    with HostClient() as host:
        report = host.start_host(
            http=http_port, https=https_port, bind=bind,
            acme=acme if is_acme else None, no_acme=no_acme, disk_budget=_bytes(disk_budget),
            manager=manager, agent=agent, metrics=metrics_port,
        )  # fmt: skip
    if as_json:
        render.print_json(render.status_json(report))
    else:
        render.print_status(report)


def _bytes(text: str | None) -> int | None:
    from chittyops_core.model.manifest_reader import parse_size

    if text in (None, "0"):
        return None if text is None else 0
    try:
        return parse_size(text)
    except ValueError as error:
        raise click.UsageError(f"--disk-budget {error}") from error


@command.command("stop", epilog=manual("chittyops host stop", "chittyops host stop --grace 60"))
@click.option("--grace", default=10.0, show_default=True, help="Seconds before SIGKILL.")
def stop(grace: float) -> None:
    """Stop every process of this host. Releases, state and secrets stay."""
    from chittyops_core.host import HostClient

    with HostClient() as host:
        host.stop_host(grace_s=grace)
    click.echo("The host is stopped. `chittyops host start` brings everything back.", err=True)


@command.command("upgrade", epilog=manual("chittyops host upgrade"))
@json_option
def upgrade(as_json: bool) -> None:
    """Let the newest installed version carry what an older one started.

    Upgrade the packages first: pip install --upgrade chittyops-lite-...; any command then makes
    the host runtime of the new version, and this one moves the running host over. Services go on
    as they are. When the new version has another Caddy, that takes over: requests under way are
    finished, WebSockets end, and how many connections there were is told.
    """
    from attrs import asdict

    from chittyops_core.cli import render
    from chittyops_core.host import HostClient

    with HostClient() as host:
        report = host.upgrade_host()
    if as_json:
        render.print_json(asdict(report))
        return
    if report.before in (None, report.after):
        click.echo(f"nothing to do: the newest runtime is {report.after}")
    else:
        click.echo(f"from {report.before}\nto   {report.after}")
        click.echo(
            "the edge went on with the same Caddy"
            if report.connections is None
            else f"another Caddy took over; the edge had {report.connections} connections"
        )
    for folder in report.deleted:
        click.echo(f"deleted {folder}")


@command.command("status", epilog=manual("chittyops host status --json"))
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
    if found.is_outdated:
        click.echo(f"            but what runs is from {found.running}; `chittyops host upgrade`")
    pid = f"pid {found.supervisor_pid}" if found.supervisor_pid else "stopped"
    click.echo(f"manager     {found.manager}, {pid}")
    edge = "running" if found.is_edge_running else "stopped"
    click.echo(f"edge        {edge}, http {found.http_port}, https {found.https_port}, "
               f"on {', '.join(found.bind)}")  # fmt: skip
    click.echo(f"public TLS  {found.acme or 'Caddy’s own authority'}")
    click.echo(f"services    {len(report.services)}")


@command.command(
    "enable", epilog=manual("chittyops host enable --print", "chittyops host enable --yes")
)
@click.option("--print", "only_print", is_flag=True, help="Print what would be written; no more.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def enable(only_print: bool, yes: bool, as_json: bool) -> None:
    """Have the host started when this machine starts.

    By a systemd unit where systemd runs (of the system for root, else of the user), by an
    `@reboot` line in the user's crontab where it does not. What served then serves again, whatever
    has become of the environment that this command ran from.
    """
    from chittyops_core.cli import render
    from chittyops_core.host import HostClient

    with HostClient() as host:
        plan = host.boot()
        if only_print:
            click.echo(plan.text, nl=False)
            return
        if not plan.is_enabled:
            render.print_boot(plan)
            if not yes:
                confirm("Do this?")
            plan = host.enable_boot()
    if as_json:
        render.print_json(render.boot_json(plan))
    else:
        click.echo(f"The host starts with this machine, by {plan.how} ({plan.place}).")


@command.command("disable", epilog=manual("chittyops host disable --yes"))
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def disable(yes: bool, as_json: bool) -> None:
    """Take away what `host enable` wrote. What runs goes on."""
    from chittyops_core.cli import render
    from chittyops_core.host import HostClient

    with HostClient() as host:
        plan = host.boot()
        if plan.written is not None:
            click.echo(f"This takes out of {plan.place}:", err=True)
            click.echo(plan.written, nl=False, err=True)
            if not yes:
                confirm("Do this?")
            plan = host.disable_boot()
    if as_json:
        render.print_json(render.boot_json(plan))
    else:
        click.echo("The host does not start with this machine.")
