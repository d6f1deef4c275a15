"""Real input that nobody here wrote: Datasette with a real SQLite file, through each lite."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from pathlib import Path

import pytest

from conftest import HostUnderTest, build_publicly

pytestmark = [pytest.mark.host, pytest.mark.network]

ROWS = 10_000


@pytest.fixture
def datasette(tmp_path: Path) -> Path:
    """A folder with only requirements.txt, Procfile and the data."""
    folder = tmp_path / "records"
    folder.mkdir()
    with sqlite3.connect(folder / "records.db") as database:
        database.execute("CREATE TABLE filing (id INTEGER PRIMARY KEY, title TEXT)")
        rows = ((n, f"Filing no. {n}") for n in range(ROWS))
        database.executemany("INSERT INTO filing VALUES (?, ?)", rows)
    database.close()
    (folder / "requirements.txt").write_text("datasette==0.65.2\n")
    (folder / "Procfile").write_text("web: datasette serve -i records.db\n")
    return folder


def version(host: HostUnderTest, report: dict) -> str:
    return json.loads(host.get(report, "/-/versions.json"))["datasette"]["version"]


@pytest.mark.parametrize("kind", ["chitty-apps", "digital-dossier"])
def test_datasette_is_deployed_redeployed_and_rolled_back(
    host: HostUnderTest, datasette: Path, kind: str
) -> None:
    """Another version and back, its rows answering each time; no manifest anywhere."""
    words = ["--kind", kind]
    of = ["--app", "records"]
    if kind == "digital-dossier":
        (datasette / "clients").mkdir()
        (datasette / "clients/acme.toml").touch()
        build_publicly(datasette / "clients/acme.toml")
        words += ["--client", "acme"]
        of += ["--client", "acme"]

    one = host.deploy(datasette, *words)
    assert version(host, one) == "0.65.2"
    count = json.loads(host.get(one, "/records.json?sql=select+count(*)+from+filing&_shape=arrays"))
    assert count["rows"] == [[ROWS]]

    (datasette / "requirements.txt").write_text("datasette==0.65.5\n")
    assert version(host, host.deploy(datasette, *words)) == "0.65.5"

    back = json.loads(host.run("rollback", *of, "--yes", "--json").stdout)
    assert version(host, back) == "0.65.2"


def test_cook_county_refuses_datasette_until_its_findings_are_dealt_with(
    host: HostUnderTest, datasette: Path
) -> None:
    """First its loose requirements, then its missing policy; each remedy is what helps."""
    loose = host.refuse(datasette, "--kind", "cook-county")
    assert "1 of 1 requirements are not pinned with a hash" in loose
    assert "uv pip compile --generate-hashes requirements.in -o requirements.txt" in loose

    _lock(datasette, "datasette==0.65.2")
    unguarded = host.refuse(datasette, "--kind", "cook-county")
    assert "Content-Security-Policy is missing" in unguarded
    assert "[edge.headers]" in unguarded

    (datasette / "chittyops.toml").write_text(
        "[edge.headers]\nContent-Security-Policy = \"default-src 'self' 'unsafe-inline'\"\n"
    )
    one = host.deploy(datasette, "--kind", "cook-county")
    assert version(host, one) == "0.65.2"
    _lock(datasette, "datasette==0.65.5")
    assert version(host, host.deploy(datasette, "--kind", "cook-county")) == "0.65.5"
    back = json.loads(host.run("rollback", "--app", "records", "--yes", "--json").stdout)
    assert version(host, back) == "0.65.2"


def _lock(folder: Path, requirement: str) -> None:
    """Do what the remedy says."""
    (folder / "requirements.in").write_text(requirement + "\n")
    subprocess.run(
        ["uv", "pip", "compile", "-q", "--generate-hashes", "requirements.in", "-o",
         "requirements.txt"],
        cwd=folder, check=True,
    )  # fmt: skip
