"""Appends to a trail until it is killed, and tells of each entry once it is on the disk.

python trail_driver.py FOLDER NAME SIZE
"""

from __future__ import annotations

import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chittyops_core.trail.log import Log
from chittyops_core.trail.note import Signer

NAME = "trail.test/log"
KEY = Ed25519PrivateKey.from_private_bytes(b"a key for tests, 32 bytes long..")


def main() -> None:
    folder, name, size = Path(sys.argv[1]), sys.argv[2].encode(), int(sys.argv[3])
    log, turn = Log(folder, Signer(NAME, KEY)), 0
    while True:
        entries = [b"%b %d %d" % (name, turn, n) for n in range(size)]
        indexes = log.append(*entries)
        told = b"".join(b"%d\t%b\n" % pair for pair in zip(indexes, entries, strict=True))
        sys.stdout.buffer.write(told)
        sys.stdout.buffer.flush()
        turn += 1


if __name__ == "__main__":
    main()
