"""`chittyops exec`: run a command inside the serving release."""

from __future__ import annotations

import sys

import click

from chittyops_core.cli.manual import manual
from chittyops_core.cli.options import service_of, service_options


@click.command(
    "exec",
    context_settings={"ignore_unknown_options": True},
    epilog=manual(
        "chittyops exec -- python -m portal shell",
        "chittyops exec --app portal --client acme -- sh -c 'ls -l $STATE_DIR'",
        status="that of the command; 1 when it could not be run, 130 interrupted",
    ),
)
@service_options
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
def command(app: str | None, environment: str, client: str | None, argv: tuple[str, ...]) -> None:
    """Run a command with the serving release's code, environment, secrets and state.

    Write -- before it, so that its options are its own. It runs once, beside the instances, in
    the release's folder; it is not restarted and gets no requests.
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
