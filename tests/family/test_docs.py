"""What is documented exists, and what exists is documented."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from chittyops_core.cli.app import COMMANDS
from chittyops_core.deploy.targets.local.edge import DEFAULT_HTTP_PORT, DEFAULT_HTTPS_PORT
from chittyops_core.model.manifest_schema import manifest_schema

ROOT = Path(__file__).parents[2]
COMMAND = Path(sys.executable).with_name("chittyops")


def test_every_command_is_in_the_readme() -> None:
    """And its help teaches: a first sentence, and every option with a text."""
    readme = (ROOT / "packages/chittyops-core/README.md").read_text()

    for name in COMMANDS:
        assert f"`chittyops {name}" in readme, name


@pytest.mark.parametrize("name", COMMANDS)
def test_help_explains_every_option(name: str) -> None:
    """No option stands there without words."""
    done = subprocess.run([COMMAND, name, "--help"], capture_output=True, text=True)

    assert done.returncode == 0
    assert not re.search(r"^  -.*\S$(?<!\w{3}.)\Z", done.stdout)
    assert done.stdout.splitlines()[2].strip()


def test_every_manifest_key_is_documented() -> None:
    """Each key of the schema stands in docs/manifest.md."""
    text = (ROOT / "docs/manifest.md").read_text()

    for section, table in manifest_schema()["properties"].items():
        assert f"`{section}`" in text or f"[{section}" in text, section
        for key in table.get("properties", {}):
            assert f"`{key}`" in text, f"{section}.{key}"


def test_the_default_ports_are_documented() -> None:
    """Where people look for them: README and `host --help`."""
    said = subprocess.run([COMMAND, "host", "--help"], capture_output=True, text=True).stdout
    for text in ((ROOT / "README.md").read_text(), said):
        assert str(DEFAULT_HTTP_PORT) in text
        assert str(DEFAULT_HTTPS_PORT) in text


def test_the_shipped_schema_is_the_generated_one() -> None:
    """Editors read the file; `chittyops config --schema` prints the same."""
    shipped = ROOT / "packages/chittyops-core/src/chittyops_core/model/chittyops.schema.json"

    assert json.loads(shipped.read_text()) == manifest_schema()


def test_the_security_policy_is_found_and_names_what_exists() -> None:
    """From where people look, and no file in it that is not there."""
    policy = (ROOT / "SECURITY.md").read_text()
    named = re.findall(r"(?:docs|requirements|\.github)/[\w./-]+\.\w+", policy)

    assert "(SECURITY.md)" in (ROOT / "CONTRIBUTING.md").read_text()
    assert len(named) >= 3
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_module_that_architecture_names_exists() -> None:
    """The map is of this country."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = set(re.findall(r"`((?:packages|tests|benchmarks|docs|tools)/[\w./-]+)`", text))
    core = ROOT / "packages/chittyops-core/src/chittyops_core"
    named_in_core = set(
        re.findall(r"`((?:cli|host|deploy|secrets|model|_kit|testing)/[\w./]+\.py)`", text)
    )

    assert named and named_in_core
    assert [path for path in named if not (ROOT / path).exists()] == []
    assert [path for path in named_in_core if not (core / path).exists()] == []


def test_every_link_between_documents_leads_somewhere() -> None:
    """Relative links of Markdown, from the folder that the document lies in."""
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("packages/*/*.md")]
    links = [
        (document.relative_to(ROOT), target, (document.parent / target).exists())
        for document in documents
        for target in re.findall(r"\]\(([^):#\s]+)[^)\s]*\)", document.read_text())
    ]

    assert ("CONTRIBUTING.md", "SECURITY.md") in {(str(where), to) for where, to, _ in links}
    assert [(str(where), to) for where, to, is_there in links if not is_there] == []
