"""Serve a parent until SIGTERM: DATA HOST:PORT [CERTIFICATE KEY]."""

from __future__ import annotations

import sys
from pathlib import Path

from chittyops_core.parent.server import Bind, open_parent, serve

if __name__ == "__main__":
    data, address, *tls = sys.argv[1:]
    files = (Path(tls[0]), Path(tls[1])) if tls else None
    serve(open_parent(Path(data)), Bind.parse(address, tls=files))
