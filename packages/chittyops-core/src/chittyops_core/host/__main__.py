"""`python -m chittyops_core.host HOME`: the host's end of the protocol, on stdin and stdout."""

import sys

from chittyops_core.host.server import main

main(sys.argv[1:])
