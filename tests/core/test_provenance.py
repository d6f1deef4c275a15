"""Where a deployment came from, and what is in what it built."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from chittyops_core.deploy.provenance import Provenance, read_commit, read_provenance
from chittyops_core.deploy.targets.local.materials import NAME, write_materials


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *words], cwd=folder,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit, and an app in a folder of it."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/chittyops.toml").write_text('[app]\nname = "shop"\n')
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "Begin")
    return tmp_path


def test_the_commit_is_read_wherever_git_keeps_it(repository: Path) -> None:
    """As a loose ref, as a packed one, detached, and in a worktree; from a folder below too."""
    commit, app = git(repository, "rev-parse", "HEAD"), repository / "shop"

    loose = read_commit(app)
    git(repository, "pack-refs", "--all")
    packed = read_commit(app)
    git(repository, "checkout", "-q", "--detach")
    detached = read_commit(app)
    git(repository, "worktree", "add", "-q", "-b", "other", str(repository / "tree"))
    worktree = read_commit(repository / "tree/shop")

    assert [loose, packed, detached, worktree] == [commit] * 4


def test_what_differs_from_the_commit_is_said(repository: Path) -> None:
    """A changed file of the app makes it dirty; one of another app in the repository does not."""
    app = repository / "shop"
    manifest = hashlib.sha256((app / "chittyops.toml").read_bytes()).hexdigest()
    clean = read_provenance(app, "chitty-apps")
    (repository / "other").mkdir()
    (repository / "other/file").write_text("x")
    beside = read_provenance(app, "chitty-apps")
    (app / "new.py").write_text("x")
    dirty = read_provenance(app, "chitty-apps")

    assert (clean.is_dirty, beside.is_dirty, dirty.is_dirty) == (False, False, True)
    assert clean.manifest == manifest
    assert clean.commit == dirty.commit


def test_a_folder_without_a_repository_or_a_manifest_is_no_trouble(tmp_path: Path) -> None:
    assert read_provenance(tmp_path, "no-such-kind") == Provenance()


@pytest.mark.parametrize(
    ("head", "secret"),
    [
        ("ref: ../../secret", "d" * 40),
        ("ref: refs/../../secret", "d" * 40),
        ("ref: refs/heads/main", "a password"),
        ("a password", "x"),
        ("", ""),
        ("ref: refs/heads/\0", ""),
    ],
)
def test_a_repository_that_points_elsewhere_gives_nothing_away_attack(
    tmp_path: Path, head: str, secret: str
) -> None:
    """Only what looks like a commit, below refs/, is believed."""
    (tmp_path / ".git/refs/heads").mkdir(parents=True)
    (tmp_path / "secret").write_text(secret)
    (tmp_path / ".git/secret").write_text(secret)
    (tmp_path / ".git/refs/heads/main").write_text(secret)
    (tmp_path / ".git/HEAD").write_text(head)

    assert read_commit(tmp_path) is None


def test_what_the_repository_wants_run_is_not_run_attack(repository: Path) -> None:
    """`git status` would start the program that `core.fsmonitor` names."""
    trap = repository / "ran"
    git(repository, "config", "core.fsmonitor", f"touch {trap}; false")

    read_provenance(repository / "shop", "chitty-apps")

    assert not trap.exists()


def package(site: Path, name: str, version: str) -> None:
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_the_bill_of_materials_says_what_is_in_the_environment(tmp_path: Path) -> None:
    """CycloneDX 1.6, the same bytes for the same packages, in whatever order they were laid."""
    for folder, names in (("one", ["Zope.Event", "attrs"]), ("two", ["attrs", "Zope.Event"])):
        venv = tmp_path / folder / "abc/venv"
        for name in names:
            package(venv / "lib/python3.11/site-packages", name, "1.0+local")
        (venv / "pyvenv.cfg").write_text("home = /usr/bin\nversion_info = 3.11.7\n")
        write_materials(tmp_path / folder / "abc")

    one, two = ((tmp_path / each / "abc" / NAME).read_bytes() for each in ("one", "two"))

    assert one == two
    document = json.loads(one)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert [c.get("purl", c["version"]) for c in document["components"]] == [
        "3.11.7", "pkg:pypi/attrs@1.0%2Blocal", "pkg:pypi/zope-event@1.0%2Blocal",
    ]  # fmt: skip


def test_hostile_metadata_stays_text_attack(tmp_path: Path) -> None:
    """A package may call itself whatever it likes; none is left out for that."""
    site = tmp_path / "venv/lib/python3.11/site-packages"
    package(site, "x", "1")
    (site / "x-1.dist-info/METADATA").write_text('Name: x\nVersion: 1"}]}</script>\n\nText')
    (site / "bad-1.dist-info").mkdir()
    (site / "worse-1.dist-info").mkdir()
    (site / "worse-1.dist-info/METADATA").write_bytes(b"\xff\xfe\x00Name: \xff")

    write_materials(tmp_path)

    components = json.loads((tmp_path / NAME).read_text())["components"]
    assert [(c["name"], c["version"]) for c in components] == [
        ("bad", "1"), ("worse", "1"), ("x", '1"}]}</script>'),
    ]  # fmt: skip
    assert components[2]["purl"] == "pkg:pypi/x@1%22%7D%5D%7D%3C%2Fscript%3E"
