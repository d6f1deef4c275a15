"""`chittyops exec`: run a command inside the serving release."""

from __future__ import annotations

import sys

import click

from chittyops_core.cli.options import service_of, service_options


@click.command("exec", context_settings={"ignore_unknown_options": True})
@service_options
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
def command(app: str | None, environment: str, client: str | None, argv: tuple[str, ...]) -> None:
    """Run a command with the serving release's code, environment, secrets and state.

    For example: chittyops exec -- python -m portal shell
    """
    import subprocess

    from chittyops_core.host import HostClient

    with HostClient() as host:
        command_, env = host.exec_argv(service_of(app, environment, client), list(argv))
    # The environment travels in a private file that is gone once it was read.
    try:
        sys.exit(subprocess.run(command_, env=env, check=False).returncode)
    except KeyboardInterrupt:
        sys.exit(130)
