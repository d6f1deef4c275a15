"""What an import costs an app: nothing that it did not ask for."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

HEAVY = {
    "click", "rich", "docker", "kubernetes", "litestar", "starlette", "tuf", "supervisor",
    "psutil", "sqlalchemy", "asyncio",
}  # fmt: skip


PACKAGES = [
    "chittyops_core", "chittyops_lite_cook_county", "chittyops_lite_digital_dossier",
    "chittyops_lite_chitty_apps",
]  # fmt: skip


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_loads_no_sdk_and_no_cli_library(package: str) -> None:
    """In a fresh interpreter, whatever is installed beside it."""
    code = f"import {package}, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )

    assert HEAVY & set(loaded.stdout.split()) == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_found_where_it_is_said_to_be(package: str) -> None:
    """They are imported late, so only asking for each shows that each is there."""
    module = import_module(package)

    assert [name for name in module.__all__ if not hasattr(module, name)] == []
    with pytest.raises(AttributeError, match="no attribute 'deploy_everything'"):
        module.deploy_everything  # noqa: B018


def test_help_loads_no_part_that_deploys() -> None:
    """It describes every command, and imports neither values, engine nor lites for that."""
    code = (
        "import sys; sys.argv = ['chittyops', '--help']\n"
        "from chittyops_core.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    loaded = set(done.stdout.splitlines()[-1].split())

    assert "chittyops_core.cli.commands.deploy" in loaded, done.stderr
    assert loaded & {"attrs", "cattrs", "structlog", "sqlite3", "requests", "cryptography"} == set()
    assert [name for name in loaded if name.endswith(".ops")] == []


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
