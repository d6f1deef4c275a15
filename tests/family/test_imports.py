"""What an import costs an app: nothing that it did not ask for."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "click", "rich", "docker", "kubernetes", "litestar", "starlette", "tuf", "supervisor",
    "psutil", "sqlalchemy", "asyncio",
}  # fmt: skip


@pytest.mark.parametrize(
    "package",
    [
        "chittyops_core", "chittyops_lite_cook_county", "chittyops_lite_digital_dossier",
        "chittyops_lite_chitty_apps",
    ],
)  # fmt: skip
def test_importing_loads_no_sdk_and_no_cli_library(package: str) -> None:
    """In a fresh interpreter, whatever is installed beside it."""
    code = f"import {package}, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )

    assert HEAVY & set(loaded.stdout.split()) == set()


def test_the_command_line_loads_no_command_before_it_is_called() -> None:
    """`chittyops --help` knows all commands, `--version` none."""
    code = (
        "import sys; sys.argv = ['chittyops', '--version']\n"
        "from chittyops_core.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in sys.modules if m.startswith('chittyops_core.cli.commands.')])"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)

    assert done.stdout.splitlines()[-1] == "[]", done.stderr
