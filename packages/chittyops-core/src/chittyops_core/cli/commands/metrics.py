"""`chittyops metrics`: what the agent measured."""

from __future__ import annotations

import time
from pathlib import Path

import click

from chittyops_core.cli.manual import manual


@click.group(
    "metrics",
    epilog=manual("chittyops metrics show", "chittyops metrics export looks.csv --since 7d"),
)
def command() -> None:
    """Show what the agent measures, or take its history elsewhere."""


@command.command("show", epilog=manual("chittyops metrics show | grep probe_success"))
def show() -> None:
    """Print the metrics of this moment, as Prometheus reads them.

    A Prometheus reads the same from the unix socket CHITTYOPS_HOME/run/agent.sock, path /metrics.
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
