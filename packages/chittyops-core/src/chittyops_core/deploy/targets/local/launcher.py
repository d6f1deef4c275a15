"""Become one process of a release: read a launch file, take on its limits and environment, exec.

Run as `python -I -S launcher.py FILE`. Only the standard library, and little of it: this runs
at every start of every process. The launch file is JSON, 0600, and holds secrets, which is why
they are neither in the process manager's configuration nor on a command line:

    {"argv": [...], "cwd": "...", "env": {...}, "socket": path|null, "memory": bytes|null,
     "once": bool}
"""

import json
import os
import sys


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        launch = json.load(file)
    if launch["once"]:
        os.unlink(sys.argv[1])
    if launch["socket"]:
        # A server that was killed leaves its socket's name behind, and not all clear it away.
        try:
            os.unlink(launch["socket"])
        except FileNotFoundError:
            pass
    if launch["memory"]:
        import resource

        # RLIMIT_DATA counts private writable memory (Linux >= 4.7); RLIMIT_AS would also count
        # what runtimes reserve and never touch.
        limit = launch["memory"]
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    os.umask(0o077)
    try:
        os.chdir(launch["cwd"])
        os.execvpe(launch["argv"][0], launch["argv"], launch["env"])
    except OSError as error:
        sys.exit(f"chittyops: cannot start {launch['argv'][0]!r}: {error.strerror}")


main()
