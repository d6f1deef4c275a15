"""Build distributions twice, compare the two byte by byte, and check what was built.

    python tools/build_dists.py OUT FOLDER...      FOLDERs of packages; wheels and sdists in OUT

The build tools are those of this interpreter's environment, which nox fills from the lock: an
isolated build would take whatever is newest.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["build_checked"]

EPOCH_S = 1767225600
"""SOURCE_DATE_EPOCH: 2026-01-01. Any will do, as long as it is always the same."""


def build_checked(packages: Sequence[Path], out: Path) -> list[Path]:
    """Build *packages* into *out*, which is emptied first; return what was built, sorted.

    Raises:
        subprocess.CalledProcessError: A build or a check failed; its output was printed.
        ValueError: Two builds of the same files differ.
    """
    with tempfile.TemporaryDirectory() as other:
        first = _digests(_build(packages, Path(other)))
    shutil.rmtree(out, ignore_errors=True)
    built = _build(packages, out)
    if (second := _digests(built)) != first:
        raise ValueError(f"two builds of the same files differ: {first} and {second}")
    for name, digest in second.items():
        print(f"{digest}  {name}")
    run_tool("twine", "check", "--strict", *map(str, built))
    wheels = [path for path in built if path.suffix == ".whl"]
    run_tool("check_wheel_contents", *map(str, wheels))
    return built


def run_tool(module: str, *words: str) -> None:
    """Run a tool of this environment. Raises subprocess.CalledProcessError."""
    subprocess.run([sys.executable, "-m", module, *words], check=True)


def _build(packages: Sequence[Path], out: Path) -> list[Path]:
    for package in packages:
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out)]
        done = subprocess.run(
            [*command, str(package)], capture_output=True, text=True, check=False,
            env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH_S)},
        )  # fmt: skip
        if done.returncode != 0:
            print(done.stdout, done.stderr, file=sys.stderr)
            done.check_returncode()
    return sorted(path for path in out.iterdir() if path.suffix in (".whl", ".gz"))


def _digests(built: Iterable[Path]) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in built}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("packages", type=Path, nargs="+")
    chosen = parser.parse_args()
    try:
        build_checked(chosen.packages, chosen.out)
    except (ValueError, subprocess.CalledProcessError) as error:
        sys.exit(f"build_dists: {error}")
