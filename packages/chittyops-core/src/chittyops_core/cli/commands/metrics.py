"""`chittyops metrics`: what the agent measured."""

from __future__ import annotations

import time
from pathlib import Path

import click

from chittyops_core.cli.manual import manual
from chittyops_core.cli.options import json_option


@click.group(
    "metrics",
    epilog=manual("chittyops metrics show", "chittyops metrics export looks.csv --since 7d"),
)
def command() -> None:
    """Show what the agent measures, or take its history elsewhere."""


@command.command("show", epilog=manual("chittyops metrics show"))
def show() -> None:
    """Print the metrics of this moment, as Prometheus reads them.

    A Prometheus on this machine reads the same after `host start --metrics-port 9464`; other tools
    from the unix socket CHITTYOPS_HOME/run/agent.sock, path /metrics.
    """
    from chittyops_core.host import HostClient

    with HostClient() as host:
        click.echo(host.metrics(), nl=False)


@command.command(
    "export",
    epilog=manual(
        "chittyops metrics export looks.csv",
        "chittyops metrics export year.parquet --step hour --since 365d",
    ),
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--step", type=click.Choice(["raw", "minute", "hour"]), default="minute", show_default=True,
    help="Every look (kept 48 h), or sums by minute (35 days) or hour (13 months).",
)  # fmt: skip
@click.option("--since", default="1d", show_default=True, metavar="TIME", help="How far back.")
def export(file: Path, step: str, since: str) -> None:
    """Write the history of all monitors to FILE, as .csv or .parquet.

    Counts of good looks and of all, and how long they took; never averages of ratios. Parquet
    needs pyarrow: pip install 'chittyops-core[parquet]'.
    """
    from chittyops_core.host import HostClient
    from chittyops_core.model.manifest_reader import parse_duration

    format = file.suffix.removeprefix(".")
    if format not in ("csv", "parquet"):
        raise click.UsageError(f"FILE ends in .csv or .parquet, not {file.suffix!r}")
    try:
        length = parse_duration(since).total_seconds()
    except ValueError as error:
        raise click.UsageError(f"--since {error}") from error
    now = time.time()
    with HostClient() as host:
        host.export_metrics(file.absolute(), format, step=step, since=now - length, until=now)
    click.echo(str(file))


@command.group(
    "push",
    epilog=manual(
        "chittyops metrics push add collector http://127.0.0.1:4318/v1/metrics --format otlp",
        "chittyops metrics push list",
    ),
)
def push() -> None:
    """Send the metrics elsewhere too, every 15 s: OpenTelemetry or Prometheus."""


@push.command(
    "add",
    epilog=manual(
        "chittyops metrics push add collector http://127.0.0.1:4318/v1/metrics --format otlp",
        "chittyops metrics push add p https://prom.example.org/w --format remote-write",
    ),
)
@click.argument("name")
@click.argument("url")
@click.option(
    "--format", required=True, type=click.Choice(["otlp", "remote-write"]),
    help="OTLP/HTTP in JSON, or Prometheus remote-write 1.0.",
)  # fmt: skip
@click.option(
    "--secret", metavar="NAME", help="A secret of this host, sent as the header Authorization."
)
def push_add(name: str, url: str, format: str, secret: str | None) -> None:
    """Send to URL, known as NAME from now on. What it cannot take waits, 25 minutes of it."""
    from chittyops_core.host import HostClient

    with HostClient() as host:
        host.set_export(name, url, format, secret)
    click.echo(f"Metrics go to {name} too.")


@push.command("list", epilog=manual("chittyops metrics push list --json"))
@json_option
def push_list(as_json: bool) -> None:
    """List where metrics are sent."""
    from chittyops_core.cli import render
    from chittyops_core.host import HostClient

    with HostClient() as host:
        found = host.exports()
    if as_json:
        render.print_json({"exports": found})
    elif not found:
        click.echo("Metrics are sent nowhere.")
    else:
        rows = [(e["name"], e["format"], e["url"], e["secret"] or "-") for e in found]
        render.table(("NAME", "FORMAT", "URL", "SECRET"), rows)


@push.command("remove", epilog=manual("chittyops metrics push remove collector"))
@click.argument("name")
def push_remove(name: str) -> None:
    """Send to NAME no more."""
    from chittyops_core.host import HostClient

    with HostClient() as host:
        host.unset_export(name)
    click.echo(f"Nothing goes to {name} any more.")
