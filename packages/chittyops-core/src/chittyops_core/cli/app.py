"""The command group, what all commands share, and how errors become exit codes."""

from __future__ import annotations

import json
import os
import signal
import sys
from functools import cache
from importlib import import_module
from typing import Any, NoReturn

import click

from chittyops_core.cli.completion import VARIABLE
from chittyops_core.errors import ChittyOpsError, DeployInterruptedError, UsageError

__all__ = ["cli", "main"]

# In the order in which one meets them.
COMMANDS = (
    "new", "plan", "deploy", "status", "releases", "rollback", "logs", "exec", "config",
    "secrets", "incidents", "notify", "maintenance", "metrics", "slo", "ping", "enroll",
    "bridge", "recover", "prune", "remove", "doctor", "host", "agent", "parent", "completion",
)  # fmt: skip

EPILOG = """\b
Begin with:
  chittyops new chitty-apps shop     a whole example app in ./shop
  chittyops deploy shop              put it into service, print its address
  chittyops status                   how everything is

\b
Every command has a --help with examples, every report --json. stdout carries
the result, stderr all else. `chittyops completion --help` is about the Tab key.

\b
Exit status:
  0 done, 1 refused or failed, 2 wrong usage, 130 interrupted

\b
Environment:
  CHITTYOPS_HOME: the folder of this host (`chittyops host --help` says more)
"""


class _LateGroup(click.Group):
    """Imports a command's file when it is called; adds what lites bring along."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *sorted(_brought_along())]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in COMMANDS:
            module = import_module(f"chittyops_core.cli.commands.{name}")
            command: click.Command = module.command
            return command
        entry = _brought_along().get(name)
        return entry.load() if entry else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            nearest = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
            raise click.UsageError(error.message + hint, ctx) from None


@cache
def _brought_along() -> dict[str, Any]:
    """Return the commands of installed lites: entry point group `chittyops.commands`."""
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group="chittyops.commands")}


@click.group(
    cls=_LateGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="chittyops-core", prog_name="chittyops")
def cli() -> None:
    """Put apps into service on this machine without losing a request, and take them back."""


def main() -> NoReturn:
    """Run the command line and exit."""
    # `kill` and a closed terminal undo as Ctrl-C does.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        status = cli.main(prog_name="chittyops", standalone_mode=False)
    except ChittyOpsError as error:
        sys.exit(_report(error))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("chittyops: interrupted", err=True)
        sys.exit(130)
    except Exception:
        if VARIABLE not in os.environ:
            raise
        # A lite that cannot be loaded says so when it is called, not while somebody types.
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _report(error: ChittyOpsError) -> int:
    """Print what failed and what to do, on stderr, and as JSON on stdout where that was asked."""
    for line in error.detail:
        click.echo(f"  {line}", err=True)
    click.echo(f"chittyops: {error.message}", err=True)
    if error.remedy:
        click.echo(f"           {error.remedy}", err=True)
    if "--json" in sys.argv[1:]:
        click.echo(json.dumps({"error": error.to_wire()}, indent=2))
    if isinstance(error, DeployInterruptedError):
        return 130
    return 2 if isinstance(error, UsageError) else 1
