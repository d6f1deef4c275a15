"""The second build of an app whose code changed, beside venv and pip for the same requirements."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

from machine import UVICORN, app, home

from chittyops_lite_chitty_apps import ChittyAppsOpsLite
from rows.base import Row, by_turns

ROUNDS = 3


def measure(folder: Path) -> Row:
    source = folder / "source"
    shutil.copytree(UVICORN, source)
    numbers = count()
    with home(folder) as made:
        lite = ChittyAppsOpsLite(home=made)

        def ours() -> float:
            with (source / "app.py").open("a") as file:
                file.write(f"# change {next(numbers)}\n")
            return float(lite.deploy(app(source, "built", "same")).phases["built"])

        def theirs() -> float:
            target = folder / f"pip-{next(numbers)}"
            start = time.monotonic()
            subprocess.run([sys.executable, "-m", "venv", target], check=True)
            subprocess.run(
                [target / "bin/pip", "install", "-q", "--disable-pip-version-check",
                 "-r", source / "requirements.txt"],
                check=True, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            return time.monotonic() - start

        # Both have their caches filled by a first build.
        ours(), theirs()
        figures = by_turns(ROUNDS, ours, theirs)
    return Row("build of a second release", "python -m venv, pip", "s", *figures, 10, is_gain=True)
