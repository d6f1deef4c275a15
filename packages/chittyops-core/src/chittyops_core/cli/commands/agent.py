"""`chittyops agent`: watch what serves, in the foreground."""

from __future__ import annotations

import os
import sys

import click

from chittyops_core.cli.manual import manual


@click.command("agent", epilog=manual("chittyops agent"))
def command() -> None:
    """Watch everything that serves on this host, until interrupted.

    The host runs it by itself, beside the edge (`host start --no-agent` does not); this is for
    looking at it. It says so when another one runs. Its log goes to stderr.

    \b
    What it watches:  the health of every service through the edge, its processes, what its
                      manifest has under [monitor.NAME], the edge, the disk
    What it shows:    http://status.localhost:PORT, `chittyops incidents`, `chittyops status --live`
    Whom it tells:    `chittyops notify`
    """
    from chittyops_core.host import HostClient

    with HostClient() as host:
        python, home = host.python, host.home
    sys.stdout.flush()
    words = ["-I", "-m", "chittyops_core.host.agent", str(home), "--no-wait"]
    os.execv(python, [str(python), *words])
