"""The four distributions as a family: one shape, ranges that hold, versions that agree."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = sorted((ROOT / "packages").iterdir())
LITES = [path for path in PACKAGES if "lite" in path.name]


def project(path: Path) -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((path / "pyproject.toml").read_text())["project"]
    return table


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: path.name)
def test_each_has_what_a_published_package_needs(path: Path) -> None:
    """Licence, README, types, a static version, import name equal to its own."""
    module = path.name.replace("-", "_")

    assert (path / "LICENSE").read_text().lstrip().startswith("Apache License")
    assert len((path / "README.md").read_text()) > 500
    assert (path / "src" / module / "py.typed").exists()
    assert project(path)["version"] == metadata.version(path.name)
    assert project(path)["license"] == "Apache-2.0"
    assert (path / "changelog.d").is_dir()


@pytest.mark.parametrize("path", LITES, ids=lambda path: path.name)
def test_each_lite_pins_a_range_of_the_core_that_holds(path: Path) -> None:
    """uv's workspace ignores ranges between members, so this looks."""
    wanted = next(line for line in project(path)["dependencies"] if "chittyops-core" in line)
    core = project(ROOT / "packages/chittyops-core")["version"]
    major, minor = core.split(".")[:2]

    assert wanted == f"chittyops-core[local]>={major}.{minor},<{major}.{int(minor) + 1}"


@pytest.mark.parametrize("path", LITES, ids=lambda path: path.name)
def test_each_lite_allows_what_the_core_allows(path: Path) -> None:
    """`nox -s lowest` tests one lowest version of each: a lower bound elsewhere is not tested."""
    core = project(ROOT / "packages/chittyops-core")["dependencies"]
    own = [line for line in project(path)["dependencies"] if "chittyops-core" not in line]

    assert set(own) <= set(core)


@pytest.mark.parametrize("path", LITES, ids=lambda path: path.name)
def test_siblings_look_alike(path: Path) -> None:
    """Whoever has read one finds their way in the next."""
    module = path / "src" / path.name.replace("-", "_")
    kind = path.name.removeprefix("chittyops-lite-")

    for name in ("__init__.py", "ops.py", "settings.py", "cli.py", "config", "templates/starter"):
        assert (module / name).exists(), name
    assert list(project(path)["entry-points"]["chittyops.lites"]) == [kind]
    for name in ("chittyops.toml", "README.md", "requirements.txt", "tests"):
        assert (module / "templates/starter" / name).exists(), name
