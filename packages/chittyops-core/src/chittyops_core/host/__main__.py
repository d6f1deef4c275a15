"""`python -m chittyops_core.host HOME`: the host's end of the protocol, on stdin and stdout.

With `--start` it starts all that serves and ends: what a machine runs when it starts.
"""

import sys

from chittyops_core.host.server import main

main(sys.argv[1:])
